"""xrnn.torch.SLSTM: the kernels agree with PyTorch's operations; the layer with FlashRNN's equations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

import xrnn
import xrnn.torch
from tests.errors import one_line
from tests.torch.pairs import TOLERANCE
from xrnn.torch.not_in_pytorch import in_pytorch

OPTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False, "dtype": torch.float64, "forget_gate": "sigmoid"},
    {"batch_first": True, "forget_gate": "sigmoid"},
    {"bidirectional": True, "num_layers": 2, "dtype": torch.float64},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("form", ["padded", "one row", "packed", "packed, without states"])
def test_kernels_agree_with_pytorch(form: str, options: dict[str, Any]) -> None:
    module = xrnn.torch.SLSTM(3, 5, **options)
    dtype = module.weight_ih_l0.dtype
    x = torch.randn((6, 4, 3), dtype=dtype, requires_grad=True)
    rows = () if form == "one row" else (6,) if module.batch_first and form == "padded" else (4,)
    shape = (module.num_layers * (1 + module.bidirectional), *rows, 5)
    h, c, n, m = (torch.randn(shape, dtype=dtype) for _ in range(4))
    hx = tuple(state.requires_grad_() for state in (h, c, 1 + n.abs(), m))

    def everything(run: Any) -> list[Any]:
        given: Any = x[:, 0] if form == "one row" else x
        if "packed" in form:
            given = pack_padded_sequence(x, torch.tensor([3, 6, 1, 5]), enforce_sorted=False)
        h, final = run(given, None if "without" in form else hx)
        h = h.data if "packed" in form else h
        weight = torch.arange(h.numel(), dtype=dtype).reshape(h.shape).sin()
        loss = (h * weight).sum() + sum((state**2).sum() for state in final[:3])
        return [h, *final, *torch.autograd.grad(loss, [x, *hx[:3], *module.parameters()], allow_unused=True)]

    for ours, theirs in zip(everything(module), everything(lambda *call: in_pytorch(module, *call)), strict=True):
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def flashrnn(x: Any, states: list[Any], Wx: Any, Wh: Any, b: Any) -> list[Any]:
    """The equations of FlashRNN's sLSTM (Pöppel et al., 2024) → h after each step, and the final states."""
    k, K, _ = Wh.shape
    hs = []
    for x_t in x:
        h, c, n, m = states
        of_heads = torch.einsum("nki,kij->nkj", h.reshape(-1, k, K), Wh)  # (N, k, 4K), gates in order within a head
        of_h = of_heads.reshape(-1, k, 4, K).transpose(1, 2).reshape(-1, 4 * k * K)
        i, f, z, o = (x_t @ Wx + of_h + b).chunk(4, dim=1)
        log_f_plus_m = m + torch.nn.functional.logsigmoid(f)
        with torch.no_grad():
            m_next = i if torch.all(n == 0) else torch.maximum(i, log_f_plus_m)
        i, f = torch.exp(i - m_next), torch.exp(log_f_plus_m - m_next)
        c = f * c + i * torch.tanh(z)
        n = (f * n + i).clamp(min=1)  # torch.maximum would give n = 1 half of its gradient
        states = [torch.sigmoid(o) * c / n, c, n, m_next]
        hs.append(states[0])
    return [torch.stack(hs), *states]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("fresh", [True, False])
def test_the_layer_has_the_equations_of_flashrnn(fresh: bool, fused: bool) -> None:
    rng = np.random.default_rng(0)
    T, N, D, H = 25, 3, 5, 12
    layer = xrnn.SLSTM.init(D, H, heads=3, forget_gate="sigmoid", rng=0, dtype="float64", backend="numpy")
    x, dh = rng.standard_normal((T, N, D)), rng.standard_normal((T, N, H))
    states = [np.zeros((N, H)) if fresh else rng.standard_normal((N, H)) for _ in range(4)]
    states[2] = states[2] if fresh else 1 + abs(states[2])
    dc, dn = (rng.standard_normal((N, H)) for _ in range(2))
    everywhere = np.zeros((2, T, N, H))
    everywhere[:, -1] = dc, dn
    with xrnn.use_fused(fused):
        results = layer.forward(x, *states)
        gradients = [*layer.backward(dh, *everywhere), *layer.grads]
    leaves = [torch.tensor(a, requires_grad=True) for a in (x, *states[:3], *layer.params)]
    m = torch.tensor(states[3])
    h, *final = flashrnn(leaves[0], [*leaves[1:4], m], *leaves[4:])
    (
        (h * torch.tensor(dh)).sum() + (final[1] * torch.tensor(dc)).sum() + (final[2] * torch.tensor(dn)).sum()
    ).backward()
    found = [results[0], *(state[-1] for state in results), *gradients]
    expected = [h, *final, *(leaf.grad for leaf in leaves)]
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want.detach().numpy(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("forget_gate", ["exp", "sigmoid"])
def test_it_is_a_layer_and_back(forget_gate: Any) -> None:
    module = xrnn.torch.SLSTM(3, 5, num_layers=2, forget_gate=forget_gate, bidirectional=True)
    layer = xrnn.from_torch(module, backend="numpy")
    x = torch.randn(6, 4, 3)
    with torch.no_grad():
        h = module(x)[0].numpy()
        np.testing.assert_allclose(layer(x.numpy())[0], h, rtol=1e-5, atol=1e-6)
        again = xrnn.to_torch(layer)
        assert type(again) is xrnn.torch.SLSTM
        assert again.forget_gate == forget_gate
        np.testing.assert_array_equal(again(x)[0].numpy(), h)


def test_wrong_calls_are_refused(fallbacks: Any) -> None:
    module, x = xrnn.torch.SLSTM(3, 5), torch.zeros(6, 4, 3)
    state = torch.zeros(1, 4, 5)
    with one_line(TypeError, "hx is 2 states: expected a tuple of 4 tensors, h, c, n, m"):
        module(x, (state, state))
    with one_line(TypeError, "hx is a torch.Tensor: expected a tuple of 4 tensors, h, c, n, m"):
        module(x, state)
    with one_line(ValueError, "hx has the shape (1, 3, 5): expected (1, 4, 5)"):
        module(x, (state, state, state, state[:, :3]))
    with one_line(ValueError, "unknown forget_gate 'tanh': expected one of exp, sigmoid"):
        xrnn.torch.SLSTM(3, 5, forget_gate="tanh")  # type: ignore[arg-type]
    fallbacks.take()


def test_other_calls_run_in_pytorch(fallbacks: Any) -> None:
    module, x = xrnn.torch.SLSTM(2, 3, dtype=torch.float64), torch.randn(3, 2, 2, dtype=torch.float64)
    assert torch.autograd.gradgradcheck(lambda x: module(x)[0], x.requires_grad_())
    assert fallbacks.take()
    module, x = module.float(), x.detach().float()
    with torch.autocast("cpu", torch.bfloat16):
        h, _ = module(x)
    torch.testing.assert_close(h.float(), module(x)[0], rtol=0.05, atol=0.05)
    assert "SLSTM runs in PyTorch: autocast is on" in fallbacks.take()[0]
