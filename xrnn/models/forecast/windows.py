"""Windows of series: the context that a forecast is made from, and the values to forecast.

A window is scaled by its own values, so that a trend or a growing amplitude does not leave the range seen in training:

    z = (v - level) / scale,   level = mean of the last season,   scale = standard deviation of the window

The model forecasts the difference to the seasonal naive forecast, which repeats the last season.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from xrnn.models.forecast.settings import ForecastFacts
from xrnn.typing import Array, HostArray

_LEAST_SCALE: Final = 0.05  # of the series' deviation: a window without changes has no scale of its own
_FAR: Final = 1e3  # scales from the level: values are clipped here, so that one outlier does not end the training


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """N windows on the host.

    x        (C, N, 2 + K) float32, the inputs
    ahead    (N, F · K) float32, the covariates of the steps to forecast
    base     (N, F), the seasonal naive forecast
    scale    (N, 1), of each window
    target   (N, F), NaN for a missing value; None if the future is unknown
    """

    x: HostArray
    ahead: HostArray
    base: HostArray
    scale: HostArray
    target: HostArray | None = None

    @property
    def scaled_target(self) -> HostArray:
        """What the model should return, (N, F) float32, NaN for a missing value."""
        scaled: Any = (self.target - self.base) / self.scale
        clipped: HostArray = scaled.clip(-_FAR, _FAR).astype(np.float32)
        return clipped

    def part(self, rows: slice) -> Windows:
        """Some of the windows. The future must be known."""
        target: Any = self.target
        return Windows(self.x[:, rows], self.ahead[rows], self.base[rows], self.scale[rows], target[rows])

    def unscaled(self, y: HostArray) -> HostArray:
        """The forecasts from the model's outputs, (N, F, Q) float64."""
        unscaled: HostArray = self.base[..., None] + self.scale[..., None] * y
        return unscaled


def make_windows(
    values: HostArray,
    origins: HostArray,
    facts: ForecastFacts,
    deviation: float,
    covariates: HostArray,
    targets: HostArray | None,
) -> Windows:
    """The windows of a series at `origins`: the places of the first steps to forecast, (N,), each at least C.

    values       (T,), filled; deviation: of the series
    covariates   (T or more, K), scaled and filled
    targets      (T,), NaN for a missing value; None if the future is unknown
    """
    C, F, m, K = facts.context, facts.horizon, facts.season, facts.known
    context: HostArray = values[origins[:, None] + np.arange(-C, 0)]  # (N, C)
    ahead = origins[:, None] + np.arange(F)
    level = context[:, -m:].mean(axis=1, keepdims=True)
    scale = np.maximum(context.std(axis=1, keepdims=True), _LEAST_SCALE * deviation)
    z = ((context - level) / scale).clip(-_FAR, _FAR)
    change = np.zeros_like(z)
    change[:, m:] = z[:, m:] - z[:, :-m]
    of_steps = covariates[origins[:, None] + np.arange(-C, 0)]  # (N, C, K)
    x = np.concatenate([z[..., None], change[..., None], of_steps], axis=2).transpose(1, 0, 2)
    return Windows(
        np.ascontiguousarray(x, dtype=np.float32),
        (covariates[ahead] if K else np.zeros((len(origins), 0))).reshape(len(origins), F * K).astype(np.float32),
        context[:, C - m + np.arange(F) % m],
        scale,
        None if targets is None else targets[ahead],
    )


def joined(parts: list[Windows]) -> Windows:
    """All windows of `parts`, in their order."""
    targets = [part.target for part in parts if part.target is not None]
    return Windows(
        np.concatenate([part.x for part in parts], axis=1),
        np.concatenate([part.ahead for part in parts]),
        np.concatenate([part.base for part in parts]),
        np.concatenate([part.scale for part in parts]),
        np.concatenate(targets) if len(targets) == len(parts) else None,
    )


def pack(windows: Windows) -> HostArray:
    """x, ahead and the scaled target in one float32 buffer, so that a batch takes one transfer to the device."""
    return np.concatenate([windows.x.ravel(), windows.ahead.ravel(), windows.scaled_target.ravel()])


def unpack(buffer: Array, facts: ForecastFacts, count: int) -> tuple[Array, Array, Array]:
    """x (C, N, 2 + K), ahead (N, F · K) and the scaled target (N, F): views of a buffer from `pack`, on any device."""
    C, F, K = facts.context, facts.horizon, facts.known
    one, two = C * count * facts.inputs, count * F * K
    return (
        buffer[:one].reshape(C, count, facts.inputs),
        buffer[one : one + two].reshape(count, F * K),
        buffer[one + two :].reshape(count, F),
    )


def fill(values: HostArray, season: int) -> HostArray:
    """values (T,) without NaN: a missing value is that of a season before, else the last one, else the first known."""
    filled = values.copy()
    known = np.flatnonzero(~np.isnan(values))
    filled[: known[0]] = values[known[0]]
    for t in np.flatnonzero(np.isnan(filled)):
        filled[t] = filled[t - season] if t >= season else filled[t - 1]
    return filled
