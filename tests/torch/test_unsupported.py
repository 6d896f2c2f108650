"""Unsupported calls run in PyTorch, with its results and its errors, and the log gives the reason."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.flop_counter import FlopCounterMode

import xrnn.torch
from tests.torch.conftest import Fallbacks
from tests.torch.pairs import accelerated, pair

X = torch.linspace(-1, 1, 5 * 2 * 3).reshape(5, 2, 3)


def autocast(module: Any) -> Any:
    with torch.autocast("cpu", torch.float16):
        return module(X)[0]


def counted(module: Any) -> Any:
    with FlopCounterMode(display=False):
        return module(X)[0]


def dual(module: Any) -> Any:
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(module(forward_ad.make_dual(X, torch.ones_like(X)))[0]).primal.clone()


class Watched(torch.Tensor):
    pass


CALLS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "autocast": (autocast, "autocast is on"),
    "grad": (lambda m: torch.func.grad(lambda x: m(x)[0].sum())(X), "a transform of torch.func"),
    "dispatch mode": (counted, "a TorchDispatchMode is active"),
    "forward mode": (dual, "forward-mode differentiation is active"),
    "half precision": (lambda m: m.half()(X.half())[0], "no kernel computes in torch.float16"),
    "meta": (lambda m: m.to("meta")(X.to("meta"))[0].shape, "xrnn has no backend for the device meta"),
    "a subclass": (lambda m: m(X.as_subclass(Watched))[0], "the input is a Watched, not a plain tensor"),
    "trace": (lambda m: torch.jit.trace(m, X)(X)[0], "the model is being traced"),
}


@pytest.mark.filterwarnings("ignore:`torch.jit", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("call", CALLS)
def test_an_unsupported_call_runs_in_pytorch(call: str, fallbacks: Fallbacks) -> None:
    run, why = CALLS[call]
    theirs, ours = pair("GRU", 3, 4)
    with torch.no_grad() if call != "grad" else torch.enable_grad():
        want, got = run(theirs), run(ours)
    assert torch.equal(torch.as_tensor(got), torch.as_tensor(want))
    reasons = fallbacks.take()
    assert reasons
    assert all(reason.startswith(f"GRU runs in PyTorch: {why}") for reason in reasons)


def test_fallbacks_are_counted_and_logged_once(fallbacks: Fallbacks, caplog: pytest.LogCaptureFixture) -> None:
    """By module and reason: a program that ends in PyTorch says so, but not at each call."""
    _, ours = pair("GRU", 3, 4)
    _, other = pair("GRU", 3, 4)
    with torch.no_grad():
        for _ in range(3):
            autocast(ours)
        ours(X.as_subclass(Watched))
        autocast(other)
        ours(X)
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    casts = "autocast is on, to another dtype than bfloat16 or on another device than the CPU"
    watched = "the input is a Watched, not a plain tensor"
    assert warned == [f"GRU runs in PyTorch: {why}" for why in (casts, watched, casts)]
    assert xrnn.torch.explain(ours) == {"": f"kernels; ran in PyTorch: {casts} (3 times); {watched} (1 times)"}
    fallbacks.take()


def test_counts_begin_again_when_the_module_runs_in_another_way(
    fallbacks: Fallbacks, caplog: pytest.LogCaptureFixture
) -> None:
    """Counts of an earlier state would look like new ones, and hide the warning of the first new one."""
    model = nn.Sequential(accelerated("GRU", 3, 4))
    casts = "autocast is on, to another dtype than bfloat16 or on another device than the CPU"

    def change_after_a_fallback(change: Callable[[Any], Any]) -> dict[str, str]:
        with torch.no_grad():
            autocast(model[0])
        assert xrnn.torch.explain(model)["0"].endswith(f"; ran in PyTorch: {casts} (1 times)")
        assert fallbacks.take() == [f"GRU runs in PyTorch: {casts}"]
        change(model)
        return xrnn.torch.explain(model)

    first = "call xrnn.torch.accelerate(model) first"
    assert change_after_a_fallback(partial(xrnn.torch.accelerate, freeze=True)) == {"0": "kernels, frozen"}
    assert change_after_a_fallback(partial(xrnn.torch.accelerate, int8=True)) == {"0": "kernels, int8"}
    assert change_after_a_fallback(xrnn.torch.accelerate) == {"0": "kernels"}
    assert change_after_a_fallback(xrnn.torch.restore) == {"0": f"PyTorch: {first}"}
    xrnn.torch.accelerate(model)
    says = {"0": f"kernels; ran in PyTorch: {casts} (1 times)"}
    assert change_after_a_fallback(xrnn.torch.accelerate) == says  # the same options change nothing
    assert [record.levelname for record in caplog.records].count("WARNING") == 5


def test_a_call_that_ran_in_pytorch_keeps_nothing_in_memory(fallbacks: Fallbacks) -> None:
    """The reason is an exception: its traceback would hold the input until Python's next garbage collection."""
    _, ours = pair("GRU", 3, 4)
    x = torch.zeros(5, 2, 3)
    with torch.no_grad(), torch.autocast("cpu", torch.float16):
        ours(x)
    assert len(fallbacks.take()) == 1
    freed = weakref.ref(x)
    gc.disable()
    try:
        del x
        assert freed() is None
    finally:
        gc.enable()


