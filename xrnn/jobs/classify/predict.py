"""What `xrnn predict` does: labels for new series, in files or row by row from a stream."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from xrnn.backend import Backend
from xrnn.files import printable
from xrnn.jobs.checkpoint import Snapshot
from xrnn.jobs.classify.classifier_checkpoint import CLASSIFIER_CHECKPOINTS, Facts
from xrnn.jobs.classify.classifier_settings import ClassifierSettings
from xrnn.jobs.classify.evaluate import probabilities, softmax
from xrnn.jobs.classify.model import Classifier, Running
from xrnn.jobs.errors import DataError, SettingsError
from xrnn.jobs.series.read import read_path
from xrnn.jobs.series.scale import Scale
from xrnn.jobs.series.series import Series, check_sizes, escaped, parse_numbers
from xrnn.jobs.terminal import Terminal
from xrnn.jobs.trainer import on_device
from xrnn.typing import HostArray


class Predictor:
    """A trained model, with the scale and the labels of its series."""

    def __init__(self, snapshot: Snapshot[ClassifierSettings], backend: Backend) -> None:
        self.facts: Facts = snapshot.facts
        self.settings = snapshot.settings
        self.scale = Scale(snapshot.arrays["scale.mean"], snapshot.arrays["scale.deviation"])
        self.model = Classifier.of(on_device(snapshot, backend), snapshot.settings)

    @classmethod
    def load(cls, checkpoint: Path, backend: Backend) -> Self:
        """Raises CheckpointError."""
        return cls(CLASSIFIER_CHECKPOINTS.load(checkpoint), backend)

    def likeliest(self, p: HostArray) -> tuple[str, str]:
        """The likeliest label and its probability.   p (labels,)."""
        best = int(p.argmax())
        return escaped(self.facts.labels[best]), f"{p[best]:.3f}"


def predict(predictor: Predictor, paths: Sequence[Path], terminal: Terminal) -> None:
    """Print a line for each series in .ts, .csv and .npy files: its label, the probability and its name, with tabs.

    Raises DataError for what is no series or has other channels than the model, before the first line.
    """
    series = [each for path in paths for each in _read(path, predictor.facts.channels)]
    try:
        p = probabilities(predictor.model, [predictor.scale.apply(each.values) for each in series])
    except MemoryError as error:
        raise DataError(f"out of memory ({error}): expected series that fit; name fewer or shorter ones") from error
    for each, of_series in zip(series, p, strict=True):
        terminal.row(*predictor.likeliest(of_series), each.name)


def predict_stream(predictor: Predictor, rows: Iterable[str], terminal: Terminal) -> None:
    """Print a line for each row of comma-separated values, one a channel: what they make likely so far.

    The last line is the prediction for all of them as one series. Empty rows are passed over.
    Raises SettingsError for a model that runs in both directions, DataError for what is no row.
    """
    if not predictor.settings.one_way:
        raise SettingsError(
            "--stream needs a model that runs forward only, and this one runs in both directions: train one with "
            "`xrnn classify --one-way`"
        )
    backend, channels = predictor.model.backend, predictor.facts.channels
    last, running = np.full(channels, np.nan), Running()
    for number, line in enumerate(rows, start=1):
        if not line.strip():
            continue
        row = np.array(parse_numbers(line.split(","), f"row {number}"))
        if len(row) != channels:
            raise DataError(
                f"row {number} has {len(row)} values: expected {channels}, one a channel, with commas between them"
            )
        check_sizes(row, f"row {number}")
        last = np.where(np.isnan(row), last, row)
        logits, running = predictor.model.follow(backend.asarray(predictor.scale.apply(last[None])), running)
        terminal.row(*predictor.likeliest(softmax(backend.to_numpy(logits))[0]))
        if terminal.lost:
            return


def _read(path: Path, channels: int) -> list[Series]:
    if os.path.isdir(path):
        raise DataError(f"{path} is a folder: expected .ts, .csv or .npy files; name those in it")
    series = read_path(path)
    for each in series:
        if each.channels != channels:
            raise DataError(
                f"{printable(each.name)} has {each.channels} channels, but the model was trained on {channels}: "
                "expected as many; name other files"
            )
    return series
