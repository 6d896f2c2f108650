"""Single bad values count little and are named; changes that come again or stay are followed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.series.forecast.tiny import forecast_of, series, settings_of
from xrnn.commands.main import main
from xrnn.series import Forecaster
from xrnn.series.forecast.fit import backtest
from xrnn.series.forecast.outliers import find_outliers
from xrnn.series.forecast.series import mase_divisor
from xrnn.typing import HostArray

F = 8


def simulated(kind: str, seed: int) -> HostArray:
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal
    if kind == "days":
        return 5000 * np.resize([1, 1.1, 0.9, 1, 1.3, 1.6, 0.7], 140 + F) * np.exp(0.1 * noise(140 + F))
    if kind == "trend":
        return 10 + 0.5 * np.arange(60 + F) + noise(60 + F)
    return rng.poisson(6, 90 + F) + 1.0


@pytest.mark.filterwarnings("ignore:.*counts little")
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize(("kind", "season"), [("days", 7), ("trend", 1), ("counts", 1)])
def test_one_bad_value_hardly_changes_any_forecast(kind: str, season: int, count: int) -> None:
    """The last value, one near the end, or one in the middle, times 10 or 100. The seeds chose no constant."""
    before = np.zeros(count)
    after: dict[tuple[int, int], HostArray] = {}
    for seed in range(70_000, 70_003):
        values = [simulated(kind, 10 * seed + i) for i in range(count)]

        def errors(given: list[HostArray], values: list[HostArray] = values) -> HostArray:
            forecasts = Forecaster(horizon=F, season=season).fit(given).predict()
            return np.array([np.abs(of - v[-F:]).mean() for of, v in zip(forecasts, values, strict=True)])

        past = [v[:-F] for v in values]
        before += errors(past)
        T = len(past[0])
        for place in (T - 1, T - 4, T // 2):
            for factor in (10, 100):
                bad = [past[0].copy(), *past[1:]]
                bad[0][place] *= factor
                after[place, factor] = after.get((place, factor), np.zeros(count)) + errors(bad)
    for case, error in after.items():
        assert error[0] < 2 * before[0], case
        assert count == 1 or error[1:].sum() < 1.05 * before[1:].sum(), case


def test_a_new_level_a_yearly_peak_and_intermittent_demand_are_no_outliers() -> None:
    rng = np.random.default_rng(71_000)
    level = 100 + rng.standard_normal(60)
    level[57:] += 900
    assert find_outliers(level, 1) == {}
    assert forecast_of(level, horizon=3, season=1)[0, 1] > 700
    december = np.where(np.arange(60) % 12 == 11, 800.0, 100) * np.exp(0.05 * rng.standard_normal(60))
    assert find_outliers(december, 12) == {}
    assert forecast_of(december, horizon=12, season=12)[11, 1] > 500
    demand = np.where(rng.random(200) < 0.2, rng.lognormal(2, 0.7, 200), 0.0)
    assert find_outliers(demand, 1) == {}


def test_a_known_promotion_is_no_outlier() -> None:
    rng = np.random.default_rng(72_000)
    promotion = np.isin(np.arange(204), [40, 90, 130, 170, 202]) * 1.0
    y = 100 + 5 * rng.standard_normal(204) + 600 * promotion
    y[200:] = np.nan
    (forecast,) = [forecast_of(np.stack([y, promotion], axis=1), target="y", known="promotion", season=1)]
    assert forecast[2, 1] > 500


def test_a_bad_value_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values = simulated("days", 73_000)
    values[-5] *= 10
    days = np.datetime64("2024-01-01") + np.arange(len(values))
    rows = [f"{day},{value:.0f}" for day, value in zip(days, values, strict=True)]
    Path("f.csv").write_text("\n".join(["day,sold", *rows]))
    assert main(["forecast", "f.csv", "--horizon", "4"]) == 0
    out, err = capsys.readouterr()
    start = f"f.csv: far from the values around it, and counts little: {days[-5]}: "
    assert start in out
    assert err.startswith(start)
    assert "times the usual" in err
    assert main(["predict", "forecaster.safetensors", "f.csv"]) == 0
    assert start in capsys.readouterr().err
    with pytest.warns(UserWarning, match=r"X\[0\]: far from .*: row 144: .*times the usual"):
        Forecaster(horizon=4, season=7).fit([values])


def test_held_out_rows_decide_no_earlier_outlier() -> None:
    """The level of row 82 stays, which only later rows show: its first forecast does not follow it."""
    values = 100 + np.random.default_rng(74_000).standard_normal(100)
    values[82:] += 2000
    (test,) = backtest([series(values)], settings_of(horizon=2, season=1))
    first = {origin: forecast[0, 1] for origin, forecast in zip(test.origins, test.forecasts, strict=True)}
    assert first[83] < 200
    assert first[90] > 1500


def test_the_change_over_a_season_of_a_sine_is_rounding() -> None:
    for dtype in (np.float64, np.float32):
        sine = np.sin(2 * np.pi * np.arange(120) / 12).astype(dtype).astype(float)
        assert mase_divisor(sine, 12) == pytest.approx(np.abs(np.diff(sine)).mean())


def test_rows_before_the_first_value_are_left_out() -> None:
    walk = np.random.default_rng(75_000).standard_normal(60).cumsum() + 50
    padded = np.append(np.full(20, np.nan), walk)
    forecasts = [Forecaster(horizon=4).fit([given]).predict_quantiles() for given in (walk, padded)]
    np.testing.assert_array_equal(*forecasts)
