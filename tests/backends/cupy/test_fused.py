"""The fused forms on the stand-in, with the emulator behind its RawModule: values, launches, and what can go wrong."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pytest

from tests import cuda_emulator
from tests import standin as cp
from tests.backends.cupy.steps import GROUP, ONE_BLOCK, layer, step
from tests.standin import raw
from tests.standin.counting import Counters, counted, no_waiting
from xrnn import use_fused
from xrnn.backend import Operation
from xrnn.backends.cupy import CupyBackend, launch
from xrnn.backends.cupy.choice import candidates
from xrnn.ops.cells.rnn import Nonlinearity, RNNCell

DIRECTIONS: Final[dict[str, Operation]] = {"forward": "recurrence_forward", "backward": "recurrence_backward"}


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("sizes", "form"), [(ONE_BLOCK, "one-block"), (GROUP, "group")])
def test_the_form_agrees_with_the_plain_one(
    backend: CupyBackend, sizes: tuple[int, ...], form: str, dtype: str, nonlinearity: Nonlinearity
) -> None:
    rnn = layer(backend, sizes, dtype, nonlinearity)
    explained = backend.explain("recurrence_forward", RNNCell(), dict(zip("TNDH", sizes, strict=True)), dtype)
    assert explained.form == form  # which has compared them already
    with counted() as counters:
        fused = step(rnn, sizes, dtype)
    assert counters.raw_kernels == 2
    with use_fused(False), counted() as counters:
        plain = step(rnn, sizes, dtype)
    assert counters.raw_kernels == 0
    for got, want in zip(fused, plain, strict=True):
        scale = max(1.0, float(abs(want).max()))
        np.testing.assert_allclose(got / scale, want / scale, rtol=0, atol=1e-5 if dtype == "float32" else 1e-13)


@pytest.mark.parametrize(
    ("sizes", "kernels"),
    [
        (ONE_BLOCK, 5),  # h_prev, += b; Whᵀ, Σ db, and what backward copies
        (GROUP, 7),  # and what both directions fill with 'empty'
    ],
)
def test_the_launches_of_a_training_step(backend: CupyBackend, sizes: tuple[int, ...], kernels: int) -> None:
    T, N, D, H = sizes
    rnn = layer(backend, sizes, "float32")
    x, dh = cp.ones((T, N, D), "float32"), cp.ones((T, N, H), "float32")
    mine = cp.cuda.Stream(non_blocking=True)

    def training_step(x: Any, dh: Any) -> Counters:
        with counted() as counters, no_waiting(), mine:
            rnn.forward(x)
            rnn.backward(dh)
        return counters

    rnn(x)  # compares the form with the plain one, and waits
    counters = training_step(x, dh)
    # x @ Wx; dh_prev, dWx, dWh and dx. Nothing is copied between host and device, and nothing waits.
    assert counters == Counters(raw_kernels=2, products=5, kernels=counters.kernels, streams={mine})
    assert counters.kernels <= kernels
    longer = training_step(cp.ones((2 * T, N, D), "float32"), cp.ones((2 * T, N, H), "float32"))
    assert longer == counters  # however long the sequence


def test_a_module_is_compiled_once_for_a_variant(backend: CupyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def compile_module(**arguments: Any) -> Any:
        compiled.append(arguments["options"])
        return cuda_emulator.compile_module(**arguments)

    monkeypatch.setattr(raw, "compiler", compile_module)
    rnn = layer(backend, ONE_BLOCK, "float32")
    for _ in range(3):
        step(rnn, ONE_BLOCK, "float32")
    assert compiled == [launch.options("float32", 1, 8, backward) for backward in (False, True)]


def test_a_kernel_runs_on_the_device_of_its_arrays(backend: CupyBackend) -> None:
    with cp.cuda.Device(1):
        rnn = layer(backend, ONE_BLOCK, "float32")
        x = cp.ones(ONE_BLOCK[:3], "float32")
    h = rnn.forward(x)
    assert h.device == cp.cuda.Device(1)


def test_a_group_that_gives_up_is_reported_once_by_the_next_call(
    backend: CupyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    rnn = layer(backend, GROUP, "float32")
    x = cp.ones(GROUP[:3], "float32")
    rnn(x)  # the form is believed
    monkeypatch.setattr(launch, "PATIENCE", -1)  # it gives up as soon as it has to wait
    h = rnn.forward(x)
    assert np.isnan(h.get()[1:]).any()  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="gave up waiting for its own blocks, and its results are NaN"):
        rnn.forward(x)
    monkeypatch.undo()
    backend.launcher._word(launch.USER)[0] = 1
    with pytest.raises(RuntimeError, match="gave up"):
        backend.to_numpy(h)
    backend.to_numpy(h)


def test_a_group_that_gives_up_is_reported_on_its_own_stream(
    backend: CupyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    rnn, x = layer(backend, GROUP, "float32"), cp.ones(GROUP[:3], "float32")
    expected = rnn(x)  # the form is believed
    mine, other = cp.cuda.Stream(), cp.cuda.Stream()
    with mine, monkeypatch.context() as patched:
        patched.setattr(launch, "PATIENCE", -1)
        rnn(x)
    for stream in (other, cp.cuda.Stream.null):  # what runs there is right
        with stream:
            np.testing.assert_array_equal(backend.to_numpy(rnn(x)), backend.to_numpy(expected))
    with mine, cp.cuda.Device(1):  # another device's stream of that name
        backend.launcher.raise_if_gave_up()
    with mine, pytest.raises(RuntimeError, match="gave up waiting"):
        rnn(x)
    with mine:
        rnn(x)


def test_what_the_driver_says_can_not_be_resident_takes_the_plain_form(
    backend: CupyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    rnn = layer(backend, GROUP, "float32")
    step(rnn, GROUP, "float32")
    monkeypatch.setattr(cp.cuda.driver, "occupancyMaxActiveBlocksPerMultiprocessor", lambda *_: 0)
    with counted() as counters:
        step(rnn, GROUP, "float32")
    assert counters.raw_kernels == 0
    sizes = dict(zip("TNDH", GROUP, strict=True))
    explained = backend.explain("recurrence_forward", RNNCell(), sizes, "float32")
    why = "not group: the driver can't keep all 4 blocks of a group resident at once"
    assert (explained.form, explained.why) == ("plain", why)


@pytest.mark.parametrize("resident", ["forward", "backward"])
def test_each_direction_that_can_not_be_resident_takes_the_plain_form_by_itself(
    backend: CupyBackend, resident: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rnn, (T, N, D, H) = layer(backend, GROUP, "float32"), GROUP
    x, dh = cp.ones((T, N, D), "float32"), cp.ones((T, N, H), "float32")
    rnn(x)  # the form is believed
    fits = backend.launcher.fits
    monkeypatch.setattr(
        backend.launcher,
        "fits",
        lambda c, dtype, backward: backward == (resident == "backward") and fits(c, dtype, backward),
    )
    with counted() as forward:
        rnn.forward(x)
    with counted() as backward:
        rnn.backward(dh)
    assert {"forward": forward.raw_kernels, "backward": backward.raw_kernels} == {
        direction: int(direction == resident) for direction in ("forward", "backward")
    }
    forms = {
        direction: backend.explain(operation, RNNCell(), {"T": T, "N": N, "D": D, "H": H}, "float32").form
        for direction, operation in DIRECTIONS.items()
    }
    assert forms == {direction: "group" if direction == resident else "plain" for direction in forms}


@pytest.mark.parametrize("sizes", [ONE_BLOCK, GROUP, (1, 2**20, 1, 2**14)])
def test_explain(backend: CupyBackend, sizes: tuple[int, ...]) -> None:
    found = candidates(backend.launcher.device(), "float32", *sizes)
    chosen = min(found, key=lambda c: c.seconds)
    explained = backend.explain("recurrence_backward", RNNCell(), dict(zip("TNDH", sizes, strict=True)), "float32")
    microseconds = f"{chosen.step_seconds / 1e-6:.1f}"
    assert explained.form == chosen.form
    assert explained.why == f"{microseconds} µs a step by prediction, the best of {len(found)} candidates"


def test_explain_what_was_turned_off_and_all_candidates(backend: CupyBackend) -> None:
    sizes = dict(zip("TNDH", GROUP, strict=True))
    with use_fused(False):
        explained = backend.explain("recurrence_backward", RNNCell(), sizes, "float32")
    assert (explained.form, explained.why) == ("plain", "XRNN_FUSED=0 or use_fused(False)")
    assert "pretend GPU, float32" in backend.explain_sizes(RNNCell(), sizes, "float32")
