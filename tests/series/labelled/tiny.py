"""A small classifier and a training of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tests.series.waves import waves
from xrnn.arrays.select import use_backend
from xrnn.series.labelled.base import classes_of, targets_of
from xrnn.series.labelled.estimators import Classifier, LabelledEstimator
from xrnn.series.labelled.recurrent import Training
from xrnn.series.one_series import Series

TINY: dict[str, Any] = {"hidden": 6, "batch": 4, "lr": 0.02, "layers": 2}
TINY_OPTIONS = ["--hidden", "6", "--batch", "4", "--lr", "0.02"]


@dataclass
class Prepared:
    """An estimator that has learnt the targets of series, with valid parameters, and these series with the targets."""

    p: Any
    series: list[Series]

    def training(self, backend: Any = "numpy", patch: int = 1) -> Training:
        with use_backend(backend):
            return Training(self.p, patch, [each.values for each in self.series], targets_of(self.series))


def prepared(series: list[Series] | None = None, kind: type[LabelledEstimator] = Classifier, **params: Any) -> Prepared:
    series = waves(10, 0) if series is None else series
    p: Any = kind(**TINY | params).check_params()
    labels = [each.label for each in series]
    p.channels_, p.channel_names_ = series[0].channels, None
    if kind is Classifier:
        classes = classes_of(labels)
        p.classes_, targets = np.array(classes), np.array([classes.index(each) for each in labels], np.int32)
    else:
        p.target_mean_, p.target_deviation_ = float(np.mean(labels)), float(np.std(labels))
        targets = ((np.array(labels) - p.target_mean_) / p.target_deviation_).astype(np.float32)
    return Prepared(p, [replace(each, label=target) for each, target in zip(series, targets, strict=True)])
