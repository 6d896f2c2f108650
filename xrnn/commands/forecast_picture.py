"""The picture of a forecaster: the backtest, and the forecast."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from xrnn.commands.picture import Picture
from xrnn.models.data.series import escaped
from xrnn.models.forecast.data import ForecastData
from xrnn.models.forecast.predict import Forecast
from xrnn.models.forecast.scores import Scores
from xrnn.typing import HostArray

_BEFORE: Final = 3  # horizons or backtests that are shown before the forecasts


def forecast_picture(data: ForecastData, tested: HostArray, forecast: Forecast, scores: dict[str, Scores]) -> Picture:
    """The first series: forecasts one horizon apart over the held-out rows, then the steps after the last row."""
    series, F, cut = data.series[0], data.shape.horizon, data.cuts[0]
    median = forecast.levels.index(0.5)
    band = f"{forecast.levels[0]:g} to {forecast.levels[-1]:g}"

    def draw(figure: Any) -> None:
        top, bottom = figure.subplots(2, 1)
        first = max(0, min(cut - data.shape.context, series.rows - _BEFORE * (series.rows - cut)))
        _draw_values(top, series.target, first)
        origins = data.test_origins(0)
        for place in range(0, len(origins), F):
            _draw_forecast(top, origins[place], tested[place], median, None if place else f"forecast, {band}")
        model, naive = scores["model"], scores["seasonal_naive"]
        top.set(title=f"backtest: MASE {model.mase:.3f}, seasonal naive {naive.mase:.3f}", xlabel="row")
        top.legend()
        _draw_values(bottom, series.target, max(0, series.rows - _BEFORE * max(F, data.shape.season)))
        _draw_forecast(bottom, series.rows, forecast.values, median, f"forecast, {band}")
        name = escaped(series.name).replace("$", r"\$")[:60]
        bottom.set(title=f"{name}: the next {F} steps", xlabel="row")
        bottom.legend()

    return Picture((9, 6.5), draw)


def _draw_values(axes: Any, values: HostArray, first: int) -> None:
    axes.plot(np.arange(first, len(values)), values[first:], color="tab:gray", label="values")
    axes.grid(alpha=0.3)


def _draw_forecast(axes: Any, origin: int, values: HostArray, median: int, label: str | None) -> None:
    """values (F, Q)."""
    places = origin + np.arange(len(values))
    axes.fill_between(places, values[:, 0], values[:, -1], color="tab:blue", alpha=0.2, linewidth=0)
    axes.plot(places, values[:, median], color="tab:blue", label=label)
