"""The layers of state-space models: values and all gradients against float64, states, files, and refused formats."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from numpy.testing import assert_allclose, assert_array_equal

import xrnn
from tests.errors import one_line, refused
from tests.layers.state_spaces import KINDS, D, H, Kind, N, T
from xrnn import SGD, Adam, LayerNorm, Network, Stack, freeze, gradcheck, load, quantize, save, to_c, to_onnx
from xrnn.backend import Backend
from xrnn.typing import Array, HostArray


@pytest.fixture(params=KINDS, name="kind")
def each_kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


def same(backend: Backend, found: Any, expected: Any, tolerance: float = 0) -> None:
    """Compare the arrays of two tuples."""
    for got, want in zip(found, expected, strict=True):
        assert_allclose(backend.to_numpy(got), backend.to_numpy(want), rtol=0, atol=tolerance)


@pytest.mark.parametrize("lengths", [None, np.array([21, 1, 9])])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("float64", 1e-12)])
def test_values_and_gradients(
    kind: Kind, backend: Backend, form: str, dtype: str, tolerance: float, lengths: HostArray | None
) -> None:
    layer, (x, state, (dh, *dstate)) = kind.make(backend, dtype), kind.operands(backend, dtype)
    for gradient in layer.grads:
        gradient[...] = np.nan
    h, last = layer.forward(x, state, lengths=lengths)
    dx, dinitial = layer.backward(dh, tuple(dstate))
    arguments = [backend.to_numpy(a).astype("float64") for a in (x, *state, *layer.params)]
    d_results = [backend.to_numpy(d) for d in (dh, *dstate)]

    def total(*arguments: Any) -> Any:
        results = kind.textbook(*arguments, lengths=lengths)
        return sum(anp.sum(d * result) for d, result in zip(d_results, results, strict=True))

    expected = [*kind.textbook(*arguments, lengths=lengths), *grad(total, tuple(range(len(arguments))))(*arguments)]
    for i, (got, want) in enumerate(zip((h, *last, dx, *dinitial, *layer.grads), expected, strict=True)):
        assert got.dtype == dtype
        assert got.shape == want.shape
        scale = max(1, abs(want).max())
        assert_allclose(backend.to_numpy(got), want, rtol=0, atol=tolerance * scale, err_msg=f"result {i}")
    inferred, after = layer(x, state, lengths=lengths)
    same(backend, (inferred, *after), (h, *last))


def test_gradcheck(kind: Kind, backend: Backend) -> None:
    """Without a state: it is zeros, and its gradient is returned too."""
    layer, (x, state, (dh, *_)) = kind.make(backend), kind.operands(backend)

    def forward(x: Array, *params: Array) -> Array:
        for param, value in zip(layer.params, params, strict=True):
            param[...] = value
        return layer.forward(x)[0]

    params = [param.copy() for param in layer.params]
    gradcheck(forward, lambda u: [layer.backward(u)[0], *layer.grads], [x, *params], names=["x", *layer.names])
    layer.forward(x)
    _, without = layer.backward(dh)
    layer.forward(x, tuple(backend.xp.zeros_like(part) for part in state))
    _, given = layer.backward(dh)
    same(backend, without, given, 1e-14)


def test_a_stream_gives_the_results_of_a_sequence(kind: Kind, backend: Backend) -> None:
    layer, (x, _, _) = kind.make(backend), kind.operands(backend)
    complete, last = layer(x)
    state, found = None, []
    for step in x[:5]:
        h, state = layer.stream(step, state)
        assert h.shape == (N, H)
        found.append(backend.to_numpy(h)[None])
    h, state = layer.stream(x[5:], state)
    found.append(backend.to_numpy(h))
    assert_allclose(np.concatenate(found), backend.to_numpy(complete), rtol=0, atol=1e-13)
    same(backend, state, last, 1e-13)


def test_a_single_step_is_a_sequence_of_one(kind: Kind, backend: Backend) -> None:
    layer, (x, state, (dh, *_)) = kind.make(backend), kind.operands(backend)
    h, _ = layer.forward(x[:1], state)
    dx, dstate = layer.backward(dh[:1])
    h_of_step, _ = layer.forward(x[0], state)
    dx_of_step, dstate_of_step = layer.backward(dh[0])
    assert dx is not None
    same(backend, (h_of_step, dx_of_step, *dstate_of_step), (h[0], dx[0], *dstate))


def test_no_steps(kind: Kind, backend: Backend) -> None:
    layer, (x, state, (dh, *dstate)) = kind.make(backend), kind.operands(backend)
    h, last = layer.forward(x[:0], state)
    assert h.shape == (0, N, H)
    dx, dinitial = layer.backward(dh[:0], tuple(dstate))
    assert dx is not None
    assert dx.shape == (0, N, D)
    same(backend, (*last, *dinitial), (*state, *dstate), 1e-14)
    assert not any(backend.to_numpy(gradient).any() for gradient in layer.grads)


def test_nan_past_the_end_of_a_row_reaches_nothing(kind: Kind, backend: Backend, form: str) -> None:
    layer, (x, state, (dh, *_)) = kind.make(backend), kind.operands(backend)
    inside = (np.arange(T)[:, None] < np.array([5, 0, 21]))[..., None]
    found = []
    for value in (0, np.nan):
        changed = backend.asarray(np.where(inside, backend.to_numpy(x), value))
        h, last = layer.forward(changed, state, lengths=[5, 0, 21])
        past_end = value if form == "fused" else 0
        dx, dinitial = layer.backward(backend.asarray(np.where(inside, backend.to_numpy(dh), past_end)))
        found.append([backend.to_numpy(a).copy() for a in (h, *last, dx, *dinitial)])
    for got, want in zip(*found, strict=True):
        assert_array_equal(got, want)


def test_frozen_weights_and_a_layer_that_is_not_trained(kind: Kind, backend: Backend) -> None:
    layer, (x, state, (dh, *_)) = kind.make(backend), kind.operands(backend)
    h, _ = layer.forward(x, state)
    dx, _ = layer.backward(dh)
    frozen = freeze(layer)
    same(backend, frozen.stream(x, state)[:1], (h,))
    layer.needs_grads = False
    layer.forward(x, state)
    unchanged, _ = layer.backward(dh)
    same(backend, (unchanged,), (dx,))
    assert not any(backend.to_numpy(g).any() for g in layer.grads)
    none, _ = layer.backward(dh, needs_dx=False)
    assert none is None


def test_in_a_stack_and_a_network(kind: Kind, backend: Backend, workdir: Path) -> None:
    options: dict[str, Any] = {"dtype": "float64", "backend": backend}
    upper = kind.layer.init(H, 6, state_size=2, rng=0, **options)
    stack = Stack([LayerNorm.init(D, **options), kind.make(backend), upper])
    x, _, _ = kind.operands(backend)
    h, states = stack.forward(x, lengths=[3, 21, 8])
    assert h.shape == (T, N, 6)
    stack.backward(backend.xp.ones_like(h), states)
    h, _ = stack(x)
    again, between = stack.stream(x[:7])
    rest, _ = stack.stream(x[7:], between)
    parts = np.concatenate([backend.to_numpy(again), backend.to_numpy(rest)])
    assert_allclose(parts, backend.to_numpy(h), rtol=0, atol=1e-13)
    deep = Stack.init(kind.layer, D, 6, depth=3, rng=0, **options)
    assert deep(x)[0].shape == (T, N, 6)
    network = Network(layer=kind.make(backend), deep=deep)
    save("network.safetensors", network)
    loaded = load("network.safetensors", backend=backend)
    same(backend, loaded.layer(x)[:1], network.layer(x)[:1])


def test_files_and_copies(kind: Kind, backend: Backend, workdir: Path) -> None:
    layer, (x, state, _) = kind.make(backend), kind.operands(backend)
    save("layer.safetensors", layer)
    for equal in (load("layer.safetensors", kind.layer, backend=backend), copy.deepcopy(layer)):
        same(backend, equal(x, state)[:1], layer(x, state)[:1])
        assert list(equal.named_params) == list(layer.names)


def _losses(kind: Kind, inputs: int, series: Callable[[np.random.Generator], tuple[Array, Array]]) -> list[float]:
    """The loss of each of 60 updates.   `series` draws x (T, N, inputs) and a target (T, N, 1)."""
    layer = kind.layer.init(inputs, 8, state_size=4, rng=0, backend="numpy")
    readout = xrnn.Linear.init(8, 1, rng=1, backend="numpy")
    optimizer, rng = Adam([layer, readout], lr=0.02), np.random.default_rng(2)
    losses = []
    for _ in range(60):
        x, target = series(rng)
        h, _ = layer.forward(x)
        loss, dy = xrnn.mean_squared_error(readout.forward(h), target)
        layer.backward(readout.backward(dy), needs_dx=False)
        xrnn.clip_grad_norm(optimizer.grads, 1.0)
        optimizer.step()
        losses.append(float(loss))
    return losses


def test_it_learns_to_keep_a_sign(kind: Kind) -> None:
    """The sign of the first step."""

    def series(rng: np.random.Generator) -> tuple[Array, Array]:
        x = np.zeros((20, 8, 2), "float32")
        x[0, :, 0] = np.sign(rng.standard_normal(8))
        x[1:, :, 1] = 1
        return x, np.broadcast_to(x[:1, :, :1], (20, 8, 1))

    losses = _losses(kind, 2, series)
    assert losses[-1] < 0.3 * losses[0], losses[::10]


@pytest.mark.parametrize("name", ["Mamba", "Mamba2"])
def test_it_learns_to_repeat_a_sign(name: str) -> None:
    """The sign that it saw three steps before. An MLSTM has no convolution, which makes a delay easy."""

    def series(rng: np.random.Generator) -> tuple[Array, Array]:
        x = np.sign(rng.standard_normal((20, 8, 1))).astype("float32")
        return x, np.concatenate([np.zeros_like(x[:3]), x[:-3]])

    losses = _losses(KINDS[name], 1, series)
    assert losses[-1] < 0.3 * losses[0], losses[::10]


def _is_a(layer: Any) -> str:
    return f"layers[0] is a {type(layer).__module__}.{type(layer).__name__}: expected"


def test_c_and_int8_refuse_it(kind: Kind, workdir: Path) -> None:
    layer = kind.make(xrnn.get_backend("numpy"), "float32")
    refused(
        (TypeError, lambda: to_c(layer, "m.c"), _is_a(layer)),
        (TypeError, lambda: quantize(layer), f"{layer.title}: expected a recurrent layer"),
    )


@pytest.mark.needs("onnx", "onnx")
def test_onnx_refuses_it(kind: Kind, workdir: Path) -> None:
    layer = kind.make(xrnn.get_backend("numpy"), "float32")
    with one_line(TypeError, _is_a(layer)):
        to_onnx(layer, "m.onnx")


@pytest.mark.needs("keras", "keras")
def test_keras_refuses_it(kind: Kind) -> None:
    layer = kind.make(xrnn.get_backend("numpy"), "float32")
    with one_line(TypeError, _is_a(layer)):
        xrnn.to_keras(layer)


def test_refused_calls(kind: Kind) -> None:
    backend = xrnn.get_backend("numpy")
    layer, (x, state, (dh, *_)) = kind.make(backend), kind.operands(backend)
    parts = len(state)
    refused(
        (TypeError, lambda: kind.layer(*layer.params[:-1]), f"got {len(layer.names) - 1} parameters", "in_proj"),
        (ValueError, lambda: layer.forward(x[..., :4]), "x has shape (21, 3, 4)", "(T, N, 5) or (N, 5)"),
        (TypeError, lambda: layer.forward(x.astype("float32")), "x has dtype float32"),
        (ValueError, lambda: layer.forward(x, state[1:]), f"has {parts - 1} entries", f"expected {parts} arrays"),
        (ValueError, lambda: layer.forward(x, 3), "state is a int"),  # type: ignore[arg-type]
        (ValueError, lambda: layer.forward(x, state[::-1]), f"state[0] has shape {state[-1].shape}"),
        (ValueError, lambda: layer.forward(x[0], lengths=[1, 1, 1]), "lengths for one step"),
        (RuntimeError, lambda: layer.backward(dh), "backward needs a forward before it"),
        (
            TypeError,
            lambda: Stack.init(kind.layer, 3, 4, bidirectional=True),
            f"{layer.title} does not run in reverse",
        ),
    )
    layer.forward(x)
    with one_line(ValueError, "dh has shape (3, 21, 4)"):
        layer.backward(dh.swapaxes(0, 1))
    optimizer = SGD([layer], lr=0.1)
    layer.backward(dh)
    optimizer.step()
    with one_line(RuntimeError, f"the weights of this {layer.title} have been updated since that forward"):
        layer.backward(dh)
