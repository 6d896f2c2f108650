"""Checks of models and trainings, for the tests of several kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.standin.counting import counted
from xrnn import gradcheck
from xrnn.exchange.description import put_together, take_apart
from xrnn.typing import Array


def check_gradients(model: Any, forward: Callable[[], Array]) -> None:
    """Compare the gradients of all parameters of `model` with differences of `forward`, which runs it."""
    params = model.params

    def of_weights(*weights: Array) -> Array:
        for param, weight in zip(params, weights, strict=True):
            param[...] = weight
        return forward()

    def backward(u: Array) -> list[Array]:
        model.backward(u)
        grads: list[Array] = model.grads
        return grads

    gradcheck(of_weights, backward, [param.copy() for param in params])


def in_float64(layers: Mapping[str, Any]) -> dict[str, Any]:
    parts = {name: take_apart(layer) for name, layer in layers.items()}
    return {
        name: put_together(description, {key: array.astype("float64") for key, array in arrays.items()})
        for name, (description, arrays) in parts.items()
    }


def check_transfers(training: Any, reads: int) -> None:
    """On the stand-in: one transfer per step and no wait; then `reads` transfers back for the losses."""
    for _ in range(3):  # the first uses of kernels compare them with the plain form
        training.step()
    with counted() as counters:
        for _ in range(3):
            training.step()
    assert (counters.host_to_device, counters.device_to_host, counters.waits) == (3, 0, 0)
    with counted() as counters:
        training.read_losses()
    assert (counters.host_to_device, counters.device_to_host) == (0, reads)
    assert len(training.losses) == 6
