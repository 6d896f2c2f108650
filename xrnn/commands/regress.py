"""`xrnn regress`: train a model that predicts a number for a series, and test it on others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xrnn.commands.labelled import Report, TestArgument, TrainArgument, train_and_test
from xrnn.commands.options import BackendOption, RunOptions, TableOptions, with_options
from xrnn.commands.output import Results, Run
from xrnn.series import Regressor
from xrnn.series.labelled.estimators import r_squared
from xrnn.series.one_series import Series
from xrnn.typing import HostArray


@with_options
def regress(
    train: TrainArgument,
    test: TestArgument = None,
    *,
    regressor: Regressor,
    table: TableOptions,
    backend: BackendOption = None,
    options: RunOptions,
) -> int:
    """Train a model that predicts a number for a time series of any length, then test it on others.

    It writes regression.safetensors and regression.png. If the training is interrupted, it saves the model so far.
    """
    run = Run(options, "regression.safetensors", (train, test))
    return train_and_test(regressor, (train, test), table, backend, run, report_numbers)


def report_numbers(
    regressor: Regressor, test: Sequence[Series], predicted: HostArray, baseline: HostArray | None
) -> Report:
    """The scores, the same for JSON, and the picture.

    test        series with the numbers to predict;   predicted   (n,): the numbers of the model
    baseline    (n,): those of another kind of model, if it was trained
    """
    truth = np.array([one.label for one in test])
    model, mean = _scores(truth, predicted), _scores(truth, np.full(len(truth), regressor.target_mean_))
    lines = [f"mean absolute error: {model['mae']:.4g} (mean predictor: {mean['mae']:.4g})"]
    if model["r2"] is not None:
        lines.append(f"R²: {model['r2']:.3f} (mean predictor: {mean['r2']:.3f})")
    results: Results = model | {"mean_predictor": mean}
    if baseline is not None:
        results["baseline"] = _scores(truth, baseline)
        lines.append(f"baseline (ridge on convolutions): mean absolute error {results['baseline']['mae']:.4g}")
    return lines, results, lambda figure: draw_regression(figure, truth, predicted)


def _scores(truth: HostArray, predicted: HostArray) -> dict[str, Any]:
    """The mean absolute error, and R², None if all targets are equal."""
    r2 = r_squared(truth, predicted)
    return {"mae": float(np.abs(truth - predicted).mean()), "r2": None if np.isnan(r2) else r2}


def draw_regression(figure: Any, truth: HostArray, predicted: HostArray) -> None:
    """The predicted numbers against the true ones."""
    figure.set_size_inches(5.4, 4.4)
    axes = figure.add_subplot()
    ends = [min(truth.min(), predicted.min()), max(truth.max(), predicted.max())]
    axes.plot(ends, ends, color="tab:gray", linewidth=0.8)
    axes.scatter(truth, predicted, s=12, alpha=0.6)
    axes.set(xlabel="true", ylabel="predicted", title=f"mean absolute error {np.abs(truth - predicted).mean():.4g}")
    axes.grid(alpha=0.3)
