"""The model's gradients by differences, and its two ways of computing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from xrnn import gradcheck
from xrnn.backend import Backend
from xrnn.jobs.charlm.model import CharLM
from xrnn.layers.embedding import Embedding
from xrnn.layers.linear import Linear
from xrnn.layers.rnn import RNN
from xrnn.losses import softmax_cross_entropy
from xrnn.typing import Array


def small_model(backend: Backend, layers: int) -> CharLM:
    """float64, embedding 4, hidden 5, 6 characters."""
    rng = np.random.default_rng(0)
    sizes = [4] + [5] * layers
    rnns = [RNN.init(sizes[i], 5, rng=rng, dtype="float64", backend=backend) for i in range(layers)]
    embedding = Embedding.init(6, 4, rng=rng, dtype="float64", backend=backend)
    return CharLM(embedding, rnns, Linear.init(5, 6, rng=rng, dtype="float64", backend=backend))


@pytest.mark.parametrize("layers", [1, 3])
def test_gradients_match_differences(backend: Backend, layers: int) -> None:
    T, N = 4, 3
    model = small_model(backend, layers)
    rng = np.random.default_rng(1)
    index = backend.asarray(rng.integers(0, 6, (T, N)))
    state = [backend.asarray(rng.standard_normal((N, 5))) for _ in range(layers)]
    params = list(model.named_params.values())

    def forward(*weights: Array) -> Array:
        for param, weight in zip(params, weights, strict=True):
            param[...] = weight
        return model.forward(index, state)[0]

    def backward(u: Array) -> list[Array]:
        model.backward(u)
        return [grad for layer in model.layers for grad in layer.grads]

    gradcheck(forward, backward, [param.copy() for param in params], names=list(model.named_params))


def test_a_training_step_is_forward_loss_and_backward(backend: Backend) -> None:
    model = small_model(backend, 2)
    rng = np.random.default_rng(1)
    chunk = backend.asarray(rng.integers(0, 6, (5, 3)))
    state = [backend.asarray(rng.standard_normal((3, 5))) for _ in range(2)]
    logits, after = model(chunk[:-1], state)
    expected, dlogits = softmax_cross_entropy(logits, chunk[1:])
    loss, state_after = model.train_step(chunk, state)
    grads = [backend.to_numpy(grad).copy() for layer in model.layers for grad in layer.grads]
    model.backward(dlogits)
    np.testing.assert_array_equal(backend.to_numpy(loss), backend.to_numpy(expected))
    for a, b in zip(state_after, after, strict=True):
        np.testing.assert_array_equal(backend.to_numpy(a), backend.to_numpy(b))
    for got, layer_grad in zip(grads, (grad for layer in model.layers for grad in layer.grads), strict=True):
        np.testing.assert_array_equal(got, backend.to_numpy(layer_grad))


def test_the_state_carries_the_text_before(backend: Backend) -> None:
    model = small_model(backend, 2)
    index = backend.asarray(np.random.default_rng(1).integers(0, 6, (7, 2)))
    whole, _ = model(index, model.zero_state(2))
    first, state = model(index[:3], model.zero_state(2))
    second, _ = model(index[3:], state)
    parts = np.concatenate([backend.to_numpy(first), backend.to_numpy(second)])
    np.testing.assert_allclose(parts, backend.to_numpy(whole), rtol=1e-12)


def test_fresh_weights_are_the_same_on_every_backend_and_predict_nothing_yet(backend: Backend) -> None:
    def fresh(which: Backend | str) -> CharLM:
        from xrnn.select import get_backend

        return CharLM.init(8, 2, rng=np.random.default_rng(3), backend=get_backend(which))

    model, on_numpy = fresh(backend), fresh("numpy")
    assert list(model.named_params) == [
        *("embedding.W", "rnn0.Wx", "rnn0.Wh", "rnn0.b", "rnn1.Wx", "rnn1.Wh", "rnn1.b"),
        *("linear.W", "linear.b"),
    ]
    for name, param in model.named_params.items():
        assert param.dtype == np.float32
        np.testing.assert_array_equal(backend.to_numpy(param), on_numpy.named_params[name])
    chunk = backend.asarray(np.random.default_rng(4).integers(0, 256, (40, 20)))
    loss, _ = model.train_step(chunk, model.zero_state(20))
    assert abs(float(loss) / math.log(2) - 8) < 0.5  # about a uniform guess among 256
