"""`xrnn forecast`: fit a forecaster, test it on the last rows, and forecast the next ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from xrnn.commands import tables
from xrnn.commands.options import ReadingOptions, RunOptions, flag, path, with_options
from xrnn.commands.pictures import draw_forecasts
from xrnn.commands.series import described, lines_about, load_to_forecast
from xrnn.commands.training import Run
from xrnn.series import Forecaster
from xrnn.series.errors import DataError
from xrnn.series.forecast.fit import fit_series
from xrnn.series.forecast.forecasts import naive_forecasts, next_steps
from xrnn.series.forecast.intervals import Intervals
from xrnn.series.forecast.scores import Backtest, ForecastScores, backtests, mean_scores


@with_options
def forecast(
    files: Annotated[
        list[Path],
        typer.Argument(
            parser=path,
            metavar="FILE",
            help=".csv, .xlsx, .parquet or .npy files with a row for each step, or .ts files.",
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
    say, p = run.terminal.say, forecaster.check_params()
    series = load_to_forecast(files, p, reading.given)
    fit = fit_series(series, p)
    forecaster.reading_ = reading.given
    for line in (described(fit), *lines_about(series, fit.facts.step), fit.left_out):
        if line:
            say(line)
    intervals = forecaster.keep(p, fit)
    run.save(forecaster)
    past, tests, means = fit.backtest, list[Backtest](), dict[str, ForecastScores]()
    if past is None:
        say("no backtest: the rows before those to hold out are too few, missing or equal")
    else:
        tests = backtests(past, Intervals.of(past, p.levels))
        means = mean_scores(tests)
        _say_scores(say, tests, means, p)
    forecasts = [next_steps(each, intervals) for each in fit.series]
    for line in (past.unscored if past else "", naive_forecasts(forecasts)):
        if line:
            say(DataError(line).shown(flag))
    parts = tables.parts_of(forecaster)
    say(parts)
    shown = forecasts[tests[0].place if tests else 0]
    if len(forecasts) > 1:
        say(f"{shown.name}, 1 of {len(forecasts):,} series; `xrnn predict` prints all forecasts")
    say(tables.forecast_table(shown))
    results: dict[str, Any] = {"backtest": tables.as_dict(means) if tests else None}
    if len(tests) > 1:
        results["series"] = [{"name": each.name} | tables.as_dict(each.scores) for each in tests]
    results["forecast"] = [{"name": each.name} | step for each in forecasts for step in each.steps()]
    return run.finish(results, lambda figure: draw_forecasts(figure, fit.series, forecasts, tests, parts))


def _say_scores(say: Callable[[Any], None], tests: list[Backtest], means: dict[str, ForecastScores], p: Any) -> None:
    """The tables of the backtest."""
    count, F = sum(len(each.origins) for each in tests), p.horizon
    say(f"backtest: {count:,} forecast{'s' * (count > 1)} of {F} step{'s' * (F > 1)}")
    say(tables.scores_table(means, p.levels))
    if F > 1:
        say(tables.steps_table(means))
    if len(tests) > 1:
        say(tables.series_table(tests, tables.by_method(means)))
