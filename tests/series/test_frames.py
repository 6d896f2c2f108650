"""Forecaster with pandas' objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.commands.runs import growth
from xrnn.commands.main import main
from xrnn.series import Forecaster
from xrnn.typing import HostArray

pandas: Any = pytest.importorskip("pandas", reason="needs pandas: pip install -e '.[pandas]'")
SMALL: dict[str, Any] = {"hidden": 4, "horizon": 3, "context": 6, "season": 4, "batch": 8, "lr": 0.02, "steps": 2}
QUARTERS = pandas.date_range("2001-01-01", periods=43, freq="QS", name="quarter")
Y = pandas.Series(growth(43), QUARTERS, name="y")
pytestmark = pytest.mark.usefixtures("workdir")


def expected(values: HostArray, **known: HostArray) -> Any:
    """The quantiles (3, 3) by arrays."""
    past: dict[str, Any] = {name: each[None, :40] for name, each in known.items()}
    fitted = Forecaster(**SMALL).fit(values[None, :40], **past)
    return fitted.predict_quantiles(**{k: v[None, 40:] for k, v in known.items()})[0]


def test_a_series_gets_a_series_with_the_next_times() -> None:
    forecaster = Forecaster(**SMALL | {"season": 0}).fit(Y[:40])
    assert forecaster.trained_.facts.season == 4  # from the times
    got = forecaster.predict()
    pandas.testing.assert_series_equal(
        got, pandas.Series(expected(growth(43))[:, 1], QUARTERS[40:], name="y"), check_freq=False
    )
    quantiles = forecaster.predict_quantiles()
    np.testing.assert_array_equal(quantiles.to_numpy(), expected(growth(43)))
    assert [*quantiles.columns] == [0.1, 0.5, 0.9]
    assert quantiles.index.equals(QUARTERS[40:])
    forecaster.save("c")
    pandas.testing.assert_series_equal(Forecaster.load("c").predict(Y[:40]), got)
    with pytest.warns(UserWarning, match="X is the data of `fit`"):
        forecaster.score(Y[:40])
    assert forecaster.score(Y[:39]) < 0


@pytest.mark.parametrize("zone", [None, "Europe/Berlin", "Asia/Kolkata"])
def test_a_wide_frame_gets_a_wide_frame(zone: str | None) -> None:
    """Columns may begin and end with missing values; hours with the zone's offset, across a change of the clock."""
    hours = pandas.date_range("2024-03-30", periods=43, freq="h", tz=zone)
    frame = pandas.DataFrame({"a": growth(43), 7: 3 * growth(43)}, hours)
    frame.iloc[:5, 0] = frame.iloc[38:, 0] = np.nan
    forecaster = Forecaster(**SMALL).fit(frame[:40])
    got = forecaster.predict()
    assert [*got.columns] == ["a", 7]
    assert got.index.equals(hours[38:])
    assert got.index.tz == hours.tz
    by_lists = Forecaster(**SMALL).fit([growth(43)[5:38], 3 * growth(40)]).predict_quantiles()
    np.testing.assert_array_equal(got["a"].dropna(), by_lists[0, :, 1])
    quantiles = forecaster.predict_quantiles()
    np.testing.assert_array_equal(quantiles[7][0.9].dropna(), by_lists[1, :, 2])
    pandas.testing.assert_frame_equal(forecaster.predict(frame[:40]), got)


def test_periods_and_numbers_stay_what_they_are() -> None:
    periods = Forecaster(**SMALL).fit(Y[:40].to_period()).predict()
    assert periods.index.equals(Y[40:].to_period().index)
    numbers = Forecaster(**SMALL).fit(Y[:40].reset_index(drop=True)).predict()
    assert numbers.index.tolist() == [40, 41, 42]


def test_known_columns_of_a_series_are_a_frame() -> None:
    price = np.random.default_rng(0).random(43)
    known = pandas.DataFrame({"price": price}, QUARTERS)
    y = Y + 20 * price
    fitted = Forecaster(**SMALL).fit(y[:40], known=known[:40])
    want = expected(y.to_numpy(), known=price[:, None])
    for got in (
        fitted.predict_quantiles(known=known[40:]),
        fitted.predict_quantiles(known=known),  # rows up to the last values are not used
        fitted.predict_quantiles(y[:40], known=known),
        Forecaster(**SMALL).fit(y[:40], known=known).predict_quantiles(),  # later rows were given to fit
    ):
        np.testing.assert_allclose(got, want, rtol=1e-6)
    with pytest.raises(ValueError, match="known has no column 'price': expected price"):
        fitted.predict(known=known.rename(columns={"price": "cost"}))
    with pytest.raises(ValueError, match="y has 0 rows after the last value to forecast: expected 3 with the known"):
        fitted.predict()
    with pytest.raises(ValueError, match="got known, but `fit` had no known columns: expected None; leave it out"):
        Forecaster(**SMALL).fit(y[:40]).predict(known=known[40:])
    with pytest.raises(ValueError, match="known is a ndarray: expected a DataFrame with the times of X as its index"):
        Forecaster(**SMALL).fit(y[:40], known=known.to_numpy()[:40])


