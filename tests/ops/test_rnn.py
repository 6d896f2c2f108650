"""The plain recurrence against a step-by-step float64 reference."""

from __future__ import annotations

import numpy as np
import pytest

from xrnn import RNN, gradcheck
from xrnn.backend import Backend
from xrnn.ops.rnn import Array, Nonlinearity


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("sizes", [(7, 4, 3, 5), (1, 1, 2, 3)])
def test_gradients_match_differences(
    backend: Backend, sizes: tuple[int, int, int, int], nonlinearity: Nonlinearity
) -> None:
    T, N, D, H = sizes
    rng = np.random.default_rng(0)
    rnn = RNN.init(D, H, rng=rng, dtype="float64", backend=backend, nonlinearity=nonlinearity)
    x, h_prev = (backend.asarray(rng.standard_normal(shape)) for shape in [(T, N, D), (N, H)])

    def forward(x: Array, h_prev: Array, *weights: Array) -> Array:
        for param, weight in zip(rnn.params, weights, strict=True):
            param[...] = weight
        return rnn.forward(x, h_prev)

    weights = [param.copy() for param in rnn.params]
    gradcheck(forward, lambda u: [*rnn.backward(u), *rnn.grads], [x, h_prev, *weights])
