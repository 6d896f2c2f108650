"""The summary features of channels: each is computed here from its definition."""

from __future__ import annotations

import numpy as np
import pytest

from xrnn.series import Classifier, Regressor
from xrnn.series.labelled.features import features_of
from xrnn.typing import HostArray

NAMED = 3 + 7 + 8 + 3 + 16  # of a channel


def series(T: int, D: int, seed: int = 0) -> HostArray:
    return np.random.default_rng(seed).normal(1, 2, (T, D)).astype(np.float32)


def by_channel(x: HostArray) -> HostArray:
    """The features of the single channels, (NAMED, D)."""
    return features_of(x)[: NAMED * x.shape[1]].reshape(NAMED, x.shape[1])


@pytest.mark.parametrize(("T", "D"), [(700, 1), (90, 3)])
def test_level_scatter_quantiles_and_autocorrelations(T: int, D: int) -> None:
    x = series(T, D)
    got = by_channel(x)
    for channel, values in zip(got.T, x.T.astype(float), strict=True):
        centred = values - values.mean()
        unit = centred / (values.std() + 1e-4)
        changes = np.diff(values)
        expected = [values.mean(), np.log(values.std() + 1e-4), np.log(changes.std() + 1e-4)]
        expected += np.arcsinh(np.quantile(unit, [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1])).tolist()
        for lag in (1, 2, 4, 8, 16, 32, 64, 128):
            expected.append(sum(unit[t] * unit[t - lag] for t in range(lag, T)) / T)
        for lag in (1, 4, 16):
            apart = unit[lag:] - unit[:-lag]
            expected.append(np.arcsinh(np.mean(apart**3) / (apart.std() + 1e-4) ** 3))
        np.testing.assert_allclose(channel[: len(expected)], expected, atol=1e-9)


def test_band_energies_are_the_power_in_half_octaves() -> None:
    """A sine shows in the band of its frequency, with its power; white noise is the same in all bands."""
    t = np.arange(4096)
    for frequency, band in ((0.4, 15), (0.3, 14), (0.1, 11), (0.05, 9), (0.0024, 0)):
        energies = by_channel(np.sin(2 * np.pi * frequency * t)[:, None].astype(np.float32))[-16:, 0]
        assert energies.argmax() == band
        width = 0.5 * 2 ** ((band - 15) / 2) * (1 - 2**-0.5)  # of the band, in cycles per step
        assert np.exp(energies[band]) * 2 * width == pytest.approx(0.5, rel=0.1)
    noise = np.random.default_rng(0).normal(size=(2**16, 1))
    np.testing.assert_allclose(by_channel(noise)[-16:], 0, atol=0.25)


def test_a_delay_between_channels_is_found() -> None:
    shared = np.random.default_rng(0).normal(size=600)
    for delay in (0, 3, -40):
        x = np.stack([shared[100:500], -shared[100 + delay : 500 + delay]], axis=1)
        correlation, strongest, found = features_of(x)[-3:]
        assert correlation == pytest.approx(np.asarray(np.corrcoef(x.T))[0, 1], abs=1e-3)
        assert np.sinh(found) == pytest.approx(delay)
        assert strongest == pytest.approx(-1 + abs(delay) / 400, abs=0.02)


def test_each_of_many_channels_is_in_a_pair() -> None:
    for channels in (65, 80):
        x = series(50, channels)
        pairs = channels - 1
        assert len(features_of(x)) == NAMED * channels + 3 * pairs
        changed = x.copy()
        changed[:, -1] = np.roll(changed[:, -1], 3)
        assert (features_of(x)[-3 * pairs :] != features_of(changed)[-3 * pairs :]).any()


def test_features_are_finite_for_any_series_and_do_not_depend_on_the_length() -> None:
    for T in (1, 2, 3, 5, 17, 1024, 1025):
        for values in (series(T, 2), np.zeros((T, 2), np.float32), np.full((T, 2), 1e6, np.float32)):
            assert np.isfinite(features_of(values)).all()
    long, short = (by_channel(series(T, 1, seed=5)) for T in (400_000, 100_000))
    extremes = [3, 9]  # the least and the largest value
    np.testing.assert_allclose(np.delete(long, extremes, 0), np.delete(short, extremes, 0), atol=0.3)


def test_a_regressor_finds_a_number_in_the_frequency() -> None:
    rng = np.random.default_rng(0)
    speed = rng.uniform(0.05, 0.2, 60)
    X = [np.sin(2 * np.pi * (each * np.arange(200) + rng.random())) + 0.1 * rng.normal(size=200) for each in speed]
    regressor = Regressor(model="features").fit(X[:40], speed[:40])
    assert regressor.score(X[40:], speed[40:]) > 0.97


def test_a_stream_has_the_prediction_of_its_last_rows() -> None:
    X = [series(30, 2, seed=i) * (1 + i % 2) for i in range(20)]
    model = Classifier(model="features").fit(X, [i % 2 for i in range(20)])
    rows = np.concatenate(X[:2])
    streamed = [*model.stream(rows)]
    for t in (0, 10, 59):
        np.testing.assert_array_equal(streamed[t], model.predict_proba([rows[max(0, t - 29) : t + 1]])[0])
