"""PyTorch's weights in xrnn's layout: one step by each library's equation, and the way back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.reference import (
    elman,
    gru,
    lru,
    lstm,
    min_gru,
    min_gru_positive,
    min_lstm,
    min_lstm_positive,
    positive,
    relu_elman,
    sigmoid,
    slstm,
    slstm_sigmoid,
)
from xrnn.exchange.torch_weights import CELLS, bias_gradients, from_torch, parameter_names, shapes, to_torch
from xrnn.typing import HostArray

D, H = 3, 4
STEPS: dict[str, Any] = {
    "RNN_TANH": elman,
    "RNN_RELU": relu_elman,
    "LSTM": lstm,
    "GRU": gru,
    "MIN_GRU": min_gru,
    "MIN_GRU_POSITIVE": min_gru_positive,
    "MIN_LSTM": min_lstm,
    "MIN_LSTM_POSITIVE": min_lstm_positive,
    "SLSTM": slstm,
    "SLSTM_SIGMOID": slstm_sigmoid,
    "LRU": lru,
}


def torch_step(mode: str, x: HostArray, states: list[HostArray], weights: list[HostArray]) -> list[HostArray]:
    """The equations in PyTorch's documentation of RNN, LSTM and GRU, and those of xrnn.torch's own modules."""
    weight_ih, weight_hh, bias_ih, bias_hh, *own = weights
    h = states[0]
    from_x, from_h = x @ weight_ih.T + bias_ih, h @ weight_hh.T + bias_hh
    if mode == "RNN_TANH":
        return [np.tanh(from_x + from_h)]
    if mode == "RNN_RELU":
        return [np.maximum(from_x + from_h, 0)]
    if mode == "LSTM":
        i, f, g, o = np.split(from_x + from_h, 4, axis=1)
        c = states[1] * sigmoid(f) + sigmoid(i) * np.tanh(g)
        return [sigmoid(o) * np.tanh(c), c]
    if mode.startswith("SLSTM"):
        (_, c, n, m), (i, f, g, o) = states, np.split(from_x + from_h, 4, axis=1)
        log_f = np.log(sigmoid(f)) if mode.endswith("SIGMOID") else f
        m_next = np.maximum(log_f + m, i)
        i, f = np.exp(i - m_next), np.exp(log_f + m - m_next)
        c, n = f * c + i * np.tanh(g), f * n + i
        return [sigmoid(o) * c / n, c, n, m_next]
    if mode == "LRU":
        nu, theta, gamma = own
        s = np.exp(-np.exp(nu) + 1j * np.exp(theta)) * (h[:, :H] + 1j * h[:, H:])
        s += np.exp(gamma) * (from_x[:, :H] + 1j * from_x[:, H:])
        return [np.concatenate((s.real, s.imag), axis=1)]
    if mode.startswith("MIN"):
        *gates, y = np.split(from_x, CELLS[mode].pre, axis=1)
        u = sigmoid(gates[0])
        u = u if len(gates) == 1 else sigmoid(gates[1]) / (u + sigmoid(gates[1]))
        return [(1 - u) * h + u * (positive(y) if mode.endswith("POSITIVE") else y)]
    (x_r, x_z, x_n), (h_r, h_z, h_n) = np.split(from_x, 3, axis=1), np.split(from_h, 3, axis=1)
    z, n = sigmoid(x_z + h_z), np.tanh(x_n + sigmoid(x_r + h_r) * h_n)
    return [(1 - z) * n + z * h]


def draw(mode: str) -> tuple[HostArray, list[HostArray], list[HostArray]]:
    rng, cell = np.random.default_rng(1), CELLS[mode]
    weights = [rng.standard_normal(shape) for shape in shapes(cell, D, H)]
    return rng.standard_normal((5, D)), [1 + rng.random((5, cell.components * H)) for _ in cell.states], weights


@pytest.mark.parametrize("mode", CELLS)
def test_both_equations_give_the_same_step(mode: str) -> None:
    x, states, weights = draw(mode)
    ours = STEPS[mode](x, states, *from_torch(np, CELLS[mode], *weights))
    for got, want in zip(ours, torch_step(mode, x, states, weights), strict=True):
        assert_allclose(got, want, rtol=0, atol=1e-14)


@pytest.mark.parametrize("mode", CELLS)
def test_a_round_trip(mode: str) -> None:
    x, states, weights = draw(mode)
    ours = from_torch(np, CELLS[mode], *weights)
    back = to_torch(np, CELLS[mode], *ours)
    assert [w.shape for w in back] == [w.shape for w in weights]
    assert not np.shares_memory(back[2], ours[2])
    for got, want in zip(torch_step(mode, x, states, list(back)), torch_step(mode, x, states, weights), strict=True):
        assert_allclose(got, want, rtol=0, atol=1e-14)
    for got, want in zip(from_torch(np, CELLS[mode], *back), ours, strict=True):
        assert_array_equal(got, want)


@pytest.mark.parametrize("mode", CELLS)
def test_without_biases_b_is_zero(mode: str) -> None:
    _, _, weights = draw(mode)
    cell = CELLS[mode]
    bias = from_torch(np, cell, *weights[:2], *weights[4:])[2]
    assert_array_equal(bias, np.zeros(cell.pre * cell.components * H))


@pytest.mark.parametrize("mode", CELLS)
def test_bias_gradients_are_those_of_the_conversion(mode: str) -> None:
    """The conversion M of PyTorch's weights to xrnn's is linear: ⟨gradients, c⟩ = ⟨xrnn's gradients, M c⟩."""
    _, _, change = draw(mode)
    cell, rng = CELLS[mode], np.random.default_rng(2)
    made = from_torch(np, cell, *change)
    dWx, dWh, db, *own = (np.asarray(rng.standard_normal(w.shape)) for w in made)
    theirs = dWx.T, dWh.T, *bias_gradients(np, cell, db), *own
    assert [g.shape for g in theirs] == [w.shape for w in change]
    want = sum(np.vdot(g, w) for g, w in zip((dWx, dWh, db, *own), made, strict=True))
    assert_allclose(sum(np.vdot(g, w) for g, w in zip(theirs, change, strict=True)), want, rtol=1e-12)


def test_parameter_names() -> None:
    lstm, lru = CELLS["LSTM"], CELLS["LRU"]
    assert parameter_names(lstm, 0, False) == ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    assert parameter_names(lstm, 2, True, bias=False) == ("weight_ih_l2_reverse", "weight_hh_l2_reverse")
    assert parameter_names(lru, 1, False)[3:] == ("bias_hh_l1", "nu_l1", "theta_l1", "gamma_l1")
