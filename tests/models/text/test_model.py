"""The model's gradients compared with differences, and training compared with inference."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.models.checks import check_gradients
from xrnn import Embedding, Linear, Stack
from xrnn.backend import Backend
from xrnn.cells import CELLS
from xrnn.losses import softmax_cross_entropy
from xrnn.models.text import CharLM, State, TextSettings

every_cell = pytest.mark.parametrize("cell", CELLS)


def small_model(backend: Backend, cell: str, layers: int) -> CharLM:
    """float64, embedding 4, hidden 5, 6 characters."""
    rng = np.random.default_rng(0)
    stack = Stack.init(CELLS[cell], 4, 5, layers, rng=rng, dtype="float64", backend=backend)
    embedding = Embedding.init(6, 4, rng=rng, dtype="float64", backend=backend)
    linear = Linear.init(5, 6, rng=rng, dtype="float64", backend=backend)
    return CharLM(cell, {"embedding": embedding, "stack": stack, "linear": linear})


def some_state(model: CharLM, N: int) -> State:
    rng = np.random.default_rng(2)
    return tuple(
        tuple(model.backend.asarray(rng.standard_normal(s.shape)) for s in states) for states in model.zero_state(N)
    )


@every_cell
@pytest.mark.parametrize("layers", [1, 3])
def test_gradients_match_differences(backend: Backend, layers: int, cell: str) -> None:
    T, N = 4, 3
    model = small_model(backend, cell, layers)
    index = backend.asarray(np.random.default_rng(1).integers(0, 6, (T, N)))
    state = some_state(model, N)
    check_gradients(model, lambda: model.forward(index, state)[0])


@every_cell
def test_a_training_step_is_forward_loss_and_backward(backend: Backend, cell: str) -> None:
    model = small_model(backend, cell, 2)
    chunk = backend.asarray(np.random.default_rng(1).integers(0, 6, (5, 3)))
    state = some_state(model, 3)
    logits, after = model(chunk[:-1], state)
    expected, dlogits = softmax_cross_entropy(logits, chunk[1:])
    loss, state_after = model.train_step(chunk, state)
    grads = [backend.to_numpy(grad).copy() for grad in model.grads]
    model.backward(dlogits)
    np.testing.assert_array_equal(backend.to_numpy(loss), backend.to_numpy(expected))
    for states, others in zip(state_after, after, strict=True):
        for a, b in zip(states, others, strict=True):
            np.testing.assert_array_equal(backend.to_numpy(a), backend.to_numpy(b))
    for got, layer_grad in zip(grads, model.grads, strict=True):
        np.testing.assert_array_equal(got, backend.to_numpy(layer_grad))


@every_cell
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_names_of_states_and_the_shapes_are_known_without_a_model(backend: Backend, cell: str, layers: int) -> None:
    settings = TextSettings(cell=cell, hidden=8, layers=layers)
    model = CharLM.init(settings, backend)
    assert [param.shape for param in model.params] == settings.plan.shapes
    names = CharLM.state_names(cell, layers)
    assert [len(states) for states in names] == [len(states) for states in model.zero_state(3)]


@every_cell
def test_the_state_carries_the_earlier_text(backend: Backend, cell: str) -> None:
    model = small_model(backend, cell, 2)
    index = backend.asarray(np.random.default_rng(1).integers(0, 6, (7, 2)))
    whole, _ = model(index, model.zero_state(2))
    first, state = model(index[:3], model.zero_state(2))
    second, _ = model(index[3:], state)
    parts = np.concatenate([backend.to_numpy(first), backend.to_numpy(second)])
    np.testing.assert_allclose(parts, backend.to_numpy(whole), rtol=1e-12)


def test_new_weights_are_the_same_on_every_backend_and_predict_about_uniformly(backend: Backend) -> None:
    def fresh(which: Backend | str) -> CharLM:
        from xrnn.select import get_backend

        return CharLM.init(TextSettings(cell="rnn", hidden=8, layers=2, seed=3), get_backend(which))

    model, on_numpy = fresh(backend), fresh("numpy")
    assert list(model) == ["embedding", "stack", "linear"]
    for param, same in zip(model.params, on_numpy.params, strict=True):
        assert param.dtype == np.float32
        np.testing.assert_array_equal(backend.to_numpy(param), same)
    chunk = backend.asarray(np.random.default_rng(4).integers(0, 256, (40, 20)))
    loss, _ = model.train_step(chunk, model.zero_state(20))
    assert abs(float(loss) / math.log(2) - 8) < 0.5  # about a uniform guess among 256
