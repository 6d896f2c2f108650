"""Each kernel is compared with the plain form before its first use: agreeing, disagreeing, raising."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests import standin as cp
from tests.backends.cupy.steps import FORMS, GROUP, ONE_BLOCK, Sizes, explained, layer, step, taking
from tests.standin import raw
from tests.standin.counting import counted
from xrnn import use_fused
from xrnn.backends.cupy import CupyBackend, launch


@pytest.mark.parametrize(("sizes", "form"), [(ONE_BLOCK, "one-block"), (GROUP, "group")])
def test_the_first_use_on_a_device_compares_and_no_later_one_does(
    gpu: CupyBackend, sizes: Sizes, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    rnn, x = layer(gpu, sizes, "float32"), cp.ones(sizes[:3], "float32")
    with counted() as first:
        rnn.forward(x)
    with counted() as second:
        rnn.forward(x)
    # The test runs without lengths, and in reverse with them; then the call.
    assert (first.raw_kernels, second.raw_kernels) == (3, 1)
    assert (second.host_to_device, second.device_to_host, second.waits) == (0, 0, 0)
    assert explained(gpu, sizes).form == form
    assert not caplog.records
    with cp.cuda.Device(1):
        rnn, x = layer(gpu, sizes, "float32"), cp.ones(sizes[:3], "float32")
    with counted() as elsewhere:
        rnn.forward(x)
    assert elsewhere.raw_kernels == 3


def test_no_comparison_if_the_plain_form_was_asked_for(gpu: CupyBackend) -> None:
    with use_fused(False), counted() as counters:
        step(layer(gpu, ONE_BLOCK, "float32"), ONE_BLOCK, "float32")
    assert counters.raw_kernels == 0


SPOILED = {
    "rnn": {
        "a wrong forward": ("return tanh(z);", "return z;", "its h is off by "),
        "a wrong backward": ("return 1 - y * y;", "return 1 - y;", "its dz is off by "),
        "NaN": ("return tanh(z);", "return z - z / (z - z);", "its h is off by nan"),
        "idle rows that change": ("if (!in.idle) {", "{", "its h is off by "),
        "a wrong direction": ("return reverse ? T - 1 - i : i;", "return i;", "its h is off by "),
    },
    "relu": {
        "a wrong forward": ("return z < V{} ? V{} : z;", "return z;", "its h is off by "),
        "a wrong slope": ("return y > V{} ? V{} + 1 : V{};", "return V{} + 1;", "its dz is off by "),
    },
    "lstm": {
        "a wrong c": ("after[1] = multiply_add(z[1]", "after[1] = multiply_add(z[0]", "its h is off by "),
        "gates that are not kept": ("out[static_cast<size_t>(g) * H] = in.z[g];", ";", "its z is off by "),
        "a wrong gradient of c": ("dbefore[1] = f * dc;", "dbefore[1] = dc;", "its dz is off by "),
    },
}


@pytest.mark.parametrize("form", ["stepwise", "one-block", "group"])
@pytest.mark.parametrize(
    ("cell", "spoiled"), [(cell, what) for cell, found in SPOILED.items() for what in found], ids=str
)
def test_a_form_that_disagrees_is_not_used(
    gpu: CupyBackend,
    form: str,
    cell: str,
    spoiled: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    right, wrong, why = SPOILED[cell][spoiled]
    source, sizes = launch.source, FORMS[form]

    def spoil(form: Any, header: str, backward: bool) -> str:
        code = source(form, header, backward)
        assert code.count(right) >= 1
        return code.replace(right, wrong)

    monkeypatch.setattr(launch, "source", spoil)
    rnn = layer(gpu, sizes, "float32", cell)
    with use_fused(False):
        expected = step(rnn, sizes, "float32")
    with taking(form):
        step(rnn, sizes, "float32")
        found = step(rnn, sizes, "float32")
    assert any(why in record.getMessage() for record in caplog.records)
    assert_close(found, expected)


def test_a_form_that_can_not_be_compiled_is_not_used(
    gpu: CupyBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(raw, "compiler", raising(NotImplementedError("no compiler\nfor this one")))
    assert_other(gpu, ONE_BLOCK, "one-block", "NotImplementedError: no compiler for this one", caplog)


def test_a_form_that_gives_up_is_not_used(
    gpu: CupyBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(launch, "PATIENCE", 500)
    monkeypatch.setattr(gpu.selftest, "_grid", lambda candidate: (candidate.grid[0] - 1, 1))  # a block is missing
    assert_other(gpu, GROUP, "group", "its blocks gave up waiting for one another", caplog)


def test_an_earlier_recurrence_that_gives_up_during_a_test_is_reported_by_itself(
    gpu: CupyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, x = layer(gpu, GROUP, "float32"), cp.ones(GROUP[:3], "float32")
    earlier(x)  # the form has passed its test
    forward = gpu.launcher.forward

    def gives_up_first(*arguments: Any) -> Any:
        monkeypatch.setattr(gpu.launcher, "forward", forward)
        with monkeypatch.context() as patched:
            patched.setattr(launch, "PATIENCE", -1)
            earlier(x)
        return forward(*arguments)

    monkeypatch.setattr(gpu.launcher, "forward", gives_up_first)
    h = layer(gpu, ONE_BLOCK, "float32")(cp.ones(ONE_BLOCK[:3], "float32"))
    assert explained(gpu, ONE_BLOCK).form == "one-block"
    with pytest.raises(RuntimeError, match="a recurrence launched earlier gave up waiting"):
        gpu.to_numpy(h)


def test_a_self_test_leaves_what_the_user_is_to_be_told(gpu: CupyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    rnn, x = layer(gpu, GROUP, "float32"), cp.ones(GROUP[:3], "float32")
    rnn(x)  # the form has passed its test
    with monkeypatch.context() as patched:
        patched.setattr(launch, "PATIENCE", -1)
        h = rnn(x)
    assert explained(gpu, ONE_BLOCK).form == "one-block"  # which it compares first
    with pytest.raises(RuntimeError, match="a recurrence launched earlier gave up waiting"):
        gpu.to_numpy(h)


def raising(error: Exception) -> Callable[..., Any]:
    def refuse(*arguments: Any, **keywords: Any) -> Any:
        raise error

    return refuse


# What is patched, by what, and the warning.
TEMPORARY: dict[str, tuple[Any, str, Callable[..., Any], str]] = {
    "memory": (raw, "compiler", raising(MemoryError()), "MemoryError: "),  # the host's says nothing
    "memory for the module": (
        raw,
        "compiler",
        raising(RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory")),
        "RuntimeError: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
    ),
    "a copy to the host": (
        cp,
        "asnumpy",
        raising(RuntimeError("cudaErrorUnknown: unknown error")),
        "RuntimeError: cudaErrorUnknown: unknown error",
    ),
    "a capture": (
        cp.cuda.Stream,
        "is_capturing",
        lambda stream: True,
        "RuntimeError: the stream is being captured, and a self-test waits: run a step before",
    ),
}


@pytest.mark.parametrize(("what", "name", "spoiled", "why"), TEMPORARY.values(), ids=TEMPORARY)
def test_a_temporary_failure_says_nothing_about_a_form(
    gpu: CupyBackend, what: Any, name: str, spoiled: Any, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    rnn, x = layer(gpu, ONE_BLOCK, "float32"), cp.ones(ONE_BLOCK[:3], "float32")
    with pytest.MonkeyPatch.context() as patched, counted() as plain:
        patched.setattr(CupyBackend, "_decide", lambda *_, **__: None)
        expected = rnn(x)
    with pytest.MonkeyPatch.context() as patched, counted() as counters:
        patched.setattr(what, name, spoiled)
        h = rnn(x)
    np.testing.assert_array_equal(h.get(), expected.get())
    if name == "is_capturing":  # the self-test launches nothing
        assert counters == plain
    record, *_ = caplog.records  # then that of the stepwise form
    start = "the one-block form (rnn forward, float32) is not used on pretend GPU, another form runs this time: "
    why = f"not compared yet, {why}"
    assert record.getMessage().startswith(start + why)
    assert explained(gpu, ONE_BLOCK).form == "one-block"  # the next time


@pytest.mark.parametrize(("sizes", "form"), [(ONE_BLOCK, "one-block"), (GROUP, "group")])
def test_a_launch_that_fails_takes_another_form_from_then_on(
    gpu: CupyBackend,
    sizes: Sizes,
    form: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    step(layer(gpu, sizes, "float32"), sizes, "float32")  # the form has passed its test
    refuse = raising(RuntimeError("CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE: too many blocks\nin cooperative launch"))
    monkeypatch.setattr(raw.RawFunction, "__call__", refuse)
    why = "RuntimeError: CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE: too many blocks in cooperative launch"
    assert_other(gpu, sizes, form, why, caplog)


def test_a_backward_whose_launch_fails_takes_another_form(
    gpu: CupyBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rnn, x = layer(gpu, ONE_BLOCK, "float32"), cp.ones(ONE_BLOCK[:3], "float32")
    rnn(x)
    dh = cp.ones((*ONE_BLOCK[:2], ONE_BLOCK[3]), "float32")
    rnn.forward(x)
    refuse = raising(RuntimeError("invalid configuration argument"))
    with monkeypatch.context() as patched:
        patched.setattr(raw.RawFunction, "__call__", refuse)
        dx, _ = rnn.backward(dh)
    with use_fused(False):
        rnn.forward(x)
        expected, _ = rnn.backward(dh)
    np.testing.assert_allclose(gpu.to_numpy(dx), gpu.to_numpy(expected), rtol=0, atol=1e-5)
    assert explained(gpu, ONE_BLOCK).form == "one-block"
    assert explained(gpu, ONE_BLOCK, backward=True).form == "plain"  # nor is the stepwise form launched
    record, *_ = caplog.records
    assert record.getMessage().endswith("another form runs instead: RuntimeError: invalid configuration argument")


def test_a_launch_without_memory_is_tried_again(
    gpu: CupyBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rnn, x = layer(gpu, ONE_BLOCK, "float32"), cp.ones(ONE_BLOCK[:3], "float32")
    expected = rnn(x)
    refuse = raising(RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"))
    with monkeypatch.context() as patched:
        patched.setattr(raw.RawFunction, "__call__", refuse)
        h = rnn(x)
    np.testing.assert_allclose(gpu.to_numpy(h), gpu.to_numpy(expected), rtol=0, atol=1e-5)
    assert "another form runs this time: RuntimeError: CUDA_ERROR_OUT_OF_MEMORY" in caplog.text
    assert explained(gpu, ONE_BLOCK).form == "one-block"


def assert_close(found: list[Any], expected: list[Any]) -> None:
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * max(1, abs(want).max()))


def assert_other(gpu: CupyBackend, sizes: Sizes, form: str, why: str, caplog: pytest.LogCaptureFixture) -> None:
    """Two training steps agree with the plain form, and a warning for each direction says why it is not `form`."""
    rnn = layer(gpu, sizes, "float32")
    with use_fused(False):
        expected = step(rnn, sizes, "float32")
    for _ in range(2):
        assert_close(step(rnn, sizes, "float32"), expected)
    messages = [record.getMessage() for record in caplog.records if f"the {form} form" in record.getMessage()]
    assert all((record.name, record.levelno) == ("xrnn", logging.WARNING) for record in caplog.records)
    for direction, message in zip(("forward", "backward"), messages, strict=True):
        start = f"the {form} form (rnn {direction}, float32) is not used on pretend GPU, another form runs instead: "
        assert message.startswith(start + why)
        assert "\n" not in message
    for backward in (False, True):
        assert explained(gpu, sizes, backward).form in ("plain", "stepwise")
        assert explained(gpu, sizes, backward).why.startswith(f"not {form}: {why}")
