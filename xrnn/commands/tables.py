"""The tables of `xrnn forecast`, as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from xrnn.commands.terminal import table
from xrnn.series.forecast.backtest import Backtest
from xrnn.series.forecast.forecasts import Forecast
from xrnn.series.forecast.model import Model

_MOST_PRINTED: Final = 40  # steps ahead, or series
_MOST_STEPS: Final = 7  # with a column in the table of errors


def parts_of(model: Model) -> str:
    """A line: the parts of the forecast."""
    share, corrected = model.smoothing, ", corrected by a recurrent part" * bool(model.recurrent.any())
    if not model.linear.any():
        return f"forecasts: exponential smoothing{corrected}; too few rows were left out to test a linear part"
    return f"forecasts: {share:.0%} exponential smoothing, {1 - share:.0%} linear part{corrected}"


def scores_table(scores: dict[str, dict[str, Any]]) -> str:
    """The MASE of each method, of all steps ahead and of some, and its sMAPE."""
    F = len(scores["model"]["steps"])
    steps = np.unique(np.linspace(1, F, min(F, _MOST_STEPS)).round().astype(int)).tolist() if F > 1 else []
    rows = [["MASE", "all steps", *(f"step {step}" for step in steps), "sMAPE"]]
    for method in _shown(scores):
        figures = [scores[method]["mase"], *(scores[method]["steps"][step - 1] for step in steps)]
        rows.append(
            [method.replace("_", " "), *(f"{figure:.3f}" for figure in figures), f"{scores[method]['smape']:.2f}%"]
        )
    return table(*rows)


def _shown(scores: dict[str, dict[str, Any]]) -> list[str]:
    """The methods to show: without the seasonal naive forecast, if the season is 1."""
    return [name for name in scores if name != "seasonal_naive" or scores[name] != scores["naive"]]


def series_table(tests: Sequence[Backtest], means: dict[str, dict[str, Any]]) -> str:
    """The MASE of each series."""
    methods = _shown(means)
    rows = [["MASE", *(method.replace("_", " ") for method in methods)]]
    rows += [
        [each.series.name, *(f"{each.scores[method]['mase']:.3f}" for method in methods)]
        for each in tests[:_MOST_PRINTED]
    ]
    more = len(tests) - _MOST_PRINTED
    return table(*rows) + f"\n… and {more:,} more in --json" * (more > 0)


def forecast_table(forecast: Forecast) -> str:
    rows = [["time", "forecast", *(f"{q:g}" for q in forecast.levels if q != 0.5)]]
    for step in forecast.steps()[:_MOST_PRINTED]:
        others = [f"{value:.6g}" for q, value in step["quantiles"].items() if q != "0.5"]
        rows.append([step["time"], f"{step['value']:.6g}", *others])
    return table(*rows)
