"""MinGRU and MinLSTM beyond what tests/reference.py tests for every cell: gates far from zero, and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.errors import one_line
from xrnn import MinGRU, MinLSTM, to_numpy
from xrnn.backend import Backend, use_fused
from xrnn.ops.cells.minimal import MinGRUCell, MinLSTMCell


def with_gates(kind: Any, backend: Backend, dtype: str, gates: tuple[float, ...], H: int = 19) -> Any:
    """A layer whose blocks of z have these values, whatever x is."""
    b = np.repeat(gates, H)
    return kind(*(backend.asarray(a, dtype) for a in (np.zeros((2, len(b))), np.empty((H, 0)), b)))


# The pre-activations of f and i; w = i / (f + i), and the gradient of log w by z, ± this slope.
GATES = [
    *((lowest, lowest + np.log(3), 0.75, 0.25) for lowest in (-90.0, -1_000.0, -5_000.0)),
    *((lowest, lowest + np.log(3), 0.5, 0.0) for lowest in (30.0, 1_000.0)),
    (0.0, -1_000.0, 0.0, 0.0),
    (-1_000.0, 0.0, 1.0, 0.0),
]


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("f", "i", "w", "slope"), GATES)
def test_gates_that_underflow_or_saturate(
    backend: Backend, dtype: str, f: float, i: float, w: float, slope: float
) -> None:
    layer = with_gates(MinLSTM, backend, dtype, (f, i, 5.0))
    x, ones = backend.asarray(np.zeros((1, 3, 2)), dtype), backend.asarray(np.ones((3, 19)), dtype)
    tolerance = 1e-3 if dtype == "float32" else 1e-9  # float32 rounds log(3) beside -5,000
    h = layer.forward(x, ones)
    np.testing.assert_allclose(to_numpy(h), 1 + w * 4, rtol=tolerance)
    _, dh_prev = layer.backward(ones[None])
    np.testing.assert_allclose(to_numpy(dh_prev), 1 - w, rtol=tolerance)
    dz = np.repeat([-4 * w * slope, 4 * w * slope, w], 19) * 3  # of three rows
    np.testing.assert_allclose(to_numpy(layer.grads[2]), dz, rtol=tolerance, atol=1e-6)


@pytest.mark.usefixtures("form")
def test_infinite_and_missing_pre_activations(backend: Backend) -> None:
    inf, nan = np.inf, np.nan
    for f, i, h in ((-inf, 0, 5), (inf, 0, 1 + 4 / 3), (0, -inf, 1), (-inf, inf, 5), (nan, 0, nan), (0, nan, nan)):
        layer = with_gates(MinLSTM, backend, "float64", (f, i, 5.0), H=3)
        found = layer(backend.asarray(np.zeros((1, 2)), "float64"), backend.asarray(np.ones((1, 3)), "float64"))
        np.testing.assert_allclose(to_numpy(found), np.full((1, 3), h), rtol=1e-12)


@pytest.mark.parametrize("N", [97, 128, 191, 192])
@pytest.mark.parametrize("kind", [MinGRU, MinLSTM])
def test_the_last_rows_of_a_large_batch_take_several_steps_at_a_time(kind: Any, N: int) -> None:
    layer = kind.init(256, 21, rng=0, backend="numpy")
    x = np.random.default_rng(1).standard_normal((9, N, 256)).astype("float32")
    with use_fused(False):
        expected = layer(x)
    np.testing.assert_allclose(layer(x), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [MinGRUCell, MinLSTMCell, MinGRU.init, MinLSTM.init])
def test_an_unknown_candidate_is_refused(kind: Any) -> None:
    with one_line(ValueError, "unknown candidate 'log': expected one of linear, positive"):
        kind(*(() if kind in (MinGRUCell, MinLSTMCell) else (2, 3)), candidate="log")
