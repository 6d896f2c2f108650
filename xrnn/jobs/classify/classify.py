"""`xrnn classify`: train a classifier of series, and test it on others."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from rich.table import Table

from xrnn.jobs.checkpoint import Checkpoints
from xrnn.jobs.classify.classifier_checkpoint import CLASSIFIER_CHECKPOINTS
from xrnn.jobs.classify.classifier_settings import ClassifierSettings
from xrnn.jobs.classify.classifier_trainer import ClassifierTrainer, default_epochs
from xrnn.jobs.classify.data import Dataset, load_dataset
from xrnn.jobs.classify.evaluate import Confusion, probabilities
from xrnn.jobs.classify.picture import confusion_picture
from xrnn.jobs.picture import Picture
from xrnn.jobs.run import Job
from xrnn.jobs.series.batches import updates_per_epoch
from xrnn.jobs.series.series import escaped
from xrnn.jobs.terminal import Terminal

DEFAULT_OUT: Final = Path("classifier.safetensors")
_LONGEST: Final = 40  # characters of a label, in the table


class ClassifyJob(Job[ClassifierTrainer]):
    """`xrnn classify` with its options."""

    checkpoints: ClassVar[Checkpoints[Any]] = CLASSIFIER_CHECKPOINTS
    default_out: ClassVar[Path] = DEFAULT_OUT
    trainer: ClassVar[Any] = ClassifierTrainer
    unit: ClassVar[str] = "epochs"
    data: ClassVar[str] = "series"
    argument: ClassVar[str] = "TRAIN"
    picture: ClassVar[str] = "picture"

    def load(self, settings: ClassifierSettings) -> Dataset:
        return load_dataset(self.paths, settings.seed)

    def default_upto(self, data: Dataset) -> int:
        return default_epochs(len(data.train))

    def steps_per_unit(self, settings: ClassifierSettings, data: Dataset) -> int:
        return updates_per_epoch(len(data.train), settings.batch)

    def report(
        self, trainer: ClassifierTrainer, checkpoint: Path, terminal: Terminal
    ) -> tuple[dict[str, Any], Picture]:
        """The accuracy on TEST, in all and by label."""
        data = trainer.data
        number = {label: i for i, label in enumerate(data.labels)}
        truth = np.array([number[series.label or ""] for series in data.test])
        scaled = [trainer.scale.apply(series.values) for series in data.test]
        predicted = probabilities(trainer.model, scaled).argmax(axis=1)
        confusion = Confusion.of(truth, predicted, len(data.labels))
        terminal.result(f"accuracy: {confusion}")
        terminal.result(_table(data.labels, confusion))
        terminal.result(f"checkpoint: {checkpoint} (xrnn predict {shlex.quote(str(checkpoint))} FILE...)")
        return _results(data.labels, confusion), confusion_picture(trainer.losses, data.labels, confusion)


def _results(labels: list[str], confusion: Confusion) -> dict[str, Any]:
    """For `--json`. A share without a series is None."""

    def by_label(i: int) -> dict[str, Any]:
        series, right, predicted = (int(of[i]) for of in (confusion.of_label, confusion.right, confusion.taken_for))
        return {
            "series": series,
            "right": right,
            "recall": right / series if series else None,
            "precision": right / predicted if predicted else None,
        }

    right, count = int(confusion.right.sum()), int(confusion.counts.sum())
    by_labels = {label: by_label(i) for i, label in enumerate(labels)}
    return {"accuracy": right / count, "right": right, "series": count, "labels": by_labels}


def _table(labels: list[str], confusion: Confusion) -> Table:
    """By label: how many series have it, how many of them were found, and how many of those taken for it have it."""
    table = Table(box=None, pad_edge=False)
    table.add_column("label", max_width=_LONGEST, overflow="ellipsis", no_wrap=True)
    for name in ("series", "right", "recall", "precision"):
        table.add_column(name, justify="right")
    for label, count, right, taken in zip(
        labels, confusion.of_label, confusion.right, confusion.taken_for, strict=True
    ):
        shares = (f"{right / of:.3f}" if of else "-" for of in (count, taken))
        table.add_row(escaped(label), f"{count:,}", f"{right:,}", *shares)
    return table
