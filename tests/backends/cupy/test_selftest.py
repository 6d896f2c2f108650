"""Each kernel is compared with the plain form before its first use: agreeing, disagreeing, raising."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from tests import standin as cp
from tests.backends.cupy.steps import FORMS, GROUP, ONE_BLOCK, Sizes, assert_close, explained, layer, step, taking
from tests.errors import one_line
from tests.standin import raw
from tests.standin.counting import Counters, counted, losing_the_context
from xrnn import use_fused
from xrnn.backends.cupy import CupyBackend, launch
from xrnn.backends.cupy.launch import ContextLostError
from xrnn.backends.cupy.products import tf32_by_environment


@pytest.mark.parametrize(("sizes", "form"), [(ONE_BLOCK, "one-block"), (GROUP, "group")])
def test_the_first_use_on_a_device_compares_and_no_later_one_does(
    gpu: CupyBackend, sizes: Sizes, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    rnn, x = layer(gpu, sizes), cp.ones(sizes[:3], "float32")
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
        rnn, x = layer(gpu, sizes), cp.ones(sizes[:3], "float32")
    with counted() as elsewhere:
        rnn.forward(x)
    assert elsewhere.raw_kernels == 3


# A cell, a part of its kernels' source, what replaces it, and the disagreement.
SPOILED = [
    ("rnn", "return tanh(z);", "return z;", "its h is off by "),
    ("rnn", "return 1 - y * y;", "return 1 - y;", "its dz is off by "),
    ("rnn", "return tanh(z);", "return z - z / (z - z);", "its h is off by nan"),
    ("rnn", "if (!in.idle) {", "{", "its h is off by "),
    ("rnn", "return reverse ? T - 1 - i : i;", "return i;", "its h is off by "),
    ("relu", "return z < V{} ? V{} : z;", "return z;", "its h is off by "),
    ("relu", "return y > V{} ? V{} + 1 : V{};", "return V{} + 1;", "its dz is off by "),
    ("lstm", "after[1] = multiply_add(z[1]", "after[1] = multiply_add(z[0]", "its h is off by "),
    ("lstm", "out[static_cast<size_t>(g) * H] = in.z[g];", ";", "its z is off by "),
    ("lstm", "dbefore[1] = f * dc;", "dbefore[1] = dc;", "its dz is off by "),
    ("trained leak", "dz[1] = dafter[0] *", "dz[1] =", "its dleak_logit is off by "),
    ("min gru", "dbefore[0] = dh * (1 - u);", "dbefore[0] = dh;", "its dz is off by "),
]


@pytest.mark.parametrize(
    ("case", "form"), [*zip(SPOILED, itertools.cycle(["stepwise", "one-block", "group"]), strict=False)], ids=str
)
def test_a_form_that_disagrees_is_not_used(
    gpu: CupyBackend, case: tuple[str, str, str, str], form: str, caplog: pytest.LogCaptureFixture
) -> None:
    cell, right, wrong, why = case
    source, sizes = launch.source, FORMS[form]

    def spoil(*which: Any) -> str:
        assert right in source(*which)
        return source(*which).replace(right, wrong)

    rnn = layer(gpu, sizes, cell=cell)
    with use_fused(False):
        expected = step(rnn, sizes)
    with taking(form), mock.patch.object(launch, "source", spoil):
        step(rnn, sizes)
        found = step(rnn, sizes)
    assert any(why in record.getMessage() for record in caplog.records)
    assert_close(found, expected)


def test_a_form_that_gives_up_is_not_used(
    gpu: CupyBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(launch, "PATIENCE", 500)
    monkeypatch.setattr(gpu.selftest, "_grid", lambda candidate: (candidate.grid[0] - 1, 1))  # a block is missing
    assert_other(gpu, GROUP, "group", "its blocks gave up waiting for one another", caplog)


@pytest.mark.parametrize("during", [False, True])
def test_an_earlier_recurrence_that_gives_up_is_reported_by_itself(
    gpu: CupyBackend, during: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a self-test or during it: the user gets the error, and the tested form is not blamed."""
    earlier, x, forward = layer(gpu, GROUP), cp.ones(GROUP[:3], "float32"), gpu.launcher.forward
    earlier(x)  # the form has passed its test

    def give_up() -> None:
        with mock.patch.object(launch, "PATIENCE", -1):
            earlier(x)

    def give_up_first(*arguments: Any) -> Any:
        monkeypatch.undo()
        give_up()
        return forward(*arguments)

    if during:
        monkeypatch.setattr(gpu.launcher, "forward", give_up_first)
    else:
        give_up()
    assert explained(gpu, ONE_BLOCK).form == "one-block"  # after its self-test
    with pytest.raises(RuntimeError, match="a recurrence launched earlier gave up waiting"):
        gpu.to_numpy(x)