def test_a_long_frame_gets_a_long_frame_and_files_of_its_columns_are_read() -> None:
    price = np.random.default_rng(0).random(43)
    table = pandas.concat(
        pandas.DataFrame({"day": QUARTERS, "shop": shop, "price": price, "sold": scale * growth(43) + price})
        for shop, scale in (("b", 1), ("a", 100))
    )
    past, later = table[table.day < QUARTERS[40]], table[table.day >= QUARTERS[40]].drop(columns="sold")
    columns: dict[str, Any] = {"id": "shop", "time": "day", "known": ["price"], "quantiles": [0.25, 0.75]}
    forecaster = Forecaster(**SMALL, **columns).fit(
        past.sample(frac=1, random_state=0).sort_values("shop", ascending=False)
    )
    got = forecaster.predict(known=later)
    assert [*got.columns] == ["shop", "day", "sold"]
    assert [*got.shop] == ["b"] * 3 + ["a"] * 3
    assert [*got.day] == [*QUARTERS[40:]] * 2
    np.testing.assert_allclose(got.sold[3:].to_numpy(), table.sold[83:], rtol=0.2)
    quantiles = forecaster.predict_quantiles(known=later)
    assert [*quantiles.columns] == ["shop", "day", 0.25, 0.5, 0.75]
    assert (quantiles[0.25] < quantiles[0.75]).all()
    with_later = pandas.concat([past, later])  # the value is missing in the later rows
    pandas.testing.assert_frame_equal(forecaster.predict(with_later), got)
    with pytest.raises(ValueError, match="known has no row of shop 'a': expected one for each step ahead"):
        forecaster.predict(known=later[later.shop == "b"])
    with pytest.raises(ValueError, match="X has no column 'day': expected some of when, shop, price, sold"):
        forecaster.predict(past.rename(columns={"day": "when"}))
    with pytest.raises(ValueError, match="X has 2 columns besides shop, day: expected one to forecast; name it"):
        Forecaster(**SMALL, id="shop", time="day").fit(past)


def test_an_id_may_be_a_category_without_rows() -> None:
    table = pandas.DataFrame({"shop": pandas.Categorical(["b"] * 40, ["a", "b"]), "sold": growth(40)}, QUARTERS[:40])
    got = Forecaster(**SMALL, id="shop").fit(table).predict()
    assert [*got.shop] == ["b"] * 3


def test_one_series_has_named_columns() -> None:
    """Also the columns of files, which the command reads by the names in the checkpoint."""
    price = np.random.default_rng(0).random(43)
    table = pandas.DataFrame({"day": QUARTERS, "price": price, "note": "x", "sold": growth(43) + price})
    table.loc[40:, "sold"] = np.nan
    forecaster = Forecaster(**SMALL, time="day", target="sold", known="price").fit(table)
    got = forecaster.predict()
    assert (got.name, got.index.name, [*got.index]) == ("sold", "day", [*QUARTERS[40:]])
    pandas.testing.assert_series_equal(
        Forecaster(**SMALL, target="sold", known="price").fit(table.set_index("day")).predict(), got
    )
    forecaster.save("c")
    table.to_csv("t.csv", index=False)
    loaded = Forecaster.load("c")
    pandas.testing.assert_series_equal(loaded.predict(table), got)
    assert main(["predict", "c", "t.csv", "--json"]) == 0


def test_cross_validation_of_a_frame_is_a_frame() -> None:
    got = Forecaster(**SMALL).cross_validation(pandas.DataFrame({"a": Y, "b": 2 * Y}), windows=2)
    assert [*got.columns] == ["series", "cutoff", "step", "time", "value", "0.1", "0.5", "0.9"]
    assert [*got.series] == (["a"] * 3 + ["b"] * 3) * 2
    assert [*got.cutoff.unique()] == [QUARTERS[36], QUARTERS[39]]
    np.testing.assert_array_equal(got.value[got.series == "a"], Y[37:])
    assert [*got.time[:3]] == [*QUARTERS[37:40]]


