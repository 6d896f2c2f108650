"""xrnn.SLSTM has FlashRNN's equations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import xrnn


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
        n = f * n + i
        n = torch.where(n < 1, 1, n)  # n = 1 keeps its gradient, which `clamp` takes away in some versions of PyTorch
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
