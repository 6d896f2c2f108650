"""The effects of known columns, and how often their intervals hold the true ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.series.forecast.tiny import series, settings_of
from xrnn.series import Forecaster, NotFittedError
from xrnn.series.forecast.effects import Effect, effect_report, effects
from xrnn.series.forecast.fit import fit_series
from xrnn.series.forecast.series import Model, OneSeries
from xrnn.series.scale import Scale
from xrnn.typing import HostArray

Draw = Callable[[np.random.Generator, int], HostArray]


def autoregressive(rng: np.random.Generator, n: int) -> HostArray:
    values = rng.standard_normal(n)
    for i in range(1, n):
        values[i] += 0.6 * values[i - 1]
    return values


def weeks(rng: np.random.Generator, n: int) -> HostArray:
    """A promotion of five rows at a time."""
    column = np.zeros(n)
    for start in rng.choice(n - 7, max(n // 60, 4), replace=False):
        column[start : start + 5] = 1
    return column


def rare(rng: np.random.Generator, n: int) -> HostArray:
    return np.isin(np.arange(n), rng.choice(n, 6, replace=False)) * 1.0


NOISE: dict[str, Draw] = {
    "independent": lambda rng, n: rng.standard_normal(n),
    "autoregressive": autoregressive,
    "random walk": lambda rng, n: rng.standard_normal(n).cumsum(),
}
COLUMNS: dict[str, Draw] = {
    "weeks": weeks,
    "rare": rare,
    "days": lambda rng, n: (rng.random(n) < 0.2) * 1.0,
    "temperature": lambda rng, n: autoregressive(rng, n),
}


def one_series(values: HostArray, columns: HostArray, season: int, *, log: bool = False) -> OneSeries:
    """A series as the model of a fit holds it. The fit itself takes too long for many series."""
    K = columns.shape[1]
    model = Model(
        horizon=1,
        season=season,
        context=season,
        channel_names=None,
        step="1 day",
        log=log,
        known_scale=Scale.of([columns]),
        effect=np.zeros(K),
        linear=np.zeros((season + 1, 1)),
        smoothing=1.0,
        recurrent=np.zeros((1, 1)),
        levels=(0.1, 0.5, 0.9),
        offsets=np.zeros((2, 1, 3)),
        spread=0.0,
        widening=np.ones(season),
    )
    return OneSeries(series(np.column_stack([values, columns])), model)


@pytest.mark.parametrize(("rows", "season"), [(120, 12), (365, 7)])
def test_intervals_hold_the_true_effect_of_80_percent_of_random_series(rows: int, season: int) -> None:
    """Also if the effect differs from row to row. Of 480 intervals, the share has a deviation of 2 %."""
    held = []
    rng = np.random.default_rng(rows)
    for noise in NOISE.values():
        for column in COLUMNS.values():
            for i in range(40):
                x = np.stack([column(rng, rows), rng.standard_normal(rows)], axis=1)
                effect = 2 + (i % 2) * rng.standard_normal(rows)
                y = noise(rng, rows) + effect * x[:, 0] - x[:, 1] + 10 * np.sin(2 * np.pi * np.arange(rows) / season)
                found = effects([one_series(y, x, season)], ["a", "b"], [0])
                held += [each.low < 2 < each.high for each in found if each.column == "a"]
    assert len(held) > 450  # without those whose promotions are all at one time
    assert 0.76 < np.mean(held) < 0.92, np.mean(held)


def test_an_effect_on_logarithms_is_a_factor() -> None:
    """The intervals of a factor hold it; the series of several have effects in units of their changes."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(100):
        promotion = (rng.random(200) < 0.2) * 1.0
        y = 100 * np.exp(0.3 * promotion + 0.2 * rng.standard_normal(200))
        (one,) = effects([one_series(y, promotion[:, None], 7, log=True)], ["a"], [0])
        held.append(one.low < np.exp(0.3) < one.high)
    assert 0.7 < np.mean(held) < 0.92, np.mean(held)
    assert effect_report([one], ["a"], "1 day") == [
        f"effect of a: {100 * one.value - 100:+.3g} % (80% interval {100 * one.low - 100:+.3g} % to "
        f"{100 * one.high - 100:+.3g} %): the model forecasts logarithms, so that it is a share of the value"
    ]


