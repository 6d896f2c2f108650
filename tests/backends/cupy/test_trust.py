"""A fused form is used on a device once it agreed there with the plain form: agreeing, disagreeing, raising."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests import standin as cp
from tests.backends.cupy.steps import GROUP, ONE_BLOCK, layer, step
from tests.standin import raw
from tests.standin.counting import counted
from xrnn import use_fused
from xrnn.backend import Explanation
from xrnn.backends.cupy import CupyBackend, launch
from xrnn.ops.cells.rnn import RNNCell


def explained(backend: CupyBackend, sizes: tuple[int, ...]) -> Explanation:
    return backend.explain("recurrence_forward", RNNCell(), dict(zip("TNDH", sizes, strict=True)), "float32")


@pytest.mark.parametrize(("sizes", "form"), [(ONE_BLOCK, "one-block"), (GROUP, "group")])
def test_the_first_use_on_a_device_compares_and_no_later_one_does(
    backend: CupyBackend, sizes: tuple[int, ...], form: str, caplog: pytest.LogCaptureFixture
) -> None:
    rnn, x = layer(backend, sizes, "float32"), cp.ones(sizes[:3], "float32")
    with counted() as first:
        rnn.forward(x)
    with counted() as second:
        rnn.forward(x)
    # Forward and backward of the comparison, with tanh and relu, then the call.
    assert (first.raw_kernels, second.raw_kernels) == (5, 1)
    assert (second.host_to_device, second.device_to_host, second.waits) == (0, 0, 0)
    assert explained(backend, sizes).form == form
    assert not caplog.records
    with cp.cuda.Device(1):
        rnn, x = layer(backend, sizes, "float32"), cp.ones(sizes[:3], "float32")
    with counted() as elsewhere:
        rnn.forward(x)
    assert elsewhere.raw_kernels == 5


def test_no_comparison_where_the_plain_form_was_asked_for(backend: CupyBackend) -> None:
    with use_fused(False), counted() as counters:
        step(layer(backend, ONE_BLOCK, "float32"), ONE_BLOCK, "float32")
    assert counters.raw_kernels == 0


SPOILED = {
    "a forward that is wrong": ("return tanh(z);", "return z;", "its h is off by "),
    "a backward that is wrong": ("z * (relu ? Real(h > 0) : 1 - h * h)", "z", "its dz is off by "),
    "a relu that is wrong": ("return z < 0 ? Real(0) : z;", "return z;", "its h is off by "),
    "a slope of relu that is wrong": ("Real(h > 0)", "Real(1)", "its dz is off by "),
    "NaN": ("return tanh(z);", "return z - z / (z - z);", "its h is off by nan"),
}


@pytest.mark.parametrize(("right", "wrong", "why"), SPOILED.values(), ids=SPOILED)
@pytest.mark.parametrize(("sizes", "form"), [(ONE_BLOCK, "one-block"), (GROUP, "group")])
def test_a_form_that_disagrees_is_not_used(
    backend: CupyBackend,
    sizes: tuple[int, ...],
    form: str,
    right: str,
    wrong: str,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = launch.source(form)
    assert source.count(right) == 1
    monkeypatch.setattr(launch, "source", lambda form: source.replace(right, wrong))
    assert_plain(backend, sizes, form, why, caplog)


def test_a_form_that_can_not_be_compiled_is_not_used(
    backend: CupyBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(**arguments: Any) -> Any:
        raise NotImplementedError("no compiler\nfor this one")

    monkeypatch.setattr(raw, "compiler", refuse)
    assert_plain(backend, ONE_BLOCK, "one-block", "NotImplementedError: no compiler for this one", caplog)


def test_a_form_that_gives_up_is_not_used(
    backend: CupyBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(launch, "PATIENCE", -1)  # it gives up as soon as it has to wait
    assert_plain(backend, GROUP, "group", "its blocks gave up waiting for one another", caplog)


def test_an_earlier_recurrence_that_gives_up_meanwhile_is_reported_and_nobody_else_doubted(
    backend: CupyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, x = layer(backend, GROUP, "float32"), cp.ones(GROUP[:3], "float32")
    earlier(x)  # the form is believed
    forward = backend.launcher.forward

    def gives_up_first(*arguments: Any) -> Any:
        monkeypatch.setattr(backend.launcher, "forward", forward)
        with monkeypatch.context() as patched:
            patched.setattr(launch, "PATIENCE", -1)
            earlier(x)
        return forward(*arguments)

    monkeypatch.setattr(backend.launcher, "forward", gives_up_first)
    h = layer(backend, ONE_BLOCK, "float32")(cp.ones(ONE_BLOCK[:3], "float32"))
    assert explained(backend, ONE_BLOCK).form == "one-block"
    with pytest.raises(RuntimeError, match="a recurrence launched earlier gave up waiting"):
        backend.to_numpy(h)


def test_a_comparison_takes_up_nothing_that_the_user_is_to_be_told(
    backend: CupyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    rnn, x = layer(backend, GROUP, "float32"), cp.ones(GROUP[:3], "float32")
    rnn(x)  # the form is believed
    with monkeypatch.context() as patched:
        patched.setattr(launch, "PATIENCE", -1)
        h = rnn(x)
    assert explained(backend, ONE_BLOCK).form == "one-block"  # which it compares first
    with pytest.raises(RuntimeError, match="a recurrence launched earlier gave up waiting"):
        backend.to_numpy(h)


def refuse_memory(patched: pytest.MonkeyPatch) -> None:
    def refuse(**arguments: Any) -> Any:
        raise MemoryError  # the host's says nothing

    patched.setattr(raw, "compiler", refuse)


def refuse_module(patched: pytest.MonkeyPatch) -> None:
    def refuse(**arguments: Any) -> Any:
        raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory")

    patched.setattr(raw, "compiler", refuse)


def refuse_copies(patched: pytest.MonkeyPatch) -> None:
    def refuse(array: Any) -> Any:
        raise RuntimeError("cudaErrorUnknown: unknown error")

    patched.setattr(cp, "asnumpy", refuse)


def capture(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(cp.cuda.Stream, "is_capturing", lambda stream: True)


PASSING = {
    "memory": (refuse_memory, "MemoryError: "),
    "memory for the module": (refuse_module, "RuntimeError: CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
    "a copy to the host": (refuse_copies, "RuntimeError: cudaErrorUnknown: unknown error"),
    "a capture": (capture, "RuntimeError: the stream is being captured, and a comparison waits: run a step before"),
}


@pytest.mark.parametrize(("spoil", "why"), PASSING.values(), ids=PASSING)
def test_what_passes_is_not_held_against_a_form(
    backend: CupyBackend, spoil: Callable[[pytest.MonkeyPatch], None], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    rnn, x = layer(backend, ONE_BLOCK, "float32"), cp.ones(ONE_BLOCK[:3], "float32")
    with pytest.MonkeyPatch.context() as patched, counted() as plain:
        patched.setattr(CupyBackend, "_choose", lambda *_, **__: None)
        expected = rnn(x)
    with pytest.MonkeyPatch.context() as patched, counted() as counters:
        spoil(patched)
        h = rnn(x)
    np.testing.assert_array_equal(h.get(), expected.get())  # type: ignore[attr-defined]
    if spoil is capture:  # nothing of the comparison gets into it, and it isn't disturbed
        assert counters == plain
    (record,) = caplog.records
    start = "the one-block form (float32) is not used on pretend GPU, the plain form runs this time: not compared yet, "
    assert record.getMessage().startswith(start + why)
    assert explained(backend, ONE_BLOCK).form == "one-block"  # the next time


@pytest.mark.parametrize(("sizes", "form"), [(ONE_BLOCK, "one-block"), (GROUP, "group")])
def test_a_launch_that_fails_takes_the_plain_form_from_then_on(
    backend: CupyBackend,
    sizes: tuple[int, ...],
    form: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    step(layer(backend, sizes, "float32"), sizes, "float32")  # the form is believed

    def refuse(*arguments: Any, **keywords: Any) -> None:
        raise RuntimeError("CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE: too many blocks\nin cooperative launch")

    monkeypatch.setattr(raw.RawFunction, "__call__", refuse)
    why = "RuntimeError: CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE: too many blocks in cooperative launch"
    assert_plain(backend, sizes, form, why, caplog)


def test_a_backward_whose_launch_fails_is_the_plain_one(
    backend: CupyBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rnn, x = layer(backend, ONE_BLOCK, "float32"), cp.ones(ONE_BLOCK[:3], "float32")
    rnn(x)
    dh = cp.ones((*ONE_BLOCK[:2], ONE_BLOCK[3]), "float32")
    rnn.forward(x)

    def refuse(*arguments: Any, **keywords: Any) -> None:
        raise RuntimeError("invalid configuration argument")

    with monkeypatch.context() as patched:
        patched.setattr(raw.RawFunction, "__call__", refuse)
        dx, _ = rnn.backward(dh)
    with use_fused(False):
        rnn.forward(x)
        expected, _ = rnn.backward(dh)
    np.testing.assert_allclose(backend.to_numpy(dx), backend.to_numpy(expected), rtol=0, atol=1e-5)
    assert explained(backend, ONE_BLOCK).form == "plain"
    (record,) = caplog.records
    assert record.getMessage().endswith(
        "the plain form runs in its place: RuntimeError: invalid configuration argument"
    )


def test_a_launch_without_memory_is_tried_again(
    backend: CupyBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rnn, x = layer(backend, ONE_BLOCK, "float32"), cp.ones(ONE_BLOCK[:3], "float32")
    expected = rnn(x)

    def refuse(*arguments: Any, **keywords: Any) -> None:
        raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(raw.RawFunction, "__call__", refuse)
        h = rnn(x)
    np.testing.assert_allclose(backend.to_numpy(h), backend.to_numpy(expected), rtol=0, atol=1e-5)
    assert "the plain form runs this time: RuntimeError: CUDA_ERROR_OUT_OF_MEMORY" in caplog.text
    assert explained(backend, ONE_BLOCK).form == "one-block"


def assert_plain(
    backend: CupyBackend, sizes: tuple[int, ...], form: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Two training steps run on the plain form, with its results, and one warning says why."""
    rnn = layer(backend, sizes, "float32")
    with use_fused(False):
        expected = step(rnn, sizes, "float32")
    for _ in range(2):
        for got, want in zip(step(rnn, sizes, "float32"), expected, strict=True):
            np.testing.assert_array_equal(got, want)
    with counted() as counters:
        step(rnn, sizes, "float32")
    assert counters.raw_kernels == 0
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("xrnn", logging.WARNING)
    message = record.getMessage()
    start = f"the {form} form (float32) is not used on pretend GPU, the plain form runs in its place: "
    assert message.startswith(start + why)
    assert "\n" not in message
    assert explained(backend, sizes).form == "plain"
    assert explained(backend, sizes).why.startswith(f"not {form}: {why}")
