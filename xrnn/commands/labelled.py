"""`xrnn classify` and `xrnn regress`: train a model of labelled series, and test it on others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from rich.table import Table

from xrnn.backend import Backend
from xrnn.commands.options import Command, OptionsOf, RunOptions, path, with_options
from xrnn.commands.pictures import Picture, confusion_picture, regression_picture
from xrnn.commands.run import run_command
from xrnn.commands.terminal import Terminal
from xrnn.models.data.batches import updates_per_epoch
from xrnn.models.data.scale import Scale
from xrnn.models.labelled.baseline import Baseline
from xrnn.models.labelled.choice import choose
from xrnn.models.labelled.data import LabelledSeries, load_labelled
from xrnn.models.labelled.head import Confusion, numbers, r_squared
from xrnn.models.labelled.model import CLASSIFIER, REGRESSION
from xrnn.models.labelled.settings import ClassifierSettings, RegressionSettings
from xrnn.models.labelled.trainer import LabelledTrainer, default_epochs
from xrnn.series.checks import escaped

_LONGEST: Final = 40  # characters of a label, in the table


class LabelledCommand(Command[LabelledTrainer]):
    """A command that learns one value per series."""

    unit = "epochs"
    trainer = LabelledTrainer

    def default_upto(self, data: Any) -> int:
        return default_epochs(len(data.train))

    def steps_per_unit(self, settings: Any, data: Any) -> int:
        return updates_per_epoch(len(data.train), settings.batch)

    def load(self, settings: Any) -> LabelledSeries:
        return load_labelled(self.paths, settings)

    def choose(self, settings: Any, data: LabelledSeries, backend: Backend, terminal: Terminal) -> Any:
        return choose(settings, data, backend, terminal.note)

    def report(self, trainer: LabelledTrainer, terminal: Terminal) -> tuple[dict[str, Any], Picture]:
        """Print the epoch of the tested model, with early stopping, and its results on TEST."""
        if trainer.stopping and trainer.stopping.losses:
            lowest = min(trainer.stopping.losses)
            terminal.result(f"best epoch: {trainer.stopping.best_epoch:,} (validation loss {lowest:.3f})")
        data = trainer.data
        y = trainer.best.outputs(trainer.inputs(data.test))
        train = data.train + data.validation
        scale = Scale.of(each.values for each in train)
        given, tested = ([scale.apply(each.values) for each in part] for part in (train, data.test))
        baseline = Baseline(given, trainer.facts.regressed(train), trainer.settings.seed)
        return self.scores(trainer, y, baseline(tested), terminal)

    def scores(
        self, trainer: LabelledTrainer, y: Any, baseline: Any, terminal: Terminal
    ) -> tuple[dict[str, Any], Picture]:
        """Print the scores of the model's outputs on TEST, and of the baseline's.

        Returns those for `--json`, and the picture to draw.
        """
        raise NotImplementedError

    def compare(self, shown: str, wins: bool, terminal: Terminal) -> None:
        """Print a score of the baseline."""
        verdict = ", better than the model" if wins else ""
        terminal.result(f"baseline (ridge on convolutions): {shown}{verdict}")


class ClassifyCommand(LabelledCommand):
    """`xrnn classify` with its options."""

    kind = CLASSIFIER
    default_out = Path("classifier.safetensors")

    def scores(
        self, trainer: LabelledTrainer, y: Any, baseline: Any, terminal: Terminal
    ) -> tuple[dict[str, Any], Picture]:
        """The accuracy, for all series together and by label."""
        head, labels = trainer.facts, [*trainer.facts.labels]
        confusion, of_baseline = (
            Confusion.of(head.targets(trainer.data.test), each.argmax(axis=1), head.outputs) for each in (y, baseline)
        )
        terminal.result(f"accuracy: {confusion}")
        self.compare(str(of_baseline), of_baseline.accuracy > confusion.accuracy, terminal)
        terminal.result(f"balanced accuracy: {confusion.balanced_accuracy:.3f}")
        terminal.result(f"macro F1: {confusion.macro_f1:.3f}")
        never = [labels[i] for i in confusion.never_predicted]
        if never:
            hint = "" if trainer.settings.balance else "; if such series are rare, try --balance"
            terminal.result(f"never predicted: {', '.join(map(escaped, never))}{hint}")
        table = Table(box=None, pad_edge=False)
        table.add_column("label", max_width=_LONGEST, overflow="ellipsis", no_wrap=True)
        for name in ("series", "right", "recall", "precision"):
            table.add_column(name, justify="right")
        by_label: dict[str, Any] = {}
        counts = confusion.support.tolist(), confusion.correct.tolist(), confusion.predicted.tolist()
        for label, series, right, predicted in zip(labels, *counts, strict=True):
            shares = {name: right / of if of else None for name, of in (("recall", series), ("precision", predicted))}
            by_label[label] = {"series": series, "right": right} | shares
            shown = ("-" if share is None else f"{share:.3f}" for share in shares.values())
            table.add_row(escaped(label), f"{series:,}", f"{right:,}", *shown)
        terminal.result(table)
        results = {
            "accuracy": confusion.accuracy,
            "balanced_accuracy": confusion.balanced_accuracy,
            "macro_f1": confusion.macro_f1,
            "right": int(confusion.correct.sum()),
            "series": int(confusion.counts.sum()),
            "labels": by_label,
            "never_predicted": never,
            "baseline": {"accuracy": of_baseline.accuracy, "right": int(of_baseline.correct.sum())},
        }
        return results, confusion_picture(trainer, labels, confusion)


class RegressCommand(LabelledCommand):
    """`xrnn regress` with its options."""

    kind = REGRESSION
    default_out = Path("regression.safetensors")

    def scores(
        self, trainer: LabelledTrainer, y: Any, baseline: Any, terminal: Terminal
    ) -> tuple[dict[str, Any], Picture]:
        """The errors, and those of a predictor that always predicts the mean of TRAIN."""
        targets, predicted = numbers(trainer.data.test), trainer.facts.decoded(y)
        model, mean, convolutions = (
            {"mae": np.abs(targets - each).mean().item(), "r2": r_squared(targets, each)}
            for each in (predicted, np.full(len(targets), trainer.facts.mean), trainer.facts.decoded(baseline))
        )
        terminal.result(f"mean absolute error: {model['mae']:.4g} (mean predictor: {mean['mae']:.4g})")
        if model["r2"] is not None:
            terminal.result(f"R²: {model['r2']:.3f} (mean predictor: {mean['r2']:.3f})")
        shown, wins = f"mean absolute error {convolutions['mae']:.4g}", bool(convolutions["mae"] < model["mae"])
        self.compare(shown, wins, terminal)
        results = model | {"mean_predictor": mean, "baseline": convolutions, "series": len(targets)}
        return results, regression_picture(trainer, targets, predicted)


def _run(
    kind: type[LabelledCommand],
    train: Path | None,
    test: Path | None,
    given: dict[str, Any],
    epochs: int | None,
    options: dict[str, Any],
) -> int:
    paths = [each for each in (train, test) if each is not None]
    return run_command(kind(paths=paths, given=given, upto=epochs, options=RunOptions(**options)))


_Test = Annotated[
    Path | None,
    typer.Argument(parser=path, metavar="TEST", help="Series to test on. Default: a quarter of TRAIN."),
]
_Epochs = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Passes over the training series. Default: 1600 / √series, at least 10.",
    ),
]
_Run = Annotated[dict[str, Any], OptionsOf(RunOptions)]


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
    test: _Test = None,
    *,
    given: Annotated[dict[str, Any], OptionsOf(ClassifierSettings)],
    epochs: _Epochs = None,
    options: _Run,
) -> int:
    """Train a classifier of time series of any length, then test it on others.

    It writes classifier.safetensors and classifier.png. If the run is interrupted, it saves the best model so far.
    """
    return _run(ClassifyCommand, train, test, given, epochs, options)


@with_options
def regress(
    train: Annotated[
        Path | None,
        typer.Argument(
            parser=path,
            metavar="TRAIN",
            help="Series to train on: a .ts file with @targetLabel, a .csv file with --id and --label, or a folder "
            "NUMBER/*.csv|*.npy.",
        ),
    ] = None,
    test: _Test = None,
    *,
    given: Annotated[dict[str, Any], OptionsOf(RegressionSettings)],
    epochs: _Epochs = None,
    options: _Run,
) -> int:
    """Train a model that predicts a number for a time series of any length, then test it on others.

    It writes regression.safetensors and regression.png. If the run is interrupted, it saves the best model so far.
    """
    return _run(RegressCommand, train, test, given, epochs, options)
