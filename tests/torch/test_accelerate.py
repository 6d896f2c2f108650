"""accelerate, explain and restore of an existing model; copies and threads of modules on the kernels."""

from __future__ import annotations

import copy
import functools
import gc
import io
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import xrnn.torch
from tests.errors import one_line
from tests.torch.conftest import Fallbacks
from tests.torch.pairs import accelerated, agree, everything, pair, without_bfloat16
from xrnn import use_fused, use_precision
from xrnn.torch.weights import WRAPPED

# ---- accelerate, explain, restore ----


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 4)
        self.layers = nn.ModuleList([nn.LSTM(4, 5, batch_first=True), nn.GRU(5, 6, batch_first=True)])
        self.last = nn.Sequential(nn.ReLU(), nn.Linear(6, 2))
        self.same = self.layers[1]  # a module with two names

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        for layer in self.layers:
            x, _ = layer(x)
        return self.last(x)


def test_an_accelerated_model_is_otherwise_unchanged() -> None:
    torch.manual_seed(0)
    model = Tagger().eval()
    tokens = torch.randint(11, (3, 7))
    calls: list[str] = []
    model.layers[0].register_forward_hook(lambda *_: calls.append("forward"))
    model.layers[1].register_full_backward_hook(lambda *_: calls.append("backward"))
    before = model(tokens)
    modules = list(model.modules())
    parameters = list(model.parameters())
    text = repr(model)
    calls.clear()

    on_kernels = {"layers.0": "kernels", "layers.1": "kernels"}
    assert xrnn.torch.accelerate(model) == on_kernels

    assert all(a is b for a, b in zip(model.modules(), modules, strict=True))
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert model.same is model.layers[1]
    assert type(model.same) is nn.GRU
    assert not model.layers[0].training
    assert repr(model) == text
    after = model(tokens)
    agree([after], [before])
    after.sum().backward()
    assert calls == ["forward", "backward"]
    assert xrnn.torch.accelerate(model) == xrnn.torch.explain(model) == on_kernels  # nothing is left to do


class Own(nn.LSTM):
    def forward(self, *arguments: Any) -> Any:
        return super().forward(*arguments)


def test_subclasses_and_unsupported_modules_are_unchanged() -> None:
    patched = nn.GRU(3, 4)
    patched.forward = lambda x: x
    model = nn.ModuleList([Own(3, 4), nn.LSTM(3, 4, proj_size=2), nn.LSTMCell(3, 4), patched, nn.RNN(3, 4)])
    assert xrnn.torch.accelerate(model) == {
        "0": "PyTorch: its type is tests.torch.test_accelerate.Own, not torch.nn.RNN, LSTM, GRU or one of their cells",
        "1": "PyTorch: it has proj_size=2",
        "2": "PyTorch: a single step is as fast there; accelerate(model, int8=True) runs it on the kernels",
        "3": "PyTorch: its forward was replaced",
        "4": "kernels",
    }
    assert xrnn.torch.restore(model) == ["4"]
    assert patched.forward(1) == 1


def test_a_forward_replaced_on_the_class_runs(monkeypatch: pytest.MonkeyPatch, fallbacks: Fallbacks) -> None:
    x = torch.randn(5, 2, 3)
    before = accelerated("GRU", 3, 4)
    given = xrnn.torch.GRU(3, 4)
    original = nn.GRU.forward

    @functools.wraps(original)  # it has the name and the module of the original
    def negated(self: Any, *arguments: Any) -> Any:
        return -original(self, *arguments)[0], None

    want = [-before(x)[0], -given(x)[0]]
    monkeypatch.setattr(nn.GRU, "forward", negated)
    assert xrnn.torch.accelerate(nn.GRU(3, 4)) == {"": "PyTorch: its forward was replaced"}
    agree([before(x)[0], given(x)[0]], want)
    assert fallbacks.take() == ["GRU runs in PyTorch: its forward was replaced"] * 2