def test_only_columns_whose_effect_the_rows_tell_have_one() -> None:
    """Not: one that never changes, one that is the same each season, an event that comes once, a copy of another."""
    rng = np.random.default_rng(0)
    rows = np.arange(140)
    promotion = (rng.random(140) < 0.2) * 1.0
    price = rng.standard_normal(140)
    columns = np.stack(
        [promotion, np.full(140, 3.0), rows % 7 == 2, rows == 50, price, 2 * price + 1], axis=1, dtype=float
    )
    found = effects([one_series(rng.standard_normal(140), columns, 7)], [*"abcdef"], [0])
    assert [each.column for each in found] == ["a"]
    assert effect_report(found, [*"abcdef"], "")[1].startswith(
        "no interval for the effect of b, c, d, e, f: the rows are"
    )
    assert effects([one_series(rng.standard_normal(8), columns[:8, :1] + rows[:8, None] % 2, 7)], ["a"], [0]) == []


def test_the_effects_are_those_that_the_fit_removes() -> None:
    """On a long series with little noise, the penalty of the fit has no part, and the units are those of the values."""
    rng = np.random.default_rng(3)
    x = np.stack([(rng.random(240) < 0.2) * 1.0, 5 + 2 * rng.standard_normal(240)], axis=1)
    y = 200 + 30 * np.sin(np.pi * np.arange(240) / 6) + x @ [50, -3] + 0.1 * rng.standard_normal(240)
    given = [series(np.column_stack([scale * y, x]), name=f"{scale}") for scale in (1, 10, 100)]
    fitted = fit_series(given, settings_of(horizon=3, season=12, target="y", known="a,b"))
    found = effects(fitted, ["a", "b"], ["1", "10", "100"])
    assert [each.value for each in found] == pytest.approx([50, -3, 500, -30, 5000, -300], rel=0.02)
    model = fitted[0].model
    removed = model.effect[:2] / model.known_scale.deviation * fitted[0].unit
    assert removed == pytest.approx([found[0].value, found[1].value], rel=0.02)
    lines = effect_report([each._replace(low=each.value - 1, high=each.value + 1.26) for each in found], ["a", "b"], "")
    where = "on 10, the median of 3 series (--json lists all)"
    assert [line.split(":")[0] for line in lines] == [f"effect of a {where}", f"effect of 1 more in b {where}"]
    assert " per row (80% interval 4" in lines[0]


def test_effects_that_multiply_and_effects_that_add_have_a_line_each() -> None:
    added = [
        Effect(key, "a", True, False, value, value - 1, value + 1) for key, value in zip("xyz", (3, 1, 2), strict=True)
    ]
    factor = Effect("w", "a", True, True, 1.5, 1.25, 1.75)
    lines = effect_report([*added, factor], ["a"], "1 day")
    assert lines == [
        "effect of a on z, the median of 3 series (--json lists all): +2 per day (80% interval 1 to 3)",
        "effect of a on w (--json lists all): +50 % (80% interval +25 % to +75 %): the model forecasts logarithms, so "
        "that it is a share of the value",
    ]


def test_a_forecaster_has_the_effects_by_the_number_or_the_name_of_each_series(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    promotion = (rng.random((2, 120)) < 0.2) * 1.0
    X = rng.standard_normal((2, 120)) + [[20], [200]] * promotion
    forecaster = Forecaster(horizon=3, season=7)
    with pytest.raises(NotFittedError):
        _ = forecaster.effects_
    found = forecaster.fit(X, known=promotion[..., None]).effects_
    assert [(each.series, each.column, each.is_factor) for each in found] == [(0, "1", False), (1, "1", False)]
    days = pandas.date_range("2024-01-01", periods=120)
    table = pandas.concat(
        [
            pandas.DataFrame({"shop": shop, "day": days, "sold": X[i], "promo": promotion[i]})
            for i, shop in enumerate("ab")
        ]
    )
    named = Forecaster(horizon=3, id="shop", time="day", target="sold", known="promo").fit(table)
    assert [each[:2] for each in named.effects_] == [("a", "promo"), ("b", "promo")]
    assert [each.value for each in named.effects_] == pytest.approx([each.value for each in found])
    assert [*pandas.DataFrame(named.effects_)] == [*Effect._fields]
    assert Forecaster(horizon=3, season=7).fit(X).effects_ == []
    empty = np.concatenate([np.full_like(X[:1], np.nan), X])
    with pytest.warns(match="left out 1 of 3 series"):
        forecaster.fit(empty, known=promotion[[0, 0, 1], :, None])
    assert [each.series for each in forecaster.effects_] == [1, 2]
    named.save(tmp_path / "f.safetensors")
    with pytest.raises(AttributeError, match=r"^a loaded Forecaster keeps no training series, and so no effects; fit"):
        _ = Forecaster.load(tmp_path / "f.safetensors").effects_
