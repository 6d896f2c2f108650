"""A forecaster: recurrent layers over the context, a linear layer for all steps ahead. Its files and its forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Self

import numpy as np

from xrnn.backend import Backend
from xrnn.files import printable
from xrnn.layers.dropout import Dropout
from xrnn.losses import quantile
from xrnn.models.checkpoint import Kind, Snapshot, Spec
from xrnn.models.errors import DataError
from xrnn.models.forecast.data import (
    TOO_FEW,
    ForecastSeries,
    aligned,
    check_step,
    listed,
    with_later_times,
)
from xrnn.models.forecast.linear import LinearPart
from xrnn.models.forecast.settings import ForecastFacts, ForecastSettings
from xrnn.models.forecast.windows import Windows
from xrnn.models.plan import Model
from xrnn.series.checks import Series, Time
from xrnn.series.scale import Scale
from xrnn.series.tables import Columns
from xrnn.series.times import show
from xrnn.typing import Array, HostArray, Shape

_INFERENCE_BATCH: Final = 256  # windows, so that memory does not grow with their number


class ForecastModel(Model):
    """y = [dropout(h[C]); z; ahead] @ W + b,   h = stack(x)   (after Lai et al., 2018).

    h[C] is the last hidden state, z (C,) the scaled context, ahead the known columns of the steps ahead. W begins at 0:
    the first forecast is the base of the windows. The forecast is base + share · scale · y.

    offsets   (F, Q), added to the forecast quantiles, in units of the series
    share     from 0 to 1. Both are set by `ForecastTrainer.calibrate`
    """

    def __init__(self, settings: ForecastSettings, facts: ForecastFacts, layers: Mapping[str, Any]) -> None:
        super().__init__(layers)
        self.settings, self.facts = settings, facts
        self.offsets: HostArray = np.zeros(offsets_shape(settings, facts))
        self.share = 1.0
        self._dropout = Dropout(settings.dropout, seed=settings.seed, layer=settings.layers)
        self.dropouts.append(self._dropout)

    @classmethod
    def init(cls, settings: ForecastSettings, facts: ForecastFacts, backend: Backend) -> Self:
        """New float32 weights, the same on every backend."""
        return cls(settings, facts, settings.plan(facts).make(backend))

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
        xp, levels = self.backend.xp, self.settings.levels
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
        m = self.settings.levels.index(0.5)
        median = y[..., m : m + 1].copy()
        y += windows.unit[..., None] * self.offsets
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
    """

    name: str
    times: Sequence[Time]
    levels: tuple[float, ...]
    values: HostArray
    flaw: str = ""
    id: str = ""

    @property
    def median(self) -> HostArray:
        """(F,)"""
        median: HostArray = self.values[:, self.levels.index(0.5)]
        return median

    def steps(self) -> list[dict[str, Any]]:
        """For `--json`: an object for each step ahead."""
        return [
            {
                "time": show(time),
                "value": value,
                "quantiles": {f"{q:g}": v for q, v in zip(self.levels, row, strict=True)},
            }
            for time, value, row in zip(self.times, self.median.tolist(), self.values.tolist(), strict=True)
        ]

    def rows(self) -> list[list[str]]:
        """The printed fields of each step ahead: the value, QUANTILE:VALUE for the others, the time, the name."""
        others = [i for i, q in enumerate(self.levels) if q != 0.5]
        return [
            [f"{value:.6g}", *(f"{self.levels[i]:g}:{row[i]:.6g}" for i in others), show(time), self.name]
            for time, value, row in zip(self.times, self.median, self.values, strict=True)
        ]


def naive_forecasts(forecasts: Sequence[Forecast]) -> str:
    """A line: which forecasts are naive, and why; empty if none is."""
    naive = [each for each in forecasts if each.flaw]
    if len(forecasts) == 1 and naive:
        return f"a naive forecast, since {printable(naive[0].name)} {naive[0].flaw}"
    names = listed([each.id for each in naive], len(forecasts))
    return f"naive forecasts for {names}: {TOO_FEW}" if naive else ""


