"""Trained forecasters: their files, and what they predict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from xrnn.models.checkpoint import Kind, Snapshot, Spec
from xrnn.models.data.read import check_same
from xrnn.models.data.scale import Scale
from xrnn.models.data.series import Series
from xrnn.models.data.tables import Columns
from xrnn.models.errors import DataError, SettingsError, param
from xrnn.models.forecast.data import ForecastSeries, check_step
from xrnn.models.forecast.model import ForecastModel
from xrnn.models.forecast.settings import ForecastFacts, ForecastSettings
from xrnn.models.forecast.times import show
from xrnn.models.forecast.windows import Shape
from xrnn.typing import HostArray


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """The forecast of one series.

    name        of the series
    times       of the steps ahead, as text; their numbers 1, 2, … without a column of times
    levels      the quantiles; values (F, Q)
    """

    name: str
    times: list[str]
    levels: tuple[float, ...]
    values: HostArray

    @property
    def median(self) -> HostArray:
        """(F,)"""
        median: HostArray = self.values[:, self.levels.index(0.5)]
        return median

    def steps(self) -> list[dict[str, Any]]:
        """For `--json`: an object for each step ahead."""
        return [
            {"time": time, "value": value, "quantiles": {f"{q:g}": v for q, v in zip(self.levels, row, strict=True)}}
            for time, value, row in zip(self.times, self.median.tolist(), self.values.tolist(), strict=True)
        ]

    def rows(self) -> list[list[str]]:
        """The printed fields of each step ahead: the value, QUANTILE:VALUE for the others, the time, the name."""
        others = [i for i, q in enumerate(self.levels) if q != 0.5]
        return [
            [f"{value:.6g}", *(f"{self.levels[i]:g}:{row[i]:.6g}" for i in others), time, self.name]
            for time, value, row in zip(self.times, self.median, self.values, strict=True)
        ]


def next_steps(model: ForecastModel, series: ForecastSeries, trained: str) -> Forecast:
    """The steps after the last value of `series`.   trained: the name of the model's step.   Raises DataError."""
    shape = model.shape
    step = check_step(series.times, series.name, trained, "the model was trained on") if series.times else None
    if step and series.times:
        times = [show(time) for time in step.after(series.times[series.rows - 1], shape.horizon)]
    else:
        times = [str(i) for i in range(1, shape.horizon + 1)]
    (values,) = model.forecast(series.next_window(shape))
    return Forecast(series.name, times, model.settings.levels, values)


def _arrays(settings: ForecastSettings, facts: ForecastFacts, step: int) -> dict[str, Spec]:
    """`offsets`: see ForecastModel; `deviation`: see ForecastFacts."""
    sizes = {"losses": step, "known.mean": facts.known, "known.deviation": facts.known}
    sizes |= {"offsets": len(settings.levels)} | ({"deviation": len(facts.series)} if facts.series else {})
    return {name: ((size,), "float64") for name, size in sizes.items()}


FORECASTER: Final = Kind(
    "xrnn forecaster", "xrnn forecast", ForecastSettings, ForecastSettings.plan, _arrays, ForecastFacts.from_json
)


class TrainedForecaster:
    """The model of a snapshot, with the scale of its covariates."""

    def __init__(self, snapshot: Snapshot[ForecastSettings]) -> None:
        self.settings = snapshot.settings
        self.facts: ForecastFacts = snapshot.facts
        self.model = ForecastModel(self.settings, self.shape, snapshot.layers)
        self.known = Scale(snapshot.arrays["known.mean"], snapshot.arrays["known.deviation"])
        self.model.offsets = snapshot.arrays["offsets"]

    @property
    def shape(self) -> Shape:
        return self.facts.shape

    def forecast(self, series: Series, rows: int | None = None) -> Forecast:
        """The steps after the first `rows` rows; by default, after the last known value.

        Raises DataError if the series is too short, constant, or lacks known covariates, and if the memory does not
        suffice.
        """
        check_same(series, 1 + self.shape.known, self.facts.channel_names, "the model")
        if np.isnan(series.values[:, 0]).all():
            raise DataError(f"{series.name} has no value to continue: expected some; leave it out")
        try:
            of_model = ForecastSeries(series, self.shape.season, self.known, rows=rows)
            return next_steps(self.model, of_model, self.facts.step)
        except MemoryError as error:
            raise DataError.of(error) from error

    @property
    def columns(self) -> Columns:
        """How to read new .csv files."""
        columns = self.settings.columns
        used, optional = columns.used or (self.facts.channel_names or ()), frozenset({columns.id, columns.time})
        return replace(columns, used=used, optional=optional, remedy="correct it")

    def stream(self, rows: Iterable[HostArray]) -> Iterator[HostArray | None]:
        """The quantiles (F, Q) of the steps ahead after each row (1,) of a series, NaN for a missing value.

        None until there are enough rows for a context and two different values: the deviation of all rows so far is the
        scale of the series. Raises SettingsError for a model with known covariates.
        """
        if self.shape.known:
            raise SettingsError(
                f"{param('stream')} has no known columns of the steps ahead: expected a model without {param('known')}"
            )
        return self._streamed(rows)

    def _streamed(self, rows: Iterable[HostArray]) -> Iterator[HostArray | None]:
        C, season = self.shape.context, self.shape.season
        values: list[float] = []
        count, mean, squares = 0, 0.0, 0.0  # of the known values so far; squares: Σ (value - mean)²   (Welford, 1962)
        for number, row in enumerate(rows, start=1):
            # Replace a missing value at once: at the next row, the value one season earlier may be out of the context.
            value = float(row[0])
            if np.isnan(value):
                value = values[-season] if len(values) >= season else values[-1] if values else value
            else:
                count, change = count + 1, value - mean
                mean += change / count
                squares += change * (value - mean)
                values = values if count > 1 else [value] * len(values)  # the first known value replaces earlier ones
            values = [*values, value][-C:]
            if len(values) < C or not squares:
                yield None
                continue
            window = Series(np.array(values)[:, None], None, f"row {number}")
            deviation = math.sqrt(squares / count)
            of_window = ForecastSeries(window, season, self.known, deviation=deviation)
            (quantiles,) = self.model.forecast(of_window.next_window(self.shape))
            yield quantiles
