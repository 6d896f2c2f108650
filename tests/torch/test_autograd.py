"""The node in PyTorch's graph: its gradients, its refusals, and the memory that it shares."""

from __future__ import annotations

import copy
import functools
import itertools
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint

import xrnn.torch
from tests.errors import one_line
from tests.gradient_choices import DWEIGHTS, DX, NEITHER, noted
from tests.torch.conftest import Fallbacks
from tests.torch.pairs import agree, everything, pair, states_of
from xrnn import get_backend


def both(kind: str, *sizes: int, **options: Any) -> tuple[Any, Any, torch.Tensor]:
    """PyTorch's module, the same on the kernels, and an input."""
    return *pair(kind, *(sizes or (3, 4)), dtype=torch.float64, **options), torch.randn(5, 2, 3, dtype=torch.float64)


@pytest.mark.parametrize("needs_dx", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_a_gradient_is_differentiated_again(kind: str, packed: bool, needs_dx: bool, fallbacks: Fallbacks) -> None:
    theirs, ours = pair(kind, 2, 3, 2, bidirectional=True, bias=needs_dx, dtype=torch.float64)
    x = torch.randn(5, 2, 2, dtype=torch.float64, requires_grad=needs_dx)

    def penalty(module: Any) -> list[torch.Tensor]:
        h = module(pack_padded_sequence(x, [5, 3]) if packed else x)[0]
        leaves = [*module.parameters()]
        leaves += [x] if needs_dx else []
        first = torch.autograd.grad((h.data if packed else h).pow(2).sum(), leaves, create_graph=True)
        return [*first, *torch.autograd.grad(sum(g.pow(2).sum() for g in first), leaves)]

    agree(penalty(ours), penalty(theirs))
    reason = f"{ours.mode}: the gradient runs in PyTorch: the gradient will be differentiated again"
    assert fallbacks.take() == [reason] * 4


def test_unsupported_gradients_run_in_pytorch(kind: str, fallbacks: Fallbacks) -> None:
    """Batched gradients, as for a Jacobian; values that are negated when read; zeros without memory."""
    theirs, ours, x = both(kind)
    x.requires_grad_()
    negated = torch.randn(5, 2, 4, dtype=torch.complex128).conj().imag
    for dh, batched, why in [
        (torch.randn(3, 5, 2, 4, dtype=torch.float64), True, "several gradients are computed at once"),
        (negated, False, "the gradient is sparse, or its values in memory are negated"),
        (torch._efficientzerotensor((5, 2, 4), dtype=torch.float64), False, "the gradient is zeros without memory"),
    ]:
        got, want = (
            torch.autograd.grad(m(x)[0], [x, *m.parameters()], dh, is_grads_batched=batched) for m in (ours, theirs)
        )
        agree(list(got), list(want))
        assert not any(g.requires_grad for g in got)
        assert fallbacks.take() == [f"{ours.mode}: the gradient runs in PyTorch: {why}"]
    many = torch.randn(3, 5, 2, 4, dtype=torch.float64)
    got, want = (torch.vmap(functools.partial(torch.autograd.grad, m(x)[0], x))(many) for m in (ours, theirs))
    agree(list(got), list(want))
    assert len(fallbacks.take()) == 1


def test_several_gradients_of_a_packed_input_at_once(fallbacks: Fallbacks) -> None:
    theirs, ours, x = both("LSTM")
    x.requires_grad_()
    dh = torch.randn(3, 7, 4, dtype=torch.float64)
    got, want = (
        torch.autograd.grad(m(pack_padded_sequence(x, [5, 2]))[0].data, x, dh, is_grads_batched=True)
        for m in (ours, theirs)
    )
    agree(list(got), list(want))
    assert len(fallbacks.take()) == 1


def test_gradients_of_some_results_only(kind: str) -> None:
    theirs, ours, x = both(kind)
    for pick in (
        lambda h, final: h.sum(),  # an expanded gradient
        lambda h, final: h[-1].pow(2).sum(),
        lambda h, final: final.pow(2).sum(),  # h has no gradient
        lambda h, final: final.pow(2).sum() + h.mean(),
    ):
        got, want = (_gradients(module, x, pick) for module in (ours, theirs))
        agree(got, want)


def _gradients(module: Any, x: torch.Tensor, pick: Any) -> list[torch.Tensor]:
    h, final = module(x)
    return list(torch.autograd.grad(pick(h, final[-1] if isinstance(final, tuple) else final), [*module.parameters()]))


def test_unneeded_gradients_are_not_computed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of x, of the states, or of the weights; a frozen direction has no backward pass at all."""
    theirs, ours, x = both(kind, 3, 4, 2, bidirectional=True)
    hx = states_of(theirs, 2)
    asked = noted(monkeypatch, get_backend("numpy"))
    every: list[tuple[bool, bool, tuple[str, ...]]] = [*itertools.product((False, True), (False, True), ((), ("",)))]
    for of_x, of_states, names in (*every, (False, False, ("l1",)), (False, False, ("l1_reverse",))):
        found = []
        for module in (theirs, ours):
            given, initial = copy.deepcopy((x, hx))
            states = list(initial) if isinstance(initial, tuple) else [initial]
            for tensor, needed in ((given, of_x), *((state, of_states) for state in states)):
                tensor.requires_grad_(needed)
            for name, weight in module.named_parameters():
                weight.requires_grad_(name.endswith(names)).grad = None
            h, _ = module(given, initial)
            if h.requires_grad:
                h.pow(2).sum().backward()
            found.append([each.grad for each in (given, *states, *module.parameters())])
        assert [g is None for g in found[1]] == [g is None for g in found[0]]
        agree(*([g for g in grads if g is not None] for grads in found[::-1]))
        # Both directions of the second layer, whose input is the first one's result, then of the first.
        of_first = (DX if of_x else NEITHER) | (DWEIGHTS if names else NEITHER)
        expected = [DX | of_first, DX | of_first, of_first, of_first]
        if (of_x, of_states, names) not in every:
            expected = [DWEIGHTS]
        assert asked == (expected if of_x or of_states or names else [])
        asked.clear()


def test_gradients_accumulate_and_do_not_share_memory(kind: str) -> None:
    """Clipping changes gradients in place: of one bias, it must not change that of the other."""
    theirs, ours = pair(kind, 3, 4)
    x = torch.randn(5, 2, 3)
    for module in (theirs, ours):
        for _ in range(2):
            module(x)[0].pow(2).sum().backward()
        nn.utils.clip_grad_norm_(module.parameters(), 0.5)
    agree([p.grad for p in ours.parameters()], [p.grad for p in theirs.parameters()])
    for p in ours.parameters():
        assert p.grad is not None
        assert p.grad.stride() == p.stride()


@pytest.mark.parametrize("rows", [1, 3])
def test_pytorch_takes_the_gradients_without_a_copy(kind: str, rows: int) -> None:
    """PyTorch copies a gradient whose strides are not those of its tensor, large ones on its own threads."""
    module = getattr(xrnn.torch, kind)(3, 4)
    x = torch.randn(5, rows, 3)
    hx = states_of(module, rows)
    leaves = [x, *(hx if isinstance(hx, tuple) else [hx]), *module.parameters()]
    addresses: dict[int, int] = {}
    for k, leaf in enumerate(leaves):
        leaf.requires_grad_().register_hook(lambda g, k=k: addresses.__setitem__(k, g.data_ptr()))
    module(x, hx)[0].sum().backward()
    assert addresses == {k: leaf.grad.data_ptr() for k, leaf in enumerate(leaves)}


@pytest.mark.parametrize("what", ["x", "weight_ih_l0", "weight_hh_l0", "h"])
def test_changes_in_place_since_the_forward_are_refused(kind: str, what: str) -> None:
    module = getattr(xrnn.torch, kind)(3, 4)
    x = torch.randn(5, 2, 3)
    h, _ = module(x)
    with torch.no_grad():
        {"x": x, "h": h}.get(what, getattr(module, what, h)).mul_(0.5)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        h.sum().backward()


def test_the_results_share_no_memory(kind: str) -> None:
    """A change of the final states changes neither h nor the gradients."""
    theirs, ours, x = both(kind)
    grads = []
    for module in (theirs, ours):
        h, final = module(x)
        before = h.detach().clone()
        with torch.no_grad():
            for state in final if isinstance(final, tuple) else (final,):
                state.zero_()
        assert torch.equal(h, before)
        grads.append(torch.autograd.grad(h.pow(2).sum(), list(module.parameters())))
    agree(list(grads[1]), list(grads[0]))


def test_checkpointing_retained_graphs_and_hooks_on_saved_tensors(kind: str) -> None:
    theirs, ours, x = both(kind, 3, 4, bidirectional=True)
    x.requires_grad_()
    want = torch.autograd.grad(theirs(x)[0].pow(2).sum(), [x, *theirs.parameters()])
    h = checkpoint(lambda x: ours(x)[0], x, use_reentrant=False)
    agree(list(torch.autograd.grad(h.pow(2).sum(), [x, *ours.parameters()])), list(want))
    loss = ours(x)[0].pow(2).sum()
    for _ in range(2):
        agree(list(torch.autograd.grad(loss, [x, *ours.parameters()], retain_graph=True)), list(want))
    kept: list[torch.Size] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.shape)
        return tensor.clone()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        h = ours(x)[0]
    assert torch.Size([6, 2, 4]) in kept  # the states, (T+1, N, H)
    loss = h.pow(2).sum()
    with torch.no_grad():  # the copies, such as those of `save_on_cpu`, do not change with the weights
        for p in ours.parameters():
            p.mul_(2)
    agree(list(torch.autograd.grad(loss, [x, *ours.parameters()])), list(want))


@pytest.mark.parametrize("again", [False, True])
def test_backward_reads_the_values_of_the_forward(kind: str, again: bool, fallbacks: Fallbacks) -> None:
    """`leaf.data = …` gives a leaf new storage. PyTorch does not detect it, because the old storage is unchanged."""
    theirs, ours, values = both(kind)

    def grads(module: Any, change: bool) -> list[torch.Tensor]:
        x = values.clone().requires_grad_()
        leaves = [x, *module.parameters()]
        loss = module(x)[0].pow(2).sum()
        if change:
            for leaf in leaves:
                leaf.data = leaf.data * 2
        first = torch.autograd.grad(loss, leaves, create_graph=again)
        return [*first, *torch.autograd.grad(sum(g.pow(2).sum() for g in first), leaves)] if again else list(first)

    want = grads(theirs, change=False)
    agree(grads(ours, change=False), want)
    agree(grads(ours, change=True), want)
    assert len(fallbacks.take()) == (2 if again else 0)


def test_too_little_memory_is_a_runtime_error_as_in_pytorch(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that retry with a smaller batch catch RuntimeError and search for PyTorch's words."""
    module = getattr(xrnn.torch, kind)(3, 4)
    x = torch.randn(5, 2, 3)
    h = module(x)[0].sum()

    def full(*arguments: Any) -> Any:
        raise MemoryError("Unable to allocate 8 EiB")

    for name in ("recurrence_forward", "recurrence_backward"):
        monkeypatch.setattr(get_backend("numpy"), name, full)
    words = ("DefaultCPUAllocator: can't allocate memory for", "Unable to allocate 8 EiB", "use a smaller batch")
    with one_line(RuntimeError, *words):
        module(x)
    with torch.no_grad(), one_line(RuntimeError, *words):
        module(x)
    with one_line(RuntimeError, *words):
        h.backward()


def test_inputs_of_any_layout() -> None:
    theirs, ours = pair("GRU", 3, 4, dtype=torch.float64)
    wide = torch.randn(5, 2, 6, dtype=torch.float64)
    for x in (wide[..., ::2], wide[:, :1, :3].expand(5, 4, 3), wide[..., :3].transpose(0, 1), wide[..., :3].flip(0)):
        agree(everything(ours, x), everything(theirs, x))
