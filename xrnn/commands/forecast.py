"""`xrnn forecast`: train a forecaster, test it on the last rows, and forecast the next ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.table import Table

from xrnn.commands.options import Command, OptionsOf, RunOptions, path, with_options
from xrnn.commands.pictures import Picture, forecast_picture
from xrnn.commands.run import run_command
from xrnn.commands.terminal import Terminal
from xrnn.files import printable
from xrnn.models.forecast.data import ForecastData, ForecastScores, load_series, prepare, score
from xrnn.models.forecast.model import FORECASTER, Forecast, next_steps
from xrnn.models.forecast.settings import ForecastSettings
from xrnn.models.forecast.trainer import DEFAULT_STEPS, ForecastTrainer

_MOST_PRINTED: Final = 40  # steps ahead


class ForecastCommand(Command[ForecastTrainer]):
    """`xrnn forecast` with its options."""

    kind = FORECASTER
    default_out = Path("forecaster.safetensors")
    trainer = ForecastTrainer
    unit = "steps"
    argument = "FILEs"
    unfinished = "the intervals of its forecasts are not calibrated"

    def load(self, settings: ForecastSettings) -> ForecastData:
        return prepare(load_series(self.paths, settings), settings)

    def default_upto(self, data: ForecastData) -> int:
        return DEFAULT_STEPS

    def report(self, trainer: ForecastTrainer, terminal: Terminal) -> tuple[dict[str, Any], Picture]:
        """The backtest beside the naive forecasts, and the forecast of the steps after the last row."""
        data = trainer.data.past
        assert data is not None
        terminal.note(f"testing and calibrating: trainings of {trainer.steps:,} steps on parts of the rows")
        trainer.calibrate()
        past = trainer.trained_on(data, trainer.steps)
        past.calibrate()
        tested = past.model.forecast(data.test, trainer.comm)
        scores = score(data, tested, trainer.settings.levels)
        forecasts = [next_steps(trainer.model, series, trainer.facts.step) for series in trainer.data.series]
        terminal.result(f"backtest: {len(tested):,} forecasts of {data.facts.horizon} steps")
        terminal.result(_scores_table(scores, trainer.settings.levels))
        terminal.result(_forecast_table(forecasts[0]))
        steps = [{"name": each.name} | step for each in forecasts for step in each.steps()]
        results = {"backtest": {name: each._asdict() for name, each in scores.items()}, "forecast": steps}
        return results, forecast_picture(data, tested, forecasts[0], scores)


def _scores_table(scores: dict[str, ForecastScores], levels: tuple[float, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in ("MASE", "sMAPE", "pinball", "width", f"coverage of {levels[-1] - levels[0]:.0%}"):
        table.add_column(name, justify="right")
    shown = dict(scores)
    same = shown["naive"] == shown["seasonal_naive"]  # the season is 1
    if same:
        del shown["seasonal_naive"]
    for name, each in shown.items():
        row = (
            f"{each.mase:.3f}",
            f"{each.smape:.2f}%",
            f"{each.pinball:.3f}",
            f"{each.width:.2f}",
            f"{each.coverage:.0%}",
        )
        table.add_row("naive = seasonal" if same and name == "naive" else name.replace("_", " "), *row)
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


@with_options
def forecast(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            parser=path,
            metavar="FILE",
            help=".csv or .npy files of series: a row for each step. Default: a chaotic series.",
        ),
    ] = None,
    *,
    given: Annotated[dict[str, Any], OptionsOf(ForecastSettings)],
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", help="Updates, including those before a resume. Default: 500."),
    ] = None,
    options: Annotated[dict[str, Any], OptionsOf(RunOptions)],
) -> int:
    """Train a forecaster of time series, test it on their last rows, and forecast the next ones.

    It writes forecaster.safetensors and forecaster.png. If the run is interrupted, it saves a checkpoint first;
    --resume continues it, with the same results.
    """
    command = ForecastCommand(paths=files or [], given=given, upto=steps, options=RunOptions(**options))
    return run_command(command)
