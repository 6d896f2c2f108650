"""The linear part of forecasts, and the effect of columns."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from tests.series.forecast.tiny import forecast_of
from xrnn.series.forecast.linear import candidates, effect_of, effects_by_block, linear_part, moments, repeated, ridge
from xrnn.typing import HostArray


def test_ridge_solves_the_normal_equations() -> None:
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((30, 5)) + 3, rng.standard_normal((30, 2)) - 1
    for penalty, W in zip((0.1, 10.0), ridge(A.T @ A, A.T @ B, (0.1, 10.0)), strict=True):
        np.testing.assert_allclose((A.T @ A + penalty * np.eye(5)) @ W, A.T @ B, atol=1e-9)


def both_moments(z: HostArray, ahead: HostArray) -> tuple[HostArray, HostArray]:
    """The moments of windows whose values ahead are all known, and of windows whose first value ahead is known."""
    complete, begun = ~np.isnan(ahead).any(axis=1), ~np.isnan(ahead[:, 0])
    return moments(z[complete], ahead[complete]), moments(z[begun], ahead[begun, :1])


def solved(A: HostArray, B: HostArray, penalties: list[float]) -> list[HostArray]:
    """W and, in the last row, the intercept, which is not penalised."""
    x = A - A.mean(axis=0)
    a = A.mean(axis=0)
    b = B.mean(axis=0)
    each = [np.linalg.solve(x.T @ x + penalty * np.eye(A.shape[1]), x.T @ (B - b)) for penalty in penalties]
    return [np.vstack([W, b - a @ W]) for W in each]


def test_a_repeated_step_is_the_recurrence() -> None:
    rng = np.random.default_rng(0)
    w = rng.standard_normal(5) / 3
    z = rng.standard_normal(5)
    values = list(z)
    for _ in range(7):
        values.append(float(np.dot(w, values[-5:]) + 0.2))
    M = repeated(np.append(w, 0.2)[:, None], 7)
    np.testing.assert_allclose(z @ M[:-1] + M[-1], values[5:])


@pytest.mark.parametrize(("season", "F"), [(1, 1), (1, 4), (3, 2)])
def test_every_candidate_continues_a_constant_and_one_a_noisy_average(season: int, F: int) -> None:
    """A constant context is 0 after scaling, as are the values ahead."""
    z = np.zeros((20, 7))
    for M in candidates(*both_moments(z, np.zeros((20, F))), season):
        assert M.shape == (8, F)
        np.testing.assert_allclose(M[-1], 0, atol=1e-12)
    rng = np.random.default_rng(0)
    z = rng.standard_normal((4000, 7))
    of = both_moments(z, rng.standard_normal((4000, F)))
    errors = [np.abs(z @ M[:-1] + M[-1]).mean() for M in candidates(*of, season)]
    assert min(errors) < 0.05


def test_candidates_from_moments_are_regressions_on_the_windows() -> None:
    """The moments are sums of parts, the windows are far from 0, and their last values ahead may be unknown."""
    rng = np.random.default_rng(0)
    z, ahead = rng.standard_normal((50, 8)) + 100, rng.standard_normal((50, 3)) - 100
    ahead[::7, 2] = ahead[::9] = np.nan
    parts = [both_moments(z[part], ahead[part]) for part in (slice(20), slice(20, 21), slice(21, None))]
    of_all, of_begun = (np.sum(each, axis=0) for each in zip(*parts, strict=True))
    maps = list(candidates(of_all, of_begun, 4))
    complete, begun = ~np.isnan(ahead).any(axis=1), ~np.isnan(ahead[:, 0])
    step = np.eye(9)[:, [4]]
    naive = repeated(step, 3)
    error = ahead[complete] - z[complete] @ naive[:-1]
    for W in solved(z[complete, 4:], error, [0.1, 100.0]):
        direct = naive.copy()
        direct[4:] += W
        assert any(np.allclose(M, direct, atol=1e-7) for M in maps)
    for W in solved(z[begun, 4:], ahead[begun, :1] - z[begun, 4:5], [1.0]):
        corrected = step.copy()
        corrected[4:] += W
        assert any(np.allclose(M, repeated(corrected, 3), atol=1e-7) for M in maps)


def test_no_forecast_of_a_left_out_window_has_seen_later_values() -> None:
    """The maps have seen no value after the split, and their weights only the steps ahead of windows before it."""
    F, rows = 3, 200
    at = np.arange(8, rows)

    def forecasts(values: HostArray, scale: float) -> HostArray:
        z, ahead = (np.append(values, [np.nan] * F)[at[:, None] + np.arange(*of)] for of in ((-8, 0), (0, F)))
        return linear_part(z, ahead, at, np.full(len(at), rows), np.full((len(at), 1), scale), 2)[1]

    values = np.random.default_rng(0).standard_normal(rows).cumsum()
    for scale, more in ((0.0, 0), (1.0, F - 1)):  # if all errors are 0, the weights are equal
        expected = forecasts(values, scale)
        for split in np.ceil(rows * np.linspace(0.35, 1, 7)[2:-1]).astype(int):
            changed = np.where(np.arange(rows) < split + more, values, 10 - values)
            before = at <= split + more
            assert np.isfinite(expected[at == split]).all()
            np.testing.assert_allclose(forecasts(changed, scale)[before], expected[before])


def test_errors_count_in_units_of_the_series() -> None:
    """Half of the windows continue their last value, the others change its sign. The first have larger units."""
    z = np.random.default_rng(0).standard_normal((400, 4))
    signs = np.resize([[1.0], [-1.0]], (400, 1))
    for scale, least, most in ((100.0, 0.9, 1.1), (0.01, -0.5, 0.5)):
        windows = z, signs * z[:, 3:], np.arange(400), np.full(400, 400), np.where(signs > 0, scale, 1.0)
        W, _ = linear_part(*windows, 1)
        assert least < W[3, 0] < most


def test_the_effect_of_a_known_column_is_found_and_one_without_effect_is_0() -> None:
    rng = np.random.default_rng(0)
    columns = rng.standard_normal((200, 3))
    columns[:, 2] = 1  # its changes are 0
    values = 3 * columns[:, 0] + 0.1 * rng.standard_normal(200)
    values[7] = np.nan
    np.testing.assert_allclose(effect_of(values, columns), [3, 0, 0], atol=0.05)
    np.testing.assert_array_equal(effect_of(values[:4], columns[:4]), 0)


def test_the_effect_without_a_block_is_that_of_the_other_changes() -> None:
    """A change belongs to the blocks of both of its rows. Many columns without an effect get a small one."""
    rng = np.random.default_rng(0)
    columns = rng.standard_normal((60, 3))
    blocks = np.stack([np.arange(4, 64), np.arange(60)], axis=1) // 16
    values = columns @ [3, -2, 0] + 0.1 * rng.standard_normal(60)
    values[[7, 30]] = np.nan
    effect, without_blocks = effects_by_block(values, columns, blocks)
    np.testing.assert_allclose(effect, effect_of(values, columns), rtol=1e-12)  # the smallest penalty
    known = ~np.isnan(values)
    x, y = columns - columns[known].mean(axis=0), values - values[known].mean()
    for block, found in enumerate(without_blocks):
        used = known & (blocks != block).all(axis=1)
        np.testing.assert_allclose(x[used].T @ (y[used] - x[used] @ found), found, atol=1e-9)
    useless = rng.standard_normal((60, 40))
    effect, _ = effects_by_block(rng.standard_normal(60), useless, blocks)
    assert np.abs(effect).max() < 0.1
    np.testing.assert_array_equal(effects_by_block(values[:3], columns[:3], blocks[:3])[0], 0)


@pytest.mark.parametrize("growth", [-1.2, 1.2])
def test_an_unstable_candidate_is_left_out(growth: float) -> None:
    """One step of such a series, repeated, grows without bound."""
    values = growth ** np.arange(80.0) + np.random.default_rng(0).standard_normal(80)
    assert np.isfinite(forecast_of(values, horizon=20)).all()
    assert np.isfinite(forecast_of(np.sin(values), horizon=20)).all()


def test_the_memory_of_a_repeated_step_does_not_grow_as_the_square_of_the_context() -> None:
    C = 20_000
    step = np.zeros((C + 1, 1))
    step[C - 7] = 1
    tracemalloc.start()
    repeated(step, 8)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10 * 8 * 8 * C
