"""The Mamba layer: values and all gradients against float64, states, and the formats that keep or refuse it."""

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
from tests.reference import selective_scan_step, sigmoid
from xrnn import SGD, Adam, LayerNorm, Mamba, Network, Stack, freeze, gradcheck, load, quantize, save, to_c, to_onnx
from xrnn.backend import Backend
from xrnn.typing import Array, HostArray

D, H, E, K, W, R = 5, 4, 8, 3, 4, 2
N, T = 3, 21


def mamba_of(backend: Backend, dtype: str = "float64") -> Mamba:
    mamba = Mamba.init(D, H, state_size=K, taps=W, rank=R, rng=0, dtype=dtype, backend=backend)
    rng = np.random.default_rng(1)
    for param in mamba.params:  # no parameter keeps its initial zeros or ones
        param += backend.asarray(0.2 * rng.standard_normal(param.shape), dtype)
    return mamba


def textbook(x: Any, last_inputs: Any, S: Any, *params: Any, lengths: HostArray | None = None) -> tuple[Any, Any, Any]:
    """h, the last inputs of the convolution and the last states, step by step."""
    in_proj, conv, conv_bias, x_proj, dt_proj, dt_bias, A_log, skip, out_proj = params
    E, W = conv.shape
    R, K = len(dt_proj), A_log.shape[1]
    hs = []
    for t in range(len(x)):
        runs = np.full(x.shape[1], True) if lengths is None else t < lengths
        both = x[t] @ in_proj
        inputs = anp.concatenate([last_inputs, both[None, :, :E]])
        a = conv_bias + sum(conv[:, j] * inputs[j] for j in range(W))
        u = a * sigmoid(a)
        projected = u @ x_proj
        B, C = projected[:, None, R : R + K], projected[:, None, R + K :]
        new, y = selective_scan_step(
            S, u, projected[:, :R] @ dt_proj, -anp.exp(A_log), B, C, skip, both[:, E:], dt_bias, True
        )
        hs.append(anp.where(runs[:, None], y @ out_proj, 0.0))
        S = anp.where(runs[:, None, None], new, S)
        last_inputs = anp.where(runs[:, None], inputs[1:], last_inputs)
    return anp.array(hs), last_inputs, S


def operands(backend: Backend, dtype: str = "float64") -> tuple[Array, tuple[Array, Array], list[HostArray]]:
    """x, a state, and the gradients of the three results."""
    rng = np.random.default_rng(2)
    shapes = [(T, N, D), (W - 1, N, E), (N, E, K), (T, N, H), (W - 1, N, E), (N, E, K)]
    x, inputs, S, *d = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    return backend.asarray(x), (backend.asarray(inputs), backend.asarray(S)), d


@pytest.mark.parametrize("lengths", [None, np.array([21, 1, 9])])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("float64", 1e-12)])
def test_values_and_gradients(
    backend: Backend, form: str, dtype: str, tolerance: float, lengths: HostArray | None
) -> None:
    mamba, (x, state, (dh, *dstate)) = mamba_of(backend, dtype), operands(backend, dtype)
    for gradient in mamba.grads:
        gradient[...] = np.nan
    h, last = mamba.forward(x, state, lengths=lengths)
    dx, dinitial = mamba.backward(backend.asarray(dh), (backend.asarray(dstate[0]), backend.asarray(dstate[1])))
    arguments = [backend.to_numpy(a).astype("float64") for a in (x, *state, *mamba.params)]

    def total(*arguments: Any) -> Any:
        results = textbook(*arguments, lengths=lengths)
        return sum(anp.sum(d * result) for d, result in zip((dh, *dstate), results, strict=True))

    expected = [*textbook(*arguments, lengths=lengths), *grad(total, tuple(range(len(arguments))))(*arguments)]
    for i, (got, want) in enumerate(zip((h, *last, dx, *dinitial, *mamba.grads), expected, strict=True)):
        assert got.dtype == dtype
        assert got.shape == want.shape
        scale = max(1, abs(want).max())
        assert_allclose(backend.to_numpy(got), want, rtol=0, atol=tolerance * scale, err_msg=f"result {i}")
    inferred, after = mamba(x, state, lengths=lengths)
    assert_array_equal(backend.to_numpy(inferred), backend.to_numpy(h))
    for got, want in zip(after, last, strict=True):
        assert_array_equal(backend.to_numpy(got), backend.to_numpy(want))


