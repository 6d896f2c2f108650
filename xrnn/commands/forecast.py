"""`xrnn forecast`: fit a forecaster, test it on the last rows, and forecast the next ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xrnn.commands.options import ReadingOptions, RunOptions, path, with_options
from xrnn.commands.pictures import draw_forecasts
from xrnn.commands.series import described, load_to_forecast
from xrnn.commands.tables import as_dict, forecast_table, parts_of, scores_tables, series_table, shown
from xrnn.commands.training import Run
from xrnn.series import Forecaster
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
) -> None:
    """Fit a forecaster to time series, test it on their last rows, and forecast the next ones.

    It writes forecaster.safetensors and forecaster.png.
    """
    run = Run(options, "forecaster.safetensors", files)
    say, p = run.say, forecaster.check_params()
    series = load_to_forecast(files, p, reading.given)
    fit = fit_series(series, p)
    for line in (*described(fit, series), *filter(None, [fit.left_out])):
        say(line)
    forecaster.reading_, intervals = reading.given, forecaster.keep(p, fit)
    run.save(forecaster)
    past, tests, means = fit.backtest, list[Backtest](), dict[str, ForecastScores]()
    if past is None:
        say("no backtest: the rows before those to hold out are too few, missing or equal")
    else:
        tests = backtests(past, Intervals.of(past, p.levels))
        means = mean_scores(tests)
        count = sum(len(each.origins) for each in tests)
        say(f"backtest: {count:,} forecast{'s' * (count > 1)} of {p.horizon} step{'s' * (p.horizon > 1)}")
        say(scores_tables(means, p.levels))
        if len(tests) > 1:
            say(series_table(tests, shown(means)))
    forecasts = [next_steps(each, intervals) for each in fit.series]
    for line in (past.unscored if past else "", naive_forecasts(forecasts), parts := parts_of(forecaster)):
        if line:
            say(line)
    first = forecasts[tests[0].place if tests else 0]
    if len(forecasts) > 1:
        say(f"{first.name}, 1 of {len(forecasts):,} series; `xrnn predict` prints all forecasts")
    say(forecast_table(first))
    results: dict[str, Any] = {"backtest": as_dict(means) or None}
    if len(tests) > 1:
        results["series"] = [{"name": each.name} | as_dict(each.scores) for each in tests]
    results["forecast"] = [{"name": each.name} | step for each in forecasts for step in each.steps()]
    run.finish(
        results,
        lambda figure: draw_forecasts(figure, fit.series, forecasts, tests, parts),
    )
