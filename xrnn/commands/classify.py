"""`xrnn classify`: train a classifier of series, and test it on others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.table import Table

from xrnn.commands.options import (
    EpochsOption,
    OptionsOf,
    RunOptions,
    TestArgument,
    path,
    with_options,
)
from xrnn.commands.pictures import Picture, confusion_picture
from xrnn.commands.run import SeriesJob, best_epoch, run_job
from xrnn.commands.terminal import Terminal
from xrnn.models.data.series import escaped
from xrnn.models.labelled.head import Confusion
from xrnn.models.labelled.model import CLASSIFIER
from xrnn.models.labelled.settings import ClassifierSettings

_LONGEST: Final = 40  # characters of a label, in the table


class ClassifyJob(SeriesJob):
    """`xrnn classify` with its options."""

    kind = CLASSIFIER
    default_out = Path("classifier.safetensors")

    def report(self, trainer: Any, terminal: Terminal) -> tuple[dict[str, Any], Picture]:
        """Print the accuracy on TEST, for all series together and by label."""
        data, head = trainer.data, trainer.facts
        predicted = trainer.best.outputs(trainer.inputs(data.test), trainer.comm).argmax(axis=1)
        confusion, labels = Confusion.of(head.targets(data.test), predicted, head.outputs), [*head.labels]
        best_epoch(trainer, terminal)
        terminal.result(f"accuracy: {confusion}")
        terminal.result(f"balanced accuracy: {confusion.balanced_accuracy:.3f}")
        terminal.result(f"macro F1: {confusion.macro_f1:.3f}")
        if never := [escaped(labels[i]) for i in confusion.never_predicted]:
            hint = "" if trainer.settings.balance else "; if such series are rare, try --balance"
            terminal.result(f"never predicted: {', '.join(never)}{hint}")
        terminal.result(_table(labels, confusion))
        return _results(labels, confusion), confusion_picture(trainer, labels, confusion)


def _results(labels: list[str], confusion: Confusion) -> dict[str, Any]:
    """The results for `--json`. A recall or precision is None if its denominator is 0."""

    def by_label(i: int) -> dict[str, Any]:
        series, correct, predicted = (
            int(counts[i]) for counts in (confusion.support, confusion.correct, confusion.predicted)
        )
        return {
            "series": series,
            "right": correct,
            "recall": correct / series if series else None,
            "precision": correct / predicted if predicted else None,
        }

    return {
        "accuracy": confusion.accuracy,
        "balanced_accuracy": confusion.balanced_accuracy,
        "macro_f1": confusion.macro_f1,
        "right": int(confusion.correct.sum()),
        "series": int(confusion.counts.sum()),
        "labels": {label: by_label(i) for i, label in enumerate(labels)},
        "never_predicted": [labels[i] for i in confusion.never_predicted],
    }


def _table(labels: list[str], confusion: Confusion) -> Table:
    """A row for each label: its number of series, how many were predicted right, recall and precision."""
    table = Table(box=None, pad_edge=False)
    table.add_column("label", max_width=_LONGEST, overflow="ellipsis", no_wrap=True)
    for name in ("series", "right", "recall", "precision"):
        table.add_column(name, justify="right")
    for label, count, correct, predicted in zip(
        labels, confusion.support, confusion.correct, confusion.predicted, strict=True
    ):
        shares = (f"{correct / of:.3f}" if of else "-" for of in (count, predicted))
        table.add_row(escaped(label), f"{count:,}", f"{correct:,}", *shares)
    return table


@with_options
def classify(
    train: Annotated[
        Path | None,
        typer.Argument(
            parser=path,
            metavar="TRAIN",
            help="Series to train on: a .ts file, a .csv file with --id and --label, or a folder LABEL/*.csv|*.npy. "
            "Default: JapaneseVowels, from aeon.",
        ),
    ] = None,
    test: TestArgument = None,
    *,
    given: Annotated[dict[str, Any], OptionsOf(ClassifierSettings)],
    epochs: EpochsOption = None,
    options: Annotated[dict[str, Any], OptionsOf(RunOptions)],
) -> int:
    """Train a classifier of time series of any length, then test it on others.

    It writes classifier.safetensors and classifier.png. If the run is interrupted, it saves a checkpoint first;
    --resume continues it, with the same results.
    """
    paths = [each for each in (train, test) if each is not None]
    return run_job(ClassifyJob(paths=paths, given=given, upto=epochs, options=RunOptions(**options)))
