"""A complete training step: Embedding → RNN → Dropout → Linear → softmax_cross_entropy → clip_grad_norm → update."""

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


def train(
    backend: Backend, optimizer: Callable[..., Any], no_waiting: Callable[[], AbstractContextManager[None]]
) -> Any:
    """Two steps, the second from the final h of the first → the losses and the parameters, on the host."""
    model = Model(backend, optimizer)
    index, targets, mask = (backend.asarray(a) for a in (INDEX, TARGETS, MASK))
    Model(backend, optimizer).step(index, targets, mask, None)  # the self-test before a kernel's first use waits
    with no_waiting():
        first, h = model.step(index, targets, None, None)
        second, h = model.step(index, targets, mask, h)
    params = [p for layer in model.layers for p in layer.params]
    return [float(first), float(second)], [backend.to_numpy(p) for p in params]


OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "SGD": SGD,
    "momentum": lambda layers: SGD(layers, momentum=0.9),
    "Adam": Adam,
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_no_step_copies_or_waits(
    backend: Backend, optimizer: str, no_waiting: Callable[[], AbstractContextManager[None]]
) -> None:
    losses, params = train(backend, OPTIMIZERS[optimizer], no_waiting)
    assert losses[1] != losses[0]
    with use_fused(False):
        expected = train(get_backend("numpy"), OPTIMIZERS[optimizer], nullcontext)
    np.testing.assert_allclose(losses, expected[0], rtol=1e-12)
    for p, e in zip(params, expected[1], strict=True):
        np.testing.assert_allclose(p, e, rtol=1e-10, atol=1e-12)


def test_only_the_batch_is_copied_and_only_the_loss_is_read() -> None:
    model = Model(STANDIN, Adam)
    model.step(
        STANDIN.asarray(INDEX), STANDIN.asarray(TARGETS), None, None
    )  # the self-test before a kernel's first use copies
    with counted() as counters:
        index, targets = STANDIN.asarray(INDEX), STANDIN.asarray(TARGETS)
        loss, _ = model.step(index, targets, None, None)
        float(loss)
    assert (counters.host_to_device, counters.device_to_host, counters.waits) == (2, 0, 1)
    assert counters.operand_copies == 0
