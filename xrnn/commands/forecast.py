"""`xrnn forecast`: train a forecaster, test it on the last rows, and forecast the next ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.table import Table

from xrnn.commands.forecast_picture import forecast_picture
from xrnn.commands.picture import Picture
from xrnn.commands.run import Job
from xrnn.commands.terminal import Terminal
from xrnn.files import printable
from xrnn.models.forecast.checkpoint import FORECAST_CHECKPOINTS
from xrnn.models.forecast.data import ForecastData, load_series, prepare
from xrnn.models.forecast.predict import Forecast, forecast_series
from xrnn.models.forecast.scores import Scores, naive_quantiles, seasonal_differences
from xrnn.models.forecast.settings import ForecastSettings
from xrnn.models.forecast.trainer import DEFAULT_STEPS, ForecastTrainer
from xrnn.typing import HostArray

_MOST_PRINTED: Final = 40  # steps ahead


class ForecastJob(Job[ForecastTrainer]):
    """`xrnn forecast` with its options."""

    checkpoints = FORECAST_CHECKPOINTS
    default_out = Path("forecaster.safetensors")
    trainer = ForecastTrainer
    unit = "steps"
    data = "series"
    argument = "FILEs"
    picture = "picture"
    use = "xrnn predict {} FILE..."

    def load(self, settings: ForecastSettings) -> ForecastData:
        return prepare(load_series(self.paths, settings), settings)

    def default_upto(self, data: ForecastData) -> int:
        return DEFAULT_STEPS

    def report(self, trainer: ForecastTrainer, terminal: Terminal) -> tuple[dict[str, Any], Picture]:
        """The backtest beside the naive forecasts, and the forecast of the steps after the last row."""
        data = trainer.data.backtest
        assert data is not None
        terminal.note(f"testing and calibrating: trainings of {trainer.steps:,} steps on parts of the rows")
        trainer.calibrate()
        past = trainer.trained_on(data, trainer.steps)
        past.calibrate()
        tested = past.model.forecast(data.test, trainer.comm)
        scores = backtest(data, tested, trainer.settings.levels)
        forecasts = [forecast_series(trainer.model, series, trainer.facts.step) for series in trainer.data.series]
        terminal.result(f"backtest: {len(tested):,} forecasts of {data.shape.horizon} steps")
        terminal.result(_scores_table(scores, trainer.settings.levels))
        terminal.result(_forecast_table(forecasts[0]))
        steps = [{"name": each.name} | step for each in forecasts for step in each.steps()]
        results = {"backtest": {name: each.results() for name, each in scores.items()}, "forecast": steps}
        return results, forecast_picture(data, tested, forecasts[0], scores)


def backtest(data: ForecastData, tested: HostArray, levels: tuple[float, ...]) -> dict[str, Scores]:
    """The scores of the model's forecasts `tested` of the windows `data.test`, and of the naive forecasts."""
    shape, median = data.shape, levels.index(0.5)
    unit = np.concatenate(
        [
            np.full((len(data.test_origins(i)), 1), _unit(each.target[: data.cuts[i]], shape.season))
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
    return {name: Scores.of(target, each, median, unit) for name, each in forecasts.items()}


def _unit(target: HostArray, season: int) -> float:
    """The mean seasonal difference; that of a strictly periodic series is 0, so its mean change stands in for it."""
    return seasonal_differences(target, season) or seasonal_differences(target, 1) or 1.0


def _scores_table(scores: dict[str, Scores], levels: tuple[float, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in ("MASE", "sMAPE", f"coverage of {levels[-1] - levels[0]:.0%}"):
        table.add_column(name, justify="right")
    for name, each in scores.items():
        table.add_row(name.replace("_", " "), f"{each.mase:.3f}", f"{each.smape:.2f}%", f"{each.coverage:.0%}")
    return table


def _forecast_table(forecast: Forecast) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("time")
    for name in ("forecast", *(f"{q:g}" for q in forecast.levels if q != 0.5)):
        table.add_column(name, justify="right")
    for step in forecast.steps()[:_MOST_PRINTED]:
        others = [f"{value:.6g}" for q, value in step["quantiles"].items() if q != "0.5"]
        table.add_row(printable(step["time"]), f"{step['value']:.6g}", *others)
    return table
