"""A training step copies the batch and reads the loss, and waits for nothing else, as on NumPy."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest

from tests.conftest import STANDIN
from tests.standin.counting import counted
from xrnn import RNN, SGD, Adam, Dropout, Embedding, Linear, clip_grad_norm, softmax_cross_entropy
from xrnn.backend import Backend, use_fused
from xrnn.select import get_backend
from xrnn.typing import Array

V, E, H, T, N = 11, 3, 5, 4, 2
INDEX = np.random.default_rng(1).integers(0, V, (T, N))
TARGETS = np.random.default_rng(2).integers(0, V, (T, N))
MASK = np.random.default_rng(3).random((T, N)) < 0.7


class Model:
    def __init__(self, backend: Backend, optimizer: Callable[..., Any]) -> None:
        rng = np.random.default_rng(0)
        self.embedding = Embedding.init(V, E, rng=rng, dtype="float64", backend=backend)
        self.rnns = [
            RNN.init(E, H, rng=rng, dtype="float64", backend=backend),
            RNN.init(H, H, rng=rng, dtype="float64", backend=backend, nonlinearity="relu"),
        ]
        self.dropout = Dropout(0.3, seed=0)
        self.linear = Linear.init(H, V, rng=rng, dtype="float64", backend=backend)
        self.layers = [self.embedding, *self.rnns, self.linear]
        self.optimizer = optimizer(self.layers)

    def step(self, index: Array, targets: Array, mask: Array | None, h_prev: Array | None) -> tuple[Array, Array]:
        h = self.embedding.forward(index)
        for rnn in self.rnns:
            h = rnn.forward(h, h_prev)
        logits = self.linear.forward(self.dropout.forward(h))
        loss, dlogits = softmax_cross_entropy(logits, targets, mask=mask)
        dh = self.dropout.backward(self.linear.backward(dlogits))
        for rnn in reversed(self.rnns):
            dh, _ = rnn.backward(dh)
        self.embedding.backward(dh)
        self.optimizer.accumulate()
        clip_grad_norm(self.optimizer.grads, 0.1)
        self.optimizer.step()
        return loss, h[-1]


@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_no_step_copies_or_waits(
    backend: Backend, optimizer: Any, no_waiting: Callable[[], AbstractContextManager[None]]
) -> None:
    """Two steps, the second from the final h of the first."""
    losses, params = [], []
    for of, waiting in ((backend, no_waiting), (get_backend("numpy"), nullcontext)):
        index, targets, mask = (of.asarray(a) for a in (INDEX, TARGETS, MASK))
        Model(of, optimizer).step(index, targets, mask, None)  # the self-test before a kernel's first use waits
        model = Model(of, optimizer)
        with waiting(), use_fused(of is backend):
            first, h = model.step(index, targets, None, None)
            second, h = model.step(index, targets, mask, h)
        losses.append([float(first), float(second)])
        params.append([of.to_numpy(p) for p in model.optimizer.params])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-12)
    for p, e in zip(*params, strict=True):
        np.testing.assert_allclose(p, e, rtol=1e-10, atol=1e-12)


def test_only_the_batch_is_copied_and_only_the_loss_is_read() -> None:
    model = Model(STANDIN, Adam)
    for _ in range(2):  # the self-test before a kernel's first use copies
        with counted() as counters:
            index, targets = STANDIN.asarray(INDEX), STANDIN.asarray(TARGETS)
            loss, _ = model.step(index, targets, None, None)
            float(loss)
    assert (counters.host_to_device, counters.device_to_host, counters.waits) == (2, 0, 1)
    assert counters.operand_copies == 0
