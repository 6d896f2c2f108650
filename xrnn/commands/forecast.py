"""`xrnn forecast`: train a forecaster, test it on the last rows, and forecast the next ones."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, Final, get_type_hints

import numpy as np
import typer
from rich.table import Table

from xrnn.commands.options import RUN, Option, OptionsOf, flag, path, values_of, with_options
from xrnn.commands.pictures import Picture, forecast_picture
from xrnn.commands.run import Command, run_command
from xrnn.commands.terminal import Terminal
from xrnn.files import printable
from xrnn.models.errors import DataError
from xrnn.models.forecast.data import ForecastData, ForecastScores, load_series, mean_scores, prepare, score
from xrnn.models.forecast.model import FORECASTER, Forecast, naive_forecasts, next_steps
from xrnn.models.forecast.settings import ForecastSettings
from xrnn.models.forecast.trainer import DEFAULT_STEPS, ForecastTrainer

_MOST_PRINTED: Final = 40  # steps ahead
_SAME: Final = "naive = seasonal"
_MOST_STEPS: Final = 7  # with a column in the table of errors


_SETTINGS: Final = tuple(
    Option(
        each.name,
        get_type_hints(ForecastSettings)[each.name],
        each.metadata["help"],
        each.default,
        each.metadata["metavar"] or "",
    )
    for each in fields(ForecastSettings)
)


class ForecastCommand(Command[ForecastTrainer]):
    """`xrnn forecast` with its options."""

    kind = FORECASTER
    default_out = Path("forecaster.safetensors")
    trainer = ForecastTrainer
    unit = "steps"

    def load(self, settings: ForecastSettings) -> ForecastData:
        data = prepare(load_series(self.paths, settings), settings)
        return replace(data, source=f"{data.source}\n{data.left_out}".rstrip())

    def default_upto(self, data: ForecastData) -> int:
        return DEFAULT_STEPS

    def report(self, trainer: ForecastTrainer, terminal: Terminal) -> tuple[dict[str, Any], Picture]:
        """The backtest beside simpler forecasts, and the forecast of the steps after the last row."""
        data, levels = trainer.data.past, trainer.settings.levels
        assert data is not None
        terminal.note("testing: a training without the last rows")
        past = trainer.on(data)
        past.finish()
        tested = past.model.forecast(data.test)
        scores = score(data, tested, levels)
        means = mean_scores(scores)
        forecasts = [next_steps(trainer.model, series, trainer.facts.step) for series in trainer.data.series]
        count = sum(map(len, data.scored_parts(tested)))
        terminal.result(f"backtest: {count:,} forecasts of {data.facts.horizon} steps")
        terminal.result(_scores_table(means, levels))
        if data.facts.horizon > 1:
            terminal.result(_steps_table(means))
        if len(scores) > 1:
            terminal.result(_series_table(scores, _by_method(means)))
        for line in (data.unscored, naive_forecasts(forecasts)):
            if line:
                terminal.result(DataError(line).shown(flag))
        terminal.result(_recurrent_part(trainer))
        shown = forecasts[data.scored[0]]
        if len(forecasts) > 1:
            terminal.result(f"{shown.name}, 1 of {len(forecasts):,} series; --csv and --json have all forecasts")
        terminal.result(_forecast_table(shown))
        results: dict[str, Any] = {"backtest": _as_dict(means)}
        if len(scores) > 1:
            results["series"] = [{"name": name} | _as_dict(of) for name, of in scores.items()]
        results["forecast"] = [{"name": each.name} | step for each in forecasts for step in each.steps()]
        return results, forecast_picture(data, tested, shown, scores)

    def table(self, trainer: ForecastTrainer, results: dict[str, Any]) -> bytes:
        """The forecasts as CSV: a row for each series, step and quantile."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("name", "id", "step", "time", "quantile", "value"))
        for i, each in enumerate(results["forecast"]):
            series, step = divmod(i, trainer.facts.horizon)
            row = [each["name"], trainer.data.series[series].id, step + 1, each["time"]]
            for quantile, value in each["quantiles"].items():
                writer.writerow([*row, quantile, f"{value:.10g}"])
        return text.getvalue().encode()


