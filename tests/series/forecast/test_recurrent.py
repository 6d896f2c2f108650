"""The recurrent part of forecasts: the output layer of a fixed GRU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.reference import gru as gru_step
from tests.series.forecast.tiny import settings_of
from xrnn.series import Forecaster
from xrnn.series.forecast.fit import fit_series
from xrnn.series.forecast.linear import affine
from xrnn.series.forecast.recurrent import gru, output_layers, recurrent_part, states
from xrnn.series.forecast.series import Model, OneSeries
from xrnn.series.forecast.smoothing import with_errors
from xrnn.series.one_series import Series
from xrnn.typing import HostArray

RNG = np.random.default_rng
PENALTIES = (3.0, 0.3, 0.03, 3e-3, 3e-4)


def jumps(count: int, rows: int = 63) -> list[HostArray]:
    """Series that fall back three steps after each jump up, but keep their level after one down. The last is in row 58.

    A linear forecast can't tell both kinds apart.
    """
    rng = RNG(0)
    series = []
    for _ in range(count):
        values = 0.3 * rng.standard_normal(rows)
        for t in 58 - np.append(0, rng.integers(7, 11, 7).cumsum()):
            up = rng.random() < 0.5
            values[max(t, 0) : t + 3 if up else rows] += rng.uniform(4, 8) * (1 if up else -1)
        series.append(values)
    return series


def fitted(values: list[HostArray], horizon: int = 3) -> list[OneSeries]:
    series = [Series(each[:, None], None, str(i)) for i, each in enumerate(values)]
    return fit_series(series, settings_of(horizon=horizon))


def test_states_are_those_of_the_gru_in_float64_and_zeros_before_a_short_series_change_nothing() -> None:
    recent = RNG(0).normal(0, 2, (3, 48, 2))
    recent[1, :30] = 0
    h = np.zeros((3, 100))
    weights = [np.asarray(each, float) for each in (gru().Wx, gru().Wh, gru().b)]
    for x in recent.transpose(1, 0, 2):
        (h,) = gru_step(x, (h,), *weights)
    np.testing.assert_allclose(states(recent), h, atol=1e-5)
    np.testing.assert_allclose(states(recent[1:2, 30:]), h[1:2], atol=1e-5)
    many = np.repeat(recent, 500, axis=0)  # more than one batch
    np.testing.assert_allclose(states(many)[::500], h, atol=1e-5)


def test_the_weights_of_the_gru_never_change_since_files_hold_the_output_layer_only() -> None:
    Wx, Wh, b = (np.asarray(each) for each in (gru().Wx, gru().Wh, gru().b))
    assert (Wx.shape, Wh.shape, b.shape) == ((2, 300), (100, 300), (400,))
    np.testing.assert_allclose(Wx[0, :3], [0.13696168, -0.23021328, -0.4590265], rtol=1e-6)
    np.testing.assert_allclose(Wh[-1, -3:], [0.13027142, 0.14797464, -0.14580593], rtol=1e-6)
    np.testing.assert_allclose(b, np.r_[np.zeros(100), np.linspace(0, 2.8, 100), np.zeros(200)], rtol=1e-6)


def test_recent_errors_are_of_one_step_in_units_of_the_mean_error() -> None:
    x = RNG(0).normal(size=60).cumsum() + 40
    _, recent = with_errors(x, np.log(x), np.array([60, 10]), 3, 1)
    assert recent.shape == (2, 48, 2)
    assert not recent[1, :38].any()
    size = np.expm1(np.abs(recent[:, 3:]))
    assert ((size[0].mean(axis=0) > 0.5) & (size[0].mean(axis=0) < 1.5)).all()
    jump = x.copy()
    jump[59] += 1000
    assert (with_errors(jump, None, np.array([60]), 3, 1)[1][0, -1] > 2).all()
    _, scaled = with_errors(1e9 * x, np.log(1e9 * x), np.array([60, 10]), 3, 1)
    np.testing.assert_allclose(scaled, recent, atol=1e-6)


def test_the_output_layer_is_weighted_ridge_regression_without_unknown_errors() -> None:
    rng = RNG(0)
    h = rng.normal(0, 0.3, (200, 100))
    errors = rng.uniform(0.5, 1, (200, 2)) * rng.choice([-1, 1], (200, 2))
    errors[:50, 1] = np.nan
    V = output_layers(h, errors, PENALTIES)
    median = np.nanmedian(np.abs(errors), axis=0)
    D = 1 / (1 + np.nanmean(np.abs(errors), axis=1) / median.mean())
    for f, first in enumerate((0, 50)):
        A = np.append(h, np.ones((200, 1)), axis=1)[first:]
        d = np.sqrt(D[first:, None])
        for i, penalty in enumerate(PENALTIES):
            stacked = np.concatenate([d * A, np.sqrt(penalty) * np.eye(101)])  # least squares with the penalty as rows
            expected = np.linalg.lstsq(stacked, np.append(d[:, 0] * errors[first:, f], np.zeros(101)))[0]
            np.testing.assert_allclose(V[i, :, f], expected, atol=1e-8)
    errors[7] *= 1e6  # larger errors than four medians are clipped
    larger = np.where(np.abs(errors) > 100, 1e9 * errors, errors)
    np.testing.assert_allclose(output_layers(h, errors, PENALTIES), output_layers(h, larger, PENALTIES))


def windows(count: int, sign: float, noise: float = 0.0) -> tuple[HostArray, ...]:
    """Of series whose errors the last error tells, with noise; `sign`: of the same ones in the last fifth of the rows.

    Recent errors, errors and places: see `recurrent_part`.
    """
    rng = RNG(0)
    recent = rng.normal(0, 1, (count, 80, 48, 2))
    places = np.tile(np.linspace(0.5, 0.99, 80)[:, None] + np.array([[0, 0.01]]), (count, 1, 1))
    errors = recent[:, :, -1:, 0] * np.where(places < 0.8, 1, sign) + noise * rng.normal(0, 1, (count, 80, 2))
    return recent.reshape(-1, 48, 2), errors.reshape(-1, 2), places.reshape(-1, 2)


def share(count: int, sign: float, noise: float = 0.0) -> tuple[int, float]:
    """The number of the penalty, and the share, of the output layer of this number of series."""
    recent, errors, places = windows(count, sign, noise)
    ratio = recurrent_part(count, recent, errors, places)[0] / output_layers(states(recent), errors, PENALTIES)
    best = int(np.ptp(ratio, axis=(1, 2)).argmin())
    np.testing.assert_allclose(ratio[best], ratio[best, 0, 0], atol=1e-6)
    return best, float(ratio[best].mean())


def test_its_share_is_the_part_of_its_gain_in_later_rows_that_is_not_chance() -> None:
    recent, errors, places = windows(1, 1.0, noise=0.5)
    late = places[:, 0] >= 0.8
    h = states(recent)
    early = np.where(places < 0.8, errors, np.nan)[~late]
    before = np.abs(errors[late]).mean(axis=1)
    layers = output_layers(h[~late], early, PENALTIES)
    gains = [before - np.abs(errors[late] - affine(h[late], V)).mean(axis=1) for V in layers]
    after = np.array([(before - gain).mean() for gain in gains])
    best = int(np.flatnonzero(after <= 1.05 * after.min())[0])
    expected = 1 - gains[best].var() / gains[best].mean() ** 2 / (len(before) / 2 - 1)
    assert 0.3 < expected < 0.99
    np.testing.assert_allclose(share(1, 1.0, noise=0.5), (best, expected), atol=0.005)
    assert share(1, 1.0)[1] > expected


def test_without_a_gain_its_share_is_0_in_one_series_and_that_of_trust_in_many() -> None:
    for windows_without_gain in (windows(1, 0.0, noise=1.0), windows(1, -1.0)):
        V, of_earlier_rows = recurrent_part(1, *windows_without_gain)
        assert not V.any()
        assert of_earlier_rows == {}
    assert 0 < share(20, 0.0, noise=3.0)[1] <= 0.1
    assert 0.1 < share(90, 0.0, noise=3.0)[1] <= 0.69
    assert share(90, -1.0)[1] < 0.02
    recent, errors, places = windows(20, 1.0)
    assert not recurrent_part(20, recent, np.where(places < 0.8, errors, np.nan), places)[0].any()  # none to test it


def mean_errors(model: Model, given: list[HostArray], origins: HostArray) -> tuple[float, float]:
    """With the recurrent part, and without."""
    actual = np.stack([values[origins[:, None] + np.arange(model.horizon)] for values in given])
    with_it, without_it = (
        float(
            np.abs(
                actual - np.stack([OneSeries(Series(v[:, None], None, ""), of).plain(origins) for v in given])
            ).mean()
        )
        for of in (model, replace(model, recurrent=0 * model.recurrent))
    )
    return with_it, without_it


def test_forecasts_of_many_series_have_smaller_errors_with_it() -> None:
    values = jumps(60)
    fit = fitted([each[:60] for each in values])
    with_it, without_it = mean_errors(fit[0].model, values, np.array([60]))
    assert with_it < 0.93 * without_it


def henon(rows: int) -> HostArray:
    v = np.zeros(rows)
    for t in range(2, rows):
        v[t] = 1 - 1.4 * v[t - 1] ** 2 + 0.3 * v[t - 2]  # (Hénon, 1976)
    return v


def test_the_intervals_are_those_of_the_corrected_forecast() -> None:
    values = henon(700)
    fit = fitted([values[:500]], 2)[0]
    later = OneSeries(Series(values[:, None], None, ""), fit.model)
    origins = np.arange(500, 698)
    quantiles = later.quantiles(origins)
    actual = values[origins[:, None] + np.arange(2)]
    inside = (quantiles[..., 0] <= actual) & (actual <= quantiles[..., 2])
    assert 0.7 < inside.mean() < 0.93
    error = np.abs(actual - quantiles[..., 1]).mean()
    assert (quantiles[..., 2] - quantiles[..., 0]).mean() < 6 * error


def test_an_earlier_correction_has_seen_no_later_error() -> None:
    recent, errors, places = windows(20, 1.0)
    of_earlier_rows = recurrent_part(20, recent, errors, places)[1]
    assert [*of_earlier_rows] == [0.65, 0.8]
    other = np.where(places >= 0.65, 3 * errors, errors)
    changed = recurrent_part(20, recent, other, places)[1]
    np.testing.assert_allclose(changed[0.65], of_earlier_rows[0.65], rtol=0.02, atol=1e-9)  # the share is of all rows
    assert np.abs(changed[0.8] - of_earlier_rows[0.8]).max() > 0.01


def test_a_long_chaotic_series_has_a_smaller_error_with_it_and_noise_no_larger_one() -> None:
    v = henon(330)
    with_it, without_it = mean_errors(fitted([v[:300]], 2)[0].model, [v], np.arange(300, 329))
    assert with_it < 0.6 * without_it
    noise = RNG(0).normal(size=330)
    with_it, without_it = mean_errors(fitted([noise[:300]], 2)[0].model, [noise], np.arange(300, 329))
    assert with_it < 1.03 * without_it


@pytest.mark.filterwarnings("ignore:.*left out of the fit", "ignore:.*may be errors", "ignore:wider intervals")
def test_a_file_forecasts_the_same_also_short_new_and_wild_series(tmp_path: Path) -> None:
    values = jumps(30)
    forecaster = Forecaster(horizon=3).fit(values)
    forecaster.save(tmp_path / "f")
    loaded = Forecaster.load(tmp_path / "f")
    assert loaded.model_.recurrent.any()
    new = [values[0][:5], np.append(values[1], 1e30), 1e-9 * values[2], np.append(np.zeros(40), 1.0)]
    np.testing.assert_array_equal(loaded.predict([*values, *new]), forecaster.predict([*values, *new]))
    assert np.isfinite(loaded.predict_quantiles(new)).all()
    one = fitted(values)[0]
    at = np.array([63])
    without_it, recent = one.averaged(at, one.model.linear, one.model.smoothing)
    np.testing.assert_array_equal(recent, with_errors(values[0], None, at, 3, 1)[1])
    correction = one.unit * affine(states(recent), one.model.recurrent)
    np.testing.assert_allclose(one.plain(at) - without_it, correction)


@pytest.mark.parametrize(
    ("most", "ahead", "count", "horizon", "windows"),
    [(20_000, 200_000, 2, 3, 60), (200, 200_000, 2, 3, 20), (20_000, 200, 2, 10, 2), (60, 200_000, 30, 3, 60)],
    ids=["all of the last half", "by number", "by values ahead", "of many series"],
)
def test_windows_to_learn_from_are_limited(
    monkeypatch: pytest.MonkeyPatch, most: int, ahead: int, count: int, horizon: int, windows: int
) -> None:
    seen: list[tuple[HostArray, HostArray]] = []

    def recurrent_part(n: int, recent: HostArray, errors: HostArray, places: HostArray) -> tuple[HostArray, Any]:
        assert n == count
        seen.append((errors, places))
        return np.zeros((101, horizon)), {}

    for name, value in (("recurrent_part", recurrent_part), ("_MOST_WINDOWS", most), ("_MOST_AHEAD", ahead)):
        monkeypatch.setattr(f"xrnn.series.forecast.fit.{name}", value)
    fitted(jumps(count, rows=60), horizon)
    ((errors, places),) = seen
    assert errors.shape == (windows, horizon)
    assert places.min() >= 0.5
    assert places[:, 0].max() == 59 / 60  # the last window is always among them
