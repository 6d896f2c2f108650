"""`xrnn classify`: train a classifier of series, and test it on others."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from rich.table import Table

from xrnn.commands.classify_picture import confusion_picture
from xrnn.commands.picture import Picture
from xrnn.commands.series_job import SeriesJob
from xrnn.commands.terminal import Terminal
from xrnn.models.data.series import escaped
from xrnn.models.labelled.classifier_checkpoint import CLASSIFIER_CHECKPOINTS
from xrnn.models.labelled.classifier_data import LabelledSeries, load_labelled
from xrnn.models.labelled.classifier_settings import ClassifierSettings
from xrnn.models.labelled.classifier_trainer import ClassifierTrainer
from xrnn.models.labelled.confusion import Confusion

_LONGEST: Final = 40  # characters of a label, in the table


class ClassifyJob(SeriesJob[ClassifierTrainer]):
    """`xrnn classify` with its options."""

    checkpoints = CLASSIFIER_CHECKPOINTS
    default_out = Path("classifier.safetensors")
    trainer = ClassifierTrainer

    def load(self, settings: ClassifierSettings) -> LabelledSeries:
        return load_labelled(self.paths, settings.seed, settings.columns, validate=settings.patience > 0)

    def report(self, trainer: ClassifierTrainer, terminal: Terminal) -> tuple[dict[str, Any], Picture]:
        """Print the accuracy on TEST, for all series together and by label."""
        data = trainer.data
        predicted = trainer.best.outputs(trainer.inputs(data.test), trainer.comm).argmax(axis=1)
        confusion = Confusion.of(data.targets(data.test), predicted, len(data.labels))
        trainer.report_best(terminal)
        terminal.result(f"accuracy: {confusion}")
        terminal.result(f"balanced accuracy: {confusion.balanced_accuracy:.3f}")
        terminal.result(f"macro F1: {confusion.macro_f1:.3f}")
        if never := [escaped(data.labels[i]) for i in confusion.never_predicted]:
            hint = "" if trainer.settings.balance else "; if such series are rare, try --balance"
            terminal.result(f"never predicted: {', '.join(never)}{hint}")
        terminal.result(_table(data.labels, confusion))
        return _results(data.labels, confusion), confusion_picture(trainer, data.labels, confusion)


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
