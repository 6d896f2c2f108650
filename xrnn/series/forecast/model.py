"""A forecaster: recurrent layers over the context, a linear layer for all steps ahead. And its forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np

from xrnn.files import printable
from xrnn.layers.dropout import Dropout
from xrnn.losses import quantile
from xrnn.series.checks import Time
from xrnn.series.errors import SettingsError
from xrnn.series.forecast.data import listed
from xrnn.series.forecast.series import TOO_FEW, ForecastSeries
from xrnn.series.forecast.windows import ForecastFacts, Windows
from xrnn.series.plan import Model, Plan
from xrnn.series.times import show
from xrnn.typing import Array, HostArray

_MOST_OUTPUTS: Final = 2**20
_DAY: Final = timedelta(days=1)
_INFERENCE_BATCH: Final = 256  # windows, so that memory does not grow with their number


def plan(p: Any, facts: ForecastFacts) -> Plan:
    """The layers that the parameters and the data describe.   Raises SettingsError for too many outputs."""
    F, Q = facts.horizon, len(p.levels)
    if F * max(facts.covariates, Q) > _MOST_OUTPUTS:
        raise SettingsError(f"horizon is {F}: expected at most {_MOST_OUTPUTS} outputs")
    return Plan(
        p.cell,
        facts.inputs,
        p.hidden,
        p.layers,
        F * Q,
        features=facts.context + F * facts.covariates,
        dropout=p.dropout,
        seed=p.seed,
        heads=p.heads if p.heads > 1 else None,
    )


class ForecastModel(Model):
    """y = [dropout(h[C]); z; ahead] @ W + b,   h = stack(x)   (after Lai et al., 2018).

    h[C] is the last hidden state, z (C,) the scaled context, ahead the known columns of the steps ahead. W begins at 0:
    the first forecast is the base of the windows. The forecast is base + share · scale · y.

    offsets   (F, Q), added to the forecast quantiles, in units of the series
    spread    by which a reach of 1 widens the intervals: errors are larger where known columns have a large effect
    share     from 0 to 1. All are set by `ForecastTraining.calibrate`
    """

    def __init__(self, layers: Mapping[str, Any], p: Any, facts: ForecastFacts) -> None:
        super().__init__(layers)
        self.levels: tuple[float, ...] = p.levels
        self.facts = facts
        self.offsets: HostArray = np.zeros((facts.horizon, len(self.levels)))
        self.share, self.spread = 1.0, 0.0
        self._dropout = Dropout(p.dropout, seed=p.seed, layer=p.layers)
        self.dropouts.append(self._dropout)

    def forward(self, x: Array, ahead: Array) -> Array:
        """x (C, N, 2 + K), ahead (N, F · K) → y (N, F · Q); keeps the arrays for `backward`."""
        h, _ = self.stack.forward(x)
        self._h_shape = h.shape
        return self.linear.forward(self._features(self._dropout.forward(h[-1]), x, ahead))

    def backward(self, dy: Array) -> None:
        """dy (N, F · Q) → the gradients of every layer."""
        dfeatures = self.linear.backward(dy)
        dh = self.backend.xp.zeros(self._h_shape, dy.dtype)
        dh[-1] = self._dropout.backward(self.backend.xp.ascontiguousarray(dfeatures[:, : self._h_shape[-1]]))
        self.stack.backward(dh, needs_dx=False)

    def __call__(self, x: Array, ahead: Array) -> Array:
        """Inference: y without dropout; nothing is kept."""
        h, _ = self.stack(x)
        return self.linear(self._features(h[-1], x, ahead))

    def train_step(self, x: Array, ahead: Array, target: Array) -> Array:
        """Forward and backward → the mean pinball loss, 0-d on the device.   target (N, F), NaN for a missing value."""
        xp, levels = self.backend.xp, self.levels
        y = self.forward(x, ahead).reshape(*target.shape, len(levels))
        dy, exists = xp.empty_like(y), target == target
        loss: Any = 0.0
        for i, level in enumerate(levels):
            of_level, dy[..., i] = quantile(xp.ascontiguousarray(y[..., i]), target, level, mask=exists)
            loss = loss + of_level
        self.backward((dy / len(levels)).reshape(len(dy), -1))
        mean: Array = loss / len(levels)
        return mean

    def corrections(self, windows: Windows) -> HostArray:
        """The sorted outputs y for the steps ahead, (N, F, Q) float64."""
        asarray = self.backend.asarray
        y = np.zeros((len(windows.ahead), self.linear.output_size))
        for first in range(0, len(y), _INFERENCE_BATCH):
            part = slice(first, first + _INFERENCE_BATCH)
            x = asarray(np.ascontiguousarray(windows.x[:, part]))
            y[part] = self.backend.to_numpy(self(x, asarray(windows.ahead[part])))
        return np.sort(y.reshape(*windows.base.shape, -1), axis=-1)

    def forecast(self, windows: Windows) -> HostArray:
        """The quantiles of the steps ahead, (N, F, Q) float64. Higher quantiles are never below lower ones.

        The offsets do not change the median.
        """
        y = self.share * windows.scale[..., None] * self.corrections(windows)
        m = self.levels.index(0.5)
        median = y[..., m : m + 1].copy()
        y += (windows.unit * (1 + self.spread * windows.reach))[..., None] * self.offsets
        y[..., :m], y[..., m + 1 :] = np.minimum(y[..., :m], median), np.maximum(y[..., m + 1 :], median)
        return windows.forecast(np.sort(y, axis=-1))

    def _features(self, h: Array, x: Array, ahead: Array) -> Array:
        features: Array = self.backend.xp.concatenate([h, x[..., 0].T, ahead], axis=1)
        return features


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """The forecast of one series.

    name        of the series
    times       of the steps ahead; their numbers 1, 2, … without a column of times
    levels      the quantiles; values (F, Q)
    flaw        why the forecast is naive: see `ForecastSeries.flaw`; empty if it is that of the model
    id          in the column that tells the series of a file apart, else the name
    clock       whether steps are shorter than a day: the text of a time then has its 00:00
    """

    name: str
    times: Sequence[Time]
    levels: tuple[float, ...]
    values: HostArray
    flaw: str = ""
    id: str = ""
    clock: bool = False

    @property
    def median(self) -> HostArray:
        """(F,)"""
        median: HostArray = self.values[:, self.levels.index(0.5)]
        return median

    def steps(self) -> list[dict[str, Any]]:
        """For `--json`: an object for each step ahead."""
        return [
            {
                "time": time.isoformat(" ") if self.clock and isinstance(time, datetime) else show(time),
                "value": value,
                "quantiles": {f"{q:g}": v for q, v in zip(self.levels, row, strict=True)},
            }
            for time, value, row in zip(self.times, self.median.tolist(), self.values.tolist(), strict=True)
        ]


def naive_forecasts(forecasts: Sequence[Forecast]) -> str:
    """A line: which forecasts are naive, and why; empty if none is."""
    naive = [each for each in forecasts if each.flaw]
    if len(forecasts) == 1 and naive:
        return f"a naive forecast, since {printable(naive[0].name)} {naive[0].flaw}"
    names = listed([each.id for each in naive], len(forecasts))
    return f"naive forecasts for {names}: {TOO_FEW}" if naive else ""


def next_steps(model: ForecastModel, series: ForecastSeries) -> Forecast:
    """The steps after the last value of `series`. The forecast is naive if the series has a flaw.

    Raises DataError if the series lacks a known value.
    """
    T, F = series.rows, model.facts.horizon
    last, *times = (series.times or ())[T - 1 : T + F] or [0.0]
    clock = any(isinstance(time, datetime) and bool((time - last) % _DAY) for time in times)  # type: ignore[operator]
    (values,) = model.forecast(series.next_window())
    times = times if len(times) == F else [*range(1, F + 1)]
    return Forecast(series.name, times, model.levels, values, series.flaw, series.id, clock)
