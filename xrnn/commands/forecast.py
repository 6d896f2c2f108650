"""`xrnn forecast`: fit a forecaster, test it on the last rows, and forecast the next ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from xrnn.commands import tables
from xrnn.commands.options import ReadingOptions, RunOptions, flag, path, with_options
from xrnn.commands.pictures import draw_forecasts
from xrnn.commands.series import forecast_columns, lines_about
from xrnn.commands.training import Run
from xrnn.series import Forecaster
from xrnn.series.errors import DataError
from xrnn.series.forecast.data import ForecastData, load_series, prepare
from xrnn.series.forecast.intervals import Intervals
from xrnn.series.forecast.model import naive_forecasts, next_steps
from xrnn.series.forecast.scores import ForecastScores, mean_scores, score


@with_options
def forecast(
    files: Annotated[
        list[Path],
        typer.Argument(
            parser=path,
            metavar="FILE",
            help=".csv, .npy, .xlsx or .parquet files of series: a row for each step.",
        ),
    ],
    *,
    forecaster: Forecaster,
    reading: ReadingOptions,
    options: RunOptions,
) -> int:
    """Fit a forecaster to time series, test it on their last rows, and forecast the next ones.

    It writes forecaster.safetensors and forecaster.png.
    """
    run = Run(options, "forecaster.safetensors", files)
    p = forecaster.check_params()
    series = load_series(files, p, forecast_columns(p, reading.given))
    data = prepare(series, p)
    forecaster.reading_ = reading.given
    say, past, about = run.terminal.say, data.backtest, lines_about(series, data.facts.step)
    for line in (f"series: {data.description}", *about, *([data.left_out] if data.left_out else [])):
        say(line)
    intervals = forecaster.learn(p, data)
    run.save(forecaster)
    tested: Any = np.zeros(0)
    scores: dict[str, dict[str, ForecastScores]] = {}
    if past is None:
        say("no backtest: the rows before those to hold out are too few, missing or equal")
    else:
        tested = Intervals.of(past, p.levels).around(past.test)
        scores = score(past, tested, p.levels)
        _say_scores(say, past, tested, scores, p.levels)
    forecasts = [next_steps(intervals, series) for series in data.series]
    for line in (past.unscored if past else "", naive_forecasts(forecasts)):
        if line:
            say(DataError(line).shown(flag))
    parts = tables.parts_of(forecaster)
    say(parts)
    place = past.scored[0] if past else 0
    shown = forecasts[place]
    if len(forecasts) > 1:
        say(f"{shown.name}, 1 of {len(forecasts):,} series; `xrnn predict` prints all forecasts")
    say(tables.forecast_table(shown))
    results: dict[str, Any] = {"backtest": tables.as_dict(mean_scores(scores)) if scores else None}
    if len(scores) > 1:
        results["series"] = [{"name": name} | tables.as_dict(of) for name, of in scores.items()]
    results["forecast"] = [{"name": each.name} | step for each in forecasts for step in each.steps()]
    return run.finish(
        results, lambda figure: draw_forecasts(figure, data.series, forecasts, past, tested, scores, parts)
    )


def _say_scores(say: Callable[[Any], None], past: ForecastData, tested: Any, scores: Any, levels: Any) -> None:
    """The tables of the backtest."""
    means, horizon = mean_scores(scores), past.facts.horizon
    count = sum(map(len, past.scored_parts(tested)))
    say(f"backtest: {count:,} forecast{'s' * (count > 1)} of {horizon} step{'s' * (horizon > 1)}")
    say(tables.scores_table(means, levels))
    if horizon > 1:
        say(tables.steps_table(means))
    if len(scores) > 1:
        say(tables.series_table(scores, tables.by_method(means)))