def test_gradcheck(backend: Backend) -> None:
    """Without a state: it is zeros, and its gradient is returned too."""
    mamba, (x, _, _) = mamba_of(backend), operands(backend)

    def forward(x: Array, *params: Array) -> Array:
        for param, value in zip(mamba.params, params, strict=True):
            param[...] = value
        return mamba.forward(x)[0]

    params = [param.copy() for param in mamba.params]
    gradcheck(forward, lambda u: [mamba.backward(u)[0], *mamba.grads], [x, *params], names=["x", *mamba.names])
    zeros = backend.xp.zeros((W - 1, N, E)), backend.xp.zeros((N, E, K))
    dh = backend.xp.ones((T, N, H))
    mamba.forward(x)
    _, without = mamba.backward(dh)
    mamba.forward(x, zeros)
    _, given = mamba.backward(dh)
    for got, want in zip(without, given, strict=True):
        assert_allclose(backend.to_numpy(got), backend.to_numpy(want), rtol=0, atol=1e-14)


def test_a_stream_gives_the_results_of_a_sequence(backend: Backend) -> None:
    mamba, (x, _, _) = mamba_of(backend), operands(backend)
    complete, last = mamba(x)
    state, found = None, []
    for step in x[:5]:
        h, state = mamba.stream(step, state)
        assert h.shape == (N, H)
        found.append(backend.to_numpy(h)[None])
    h, state = mamba.stream(x[5:], state)
    found.append(backend.to_numpy(h))
    assert_allclose(np.concatenate(found), backend.to_numpy(complete), rtol=0, atol=1e-13)
    for got, want in zip(state or (), last, strict=True):
        assert_allclose(backend.to_numpy(got), backend.to_numpy(want), rtol=0, atol=1e-13)


def test_a_single_step_is_a_sequence_of_one(backend: Backend) -> None:
    mamba, (x, state, (dh, *_)) = mamba_of(backend), operands(backend)
    h, _ = mamba.forward(x[:1], state)
    dx, dstate = mamba.backward(backend.asarray(dh[:1]))
    h_of_step, _ = mamba.forward(x[0], state)
    dx_of_step, dstate_of_step = mamba.backward(backend.asarray(dh[0]))
    assert_array_equal(backend.to_numpy(h[0]), backend.to_numpy(h_of_step))
    assert_array_equal(backend.to_numpy(dx[0]), backend.to_numpy(dx_of_step))
    for got, want in zip(dstate_of_step, dstate, strict=True):
        assert_array_equal(backend.to_numpy(got), backend.to_numpy(want))


def test_nan_past_the_end_of_a_row_reaches_nothing(backend: Backend, form: str) -> None:
    mamba, (x, state, (dh, *_)) = mamba_of(backend), operands(backend)
    inside = (np.arange(T)[:, None] < np.array([5, 0, 21]))[..., None]
    found = []
    for value in (0, np.nan):
        changed = backend.asarray(np.where(inside, backend.to_numpy(x), value))
        h, last = mamba.forward(changed, state, lengths=[5, 0, 21])
        dx, dinitial = mamba.backward(backend.asarray(np.where(inside, dh, value if form == "fused" else 0)))
        found.append([backend.to_numpy(a).copy() for a in (h, *last, dx, *dinitial)])
    for got, want in zip(*found, strict=True):
        assert_array_equal(got, want)


