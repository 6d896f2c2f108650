"""The scores of forecasts, and the naive forecasts to compare with."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from xrnn.models.forecast.data import ForecastData
from xrnn.typing import HostArray


class ForecastScores(NamedTuple):
    """Means over all forecast values that are known (Hyndman & Koehler, 2006).

    mase       |error| / the mean |v[t] - v[t - season]| of the training rows
    smape      200 |error| / (|value| + |forecast|), in percent
    coverage   the share of values between the lowest and the highest quantile
    """

    mase: float
    smape: float
    coverage: float

    @classmethod
    def of(cls, target: HostArray, forecast: HostArray, median: int, unit: HostArray) -> ForecastScores:
        """target (N, F), NaN for a missing value; forecast (N, F, Q); unit (N, 1): the divisor of the MASE."""
        exists = ~np.isnan(target)
        error, size = np.abs(target - forecast[..., median]), np.abs(target) + np.abs(forecast[..., median])
        relative = np.divide(200 * error, size, out=np.zeros_like(error), where=size > 0)
        inside = (forecast[..., 0] <= target) & (target <= forecast[..., -1])
        return cls(*(float(each[exists].mean()) for each in (error / unit, relative, inside)))


def mase_divisor(values: HostArray, season: int) -> float:
    """The mean |v[t] - v[t - season]| of values (T,); NaN for a missing value.

    If it is 0, because the series is strictly periodic: the mean |v[t] - v[t - 1]|, and 1 if this is 0 too.
    """
    return _mean_change(values, season) or _mean_change(values, 1) or 1.0


def _mean_change(values: HostArray, distance: int) -> float:
    changes = np.abs(values[distance:] - values[:-distance])
    changes = changes[~np.isnan(changes)]
    return float(changes.mean()) if changes.size else 0.0


def naive_quantiles(
    values: HostArray, origins: HostArray, past: HostArray, horizon: int, season: int, levels: tuple[float, ...]
) -> HostArray:
    """The forecast that repeats the last `season` steps, with the quantiles of its errors at `past` → (N, F, Q).

    values   (T,), filled; origins, past: places of first steps to forecast
    """

    def repeat(at: HostArray) -> HostArray:
        repeated: HostArray = values[at[:, None] - season + np.arange(horizon) % season]
        return repeated

    errors = values[past[:, None] + np.arange(horizon)] - repeat(past)
    spread = np.quantile(errors, levels, axis=0).T  # (F, Q)
    spread[:, levels.index(0.5)] = 0  # the forecast itself
    forecast: HostArray = repeat(origins)[..., None] + spread
    return forecast


def backtest(data: ForecastData, tested: HostArray, levels: tuple[float, ...]) -> dict[str, ForecastScores]:
    """The scores of the model's forecasts `tested` of the windows `data.test`, and of the naive forecasts."""
    shape, median = data.shape, levels.index(0.5)
    unit = np.concatenate(
        [
            np.full((len(data.test_origins(i)), 1), mase_divisor(each.target[: data.cuts[i]], shape.season))
            for i, each in enumerate(data.series)
        ]
    )

    def naive(season: int) -> HostArray:
        return np.concatenate(
            [
                naive_quantiles(
                    each.filled, data.test_origins(i), data.training_origins(i), shape.horizon, season, levels
                )
                for i, each in enumerate(data.series)
                if len(data.test_origins(i))
            ]
        )

    forecasts = {"model": tested, "naive": naive(1), "seasonal_naive": naive(shape.season)}
    target: Any = data.test.target
    return {name: ForecastScores.of(target, each, median, unit) for name, each in forecasts.items()}