def test_the_calls_of_a_replica_count_for_its_module(fallbacks: Fallbacks, caplog: pytest.LogCaptureFixture) -> None:
    """nn.DataParallel makes new replicas in each call."""
    ours = accelerated("GRU", 3, 4)
    for _ in range(3):
        replica = ours._replicate_for_data_parallel()
        replica._parameters = ours._parameters
        with torch.no_grad():
            autocast(replica)
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
    assert xrnn.torch.explain(ours)[""].endswith("(3 times)")
    fallbacks.take()


def test_the_number_of_reasons_is_limited(fallbacks: Fallbacks) -> None:
    """A program may call a module with any number of shapes."""
    _, ours = pair("GRU", 3, 4)
    for n in range(1, 30):
        ours(torch.zeros(n, 0, 3))
    (says,) = xrnn.torch.explain(ours).values()
    assert says.count("times)") == 9
    assert says.startswith("kernels; ran in PyTorch: other reasons (21 times); the input is (")
    fallbacks.take()


@pytest.mark.parametrize("kind", ["RNN", "GRU"])
def test_few_steps_of_wide_weights_run_where_they_are_faster(
    kind: str, fallbacks: Fallbacks, caplog: pytest.LogCaptureFixture
) -> None:
    """Counted, but without a warning. Steps whose weights are read in place, frozen weights, many steps or rows, and
    training run on the kernels."""
    theirs, ours = pair(kind, 512, 512)
    x = torch.randn(12, 5, 512)
    with torch.no_grad():
        for T, N in ((5, 1), (11, 1), (3, 2), (1, 4), (5, 4)):
            assert torch.equal(ours(x[:T, :N])[0], theirs(x[:T, :N])[0])
        packed = pack_padded_sequence(x[:, :3], [3, 3, 3])
        assert torch.equal(ours(packed)[0].data, theirs(packed)[0].data)
        why = "few steps of wide weights are faster there; accelerate(model, freeze=True) is for inference"
        assert fallbacks.take() == [f"{kind} runs in PyTorch: {why}"] * 6
        assert xrnn.torch.explain(ours) == {"": f"kernels; ran in PyTorch: {why} (6 times)"}
        for T, N in ((1, 1), (4, 1), (2, 2), (1, 3), (12, 1), (6, 4), (1, 5)):
            assert torch.allclose(ours(x[:T, :N])[0], theirs(x[:T, :N])[0], atol=1e-5)
    ours(x[:2, :1])  # gradients repay more
    ours(x[:1, :1])
    assert len(fallbacks.take()) == 1
    xrnn.torch.accelerate(ours, freeze=True)
    with torch.no_grad():
        ours(x[:3, :3])
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    narrow = pair(kind, 64, 64)[1]
    lstm = pair("LSTM", 512, 512)[1]
    narrow(x[:1, :1, :64])
    lstm(x[:1, :1])


def test_a_weight_that_has_become_a_subclass(fallbacks: Fallbacks) -> None:
    """The subclass shares the weight's memory, so the arrays of earlier calls still fit it."""
    theirs, ours = pair("GRU", 3, 4)
    with torch.no_grad():
        ours(X)
        ours._parameters["weight_hh_l0"] = ours.weight_hh_l0.as_subclass(Watched)
        assert torch.equal(ours(X)[0], theirs(X)[0])
    assert fallbacks.take() == ["GRU runs in PyTorch: a weight is a Watched, not a plain tensor"]


def _values(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Any], object]:
    """Give a weight other values: a view of the same memory, which is at the same address with the same strides."""
    return lambda m: setattr(m.weight_hh_l0.requires_grad_(False), "data", change(m.weight_hh_l0.data))


def _set(name: str, value: Any) -> Callable[[Any], object]:
    return lambda m: setattr(m, name, value)


