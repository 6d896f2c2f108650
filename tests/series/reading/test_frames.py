"""Forecaster with pandas' objects."""

from __future__ import annotations

import datetime
import json
import re
from typing import Any

import numpy as np
import pytest

from tests.commands.runs import failed, growth
from tests.errors import refused
from xrnn.commands.main import main
from xrnn.series import Forecaster
from xrnn.series.errors import DataError
from xrnn.series.forecast import fit
from xrnn.typing import HostArray

pandas: Any = pytest.importorskip("pandas", reason="needs pandas: pip install -e '.[series]'")
SMALL: dict[str, Any] = {"horizon": 3, "season": 4}
QUARTERS = pandas.date_range("2001-01-01", periods=43, freq="QS", name="quarter")
Y = pandas.Series(growth(43), QUARTERS, name="y")
KNOWN = pandas.DataFrame({"price": np.random.default_rng(0).random(43)}, QUARTERS)
pytestmark = pytest.mark.usefixtures("workdir")


@pytest.fixture(autouse=True)
def quick_fit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How much wider intervals of short series are takes four fifths of a small fit; one test here needs it."""
    if request.function is not test_a_panel_with_a_late_starter_is_forecast_the_same_in_any_form:
        monkeypatch.setattr(fit, "_widening", lambda series, model: np.ones(model.context))


def expected(values: HostArray, **known: HostArray) -> Any:
    """The quantiles (3, 3) by arrays."""
    past: dict[str, Any] = {name: each[None, :40] for name, each in known.items()}
    ahead: dict[str, Any] = {name: each[None, 40:] for name, each in known.items()}
    return Forecaster(**SMALL).fit(values[None, :40], **past).predict_quantiles(**ahead)[0]


def test_a_series_gets_a_series_with_the_next_times() -> None:
    forecaster = Forecaster(**SMALL | {"season": 0}).fit(Y[:40])
    assert forecaster.model_.season == 4  # from the times
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
    arrays = np.stack([growth(40), 3 * growth(40)])  # a DataFrame without times is an array (n, T)
    got = Forecaster(**SMALL).fit(pandas.DataFrame(arrays)).predict()
    np.testing.assert_array_equal(got, Forecaster(**SMALL).fit(arrays).predict())


def test_a_long_frame_gets_a_long_frame_and_files_of_its_columns_are_read() -> None:
    price = np.random.default_rng(0).random(43)
    table = pandas.concat(
        pandas.DataFrame({"day": QUARTERS, "shop": shop, "price": price, "sold": scale * growth(43) + price})
        for shop, scale in (("b", 1), ("a", 100))
    )
    past = table[table.day < QUARTERS[40]]
    later = table[table.day >= QUARTERS[40]].drop(columns="sold")
    columns: dict[str, Any] = {"id": "shop", "time": "day", "known": ["price"], "quantiles": [0.25, 0.75]}
    forecaster = Forecaster(**SMALL, **columns).fit(
        past.sample(frac=1, random_state=0).sort_values("shop", ascending=False)
    )
    with_later = pandas.concat([past, later])  # the value is missing in the later rows
    got = forecaster.predict(with_later)
    assert [*got.columns] == ["shop", "day", "sold"]
    assert [*got.shop] == ["b"] * 3 + ["a"] * 3
    assert [*got.day] == [*QUARTERS[40:]] * 2
    np.testing.assert_allclose(got.sold[3:].to_numpy(), table.sold[83:], rtol=0.2)
    quantiles = forecaster.predict_quantiles(with_later)
    assert [*quantiles.columns] == ["shop", "day", 0.25, 0.5, 0.75]
    assert (quantiles[0.25] < quantiles[0.75]).all()
    refused(
        (
            DataError,
            lambda: forecaster.predict(with_later[:-3]),
            "the known column price of X, shop a ends at 2010-10-01, 3 steps short",
        ),
        (ValueError, lambda: forecaster.predict(past.rename(columns={"day": "when"})), "X has no column 'day'"),
        (ValueError, lambda: Forecaster(**SMALL, id="shop", time="day").fit(past), "X has 2 columns besides shop, day"),
    )


def test_an_id_may_be_a_tuple() -> None:
    """pandas would make two levels of it."""
    shops = pandas.Index([("x", 1)] * 40 + [("x", 2)] * 40, tupleize_cols=False)
    table = pandas.DataFrame({"day": [*QUARTERS[:40]] * 2, "shop": shops, "sold": [*Y[:40], *(3 * Y[:40])]})
    got = Forecaster(**SMALL, id="shop", time="day").fit(table).predict()
    assert [*got.columns] == ["shop", "day", "sold"]
    assert [*got.shop] == [("x", 1)] * 3 + [("x", 2)] * 3
    np.testing.assert_allclose(got.sold[:3], expected(growth(43))[:, 1], rtol=0.1)


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
    want = expected(growth(43) + price, known=price[:, None])
    np.testing.assert_allclose(forecaster.predict_quantiles(), want, rtol=1e-6)
    pandas.testing.assert_series_equal(
        Forecaster(**SMALL, target="sold", known="price").fit(table.set_index("day")).predict(), got
    )
    forecaster.save("c")
    table.to_csv("t.csv", index=False)
    loaded = Forecaster.load("c")
    pandas.testing.assert_series_equal(loaded.predict(table), got)
    pandas.testing.assert_series_equal(loaded.set_params(target="note").predict(table), got)  # until the next fit
    assert main(["predict", "c", "t.csv", "--json"]) == 0


def test_two_levels_of_the_index_are_the_series_and_the_times() -> None:
    wide = pandas.DataFrame({"b": growth(43), "a": 3 * growth(43)}, QUARTERS)
    stacked = pandas.concat({name: wide[name] for name in wide}, names=["shop", "quarter"]).rename("sold")
    want = Forecaster(**SMALL).fit(wide[:40]).predict()
    past = stacked[stacked.index.get_level_values(1) < QUARTERS[40]]
    got = Forecaster(**SMALL).fit(past.rename_axis([None, None])).predict()
    assert [*got.index.names] == ["id", "time"]
    np.testing.assert_array_equal(got.unstack(0)[["b", "a"]], want)
    price = pandas.DataFrame({"price": np.random.default_rng(0).random(86)}, stacked.index)
    both = past.to_frame().join(price)
    later = price[price.index.get_level_values(1) >= QUARTERS[40]]
    fitted = Forecaster(**SMALL, target="sold", known=["price"]).fit(both)
    got = fitted.predict_quantiles(pandas.concat([both, later]))
    assert [*got.index] == [*later.index]


def test_models_with_known_columns_cross_between_pandas_and_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    known = pandas.DataFrame({"price": rng.random(43), "promo": rng.random(43)}, QUARTERS)
    y = growth(43) + 9 * known.price - 5 * known.promo
    table = known.assign(sold=y.where(np.arange(43) < 40))
    table.to_csv("t.csv")
    table.rename(columns={"sold": "revenue"}).to_csv("other.csv")
    names: dict[str, Any] = {"target": "sold", "known": "price,promo"}
    Forecaster(**SMALL, **names).fit(table).save("pandas")
    options = [f"--{name}={value}" for name, value in (SMALL | names).items()]
    assert main(["forecast", "t.csv", *options, "--out=command"]) == 0
    capsys.readouterr()
    for name in ("pandas", "command"):
        assert main(["predict", name, "t.csv", "--json"]) == 0
        printed = [json.loads(line)["0.5"] for line in capsys.readouterr().out.splitlines()]
        for columns in (["price", "promo", "sold"], ["sold", "promo", "price"]):
            np.testing.assert_allclose(Forecaster.load(name).predict(table[columns]), printed, rtol=1e-6)
    assert failed(capsys, "predict", "command", "other.csv").startswith("other.csv has no column sold")


@pytest.mark.parametrize(
    ("zone", "start", "end"),
    [
        ("Europe/Berlin", "2020-01-01 00:00", "2020-03-28"),
        ("America/New_York", "2020-07-01 00:00", "2020-10-31"),
        ("Europe/Berlin", "2020-01-01 02:30", "2020-03-28"),
        ("Europe/Berlin", "2020-07-01 02:30", "2020-10-24"),
    ],
)
def test_a_clock_that_changes_within_the_horizon_keeps_the_days(zone: str, start: str, end: str) -> None:
    days = pandas.date_range(start, periods=130, name="day")
    y = pandas.Series(growth(130), days)
    past = y[:end].tz_localize(zone)
    later = y[end:][1:4]
    got = Forecaster(**SMALL).fit(past).predict()
    local = got.index.tz_localize(None)
    assert [*local.date] == [*later.index.date]
    assert {each.strftime("%H:%M") for each in local if each.date() != datetime.date(2020, 3, 29)} == {start[-5:]}
    hours = pandas.date_range(end + " 20:00", periods=43, freq="h", tz=zone)
    got = Forecaster(**SMALL).fit(pandas.Series(growth(40), hours[:40])).predict()
    assert got.index.equals(hours[40:])
    table = pandas.DataFrame({"y": growth(43), "price": np.random.default_rng(0).random(43)}, hours)
    one = Forecaster(**SMALL | {"horizon": 1}, target="y", known="price").fit(table[:40])
    with_later = table[:41].assign(y=table.y.where(np.arange(43) < 40))
    assert one.predict(with_later).index.equals(hours[40:41])


def test_dates_as_text_are_read_as_in_a_file() -> None:
    want = Forecaster(**SMALL).fit(Y[:40]).predict()
    for labels in (QUARTERS.astype(str), QUARTERS.date, QUARTERS.strftime("%d.%m.%Y"), QUARTERS.strftime("%b %Y")):
        y = Y.set_axis(pandas.Index(labels))[:40]
        np.testing.assert_array_equal(Forecaster(**SMALL).fit(y).predict(), want)
        long = y.rename("sold").rename_axis("day").reset_index()
        got = Forecaster(**SMALL, time="day", target="sold").fit(long).predict()
        assert [*got.index] == [*QUARTERS[40:]]
    local = Y.set_axis(pandas.Index([f"{day:%Y-%m-%d %H:%M}+01:00" for day in QUARTERS]))[:40]
    assert str(Forecaster(**SMALL).fit(local).predict().index[0]) == "2011-01-01 00:00:00+01:00"


def test_columns_of_different_ends_get_rows_in_the_order_of_time() -> None:
    frame = pandas.DataFrame({"late": Y[:40], "early": Y[:40]})
    frame.iloc[35:, 1] = np.nan
    got = Forecaster(**SMALL).fit(frame).predict()
    pandas.testing.assert_frame_equal(Forecaster(**SMALL).fit(frame[::-1]).predict(), got)
    assert got.index.equals(QUARTERS[35:38].append(QUARTERS[40:]))
    assert got.notna().to_numpy().tolist() == [[False, True]] * 3 + [[True, False]] * 3


@pytest.mark.parametrize("kind", ["wide", "long", "levels"])
def test_series_of_a_frame_without_a_value_are_named_and_the_others_are_forecast(kind: str) -> None:
    days = pandas.date_range("2024-01-01", periods=40, name="day")
    values = {"a": growth(40), "b": np.full(40, np.nan), "c": 3 * growth(40)}

    def frame(names: str) -> Any:
        wide = pandas.DataFrame({name: values[name] for name in names}, days)
        long = wide.melt(ignore_index=False, var_name="shop", value_name="sold").reset_index()
        return {"wide": wide, "long": long, "levels": long.set_index(["shop", "day"])}[kind]

    options = SMALL | ({"id": "shop"} if kind == "long" else {})
    expected = Forecaster(**options).fit(frame("ac"))
    line = re.escape("left out 1 of 3 series (b): they have no value in the column to forecast or in a known column")
    with pytest.warns(UserWarning, match=line):
        forecaster = Forecaster(**options).fit(frame("abc"))
    assert forecaster.predict().equals(expected.predict())
    with pytest.warns(UserWarning, match=line):
        quantiles = forecaster.predict_quantiles(frame("abc"))
    pandas.testing.assert_frame_equal(quantiles, expected.predict_quantiles())
    with pytest.warns(UserWarning, match=line):
        table = Forecaster(**options).cross_validation(frame("abc"), windows=1)
    assert [*dict.fromkeys(table["series"])] == ["a", "c"]


def test_cross_validation_of_a_frame_is_a_frame() -> None:
    got = Forecaster(**SMALL).cross_validation(pandas.DataFrame({"a": Y, "b": 2 * Y}), windows=2)
    assert [*got.columns] == ["series", "cutoff", "step", "time", "value", "0.1", "0.5", "0.9"]
    assert [*got.series] == (["a"] * 3 + ["b"] * 3) * 2
    assert [*got.cutoff.unique()] == [QUARTERS[36], QUARTERS[39]]
    np.testing.assert_array_equal(got.value[got.series == "a"], Y[37:])
    assert [*got.time[:3]] == [*QUARTERS[37:40]]
    scores = Forecaster(**SMALL).cross_validation(pandas.DataFrame({"a": Y, "b": 2 * Y}), windows=2, scores=True)
    assert [*scores.series, *scores.cutoff] == [*("a", "b") * 2, *(QUARTERS[row] for row in (36, 36, 39, 39))]
    assert (scores.groupby("series").mase.mean() > 0).all()


WIDE = pandas.DataFrame({"a": Y[:40], "b": Y[:40]})
LONG = pandas.DataFrame({"shop": "a", "sold": Y[:40]})


def at(row: int, value: Any) -> Any:
    """Y with another value, of any type."""
    return Y[:40].astype(object).where(np.arange(40) != row, value)


def with_price(row: int, value: float) -> Any:
    """40 rows, and the prices of three more, with another price in a row."""
    return KNOWN.where(np.arange(43)[:, None] != row, value).assign(y=Y[:40])


def test_bad_known_columns_get_one_line() -> None:
    past = with_price(0, 0.5)[:40]
    fitted = Forecaster(**SMALL, target="y", known="price").fit(past)
    far = "at 2011-04-01, far from its mean in the training, "
    for X, words in (
        (pandas.concat([with_price(41, 1.0), KNOWN[-1:]]), ": the time 2011-07-01 is also in row 43"),
        (with_price(41, np.inf), "X, row 42, column price: 'inf' is not a number"),
        (with_price(41, 1e31), "X holds 1e+31 in row 42, column 2; scale the numbers"),
        (with_price(41, 1.0).assign(price="z"), "column price: 'z' is not a number"),
        (with_price(41, 1.0).assign(price=1j), "is not a number"),
        (
            past,
            "the known column price of X ends at 2010-10-01, 3 steps short of the forecast; add rows with its later "
            "values, or",
        ),
        (with_price(41, 1e30), f"the known column price of X is 1e+30 {far}"),
        (with_price(41, -1e5), f"the known column price of X is -100000 {far}"),
        (
            with_price(41, 1.0).rename(columns={"price": "cost"}),
            "X has no column 'price'; it",
        ),
    ):
        with pytest.raises(ValueError, match=f"^.*{re.escape(words)}.*$"):
            fitted.predict(X)
    words = "got known= for pandas' X; name known columns in X by Forecaster(known=)"
    refused(
        *((ValueError, lambda X=X: Forecaster(**SMALL).fit(X, known=KNOWN), words) for X in (Y[:40], WIDE, past)),
        (ValueError, lambda: fitted.predict(known=KNOWN[40:]), words),
    )
    with pytest.warns(UserWarning, match="known column price is 100 in 2011-04-01, and from"):
        fitted.predict(with_price(41, 100.0))
    for row, month in ((37, "2010-04-01"), (20, "2006-01-01")):  # in the context, and before it
        with pytest.warns(UserWarning, match=f"known values that look like typing errors.*100000 in {month}"):
            fitted.predict(with_price(row, 1e5))
    with pytest.warns(UserWarning, match="known columns that never change .* are not used: price"):
        zero = Forecaster(**SMALL, target="y", known="price").fit(past.assign(price=0.0))
    zero.predict(with_price(0, 1.0).assign(price=1.0))


NAMES = [None, 0, False, "", ("a", "b"), "shop", "time"]
PAIR = pandas.DataFrame({"a": Y[:40], "b": 3 * Y[:40]})
STACKED = pandas.concat({name: PAIR[name] for name in PAIR}, names=["shop", "quarter"])
LEVELS = pandas.MultiIndex.from_tuples([("s", "a"), ("s", "b")], names=["state", None])
PAIRS = [["", 0], [0, None], ["a", "a "], [1, "1"], [False, ("b",)], ["price", "value"]]


@pytest.mark.parametrize(
    "X",
    [
        *(Y[:40].rename(name) for name in NAMES),
        *(STACKED.rename(name) for name in NAMES),
        *(STACKED.to_frame(name) for name in NAMES[1:]),
        *(STACKED.rename_axis(names) for names in (["a", "a"], [0, ""])),
        *(PAIR.set_axis(pandas.Index(pair, dtype=object, tupleize_cols=False), axis=1) for pair in PAIRS),
        PAIR.set_axis(LEVELS, axis=1),
    ],
)
def test_names_may_be_false_tuples_or_equal(X: Any) -> None:
    fitted = Forecaster(**SMALL).fit(X)
    got = fitted.predict()
    quantiles = fitted.predict_quantiles()
    levels = X.index.nlevels
    want = Forecaster(**SMALL).fit([growth(40), 3 * growth(40)][: levels + X.ndim - 1]).predict_quantiles()
    np.testing.assert_array_equal(got.to_numpy().ravel("F"), want[..., 1].ravel())
    columns, of_got = ([each.name] if each.ndim == 1 else [*each.columns] for each in (X, got))
    assert of_got == columns
    assert [*got.index.names] == [*X.index.names]
    if X.ndim == levels:  # one series, or a column for each
        assert [*map(type, of_got)] == [*map(type, columns)]
    if X.ndim == 2 and levels == 1:
        assert quantiles.columns.names == [*X.columns.names, "quantile"]
        assert Forecaster(**SMALL).cross_validation(X, windows=1).series.nunique(dropna=False) == 2
    fitted.save("c")
    np.testing.assert_array_equal(Forecaster.load("c").predict_quantiles(X), quantiles)


@pytest.mark.parametrize("name", [None, "", "n"])
def test_numbers_in_an_index_are_sorted(name: str | None) -> None:
    y = Y[:40].set_axis(pandas.RangeIndex(40, name=name))
    want = Forecaster(**SMALL).fit(y).predict()
    pandas.testing.assert_series_equal(Forecaster(**SMALL).fit(y[::-1]).predict(), want)


def test_an_index_and_the_target_may_have_one_name() -> None:
    long = STACKED.to_frame("sold").rename_axis(["shop", "sold"]).reset_index(0)
    got = Forecaster(**SMALL, id="shop").fit(long).predict()
    assert [*got.columns] == ["shop", "sold", "sold"]
    np.testing.assert_array_equal(got.iloc[:, 2], Forecaster(**SMALL).fit(STACKED).predict())


TIME = "is not a time like the others"


@pytest.mark.parametrize(
    ("X", "columns", "words"),
    [
        (Y[:40].set_axis(QUARTERS[:40].where(np.arange(40) != 3)), {}, f"X, row 4: '' {TIME}"),
        (Y[:40].set_axis([f"day {i}" for i in range(40)]), {}, f"X, row 1: 'day 0' {TIME}"),
        (LONG.assign(day="x"), {"id": "shop", "time": "day"}, f"X, row 1: 'x' {TIME}"),
        (
            Y[:40].set_axis(pandas.to_datetime(np.arange(40) * 7, unit="ns")),
            {},
            "X has times of nanoseconds; round them to microseconds, or number the rows",
        ),
        (WIDE.set_axis(["a", "a"], axis=1), {}, "X has two columns 'a'"),
        *((X, {}, "X has the shape (") for X in (WIDE[[]], WIDE[:0], Y[:0])),
        (
            LONG.assign(z=1).set_index(["shop", "z"], append=True),
            {},
            "X has an index of 3 levels; keep times in it, or",
        ),
        (LONG[:0], {"id": "shop"}, "X has the shape (0, 2); add rows and columns of values"),
        (at(3, "x"), {}, "column y: 'x' is not a number; correct it, write categories as numbers"),
        (at(3, np.complex128(1 + 2j)), {}, "X, row 4, column y: '(1+2j)' is not a number"),
        (Y[:40] * 1j, {}, "X, row 1, column y: '10j' is not a number"),
        (
            pandas.Series(QUARTERS[:40], QUARTERS[:40]),
            {},
            "column quarter: '2001-01-01T00:00:00' is not a number; correct",
        ),
        (pandas.Series(QUARTERS[1:41] - QUARTERS[:40], QUARTERS[:40]), {}, "row 1, column quarter: '"),
        (LONG.assign(shop=LONG.shop.where(np.arange(40) != 3)), {"id": "shop"}, "X, row 4 has no value in column shop"),
        *((LONG, {"id": "shop", "known": [n]}, "X has no column 'a'") for n in ("a,b", " a")),
        *(
            (LONG, names, "id, time, target and known are shop, shop")
            for names in (
                {"id": "shop", "time": "shop", "target": "sold"},
                {"id": "shop", "target": "shop"},
                {"target": "shop", "known": "shop"},
            )
        ),
        *(
            (
                X,
                {name: "b"},
                "X has no column 'b'; give a DataFrame, or leave the names out",
            )
            for X in (Y[:40], pandas.concat({"a": Y[:40]}), np.ones((1, 9)))
            for name in ("id", "time", "target", "known")
        ),
        (WIDE, {"known": "c"}, "X has no column 'c'; it has a, b"),
        (WIDE.assign(c=1), {"known": "c"}, "X has 2 columns besides c"),
        (WIDE, {"time": "day"}, "X has no column 'day'; it has a, b"),
        (pandas.concat({"a": WIDE}), {}, "X has 2 columns besides the index"),
        (pandas.concat({"a": Y[:40]}).to_frame(), {"known": "b"}, "X has no column 'b'; it has y"),
        (
            WIDE.set_axis(LEVELS, axis=1),
            {"target": "s"},
            "X has no column 's'; it has ('s', 'a'), ('s', 'b",
        ),
    ],
)
def test_bad_tables_get_one_line(X: Any, columns: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"^.*{re.escape(words)}.*$"):
        Forecaster(**SMALL | columns).fit(X)


@pytest.mark.parametrize("unit", ["us", *(pytest.param(unit, marks=pytest.mark.proof) for unit in ("s", "ns"))])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin", "UTC"])
def test_times_of_arrow_keep_their_zone(unit: str, zone: str | None) -> None:
    """Across a change of the clock, in each form of X; the forecasts have times of the same dtype."""
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install -e '.[test]'")
    hours = pandas.date_range("2024-03-29 20:00", periods=40, freq="h", tz=zone)
    dtype = pandas.ArrowDtype(pyarrow.timestamp(unit, tz=zone))
    arrow = pandas.Series(hours).astype(dtype)
    values = growth(37)
    want = Forecaster(**SMALL).fit(pandas.Series(values, hours[:37])).predict()
    for X, names in (
        (pandas.Series(values, pandas.Index(arrow[:37])), {}),
        (pandas.DataFrame({"a": values}, pandas.Index(arrow[:37])), {}),
        (pandas.DataFrame({"t": arrow[:37], "a": values}), {"time": "t"}),
        (pandas.DataFrame({"t": arrow[:37], "a": values, "i": "x"}), {"time": "t", "id": "i", "target": "a"}),
    ):
        got = Forecaster(**SMALL | names).fit(X).predict()
        times = got["t"] if "id" in names else got.index
        assert times.dtype == dtype
        assert [*times] == [*hours[37:]]
        assert str(times[0].tz) == str(hours.tz)
        np.testing.assert_array_equal(np.ravel(got["a"] if "id" in names else got), want)


def test_dates_of_arrow_are_times() -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install -e '.[test]'")
    days = pandas.Series(pandas.date_range("2024-01-01", periods=43)).astype(pandas.ArrowDtype(pyarrow.date32()))
    got = Forecaster(**SMALL).fit(pandas.DataFrame({"a": growth(40)}, pandas.Index(days[:40]))).predict()
    assert [*got.index] == [*days[40:]]


BERLIN, LONDON = (pandas.Timestamp(f"2024-01-01 0{i}:00", tz=zone) for i, zone in ((1, "Europe/Berlin"), (0, "UTC")))


@pytest.mark.parametrize(
    ("ids", "series"),
    [((0.0, -0.0), 1), ((1, True), 1), ((BERLIN, LONDON), 1), (("1", 1), 1), (("1.0", 1.0), 2), ((" a", "a"), 1)],
    ids=str,
)
@pytest.mark.parametrize("levels", [False, True])
def test_equal_identifiers_are_one_series(ids: tuple[Any, Any], series: int, levels: bool) -> None:
    kind = float if ids[0] == 0 else object
    X = pandas.DataFrame({"i": pandas.Series([ids[t % 2] for t in range(40)], dtype=kind), "t": range(40)})
    X["v"] = growth(40)
    if series == 2:
        X["t"] //= 2
    forecaster = Forecaster(**SMALL, id="i", time="t", target="v")
    got = forecaster.fit(X.set_index(["i", "t"]) if levels else X).predict()
    assert len(got) == 3 * series
    found = got.index.get_level_values(0) if levels else got["i"]
    assert [*found.unique()] == [*ids[:series]]


def test_numbers_as_text_in_a_frame(caplog: pytest.LogCaptureFixture) -> None:
    values = 1000 + 7 * np.arange(40)
    X = pandas.DataFrame({"v": [f"{each // 1000}.{each % 1000:03}" for each in values]}, QUARTERS[:40])
    got = Forecaster(**SMALL).fit(X).predict()
    np.testing.assert_array_equal(got, Forecaster(**SMALL).fit(X.astype(float)).predict())
    assert caplog.messages == ["X: 1.000 in column v is read as 1; if this is wrong, convert the column to numbers"]
    X.loc[QUARTERS[3], "v"] = "1.234,5"
    Forecaster(**SMALL).fit(X)
    assert caplog.messages[1:] == ["X: 1.234,5 is read as 1234.5; if this is wrong, convert the column to numbers"]
    X.loc[QUARTERS[3], "v"] = "2,5"
    X.loc[QUARTERS[4], "v"] = "2.5"
    with pytest.raises(
        ValueError, match=r"has , before the decimals, but .* has \.; write all numbers with the same sign"
    ):
        Forecaster(**SMALL).fit(X)
    X["v"] = "1,000"
    with pytest.raises(ValueError, match=r"^X, column v: '1,000' may be 1 or 1000; convert the column to numbers$"):
        Forecaster(**SMALL).fit(X)


def test_fewer_steps_have_their_times() -> None:
    y = pandas.Series(growth(40), QUARTERS[:40])
    forecaster = Forecaster(**SMALL).fit(y)
    got = forecaster.predict(horizon=2)
    assert [*got.index] == [*QUARTERS[40:42]]
    np.testing.assert_array_equal(got, forecaster.predict()[:2])


def test_columns_with_numbers_as_names() -> None:
    price = np.random.default_rng(0).random(43)
    X = pandas.DataFrame({7: growth(43), 8: price}, QUARTERS)
    X.loc[QUARTERS[40:], 7] = np.nan
    got = Forecaster(**SMALL, target="7", known="8").fit(X[:40]).predict(X)
    np.testing.assert_array_equal(got, expected(growth(43), known=price[:, None])[:, 1])
    numbered = X[:40].reset_index(drop=True).assign(t=QUARTERS[:40]).rename(columns={"t": 0})
    got = Forecaster(**SMALL, time="0", target="7", known="8").fit(numbered)
    assert got.model_.step == "3 months"
    by_number = Forecaster(**SMALL, time=0, target=np.int64(7), known=8).fit(numbered)  # type: ignore[arg-type]
    np.testing.assert_array_equal(by_number.predict(X.reset_index(names=0)), got.predict(X.reset_index(names=0)))
    assert by_number.get_params()["time"] == 0
    with pytest.raises(ValueError, match=r"^time is True: expected the name of a column$"):
        Forecaster(**SMALL, time=True).fit(numbered)  # type: ignore[arg-type]
    both = X.assign(**{"7": 0.0})  # the name as it stands is preferred
    with pytest.raises(ValueError, match="too few rows, missing or equal values"):
        Forecaster(**SMALL, target="7", known="8").fit(both[:40])
    pivoted = X[:40].set_axis([0.5, 1.0], axis=1)
    got = Forecaster(**SMALL, target=0.5, known=1.0).fit(pivoted)  # type: ignore[arg-type]
    assert got.model_.channel_names == ("0.5", "1.0")
    with pytest.raises(ValueError, match=r"^X has no column '9'; it has 7, 8$"):
        Forecaster(**SMALL, target="9").fit(X)


def test_a_column_of_dates_holds_the_times_without_a_name() -> None:
    """As the commands find it in a file; the index numbers the rows."""
    X = pandas.DataFrame({"t": QUARTERS[:40], "v": growth(40)})
    got = Forecaster(**SMALL, target="v").fit(X)
    named = Forecaster(**SMALL, time="t", target="v").fit(X)
    assert got.model_.step == "3 months"
    np.testing.assert_array_equal(got.predict(), named.predict())
    assert [*got.predict().index] == [*QUARTERS[40:43]]
    assert Forecaster(**SMALL).fit(X[3:]).model_.step == "3 months"  # the only other column is the target


@pytest.mark.parametrize(
    ("times", "target"),
    [
        ({"t": QUARTERS}, ""),
        ({"t": [f"{each:%Y-%m-%d}" for each in QUARTERS]}, ""),
        ({"t": [each.date() for each in QUARTERS]}, "v"),
        ({"t": pandas.Categorical([f"{each:%Y-%m}" for each in QUARTERS])}, ""),
        ({"t": QUARTERS.to_period("Q")}, "v"),
        ({"year": QUARTERS.year, "quarter": QUARTERS.quarter}, "v"),
        ({"year": range(1980, 2023)}, "v"),
        ({"time": range(5, 435, 10)}, "v"),
        ({"n": range(43), "t": QUARTERS}, "v"),
    ],
    ids=lambda given: "-".join(given),
)
def test_the_times_of_a_frame_are_those_that_a_command_finds_in_its_file(
    times: dict[str, Any], target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    X = pandas.DataFrame({"v": growth(43), **times})
    X.to_csv("t.csv", index=False)
    assert main(["forecast", "t.csv", "--horizon", "3", "--season", "4", "--target", "v", "--json"]) == 0
    steps = json.loads(capsys.readouterr().out)["forecast"]
    got = Forecaster(**SMALL, target=target).fit(X).predict_quantiles()
    np.testing.assert_allclose(got, [[*each["quantiles"].values()] for each in steps], rtol=1e-9)
    index = got.index.to_timestamp() if hasattr(got.index, "to_timestamp") else got.index
    assert [f"{each:%Y-%m-%d}" if index.dtype.kind == "M" else f"{each:g}" for each in index] == [
        str(each["time"]) for each in steps
    ]


def test_an_index_without_dates_leaves_the_times_to_a_column_of_dates() -> None:
    X = pandas.DataFrame({"v": growth(40), "t": QUARTERS[:40]})
    for index in (pandas.RangeIndex(40, name="n"), np.arange(40.0), [f"r{i}" for i in range(40)]):
        assert Forecaster(**SMALL, target="v").fit(X.set_axis(index)).model_.step == "3 months"
    assert Forecaster(**SMALL, target="v").fit(X.set_axis(QUARTERS[1:41])).predict().index[0] == QUARTERS[41]
    text = X.set_axis([f"{each:%Y-%m-%d}" for each in QUARTERS[1:41]])
    assert Forecaster(**SMALL, target="v").fit(text).predict().index[0] == QUARTERS[41]


def test_two_columns_hold_the_times() -> None:
    X = pandas.DataFrame({"y": QUARTERS[:40].year, "m": QUARTERS[:40].strftime("%B"), "v": growth(40)})
    forecaster = Forecaster(**SMALL, time="m,y").fit(X)
    assert [*forecaster.predict().index] == [*QUARTERS[40:]]
    long = pandas.concat([X.assign(shop=shop, v=X["v"] * scale) for shop, scale in (("a", 1), ("b", 2))])
    got = Forecaster(**SMALL, id="shop", time="m,y").fit(long).predict()
    assert [*got.columns] == ["shop", "time", "v"]
    assert [*got["time"]] == 2 * [*QUARTERS[40:]]
    with pytest.raises(ValueError, match=r"^X has no column 'z'; it has y, m, v$"):
        Forecaster(**SMALL, time="z,y").fit(X)


def test_a_panel_with_a_late_starter_is_forecast_the_same_in_any_form(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(78_000)
    panel = growth(40) * np.array([[1.0], [3], [0.2]]) * np.exp(0.05 * rng.standard_normal((3, 40)))
    panel[1, :25] = np.nan
    wide = pandas.DataFrame(panel.T, QUARTERS[:40], columns=["a", "b", "c"])
    long = wide.melt(ignore_index=False, var_name="shop", value_name="sold")
    expected = Forecaster(**SMALL).fit(panel).predict_quantiles()

    def check(got: Any) -> None:
        np.testing.assert_allclose(np.reshape(got, expected.shape), expected, rtol=1e-9)

    check(Forecaster(**SMALL).fit([each[~np.isnan(each)] for each in panel]).predict_quantiles())
    check(Forecaster(**SMALL).fit(wide).predict_quantiles().to_numpy().reshape(3, 3, 3).swapaxes(0, 1))
    for table in (long, long.dropna()):
        check(Forecaster(**SMALL, id="shop").fit(table).predict_quantiles().iloc[:, -3:].to_numpy(float))
        table.to_csv("long.csv", index_label="day")
        check(of_command(capsys, "long.csv", "--id", "shop"))
    for name, values in wide.items():
        np.save(f"{name}.npy", values.to_numpy()[:, None])
        values.to_csv(f"{name}.csv", index_label="day", header=["sold"])
    for kind in ("npy", "csv"):
        check(of_command(capsys, *(f"{name}.{kind}" for name in wide)))


def of_command(capsys: pytest.CaptureFixture[str], *words: str) -> list[list[float]]:
    """The quantiles of each step that `xrnn forecast` prints."""
    capsys.readouterr()
    assert main(["forecast", *words, "--horizon", "3", "--season", "4", "--json", "--overwrite"]) == 0
    steps = json.loads(capsys.readouterr().out)["forecast"]
    return [list(step["quantiles"].values()) for step in steps]
