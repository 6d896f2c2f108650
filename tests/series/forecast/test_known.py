"""Typing errors in known columns are named and left out; rare and large values that may be right are used."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from tests.series.forecast.tiny import series, settings_of
from xrnn.series import Forecaster
from xrnn.series.forecast.fit import backtest, fit_series
from xrnn.series.forecast.known import find_errors
from xrnn.typing import HostArray


def sales(seed: int) -> tuple[HostArray, HostArray]:
    """132 months with promotions, and the promotions."""
    rng = np.random.default_rng(seed)
    t = np.arange(132)
    promotion = (rng.random(132) < 0.2) * 1.0
    return 200 + 30 * np.sin(2 * np.pi * t / 12) + 50 * promotion + 5 * rng.standard_normal(132), promotion


@pytest.mark.parametrize("value", [10, 100, -999, 1e6])
@pytest.mark.parametrize("row", [51, 119])
def test_a_typing_error_in_a_promotion_is_named_and_its_row_is_left_out(
    value: float, row: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The value of the target in its row is right, and is not named. The effect of the other promotions stays."""
    monkeypatch.setattr("xrnn.series.forecast.fit._widening", lambda series, model: model.widening)
    y, promotion = sales(95_000)
    right = Forecaster(horizon=12, season=12).fit(y[None, :120], known=promotion[None, :120, None])
    wrong = promotion.copy()
    wrong[row] = value
    forecaster = Forecaster(horizon=12, season=12)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        forecaster.fit(y[None, :120], known=wrong[None, :120, None])
    assert [str(each.message) for each in caught] == [
        "X[0]: known values that look like typing errors, so that their rows are left out; correct them: column 1 is "
        f"{value:.6g} in row {row + 1}, and from 0 to 1 in the others"
    ]
    ahead = promotion[None, 120:, None]
    of_right, of_wrong = (each.predict_quantiles(known=ahead)[0] for each in (right, forecaster))
    errors = [np.abs(q[:, 1] - y[120:]).mean() for q in (of_right, of_wrong)]
    assert errors[1] < errors[0] + 1  # the noise has a deviation of 5, and the effect is 50
    assert (of_wrong[:, 2] - of_wrong[:, 0]).mean() < 1.1 * (of_right[:, 2] - of_right[:, 0]).mean()
    with pytest.warns(UserWarning, match=f"column 1 is {value:.6g}".replace("+", r"\+")):
        new = forecaster.predict_quantiles(y[None, :120], known=np.append(wrong[:120], promotion[120:])[None, :, None])
    np.testing.assert_allclose(new[0], of_wrong, rtol=1e-12)


def test_a_typing_error_in_the_held_out_rows_is_not_scored() -> None:
    """Forecasts from later origins do not use it either."""
    y, promotion = sales(95_001)
    wrong = promotion.copy()
    wrong[112] = 1e4
    scores = []
    for known in (promotion, wrong):
        (test,) = backtest(
            [series(np.stack([y, known], axis=1))], settings_of(horizon=4, season=12, target="y", known="promotion")
        )
        scores.append(test.scores["model"])
    assert scores[1]["mase"] < 1.1 * scores[0]["mase"]


@pytest.mark.parametrize("rows", [2, 3])
def test_a_promotion_with_a_larger_effect_in_the_last_rows_is_no_new_level(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are left out. The same rows without a promotion, or far in the other direction, are a new level."""
    monkeypatch.setattr("xrnn.series.forecast.fit._widening", lambda series, model: model.widening)
    y, promotion = sales(98_000)
    y += 400  # all values stay positive
    promotion[120 - rows : 120] = 0
    y[120 - rows : 120] = 600 + 30 * np.sin(2 * np.pi * np.arange(120 - rows, 120) / 12)
    for sign, is_known, is_level in [(1, True, False), (1, False, True), (-1, True, True)]:
        sold = y.copy()
        known = promotion.copy()
        sold[120 - rows : 120] += sign * 250
        known[120 - rows : 120] = is_known
        forecaster = Forecaster(horizon=12, season=12)
        line = "a new level" if is_level else "left out of the fit"
        with pytest.warns(UserWarning, match=line):
            forecaster.fit(sold[None, :120], known=known[None, :120, None])
        error = np.abs(forecaster.predict(known=known[None, 120:, None])[0] - y[120:]).mean()
        assert (error > 50) if is_level else (error < 8), (sign, is_known)


def test_values_that_may_be_right_are_no_typing_errors() -> None:
    for seed in range(96_000, 96_020):
        rng = np.random.default_rng(seed)
        rare = np.zeros((120, 3))
        rare[rng.choice(120, 3, replace=False), 0] = 1
        rare[rng.choice(120), 1] = 1  # an event that comes once
        rare[rng.choice(120, 12, replace=False), 2] = rng.choice([1, 1, 1, 2, 3], 12)  # shops that take part
        prices = np.stack(
            [np.repeat([9.99, 12.99, 10.99], 40), np.full(120, 9.99), 10 + rng.standard_normal(120)], axis=1
        )
        prices[70, 0] = 4.99  # a sale
        prices[70, 1] = 4.99
        advertising = np.where(rng.random((120, 2)) < 0.3, rng.lognormal(3, [1, 1.5], (120, 2)), 0)
        counts = rng.poisson(0.3, (120, 2)).astype(float)
        counts[:, 1] = np.nan
        heavy = rng.standard_t(4, (120, 1))
        columns = np.concatenate([rare, prices, advertising, counts, heavy], axis=1)
        assert find_errors(columns) == {}, seed


@pytest.mark.parametrize(
    ("usual", "rare", "typed"), [((0, -10), -60, -100), ((0, 500, 1000), 20_000, 50_000), ((0, 5), 30, 500)]
)
def test_any_amount_may_come_once(usual: tuple[float, ...], rare: float, typed: float) -> None:
    """Ten or a hundred times another amount is a typing error."""
    column = np.random.default_rng(108_000).choice(usual, 120)
    for value, is_error in [(rare, False), (typed, True)]:
        column[60] = value
        assert find_errors(column[:, None].astype(float)) == ({(60, 0): (min(usual), max(usual))} if is_error else {})


def test_a_known_value_far_from_all_others_is_a_typing_error() -> None:
    rng = np.random.default_rng(97_000)
    price = np.repeat([9.99, 12.99, 10.99], 40)
    price[100] = 1099
    temperature = 15 + 8 * rng.standard_normal(120)
    temperature[[3, 50]] = -999, 1500
    others = np.delete(temperature, [3, 50])
    usual = others.min(), others.max()
    found = find_errors(np.stack([price, temperature], axis=1))
    assert found == {(3, 1): usual, (50, 1): usual, (100, 0): (9.99, 12.99)}
    assert find_errors(np.array([0, 1, 0, 1, 0, 1, 0, 99.0])[:, None]) == {}  # too few rows
    fitted = fit_series(
        [series(np.stack([sales(0)[0][:120], price], axis=1))], settings_of(horizon=4, season=12, target="y", known="p")
    )
    assert fitted[0].model.known_scale.deviation[0] < 2
