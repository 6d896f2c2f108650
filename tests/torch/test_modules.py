"""xrnn.torch.RNN, LSTM and GRU beside PyTorch's own, in every configuration."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import xrnn.torch
from tests.conftest import STANDIN
from tests.torch.conftest import KINDS
from tests.torch.pairs import agree, everything, pair, states_of
from xrnn import get_backend
from xrnn.torch import weights
from xrnn.torch.memory import Host
from xrnn.typing import Array

SIZES = st.integers(1, 4) | st.sampled_from([8, 17])


@given(
    kind=st.sampled_from(KINDS),
    sizes=st.tuples(SIZES, SIZES, SIZES, SIZES),
    layers=st.integers(1, 3),
    flags=st.tuples(*[st.booleans()] * 4),
    relu=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    form=st.sampled_from(["padded", "one row", "packed", "packed, unsorted"]),
)
@settings(max_examples=25)
@example("RNN", (5, 3, 4, 8), 2, (True, True, True, True), True, torch.float64, "packed")
@example("LSTM", (5, 3, 4, 8), 2, (True, True, True, True), False, torch.float64, "packed, unsorted")
@example("GRU", (5, 3, 4, 8), 2, (True, False, True, True), False, torch.float64, "one row")
@example("LSTM", (5, 3, 4, 8), 2, (True, True, True, False), False, torch.float32, "padded")
@example("GRU", (5, 3, 4, 8), 2, (True, False, True, False), False, torch.float64, "packed, unsorted")
def test_results_and_gradients(
    kind: str,
    sizes: tuple[int, ...],
    layers: int,
    flags: tuple[bool, ...],
    relu: bool,
    dtype: torch.dtype,
    form: str,
) -> None:
    T, N, D, H = sizes
    bias, batch_first, bidirectional, with_states = flags
    options: dict[str, Any] = {"nonlinearity": "relu"} if relu and kind == "RNN" else {}
    torch.manual_seed(sum(sizes))
    theirs, ours = pair(
        kind, D, H, layers, bias=bias, batch_first=batch_first, bidirectional=bidirectional, dtype=dtype, **options
    )
    x: Any = torch.randn((N, T, D) if batch_first else (T, N, D), dtype=dtype)
    hx = states_of(theirs, None if form == "one row" else N) if with_states else None
    if form == "one row":  # without a batch axis
        x = x[0] if batch_first else x[:, 0]
    if "packed" in form:
        lengths = [1 + 3 * row % T for row in range(N)]
        lengths = lengths if "unsorted" in form else sorted(lengths, reverse=True)
        x = pack_padded_sequence(x, lengths, batch_first, enforce_sorted="unsorted" not in form)
    agree(everything(ours, x, hx), everything(theirs, x, hx))
    with torch.inference_mode():  # no graph, and nothing kept
        got = ours(x, hx)[0]
        want = theirs(x, hx)[0]
    if "packed" in form:
        assert all(a is None if b is None else torch.equal(a, b) for a, b in zip(got[1:], want[1:], strict=True))
        got = got.data
        want = want.data
    agree([got], [want])


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("sort", [True, False])
def test_packed_rows_of_equal_lengths_run_without_lengths(
    kind: str, rows: int, sort: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernels take longer with lengths. Packed, such rows lie in memory as padded ones: nothing is copied."""
    theirs, ours = pair(kind, 3, 4, 2, bidirectional=True, dtype=torch.float64)
    x = pack_padded_sequence(torch.randn(5, rows, 3, dtype=torch.float64), [5] * rows, enforce_sorted=sort)
    hx = states_of(theirs, rows)
    given = list[Any]()
    forward = get_backend("numpy").recurrence_forward

    def noting(cell: Any, inputs: Any, training: bool) -> Any:
        given.append(inputs)
        return forward(cell, inputs, training)

    monkeypatch.setattr(get_backend("numpy"), "recurrence_forward", noting)
    agree(everything(ours, x, hx), everything(theirs, x, hx))
    assert len(given) == 4
    assert all(inputs.lengths is None for inputs in given)
    with torch.no_grad():
        h, _ = ours(x)
    agree([h.data], [theirs(x)[0].data.detach()])
    assert given[4].x.ctypes.data == x.data.data_ptr()
    assert torch.equal(h.batch_sizes, x.batch_sizes)