def test_explain_gives_the_reason() -> None:
    meta = "PyTorch: xrnn has no backend for the device meta"
    models: list[tuple[nn.Module, str]] = [
        (nn.GRU(3, 4), "PyTorch: call xrnn.torch.accelerate(model) first"),
        (xrnn.torch.GRU(3, 4), "kernels"),
        (accelerated("GRU", 3, 4).half(), "PyTorch: no kernel computes in torch.float16"),
        (accelerated("GRU", 3, 4).to("meta"), meta),
        (xrnn.torch.LRU(3, 4), "kernels"),
        (xrnn.torch.LRU(3, 4).half(), "PyTorch: no kernel computes in torch.float16"),
        (xrnn.torch.LRU(3, 4).to("meta"), meta),
        (xrnn.torch.LSTM(3, 4, proj_size=2), "PyTorch: it has proj_size=2"),
    ]
    for model, says in models:
        assert xrnn.torch.explain(model) == {"": says}
    modules = accelerated("GRU", 3, 4), xrnn.torch.LRU(3, 4)
    for module in modules:
        with torch.autocast("cpu", torch.bfloat16):
            assert xrnn.torch.explain(module) == {"": "kernels" + without_bfloat16()}
        with torch.autocast("cpu", torch.float16):
            (says,) = xrnn.torch.explain(module).values()
            assert says.startswith("PyTorch: autocast is on, to another dtype than bfloat16")
    with use_fused(False):
        assert xrnn.torch.accelerate(modules[0]) == {"": "xrnn's plain form: XRNN_FUSED=0 or use_fused(False)"}
    assert xrnn.torch.explain(nn.Linear(3, 4)) == {}
    assert xrnn.torch.accelerate(nn.LSTM(3, 4).half()) == {"": "PyTorch: no kernel computes in torch.float16"}


def test_the_precision_applies_to_accelerated_modules() -> None:
    module = accelerated("GRU", 3, 4)
    x = torch.randn(5, 2, 3)
    with use_fused(False), use_precision("bfloat16"):
        rounded = module(x)[0]
    assert 1e-4 < (rounded - module(x)[0]).abs().max() < 0.1


def test_restore_undoes_accelerate(kind: str) -> None:
    theirs, _ = pair(kind, 3, 4)
    attributes = set(vars(theirs))
    ours = nn.Sequential(copy.deepcopy(theirs))
    x = torch.randn(5, 2, 3)
    xrnn.torch.accelerate(ours)
    ours(x)
    assert xrnn.torch.restore(ours) == ["0"]
    assert set(vars(ours[0])) == attributes
    assert torch.equal(ours(x)[0], theirs(x)[0])
    assert xrnn.torch.restore(ours) == []
    assert xrnn.torch.accelerate(ours) == {"0": "kernels"}


def test_parametrisations_are_kept(kind: str) -> None:
    torch.manual_seed(0)
    theirs, _ = pair(kind, 3, 4)
    parametrizations.weight_norm(theirs, "weight_hh_l0")
    ours = copy.deepcopy(theirs)
    assert xrnn.torch.accelerate(ours) == {"": "kernels"}
    assert parametrize.is_parametrized(ours, "weight_hh_l0")
    x = torch.randn(5, 2, 3)
    agree(everything(ours, x), everything(theirs, x))
    parametrize.remove_parametrizations(ours, "weight_hh_l0")
    assert type(ours) is getattr(nn, kind)
    agree([ours(x)[0]], [theirs(x)[0]])


def test_a_module_is_freed_as_soon_as_it_is_deleted() -> None:
    module = accelerated("GRU", 3, 4)
    module(torch.randn(5, 2, 3))
    forward = module.forward
    weight = weakref.ref(module.weight_hh_l0)
    gc.disable()
    try:
        del module
        assert weight() is None
    finally:
        gc.enable()
    with one_line(ReferenceError, "the module of this method was deleted", "keep a reference to the module"):
        forward(torch.randn(5, 2, 3))


@pytest.mark.parametrize("function", [xrnn.torch.accelerate, xrnn.torch.restore, xrnn.torch.explain])
def test_other_objects_than_modules_are_refused(function: Callable[[Any], object]) -> None:
    with one_line(TypeError, "model is a Tensor", "expected a torch.nn.Module", "pass the model"):
        function(torch.ones(3))


# ---- copies ----


