"""Dropout: its rate and scale, and a mask that depends only on seed, layer, forward call and position."""

from __future__ import annotations

import itertools
from typing import Any, cast

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.errors import refused
from xrnn import Dropout
from xrnn.backend import Backend

SIZE = 40_000


def kept(backend: Backend, dropout: Dropout, size: int = SIZE) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return backend.to_numpy(dropout.forward(backend.xp.ones(size, "float32"))) > 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.93])
def test_rate_and_scale(backend: Backend, p: float, dtype: str) -> None:
    x = np.random.default_rng(0).standard_normal((100, SIZE // 100)).astype(dtype)
    dropout = Dropout(p, seed=0)
    y = backend.to_numpy(dropout.forward(backend.asarray(x)))
    assert y.dtype == dtype
    assert y.shape == x.shape
    dropped = y == 0
    assert abs(dropped.mean() - p) < 4 * np.sqrt(p * (1 - p) / SIZE)  # four standard deviations
    assert_allclose(y[~dropped], x[~dropped] / (1 - p), rtol=1e-6)


def test_backward_uses_the_mask_of_forward(backend: Backend) -> None:
    dropout = Dropout(0.4, seed=1)
    y = dropout.forward(backend.xp.full((50, 20), 2.0))
    dx = dropout.backward(backend.xp.full((50, 20), 2.0))
    assert_array_equal(backend.to_numpy(dx), backend.to_numpy(y))


def test_the_mask_is_the_same_on_every_backend(backend: Backend) -> None:
    host = Dropout(0.3, seed=5, layer=2).forward(np.ones(SIZE, "float32")) > 0
    assert_array_equal(kept(backend, Dropout(0.3, seed=5, layer=2)), host)
    # The same in all versions of xrnn and NumPy, because checkpoints depend on it.
    assert_array_equal(host[:16], [1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 0, 1, 0, 1, 1, 1])


def test_masks_are_independent(backend: Backend) -> None:
    """Masks of neighbouring seeds, layers and forward calls agree as often as independent masks do."""
    masks = []
    for seed, layer, forward_calls in itertools.product((0, 1, 2**32), (0, 1), (0, 1, 2)):
        dropout = Dropout(0.5, seed=seed, layer=layer)
        dropout.forward_calls = forward_calls
        masks.append(kept(backend, dropout))
    for one, other in itertools.combinations(masks, 2):
        assert abs((one == other).mean() - 0.5) < 5 * 0.5 / np.sqrt(SIZE)
    for mask in masks:
        for lag in (1, 2, 64, 256):  # the positions of one mask are independent too
            assert abs((mask[lag:] == mask[:-lag]).mean() - 0.5) < 5 * 0.5 / np.sqrt(SIZE)


def test_layers_without_a_seed_draw_different_masks(backend: Backend) -> None:
    one, other = Dropout(0.5), Dropout(0.5)
    assert (kept(backend, one) != kept(backend, other)).any()
    again = Dropout(**one.options)
    again.forward_calls = 1  # resumes a run
    assert_array_equal(kept(backend, again), kept(backend, one))
    assert again.forward_calls == one.forward_calls == 2


def test_a_call_is_the_identity(backend: Backend) -> None:
    dropout = Dropout(0.9)
    x = backend.xp.ones((3, 4))
    assert dropout(x) is x
    assert dropout.forward_calls == 0
    assert dropout.cache is None
    assert dropout.params == dropout.grads == []
    assert dropout.named_params == {}
    none = Dropout(0)  # changes nothing
    for same in (none.forward(x), none.backward(x)):
        assert_array_equal(backend.to_numpy(same), backend.to_numpy(x))
    for shape in ((0,), (3, 0, 2)):
        assert dropout.forward(backend.xp.ones(shape)).shape == shape
        assert dropout.backward(backend.xp.ones(shape)).shape == shape


def test_bad_input(backend: Backend) -> None:
    xp, kind = backend.xp, cast(Any, Dropout)
    unused, dropout = kind(0.5), kind(0.5)
    dropout.forward(xp.ones((3, 2)))
    refused(
        *((ValueError, lambda p=p: kind(p), f"p is {p}: expected a probability in") for p in (-0.1, 1.0, np.nan)),
        (TypeError, lambda: kind("0.5"), "p is '0.5'", "expected a probability in [0, 1)", "use float(p)"),
        (TypeError, lambda: kind(0.5, seed=1.5), "seed is 1.5", "expected an integer, at least 0"),
        (ValueError, lambda: kind(0.5, layer=-1), "layer is -1", "expected an integer, at least 0"),
        (RuntimeError, lambda: unused.backward(xp.ones(3)), "backward needs a forward before it"),
        (TypeError, lambda: unused.forward(xp.ones(3, "int64")), "x has dtype int64", "expected float32 or float64"),
        (ValueError, lambda: dropout.backward(xp.ones((2, 3))), "dy is float64 (2, 3)"),
        (ValueError, lambda: dropout.backward(xp.ones((3, 2), "float32")), "dy is float32 (3, 2)"),
    )


def test_rows_of_a_batch_have_the_masks_of_the_batch(backend: Backend) -> None:
    """Also if the other rows are longer."""
    xp, rows = backend.xp, np.array([4, 1])
    for shape, part in [((3, 5, 2), (2, 2, 2)), ((5, 2), (2, 2))]:
        of_batch, of_rows = Dropout(0.5, seed=1, layer=2), Dropout(0.5, seed=1, layer=2)
        of_rows.rows = 5, backend.asarray(rows)
        for _ in range(2):
            expected = backend.to_numpy(of_batch.forward(xp.ones(shape)))[..., rows, :]
            found = of_rows.forward(xp.ones(part))
            np.testing.assert_array_equal(backend.to_numpy(found), expected[: part[0]] if len(shape) == 3 else expected)
            np.testing.assert_array_equal(backend.to_numpy(of_rows.backward(xp.ones(part))), backend.to_numpy(found))
