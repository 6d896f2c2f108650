"""SLSTM beyond what tests/reference.py tests for every cell: gates far from zero, fresh states, and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.errors import one_line
from xrnn import SLSTM, Stack, to_numpy
from xrnn.backend import Backend

GATES = ("exp", "sigmoid")


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("forget_gate", GATES)
@pytest.mark.parametrize("largest", [30.0, 1e4])
def test_nothing_overflows(backend: Backend, forget_gate: Any, largest: float) -> None:
    rng = np.random.default_rng(0)
    layer = SLSTM.init(3, 21, forget_gate=forget_gate, rng=0, backend=backend)
    layer.params[0] *= np.float32(0)
    layer.params[2][...] = backend.asarray(rng.uniform(-largest, largest, 84), "float32")
    layer.params[0][0] = backend.asarray(rng.choice([-largest, largest], 84), "float32")
    x = backend.asarray(rng.choice([-1, 0, 1], (60, 5, 3)), "float32")
    results = layer.forward(x)
    gradients = layer.backward(*(backend.xp.ones_like(r) for r in results[:3]))
    h, _, n, _ = (to_numpy(r) for r in results)
    assert abs(h).max() <= 1
    assert n.min() >= 1
    for array in (*results, *gradients, *layer.grads):
        assert np.isfinite(to_numpy(array)).all()


@pytest.mark.usefixtures("form")
def test_gates_far_apart(backend: Backend) -> None:
    """An input that outweighs the past, and a past that outweighs the input."""
    x = backend.asarray(np.array([[[0.0]], [[1.0]]]), "float32")
    for slope, h in ((1e4, np.tanh(-0.5)), (-1e4, np.tanh(0.5))):  # log i is 0, then ±10,000
        Wx, b = [[slope, 0, -1, 0]], [0, 0, 0.5, 1e4]
        weights = (backend.asarray(np.array(w), "float32") for w in (Wx, np.zeros((1, 4)), b))
        results = SLSTM(*weights, forget_gate="sigmoid")(x)
        assert_allclose(to_numpy(results[0])[:, 0, 0], [np.tanh(0.5), h], rtol=1e-6)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("forget_gate", GATES)
def test_a_fresh_state_has_the_scale_of_its_first_input(backend: Backend, forget_gate: Any) -> None:
    layer = SLSTM.init(3, 4, forget_gate=forget_gate, heads=2, rng=0, dtype="float64", backend=backend)
    x, m_prev = (backend.asarray(np.random.default_rng(0).standard_normal(s)) for s in ((2, 3), (2, 4)))
    _, _, n, m = layer(x, m_prev=100 * m_prev)
    assert_array_equal(to_numpy(n), np.ones((2, 4)))
    assert_allclose(to_numpy(m), to_numpy(x @ layer.params[0])[:, :4] + to_numpy(layer.params[2])[:4], rtol=1e-14)


def test_refusals() -> None:
    layer, x, c = SLSTM.init(2, 3, backend="numpy"), np.zeros((4, 2, 2), "float32"), np.ones((2, 3), "float32")
    state: Any = (None, c, None, None)
    for call in (
        lambda: layer(x, c_prev=c),
        lambda: layer.forward(x, c_prev=c),
        lambda: layer.stream(x, state),
        lambda: Stack([layer]).forward(x, (state,)),
    ):
        with one_line(ValueError, "got c_prev without n_prev: expected both"):
            call()
    layer(x, n_prev=c)
    with one_line(ValueError, "unknown forget_gate 'tanh': expected one of exp, sigmoid"):
        SLSTM.init(2, 3, forget_gate="tanh")  # type: ignore[arg-type]
