"""What `xrnn classify` does, from the series it is given to the picture it leaves."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from rich.table import Table

from xrnn.jobs import run
from xrnn.jobs.checkpoint import Checkpoints
from xrnn.jobs.classify.classifier_checkpoint import CLASSIFIER_CHECKPOINTS
from xrnn.jobs.classify.classifier_settings import ClassifierSettings
from xrnn.jobs.classify.classifier_trainer import ClassifierTrainer, default_epochs
from xrnn.jobs.classify.data import Dataset, load_dataset
from xrnn.jobs.classify.evaluate import Confusion, probabilities
from xrnn.jobs.classify.picture import plot_confusion
from xrnn.jobs.results import Results
from xrnn.jobs.series.series import escaped
from xrnn.jobs.terminal import Terminal

DEFAULT_OUT: Final = Path("classifier.safetensors")
_LONGEST: Final = 40  # characters of a label, in the table


class ClassifyJob(run.Job[ClassifierTrainer]):
    """What was asked for."""

    checkpoints: ClassVar[Checkpoints[Any]] = CLASSIFIER_CHECKPOINTS
    default_out: ClassVar[Path] = DEFAULT_OUT
    trainer: ClassVar[Any] = ClassifierTrainer
    unit: ClassVar[str] = "epochs"
    data: ClassVar[str] = "series"
    argument: ClassVar[str] = "TRAIN"

    def load(self, settings: ClassifierSettings) -> Dataset:
        return load_dataset(self.paths, settings.seed)

    def default_upto(self, trainer: ClassifierTrainer) -> int:
        return default_epochs(len(trainer.data.train))

    def report(self, trainer: ClassifierTrainer, results: Results, terminal: Terminal) -> None:
        """The accuracy on TEST, in all and by label; the files."""
        data = trainer.data
        number = {label: i for i, label in enumerate(data.labels)}
        truth = np.array([number[series.label or ""] for series in data.test])
        scaled = [trainer.scale.apply(series.values) for series in data.test]
        predicted = probabilities(trainer.model, scaled).argmax(axis=1)
        confusion = Confusion.of(truth, predicted, len(data.labels))
        terminal.say(f"accuracy: {confusion}")
        terminal.print(_table(data.labels, confusion))
        checkpoint, picture = results.checkpoint.path, results.picture
        terminal.say(f"checkpoint: {checkpoint} (xrnn predict {shlex.quote(str(checkpoint))} FILE...)")
        drawn = plot_confusion(picture.path, trainer.losses, data.labels, confusion, picture.put)
        run.say_whether_drawn(drawn, "picture", picture.path, terminal)


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
