"""xrnn.torch's modules that PyTorch does not have: the kernels agree with PyTorch's operations, and with the layers."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

import xrnn
import xrnn.torch
from tests.combinations import thin
from tests.errors import one_line, refused
from tests.torch.pairs import agree, everything, states_of
from xrnn.exchange.torch_weights import CELLS
from xrnn.ops.cells.lru import LEAST_NU
from xrnn.torch.not_in_pytorch import in_pytorch

D, H = 3, 6
KINDS: dict[str, Callable[..., Any]] = {
    "min_gru": xrnn.torch.MinGRU,
    "min_gru positive": partial(xrnn.torch.MinGRU, candidate="positive"),
    "min_lstm": xrnn.torch.MinLSTM,
    "min_lstm positive": partial(xrnn.torch.MinLSTM, candidate="positive"),
    "slstm": xrnn.torch.SLSTM,
    "slstm sigmoid": partial(xrnn.torch.SLSTM, forget_gate="sigmoid"),
    "slstm heads": partial(xrnn.torch.SLSTM, heads=3),
    "lru": partial(xrnn.torch.LRU, r_min=0.5),
}
FORMS = ["padded", "one row", "packed", "packed, without states"]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False, "dtype": torch.float64},
    {"batch_first": True},
    {"bidirectional": True, "num_layers": 2, "dtype": torch.float64},
]


@pytest.mark.parametrize(("kind", "form", "options"), thin(list(KINDS), FORMS, OPTIONS, every=3))
def test_kernels_agree_with_pytorch(kind: str, form: str, options: dict[str, Any]) -> None:
    module = KINDS[kind](D, H, **options)
    if kind == "lru":
        with torch.no_grad():
            module.nu_l0[:3] = LEAST_NU - 1  # beyond its bound
    x: Any = torch.randn((7, 4, D), dtype=module.weight_ih_l0.dtype)
    states = states_of(module, None if form == "one row" else 7 if module.batch_first and form == "padded" else 4)
    hx = None if "without" in form else states
    if form == "one row":
        x = x[:, 0]
    if "packed" in form:
        x = pack_padded_sequence(x, torch.tensor([3, 7, 1, 5]), enforce_sorted=False)
    theirs = everything(module, x, hx, partial(in_pytorch, module))
    # Near |λ| = 1 the gradients of an LRU's ν and γ lose digits (docs/mathematics/lru.md).
    agree(everything(module, x, hx), theirs, factor=10 if kind == "lru" else 1)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_layer_and_back(kind: str) -> None:
    module = KINDS[kind](D, H, num_layers=2, bidirectional=True)
    layer = xrnn.from_torch(module, backend="numpy")
    x = torch.randn(6, 4, D)
    with torch.no_grad():
        h = module(x)[0].numpy()
        np.testing.assert_allclose(layer(x.numpy())[0], h, rtol=1e-5, atol=1e-6)
        again = xrnn.to_torch(layer)
        assert type(again) is type(module)
        assert again.mode == module.mode
        for other in (again, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            np.testing.assert_array_equal(other(x)[0].numpy(), h)


def test_heads_that_differ_make_no_module() -> None:
    first, second = (xrnn.SLSTM.init(4, 4, heads=heads, rng=0, backend="numpy") for heads in (2, None))
    with one_line(ValueError, "(SLSTM, 4 units, directions: 1; first SLSTM, 4 units, directions: 1, heads: 2)"):
        xrnn.to_torch(xrnn.Stack([first, second]))


def test_initial_values_and_options() -> None:
    torch.manual_seed(0)
    module = xrnn.torch.LRU(5, 400, num_layers=2, r_min=0.9, r_max=0.999)
    state = module.state_dict()
    for layer in range(2):
        modulus = torch.exp(-torch.exp(state[f"nu_l{layer}"]))
        assert 0.89 < modulus.min() < 0.91
        assert 0.99 < modulus.max() < 1
        assert 0.95 < state[f"weight_ih_l{layer}"].var() * 2 * (5, 800)[layer] < 1.1
    assert not state["bias_ih_l0"].any()
    assert not torch.equal(state["nu_l0"], state["nu_l1"])
    assert str(module) == "LRU(5, 400, num_layers=2, r_min=0.9, r_max=0.999)"
    assert str(xrnn.torch.SLSTM(2, 4, 1, False, heads=2)) == "SLSTM(2, 4, bias=False, heads=2)"
    assert str(xrnn.torch.MinGRU(2, 4)) == "MinGRU(2, 4)"
    before = torch.random.get_rng_state()
    xrnn.torch.LRU(2, 4, device="meta")
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("kind", KINDS)
def test_other_calls_run_in_pytorch(kind: str, fallbacks: Any) -> None:
    module = KINDS[kind](2, 3, dtype=torch.float64)
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: module(x)[0], x)
    assert fallbacks.take()
    module = module.float()
    x = x.detach().float()
    with torch.autocast("cpu", torch.float16):
        h, _ = module(x)
    torch.testing.assert_close(h.float(), module(x)[0], rtol=0.05, atol=0.05)
    (reason,) = fallbacks.take()
    assert f"{type(module).__name__} runs in PyTorch: autocast is on" in reason


def test_wrong_calls_are_refused(fallbacks: Any) -> None:
    """As PyTorch's own modules refuse them."""
    gru = xrnn.torch.MinGRU(3, 6)
    slstm = xrnn.torch.SLSTM(3, 5)
    batch_first = xrnn.torch.MinGRU(3, 5, num_layers=2, bidirectional=True, batch_first=True)
    packed = pack_padded_sequence(torch.zeros(2, 6, 3), torch.tensor([3, 6]), batch_first=True, enforce_sorted=False)
    x, state = torch.zeros(6, 4, 3), torch.zeros(1, 4, 5)
    steps, four = "expected (time, batch, 3), or (time, 3), with at least one step", "a tuple of 4 tensors, h, c, n, m"
    refused(
        (ValueError, lambda: gru(torch.zeros(6, 4, 2)), "the input has the shape (6, 4, 2)", steps),
        (ValueError, lambda: gru(torch.zeros(3)), "the input has the shape (3,)"),
        (ValueError, lambda: gru(torch.zeros(0, 4, 3)), "the input has the shape (0, 4, 3)"),
        (ValueError, lambda: gru(torch.zeros(0, 3)), "the input has the shape (0, 3)"),
        (ValueError, lambda: gru(x, torch.zeros(1, 1, 6)), "hx has the shape (1, 1, 6): expected (1, 4, 6)"),
        (ValueError, lambda: gru(x, torch.zeros(3, 4, 6)), "hx has the shape (3, 4, 6): expected (1, 4, 6)"),
        (ValueError, lambda: gru(x, torch.zeros(4, 6)), "hx has the shape (4, 6): expected (1, 4, 6)"),
        (ValueError, lambda: gru(x[:, 0], torch.zeros(1, 1, 6)), "hx has the shape (1, 1, 6): expected (1, 6)"),
        (TypeError, lambda: gru(x, (torch.zeros(1, 4, 6),) * 2), "hx is a tuple: expected a tensor"),
        (TypeError, lambda: gru(x, torch.zeros(1, 4, 6).double()), "hx is torch.float64, the input torch.float32"),
        (ValueError, lambda: xrnn.torch.LRU(3, 3)(x, torch.zeros(1, 4, 3)), "expected (1, 4, 6)"),
        (TypeError, lambda: slstm(x, (state, state)), "hx is 2 states", four),
        (TypeError, lambda: slstm(x, state), "hx is a torch.Tensor", four),
        (ValueError, lambda: slstm(x, (state, state, state, state[:, :3])), "hx has the shape (1, 3, 5)"),
        (ValueError, lambda: batch_first(torch.zeros(4, 0, 3)), "(4, 0, 3): expected (batch, time, 3), or (time, 3)"),
        (ValueError, lambda: batch_first(x[:2], torch.zeros(4, 6, 5)), "(4, 6, 5): expected (4, 2, 5)"),
        (ValueError, lambda: batch_first(packed, torch.zeros(4, 1, 5)), "(4, 1, 5): expected (4, 2, 5)"),
    )
    fallbacks.take()


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("kind", [xrnn.torch.MinLSTM, xrnn.torch.LRU])
def test_tools_for_parameters(kind: Any, autocast: bool, fallbacks: Any) -> None:
    """All parameters have elements and gradients, on the kernels and in PyTorch's operations."""
    module = kind(3, 5)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = module(torch.randn(6, 4, 3))[0].float().sum()
    first = torch.autograd.grad(loss, list(module.parameters()), create_graph=True)
    sum((g**2).sum() for g in first).backward()
    largest = max(float(p.grad.abs().max()) for p in module.parameters())
    assert float(torch.nn.utils.clip_grad_norm_(module.parameters(), 1, norm_type=torch.inf)) == largest > 0
    own = {f"{name}_l0" for name in CELLS[module.mode].params}
    assert set(module.double().state_dict()) == set(torch.nn.GRU(3, 5).state_dict()) | own
    assert {each.dtype for each in module.state_dict().values()} == {torch.float64}
    fallbacks.take()


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_wrong_arguments_are_refused() -> None:
    gru, slstm, lru = xrnn.torch.MinGRU, xrnn.torch.SLSTM, xrnn.torch.LRU
    script = "torch.jit.script got an xrnn.torch.MinLSTM: expected a module that PyTorch has too"
    refused(
        (ValueError, lambda: gru(3, 5, candidate="log"), "unknown candidate 'log'"),  # type: ignore[arg-type]
        (ValueError, lambda: slstm(3, 5, forget_gate="tanh"), "unknown forget_gate 'tanh'"),  # type: ignore[arg-type]
        (ValueError, lambda: slstm(3, 5, heads=2), "heads is 2 and hidden_size is 5: expected heads that divide"),
        (ValueError, lambda: lru(3, 4, r_max=2), "r_max is 2.0: expected a number in (0, 1]"),
        (RuntimeError, lambda: torch.jit.script(xrnn.torch.MinLSTM(3, 5)), script),
    )