CHANGED: dict[str, tuple[Callable[[Any], object], str]] = {
    "negated": (_values(torch._neg_view), "weight_hh_l0 is sparse, or its values in memory are negated"),
    "integers": (_values(lambda w: w.view(torch.int32)), "weight_hh_l0 is torch.int32 on cpu, the input torch.float"),
    "one layer fewer": (_set("num_layers", 1), "it has 8 weights, but num_layers=1, bidirectional=False"),
    "one layer more": (_set("num_layers", 3), "it has 8 weights, but num_layers=3"),
    "directions": (_set("bidirectional", True), "it has 8 weights, but num_layers=2, bidirectional=True"),
    "no bias": (_set("bias", False), "it has 8 weights, but num_layers=2, bidirectional=False and bias=False need 4"),
    "hidden size": (_set("hidden_size", 5), "weight_ih_l0 is (12, 3), not (15, 3)"),
    "a smaller hidden size": (_set("hidden_size", 3), "weight_ih_l0 is (12, 3), not (9, 3)"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_change_after_the_first_call_is_seen(name: str, fallbacks: Fallbacks) -> None:
    """After a change, PyTorch computes with the new values, or raises its own error."""
    change, why = CHANGED[name]
    outcomes = []
    for module in pair("GRU", 3, 4, 2):
        with torch.no_grad():
            module(X)
            change(module)
            try:
                outcomes.append(("result", module(X)[0].tolist()))
            except Exception as error:
                outcomes.append((type(error).__name__, str(error)))
    assert outcomes[1] == outcomes[0]
    (reason,) = fallbacks.take()
    assert reason.startswith(f"GRU runs in PyTorch: {why}")


@pytest.mark.parametrize("freed", ["the input", "weight_hh_l0"])
def test_freed_storage(freed: str, fallbacks: Fallbacks) -> None:
    """PyTorch raises an error; an array of freed storage would have no address."""
    theirs, ours = pair("GRU", 3, 4)
    for module in (theirs, ours):
        x = X.clone()
        (x if freed == "the input" else module.weight_hh_l0).untyped_storage().resize_(0)
        with pytest.raises(RuntimeError):
            module(x)
    assert fallbacks.take() == [f"GRU runs in PyTorch: the storage of {freed} was freed"]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_projections(fallbacks: Fallbacks) -> None:
    theirs, ours = pair("LSTM", 3, 4, proj_size=2)
    assert torch.equal(ours(X)[0], theirs(X)[0])
    assert fallbacks.take() == ["LSTM runs in PyTorch: it has proj_size=2"]


def test_without_kernels(fallbacks: Fallbacks, monkeypatch: pytest.MonkeyPatch) -> None:
    from xrnn.backends import numpy
    from xrnn.backends.numpy import info
    from xrnn.torch import memory

    monkeypatch.setattr(numpy, "kernels", None)
    memory._memory.cache_clear()
    theirs, ours = pair("GRU", 3, 4)
    assert torch.equal(ours(X)[0], theirs(X)[0])
    memory._memory.cache_clear()
    assert fallbacks.take() == [f"GRU runs in PyTorch: {info.not_built()}"]


WRONG: dict[str, Callable[[Any], Any]] = {
    "input size": lambda m: m(X[..., :2]),
    "a larger input size": lambda m: m(torch.cat((X, X), dim=2)),
    "dimensions": lambda m: m(X[None]),
    "one dimension": lambda m: m(X[0, 0]),
    "packed dimensions": lambda m: m(pack_padded_sequence(X[..., None], [5, 4])),
    "one packed dimension": lambda m: m(pack_padded_sequence(X[..., 0], [5, 4])),
    "dtype": lambda m: m(X.double()),
    "no steps": lambda m: m(X[:0]),
    "a state's shape": lambda m: m(X, _states(m, torch.zeros(1, 3, 4))),
    "a smaller state": lambda m: m(X, _states(m, torch.zeros(1, 1, 4))),
    "a state's dimensions": lambda m: m(X, _states(m, torch.zeros(1, 4))),
    "an unbatched state's dimensions": lambda m: m(X[:, 0], _states(m, torch.zeros(1, 1, 4))),
    "too many states": lambda m: m(X, (torch.zeros(1, 2, 4),) * 3),
    "too few states": lambda m: m(X, (torch.zeros(1, 2, 4),) if m.mode == "LSTM" else ()),
    "a bias's shape": lambda m: torch.func.functional_call(m, {"bias_hh_l0": torch.ones(5)}, (X,)),
    "a weight's dtype": lambda m: torch.func.functional_call(m, {"weight_hh_l0": m.weight_hh_l0.double()}, (X,)),
    "no array": lambda m: m([1, 2]),
    "vmap": lambda m: torch.vmap(m)(X[None]),  # PyTorch does not support it either
}


def _states(module: Any, state: torch.Tensor) -> Any:
    return (state, state) if module.mode == "LSTM" else state


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_call_gets_pytorchs_error(wrong: str, kind: str, fallbacks: Fallbacks) -> None:
    theirs, ours = pair(kind, 3, 4)
    errors = []
    for module in (theirs, ours):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            WRONG[wrong](module)
        errors.append((caught.type, str(caught.value)))
        assert caught.value.__context__ is None  # the traceback does not show the kernels' refusal
    assert errors[1] == errors[0]
    assert len(fallbacks.take()) == 1
