"""What `xrnn classify` and `xrnn regress` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from xrnn.commands.options import path
from xrnn.commands.series import Labelled
from xrnn.commands.training import Run
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

ESTIMATOR: Final = {"model": "recurrent|convolutions", "scaling": "auto|shared|each"}  # values of the options
BASELINE: Final = "baseline (ridge on convolutions)"


def say_best_epoch(run: Run, estimator: Any) -> None:
    """After early stopping, print the epoch of the tested model."""
    if losses := estimator.validation_losses_:
        run.terminal.result(f"best epoch: {losses.index(min(losses)) + 1:,} (validation loss {min(losses):.3f})")


def baseline_of(estimator: Any, data: Labelled) -> HostArray | None:
    """The predictions of random convolutions for TEST; None if the estimator has them."""
    if estimator.model == "convolutions":
        return None
    baseline = type(estimator)(model="convolutions", seed=estimator.seed)
    predicted: HostArray = baseline.fit(data.train, [each.label for each in data.train]).predict(data.test)
    return predicted


def ahead(model: HostArray, baseline: HostArray, of: str) -> str | None:
    """A line that recommends the baseline if it is better by more than two standard errors of the difference.

    model, baseline   the error of each test series, (n,)
    """
    better = model.astype(float) - baseline
    mean, scatter = float(better.mean()), 2 * float(better.std()) / len(better) ** 0.5
    if mean <= scatter:
        return None
    return f"the baseline is better by {mean:.3g} ± {scatter:.2g} in {of}: --model convolutions trains and saves it"