def test_frozen_weights_and_a_layer_that_is_not_trained(backend: Backend) -> None:
    mamba, (x, state, (dh, *_)) = mamba_of(backend), operands(backend)
    h, _ = mamba.forward(x, state)
    dx, _ = mamba.backward(backend.asarray(dh))
    frozen = freeze(mamba)
    assert_array_equal(backend.to_numpy(frozen.stream(x, state)[0]), backend.to_numpy(h))
    mamba.needs_grads = False
    mamba.forward(x, state)
    same, _ = mamba.backward(backend.asarray(dh))
    assert_array_equal(backend.to_numpy(same), backend.to_numpy(dx))
    assert not any(backend.to_numpy(g).any() for g in mamba.grads)
    none, _ = mamba.backward(backend.asarray(dh), needs_dx=False)
    assert none is None


def test_in_a_stack_and_a_network(backend: Backend, workdir: Path) -> None:
    options: dict[str, Any] = {"dtype": "float64", "backend": backend}
    stack = Stack([LayerNorm.init(D, **options), mamba_of(backend), Mamba.init(H, 6, state_size=2, rng=0, **options)])
    x, _, _ = operands(backend)
    h, states = stack.forward(x, lengths=[3, 21, 8])
    assert h.shape == (T, N, 6)
    stack.backward(backend.xp.ones_like(h), states)
    h, _ = stack(x)
    again, between = stack.stream(x[:7])
    rest, _ = stack.stream(x[7:], between)
    parts = np.concatenate([backend.to_numpy(again), backend.to_numpy(rest)])
    assert_allclose(parts, backend.to_numpy(h), rtol=0, atol=1e-13)
    deep = Stack.init(Mamba, D, 6, depth=3, rng=0, **options)
    assert deep(x)[0].shape == (T, N, 6)
    network = Network(mamba=mamba_of(backend), deep=deep)
    save("network.safetensors", network)
    loaded = load("network.safetensors", backend=backend)
    assert_array_equal(backend.to_numpy(loaded.mamba(x)[0]), backend.to_numpy(network.mamba(x)[0]))


def test_files_and_copies(backend: Backend, workdir: Path) -> None:
    mamba, (x, state, _) = mamba_of(backend), operands(backend)
    save("mamba.safetensors", mamba)
    for same in (load("mamba.safetensors", Mamba, backend=backend), copy.deepcopy(mamba)):
        assert_array_equal(backend.to_numpy(same(x, state)[0]), backend.to_numpy(mamba(x, state)[0]))
        assert list(same.named_params) == list(mamba.names)


def test_a_new_layer(backend: Backend) -> None:
    mamba = Mamba.init(32, 40, rng=0, backend=backend)
    shapes = {name: param.shape for name, param in mamba.named_params.items()}
    assert shapes == {
        "in_proj": (32, 160), "conv": (80, 4), "conv_bias": (80,), "x_proj": (80, 3 + 32), "dt_proj": (3, 80),
        "dt_bias": (80,), "A_log": (80, 16), "skip": (80,), "out_proj": (80, 40),
    }  # fmt: skip
    step = np.log1p(np.exp(backend.to_numpy(mamba.dt_bias)))
    assert 0.0009 < step.min() < 0.005
    assert 0.03 < step.max() < 0.101
    assert_allclose(backend.to_numpy(mamba.A_log)[5], np.log(np.arange(1, 17)), rtol=1e-6)
    assert mamba.directions == ((40, False),)


