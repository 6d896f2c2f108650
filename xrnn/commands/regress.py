"""`xrnn regress`: train a regression on series, and test it on others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from xrnn.commands.options import (
    EpochsOption,
    OptionsOf,
    RunOptions,
    TestArgument,
    path,
    with_options,
)
from xrnn.commands.pictures import Picture, regression_picture
from xrnn.commands.run import SeriesJob, best_epoch, run_job
from xrnn.commands.terminal import Terminal
from xrnn.models.labelled.head import numbers, r_squared
from xrnn.models.labelled.model import REGRESSION
from xrnn.models.labelled.settings import RegressionSettings


class RegressJob(SeriesJob):
    """`xrnn regress` with its options."""

    kind = REGRESSION
    default_out = Path("regression.safetensors")

    def report(self, trainer: Any, terminal: Terminal) -> tuple[dict[str, Any], Picture]:
        """Print the errors on TEST, and those of a predictor that always predicts the mean of TRAIN."""
        head, test = trainer.facts, trainer.data.test
        targets = numbers(test)
        predicted = head.decoded(trainer.best.outputs(trainer.inputs(test), trainer.comm))
        model, mean = (
            {"mae": float(np.abs(targets - each).mean()), "r2": r_squared(targets, each)}
            for each in (predicted, np.full(len(targets), head.mean))
        )
        best_epoch(trainer, terminal)
        terminal.result(f"mean absolute error: {model['mae']:.4g} (mean predictor: {mean['mae']:.4g})")
        if model["r2"] is not None:
            terminal.result(f"R²: {model['r2']:.3f} (mean predictor: {mean['r2']:.3f})")
        results = model | {"mean_predictor": mean, "series": len(targets)}
        return results, regression_picture(trainer, targets, predicted)


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
    test: TestArgument = None,
    *,
    given: Annotated[dict[str, Any], OptionsOf(RegressionSettings)],
    epochs: EpochsOption = None,
    options: Annotated[dict[str, Any], OptionsOf(RunOptions)],
) -> int:
    """Train a model that predicts a number for a time series of any length, then test it on others.

    It writes regression.safetensors and regression.png. If the run is interrupted, it saves a checkpoint first;
    --resume continues it, with the same results.
    """
    paths = [each for each in (train, test) if each is not None]
    return run_job(RegressJob(paths=paths, given=given, upto=epochs, options=RunOptions(**options)))
