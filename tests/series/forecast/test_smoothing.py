"""Exponential smoothing, and the forecasts of short series, which come from it alone."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands.runs import Capture, growth
from tests.series.forecast.tiny import fit_of, smoothed
from xrnn.commands.main import main
from xrnn.series import Forecaster
from xrnn.series.forecast import smoothing
from xrnn.typing import HostArray

pytestmark = pytest.mark.usefixtures("blank_pictures", "workdir")


def by_definition(x: list[float], F: int) -> Any:
    """The weighted mean of the averages of both kinds of members, computed value by value."""
    n = len(x)
    slope = np.polynomial.Polynomial.fit(range(len(x)), x, 1).convert().coef[1]
    forecasts: dict[bool, list[Any]] = {True: [], False: []}
    weights: dict[bool, list[Any]] = {True: [], False: []}
    for alpha, beta, phi, share in smoothing._MEMBERS.tolist():
        trend = share * slope
        level = x[0] - trend if share else np.mean(x[:3])
        paths = []
        for value in [*x, 0.0]:
            paths.append([level + trend * sum(phi ** (i + 1) for i in range(h)) for h in range(1, F + 1)])
            error = value - paths[-1][0]
            level, trend = paths[-1][0] + alpha * error, phi * trend + alpha * beta * error
        errors = {h: [abs(x[t + h - 1] - paths[t][h - 1]) for t in range(3, n - h + 1)] for h in (1, 2, F)}
        tested = [error for of_step in errors.values() for error in of_step]
        forecasts[share > 0].append(paths[-1])
        weights[share > 0].append((np.mean(errors[1]) * np.mean(tested)) ** -8)
    constant, other = (np.average(forecasts[kind], axis=0, weights=weights[kind]) for kind in (True, False))
    return 0.45 * constant + 0.55 * other


def test_a_forecast_is_the_average_of_the_members_by_their_errors() -> None:
    x = np.random.default_rng(0).normal(size=14).cumsum()
    np.testing.assert_allclose(
        smoothed(x, None, np.array([14, 12]), 3, 1), [by_definition([*x[:n]], 3) for n in (14, 12)]
    )


def test_later_rows_and_other_origins_change_no_forecast() -> None:
    x = np.random.default_rng(0).normal(size=400).cumsum()
    origins = np.array([3, 1, 399, 40, 400])
    together = smoothed(x, None, origins, 7, 12)
    for origin, forecast in zip(origins, together, strict=True):
        np.testing.assert_allclose(smoothed(x[:origin], None, np.array([origin]), 7, 12)[0], forecast)


@pytest.mark.parametrize("season", [4, 7])
def test_a_season_is_shrunk_by_the_share_of_chance_in_it(season: int) -> None:
    """That of noise is nearly removed, a clear one is kept."""
    rng = np.random.default_rng(0)
    t = np.arange(84)
    wave = 10 * np.sin(2 * np.pi * t / season)
    noise = rng.standard_normal(84)
    (forecast,) = smoothed(wave[:80] + noise[:80], None, np.array([80]), 4, season)
    np.testing.assert_allclose(forecast, wave[80:], atol=1.5)
    at = np.array([84])
    np.testing.assert_allclose(smoothed(noise, None, at, 4, season), smoothed(noise, None, at, 4, 1), atol=0.3)


def test_positive_values_are_forecast_between_a_line_and_a_percentage() -> None:
    x = 1.1 ** np.arange(20.0)
    of_values, of_logs = (smoothed(each, None, np.array([20]), 5, 1) for each in (x, np.log(x)))
    both = smoothed(x, np.log(x), np.array([20]), 5, 1)
    share = 0.5 + 0.5 * 20**2 / (20**2 + 60**2)  # the errors of the logarithms are 0
    np.testing.assert_allclose(both, (1 - share) * of_values + share * np.exp(of_logs))
    falling = 20.0 - np.arange(20)
    at = np.array([20])
    assert smoothed(falling, None, at, 5, 1).min() < 0 < smoothed(falling, np.log(falling), at, 5, 1).min()


@pytest.mark.parametrize(
    ("values", "least", "most"),
    [
        (np.r_[np.full(24, 10.0), np.full(8, 500.0)], 300, 800),
        (np.r_[np.full(30, 0.001), np.full(6, 1000.0)], 600, 1600),
        (np.r_[100 * 1.05 ** np.arange(35.0), 1.0], 0.25, 600),
        ([1.0, 10, 100, 1000], 1000, 4000),
    ],
    ids=["a jump", "a larger jump", "a wrong last value", "few rows"],
)
def test_a_jump_is_no_trend_of_logarithms(values: HostArray, least: float, most: float) -> None:
    at = np.array([len(values)])
    (forecast,) = smoothed(np.asarray(values), np.log(values), at, 12, 1)
    assert least <= forecast.min() <= forecast.max() <= most


def test_a_series_with_jumps_is_not_forecast_by_logarithms() -> None:
    """Their errors would give a sensor that is switched on an interval up to ten millions."""
    switched = np.r_[np.full(40, 0.01), np.full(5, 25.0)]
    quantiles = Forecaster(horizon=12, quantiles=(0.1, 0.9), season=1).fit([switched])
    assert quantiles.predict_quantiles().max() < 200


def test_a_trend_is_damped_and_a_constant_is_continued() -> None:
    """Also far ahead, of a series that doubles: a trend of logarithms would be 2⁵⁰ times as high."""
    (forecast,) = smoothed(2.0 ** np.arange(10), None, np.array([10]), 50, 1)
    assert forecast[-1] < 2**14
    np.testing.assert_allclose(smoothed(np.full(9, 3.0), None, np.array([9]), 4, 4), np.full((1, 4), 3.0))


@pytest.mark.parametrize(
    ("rows", "F", "season"), [(6, 6, 1), (8, 8, 12), (14, 6, 1), (30, 12, 12), (30, 6, 12), (9, 2, 4)]
)
@pytest.mark.filterwarnings("ignore:wider intervals")
def test_every_series_of_six_rows_gets_a_forecast_at_a_horizon_up_to_its_length(rows: int, F: int, season: int) -> None:
    values = growth(rows) + np.random.default_rng(0).standard_normal(rows) - 20
    forecaster = Forecaster(horizon=F, season=season)
    forecaster.fit([values])
    if forecaster.model_.smoothing == 1:
        np.testing.assert_allclose(forecaster.predict()[0], smoothed(values, None, np.array([rows]), F, season)[0])
    quantiles = forecaster.predict_quantiles()[0]
    assert (quantiles[:, 0] < quantiles[:, 1]).all()
    assert (quantiles[:, 1] < quantiles[:, 2]).all()
    forecaster.save("f")
    np.testing.assert_array_equal(Forecaster.load("f").predict_quantiles([values])[0], quantiles)


def test_the_command_says_what_a_short_series_leaves_untested(capsys: Capture) -> None:
    values = 20 + np.random.default_rng(0).standard_normal(8).cumsum()
    Path("f.csv").write_text("\n".join(["v", *map(str, values)]))
    assert main(["forecast", "f.csv", "--horizon", "6"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {
        "no backtest: the rows before the held-out ones are too few, missing or equal",
        "forecasts: exponential smoothing; too few rows were left out to test a linear part",
    } <= {*lines}
    assert main(["forecast", "f.csv", "--horizon", "6", "--json", "--overwrite"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["backtest"] is None
    assert len(printed["forecast"]) == 6


def test_a_linear_part_that_forecasts_badly_has_no_share_and_is_not_called_untested(capsys: Capture) -> None:
    """A jump."""
    jump = np.repeat([0, 50], [77, 78]) + 0.1 * np.random.default_rng(0).standard_normal(155)
    for values, horizon in ((jump, "6"), (growth(24), "5")):
        Path("f.csv").write_text("\n".join(["v", *map(str, values)]))
        assert main(["forecast", "f.csv", "--horizon", horizon, "--overwrite"]) == 0
        out = capsys.readouterr().out
        assert ("forecasts: 100% exponential smoothing, 0% linear part" in out) == (horizon == "6")
        assert ("backtest: 1 forecast of 5 steps; " in out) == (horizon == "5")


def test_a_long_season_takes_no_more_memory() -> None:
    values = np.random.default_rng(0).normal(size=20_000)
    peaks = []
    for season in (168, 1344):
        tracemalloc.start()
        smoothed(values, None, np.arange(19_000, 19_008), 4, season)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0]


def test_a_linear_part_that_forecasts_better_gets_the_larger_share_of_the_base() -> None:
    """A wave of 19 steps with noise: smoothing without a season can't forecast it."""
    rng = np.random.default_rng(0)
    t = np.arange(400)
    wave = np.sin(2 * np.pi * t / 19) + 0.05 * rng.standard_normal(400)
    shares = [
        fit_of(values, horizon=6, season=1).model.smoothing
        for values in (wave[:200], wave, rng.standard_normal(400).cumsum())
    ]
    assert shares[1] < shares[0] < 0.3 < shares[2]
