"""Layers whose recurrent weights have several heads. tests/reference.py compares their values and gradients."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.errors import refused
from tests.layers.kinds import first
from xrnn import GRU, LSTM, RNN, MinGRU, Recurrent, RNNCell, cells, quantize, to_numpy
from xrnn.backend import Backend

KINDS: dict[str, tuple[Any, int, dict[str, Any]]] = {
    "rnn": (RNN, 1, {}),
    "leak": (RNN, 1, {"leak": 0.3}),
    "lstm": (LSTM, 4, {}),
    "gru": (GRU, 3, {}),
}
every_kind = pytest.mark.parametrize("name", KINDS)


@every_kind
@pytest.mark.parametrize("heads", [None, 4])
def test_fresh_weights_are_orthogonal_in_each_gate_of_each_head(name: str, heads: int | None, backend: Backend) -> None:
    kind, gates, options = KINDS[name]
    made = [kind.init(3, 12, heads=heads, rng=7, reverse=True, backend=on, **options) for on in (backend, "numpy")]
    layer, on_host = made
    assert (layer.reverse, layer.backend, layer.heads, layer.hidden_size) == (True, backend, heads, 12)
    for got, want in zip(layer.params, on_host.params, strict=True):
        assert got.dtype == np.float32
        assert_array_equal(to_numpy(got), want)
    assert layer.grads[1].shape == layer.Wh.shape
    for head in on_host.Wh if heads else [on_host.Wh]:
        for gate in np.split(head, gates, axis=1):
            assert_allclose(gate.T @ gate, np.eye(len(gate)), atol=1e-6)
    assert kind.init(3, 12, dtype="float64", backend=backend).Wx.dtype == np.float64


@every_kind
def test_a_nan_in_a_state_stays_in_its_head(name: str, backend: Backend, form: str) -> None:
    kind, _, options = KINDS[name]
    layer = kind.init(3, 12, heads=3, rng=0, dtype="float64", backend=backend, **options)
    h = backend.xp.zeros((4, 12))
    h[:, 5] = np.nan
    after = np.isnan(to_numpy(first(layer(backend.xp.ones((1, 4, 3)), h))))[0, 0]
    assert_array_equal(np.flatnonzero(after), np.arange(4, 8))


def test_a_cell_of_your_own_may_have_heads(backend: Backend) -> None:
    layer = RNN.init(3, 8, heads=2, rng=0, backend=backend)
    own = Recurrent(RNNCell(), *layer.params)
    x = backend.asarray(np.random.default_rng(1).standard_normal((6, 2, 3)), "float32")
    assert own.heads == 2
    assert_allclose(to_numpy(own(x)), to_numpy(layer(x)), atol=1e-6)


# ---- errors ----


def arrays(*shapes: tuple[int, ...]) -> list[Any]:
    return [np.zeros(shape, "float32") for shape in shapes]


def test_wrong_numbers_of_heads() -> None:
    no_divisor = "heads is 3 and hidden_size is {}: expected heads that divide hidden_size; use"
    none = "has no heads: expected a cell whose recurrent term is h @ Wh; {}"
    min_gru, gru = arrays((2, 12), (2, 3, 0), (12,)), arrays((2, 18), (2, 3, 9), (18,))
    misfits = [(2, 3, 11), (2, 3, 24), (0, 3, 12), (2, 0, 0), (1, 2, 3, 12)]
    wide, lstm, init = arrays((2, 12), (2, 3, 12), (24,)), LSTM.init(2, 8, heads=2), cast(Any, GRU.init)
    refused(
        (ValueError, lambda: RNN.init(2, 8, heads=3), no_divisor.format(8)),
        (ValueError, lambda: init(2, 8, heads=0), "heads is 0: expected an integer, at least 1"),
        (TypeError, lambda: init(2, 8, heads=2.0), "heads is 2.0: expected an integer, at least 1"),
        (ValueError, lambda: init(2, 8, heads=2, reset_after=False), none.format("use heads=None")),
        (ValueError, lambda: MinGRU(*min_gru), f"MinGRU {none.format('pass a matrix Wh')}"),
        (ValueError, lambda: GRU(*gru, reset_after=False), f"GRU {none.format('pass a matrix Wh')}"),
        (ValueError, lambda: GRU(*gru), "b has shape (18,), but this GRU expects (24,): b_r, b_u, b_n, an"),
        (ValueError, lambda: LSTM(*wide), "Wx has shape (2, 12), but this LSTM expects (D, 24): Wh is (2, 3, 12)"),
        (ValueError, lambda: cells.shapes("gru", 3, 4, 3), no_divisor.format(4)),
        (ValueError, lambda: cells.shapes("min-gru", 3, 4, 2), f"a layer with the cell 'min-gru' {none.format('')}"),
        (ValueError, lambda: quantize(lstm), "this LSTM has 2 heads: expected a matrix Wh; use free"),
        *((ValueError, lambda s=s: LSTM(*arrays((2, 24), s, (24,))), f"Wh has shape {s}, but this") for s in misfits),
    )