def next_steps(model: ForecastModel, series: ForecastSeries, trained: str) -> Forecast:
    """The steps after the last value of `series`. The forecast is naive if the series has a flaw.

    trained   the name of the model's step

    Raises DataError if the times have another step, and if the series lacks a known covariate.
    """
    facts = model.facts
    step = check_step(series.times, series.name, trained, "the model was trained on") if series.times else None
    if step and series.times:
        times: Sequence[Time] = step.after(series.times[series.rows - 1], facts.horizon)
    else:
        times = range(1, facts.horizon + 1)
    (values,) = model.forecast(series.next_window())
    return Forecast(series.name, times, model.settings.levels, values, series.flaw, series.id)


def offsets_shape(settings: ForecastSettings, facts: ForecastFacts) -> Shape:
    return facts.horizon, len(settings.levels)


def _arrays(settings: ForecastSettings, facts: ForecastFacts, step: int) -> dict[str, Spec]:
    """`offsets`, `share`: see ForecastModel; `linear.*`: see LinearPart; `rate`, `length`: see ForecastTrainer.

    `length` is -1 before it is chosen.
    """
    shapes: dict[str, Shape] = {"losses": (step,), "known.mean": (facts.known,), "known.deviation": (facts.known,)}
    shapes |= {
        "offsets": offsets_shape(settings, facts),
        "rate": (1,),
        "length": (1,),
        "share": (1,),
        "linear.W": (facts.context + 1, facts.horizon),
        "linear.effect": (facts.covariates,),
    }
    return {name: (shape, "float64") for name, shape in shapes.items()}


FORECASTER: Final = Kind(
    "xrnn forecaster", "xrnn forecast", ForecastSettings, ForecastSettings.plan, _arrays, ForecastFacts.from_json
)


class TrainedForecaster:
    """The model of a snapshot, with the scale of its covariates."""

    def __init__(self, snapshot: Snapshot[ForecastSettings]) -> None:
        self.settings = snapshot.settings
        self.facts: ForecastFacts = snapshot.facts
        self.model = ForecastModel(self.settings, self.facts, snapshot.layers)
        self.covariate_scale = Scale(snapshot.arrays["known.mean"], snapshot.arrays["known.deviation"])
        self.model.offsets, self.model.share = snapshot.arrays["offsets"], float(snapshot.arrays["share"][0])
        self.linear = LinearPart(snapshot.arrays["linear.W"], snapshot.arrays["linear.effect"])

    def forecast(self, series: Series, rows: int | None = None) -> Forecast:
        """The steps after the first `rows` rows; by default, after the last known value.

        The forecast is naive if the series is too short or constant. Raises DataError if the series has no value, other
        times, or lacks known covariates, and if the memory does not suffice.
        """
        series = aligned(series, self.facts)
        if np.isnan(series.values[:rows, 0]).all():
            raise DataError(f"{series.name} has no value to continue: expected some; leave it out")
        try:
            made = ForecastSeries(self._timed(series), self.facts, self.covariate_scale, rows=rows).use(self.linear)
            return next_steps(self.model, made, self.facts.step)
        except MemoryError as error:
            raise DataError.of(error) from error

    def _timed(self, series: Series) -> Series:
        """The series with the times of the steps ahead, if the model has a calendar."""
        if not self.facts.calendar:
            return series
        step = check_step(series.times or (), series.name, self.facts.step, "the model was trained on")
        if step is None or not isinstance((series.times or [0])[0], datetime):
            raise DataError(
                f"{printable(series.name)} has no dates, and the model uses the {self.facts.calendar}: expected dates; "
                "add a column or an index of them"
            )
        return with_later_times(series, step, self.facts.horizon)

    @property
    def columns(self) -> Columns:
        """How to read new .csv files."""
        columns, names = self.settings.columns, self.facts.channel_names or ()
        optional, renamed = frozenset({columns.id, columns.time}), bool(names) and not self.settings.target
        return replace(columns, used=columns.used or names, renamed=renamed, optional=optional, remedy="correct it")