def given(kind: str, *sizes: int) -> Any:
    return getattr(xrnn.torch, kind)(*sizes)


@pytest.mark.parametrize("make", [given, accelerated])
def test_a_copy_has_weights_of_its_own(kind: str, make: Any) -> None:
    ours = make(kind, 3, 4)
    x = torch.randn(5, 2, 3)
    before = ours(x)[0]
    for other in (copy.deepcopy(ours), through_a_file(ours)):
        assert type(other) is type(ours)
        assert xrnn.torch.explain(other) == {"": "kernels"}
        agree([other(x)[0]], [before])
        assert vars(other)[WRAPPED] is not vars(ours)[WRAPPED]
        with torch.no_grad():
            other.weight_hh_l0.zero_()
        agree([ours(x)[0]], [before])
        assert not torch.equal(other(x)[0], before)


def test_a_copy_has_no_wrapped_weights(kind: str) -> None:
    """A weight of the copy may later get the address of one of the original, with other values."""
    parametrised = accelerated(kind, 3, 4)
    parametrizations.orthogonal(parametrised, "weight_hh_l0")  # with a deepcopy of its own
    for module in (parametrised, given(kind, 3, 4)):
        module(torch.ones(2, 1, 3))
        assert vars(module)[WRAPPED] is not None
        other = copy.deepcopy(module)
        assert vars(other)[WRAPPED] is None
        other(torch.ones(2, 1, 3))
        assert vars(other)[WRAPPED] is not None


def test_a_shallow_copy_has_attributes_of_its_own(kind: str) -> None:
    """It shares the Parameters, and outlives the original."""
    ours = accelerated(kind, 3, 4)
    x = torch.randn(5, 2, 3)
    want = ours(x)[0]
    other = copy.copy(ours)
    other.batch_first = True
    del ours
    agree([other(x.transpose(0, 1))[0].transpose(0, 1)], [want])
    assert vars(other)[WRAPPED] is not None


class Doubled:
    """Wraps a module's forward, as hooks of other libraries do."""

    def __init__(self, forward: Any) -> None:
        self.forward = forward

    def __call__(self, *arguments: Any) -> Any:
        return 2 * self.forward(*arguments)[0]


def test_a_copy_keeps_a_forward_that_was_set_after_accelerate(kind: str) -> None:
    ours = accelerated(kind, 3, 4)
    x = torch.randn(5, 2, 3)
    ours.forward = Doubled(ours.forward)
    want = ours(x)
    for other in (copy.deepcopy(ours), through_a_file(ours)):
        agree([other(x)], [want])
        with torch.no_grad():
            other.weight_hh_l0.zero_()
        agree([ours(x)], [want])
        assert not torch.equal(other(x), want)
    assert xrnn.torch.accelerate(ours) == {"": "PyTorch: its forward was replaced"}
    assert xrnn.torch.restore(ours) == []


def test_attributes_copied_by_hand_are_not_the_copys_own(kind: str) -> None:
    ours = accelerated(kind, 3, 4)
    other = getattr(torch.nn, kind)(3, 4)
    vars(other).update(vars(ours))
    assert xrnn.torch.accelerate(other) == {"": "PyTorch: its forward was replaced"}


def through_a_file(module: Any) -> Any:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("make", [given, accelerated])
def test_replicas_in_threads(kind: str, make: Any) -> None:
    """As nn.DataParallel makes them: copies of the module whose weights are not Parameters, each in a thread."""
    theirs, _ = pair(kind, 3, 4)
    ours = make(kind, 3, 4)
    x = torch.randn(5, 2, 3)
    replicas = list[Any]()
    ours(x)
    for k in range(3):
        replica = ours._replicate_for_data_parallel()
        for name, parameter in ours.named_parameters():
            setattr(replica, name, parameter.detach() * (k + 1))
        replicas.append(replica)
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda replica: replica(x)[0], replicas))
    for k, result in enumerate(results):
        theirs.load_state_dict({name: value * (k + 1) for name, value in ours.state_dict().items()})
        agree([result], [theirs(x)[0]])
    assert all(vars(replica)[WRAPPED] is not vars(ours)[WRAPPED] for replica in replicas)