# The object and the attribute that fail, and the error.
TEMPORARY: dict[str, tuple[Any, str, Exception]] = {
    "memory": (raw, "compiler", MemoryError()),  # Python's own has no message
    "memory for the module": (raw, "compiler", RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory")),
    "a copy to the host": (cp, "asnumpy", RuntimeError("cudaErrorUnknown: unknown error")),
    "a launch": (raw.RawFunction, "__call__", RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory")),
}


@pytest.mark.parametrize(("what", "name", "error"), TEMPORARY.values(), ids=TEMPORARY)
def test_a_temporary_failure_says_nothing_about_a_form(
    gpu: CupyBackend, what: Any, name: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    rnn, x = layer(gpu, ONE_BLOCK), cp.ones(ONE_BLOCK[:3], "float32")
    with mock.patch.object(CupyBackend, "_decide", return_value=None):
        expected = rnn(x)
    if name == "__call__":
        rnn(x)  # the form has passed its test
    with mock.patch.object(what, name, side_effect=error):
        h = rnn(x)
    assert_close([h.get()], [expected.get()])
    record, *_ = caplog.records  # then that of the stepwise form
    start = "the one-block form (rnn forward, float32) is not used on pretend GPU, another form runs this time: "
    start += "" if name == "__call__" else "not compared yet, "
    assert record.getMessage().startswith(f"{start}{type(error).__name__}: {error}")
    assert explained(gpu, ONE_BLOCK).form == "one-block"  # the next time


@pytest.mark.parametrize("fused", [False, True])
def test_a_capture_is_refused_before_anything_is_launched(gpu: CupyBackend, fused: bool) -> None:
    rnn, x = layer(gpu, ONE_BLOCK), cp.ones(ONE_BLOCK[:3], "float32")
    h = rnn.forward(x)
    with mock.patch.object(cp.cuda.Stream, "is_capturing", return_value=True), use_fused(fused):
        with counted() as counters:
            calls: list[Callable[[], Any]] = [lambda: rnn(x), lambda: rnn.backward(h)]
            for call in calls:
                with one_line(RuntimeError, "is being captured into a CUDA graph: expected a call outside a capture"):
                    call()
        assert counters == Counters()


@pytest.mark.parametrize("name", ["CUPY_TF32", "NVIDIA_TF32_OVERRIDE"])
def test_products_in_tf32_are_no_disagreement(gpu: CupyBackend, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right, off = gpu.launcher.backward, 5e-3

    def nearly(*arguments: Any) -> Any:
        dz, dinitial = right(*arguments)
        dz *= 1 + off
        return dz, dinitial

    with mock.patch.object(gpu.launcher, "backward", nearly):
        assert explained(gpu, ONE_BLOCK, backward=True).form == "plain"
        monkeypatch.setenv(name, "1")
        why = explained(gpu, (*ONE_BLOCK[:3], 21), backward=True).why
        assert f"; {name}=1 lets products use TF32, so kernels are compared less strictly" in why
        off = 0.5
        assert explained(gpu, (*ONE_BLOCK[:3], 22), backward=True).why.endswith(f", with {name}=1")
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
        assert tf32_by_environment() == ""


@pytest.mark.parametrize(("sizes", "form"), [(ONE_BLOCK, "one-block"), (GROUP, "group")])
def test_a_launch_that_fails_takes_another_form_from_then_on(
    gpu: CupyBackend, sizes: Sizes, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    step(layer(gpu, sizes), sizes)  # the form has passed its test
    why = "CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE: too many blocks{}in cooperative launch"
    with mock.patch.object(raw.RawFunction, "__call__", side_effect=RuntimeError(why.format("\n"))):
        assert_other(gpu, sizes, form, f"RuntimeError: {why.format(' ')}", caplog)


def test_a_form_that_can_not_be_compiled_is_not_used(gpu: CupyBackend, caplog: pytest.LogCaptureFixture) -> None:
    with mock.patch.object(raw, "compiler", side_effect=NotImplementedError("no compiler\nfor this one")):
        assert_other(gpu, ONE_BLOCK, "one-block", "NotImplementedError: no compiler for this one", caplog)


def test_a_backward_whose_launch_fails_takes_another_form(gpu: CupyBackend, caplog: pytest.LogCaptureFixture) -> None:
    rnn, x = layer(gpu, ONE_BLOCK), cp.ones(ONE_BLOCK[:3], "float32")
    dh = cp.ones((*ONE_BLOCK[:2], ONE_BLOCK[3]), "float32")
    rnn.forward(x)
    with mock.patch.object(raw.RawFunction, "__call__", side_effect=RuntimeError("invalid configuration argument")):
        dx, _ = rnn.backward(dh)
    with use_fused(False):
        rnn.forward(x)
        expected, _ = rnn.backward(dh)
    assert_close([gpu.to_numpy(dx)], [gpu.to_numpy(expected)])
    assert explained(gpu, ONE_BLOCK).form == "one-block"
    assert explained(gpu, ONE_BLOCK, backward=True).form == "plain"  # nor is the stepwise form launched
    record, *_ = caplog.records
    assert record.getMessage().endswith("another form runs instead: RuntimeError: invalid configuration argument")


LOST = RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access\nwas encountered")
ONE_ERROR = (
    r"the GPU's context is lost, and every later call of this process fails \(RuntimeError: "
    r"CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered\): start Python again; "
    "if it happens again, set XRNN_FUSED=0"
)


@pytest.mark.parametrize("when", ["the launch", "the self-test", "compiling", "the backward"])
def test_a_lost_context_is_one_error_and_no_other_form_runs(
    gpu: CupyBackend, when: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rnn, x = layer(gpu, ONE_BLOCK), cp.ones(ONE_BLOCK[:3], "float32")
    if when in ("the launch", "the backward"):
        h = rnn.forward(x)
    if when == "the backward":
        rnn.backward(h)
        rnn.forward(x)
    with losing_the_context(LOST) as lose:
        if when == "compiling":
            monkeypatch.setattr(raw, "compiler", mock.Mock(side_effect=LOST))
            lose()
        else:
            monkeypatch.setattr(raw.RawFunction, "__call__", lose)  # as on a GPU, it shows at the next call
        for _ in range(2):  # the second call fails in the same way
            with pytest.raises(ContextLostError, match=ONE_ERROR):
                gpu.to_numpy(rnn.backward(h)[0] if when == "the backward" else rnn.forward(x))
    assert not caplog.records


LOSING = [
    "cudaErrorIllegalAddress: an illegal memory access was encountered",
    "CUDA_ERROR_LAUNCH_TIMEOUT: the launch timed out and was terminated",
    "cudaErrorLaunchFailure: unspecified launch failure",
    "CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure",
    "cudaErrorMisalignedAddress: misaligned address",
    "cudaErrorInvalidAddressSpace: operation not supported on global/shared address space",
    "cudaErrorInvalidPc: invalid program counter",
    "cudaErrorECCUncorrectable: uncorrectable ECC error encountered",
    "CUBLAS_STATUS_EXECUTION_FAILED",
]
HARMLESS = [
    "CUBLAS_STATUS_ALLOC_FAILED",
    "cudaErrorInvalidDevicePointer: invalid device pointer",
    "CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE: too many blocks in cooperative launch",
    "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES: too many resources requested for launch",
]


def test_the_errors_after_which_cuda_refuses_all_calls() -> None:
    for message in LOSING:
        with pytest.raises(ContextLostError):
            launch.raise_if_lost(RuntimeError(message))
    for message in HARMLESS:
        launch.raise_if_lost(RuntimeError(message))


def assert_other(gpu: CupyBackend, sizes: Sizes, form: str, why: str, caplog: pytest.LogCaptureFixture) -> None:
    """Two training steps agree with the plain form, and a warning for each direction says why it is not `form`."""
    rnn = layer(gpu, sizes)
    with use_fused(False):
        expected = step(rnn, sizes)
    for _ in range(2):
        assert_close(step(rnn, sizes), expected)
    messages = [record.getMessage() for record in caplog.records if f"the {form} form" in record.getMessage()]
    assert all((record.name, record.levelno) == ("xrnn", logging.WARNING) for record in caplog.records)
    for direction, message in zip(("forward", "backward"), messages, strict=True):
        start = f"the {form} form (rnn {direction}, float32) is not used on pretend GPU, another form runs instead: "
        assert message.startswith(start + why)
        assert "\n" not in message
    for backward in (False, True):
        assert explained(gpu, sizes, backward).form in ("plain", "stepwise")
        assert explained(gpu, sizes, backward).why.startswith(f"not {form}: {why}")
