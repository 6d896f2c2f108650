"""Sizes that each fused form is chosen for on the small GPU of conftest.py, and a training step at them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests import standin as cp
from xrnn import RNN
from xrnn.backends.cupy import CupyBackend
from xrnn.ops.cells.rnn import Nonlinearity

ONE_BLOCK = (6, 3, 5, 20)  # T, N, D, H
GROUP = (4, 5, 3, 260)  # just too large for one block


def layer(backend: CupyBackend, sizes: tuple[int, ...], dtype: str, nonlinearity: Nonlinearity = "tanh") -> RNN:
    return RNN.init(sizes[2], sizes[3], rng=0, dtype=dtype, backend=backend, nonlinearity=nonlinearity)


def step(rnn: RNN, sizes: tuple[int, ...], dtype: str) -> list[Any]:
    """h, dx, dh_prev and the weights' gradients, on the host."""
    T, N, D, H = sizes
    rng = np.random.default_rng(1)
    x, h_prev, dh = (cp.asarray(rng.standard_normal(s).astype(dtype)) for s in [(T, N, D), (N, H), (T, N, H)])
    h = rnn.forward(x, h_prev)
    return [a.get() for a in (h, *rnn.backward(dh), *rnn.grads)]  # type: ignore[union-attr]
