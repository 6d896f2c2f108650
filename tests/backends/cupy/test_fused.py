"""The fused forms on the stand-in, with the emulator behind its RawModule: launches, and what can go wrong."""

from __future__ import annotations

import itertools
from unittest import mock

import numpy as np
import pytest

from tests import standin as cp
from tests.backends.cupy import steps
from tests.backends.cupy.steps import GROUP, ONE_BLOCK, RECURRENT, explained, launched, layer, step, taking
from tests.standin.counting import counted
from xrnn import use_fused
from xrnn.backend import Explanation
from xrnn.backends import cupy as adapter
from xrnn.backends.cupy import CupyBackend, launch
from xrnn.backends.cupy.cells import NAMED
from xrnn.backends.cupy.choice import Request, candidates
from xrnn.info import forms
from xrnn.ops.cells.rnn import RNNCell


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize(
    ("cell", "form"),
    [
        *zip([*RECURRENT, "trained leak"], itertools.cycle(["group-partial", "one-block", "group"]), strict=False),
        *((cell, "scan") for cell in steps.SCANNED),
    ],
)
def test_the_launches_of_a_training_step(gpu: CupyBackend, cell: str, form: str, lengths: bool) -> None:
    """Forward at most two besides the input's product and bias, backward at most two besides the weights' products."""
    sizes = T, N, D, H = steps.SIZES[form]
    mine, rnn = cp.cuda.Stream(non_blocking=True), layer(gpu, sizes, cell=cell)
    with counted() as own:
        coefficients = rnn.cell.coefficients(cp, rnn.params[3:])
    with taking(form):
        step(rnn, sizes)  # the self-test of the form runs
    with use_fused(False):
        plain = launched(gpu, cell, sizes, lengths=lengths)
    with taking(form), mine:
        forward, backward = launched(gpu, cell, sizes, lengths=lengths)
        # However long the sequence.
        assert launched(gpu, cell, (2 * T, N, D, H), lengths=lengths) == (forward, backward)
    # x @ Wx, and what adds the bias; dWx, dWh, dx, and what sums db. No operand of a product is copied.
    products = 2 if form == "scan" else 3
    assert (forward.products, backward.products, forward.gemms, backward.gemms) == (1, products, 0, 0)
    assert (forward.raw_kernels, backward.raw_kernels) == (1, 1)
    bias = {"gru": 3}.get(cell, 1)
    assert forward.kernels - bias - 2 * lengths - own.kernels - (len(coefficients) > 1) <= 1
    assert backward.kernels < plain[1].kernels
    assert (forward.host_to_device, forward.device_to_host, forward.waits) == (0, 0, 0)
    assert forward.streams == backward.streams == {mine}


def test_a_later_call_decides_and_binds_nothing(gpu: CupyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    rnn = layer(gpu, ONE_BLOCK)
    step(rnn, ONE_BLOCK)
    for what, name in ((adapter, "choose"), (gpu.selftest, "failure"), (gpu.launcher, "bind")):
        monkeypatch.setattr(what, name, lambda *_: pytest.fail("this was decided before"))
    step(rnn, ONE_BLOCK)


def test_a_group_that_gives_up_is_reported_once_on_its_own_stream(gpu: CupyBackend) -> None:
    rnn, x = layer(gpu, GROUP), cp.ones(GROUP[:3], "float32")
    expected = rnn(x)  # the form has passed its test
    mine, other = cp.cuda.Stream(), cp.cuda.Stream()
    with mine, mock.patch.object(launch, "PATIENCE", -1):  # it gives up as soon as it has to wait
        h = rnn.forward(x)
    assert np.isnan(h.get()[1:]).any()
    for stream in (other, cp.cuda.Stream.null):  # what runs there is right
        with stream:
            np.testing.assert_array_equal(gpu.to_numpy(rnn(x)), gpu.to_numpy(expected))
    with mine, cp.cuda.Device(1):  # another device's stream of that name
        gpu.launcher.raise_if_gave_up()
    with mine:
        with pytest.raises(RuntimeError, match="gave up waiting for its own blocks, and its results are NaN"):
            rnn(x)
        rnn(x)
        gpu.launcher._word(launch.USER)[0][0] = 1
        with pytest.raises(RuntimeError, match="gave up"):
            gpu.to_numpy(h)
        gpu.to_numpy(h)


@pytest.mark.parametrize("resident", [None, False, True])  # the group of no direction, of forward, of backward
def test_a_direction_that_can_not_be_resident_takes_the_stepwise_form(gpu: CupyBackend, resident: bool | None) -> None:
    fits, why = gpu.launcher.fits, "not group: the driver can't keep all 5 blocks of a group resident at once"

    def only(bound: launch.Bound) -> bool:
        return fits(bound) and (bound.candidate.form not in launch.COOPERATIVE or bound.request.backward is resident)

    with mock.patch.object(gpu.launcher, "fits", only):
        step(layer(gpu, GROUP), GROUP)
        for backward, counters in enumerate(launched(gpu, "rnn", GROUP, lengths=False)):
            found = explained(gpu, GROUP, backward=bool(backward))
            if backward == resident:
                assert (found.form, counters.raw_kernels) == ("group", 1)
            else:
                assert (found, counters.raw_kernels) == (Explanation("stepwise", why), GROUP[0] + backward)


def test_explain(gpu: CupyBackend) -> None:
    found = candidates(gpu.launcher.device(), Request(NAMED["rnn"], True, "float32", *GROUP))
    (chosen,) = (c for c in found if c.form == "group" and c.seconds == min(each.seconds for each in found))
    why = f"{chosen.step_seconds / 1e-6:.1f} µs a step by prediction, the best of {len(found)} candidates"
    assert explained(gpu, GROUP, backward=True) == Explanation("group", why)
    why = "there is no kernel for float16 or for empty or gigantic arrays"
    assert explained(gpu, ONE_BLOCK, dtype="float16") == Explanation("plain", why)
    with use_fused(False):
        assert explained(gpu, GROUP, backward=True) == Explanation("plain", "XRNN_FUSED=0 or use_fused(False)")
    text = forms(gpu, RNNCell(), dict(zip("TNDH", GROUP, strict=True)), "float32")
    assert "rnn forward, float32, T=4" in text
    assert "rnn backward, float32, T=4" in text
