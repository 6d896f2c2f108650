"""What `xrnn classify` does, from the series it is given to the picture it leaves."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from rich.table import Table

from xrnn.backend import Backend
from xrnn.files import printable
from xrnn.jobs import run
from xrnn.jobs.checkpoint import Checkpoints, Snapshot
from xrnn.jobs.errors import SettingsError
from xrnn.jobs.results import Results
from xrnn.jobs.series.checkpoint import CHECKPOINTS
from xrnn.jobs.series.data import Dataset, load_dataset
from xrnn.jobs.series.evaluate import Confusion, probabilities
from xrnn.jobs.series.model import Classifier
from xrnn.jobs.series.picture import plot_confusion
from xrnn.jobs.series.settings import Settings
from xrnn.jobs.series.trainer import Trainer, default_epochs
from xrnn.jobs.terminal import Terminal

DEFAULT_OUT: Final = Path("classifier.safetensors")
_MOST_EPOCHS: Final = 10**9
_LONGEST: Final = 40  # characters of a label, in the table


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(run.Job[Trainer]):
    """What was asked for: `epochs` in all, those before a resume included, or `minutes`, or `default_epochs`."""

    epochs: int | None = None

    checkpoints: ClassVar[Checkpoints[Any]] = CHECKPOINTS
    default_out: ClassVar[Path] = DEFAULT_OUT

    def __post_init__(self) -> None:
        if self.epochs is not None and not 1 <= self.epochs <= _MOST_EPOCHS:
            raise SettingsError(f"--epochs is {self.epochs}: expected a whole number from 1 to {_MOST_EPOCHS}")
        run.Job.__post_init__(self)  # super() knows the class from before `slots` made another of it

    def prepare(
        self, settings: Settings, snapshot: Snapshot[Settings] | None, backend: Backend, terminal: Terminal
    ) -> Trainer | None:
        data = load_dataset(self.paths, settings.seed)
        if snapshot and data.fingerprint != snapshot.fingerprint:
            raise SettingsError(
                f"these series are not those that {self.resume} was trained on: expected the same TRAIN with the same "
                "content; name that, or train anew without --resume"
            )
        terminal.say(f"series: {data.source}")
        terminal.say(f"model: {_describe(settings, data, snapshot)}")
        if terminal.lost:
            return None
        trainer = Trainer.resume(snapshot, data, backend) if snapshot else Trainer(settings, data, backend)
        if self.epochs is not None and self.epochs * trainer.per_epoch < trainer.steps:
            raise SettingsError(
                f"--epochs is {self.epochs:,}, which end at step {self.epochs * trainer.per_epoch:,}, but "
                f"{self.resume} is at step {trainer.steps:,}: expected the epochs in all, those before it included; "
                "give more"
            )
        return trainer

    def last_step(self, trainer: Trainer) -> int | None:
        if self.minutes is not None:
            return None
        epochs = self.epochs or default_epochs(len(trainer.data.train))
        return max(trainer.steps, epochs * trainer.per_epoch)

    def limit(self) -> list[str]:
        if self.minutes is not None:
            return ["--minutes", f"{self.minutes:g}"]
        return ["--epochs", str(self.epochs)] if self.epochs is not None else []

    def report(self, trainer: Trainer, results: Results, terminal: Terminal) -> None:
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


def _describe(settings: Settings, data: Dataset, snapshot: Snapshot[Settings] | None) -> str:
    shapes = Classifier.shapes(settings, data.channels, len(data.labels))
    weights = sum(math.prod(shape) for shape in shapes.values())
    way = "" if settings.one_way else "bidirectional "
    text = (
        f"{settings.layers} {way}{settings.cell.upper()} layer{'s' * (settings.layers > 1)} of {settings.hidden}, "
        f"{weights:,} weights; batches of {settings.batch}; dropout {settings.dropout:g}, noise {settings.noise:g}, "
        f"lr {settings.lr:g}; seed {settings.seed}"
    )
    return f"{text}; resumed at step {snapshot.step:,}" if snapshot and snapshot.step else text


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
        table.add_row(printable(label), f"{count:,}", f"{right:,}", *shares)
    return table
