"""Calendar columns: when a model gets them, and what they are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from tests.errors import one_line
from tests.series.forecast.tiny import params, series
from xrnn.series import Forecaster
from xrnn.series.checks import DataError, Time
from xrnn.series.forecast.fit import fit_series
from xrnn.series.times import Step, calendar_columns, step_of


def made_step(times: Sequence[Time]) -> Step:
    step = step_of(times, "s")
    assert step
    return step


def test_hours_have_a_season_of_a_day_and_one_of_a_week() -> None:
    """The noise of one deviation is what remains, if the weekends are known."""
    rng = np.random.default_rng(0)
    times = [datetime(2024, 1, 3) + timedelta(hours=i) for i in range(33 * 24)]  # a Wednesday
    is_weekend = np.array([time.weekday() > 4 for time in times])
    wave = np.sin(2 * np.pi * np.arange(len(times)) / 24)
    values = 50 + 10 * wave * ~is_weekend - 20 * is_weekend + rng.standard_normal(len(times))
    rows = 31 * 24 - 12  # Friday noon
    given = series(values[:rows], times=tuple(times[:rows]))
    trained = Forecaster(horizon=24)
    trained.learn([given])
    assert (trained.model_.season, trained.model_.calendar) == (24, "week")
    assert np.abs(trained.forecast(given).median - values[rows : rows + 24]).mean() < 2
    with one_line(DataError, "s has no dates, and the model uses the week: expected dates; add a column or"):
        trained.forecast(series(values[:rows]))


def test_days_have_a_season_of_a_year_if_it_helps() -> None:
    times = tuple(datetime(2020, 1, 1) + timedelta(days=i) for i in range(1200))
    assert made_step(times).calendar(1200) == "year"
    noise = np.random.default_rng(0).standard_normal(1200)
    year = 10 * np.sin(2 * np.pi * np.arange(1200) / 365.25) + noise
    for values, expected in ((noise.cumsum(), ""), (year, "year")):
        (one,) = fit_series([series(values, times=times)], params(horizon=4))
        assert one.model.calendar == expected


def test_calendar_columns() -> None:
    hours = [datetime(2024, 1, 1, 6), datetime(2024, 1, 6, 6, tzinfo=UTC), datetime(2024, 1, 7)]
    week = calendar_columns("week", hours, np.array([[2.0], [0.0], [3.0]]))
    np.testing.assert_allclose(
        week,
        [[0] * 11 + [-2, 2, 0], [0, 0, 0, 0, 1, 0, 0, -1, 1, 0] + [0] * 4, [0] * 5 + [1, 1, 1, 0, 0, 3, 3, 0, 0]],
        atol=1e-12,
    )
    year = calendar_columns("year", [datetime(2024, 1, 1), datetime(2023, 7, 2, 15)], np.zeros((2, 1)))
    np.testing.assert_allclose(year[0], [1, 1, 1, 0, 0, 0])
    np.testing.assert_allclose(year[1, :3], [-1, 1, -1], atol=1e-3)
    minutes = [datetime(2024, 1, 1) + timedelta(minutes=10 * i) for i in range(20)]
    step = made_step(minutes)
    assert [step.calendar(rows) for rows in (2 * 1008, 2 * 1008 - 1)] == ["week", ""]
    assert made_step([datetime(2024, m, 1) for m in range(1, 9)]).calendar(999) == ""


def test_a_known_holiday_has_the_hours_of_a_sunday() -> None:
    """Five holidays on working days are in the training: the error is less than half that of the day before."""
    rng, rows = np.random.default_rng(0), 154 * 24
    day, hour = np.divmod(np.arange(rows), 24)
    holiday = np.isin(day, [17, 44, 66, 94, 129, 150])
    working = 20 + 30 * np.exp(-(((hour - 9) / 3) ** 2)) + 25 * np.exp(-(((hour - 17) / 3) ** 2))
    sunday = 20 + 15 * np.exp(-(((hour - 14) / 4) ** 2))
    values = np.where((day % 7 > 4) | holiday, sunday, working) * np.exp(0.05 * rng.standard_normal(rows))
    cut = 150 * 24
    columns = np.stack([np.where(np.arange(rows) < cut, values, np.nan), holiday], axis=1)[: cut + 24]
    times = tuple(datetime(2024, 1, 1) + timedelta(hours=i) for i in range(cut + 24))
    settings = params(horizon=24, target="v", known="holiday")
    (one,) = fit_series([series(columns, times=times)], settings)
    (forecast,) = one.quantiles(np.array([cut]))
    error = np.abs(forecast[:, 1] - values[cut : cut + 24]).mean()
    assert error < 0.5 * np.abs(values[cut - 24 : cut] - values[cut : cut + 24]).mean()