def test_local_days_keep_a_year_across_a_change_of_the_clock() -> None:
    days = pandas.date_range("2022-01-01", periods=803, freq="D", tz="Europe/Berlin")
    rng = np.random.default_rng(0)
    y = pandas.Series(5 * np.sin(np.arange(803) / 365.25 * 2 * np.pi) + 0.1 * rng.standard_normal(803), days)
    forecaster = Forecaster(**SMALL | {"season": 7, "context": 14}).fit(y[:800])
    assert forecaster.trained_.facts.calendar == "year"
    got = forecaster.predict()
    assert got.index.equals(days[800:])
    assert np.abs(got - y[800:]).max() < 1


def test_bad_tables_are_refused_and_leave_the_fit_as_it_was() -> None:
    known = pandas.DataFrame({"price": np.random.default_rng(0).random(43)}, QUARTERS)
    y, wide = Y[:40].rename(None), pandas.DataFrame({"a": Y[:40], "b": Y[:40]})
    long = pandas.DataFrame({"shop": "a", "sold": Y[:40]})
    fitted = Forecaster(**SMALL).fit(y, known=known[:40])
    before = fitted.predict(known=known)
    for later, message in (
        (known.price, "known is a Series: expected a DataFrame"),
        (known.tz_localize("UTC"), r"known has an index of datetime64.*UTC\]: expected times that compare with"),
        (known.reset_index(drop=True), "known has an index of int64: expected times that compare with"),
        (pandas.concat([known, known], axis=1), "known has two columns 'price': expected columns with different names"),
        (pandas.concat([known, known[-1:]]), "known has the time 2011-07-01 00:00:00 twice"),
    ):
        with pytest.raises(ValueError, match=message):
            fitted.predict(known=later)
        with pytest.raises(ValueError, match=message):
            Forecaster(**SMALL).fit(y, known=later)
    with pytest.raises(ValueError, match="X has a missing time: expected one in each row"):
        Forecaster(**SMALL).fit(y.set_axis(QUARTERS[:40].where(np.arange(40) != 3)))
    for labels in (QUARTERS[:40].astype(str), QUARTERS[:40].date):
        with pytest.raises(ValueError, match=r"X has times of dtype (str|object): expected dates or numbers; convert"):
            Forecaster(**SMALL).fit(y.set_axis(labels))
        with pytest.raises(ValueError, match=r"X has times of dtype (str|object): expected dates or numbers; convert"):
            Forecaster(**SMALL, id="shop", time="day").fit(long.assign(day=labels))
    with pytest.raises(ValueError, match="X has two columns 'a': expected columns with different names"):
        Forecaster(**SMALL).fit(wide.set_axis(["a", "a"], axis=1))
    with pytest.raises(ValueError, match="X has no columns: expected columns"):
        Forecaster(**SMALL).fit(wide[[]])
    for name, empty in (("", y[:0]), ("", wide[:0]), ("shop", long[:0])):
        with pytest.raises(ValueError, match="X has no rows: expected at least one series with values; add rows"):
            Forecaster(**SMALL, id=name).fit(empty, known=None if name else known)
    kinds = pandas.DataFrame({"kind": pandas.Categorical(["a", "b"] * 20)}, QUARTERS[:40])
    for X, given in ((y, kinds), (y, kinds.kind.astype(str).to_frame())):
        with pytest.raises(
            ValueError, match=r"the known column 'kind' has values that are no numbers \(.*: expected numb"
        ):
            Forecaster(**SMALL).fit(X, known=given)
    with pytest.raises(
        ValueError, match=r"the series 'X' has values that are no numbers \(could not convert string to f"
    ):
        Forecaster(**SMALL).fit(y.astype(object).where(np.arange(40) != 3, "x"))
    for X, given in ((y * 1j, None), (y, y.to_frame("kind") * 1j)):
        with pytest.raises(
            ValueError, match=r"^Complex data not supported: the .* is complex128; expected real numbers$"
        ):
            Forecaster(**SMALL).fit(X, known=given)
    with pytest.raises(ValueError, match="X has rows without a value of shop: expected one in each"):
        Forecaster(**SMALL, id="shop").fit(long.assign(shop=long.shop.where(np.arange(40) != 3)))
    with pytest.raises(ValueError, match="X\\[0] has the same value 1 in all rows"):
        fitted.fit(np.ones((1, 40)))
    pandas.testing.assert_series_equal(fitted.predict(known=known), before)
