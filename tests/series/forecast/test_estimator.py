"""Forecaster, from Python."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands.runs import growth
from tests.errors import one_line, refused
from xrnn.commands.main import main
from xrnn.series import Forecaster, NotFittedError
from xrnn.series.errors import DataError, SettingsError
from xrnn.series.one_series import Series

SMALL: dict[str, Any] = {"horizon": 3, "season": 4}
NOISE = 0.02 * np.random.default_rng(0).standard_normal(116)
GROWING = np.exp(0.03 * np.arange(116) + 0.3 * np.sin(np.pi * np.arange(116) / 2) + NOISE)  # forecast as logarithms
pytestmark = pytest.mark.usefixtures("workdir")


def test_a_forecaster_learns_and_continues() -> None:
    X = np.stack([growth(40), 3 * growth(40)])
    forecaster = Forecaster(**SMALL).fit(X)
    assert forecaster.predict().shape == (2, 3)
    np.testing.assert_allclose(forecaster.predict(), np.stack([growth(43)[40:], 3 * growth(43)[40:]]), rtol=0.1)
    np.testing.assert_array_equal(forecaster.predict([*X]), forecaster.predict(X[..., None]))
    quantiles = forecaster.predict_quantiles()
    assert quantiles.shape == (2, 3, 3)
    assert (np.diff(quantiles) >= 0).all()
    assert forecaster.levels_ == (0.1, 0.5, 0.9)
    assert -0.5 < forecaster.score(X[:, :39]) < 0


def test_a_failed_fit_keeps_the_model() -> None:
    forecaster = Forecaster(**SMALL).fit([growth(40)])
    predicted = forecaster.predict()
    with pytest.raises(DataError):
        forecaster.fit([np.ones(40)])
    np.testing.assert_array_equal(forecaster.predict(), predicted)


def test_an_estimator_fits_as_the_command_does() -> None:
    Path("f.csv").write_text("".join(f"{v}\n" for v in growth(60)))
    options = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]
    assert main(["forecast", "f.csv", *options]) == 0
    loaded = Forecaster.load("forecaster.safetensors")
    fitted = Forecaster(**SMALL).fit([growth(60)])
    assert loaded.get_params() == fitted.get_params()
    np.testing.assert_array_equal(loaded.predict_quantiles([growth(60)]), fitted.predict_quantiles())


@pytest.mark.parametrize("missing", [0, 1, 5])
def test_the_score_is_that_of_forecasts_from_one_horizon_before_the_end(missing: int) -> None:
    """Before its last 3 values, the series is strictly periodic: the mean change replaces the mean seasonal one."""
    values = np.tile([0.0, 4.0, 20.0, 8.0], 10)  # changes of 4, 16, 12 and 8
    values[-3:] += 10
    forecaster = Forecaster(**SMALL).fit([growth(40)])
    values[len(values) - 3 - missing : -3] = np.nan
    known = np.diff(values[:-3])
    forecast = forecaster.forecast(Series(values[:, None], None, "s"), len(values) - 3).median
    expected = -np.abs(values[-3:] - forecast).mean() / np.abs(known[~np.isnan(known)]).mean()
    assert forecaster.score([values]) == pytest.approx(expected, rel=1e-4)
    words = r"^naive forecasts for 1 of 2 series \(X\[1\]\): too few"
    with pytest.warns(UserWarning, match=words) as warned:
        assert forecaster.score([values, np.ones(9)]) == pytest.approx(expected, rel=1e-4)
    assert {each.filename for each in warned} == {__file__}
    with (
        pytest.warns(UserWarning, match="^naive forecasts for 1 of 1"),
        pytest.raises(ValueError, match=r"^X has too few rows, missing or equal values; give series that change"),
    ):
        forecaster.score([np.ones(9)])


def test_a_model_of_logarithms_forecasts_values_of_0_or_below_without_them() -> None:
    forecaster = Forecaster(**SMALL).fit([GROWING[:100]])
    assert forecaster.model_.log
    line = (
        r"^forecasts without logarithms for 1 of 2 series \(X\[1\]\): they have values of 0 or below, unlike the "
        r"series of the training; correct these values if they are errors$"
    )
    ahead = GROWING[100:103]
    with pytest.warns(UserWarning, match=line):
        of_positive, of_negative = forecaster.predict_quantiles([GROWING[:100], GROWING[:100] - 10])
    np.testing.assert_array_equal(of_positive, forecaster.predict_quantiles([GROWING[:100]])[0])
    assert (of_negative[:, 0] < of_negative[:, 2]).all()
    np.testing.assert_allclose(of_negative[:, 1] + 10, ahead, rtol=0.2)
    sold_out = GROWING[:100].copy()
    sold_out[-12:] = 0
    with pytest.warns(UserWarning, match="forecasts without logarithms for 1 of 1"):
        (of_zeros,) = forecaster.predict_quantiles([sold_out])
    assert (of_zeros[:, 2] - of_zeros[:, 0] > 0.01 * GROWING[99]).all()


def test_a_known_value_ahead_that_no_row_before_resembles_is_named() -> None:
    promotion = (np.arange(63) % 7 == 3).astype(float)
    X = growth(63)[None] + 20 * promotion
    known = np.stack([promotion, np.arange(63.0) % 5], axis=1)[None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        forecaster = Forecaster(**SMALL).fit(X[:, :60], known=known[:, :60])
        forecaster.predict(known=known[:, 60:])
        usual = known[:, 60:].copy()
        usual[0, 1, 0] = 1.9  # not farther from 1 than 0 is
        forecaster.predict(known=usual)
    wrong = known.copy()
    wrong[0, 61, 0] = 100
    named = (
        r"^X\[0\]: known column 1 is 100 in row 62, and from 0 to 1 in the rows before the forecast; "
        r"correct it if it is a typing error$"
    )
    with pytest.warns(UserWarning, match=named):
        forecaster.predict(known=wrong[:, 60:])
    with pytest.warns(UserWarning, match=named):
        forecaster.predict(X[:, :60], known=wrong)


def test_a_known_column_that_cannot_have_an_effect_is_named() -> None:
    """It never changes, or it is the same in each season. Another value ahead is named, too."""
    t = np.arange(63)
    known = np.stack([np.full(63, 9.99), t % 4 == 2, t % 2, t % 7 == 3], axis=1).astype(float)[None]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        forecaster = Forecaster(**SMALL).fit(growth(60)[None], known=known[:, :60])
    assert [str(each.message) for each in caught] == [
        "known columns that never change in the rows before the forecast are not used: 1",
        "known columns that are the same in each season are not used: 2, 3",
    ]
    other_price = known[:, 60:].copy()
    forecaster.predict(known=other_price)
    other_price[0, 1, 0] = 12.99
    named = (
        r"^X\[0\]: known column 1 is 12.99 in row 62, and 9.99 in all rows before the forecast, so its effect is unk"
    )
    with pytest.warns(UserWarning, match=named):
        forecaster.predict(known=other_price)


def test_a_known_column_that_changes_in_another_series_has_an_effect() -> None:
    """Its first promotion ahead is not named: the other series has shown the effect."""
    promotion = np.stack([np.zeros(63), np.arange(63) % 7 == 3])[..., None] * 1.0
    X = np.stack([growth(63), growth(63)]) + 20 * promotion[..., 0]
    forecaster = Forecaster(**SMALL).fit(X[:, :60], known=promotion[:, :60])
    ahead = promotion[:, 60:].copy()
    plain = forecaster.predict(known=ahead)
    ahead[0, 1] = 1
    assert forecaster.predict(known=ahead)[0, 1] > plain[0, 1] + 4


def test_too_many_known_columns_for_the_rows_are_named() -> None:
    known = np.random.default_rng(0).random((2, 20, 14))
    too_few = (
        r"^the known columns are not used: finding their effect takes 16 changes over a season, and the rows have 12; "
        r"give more rows, or fewer known columns$"
    )
    with pytest.warns(UserWarning, match=too_few):
        forecaster = Forecaster(**SMALL).fit(growth(16)[None], known=known[:1, :16])
    assert not forecaster.model_.effect.any()
    forecaster.fit(np.stack([growth(16), growth(16)]), known=known[:, :16])  # 24 changes
    assert forecaster.model_.effect.any()


@pytest.mark.parametrize(
    ("past", "ahead", "lines"),
    [
        (
            [0, 1, 0],
            [5, 1],
            [
                "the known columns are not used: finding their effect takes 3 changes over a season, and the rows have "
                "2; give more rows"
            ],
        ),
        (
            [0, 0, 0],
            [0, 1],
            [
                "known columns that never change in the rows before the forecast are not used: 1",
                "X[0]: known column 1 is 1 in row 5, and 0 in all rows before the forecast, so its effect is unknown; "
                "correct it if it is a typing error",
            ],
        ),
    ],
)
def test_lines_about_known_columns_of_three_rows_agree(past: list[int], ahead: list[int], lines: list[str]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        forecaster = Forecaster(horizon=2, season=1).fit([[3.0, 5, 4]], known=[np.array(past)[:, None]])
        forecaster.predict(known=[np.array(ahead)[:, None]])
    assert [str(each.message) for each in caught] == lines


def test_a_known_column_of_arrays_without_a_value_is_an_error() -> None:
    """If only one series lacks it, its effect is that in the others."""
    known = np.stack([np.arange(23.0) % 3, np.full(23, np.nan)], axis=1)
    with pytest.raises(ValueError, match=r"^known has no value in column 2; write its values, such as 0 for no, or le"):
        Forecaster(**SMALL).fit([growth(20)] * 2, known=[known[:20]] * 2)
    both = known[:, [0, 0]], known
    with pytest.warns(UserWarning, match=re.escape("left out 1 of 2 series (X[1])")):
        forecaster = Forecaster(horizon=3, season=4).fit([growth(20)] * 2, known=[each[:20] for each in both])
    assert np.isfinite(forecaster.predict(known=[both[0][20:]] * 2)).all()


@pytest.mark.parametrize("known", [None, np.random.default_rng(1).integers(0, 2, (4, 43, 1)).astype(float)])
def test_arrays_without_a_value_are_named_and_the_others_are_forecast(known: Any) -> None:
    X = np.stack([growth(40), np.full(40, np.nan), 3 * growth(40), growth(40) ** 2])
    full = [0, 2, 3]
    left_out = "left out 1 of 4 series (X[1]): they have no value in the column to forecast or in a"
    past: Any = None
    ahead: Any = None
    if known is not None:
        known = known.copy()
        past, ahead = known[:, :40], known[:, 40:]
        past[2] = np.nan
        full = [0, 3]
        left_out = "left out 2 of 4 series (X[1], X[2])"

    def of(items: Any) -> Any:
        return None if items is None else [items[i] for i in full]

    expected = Forecaster(**SMALL).fit(of(X), known=of(past)).predict_quantiles(known=of(ahead))
    with pytest.warns(UserWarning, match=re.escape(left_out)):
        forecaster = Forecaster(**SMALL).fit([*X], known=past)
    got = forecaster.predict_quantiles(known=ahead)
    np.testing.assert_array_equal(got[full], expected)
    assert np.isnan(got[1]).all()
    assert np.isfinite(got[2]).all()  # its effect is that in the others
    with pytest.warns(UserWarning, match=re.escape("left out 1 of 4 series (X[1])")):
        np.testing.assert_array_equal(forecaster.predict(X, known=known)[full], expected[..., 1])
    with pytest.warns(UserWarning, match="left out"):
        table = Forecaster(**SMALL).cross_validation(X, windows=1, known=past)
    assert [*dict.fromkeys(table["series"])] == full
    with pytest.warns(UserWarning, match="left out"):
        assert np.isfinite(forecaster.score(X, known=known))


def test_known_columns() -> None:
    rng = np.random.default_rng(0)
    known = rng.random((2, 63, 2))
    X = np.stack([growth(63), 3 * growth(63)]) + 20 * known[..., 0]
    forecaster = Forecaster(**SMALL).fit(X[:, :60], known=known[:, :60])
    expected = forecaster.predict(known=known[:, 60:])
    np.testing.assert_allclose(expected, X[:, 60:], rtol=0.15)
    np.testing.assert_array_equal(forecaster.predict(X[:, :60], known=known), expected)
    other = forecaster.predict(known=known[:, 60:] + [1, 0])
    assert (other - expected > 10).all()
    assert -0.5 < forecaster.score(X, known=known) < 0
    forecaster.save("c")
    loaded = Forecaster.load("c")
    np.testing.assert_array_equal(loaded.predict([*X[:, :60]], known=[*known]), expected)
    infinite = known.copy()
    masked = np.ma.masked_greater(known, 0.5)
    plain = Forecaster(**SMALL).fit(X)
    infinite[1, 61, 0] = np.inf
    holds, no_columns = (
        "known[1] holds inf in row {}, column 1; scale the numbers to at most 1e+30",
        "`fit` had no known colum",
    )
    shape, items = (
        "known[0] has shape ({}), but must be ({}, 2)",
        "known has 1 items, but X has 2 series; give one for each",
    )
    empty = Series(np.insert(known[0], 0, np.nan, axis=1), None, "s")
    refused(
        (ValueError, loaded.predict, "got no X: a loaded Forecaster keeps no training series; pass X"),
        (DataError, lambda: loaded.forecast(empty), "s has no value before the steps to forecast; leav"),
        (DataError, lambda: plain.score(X[:, :2]), "X[0] has no value before the steps to forecast; leave"),
        (ValueError, forecaster.predict, "known is None, but `fit` had 2 known columns; give known="),
        (ValueError, lambda: forecaster.predict(known=known[:, 61:]), shape.format("2, 2", 3)),
        (ValueError, lambda: forecaster.predict(known=known), shape.format("63, 2", 3)),
        (ValueError, lambda: forecaster.predict(X[:, :60], known=known[..., :1]), shape.format("63, 1", 63)),
        (ValueError, lambda: forecaster.fit(X, known=known[:1]), items),
        (ValueError, lambda: forecaster.fit(X, known=[1.0, 2.0]), "known[0] has shape (), but must be (63, 1)"),
        (ValueError, lambda: forecaster.fit(X, known=known[..., 0]), "known[0] has shape (63,), but must be (63, 1)"),
        (
            ValueError,
            lambda: forecaster.fit(X, known=known * 1j),
            "Complex data not supported: known[0] has dtype complex128",
        ),
        (ValueError, lambda: forecaster.fit(X, known=[known[0], masked[1]]), "known[1] is or holds a masked array"),
        (DataError, lambda: forecaster.predict(known=infinite[:, 60:]), holds.format(2)),
        (DataError, lambda: forecaster.fit(X, known=infinite), holds.format(62)),
        (ValueError, lambda: plain.predict(X, known=known), no_columns),
        (SettingsError, lambda: Forecaster(known=None).fit(X), "known is None: expected the name of a column"),  # type: ignore[arg-type]
    )


def test_fewer_steps_are_the_first_ones_of_the_forecast() -> None:
    """The known columns then need values for these steps only."""
    known = np.random.default_rng(0).random((2, 63, 1))
    X = np.stack([growth(63), 3 * growth(63)]) + 20 * known[..., 0]
    forecaster = Forecaster(**SMALL).fit(X[:, :60], known=known[:, :60])
    expected = forecaster.predict_quantiles(known=known[:, 60:])
    for got in (
        forecaster.predict_quantiles(known=known[:, 60:62], horizon=2),
        forecaster.predict_quantiles(X[:, :60], known=known[:, :62], horizon=2),
    ):
        np.testing.assert_array_equal(got, expected[:, :2])
    np.testing.assert_array_equal(forecaster.predict(known=known[:, 60:61], horizon=1), expected[:, :1, 1])
    refused(
        (ValueError, lambda: forecaster.predict(horizon=4), "horizon is 4, but the model was trained for 3; give a lo"),
        (ValueError, lambda: forecaster.predict(horizon=0), "horizon is 0"),
    )


def test_known_columns_may_be_padded_as_the_series_are() -> None:
    rng = np.random.default_rng(0)
    known = rng.random((2, 63, 1))
    X = np.stack([growth(60), growth(60)])
    X[0, 57:] = X[1, 40:] = np.nan
    forecaster = Forecaster(**SMALL).fit([X[0, :57], X[1, :40]], known=[known[0, :57], known[1, :40]])
    padded = Forecaster(**SMALL).fit(X, known=known[:, :60])
    expected = forecaster.predict(known=np.stack([known[0, 57:60], known[1, 40:43]]))
    np.testing.assert_array_equal(padded.predict(known=np.stack([known[0, 57:60], known[1, 40:43]])), expected)
    np.testing.assert_array_equal(padded.predict(X, known=known), expected)
    X[:, 30:] = np.nan
    assert padded.score(X, known=known[:, :60]) == forecaster.score([*X[:, :30]], known=[*known[:, :30]])


def test_known_columns_of_a_series_shorter_than_two_and_a_half_seasons() -> None:
    """The first backtest of the calibration trains on fewer rows than a season."""
    known = np.random.default_rng(0).random((2, 83, 1))
    X = [(growth(83) + 20 * known[0, :, 0])[:80], (growth(83) + 20 * known[1, :, 0])[:26]]
    given = [known[0, :80], known[1, :26]]
    forecaster = Forecaster(horizon=3, season=12).fit(X, known=given)
    assert np.isfinite(forecaster.predict(known=[known[0, 80:], known[1, 26:29]])).all()


def test_values_that_are_too_small_to_square_count_as_equal() -> None:
    with one_line(DataError, "X[0] has too few rows, missing or equal values"):
        Forecaster(**SMALL).fit([1e-170 * growth(40)])
    forecaster = Forecaster(**SMALL).fit([growth(40) - 10])  # negative values have no logarithms
    with pytest.warns(UserWarning, match="^naive forecasts for 1 of 1"):
        assert (forecaster.predict([1e-170 * growth(40)]) == 1e-170 * growth(40)[-4:-1]).all()
    tiny = forecaster.predict([1e-140 * (growth(40) - 10)])
    np.testing.assert_allclose(tiny, 1e-140 * forecaster.predict(), rtol=1e-9)


def test_cross_validation_trains_on_the_rows_before_each_cutoff_only() -> None:
    known = np.random.default_rng(0).random((2, 46, 1))
    X = np.stack([growth(46), 3 * growth(46)]) + known[..., 0]
    got = Forecaster(**SMALL | {"horizon": 2}).cross_validation(X, step=3, windows=2, known=known)
    assert [*got] == ["series", "cutoff", "step", "time", "value", "0.1", "0.5", "0.9"]
    assert got["series"].tolist() == [0, 0, 1, 1] * 2
    assert got["cutoff"].tolist() == [41] * 4 + [44] * 4
    assert got["step"].tolist() == [1, 2] * 4
    assert got["time"].tolist() == [42, 43] * 2 + [45, 46] * 2
    np.testing.assert_array_equal(got["value"], np.concatenate([X[:, 41:43].ravel(), X[:, 44:].ravel()]))
    fitted = Forecaster(**SMALL | {"horizon": 2}).fit(X[:, :41], known=known[:, :41])
    np.testing.assert_array_equal(got["0.5"][:4].reshape(2, 2), fitted.predict(known=known[:, 41:43]))
    X[:, 41:] = 1e6  # rows after the first cutoff change nothing before
    again = Forecaster(**SMALL | {"horizon": 2}).cross_validation(X, step=3, windows=2, known=known)
    np.testing.assert_array_equal(again["0.9"][:4], got["0.9"][:4])
    with one_line(ValueError, "X has only 46 rows, and needs more than 48; lower windows, step or horizon"):
        Forecaster(**SMALL).cross_validation(X, windows=16, known=known)
    with one_line(ValueError, "step is 0: expected"):
        Forecaster(**SMALL).cross_validation(X, step=0, known=known)
    X[0, :37] = np.nan  # no value before the first cutoff, 36, and too few before the second one, 38
    with pytest.warns(UserWarning, match=r"^naive forecasts for 1 of 2 series") as warned:
        table = Forecaster(**SMALL).cross_validation(X[:, :41], step=2, windows=2)
    assert {each.filename for each in warned} == {__file__}
    assert table["series"].tolist() == [1] * 3 + [0] * 3 + [1] * 3
    np.testing.assert_array_equal(table["0.5"][3:6], X[0, 37])


def test_cross_validation_gives_scores_of_each_series_and_cutoff() -> None:
    X = np.stack([growth(46), 3 * growth(46) + np.random.default_rng(0).normal(size=46)])
    X[1, 44] = np.nan
    model = Forecaster(**SMALL | {"horizon": 2})
    cut = 44
    steps, got = (model.cross_validation(X, step=3, windows=2, scores=scores) for scores in (False, True))
    assert (got["series"].tolist(), got["cutoff"].tolist()) == ([0, 1, 0, 1], [41, 41, 44, 44])
    for i, values in enumerate(X):
        past, actual = values[:cut], values[cut:]
        unit = np.abs(past[4:] - past[:-4]).mean()
        known = ~np.isnan(actual)
        low, median, high = (steps[q].reshape(2, 2, 2)[1, i][known] for q in ("0.1", "0.5", "0.9"))
        drift = past[-1] + np.arange(1, 3) * (past[-1] - past[0]) / (cut - 1)
        actual = actual[known]
        above = {0.1: actual - low, 0.5: actual - median, 0.9: actual - high}
        expected = {
            "mase": np.abs(actual - median).mean() / unit,
            "smape": (200 * np.abs(actual - median) / (np.abs(actual) + np.abs(median))).mean(),
            "coverage": ((low <= actual) & (actual <= high)).mean(),
            "pinball": np.mean([np.maximum(q * e, (q - 1) * e) for q, e in above.items()]) / unit,
            "mase_naive": np.abs(actual - past[-1]).mean() / unit,
            "mase_seasonal_naive": np.abs(actual - past[-4:-2][known]).mean() / unit,
            "mase_drift": np.abs(actual - drift[known]).mean() / unit,
        }
        assert {name: column[2 + i] for name, column in got.items()} == pytest.approx(
            expected | {"series": i, "cutoff": cut}
        )


def test_unknown_scores_of_cross_validation_are_nan() -> None:
    """Of the seasonal naive forecast of less than a season. A step without a value is left out."""
    X = [growth(40), growth(6)]
    X[0][37:39] = np.nan
    got = Forecaster(horizon=3, season=4).cross_validation(X, windows=1, scores=True)
    assert np.isfinite([got[name] for name in got if name != "mase_seasonal_naive"]).all()
    np.testing.assert_array_equal(np.isnan(got["mase_seasonal_naive"]), [False, True])


def test_quantiles_may_be_a_list() -> None:
    X = [growth(40)]
    forecaster = Forecaster(**SMALL, quantiles=[0.05, np.float64(0.95)]).fit(X)
    assert forecaster.levels_ == (0.05, 0.5, 0.95)
    text = Forecaster(**SMALL, quantiles="0.05,0.95").fit(X)
    np.testing.assert_array_equal(forecaster.predict_quantiles(), text.predict_quantiles())
    wrong: list[Any] = [[0.1, 1], 7, None, [], [0.1, 0.1000000001]]
    for quantiles in wrong:
        with pytest.raises(ValueError, match=r"quantiles is .*: expected numbers between 0 and 1 that differ in"):
            Forecaster(**SMALL, quantiles=quantiles).fit(X)


def test_info_tells_what_a_forecaster_uses(capsys: pytest.CaptureFixture[str]) -> None:
    for values, logarithms in ((growth(40) - 10, False), (GROWING, True)):
        Forecaster(**SMALL).fit([values]).save("c")
        assert main(["info", "c"]) == 0
        assert f"log={logarithms}, calendar=''" in capsys.readouterr().out


def test_the_defaults() -> None:
    assert Forecaster().get_params() == {
        **{"horizon": 12, "season": 0, "quantiles": "0.1,0.9"},
        **{"id": "", "time": "", "target": "", "known": ""},
    }


def test_short_series_are_not_trained_on_but_forecast() -> None:
    short = [growth(1), np.full(9, 3.0)]
    forecaster = Forecaster(**SMALL).fit([growth(40), *short])
    alone = Forecaster(**SMALL).fit([growth(40)])
    words = r"^naive forecasts for 2 of 3 series \(X\[1], X\[2]\): too few rows, missing or equal values"
    with pytest.warns(UserWarning, match=words) as warned:
        got = forecaster.predict()
    assert {each.filename for each in warned} == {__file__}  # it points at the caller
    np.testing.assert_array_equal(got[:1], alone.predict())
    np.testing.assert_allclose(got[1:], [[each[-1]] * 3 for each in short])
    with pytest.warns(UserWarning, match=r"^naive forecasts for 1 of 1 series \(X\[0]\): too few rows"):
        np.testing.assert_array_equal(alone.predict(short[:1]), got[1:2])


def test_errors() -> None:
    def fitting(X: Any, **given: Any) -> Any:
        return lambda: Forecaster(**SMALL | given).fit(X)

    not_fitted = Forecaster()
    with pytest.raises(NotFittedError, match="this Forecaster is not fitted"):
        not_fitted.predict()
    refused(
        (TypeError, fitting(None), "X is a NoneType; give an array (n, T), or a list of series"),
        (DataError, fitting(np.ones((1, 40))), "X[0] has too few rows, missing or equal values"),
        (DataError, fitting([np.ones(8), growth(1)]), "X[0] has too few rows, missing or equal values"),
        (ValueError, fitting(np.ones((1, 40, 2))), "X[0] has 2 channels, but a forecast has one"),
        (SettingsError, fitting([growth(40)], horizon=0), "horizon is 0: expected a whole number from 1"),
        (ValueError, lambda: not_fitted.set_params(size=1), "size is no parameter of Forecaster; it has horizon"),
    )


def test_intervals_of_fewer_rows_are_wider_if_the_training_series_are_short_too() -> None:
    """None has a horizon beside the context, so nothing can be measured: the factor is √(14 / rows)."""
    rng = np.random.default_rng(0)
    values = 50 + 5 * np.sin(2 * np.pi * np.arange(20) / 7) + rng.standard_normal(20)
    forecaster = Forecaster(horizon=6, season=12).fit([values])
    np.testing.assert_allclose(forecaster.model_.widening, np.sqrt(14 / np.arange(14).clip(1)))
    short = Forecaster(horizon=3, season=12).fit([values[:9]])
    assert (short.model_.widening[9:] == 1).all()  # its offsets are those of nine rows


def test_fewer_rows_than_the_model_reads_are_named_and_have_wider_intervals(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each part of a long series is forecast from its last rows alone: the intervals hold their share of the values."""
    rng = np.random.default_rng(79_000)
    t = np.arange(480)
    values = 100 + 25 * np.sin(np.pi * t / 6) + 0.3 * rng.standard_normal(480).cumsum() + 3 * rng.standard_normal(480)
    forecaster = Forecaster(horizon=6, season=12).fit([values[:240]])
    (context,) = forecaster.model_.widening.shape
    assert context == 36
    for rows in (4, 8, 12, 14, 24):
        ends = range(250, 474, 6)
        with pytest.warns(UserWarning, match="wider intervals for 38 of 38 series .*fewer rows than the 36 that the"):
            quantiles = forecaster.predict_quantiles([values[end - rows : end] for end in ends])
        actual = np.stack([values[end : end + 6] for end in ends])
        inside = (quantiles[..., 0] <= actual) & (actual <= quantiles[..., 2])
        assert inside.mean() > 0.7, rows
    forecaster.predict([values[:36]])  # no warning
    forecaster.save("f")
    Path("short.csv").write_text("".join(f"{v}\n" for v in values[:20]))
    assert main(["predict", "f", "short.csv"]) == 0
    assert capsys.readouterr().err == (
        "wider intervals for 1 of 1 series (short.csv): fewer rows than the 36 that the model reads; "
        "give the complete history\n"
    )
