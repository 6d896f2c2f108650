"""`xrnn forecast`: fit a forecaster, test it on the last rows, and forecast the next ones."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np

from xrnn.commands.gaps import draw_band, draw_line
from xrnn.commands.options import ForecastOptions, ReadingOptions, argument, flag, with_options
from xrnn.commands.output import Run, counted, in_picture, span, table, to_stderr
from xrnn.commands.table_files import TableFile
from xrnn.files import printable, quoted
from xrnn.series import Forecaster
from xrnn.series.errors import DataError, param
from xrnn.series.forecast.closed_days import without_closed_days
from xrnn.series.forecast.effects import Effect, effect_report
from xrnn.series.forecast.effects import effects as found_effects
from xrnn.series.forecast.estimator import (
    closed_lines,
    effect_lines,
    known_lines,
    known_names,
    listed,
    naive_forecasts,
    outlier_lines,
    wrong_known_lines,
)
from xrnn.series.forecast.fit import Backtest, Scores, backtest, mean_scores, why_not_scored
from xrnn.series.forecast.series import Model, OneSeries
from xrnn.series.one_series import Series, check_channels
from xrnn.series.reading.files import files_in, read_path
from xrnn.series.reading.tables import Columns, names_in
from xrnn.series.steps import show
from xrnn.typing import HostArray

_MOST_PRINTED: Final = 40  # steps ahead, or series
_MOST_STEPS: Final = 7  # with a column in the table of errors
_BEFORE: Final = 4  # horizons before the forecast in a panel; the strip above it shows the whole series
_LEAST_BEFORE: Final = 24  # rows there
_MOST_PANELS: Final = 6
_MANY_ROWS: Final = 200  # in a panel: thick lines of many rows cover each other


@with_options
def forecast(
    files: Annotated[
        list[Path],
        argument("FILE", ".csv, .txt, .xlsx, .parquet or .npy files with a row for each step, .ts files, or folders."),
    ],
    *,
    forecaster: Forecaster,
    reading: ReadingOptions,
    options: ForecastOptions,
) -> None:
    """Fit a forecaster to time series, test it on their last rows, and forecast the next ones.

    It writes the model, forecaster.safetensors, and a picture, forecaster.png. `xrnn predict` continues other series,
    or the same ones when new rows are known.

    Example: xrnn forecast sales.xlsx --id shop --target sold --known promotion --horizon 14 --table next.xlsx
    """
    run = Run(options, "forecaster.safetensors", files)
    table_file = None
    if options.table:
        table_file = TableFile(options.table, ["forecasts", "scores"], files, overwrite=options.overwrite)
    params = forecaster.check_params()
    read = without_closed_days(read_series(files, params, reading), params.season)
    only = place_of(options.plot, read) if options.plot else None
    series = forecaster.learn(read)
    for one in series:
        one.check_known()
    about_known = [*wrong_known_lines(series), *known_lines(series), *effect_lines(series)]
    doubtful = [*closed_lines(series, flag), *outlier_lines(series), *about_known]
    run.say(*about_data(series), *doubtful)
    for line in doubtful:
        to_stderr(line)
    forecaster.reading_ = reading.kept(read)
    run.save(forecaster)
    tests = backtest(read, params.settings)
    scores = mean_scores(tests) if tests else {}
    parts = parts_of(forecaster.model_)
    names = known_names(series[0])
    effects = found_effects(series, names, [one.name for one in series])
    about_effects = effect_report(effects, names, series[0].model.step)
    run.say(*about_tests(tests, scores, series), naive_forecasts(series), parts, *about_effects)
    first = series[tests[0].place if tests else 0]
    if len(series) > 1:
        run.say(f"{first.name} (1 of {len(series):,} series; `xrnn predict` prints all forecasts)")
    run.say(forecast_table(first))
    results = _results(series, tests, scores, effects) | {"known": about_known}
    if table_file:
        tables = {"forecasts": [*rows_ahead(series)], "scores": score_rows(tests, series)}
        run.say(f"table: {', '.join(map(str, table_file.write(tables, reading.usual(read))))}")
    run.finish(results, lambda figure: draw_forecasts(figure, series, tests, parts, only))


def _results(
    series: Sequence[OneSeries], tests: Sequence[Backtest], scores: Scores, effects: Sequence[Effect]
) -> dict[str, Any]:
    """What --json prints: of the tests, the rows left out, the effects of known columns, the forecasts."""
    results: dict[str, Any] = {"backtest": scores or None}
    if len(tests) > 1:
        results["series"] = [
            {"name": test.series.name, "worse_than": worse_than(test.scores)} | test.scores for test in tests
        ]
    for kind in ("outliers", "new_level"):
        rows = [(one, getattr(one.left_out, kind)) for one in series]
        results[kind] = [{"name": one.name} | row for one, left_out in rows for row in rows_of(one, left_out)]
    results["effects"] = [
        {"name": effect.series, "column": effect.column, "factor": effect.is_factor}
        | {"effect": effect.value, "low": effect.low, "high": effect.high}
        for effect in effects
    ]
    results["forecast"] = [{"name": one.name} | step for one in series for step in steps_of(one)]
    return results


def forecast_columns(p: Forecaster, reading: ReadingOptions) -> Columns:
    """How to read the tables of a forecaster.   p: its parameters.   Raises SettingsError."""
    used = (p.target, *names_in(str(p.known))) if p.target else ()
    return replace(reading.columns(), id=p.id, time=p.time, timed=True, channels=used)


def read_series(paths: Sequence[Path], p: Forecaster, reading: ReadingOptions) -> list[Series]:
    """The series in the files, the target first. Files without values are left out, and a line on stderr names them.

    p   the parameters

    Raises DataError.
    """
    columns = forecast_columns(p, reading)
    series = list[Series]()
    without = dict[str, DataError]()
    parts = [files_in(path, need_labels=False) if os.path.isdir(path) else [path] for path in paths]
    files = [file for of_path in parts for file in of_path]
    for file in files:
        try:
            series += read_path(file, columns)
        except DataError as error:
            if not error.no_value:
                raise
            without[str(file)] = error
    if without and not series:
        raise next(iter(without.values()))
    if without:
        to_stderr(
            f"left out {len(without):,} of {counted(len(files), 'file')} ({quoted(', '.join(without))}): they have no "
            "value in the column to forecast or in a known column; add values to forecast them"
        )
    channels = check_channels(series)
    if (channels > 1 or p.known) and not p.target:
        names = series[0].channel_names
        have = f": {', '.join(map(printable, names))}"[:200] if names else ""
        raise DataError(
            f"{printable(series[0].name)} has {channels} columns of numbers{have}; name the one to forecast: "
            f"{param('target')} COLUMN"
        )
    return series


def about_data(series: Sequence[OneSeries]) -> list[str]:
    """Lines: the series and their sizes; which columns of their tables are the times, which are used, which are not."""
    model = series[0].model
    given = [one.given for one in series]
    step = f", steps of {model.step}" if model.step else ""
    name = printable(series[0].name) if len(series) == 1 else f"{len(series):,} series"
    missing = sum(int(np.isnan(one.given.values[: one.cut]).sum()) for one in series)
    closed = [sum(one.given.closed[: one.cut]) for one in series]
    rows = [each.cut - of_series for each, of_series in zip(series, closed, strict=True)]
    line = f"series: {name}, {span(rows)} rows"
    if any(closed):
        line += f", {counted(sum(closed), 'closed day')}"
    if missing:
        line += f", {counted(missing, 'missing value')}"
    line += f", season {model.season}; {counted(model.horizon, 'step')} ahead from {model.context}"
    tables = {_about_table(one, step) for one in given}
    return [line, *sorted(tables), _different_ends(given)]


def _about_table(series: Series, step: str) -> str:
    line = f"times: {', '.join(series.time_names) + step if series.time_names else 'none'}"
    if series.channel_names:
        line += f"; columns: {', '.join(series.channel_names)}"
    if series.unused:
        line += f"; unused columns: {', '.join(series.unused)}"
    return line


def _different_ends(series: Sequence[Series]) -> str:
    """A line about the first and the last end of the series; empty if they are equal."""
    ends: list[Any] = [(one.times[one.target_rows[-1]], one.id or one.name) for one in series if one.times]
    with contextlib.suppress(TypeError):  # files with numbers and with dates
        first, last = (choose(ends, key=lambda end: end[0], default=(0, "")) for choose in (min, max))
        if first[0] != last[0]:
            of = (f"{name} {show(time)}" for time, name in (first, last))
            return f"the series end at different times: {' to '.join(of)}"
    return ""


def about_tests(tests: Sequence[Backtest], scores: Scores, series: Sequence[OneSeries]) -> list[str]:
    """The backtest: its size, the errors of all series and of each, and the series that it leaves out.

    scores   means over the series
    """
    if not tests:
        return ["no backtest: the rows before the held-out ones are too few, missing or equal"]
    model = series[0].model
    of_model = scores["model"]
    lines = [
        f"backtest: {counted(sum(len(test.origins) for test in tests), 'forecast')} of "
        f"{counted(model.horizon, 'step')}; {of_model['coverage']:.0%} of the values are in the intervals of "
        f"{model.levels[-1] - model.levels[0]:.0%}; pinball loss {of_model['pinball']:.3f}",
        scores_table(scores),
    ]
    if len(tests) > 1:
        lines.append(series_table(tests, scores))
    scored = {test.place for test in tests}
    left_out: dict[str, list[str]] = {}
    for i, one in enumerate(series):
        if i not in scored:
            left_out.setdefault(why_not_scored(one), []).append(one.id)
    return [*lines, *(listed("not scored:", names, len(series), why) for why, names in left_out.items())]


def scores_table(scores: Scores) -> str:
    """The MASE of each method, of all steps ahead and of some, and its sMAPE."""
    F = len(scores["model"]["steps"])
    steps = np.unique(np.linspace(1, F, min(F, _MOST_STEPS)).round().astype(int)).tolist() if F > 1 else []
    rows = [["MASE", "all steps", *(f"step {step}" for step in steps), "sMAPE"]]
    for method, name in _methods(scores).items():
        of = scores[method]
        figures = [of["mase"], *(of["steps"][step - 1] for step in steps)]
        rows.append([name, *(f"{figure:.3f}" for figure in figures), f"{of['smape']:.2f}%"])
    return table(*rows)


def series_table(tests: Sequence[Backtest], scores: Scores) -> str:
    """The MASE of each series, the worst first, and which are worse than a naive forecast."""
    methods = _methods(scores)
    rows = []
    for test in worst_first(tests):
        naive = worse_than(test.scores)
        figures = [f"{test.scores[method]['mase']:.3f}" for method in methods]
        rows.append([test.series.name, *figures, f"worse than {methods[naive]}" if naive else ""])
    printed = table(["MASE", *methods.values(), ""], *rows[:_MOST_PRINTED])
    lines = [line.rstrip() for line in printed.split("\n")]
    if len(tests) > _MOST_PRINTED:
        lines.append(f"… and {len(tests) - _MOST_PRINTED:,} better ones in --table and --json")
    if worse := sum(bool(row[-1]) for row in rows):
        lines.append(f"worse than the best naive forecast: {worse:,} of {len(tests):,} scored series")
    return "\n".join(lines)


def worst_first(tests: Sequence[Backtest]) -> list[Backtest]:
    return sorted(tests, key=lambda each: -each.scores["model"]["mase"])


def worse_than(scores: Scores) -> str:
    """The method with the least error, if the model has a larger one; else empty."""
    best = min(scores, key=lambda method: scores[method]["mase"])
    return best if scores[best]["mase"] < scores["model"]["mase"] else ""


def _methods(scores: Scores) -> dict[str, str]:
    """The methods in the tables, with their names there. The seasonal naive forecast is left out if the season is 1."""
    twice = scores["seasonal_naive"] == scores["naive"]
    return {each: each.replace("_", " ") for each in scores if each != "seasonal_naive" or not twice}


def parts_of(model: Model) -> str:
    """A line: the parts of the forecast."""
    share = model.smoothing
    corrected = ", corrected by a recurrent part" if model.recurrent.any() else ""
    if not model.linear.any():
        return f"forecasts: exponential smoothing{corrected}; too few rows were left out to test a linear part"
    return f"forecasts: {share:.0%} exponential smoothing, {1 - share:.0%} linear part{corrected}"


def rows_of(series: OneSeries, left_out: dict[int, float]) -> list[dict[str, Any]]:
    """These rows, for JSON, with the expected values; "time" only if the series has times."""
    times = series.given.times or ()
    return [
        {"row": row + 1 + series.skipped}
        | ({"time": show(times[row])} if row < len(times) else {})
        | {"value": float(series.target[row]), "expected": expected}
        for row, expected in left_out.items()
    ]


def steps_of(series: OneSeries) -> list[dict[str, Any]]:
    """The forecast for JSON: an object for each step ahead. If a step has a time of day, midnight is shown as 00:00."""
    days = len({time.time() for time in series.times_ahead if isinstance(time, datetime)}) < 2
    return [
        {
            "time": time.isoformat(" ") if not days and isinstance(time, datetime) else show(time),
            "value": value,
            "quantiles": {f"{q:g}": v for q, v in zip(series.model.levels, row, strict=True)},
        }
        for time, value, row in zip(series.times_ahead, series.median.tolist(), series.forecast.tolist(), strict=True)
    ]


def rows_ahead(series: Iterable[OneSeries]) -> Iterator[dict[str, Any]]:
    """The rows of the table of forecasts: one for each series and step ahead."""
    for one in series:
        for i, step in enumerate(steps_of(one), start=1):
            row = {"name": one.name, "id": one.id, "step": i, "time": step["time"]}
            yield row | {q: float(f"{value:.10g}") for q, value in step["quantiles"].items()}


def score_rows(tests: Sequence[Backtest], series: Sequence[OneSeries]) -> list[dict[str, Any]]:
    """The rows of the table of scores: one for each series, the worst first. Those without scores have no figures."""
    if not tests:
        return []
    methods = _methods(mean_scores(tests))
    kinds = {"sMAPE": "smape", "coverage": "coverage", "pinball loss": "pinball"}
    rows: list[dict[str, Any]] = []
    for test in worst_first(tests):
        figures = {f"MASE {name}": test.scores[method]["mase"] for method, name in methods.items()}
        figures |= {name: test.scores["model"][kind] for name, kind in kinds.items()}
        naive = worse_than(test.scores)
        note = f"worse than {methods[naive]}" if naive else ""
        rows.append({"name": test.series.name, "id": test.series.id} | figures | {"note": note})
    scored = {test.place for test in tests}
    without = dict.fromkeys([*rows[0]][2:-1])
    rows += [
        {"name": one.name, "id": one.id} | without | {"note": f"not scored: {why_not_scored(one)}"}
        for i, one in enumerate(series)
        if i not in scored
    ]
    return rows


def forecast_table(series: OneSeries) -> str:
    rows = [["time", "forecast", *(f"{q:g}" for q in series.model.levels if q != 0.5)]]
    for step in steps_of(series)[:_MOST_PRINTED]:
        others = [f"{value:.6g}" for q, value in step["quantiles"].items() if q != "0.5"]
        rows.append([step["time"], f"{step['value']:.6g}", *others])
    return table(*rows)


def place_of(name: str, series: Sequence[Series]) -> int:
    """The place of the series with this name or identifier.   Raises DataError."""
    for i, one in enumerate(series):
        if name in (one.id, one.name):
            return i
    names = quoted(", ".join(one.id or one.name for one in series))
    raise DataError(f"{param('plot')} is {quoted(name)}, which is no series; give one of {names}")


def draw_forecasts(
    figure: Any, series: Sequence[OneSeries], tests: Sequence[Backtest], parts: str, only: int | None = None
) -> None:
    """A panel for each series if there are at most six; else for those with the lowest, median and highest error.

    A panel shows the last four horizons of a series and, after them, its forecast; a strip above it shows the whole
    series. If the series is scored, the panel also shows the forecasts of the held-out rows, one horizon apart, beside
    the seasonal naive ones. Closed days are gaps, see `gaps.has_gaps`.

    tests    of the scored series;   parts: a line below the panels: what the forecasts consist of
    only     the place of the only series to draw
    """
    scored = {test.place: test for test in tests}
    shown = dict.fromkeys(range(len(series)), "")
    if only is not None:
        shown = {only: ""}
    elif len(series) > _MOST_PANELS:
        order = [test.place for test in worst_first(tests)][::-1] or [0]
        kinds = "lowest error, ", "median error, ", "highest error, "
        shown = dict(zip((order[0], order[len(order) // 2], order[-1]), kinds, strict=True)) if tests else {0: ""}
    rows = -(-len(shown) // 2)
    columns = min(len(shown), 2)
    figure.set_size_inches((9, 5) if len(shown) == 1 else (13, 4.4 * rows))
    grid = figure.add_gridspec(rows, columns)
    legend = dict[str, Any]()
    for place, (i, kind) in zip(grid, shown.items(), strict=False):
        title = f"{kind}{in_picture(series[i].name)}"
        if i in scored:
            model, naive = (scored[i].scores[name]["mase"] for name in ("model", "seasonal_naive"))
            title += f"\nbacktest: MASE {model:.3f}, seasonal naive {naive:.3f}"
        first = max(series[i].cut - max(_BEFORE * series[i].model.horizon, _LEAST_BEFORE), 0)
        if first:
            strip, axes = place.subgridspec(2, 1, height_ratios=(1, 6)).subplots()
            _draw_strip(strip, series[i], first)
        else:
            strip = axes = place.subgridspec(1, 1).subplots()
        strip.set_title(title)
        _draw_panel(axes, series[i], scored.get(i), first)
        legend |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(legend.values(), legend.keys(), loc="outside upper center", ncols=len(legend))
    figure.supxlabel(parts, fontsize="small")


def _times_in_picture(series: OneSeries) -> list[Any]:
    """The time of each row and of each step ahead, without an offset, which Matplotlib would show in UTC.

    Without times, their numbers from 0.
    """
    if not series.given.times:
        return [*range(series.cut + series.model.horizon)]
    both = (*series.given.times[: series.cut], *series.times_ahead)
    return [time.replace(tzinfo=None) if isinstance(time, datetime) else time for time in both]


def _draw_strip(axes: Any, series: OneSeries, first: int) -> None:
    """The whole series and its forecast. The part that the panel shows, from row `first`, is shaded."""
    end = series.cut
    times = _times_in_picture(series)
    step = series.model.step
    draw_line(axes, step, times[:end], series.open_target[:end], color="tab:gray", linewidth=0.5)
    draw_line(axes, step, times[end:], series.median, color="tab:blue", linewidth=0.5)
    axes.axvspan(times[first], times[-1], color="tab:gray", alpha=0.15, linewidth=0)
    axes.set(yticks=[], xmargin=0)
    _show_times(axes, times)
    axes.tick_params(labelsize="x-small")


def _show_times(axes: Any, times: Sequence[Any]) -> None:
    """Short dates, and whole numbers if all times are such."""
    from matplotlib.dates import ConciseDateFormatter

    if isinstance(times[0], datetime):
        axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))
    elif all(float(number).is_integer() for number in times):  # rows, or years
        axes.xaxis.get_major_locator().set_params(integer=True)


def _draw_panel(axes: Any, series: OneSeries, test: Backtest | None, first: int) -> None:
    """The rows of a series from `first` on, the forecasts of the backtest there, and the next steps."""
    F, levels = series.model.horizon, series.model.levels
    end = series.cut
    given = series.given
    times = _times_in_picture(series)
    width = 1.5 if end - first < _MANY_ROWS else 0.5  # points
    draw = partial(draw_line, axes, series.model.step)
    draw(times[first:end], series.open_target[first:end], color="tab:gray", label="values", linewidth=width)
    axes.grid(alpha=0.3)

    def draw_forecast(at: Sequence[Any], values: HostArray, label: str | None = None) -> None:
        """A forecast (F, Q) of these times."""
        draw_band(axes, series.model.step, at, values, "tab:blue")
        draw(at, values[:, levels.index(0.5)], color="tab:blue", linewidth=width, label=label)

    if test:
        # one horizon apart, up to the last one
        used = ((test.origins[-1] - test.origins) % F == 0) & (test.origins >= first)
        shown = (each[used] for each in (test.origins, test.forecasts, test.seasonal_naive))
        for origin, values, naive in zip(*shown, strict=True):
            at = times[origin : origin + F]
            is_open = ~np.array(given.closed[origin : origin + F] or [False] * F)
            draw_forecast(at, np.where(is_open[:, None], values, np.nan))
            draw(at, np.where(is_open, naive, np.nan), color="tab:orange", linewidth=width / 2)
        axes.lines[-1].set_label("seasonal naive")
    axes.axvline(times[end], color="tab:gray", linestyle=":", label=f"the next {F} steps")
    draw_forecast(times[end : end + F], series.forecast, f"forecast, {levels[0]:g} to {levels[-1]:g}")
    time_name, value_name = " ".join(given.time_names) or "time", (given.channel_names or ("",))[0] or "value"
    axes.set(xlabel=in_picture(time_name) if given.times else "row", ylabel=in_picture(value_name), xmargin=0.01)
    _show_times(axes, times)
