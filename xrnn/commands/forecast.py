"""`xrnn forecast`: fit a forecaster, test it on the last rows, and forecast the next ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xrnn.commands.options import ReadingOptions, RunOptions, path, with_options
from xrnn.commands.pictures import draw_forecasts
from xrnn.commands.series import described, load_to_forecast
from xrnn.commands.tables import forecast_table, parts_of, scores_table, series_table
from xrnn.commands.training import Run
from xrnn.series import Forecaster
from xrnn.series.forecast.backtest import backtest, mean_scores
from xrnn.series.forecast.forecasts import listed, naive_forecasts, next_steps


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
    read = load_to_forecast(files, p, reading.given)
    series = forecaster.learn(read)
    forecasts = [next_steps(each) for each in series]
    for line in described(series):
        say(line)
    forecaster.reading_ = reading.given
    run.save(forecaster)
    tests = backtest(read, p)
    scores = mean_scores(tests) if tests else {}
    if tests:
        count, width, F = sum(len(each.origins) for each in tests), p.levels[-1] - p.levels[0], p.horizon
        say(
            f"backtest: {count:,} forecast{'s' * (count > 1)} of {F} step{'s' * (F > 1)}; "
            f"{scores['model']['coverage']:.0%} of the values are in the intervals of {width:.0%}; pinball loss "
            f"{scores['model']['pinball']:.3f}"
        )
        say(scores_table(scores))
        if len(tests) > 1:
            say(series_table(tests, scores))
        scored = {each.place for each in tests}
        unscored = [each.id for i, each in enumerate(series) if i not in scored]
        notes = [listed("not scored:", unscored, len(series))]
    else:
        notes = ["no backtest: the rows before the held-out ones are too few, missing or equal"]
    for line in (*notes, naive_forecasts(forecasts), parts := parts_of(forecaster.model_)):
        if line:
            say(line)
    first = forecasts[tests[0].place if tests else 0]
    if len(forecasts) > 1:
        say(f"{first.name} (1 of {len(forecasts):,} series; `xrnn predict` prints all forecasts)")
    say(forecast_table(first))
    results: dict[str, Any] = {"backtest": scores or None}
    if len(tests) > 1:
        results["series"] = [{"name": each.series.name} | each.scores for each in tests]
    results["forecast"] = [{"name": each.name} | step for each in forecasts for step in each.steps()]
    run.finish(
        results,
        lambda figure: draw_forecasts(figure, series, forecasts, tests, parts),
    )
