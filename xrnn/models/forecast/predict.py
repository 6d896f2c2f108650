"""Forecasts by a trained model: the next values of series in files, or after each row of a stream."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from xrnn.backend import Backend
from xrnn.models.checkpoint import Snapshot
from xrnn.models.data.read import check_same
from xrnn.models.data.scale import Scale
from xrnn.models.data.series import Series
from xrnn.models.data.tables import Columns
from xrnn.models.errors import DataError, SettingsError
from xrnn.models.forecast.checkpoint import FORECAST_CHECKPOINTS, Facts
from xrnn.models.forecast.data import ForecastSeries, check_step, columns_for
from xrnn.models.forecast.model import ForecastModel
from xrnn.models.forecast.settings import ForecastSettings
from xrnn.models.forecast.times import show
from xrnn.models.forecast.windows import Shape
from xrnn.models.labelled.predict import PredictOptions, of_all, rows_in
from xrnn.models.settings import option
from xrnn.typing import HostArray

if TYPE_CHECKING:
    from xrnn.commands.terminal import Terminal


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


def forecast_series(model: ForecastModel, series: ForecastSeries, trained: str) -> Forecast:
    """The steps after the last value of `series`.   trained: the name of the model's step.   Raises DataError."""
    shape = model.shape
    step = check_step(series.times, series.name, trained, "the model was trained on") if series.times else None
    if step and series.times:
        times = [show(time) for time in step.after(series.times[series.rows - 1], shape.horizon)]
    else:
        times = [str(i) for i in range(1, shape.horizon + 1)]
    (values,) = model.forecast(series.next_window(shape))
    return Forecast(series.name, times, model.settings.levels, values)


class Forecasting:
    """A trained model."""

    def __init__(self, snapshot: Snapshot[ForecastSettings]) -> None:
        self.settings = snapshot.settings
        self.facts: Facts = snapshot.facts
        self.model = ForecastModel(self.settings, self.shape, snapshot.layers)
        self.known = Scale(snapshot.arrays["known.mean"], snapshot.arrays["known.deviation"])
        self.model.offsets = snapshot.arrays.get("offsets", self.model.offsets)

    @classmethod
    def load(cls, checkpoint: Path, backend: Backend) -> Self:
        """Raises CheckpointError."""
        return cls(FORECAST_CHECKPOINTS.load(checkpoint, backend))

    @property
    def shape(self) -> Shape:
        return self.facts.shape

    def forecast(self, series: Series) -> Forecast:
        """Raises DataError if the series is too short, constant, or lacks known covariates."""
        check_same(series, 1 + self.shape.known, self.facts.channel_names, "the model")
        if np.isnan(series.values[:, 0]).all():
            raise DataError(f"{series.name} has no value to continue: expected some; leave it out")
        of_model = ForecastSeries(series, self.shape.season, self.known)
        return forecast_series(self.model, of_model, self.facts.step)

    def columns_for(self, given: dict[str, Any], options: PredictOptions) -> Columns:
        """How to read .csv files.   given: the options on the command line.   Raises SettingsError."""
        refused = [option(name) for name in given if name != "decimal"] + ["--proba"] * options.proba
        if refused:
            raise SettingsError(f"got {refused[0]} for a forecaster: expected --decimal, --json or --skip-bad")
        return columns_for(self.settings, self.facts, given.get("decimal", self.settings.decimal))

    def predict(self, paths: Sequence[Path], columns: Columns, options: PredictOptions, terminal: Terminal) -> None:
        """Print a line for each step ahead of each series.   Raises DataError before the first line."""
        for forecast in of_all(paths, columns, options, self.forecast):
            if options.json:
                terminal.row(json.dumps({"name": forecast.name, "forecast": forecast.steps()}))
            else:
                for row in forecast.rows():
                    terminal.row(*row)

    def stream(self, lines: Iterable[str], decimal: str, options: PredictOptions, terminal: Terminal) -> None:
        """Print the medians of the steps ahead after each row of a stream.

        The first line follows once there are enough rows for a context and two different values: the deviation of all
        rows so far is the scale of the series.

        Raises SettingsError for a model with known covariates, DataError for an unusable row.
        """
        C, _, season, known = self.shape
        if known:
            raise SettingsError("--stream has no known columns of the steps ahead: expected a model without --known")
        values: list[float] = []
        count, mean, squares = 0, 0.0, 0.0  # of the known values so far; squares: Σ (value - mean)²   (Welford, 1962)
        for number, row in rows_in(lines, decimal, 1, self.facts.channel_names, options):
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
                continue
            window = Series(np.array(values)[:, None], None, f"row {number}")
            deviation = math.sqrt(squares / count)
            of_window = ForecastSeries(window, self.shape.season, self.known, deviation=deviation)
            forecast = forecast_series(self.model, of_window, "")
            if options.json:
                terminal.row(json.dumps({"row": number, "forecast": forecast.steps()}))
            else:
                terminal.row(*(f"{value:.6g}" for value in forecast.median))
            if terminal.lost:
                return
