"""`xrnn regress`: train a model that predicts a number for a series, and test it on others."""

from __future__ import annotations

from typing import Annotated, Any, Final

import numpy as np

from xrnn.commands.labelled import BASELINE, ESTIMATOR, TestArgument, TrainArgument, ahead, baseline_of, say_best_epoch
from xrnn.commands.options import OptionsOf, RunOptions, TableOptions, options_of, with_options
from xrnn.commands.pictures import regression_picture
from xrnn.commands.series import load
from xrnn.commands.training import Run
from xrnn.series import Classifier, Regressor
from xrnn.series.labelled.labels import r_squared
from xrnn.typing import HostArray

OPTIONS: Final = options_of(Regressor, Classifier, **ESTIMATOR)


@with_options
def regress(
    train: TrainArgument = None,
    test: TestArgument = None,
    *,
    parameters: Annotated[dict[str, Any], OptionsOf(OPTIONS)],
    table: TableOptions,
    options: RunOptions,
) -> int:
    """Train a model that predicts a number for a time series of any length, then test it on others.

    It writes regression.safetensors and regression.png. If the run is interrupted, it saves the best model so far.
    """
    run = Run(options, "regression.safetensors", [each for each in (train, test) if each])
    regressor = Regressor(**parameters)
    data = load(train, test, table, regressor.check_params().seed, numbers=True)
    regressor.reading_ = table
    numbers, truth = (np.array([each.label for each in part]) for part in (data.train, data.test))
    if status := run.fit(regressor, lambda: regressor.fit(data.train, numbers), [data.source]):
        return status
    predicted, say = regressor.predict(data.test), run.terminal.result
    model, mean = _scores(truth, predicted), _scores(truth, np.full(len(truth), regressor.target_mean_))
    say_best_epoch(run, regressor)
    say(f"mean absolute error: {model['mae']:.4g} (mean predictor: {mean['mae']:.4g})")
    if model["r2"] is not None:
        say(f"R²: {model['r2']:.3f} (mean predictor: {mean['r2']:.3f})")
    results: dict[str, Any] = model | {"mean_predictor": mean}
    advice = None
    if (others := baseline_of(regressor, data)) is not None:
        scores = _scores(truth, others)
        say(f"{BASELINE}: mean absolute error {scores['mae']:.4g}")
        advice = ahead(np.abs(truth - predicted), np.abs(truth - others), "mean absolute error")
        results["baseline"] = scores | {"ahead": advice is not None}
    picture = regression_picture(regressor, truth, predicted)
    return run.finish(results | {"series": len(truth)}, picture, advice=advice)


def _scores(truth: HostArray, predicted: HostArray) -> dict[str, Any]:
    """The mean absolute error, and R², None if all targets are equal."""
    r2 = r_squared(truth, predicted)
    return {"mae": float(np.abs(truth - predicted).mean()), "r2": None if np.isnan(r2) else r2}
