"""Closed days in the picture of a forecast."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xrnn.commands.forecast import draw_forecasts, read_series
from xrnn.commands.gaps import has_gaps, with_gaps
from xrnn.commands.options import ReadingOptions
from xrnn.series import Forecaster
from xrnn.series.forecast.fit import backtest, fit_series

FIRST = datetime(2024, 1, 1)  # a Monday
HOLIDAYS = {datetime(2024, 3, 26), datetime(2024, 3, 29)}


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("1 day", False),
        ("1 month", False),
        ("1 working day", True),
        ("1 day except Sun", True),
        ("1 day except Mon, Thu, Fri, Sun", True),  # Tuesday and Wednesday are neighbours
        ("1 day except Tue, Thu, Sat, Sun", False),
    ],
)
def test_closed_days_are_gaps_if_open_days_have_open_neighbours(step: str, expected: bool) -> None:
    assert has_gaps(step) is expected


def test_a_gap_has_a_row_without_a_value() -> None:
    times = [FIRST + timedelta(i) for i in (4, 5, 7, 10)]
    shown, values = with_gaps("1 day except Sun", times, np.arange(8.0).reshape(4, 2))
    assert shown == [FIRST + timedelta(i) for i in (4, 5, 6, 7, 8, 10)]
    nan = np.nan
    np.testing.assert_array_equal(values, [[0, 1], [2, 3], [nan, nan], [4, 5], [nan, nan], [6, 7]])
    assert with_gaps("1 day except Sun", times[:2], values[:2])[0] == times[:2]


@pytest.mark.usefixtures("workdir")
@pytest.mark.parametrize("closed", [(6,), (1, 3, 5, 6)])
def test_no_line_of_a_picture_crosses_a_closed_day(closed: tuple[int, ...]) -> None:
    """A day with closed days on both sides is a point. Of three separate days a week, lines join the open days."""
    figures: Any = pytest.importorskip("matplotlib.figure", reason="needs Matplotlib: pip install -e '.[series]'")
    days = [day for i in range(140) if (day := FIRST + timedelta(i)).weekday() not in closed and day not in HOLIDAYS]
    rows = [f"{day:%Y-%m-%d},{100 + 10 * day.weekday() + i % 5}" for i, day in enumerate(days)]
    Path("f.csv").write_text("\n".join(["date,v", *rows]))
    params = Forecaster(horizon=12).check_params()
    read = read_series([Path("f.csv")], params, ReadingOptions())
    figure = figures.Figure()
    series = fit_series(read, params.settings)
    tests = backtest(read, params.settings)
    draw_forecasts(figure, series, tests, "")
    *_, panel = figure.axes
    joined = {b - a for line in panel.lines for a, b in parts_of(line)}
    assert joined == ({timedelta(1)} if closed == (6,) else {timedelta(2), timedelta(3)})
    drawn = {time for line in panel.lines for time, value in points_of(line) if not np.isnan(value)}
    assert not drawn & HOLIDAYS
    if closed == (6,):
        alone = [line.get_xdata()[i] for line in panel.lines[:1] for i in line.get_markevery()]
        assert alone == [datetime(2024, 3, 25), datetime(2024, 3, 30)]  # between a holiday and a Sunday


def points_of(line: Any) -> list[tuple[datetime, float]]:
    """The points of a line with dates."""
    return [(x, y) for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True) if isinstance(x, datetime)]


def parts_of(line: Any) -> list[tuple[datetime, datetime]]:
    """The ends of each straight part of a line that is drawn."""
    points = points_of(line)
    if len({x for x, _ in points}) < 2:
        return []
    return [(a, b) for (a, y), (b, z) in itertools.pairwise(points) if not np.isnan([y, z]).any()]
