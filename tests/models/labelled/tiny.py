"""A small classifier and its data, which train in a moment."""

from __future__ import annotations

from tests.series.waves import LABELS, waves
from xrnn.models.labelled.data import LabelledSeries
from xrnn.models.labelled.head import Classes
from xrnn.models.labelled.settings import ClassifierSettings

TINY = ClassifierSettings(hidden=6, batch=4, lr=0.02, layers=2)
TINY_OPTIONS = ["--hidden", "6", "--batch", "4", "--lr", "0.02"]


def dataset(train: int = 10, test: int = 6) -> LabelledSeries:
    return LabelledSeries(waves(train, 0), waves(test, 1), [], Classes(2, tuple(sorted(LABELS))))