def test_it_learns(backend: Backend) -> None:
    """To repeat the sign that it saw three steps before."""
    mamba = Mamba.init(1, 8, state_size=4, rng=0, backend=backend)
    readout = xrnn.Linear.init(8, 1, rng=1, backend=backend)
    optimizer, rng = Adam([mamba, readout], lr=0.02), np.random.default_rng(2)
    losses = []
    for _ in range(60):
        x = np.sign(rng.standard_normal((20, 8, 1))).astype("float32")
        target = np.concatenate([np.zeros_like(x[:3]), x[:-3]])
        h, _ = mamba.forward(backend.asarray(x))
        loss, dy = xrnn.mean_squared_error(readout.forward(h), backend.asarray(target))
        mamba.backward(readout.backward(dy), needs_dx=False)
        xrnn.clip_grad_norm(optimizer.grads, 1.0)
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.3 * losses[0]


def test_c_and_int8_refuse_it(workdir: Path) -> None:
    mamba = Mamba.init(3, 4, rng=0, backend="numpy")
    refused(
        (TypeError, lambda: to_c(mamba, "m.c"), "layers[0] is a xrnn.layers.mamba.Mamba: expected"),
        (TypeError, lambda: quantize(mamba), "Mamba: expected a recurrent layer"),
    )


@pytest.mark.needs("onnx", "onnx")
def test_onnx_refuses_it(workdir: Path) -> None:
    with one_line(TypeError, "layers[0] is a xrnn.layers.mamba.Mamba: expected"):
        to_onnx(Mamba.init(3, 4, rng=0, backend="numpy"), "m.onnx")


@pytest.mark.needs("keras", "keras")
def test_keras_refuses_it() -> None:
    with one_line(TypeError, "layers[0] is a xrnn.layers.mamba.Mamba: expected"):
        xrnn.to_keras(Mamba.init(3, 4, rng=0, backend="numpy"))


def test_refusals() -> None:
    mamba = mamba_of(xrnn.get_backend("numpy"))
    x, state, (dh, *_) = operands(xrnn.get_backend("numpy"))
    params = mamba.params

    def changed(name: str, shape: tuple[int, ...]) -> Mamba:
        return Mamba(*(np.zeros(shape) if n == name else p for n, p in zip(mamba.names, params, strict=True)))

    refused(
        (TypeError, lambda: Mamba(*params[:-1]), "got 8 parameters", "in_proj"),
        (ValueError, lambda: changed("conv", (8, 0)), "conv has shape (8, 0)"),
        (ValueError, lambda: changed("in_proj", (5, 8)), "in_proj has shape (5, 8)", "(D, 16)"),
        (ValueError, lambda: changed("x_proj", (8, 7)), "x_proj has shape (8, 7)", "(8, 8)"),
        (ValueError, lambda: changed("out_proj", (7, 4)), "out_proj has shape (7, 4)"),
        (ValueError, lambda: mamba.forward(x[..., :4]), "x has shape (21, 3, 4)", "(T, N, 5) or (N, 5)"),
        (TypeError, lambda: mamba.forward(x.astype("float32")), "x has dtype float32"),
        (ValueError, lambda: mamba.forward(x, state[:1]), "state has 1 entries", "expected 2 arrays"),
        (ValueError, lambda: mamba.forward(x, 3), "state is a int"),  # type: ignore[arg-type]
        (ValueError, lambda: mamba.forward(x, (state[1], state[0])), "state[0] has shape (3, 8, 3)", "(3, 3, 8)"),
        (ValueError, lambda: mamba.forward(x[0], lengths=[1, 1, 1]), "lengths for one step"),
        (RuntimeError, lambda: mamba.backward(dh), "backward needs a forward before it"),
        (ValueError, lambda: Mamba.init(3, 4, taps=0), "taps is 0"),
        (TypeError, lambda: Stack.init(Mamba, 3, 4, bidirectional=True), "Mamba does not run in reverse"),
    )
    mamba.forward(x)
    with one_line(ValueError, "dh has shape (3, 21, 4)"):
        mamba.backward(dh.swapaxes(0, 1))
    optimizer = SGD([mamba], lr=0.1)
    mamba.backward(dh)
    optimizer.step()
    with one_line(RuntimeError, "the weights of this Mamba have been updated since that forward"):
        mamba.backward(dh)