def test_dropout_between_the_layers(kind: str) -> None:
    """None in evaluation; in training drawn by PyTorch's generator, with the same distribution."""
    torch.manual_seed(0)
    theirs, ours = pair(kind, 3, 4, 2, dropout=0.25)
    x = torch.randn(20, 100, 3)
    ours.eval(), theirs.eval()
    agree(everything(ours, x), everything(theirs, x))
    ours.train(), theirs.train()
    h_ours = ours(x)[0].detach()
    h_theirs = theirs(x)[0].detach()
    assert not torch.equal(ours(x)[0], h_ours)
    # Of 2,000 draws for each unit, the means and standard deviations agree to a few standard errors.
    assert float((h_ours.mean((0, 1)) - h_theirs.mean((0, 1))).abs().max()) < 0.03
    assert float((h_ours.std((0, 1)) - h_theirs.std((0, 1))).abs().max()) < 0.03
    torch.manual_seed(1)
    first = ours(x)[0]
    torch.manual_seed(1)  # PyTorch's generator decides
    assert torch.equal(ours(x)[0], first)


def test_all_dropped(kind: str) -> None:
    theirs, ours = pair(kind, 3, 4, 2, dropout=1.0)
    x = torch.randn(4, 2, 3)
    agree([ours(x)[0]], [theirs(x)[0]])


def _without_the_last_units(module: Any) -> None:
    """As after structured pruning: views at the address of the complete weights, with their strides."""
    module.hidden_size = 2
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        weight = module.get_parameter(name)
        weight.data = weight.data[:2, :2] if "hh" in name and weight.dim() == 2 else weight.data[:2]


def test_weights_of_every_layout_and_any_change_of_them_show() -> None:
    theirs, ours = pair("RNN", 4, 4, dtype=torch.float64)
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    changes: list[Any] = [
        lambda m: m.weight_hh_l0.data.mul_(0.5),  # of which PyTorch counts no version
        lambda m: m.bias_hh_l0.data.add_(1),
        lambda m: m.weight_ih_l0.detach().numpy().__imul__(0.3),
        lambda m: setattr(m.weight_hh_l0, "data", m.weight_hh_l0.data.t()),  # the same address, other strides
        lambda m: setattr(m, "weight_hh_l0", nn.Parameter(m.weight_hh_l0.detach() * 2)),
        lambda m: m.load_state_dict({name: value * 0.9 for name, value in m.state_dict().items()}),
        lambda m: m.to(torch.float32).to(torch.float64),
        lambda m: setattr(m, "mode", "RNN_RELU"),
        _without_the_last_units,
    ]
    for change in changes:
        change(theirs), change(ours)
        agree(everything(ours, x), everything(theirs, x))
    swapped = {"weight_hh_l0": torch.ones(2, 2, dtype=torch.float64)}
    got, want = (torch.func.functional_call(m, swapped, (x,))[0] for m in (ours, theirs))
    agree([got, ours(x)[0]], [want, theirs(x)[0]])


def test_the_weights_are_wrapped_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls, backward passes and updates of the values keep the arrays that view the weights."""
    module = getattr(xrnn.torch, kind)(3, 4, 2)
    x = torch.randn(5, 2, 3)
    optimizer = torch.optim.SGD(module.parameters())
    wrap = Host.weight
    wrapped = []

    def weight(self: Host, tensor: torch.Tensor) -> Any:
        wrapped.append(tensor)
        return wrap(self, tensor)

    monkeypatch.setattr(Host, "weight", weight)
    for _ in range(2):
        module(x)[0].sum().backward()
        optimizer.step()
    assert len(wrapped) == len(list(module.parameters()))


class Standin:
    """CuPy's backend on the stand-in. In place of a GPU's memory, tensors are copied to its arrays and back."""

    backend = STANDIN

    def array(self, tensor: torch.Tensor) -> Array:
        return STANDIN.asarray(tensor.detach().numpy())

    weight = array

    def tensor(self, array: Array) -> torch.Tensor:
        return torch.from_numpy(np.array(STANDIN.to_numpy(array)))

    def entered(self) -> AbstractContextManager[object]:
        return nullcontext()


@pytest.mark.parametrize("packed", [False, True])
def test_results_and_gradients_on_the_standin(kind: str, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "memory_of", lambda device: Standin())
    theirs, ours = pair(kind, 3, 4, 2, bidirectional=True, dtype=torch.float64)
    x: Any = torch.randn(5, 2, 3, dtype=torch.float64)
    if packed:
        x = pack_padded_sequence(x, [5, 2])
    hx = states_of(theirs, 2)
    agree(everything(ours, x, hx), everything(theirs, x, hx))
    with torch.no_grad():
        agree([ours(x, hx)[1][0]], [theirs(x, hx)[1][0]])
