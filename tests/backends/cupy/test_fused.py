"""The fused forms on the stand-in, with the emulator behind its RawModule: values, launches, and what can go wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import cuda_emulator
from tests import standin as cp
from tests.backends.cupy.steps import FORMS, GROUP, KERNEL_CELLS, ONE_BLOCK, explained, launched, layer, step, taking
from tests.standin import raw
from tests.standin.counting import counted
from xrnn import use_fused
from xrnn.backend import Explanation
from xrnn.backends import cupy as adapter
from xrnn.backends.cupy import CupyBackend, launch
from xrnn.backends.cupy.cells import NAMED
from xrnn.backends.cupy.choice import Request, candidates
from xrnn.ops.cells.rnn import RNNCell


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cell", [*KERNEL_CELLS, "relu", "leak by unit", "leaky relu"])
def test_the_form_agrees_with_the_plain_one(gpu: CupyBackend, cell: str, form: str, dtype: str) -> None:
    sizes = FORMS[form]
    fused_layer = layer(gpu, sizes, dtype, cell)
    with taking(form):
        step(fused_layer, sizes, dtype)  # tests the form itself
        with counted() as counters:
            fused = step(fused_layer, sizes, dtype)
    assert counters.raw_kernels == (2 * sizes[0] + 1 if form == "stepwise" else 2)
    with use_fused(False), counted() as counters:
        plain = step(fused_layer, sizes, dtype)
    assert counters.raw_kernels == 0
    for got, want in zip(fused, plain, strict=True):
        scale = max(1.0, float(abs(want).max()))
        np.testing.assert_allclose(got / scale, want / scale, rtol=0, atol=1e-5 if dtype == "float32" else 1e-13)


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("form", ["one-block", "group", "group-partial"])
@pytest.mark.parametrize("cell", KERNEL_CELLS)
def test_the_launches_of_a_training_step(gpu: CupyBackend, cell: str, form: str, lengths: bool) -> None:
    """Forward at most two besides the input's product and bias, backward at most two besides the weights' products."""
    T, N, D, H = FORMS[form]
    mine = cp.cuda.Stream(non_blocking=True)
    with taking(form):
        step(layer(gpu, FORMS[form], "float32", cell), FORMS[form], "float32")  # tests the form, and waits
    with use_fused(False):
        plain = launched(gpu, cell, FORMS[form], lengths=lengths)
    with taking(form), mine:
        forward, backward = launched(gpu, cell, FORMS[form], lengths=lengths)
        # However long the sequence.
        assert launched(gpu, cell, (2 * T, N, D, H), lengths=lengths) == (forward, backward)
    # x @ Wx, and what adds the bias; dWx, dWh, dx, and what sums db. No operand of a product is copied.
    assert (forward.products, backward.products, forward.gemms, backward.gemms) == (1, 3, 0, 0)
    assert (forward.raw_kernels, backward.raw_kernels) == (1, 1)
    bias = {"gru": 3}.get(cell, 1)
    assert forward.kernels - bias - 2 * lengths <= 1
    assert backward.kernels < plain[1].kernels
    assert (forward.host_to_device, forward.device_to_host, forward.waits) == (0, 0, 0)
    assert forward.streams == backward.streams == {mine}


def test_a_later_call_decides_and_binds_nothing(gpu: CupyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    rnn = layer(gpu, ONE_BLOCK, "float32")
    step(rnn, ONE_BLOCK, "float32")
    for what, name in ((adapter, "choose"), (gpu.selftest, "failure"), (gpu.launcher, "bind")):
        monkeypatch.setattr(what, name, lambda *_: pytest.fail("this was decided before"))
    step(rnn, ONE_BLOCK, "float32")


def test_a_module_is_compiled_once_for_a_variant(gpu: CupyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def compile_and_note(**arguments: Any) -> Any:
        compiled.append(arguments["options"])
        return cuda_emulator.Module(**arguments)

    monkeypatch.setattr(raw, "compiler", compile_and_note)
    rnn = layer(gpu, ONE_BLOCK, "float32")
    for _ in range(3):
        step(rnn, ONE_BLOCK, "float32")
    variants = [launch.Variant(NAMED["rnn"], "one-block", backward, "float32", 1, 8) for backward in (False, True)]
    assert compiled == [variant.options for variant in variants]


def test_a_kernel_runs_on_the_device_of_its_arrays(gpu: CupyBackend) -> None:
    with cp.cuda.Device(1):
        rnn = layer(gpu, ONE_BLOCK, "float32")
        x = cp.ones(ONE_BLOCK[:3], "float32")
    h = rnn.forward(x)
    assert h.device == cp.cuda.Device(1)


def test_a_group_that_gives_up_is_reported_once_by_the_next_call(
    gpu: CupyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    rnn = layer(gpu, GROUP, "float32")
    x = cp.ones(GROUP[:3], "float32")
    rnn(x)  # the form has passed its test
    monkeypatch.setattr(launch, "PATIENCE", -1)  # it gives up as soon as it has to wait
    h = rnn.forward(x)
    assert np.isnan(h.get()[1:]).any()
    with pytest.raises(RuntimeError, match="gave up waiting for its own blocks, and its results are NaN"):
        rnn.forward(x)
    monkeypatch.undo()
    gpu.launcher._word(launch.USER)[0][0] = 1
    with pytest.raises(RuntimeError, match="gave up"):
        gpu.to_numpy(h)
    gpu.to_numpy(h)


def test_a_group_that_gives_up_is_reported_on_its_own_stream(gpu: CupyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    rnn, x = layer(gpu, GROUP, "float32"), cp.ones(GROUP[:3], "float32")
    expected = rnn(x)  # the form has passed its test
    mine, other = cp.cuda.Stream(), cp.cuda.Stream()
    with mine, monkeypatch.context() as patched:
        patched.setattr(launch, "PATIENCE", -1)
        rnn(x)
    for stream in (other, cp.cuda.Stream.null):  # what runs there is right
        with stream:
            np.testing.assert_array_equal(gpu.to_numpy(rnn(x)), gpu.to_numpy(expected))
    with mine, cp.cuda.Device(1):  # another device's stream of that name
        gpu.launcher.raise_if_gave_up()
    with mine, pytest.raises(RuntimeError, match="gave up waiting"):
        rnn(x)
    with mine:
        rnn(x)


@pytest.mark.parametrize("resident", [None, "forward", "backward"])
def test_a_direction_that_can_not_be_resident_takes_the_stepwise_form(
    gpu: CupyBackend, resident: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rnn, (T, N, D, H) = layer(gpu, GROUP, "float32"), GROUP
    x, dh = cp.ones((T, N, D), "float32"), cp.ones((T, N, H), "float32")
    fits = gpu.launcher.fits

    def only(bound: launch.Bound) -> bool:
        direction = "backward" if bound.request.backward else "forward"
        return fits(bound) and (bound.candidate.form not in launch.COOPERATIVE or direction == resident)

    monkeypatch.setattr(gpu.launcher, "fits", only)
    rnn.forward(x)
    rnn.backward(dh)
    with counted() as forward:
        rnn.forward(x)
    with counted() as backward:
        rnn.backward(dh)
    assert forward.raw_kernels == (1 if resident == "forward" else T)
    assert backward.raw_kernels == (1 if resident == "backward" else T + 1)
    for direction in ("forward", "backward"):
        why = "not group: the driver can't keep all 5 blocks of a group resident at once"
        found = explained(gpu, GROUP, backward=direction == "backward")
        assert found.form == "group" if direction == resident else found == Explanation("stepwise", why)


@pytest.mark.parametrize("sizes", [ONE_BLOCK, GROUP])
@pytest.mark.parametrize("backward", [False, True])
def test_explain(gpu: CupyBackend, sizes: tuple[int, int, int, int], backward: bool) -> None:
    request = Request(NAMED["rnn"], backward, "float32", *sizes)
    found = candidates(gpu.launcher.device(), request)
    chosen = min(found, key=lambda c: c.seconds)
    microseconds = f"{chosen.step_seconds / 1e-6:.1f}"
    why = f"{microseconds} µs a step by prediction, the best of {len(found)} candidates"
    assert explained(gpu, sizes, backward) == Explanation(chosen.form, why)


def test_explain_what_has_no_kernel(gpu: CupyBackend) -> None:
    found = explained(gpu, ONE_BLOCK, dtype="float16")
    assert found.form == "plain"
    assert found.why.startswith("there is no kernel for float16")


def test_explain_what_was_turned_off_and_all_candidates(gpu: CupyBackend) -> None:
    with use_fused(False):
        found = explained(gpu, GROUP, backward=True)
    assert found == Explanation("plain", "XRNN_FUSED=0 or use_fused(False)")
    text = gpu.explain_sizes(RNNCell(), dict(zip("TNDH", GROUP, strict=True)), "float32")
    assert "rnn forward, float32, T=4" in text
    assert "rnn backward, float32, T=4" in text
