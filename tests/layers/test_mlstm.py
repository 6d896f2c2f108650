"""The mLSTM layer: new weights, extreme gates, and the paper's equations. `test_state_space` has the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import xrnn
from tests.errors import refused
from tests.layers.state_spaces import KINDS, D, E, H, K, N, P, T
from tests.needs_kernels import NEEDS_KERNELS
from xrnn import MLSTM
from xrnn.backend import Backend
from xrnn.typing import HostArray

V = E // P


def test_the_equations_of_the_paper(backend: Backend) -> None:
    """Without a stabiliser: S and n in their own scale, and max(|n · q|, 1)."""
    layer, (x, _, _) = KINDS["MLSTM"].make(backend), KINDS["MLSTM"].operands(backend)
    in_proj, igate_bias, fgate_bias, norm, out_proj = map(backend.to_numpy, layer.params)
    S, n, expected, bounded = np.zeros((N, P, K, V)), np.zeros((N, P, K)), [], []
    for x_t in backend.to_numpy(x):
        q, k, v, o, i, f = np.split(x_t @ in_proj, np.cumsum([P * K, P * K, E, E, P]), axis=1)
        q, k, v = (a.reshape(N, P, -1) for a in (q / np.sqrt(K), k, v))
        i, f = np.exp(i + igate_bias)[..., None], 1 / (1 + np.exp(-f - fgate_bias))[..., None]
        S = f[..., None] * S + (i * k)[..., None] * v[:, :, None]
        n = f * n + i * k
        n_q = abs((n * q).sum(axis=2, keepdims=True))
        r = (S * q[..., None]).sum(axis=2) / np.maximum(n_q, 1)
        bounded.append(n_q < 1)
        r = (r - r.mean(axis=2, keepdims=True)) / np.sqrt(r.var(axis=2, keepdims=True) + 1e-6)
        expected.append((r.reshape(N, E) * norm / (1 + np.exp(-o))) @ out_proj)
    h, (last_S, last_n, m) = layer(x)
    assert 0.1 < np.mean(bounded) < 0.9  # both branches of the maximum
    assert_allclose(backend.to_numpy(h), expected, rtol=0, atol=1e-12)
    scale = np.exp(backend.to_numpy(m))[..., None]
    assert_allclose(backend.to_numpy(last_n) * scale, n, rtol=1e-12)
    assert_allclose(backend.to_numpy(last_S) * scale[..., None], S, rtol=1e-11)


@pytest.mark.needs("transformers", "bench")
def test_the_layer_of_transformers() -> None:
    import torch
    from transformers import xLSTMConfig
    from transformers.models.xlstm.modeling_xlstm import xLSTMBlock

    config = xLSTMConfig(
        hidden_size=D,
        num_heads=P,
        qk_dim_factor=P * K / D,
        v_dim_factor=E / D,
        mode="inference",
        chunkwise_kernel="chunkwise--native_autograd",
        sequence_kernel="native_sequence__native",
        step_kernel="native",
        norm_reduction_force_float32=False,
        gate_soft_cap=1e9,  # none
        eps=1e-30,  # beside the maximum
    )
    # With the package xlstm, transformers takes its block.
    original: Any = xLSTMBlock(config.to_xlstm_block_config()).mlstm_layer.double()
    original.out_proj = torch.nn.Linear(E, H, bias=False, dtype=torch.float64)
    layer = KINDS["MLSTM"].make(xrnn.get_backend("numpy"))
    x, state, _ = KINDS["MLSTM"].operands(layer.backend)
    linears = ["q", "k", "v", "ogate_preact", "igate_preact", "fgate_preact"]
    parts = np.split(layer.params[0], np.cumsum([P * K, P * K, E, E, P]), axis=1)
    weights = {f"{name}.weight": part.T for name, part in zip(linears, parts, strict=True)}
    weights |= {"igate_preact.bias": layer.params[1], "fgate_preact.bias": layer.params[2]}
    weights |= {"multihead_norm.weight": layer.params[3], "out_proj.weight": layer.params[4].T}
    original.load_state_dict({name: torch.from_numpy(weight.copy()) for name, weight in weights.items()})
    S, n, m = map(torch.from_numpy, state)
    with torch.no_grad():
        expected, last = original(torch.from_numpy(x).swapaxes(0, 1), (S, n, m[..., None]))
    h, found = layer(x, state)
    assert_allclose(h, expected.swapaxes(0, 1), rtol=0, atol=1e-6)  # the states of transformers are float32
    for got, want in zip(found, last, strict=True):
        assert_allclose(got, want.reshape(got.shape), rtol=0, atol=1e-6)


def extreme(dtype: str, i: float, f: float, backend: Backend) -> tuple[list[HostArray], HostArray, HostArray]:
    """All results with these pre-activations of the gates; the sign of k · q, and the part v · sign(k · q) of r."""
    layer, (x, _, (dh, *dstate)) = KINDS["MLSTM"].make(backend, dtype), KINDS["MLSTM"].operands(backend, dtype)
    layer.params[0][:, -2 * P :] = 0
    layer.params[1][...], layer.params[2][...] = i, f
    h, last = layer.forward(x)
    dx, dinitial = layer.backward(dh, tuple(dstate))
    results = [backend.to_numpy(a).copy() for a in (h, *last, dx, *dinitial, *layer.grads)]
    q, k, v, o, *_ = np.split(backend.to_numpy(x @ layer.params[0]), np.cumsum([P * K, P * K, E, E, P]), axis=2)
    heads = T, N, P, -1
    weight = np.sign((q.reshape(heads) * k.reshape(heads)).sum(axis=-1, keepdims=True))
    return results, v.reshape(heads) * weight, 1 / (1 + np.exp(-o))


@pytest.mark.parametrize("i", [-1e4, -100.0, 0.0, 100.0, 1e4])
@pytest.mark.parametrize("f", [-1e4, -100.0, 0.0, 100.0, 1e4])
def test_extreme_gates(backend: Backend, i: float, f: float) -> None:
    """No overflow, which would be a warning, and the results of float64."""
    in_float64, *_ = extreme("float64", i, f, backend)
    for number, (got, want) in enumerate(zip(extreme("float32", i, f, backend)[0], in_float64, strict=True)):
        assert np.isfinite(want).all()
        assert_allclose(got, want, rtol=0, atol=2e-4 * max(1, float(np.abs(want).max())), err_msg=f"result {number}")


def test_gates_that_keep_only_the_last_step(backend: Backend) -> None:
    """i is so large and f so small that r is v · sign(k · q); then i is so small that h is 0."""
    layer = KINDS["MLSTM"].make(backend)
    (h, *_), r, o = extreme("float64", 1e4, -1e4, backend)
    unit = (r - r.mean(axis=-1, keepdims=True)) / np.sqrt(r.var(axis=-1, keepdims=True) + 1e-6)
    norm, out_proj = map(backend.to_numpy, layer.params[-2:])
    assert_allclose(h, (unit.reshape(T, N, E) * norm * o) @ out_proj, rtol=0, atol=1e-12)
    assert_allclose(extreme("float64", -1e4, 0.0, backend)[0][0], 0, atol=1e-12)


@NEEDS_KERNELS
def test_the_kernels_run(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = xrnn.get_backend("numpy")
    layer, (x, state, (dh, *_)) = KINDS["MLSTM"].make(backend), KINDS["MLSTM"].operands(backend)
    expected, _ = layer(x, state)

    def refuse(*_: Any) -> None:
        raise AssertionError("the plain form ran")

    monkeypatch.setattr(Backend, "matrix_memory_forward", refuse)
    monkeypatch.setattr(Backend, "matrix_memory_backward", refuse)
    h, _ = layer.forward(x, state)
    layer.backward(dh)
    assert_array_equal(h, expected)
    with pytest.raises(AssertionError, match="the plain form ran"), xrnn.use_fused(False):
        layer(x, state)


def test_a_new_layer(backend: Backend) -> None:
    layer = MLSTM.init(32, 48, rng=0, backend=backend)  # 4 heads of 12 channels
    shapes = {name: param.shape for name, param in layer.named_params.items()}
    assert shapes == {
        "in_proj": (32, 2 * 4 * 6 + 2 * 48 + 2 * 4), "igate_bias": (4,), "fgate_bias": (4,), "norm": (48,),
        "out_proj": (48, 48),
    }  # fmt: skip
    assert not backend.to_numpy(layer.in_proj)[:, -8:].any()
    assert_allclose(backend.to_numpy(layer.fgate_bias), [3, 4, 5, 6])
    assert layer.directions == ((48, False),)
    assert MLSTM.init(8, 9, rng=0, backend=backend).heads == 3
    assert MLSTM.init(8, 5, heads=1, rng=0, backend=backend).state_size == 3


def test_refused_sizes() -> None:
    layer = KINDS["MLSTM"].make(xrnn.get_backend("numpy"))

    def changed(name: str, shape: tuple[int, ...]) -> MLSTM:
        return MLSTM(*({**layer.named_params, name: np.zeros(shape)}.values()))

    refused(
        (ValueError, lambda: changed("igate_bias", (3,)), "igate_bias has shape (3,)", "divide the 8 channels"),
        (ValueError, lambda: changed("fgate_bias", (3,)), "fgate_bias has shape (3,)", "(2,)"),
        (ValueError, lambda: changed("in_proj", (5, 20)), "in_proj has shape (5, 20)", "(D, 4·K + 20)"),
        (ValueError, lambda: changed("in_proj", (5, 25)), "in_proj has shape (5, 25)", "(D, 4·K + 20)"),
        (ValueError, lambda: changed("out_proj", (7, 4)), "out_proj has shape (7, 4)"),
        (ValueError, lambda: MLSTM.init(3, 4, heads=3), "heads is 3, which does not divide the 4 channels"),
    )
