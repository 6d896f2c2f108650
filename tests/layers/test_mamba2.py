"""The Mamba-2 layer: values and all gradients against float64, states, and the formats that keep or refuse it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from numpy.testing import assert_allclose, assert_array_equal

import xrnn
from tests.errors import one_line, refused
from tests.reference import sigmoid, softplus
from xrnn import SGD, Adam, LayerNorm, Mamba2, Network, Stack, freeze, gradcheck, load, quantize, save, to_c, to_onnx
from xrnn.backend import Backend
from xrnn.typing import Array, HostArray

D, H, E, K, W, P = 5, 4, 8, 3, 4, 2
N, T = 3, 21


def layer_of(backend: Backend, dtype: str = "float64") -> Mamba2:
    layer = Mamba2.init(D, H, state_size=K, taps=W, heads=P, rng=0, dtype=dtype, backend=backend)
    rng = np.random.default_rng(1)
    for param in layer.params:  # no parameter keeps its initial zeros or ones
        param += backend.asarray(0.2 * rng.standard_normal(param.shape), dtype)
    return layer


def textbook(x: Any, last_inputs: Any, S: Any, *params: Any, lengths: HostArray | None = None) -> tuple[Any, Any, Any]:
    """h, the last inputs of the convolution and the last states, step by step."""
    in_proj, conv, conv_bias, dt_bias, A_log, skip, norm, out_proj = params
    hs = []
    for t in range(len(x)):
        runs = np.full(x.shape[1], True) if lengths is None else t < lengths
        projected = x[t] @ in_proj
        z, dt = projected[:, :E], projected[:, 2 * E + 2 * K :]
        inputs = anp.concatenate([last_inputs, projected[None, :, E : 2 * E + 2 * K]])
        a = conv_bias + sum(conv[:, j] * inputs[j] for j in range(W))
        a = a * sigmoid(a)
        u, B, C = anp.reshape(a[:, :E], (-1, P, E // P)), a[:, E : E + K], a[:, E + K :]
        step = softplus(dt + dt_bias)
        decay = anp.exp(-step * anp.exp(A_log))
        new = decay[..., None, None] * S + anp.einsum("nk,nhv->nhkv", B, step[..., None] * u)
        y = anp.einsum("nk,nhkv->nhv", C, new) + skip[:, None] * u
        r = anp.reshape(y, (-1, E)) * z * sigmoid(z)
        r = r / anp.sqrt(anp.mean(r * r, axis=1, keepdims=True) + 1e-5) * norm
        hs.append(anp.where(runs[:, None], r @ out_proj, 0.0))
        S = anp.where(runs[:, None, None, None], new, S)
        last_inputs = anp.where(runs[:, None], inputs[1:], last_inputs)
    return anp.array(hs), last_inputs, S


def operands(backend: Backend, dtype: str = "float64") -> tuple[Array, tuple[Array, Array], list[HostArray]]:
    """x, a state, and the gradients of the three results."""
    rng = np.random.default_rng(2)
    of_state = [(W - 1, N, E + 2 * K), (N, P, K, E // P)]
    shapes = [(T, N, D), *of_state, (T, N, H), *of_state]
    x, inputs, S, *d = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    return backend.asarray(x), (backend.asarray(inputs), backend.asarray(S)), d


@pytest.mark.parametrize("lengths", [None, np.array([21, 1, 9])])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("float64", 1e-12)])
def test_values_and_gradients(
    backend: Backend, form: str, dtype: str, tolerance: float, lengths: HostArray | None
) -> None:
    layer, (x, state, (dh, *dstate)) = layer_of(backend, dtype), operands(backend, dtype)
    for gradient in layer.grads:
        gradient[...] = np.nan
    h, last = layer.forward(x, state, lengths=lengths)
    dx, dinitial = layer.backward(backend.asarray(dh), (backend.asarray(dstate[0]), backend.asarray(dstate[1])))
    arguments = [backend.to_numpy(a).astype("float64") for a in (x, *state, *layer.params)]

    def total(*arguments: Any) -> Any:
        results = textbook(*arguments, lengths=lengths)
        return sum(anp.sum(d * result) for d, result in zip((dh, *dstate), results, strict=True))

    expected = [*textbook(*arguments, lengths=lengths), *grad(total, tuple(range(len(arguments))))(*arguments)]
    for i, (got, want) in enumerate(zip((h, *last, dx, *dinitial, *layer.grads), expected, strict=True)):
        assert got.dtype == dtype
        assert got.shape == want.shape
        scale = max(1, abs(want).max())
        assert_allclose(backend.to_numpy(got), want, rtol=0, atol=tolerance * scale, err_msg=f"result {i}")
    inferred, after = layer(x, state, lengths=lengths)
    assert_array_equal(backend.to_numpy(inferred), backend.to_numpy(h))
    for got, want in zip(after, last, strict=True):
        assert_array_equal(backend.to_numpy(got), backend.to_numpy(want))


def test_gradcheck(backend: Backend) -> None:
    """Without a state: it is zeros, and its gradient is returned too."""
    layer, (x, _, _) = layer_of(backend), operands(backend)

    def forward(x: Array, *params: Array) -> Array:
        for param, value in zip(layer.params, params, strict=True):
            param[...] = value
        return layer.forward(x)[0]

    params = [param.copy() for param in layer.params]
    gradcheck(forward, lambda u: [layer.backward(u)[0], *layer.grads], [x, *params], names=["x", *layer.names])
    zeros = backend.xp.zeros((W - 1, N, E + 2 * K)), backend.xp.zeros((N, P, K, E // P))
    dh = backend.xp.ones((T, N, H))
    layer.forward(x)
    _, without = layer.backward(dh)
    layer.forward(x, zeros)
    _, given = layer.backward(dh)
    for got, want in zip(without, given, strict=True):
        assert_allclose(backend.to_numpy(got), backend.to_numpy(want), rtol=0, atol=1e-14)


def test_a_stream_gives_the_results_of_a_sequence(backend: Backend) -> None:
    layer, (x, _, _) = layer_of(backend), operands(backend)
    complete, last = layer(x)
    state, found = None, []
    for step in x[:5]:
        h, state = layer.stream(step, state)
        assert h.shape == (N, H)
        found.append(backend.to_numpy(h)[None])
    h, state = layer.stream(x[5:], state)
    found.append(backend.to_numpy(h))
    assert_allclose(np.concatenate(found), backend.to_numpy(complete), rtol=0, atol=1e-13)
    for got, want in zip(state or (), last, strict=True):
        assert_allclose(backend.to_numpy(got), backend.to_numpy(want), rtol=0, atol=1e-13)


def test_a_single_step_is_a_sequence_of_one(backend: Backend) -> None:
    layer, (x, state, (dh, *_)) = layer_of(backend), operands(backend)
    h, _ = layer.forward(x[:1], state)
    dx, dstate = layer.backward(backend.asarray(dh[:1]))
    h_of_step, _ = layer.forward(x[0], state)
    dx_of_step, dstate_of_step = layer.backward(backend.asarray(dh[0]))
    assert_array_equal(backend.to_numpy(h[0]), backend.to_numpy(h_of_step))
    assert_array_equal(backend.to_numpy(dx[0]), backend.to_numpy(dx_of_step))
    for got, want in zip(dstate_of_step, dstate, strict=True):
        assert_array_equal(backend.to_numpy(got), backend.to_numpy(want))


def test_nan_past_the_end_of_a_row_reaches_nothing(backend: Backend, form: str) -> None:
    layer, (x, state, (dh, *_)) = layer_of(backend), operands(backend)
    inside = (np.arange(T)[:, None] < np.array([5, 0, 21]))[..., None]
    found = []
    for value in (0, np.nan):
        changed = backend.asarray(np.where(inside, backend.to_numpy(x), value))
        h, last = layer.forward(changed, state, lengths=[5, 0, 21])
        dx, dinitial = layer.backward(backend.asarray(np.where(inside, dh, value if form == "fused" else 0)))
        found.append([backend.to_numpy(a).copy() for a in (h, *last, dx, *dinitial)])
    for got, want in zip(*found, strict=True):
        assert_array_equal(got, want)


def test_frozen_weights_and_a_layer_that_is_not_trained(backend: Backend) -> None:
    layer, (x, state, (dh, *_)) = layer_of(backend), operands(backend)
    h, _ = layer.forward(x, state)
    dx, _ = layer.backward(backend.asarray(dh))
    frozen = freeze(layer)
    assert_array_equal(backend.to_numpy(frozen.stream(x, state)[0]), backend.to_numpy(h))
    layer.needs_grads = False
    layer.forward(x, state)
    same, _ = layer.backward(backend.asarray(dh))
    assert_array_equal(backend.to_numpy(same), backend.to_numpy(dx))
    assert not any(backend.to_numpy(g).any() for g in layer.grads)
    none, _ = layer.backward(backend.asarray(dh), needs_dx=False)
    assert none is None


def test_in_a_stack_and_a_network(backend: Backend, workdir: Path) -> None:
    options: dict[str, Any] = {"dtype": "float64", "backend": backend}
    stack = Stack([LayerNorm.init(D, **options), layer_of(backend), Mamba2.init(H, 6, state_size=2, rng=0, **options)])
    x, _, _ = operands(backend)
    h, states = stack.forward(x, lengths=[3, 21, 8])
    assert h.shape == (T, N, 6)
    stack.backward(backend.xp.ones_like(h), states)
    h, _ = stack(x)
    again, between = stack.stream(x[:7])
    rest, _ = stack.stream(x[7:], between)
    parts = np.concatenate([backend.to_numpy(again), backend.to_numpy(rest)])
    assert_allclose(parts, backend.to_numpy(h), rtol=0, atol=1e-13)
    deep = Stack.init(Mamba2, D, 6, depth=3, rng=0, **options)
    assert deep(x)[0].shape == (T, N, 6)
    network = Network(layer=layer_of(backend), deep=deep)
    save("network.safetensors", network)
    loaded = load("network.safetensors", backend=backend)
    assert_array_equal(backend.to_numpy(loaded.layer(x)[0]), backend.to_numpy(network.layer(x)[0]))


def test_files_and_copies(backend: Backend, workdir: Path) -> None:
    layer, (x, state, _) = layer_of(backend), operands(backend)
    save("layer.safetensors", layer)
    for same in (load("layer.safetensors", Mamba2, backend=backend), copy.deepcopy(layer)):
        assert_array_equal(backend.to_numpy(same(x, state)[0]), backend.to_numpy(layer(x, state)[0]))
        assert list(same.named_params) == list(layer.names)


def test_a_new_layer(backend: Backend) -> None:
    layer = Mamba2.init(32, 48, rng=0, backend=backend)  # 96 channels: heads of 48
    shapes = {name: param.shape for name, param in layer.named_params.items()}
    assert shapes == {
        "in_proj": (32, 192 + 256 + 2), "conv": (96 + 256, 4), "conv_bias": (96 + 256,), "dt_bias": (2,),
        "A_log": (2,), "skip": (2,), "norm": (96,), "out_proj": (96, 48),
    }  # fmt: skip
    step = np.log1p(np.exp(backend.to_numpy(Mamba2.init(8, 512, rng=0, backend=backend).dt_bias)))
    assert 0.0009 < step.min() < step.max() < 0.101
    assert layer.directions == ((48, False),)
    assert Mamba2.init(8, 128, rng=0, backend=backend).heads == 4


def test_it_learns() -> None:
    """To repeat the sign that it saw three steps before."""
    layer = Mamba2.init(1, 8, state_size=4, rng=0, backend="numpy")
    readout = xrnn.Linear.init(8, 1, rng=1, backend="numpy")
    optimizer, rng = Adam([layer, readout], lr=0.02), np.random.default_rng(2)
    losses = []
    for _ in range(60):
        x = np.sign(rng.standard_normal((20, 8, 1))).astype("float32")
        target = np.concatenate([np.zeros_like(x[:3]), x[:-3]])
        h, _ = layer.forward(x)
        loss, dy = xrnn.mean_squared_error(readout.forward(h), target)
        layer.backward(readout.backward(dy), needs_dx=False)
        xrnn.clip_grad_norm(optimizer.grads, 1.0)
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.3 * losses[0]


def test_c_and_int8_refuse_it(workdir: Path) -> None:
    layer = Mamba2.init(3, 4, rng=0, backend="numpy")
    refused(
        (TypeError, lambda: to_c(layer, "m.c"), "layers[0] is a xrnn.layers.mamba2.Mamba2: expected"),
        (TypeError, lambda: quantize(layer), "Mamba2: expected a recurrent layer"),
    )


@pytest.mark.needs("onnx", "onnx")
def test_onnx_refuses_it(workdir: Path) -> None:
    with one_line(TypeError, "layers[0] is a xrnn.layers.mamba2.Mamba2: expected"):
        to_onnx(Mamba2.init(3, 4, rng=0, backend="numpy"), "m.onnx")


@pytest.mark.needs("keras", "keras")
def test_keras_refuses_it() -> None:
    with one_line(TypeError, "layers[0] is a xrnn.layers.mamba2.Mamba2: expected"):
        xrnn.to_keras(Mamba2.init(3, 4, rng=0, backend="numpy"))


def test_refusals() -> None:
    layer = layer_of(xrnn.get_backend("numpy"))
    x, state, (dh, *_) = operands(xrnn.get_backend("numpy"))
    params = layer.params

    def changed(name: str, shape: tuple[int, ...]) -> Mamba2:
        return Mamba2(*(np.zeros(shape) if n == name else p for n, p in zip(layer.names, params, strict=True)))

    refused(
        (TypeError, lambda: Mamba2(*params[:-1]), "got 7 parameters", "in_proj"),
        (ValueError, lambda: changed("conv", (14, 0)), "conv has shape (14, 0)", "(8 + 2K, W)"),
        (ValueError, lambda: changed("conv", (13, 4)), "conv has shape (13, 4)", "(8 + 2K, W)"),
        (ValueError, lambda: changed("A_log", (3,)), "A_log has shape (3,)", "divide the 8 channels"),
        (ValueError, lambda: changed("in_proj", (5, 8)), "in_proj has shape (5, 8)", "(D, 24)"),
        (ValueError, lambda: changed("out_proj", (7, 4)), "out_proj has shape (7, 4)"),
        (ValueError, lambda: layer.forward(x[..., :4]), "x has shape (21, 3, 4)", "(T, N, 5) or (N, 5)"),
        (TypeError, lambda: layer.forward(x.astype("float32")), "x has dtype float32"),
        (ValueError, lambda: layer.forward(x, state[:1]), "state has 1 entries", "expected 2 arrays"),
        (ValueError, lambda: layer.forward(x, (state[1], state[0])), "state[0] has shape (3, 2, 3, 4)", "(3, 3, 14)"),
        (ValueError, lambda: layer.forward(x[0], lengths=[1, 1, 1]), "lengths for one step"),
        (RuntimeError, lambda: layer.backward(dh), "backward needs a forward before it"),
        (ValueError, lambda: Mamba2.init(3, 4, heads=3), "heads is 3, which does not divide the 8 channels"),
        (TypeError, lambda: Stack.init(Mamba2, 3, 4, bidirectional=True), "Mamba2 does not run in reverse"),
    )
    layer.forward(x)
    with one_line(ValueError, "dh has shape (3, 21, 4)"):
        layer.backward(dh.swapaxes(0, 1))
    optimizer = SGD([layer], lr=0.1)
    layer.backward(dh)
    optimizer.step()
    with one_line(RuntimeError, "the weights of this Mamba2 have been updated since that forward"):
        layer.backward(dh)
