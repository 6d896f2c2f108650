"""nn.RNNCell, LSTMCell and GRUCell with weights of 8 bits on the kernels: one step a call."""

from __future__ import annotations

import copy
import itertools
import pickle
from typing import Any, Final

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import xrnn.torch
from tests.errors import one_line
from tests.torch.conftest import Fallbacks
from xrnn.arrays.select import get_backend
from xrnn.torch.weights import WRAPPED

OPTIONS: Final[list[tuple[str, dict[str, Any]]]] = [
    ("RNNCell", {}),
    ("RNNCell", {"nonlinearity": "relu"}),
    ("LSTMCell", {}),
    ("GRUCell", {}),
]
B16, F32 = torch.bfloat16, torch.float32
ERROR: Final = 0.03  # of weights with 8 bits
LEFT: Final = "PyTorch: a single step is as fast there; accelerate(model, int8=True) runs it on the kernels"

each_cell = pytest.mark.parametrize(
    ("kind", "options"), OPTIONS, ids=lambda value: value if isinstance(value, str) else "-".join(value.values())
)


def pair(kind: str, *sizes: int, **options: Any) -> tuple[Any, Any]:
    """PyTorch's cell, and an accelerated copy."""
    theirs = getattr(nn, kind)(*sizes, **options)
    ours = copy.deepcopy(theirs)
    assert xrnn.torch.accelerate(ours, int8=True) == {"": "kernels, int8"}
    return theirs, ours


def as_tuple(state: Any) -> tuple[torch.Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


def drawn(cell: Any, shape: tuple[int, ...], dtype: torch.dtype) -> Any:
    state = torch.randn(shape).to(dtype)
    return (state, torch.randn(shape).to(dtype)) if isinstance(cell, nn.LSTMCell) else state


def near(got: Any, want: Any) -> None:
    assert type(got) is type(want)
    for one, other in zip(as_tuple(got), as_tuple(want), strict=True):
        assert one.dtype is other.dtype
        assert one.shape == other.shape
        assert float((one - other).detach().abs().max()) < ERROR * max(1.0, float(other.detach().abs().max()))


@each_cell
def test_values(kind: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without biases, states and rows; the kernel of 8 bits runs."""
    ran = list[str]()
    forward = get_backend("numpy").int8_forward

    def noting(cell: Any, inputs: Any) -> Any:
        ran.append(cell.name)
        return forward(cell, inputs)

    monkeypatch.setattr(get_backend("numpy"), "int8_forward", noting)
    for bias, has_state, rows in itertools.product((True, False), (True, False), [(3,), (1,), ()]):
        theirs, ours = pair(kind, 3, 40, bias=bias, **options)
        x = torch.randn(*rows, 3)
        state = drawn(theirs, (*rows, 40), F32) if has_state else None
        with torch.inference_mode():
            near(ours(x, state), theirs(x, state))
    assert len(ran) == 12


def test_without_int8_they_stay_in_pytorch(kind: str) -> None:
    """PyTorch reads the weights of a single step once, as fast as memory allows."""
    cell = getattr(nn, f"{kind}Cell")(3, 5)
    before = set(vars(cell))
    for options in ({}, {"freeze": True}):
        assert xrnn.torch.accelerate(cell, **options) == {"": LEFT}
        assert set(vars(cell)) == before
    xrnn.torch.accelerate(cell, int8=True)
    as_tuple(cell(torch.ones(2, 3)))
    assert xrnn.torch.accelerate(cell) == {"": LEFT}
    as_tuple(cell(torch.ones(2, 3)))[0].sum().backward()  # it trains again
    assert cell.weight_hh.grad is not None
    assert set(vars(cell)) == before


def test_training_is_refused(kind: str) -> None:
    _, ours = pair(f"{kind}Cell", 3, 5)
    with one_line(RuntimeError, "backward of a frozen", "call xrnn.torch.accelerate(model), without freeze and int8"):
        as_tuple(ours(torch.ones(2, 3)))[0].sum().backward()


def test_what_pytorch_does_with_modules_works_with_cells() -> None:
    theirs, ours = pair("LSTMCell", 3, 40)
    x = torch.randn(2, 3)
    calls = list[str]()
    ours.register_forward_hook(lambda *_: calls.append("forward"))
    ours(x)
    assert calls == ["forward"]
    assert [*ours.state_dict()] == [*theirs.state_dict()]
    theirs.load_state_dict({name: value / 2 for name, value in theirs.state_dict().items()})
    ours.load_state_dict(theirs.state_dict())
    near(ours(x), theirs(x))
    for again in (copy.deepcopy(ours), pickle.loads(pickle.dumps(pair("LSTMCell", 3, 5)[1]))):
        assert xrnn.torch.explain(again) == {"": "kernels, int8"}
    for cell in (theirs, ours):
        parametrizations.weight_norm(cell, "weight_hh")
    near(ours(x), theirs(x))
    assert xrnn.torch.restore(ours) == [""]
    assert WRAPPED not in vars(ours)


def test_torch_compile_sees_the_cell_of_pytorch() -> None:
    """A loop over a cell stays one graph."""
    theirs, ours = pair("GRUCell", 3, 5)

    def two_steps(x: torch.Tensor) -> torch.Tensor:
        return ours(x, ours(x))

    x = torch.randn(2, 3)
    near(torch.compile(two_steps, backend="eager", fullgraph=True)(x), theirs(x, theirs(x)))


@each_cell
@pytest.mark.parametrize("weights", [F32, B16])
def test_under_autocast(kind: str, options: dict[str, Any], weights: torch.dtype) -> None:
    """PyTorch's dtypes, and its values to the rounding of 8 bits."""
    for x_dtype, state_dtype in itertools.product((F32, B16), (None, F32, B16)):
        theirs, ours = (cell.to(weights) for cell in pair(kind, 4, 32, **options))
        x = torch.randn(2, 4).to(x_dtype)
        state = None if state_dtype is None else drawn(theirs, (2, 32), state_dtype)
        with torch.inference_mode(), torch.autocast("cpu", B16):
            near(ours(x, state), theirs(x, state))


WRONG: Final[dict[str, Any]] = {
    "input size": lambda cell: cell(torch.ones(2, 4)),
    "dimensions": lambda cell: cell(torch.ones(1, 2, 3)),
    "rows of the state": lambda cell: cell(torch.ones(2, 3), torch.ones(3, 5)),
    "dimensions of the state": lambda cell: cell(torch.ones(3), torch.ones(1, 5)),
    "dtype": lambda cell: cell(torch.ones(2, 3).double()),
}


@pytest.mark.parametrize("wrong", [*WRONG, "nonlinearity"])
def test_a_wrong_call_gets_pytorchs_error(wrong: str, fallbacks: Fallbacks) -> None:
    errors = []
    for cell in pair("RNNCell", 3, 5):
        if wrong == "nonlinearity":
            cell.nonlinearity = "gelu"
        with pytest.raises(Exception) as caught:  # noqa: PT011
            WRONG.get(wrong, lambda cell: cell(torch.ones(2, 3)))(cell)
        errors.append((caught.type, str(caught.value)))
        assert caught.value.__context__ is None
    assert errors[1] == errors[0]
    assert len(fallbacks.take()) == 1


def test_an_empty_batch_runs_in_pytorch(fallbacks: Fallbacks) -> None:
    _, ours = pair("GRUCell", 3, 5)
    assert ours(torch.ones(0, 3)).shape == (0, 5)
    assert fallbacks.take() == ["GRUCell runs in PyTorch: the input is (1, 0, 3)"]
