"""Channels are standardised, and missing values are replaced."""

from __future__ import annotations

import numpy as np
import pytest

from xrnn.series.scale import Scale


def test_channels_get_mean_0_and_deviation_1() -> None:
    rng = np.random.default_rng(0)
    series = [rng.normal([5, -300], [2, 1e-3], (T, 2)) for T in (3, 9, 1)]
    scale = Scale.of(series)
    scaled = np.concatenate([scale.apply(each) for each in series])
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.std(axis=0), 1, rtol=1e-6)
    new = rng.normal(size=(4, 2))
    every = np.concatenate(series)
    np.testing.assert_allclose(scale.apply(new), (new - every.mean(0)) / every.std(0), rtol=1e-5)


def test_a_missing_value_is_the_last_before_it_or_the_mean() -> None:
    n = np.nan
    scale = Scale.of([np.array([[1.0, n], [3.0, 10.0]]), np.array([[n, 14.0]])])
    np.testing.assert_array_equal([scale.mean, scale.deviation], [[2, 12], [1, 2]])
    scaled = scale.apply(np.array([[n, 14], [3, n], [n, n], [1, 10]]))
    np.testing.assert_array_equal(scaled, [[0, 1], [1, 1], [1, 1], [-1, -1]])


def test_a_channel_that_never_changes_is_only_shifted() -> None:
    rounding = np.array([[0.1], [np.nextafter(0.1, 1)], [0.1]])
    for values in (np.full((3, 1), 7.0), np.zeros((3, 1)), rounding):
        scale = Scale.of([values])
        assert scale.deviation == 1
        np.testing.assert_allclose(scale.apply(values), 0, atol=1e-6)


@pytest.mark.parametrize("size", [1e-310, 1e-300, 1e-160, 1e29])
def test_tiny_and_huge_channels_are_scaled_like_others(size: float) -> None:
    values = np.random.default_rng(0).normal(3, 1, (50, 2))
    scaled, expected = (Scale.of([each]).apply(each) for each in (values * size, values))
    np.testing.assert_allclose(scaled, expected, rtol=1e-5)


def test_distant_values_stay_finite() -> None:
    scale = Scale.of([np.array([[1e-30], [-1e-30]])])
    np.testing.assert_array_equal(scale.apply(np.array([[1e30], [-1e30], [1e-30]])), [[1e6], [-1e6], [1]])
    largest = Scale.of([np.array([[1e30], [-1e30]])])
    np.testing.assert_array_equal(largest.apply(np.array([[1e30]])), [[1]])
    tiny = Scale.of([np.array([[1e-300], [-1e-300]])])
    np.testing.assert_array_equal(tiny.apply(np.array([[1e30], [-1e30]])), [[1e6], [-1e6]])
