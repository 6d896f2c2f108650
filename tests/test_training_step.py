"""A training step copies the batch and reads the loss, and waits for nothing else, as on NumPy."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.conftest import STANDIN
from tests.standin.counting import counted
from xrnn import EMA, RNN, SGD, Adam, Embedding, Linear, Stack, clip_grad_norm, last, last_gradient
from xrnn.arrays.select import get_backend
from xrnn.backend import Backend, use_fused
from xrnn.losses import binary_cross_entropy, huber, mean_squared_error, quantile, softmax_cross_entropy
from xrnn.typing import Array

V, E, H, T, N = 11, 3, 5, 4, 2
INDEX = np.random.default_rng(1).integers(0, V, (T, N))
TARGETS = np.random.default_rng(2).integers(0, V, (T, N))
MASK = np.random.default_rng(3).random((T, N)) < 0.7


class Model:
    def __init__(self, backend: Backend, optimizer: Callable[..., Any], kind: Any = RNN) -> None:
        options: dict[str, Any] = {"rng": np.random.default_rng(0), "dtype": "float64", "backend": backend}
        self.embedding = Embedding.init(V, E, **options)
        rnns = kind.init(E, H, **options), RNN.init(H, H, nonlinearity="relu", **options)
        self.stack = Stack([*rnns], dropout=0.3, rng=0)
        self.linear = Linear.init(H, V, **options)
        self.optimizer = optimizer([self.embedding, self.stack, self.linear])

    def step(self, index: Array, targets: Array, mask: Array | None = None, states: Any = None) -> tuple[Array, Any]:
        h, states = self.stack.forward(self.embedding.forward(index), states)
        loss, dlogits = softmax_cross_entropy(self.linear.forward(h), targets, mask=mask)
        dx, _ = self.stack.backward(self.linear.backward(dlogits))
        self.embedding.backward(dx)
        self.optimizer.accumulate()
        clip_grad_norm(self.optimizer.grads, 0.1)
        self.optimizer.step()
        return loss, states


@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_no_step_copies_or_waits(
    backend: Backend, optimizer: Any, no_waiting: Callable[[], AbstractContextManager[None]]
) -> None:
    """Two steps, the second from the final h of the first."""
    losses, params = [], []
    for of, waiting in ((backend, no_waiting), (get_backend("numpy"), nullcontext)):
        index, targets, mask = (of.asarray(a) for a in (INDEX, TARGETS, MASK))
        Model(of, optimizer).step(index, targets, mask)  # the self-test before a kernel's first use waits
        model = Model(of, optimizer)
        with waiting(), use_fused(of is backend):
            first, states = model.step(index, targets)
            second, _ = model.step(index, targets, mask, states)
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
            loss, _ = model.step(index, targets)
            float(loss)
    assert (counters.host_to_device, counters.device_to_host, counters.waits) == (2, 0, 1)
    assert counters.operand_copies == 0


def test_no_loss_or_optimizer_waits(backend: Backend, no_waiting: Callable[[], AbstractContextManager[None]]) -> None:
    logits, y = (backend.asarray(np.random.default_rng(0).random(shape)) for shape in ((T, N, V), (T, N)))
    targets, mask, lengths = (backend.asarray(a) for a in (TARGETS, MASK, np.array([2, 4])))
    layer = RNN.init(2, 3, rng=0, backend=backend)
    nesterov = partial(SGD, momentum=0.9, nesterov=True, weight_decay=0.01)
    optimizers: list[Any] = [make([layer]) for make in (SGD, nesterov, Adam, partial(Adam, weight_decay=0.01))]
    average = EMA([layer])
    with no_waiting():
        for loss in (mean_squared_error, binary_cross_entropy, huber, quantile):
            loss(y, y)
            loss(y, y, mask=mask, weight=y)
        softmax_cross_entropy(logits, targets, mask=mask, weight=y, class_weight=logits[0, 0])
        last_gradient(last(logits, lengths), logits, lengths)
        for optimizer in optimizers:
            optimizer.accumulate()
            optimizer.accumulate()
            clip_grad_norm(optimizer.grads, 1.0)
            optimizer.step()
        average.update()
        with average.applied():
            pass