def _recurrent_part(trainer: ForecastTrainer) -> str:
    """A line: how the recurrent part was trained, and what it adds."""
    share = trainer.model.share
    if not share:
        return "recurrent part: left out, since its gain in earlier backtests was too small"
    return f"recurrent part: {trainer.steps:,} updates at a learning rate of {trainer.rate:g}; its share is {share:g}"


def _as_dict(scores: dict[str, ForecastScores]) -> dict[str, Any]:
    return {method: each._asdict() for method, each in scores.items()}


def _table(*names: str) -> Table:
    """An empty table: text, then columns of numbers."""
    table = Table(box=None, pad_edge=False)
    for i, name in enumerate(names):
        table.add_column(name, justify="right" if i else "left")
    return table


def _scores_table(scores: dict[str, ForecastScores], levels: tuple[float, ...]) -> Table:
    table = _table("", "MASE", "sMAPE", "pinball", "width", f"coverage of {levels[-1] - levels[0]:.0%}")
    for name, each in _by_method(scores).items():
        table.add_row(name, *_figures(each))
    return table


def _steps_table(scores: dict[str, ForecastScores]) -> Table:
    """The MASE of some steps ahead."""
    F = len(scores["model"].steps)
    steps = np.unique(np.linspace(1, F, min(F, _MOST_STEPS)).round().astype(int)).tolist()
    table = _table("MASE of step", *map(str, steps))
    for name, each in _by_method(scores).items():
        table.add_row(name, *(f"{each.steps[step - 1]:.3f}" for step in steps))
    return table


def _by_method(scores: dict[str, ForecastScores]) -> dict[str, ForecastScores]:
    """The scores with the names to show. Two naive forecasts that are the same, because the season is 1, are one."""
    shown = {name.replace("_", " "): each for name, each in scores.items()}
    if shown["naive"] == shown["seasonal naive"]:
        del shown["seasonal naive"]
        shown = {_SAME if name == "naive" else name: each for name, each in shown.items()}
    return shown


def _figures(scores: ForecastScores) -> list[str]:
    mase, smape, coverage, pinball, width, _ = scores
    return [f"{mase:.3f}", f"{smape:.2f}%", f"{pinball:.3f}", f"{width:.2f}", f"{coverage:.0%}"]


def _series_table(scores: dict[str, dict[str, ForecastScores]], shown: Iterable[str]) -> Table:
    """The MASE of each series, by the methods to show."""
    names = {name: "naive" if name == _SAME else name.replace(" ", "_") for name in shown}
    table = _table("MASE", *names)
    for name, of_series in itertools.islice(scores.items(), _MOST_PRINTED):
        table.add_row(printable(name), *(f"{of_series[method].mase:.3f}" for method in names.values()))
    if len(scores) > _MOST_PRINTED:
        table.add_row(f"… and {len(scores) - _MOST_PRINTED:,} more in --json")
    return table


def _forecast_table(forecast: Forecast) -> Table:
    table = _table("time", "forecast", *(f"{q:g}" for q in forecast.levels if q != 0.5))
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
    given: Annotated[dict[str, Any], OptionsOf(_SETTINGS)],
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", help="Updates. Default: chosen by left-out rows, at most 500."),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(parser=path, metavar="PATH", help="Table to write: a row for each series, step and quantile."),
    ] = None,
    options: Annotated[dict[str, Any], OptionsOf(RUN)],
) -> int:
    """Train a forecaster of time series, test it on their last rows, and forecast the next ones.

    It writes forecaster.safetensors and forecaster.png.
    """
    command = ForecastCommand(paths=files or [], given=given, upto=steps, csv=csv, options=values_of(RUN, options))
    return run_command(command)
