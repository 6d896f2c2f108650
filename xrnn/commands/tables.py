"""The tables of `xrnn forecast`, as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from xrnn.commands.terminal import table
from xrnn.series import Forecaster
from xrnn.series.forecast.forecasts import Forecast
from xrnn.series.forecast.scores import Backtest, ForecastScores

_MOST_PRINTED: Final = 40  # steps ahead, or series
_MOST_STEPS: Final = 7  # with a column in the table of errors


def parts_of(forecaster: Forecaster) -> str:
    """A line: the parts of the forecast."""
    share, corrected = forecaster.smoothing_, ", corrected by a recurrent part" * bool(forecaster.recurrent_.any())
    if not forecaster.linear_.any():
        return f"forecasts: exponential smoothing{corrected}; too few rows were left out to test a linear part"
    return f"forecasts: {share:.0%} exponential smoothing, {1 - share:.0%} linear part{corrected}"


def as_dict(scores: dict[str, ForecastScores]) -> dict[str, Any]:
    """For JSON."""
    return {method: each._asdict() for method, each in scores.items()}


def scores_tables(scores: dict[str, ForecastScores], levels: tuple[float, ...]) -> str:
    """The scores of each method, and the MASE of some steps ahead."""
    F = len(scores["model"].steps)
    steps = np.unique(np.linspace(1, F, min(F, _MOST_STEPS)).round().astype(int)).tolist()
    rows = [["", "MASE", "sMAPE", "pinball", "width", f"coverage of {levels[-1] - levels[0]:.0%}"]]
    of_steps = [["MASE of step", *map(str, steps)]]
    for method in shown(scores):
        name, each = method.replace("_", " "), scores[method]
        figures = f"{each.mase:.3f}", f"{each.smape:.2f}%", f"{each.pinball:.3f}", f"{each.width:.2f}"
        rows.append([name, *figures, f"{each.coverage:.0%}"])
        of_steps.append([name, *(f"{each.steps[step - 1]:.3f}" for step in steps)])
    return "\n".join([table(*rows), *[table(*of_steps)] * (F > 1)])


def shown(scores: dict[str, ForecastScores]) -> list[str]:
    """The methods to show: without the seasonal naive forecast, if the season is 1."""
    return [name for name in scores if name != "seasonal_naive" or scores[name] != scores["naive"]]


def series_table(tests: Sequence[Backtest], methods: Sequence[str]) -> str:
    """The MASE of each series."""
    rows = [["MASE", *(method.replace("_", " ") for method in methods)]]
    rows += [[each.name, *(f"{each.scores[method].mase:.3f}" for method in methods)] for each in tests[:_MOST_PRINTED]]
    more = len(tests) - _MOST_PRINTED
    return table(*rows) + f"\n… and {more:,} more in --json" * (more > 0)


def forecast_table(forecast: Forecast) -> str:
    rows = [["time", "forecast", *(f"{q:g}" for q in forecast.levels if q != 0.5)]]
    for step in forecast.steps()[:_MOST_PRINTED]:
        others = [f"{value:.6g}" for q, value in step["quantiles"].items() if q != "0.5"]
        rows.append([step["time"], f"{step['value']:.6g}", *others])
    return table(*rows)
