"""What `xrnn classify` and `xrnn regress` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xrnn.commands.options import path
from xrnn.commands.series import Labelled
from xrnn.commands.training import Run
from xrnn.series.labelled.baseline import baseline
from xrnn.typing import HostArray

TrainArgument = Annotated[
    Path | None,
    typer.Argument(
        parser=path,
        metavar="TRAIN",
        help="Series to train on: a .ts file, a table (.csv, .xlsx, .parquet) with --id and --label, or a folder of "
        "labels or numbers, with tables and .npy files. Default for classify: JapaneseVowels, from aeon.",
    ),
]
TestArgument = Annotated[
    Path | None,
    typer.Argument(parser=path, metavar="TEST", help="Series to test on. Default: a quarter of TRAIN."),
]


def say_best_epoch(run: Run, estimator: Any) -> None:
    """After early stopping, print the epoch of the tested model."""
    if losses := estimator.validation_losses_:
        run.terminal.result(f"best epoch: {losses.index(min(losses)) + 1:,} (validation loss {min(losses):.3f})")


def baseline_of(run: Run, data: Labelled, seed: int) -> HostArray | None:
    """The predictions of the baseline for TEST; None, and a line that says why, without scikit-learn."""
    targets = [each.label for each in data.train]
    train, test = ([each.values for each in part] for part in (data.train, data.test))
    try:
        return baseline(train, targets, test, seed, labels=isinstance(targets[0], str))
    except ImportError as error:
        run.terminal.result(f"baseline: left out, {error}")
        return None


def say_baseline(run: Run, shown: str, wins: bool) -> None:
    """Print a score of the baseline."""
    run.terminal.result(f"baseline (ridge on convolutions): {shown}{', better than the model' * wins}")
