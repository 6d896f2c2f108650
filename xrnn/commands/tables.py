"""The tables of `xrnn forecast`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from rich.table import Table

from xrnn.files import printable
from xrnn.series import Forecaster
from xrnn.series.forecast.forecasts import Forecast
from xrnn.series.forecast.scores import Backtest, ForecastScores

_MOST_PRINTED: Final = 40  # steps ahead
_MOST_STEPS: Final = 7  # with a column in the table of errors


def parts_of(forecaster: Forecaster) -> str:
    """A line: the parts of the forecast."""
    share, corrected = forecaster.smoothing_, ", corrected by a recurrent part" * bool(forecaster.recurrent_.any())
    if not forecaster.linear_.any():
        return f"forecasts: exponential smoothing{corrected}; too few rows were left out to test a linear part"
    return f"forecasts: {share:.0%} exponential smoothing, {1 - share:.0%} linear part{corrected}"


def as_dict(scores: dict[str, ForecastScores]) -> dict[str, Any]:
    return {method: each._asdict() for method, each in scores.items()}


def table_with(*names: str, max_width: int | None = None) -> Table:
    """An empty table: text, up to `max_width`, then columns of numbers."""
    table = Table(box=None, pad_edge=False)
    table.add_column(names[0], max_width=max_width, overflow="ellipsis", no_wrap=True)
    for name in names[1:]:
        table.add_column(name, justify="right")
    return table


def scores_table(scores: dict[str, ForecastScores], levels: tuple[float, ...]) -> Table:
    table = table_with("", "MASE", "sMAPE", "pinball", "width", f"coverage of {levels[-1] - levels[0]:.0%}")
    for name, each in by_method(scores).items():
        mase, smape, coverage, pinball, width, _ = each
        figures = f"{mase:.3f}", f"{smape:.2f}%", f"{pinball:.3f}", f"{width:.2f}", f"{coverage:.0%}"
        table.add_row(name.replace("_", " "), *figures)
    return table


def steps_table(scores: dict[str, ForecastScores]) -> Table:
    """The MASE of some steps ahead."""
    F = len(scores["model"].steps)
    steps = np.unique(np.linspace(1, F, min(F, _MOST_STEPS)).round().astype(int)).tolist()
    table = table_with("MASE of step", *map(str, steps))
    for name, each in by_method(scores).items():
        table.add_row(name.replace("_", " "), *(f"{each.steps[step - 1]:.3f}" for step in steps))
    return table


def by_method(scores: dict[str, ForecastScores]) -> dict[str, ForecastScores]:
    """The scores to show. Two naive forecasts that are the same, because the season is 1, are one."""
    same = {"seasonal_naive"} if scores["naive"] == scores["seasonal_naive"] else set()
    return {name: each for name, each in scores.items() if name not in same}


def series_table(tests: Sequence[Backtest], shown: Iterable[str]) -> Table:
    """The MASE of each series, by the methods to show."""
    table = table_with("MASE", *(name.replace("_", " ") for name in shown))
    for each in tests[:_MOST_PRINTED]:
        table.add_row(printable(each.name), *(f"{each.scores[method].mase:.3f}" for method in shown))
    if len(tests) > _MOST_PRINTED:
        table.add_row(f"… and {len(tests) - _MOST_PRINTED:,} more in --json")
    return table


def forecast_table(forecast: Forecast) -> Table:
    table = table_with("time", "forecast", *(f"{q:g}" for q in forecast.levels if q != 0.5))
    for step in forecast.steps()[:_MOST_PRINTED]:
        others = [f"{value:.6g}" for q, value in step["quantiles"].items() if q != "0.5"]
        table.add_row(printable(step["time"]), f"{step['value']:.6g}", *others)
    return table
