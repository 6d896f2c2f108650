"""On the stand-in: what the launch code asks CuPy for, and which variants are compared before they are believed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests import standin, standin_backend
from tests.standin import _device
from xrnn.backends.cupy import launch
from xrnn.backends.cupy.choice import DEVICES, Candidate, Device, candidates
from xrnn.backends.cupy.launch import Launcher
from xrnn.backends.cupy.trust import Trust
from xrnn.ops.inputs import Inputs


def candidate(launcher: Launcher, form: str, H: int, dtype: str = "float32") -> Candidate:
    return next(c for c in candidates(launcher.device(), dtype, 4, 5, 3, H) if c.form == form)


def changed(candidate: Candidate, **fields: Any) -> Candidate:
    return replace(candidate, **fields)


def test_the_blocks_of_a_group_are_launched_together(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}
    make = standin.RawModule

    def spy(code: str, options: Any, enable_cooperative_groups: bool) -> Any:
        asked[code] = enable_cooperative_groups
        return make(code=code, options=options, enable_cooperative_groups=enable_cooperative_groups)

    with standin_backend.small() as backend:
        monkeypatch.setattr(standin, "RawModule", spy)
        for form, H in (("one-block", 20), ("group", 260)):
            assert backend.trust.doubts(candidate(backend.launcher, form, H), "float32", H) is None
    assert asked == {launch.source("one-block"): False, launch.source("group"): True}


@pytest.mark.parametrize("resident", [False, True])
def test_each_direction_must_fit_by_itself(monkeypatch: pytest.MonkeyPatch, resident: bool) -> None:
    with standin_backend.small() as backend:
        launcher = backend.launcher
        group = candidate(launcher, "group", 260)
        only = launcher._kernel(group, "float32", resident).kernel.ptr
        monkeypatch.setattr(
            standin.cuda.driver, "occupancyMaxActiveBlocksPerMultiprocessor", lambda kernel, *_: int(kernel == only)
        )
        assert [launcher.fits(group, "float32", backward) for backward in (False, True)] == [not resident, resident]


@pytest.mark.parametrize("backward", [False, True])
def test_a_group_of_which_one_direction_does_not_fit_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, backward: bool
) -> None:
    with standin_backend.small() as backend:
        fits = backend.launcher.fits
        monkeypatch.setattr(
            backend.launcher, "fits", lambda c, dtype, which: which != backward and fits(c, dtype, which)
        )
        why = backend.trust.doubts(candidate(backend.launcher, "group", 260), "float32", 260)
        assert why == "the driver can't keep all 5 blocks of a group resident at once"


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ("80", DEVICES["a100"]),
        ("90", DEVICES["h100"]),
        ("90", DEVICES["h200"]),
        ("100", DEVICES["b200"]),
        ("86", Device("NVIDIA RTX A6000", 84, 101_376, 1.8e9, 128, 2)),
    ],
)
def test_what_is_asked_of_a_gpu_is_what_is_told_of_one_that_is_named(
    monkeypatch: pytest.MonkeyPatch, capability: str, expected: Device
) -> None:
    attributes = {
        "MultiProcessorCount": expected.multiprocessors,
        "MaxSharedMemoryPerBlockOptin": expected.shared_bytes,
        "ClockRate": round(expected.clock / 1000),  # in kHz
        "CooperativeLaunch": 1,
    }
    monkeypatch.setattr(_device.Device, "attributes", attributes)
    monkeypatch.setattr(_device.Device, "compute_capability", capability)
    monkeypatch.setattr(standin.cuda.runtime, "getDeviceProperties", lambda number: {"name": expected.name.encode()})
    assert Launcher(standin).device() == expected


def test_the_device_is_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    common = _device.Device.attributes
    by_id = property(lambda device: {**common, "MultiProcessorCount": 7 + device.id})
    monkeypatch.setattr(_device.Device, "attributes", by_id)
    launcher = Launcher(standin)
    assert launcher.device().multiprocessors == 7
    with standin.cuda.Device(1):
        assert launcher.device().multiprocessors == 8
    assert launcher.device().multiprocessors == 7


def test_a_wrong_gradient_of_the_given_state_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with standin_backend.small() as backend:
        right = backend.launcher.backward

        def wrong(*arguments: Any) -> Any:
            dz, dh_prev = right(*arguments)
            return dz, 2 * dh_prev

        monkeypatch.setattr(backend.launcher, "backward", wrong)
        doubts = backend.trust.doubts(candidate(backend.launcher, "one-block", 20), "float32", 20)
        assert doubts is not None
        assert doubts.startswith("its dh_prev is off by ")


BLOCK = Candidate("one-block", 1.0, 1.0, 1, 8, 20, 5, 8, 12, 15, (9, 1))
BLOCKS = Candidate("group", 1.0, 1.0, 2, 16, 8, 2, 16, 20, 32, (3, 2))


@pytest.mark.parametrize(
    ("one", "other", "times"),
    [
        (BLOCK, BLOCK, 1),
        (BLOCK, replace(BLOCK, seconds=2.0, step_seconds=2.0), 1),
        (BLOCK, replace(BLOCK, grid=(1000, 1)), 1),  # both have more blocks than the GPU has multiprocessors
        (BLOCK, replace(BLOCK, grid=(3, 1)), 2),
        *((BLOCKS, changed(BLOCKS, **{name: 4}), 2) for name in ("rows", "kept", "columns", "column_threads")),
        *((BLOCKS, changed(BLOCKS, **{name: 4}), 2) for name in ("slice", "pitch", "threads")),
        (BLOCKS, replace(BLOCKS, form="one-block"), 2),
        (BLOCKS, replace(BLOCKS, grid=(3, 1)), 2),
    ],
)
def test_each_layout_is_compared_by_itself(
    monkeypatch: pytest.MonkeyPatch, one: Candidate, other: Candidate, times: int
) -> None:
    compared = []

    def compare(self: Trust, *layout: Any) -> None:
        compared.append(layout)

    monkeypatch.setattr(Trust, "_compare", compare)
    with standin_backend.small() as backend:
        for candidate in (one, other, one, other):
            assert backend.trust.doubts(candidate, "float32", 20) is None
        assert len(compared) == times
        backend.trust.doubts(one, "float64", 20)
        backend.trust.doubts(one, "float32", 21)
        with standin.cuda.Device(1):
            backend.trust.doubts(one, "float32", 20)
        assert len(compared) == times + 3


@pytest.mark.parametrize(
    ("candidate", "grid", "N"),
    [
        (BLOCKS, (3, 2), 5),  # two tiles of two rows, and a row
        (replace(BLOCKS, rows=4, grid=(32, 4)), (32, 4), 17),
        (replace(BLOCKS, rows=1, grid=(3, 3)), (3, 3), 4),
        (BLOCK, (6, 1), 6),  # five multiprocessors, and one more
        (replace(BLOCK, rows=4, grid=(3, 1)), (3, 1), 9),
        (replace(BLOCK, rows=2, grid=(1, 1)), (2, 1), 3),
    ],
)
def test_the_comparison_has_the_grid_that_will_run(
    monkeypatch: pytest.MonkeyPatch, candidate: Candidate, grid: tuple[int, int], N: int
) -> None:
    launched = []

    def forward(candidate: Candidate, cell: Any, inputs: Inputs, whose: int) -> None:
        launched.append((candidate, inputs.x.shape))
        raise ValueError("seen enough")

    with standin_backend.small() as backend:
        monkeypatch.setattr(backend.launcher, "forward", forward)
        monkeypatch.setattr(backend.launcher, "fits", lambda *_: True)
        assert backend.trust.doubts(candidate, "float32", 20) == "ValueError: seen enough"
    assert launched == [(replace(candidate, grid=grid), (3, N, 5))]


def test_a_grid_that_the_driver_refuses_is_not_even_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with standin_backend.small() as backend:
        monkeypatch.setattr(standin.cuda.driver, "occupancyMaxActiveBlocksPerMultiprocessor", lambda *_: 0)
        monkeypatch.setattr(backend.launcher, "_launch", lambda *_, **__: pytest.fail("it was launched"))
        why = backend.trust.doubts(candidate(backend.launcher, "group", 260), "float32", 260)
        assert why == "the driver can't keep all 5 blocks of a group resident at once"


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-3), ("float64", 1e-9)])
@pytest.mark.parametrize(("share", "agrees"), [(0.9, True), (1.1, False)])
def test_how_far_off_a_form_may_be(
    monkeypatch: pytest.MonkeyPatch, dtype: str, tolerance: float, share: float, agrees: bool
) -> None:
    with standin_backend.small() as backend:
        right = backend.launcher.backward

        def nearly(*arguments: Any) -> Any:
            dz, dh_prev = right(*arguments)
            at = standin.asnumpy(abs(dh_prev)).argmax()
            dh_prev.reshape(-1)[int(at)] *= 1 + share * tolerance
            return dz, dh_prev

        monkeypatch.setattr(backend.launcher, "backward", nearly)
        doubts = backend.trust.doubts(candidate(backend.launcher, "one-block", 20, dtype), dtype, 20)
    assert (doubts is None) is agrees
    assert doubts is None or doubts.startswith(f"its dh_prev is off by {share * tolerance:.2g} of")


def test_the_problem_that_is_compared_is_of_moderate_size(monkeypatch: pytest.MonkeyPatch) -> None:
    # Standard normal, Wx and Wh so scaled that a state's sums are near 1: neither 0 nor saturated.
    seen: dict[str, Any] = {}
    with standin_backend.small() as backend:
        forward, backward = backend.launcher.forward, backend.launcher.backward

        def see_forward(candidate: Candidate, cell: Any, inputs: Inputs, whose: int) -> Any:
            seen.update(x=inputs.x, Wx=inputs.Wx, Wh=inputs.Wh, b=inputs.b, h_prev=inputs.initial[0])
            return forward(candidate, cell, inputs, whose)

        def see_backward(candidate: Candidate, cell: Any, trace: Any, dh: Any, whose: int) -> Any:
            seen["dh"] = dh
            return backward(candidate, cell, trace, dh, whose)

        monkeypatch.setattr(backend.launcher, "forward", see_forward)
        monkeypatch.setattr(backend.launcher, "backward", see_backward)
        assert backend.trust.doubts(candidate(backend.launcher, "one-block", 100), "float32", 100) is None
    spread = {name: float(standin.asnumpy(array).std()) for name, array in seen.items()}
    scales = {"x": 1, "Wx": 5**-0.5, "Wh": 0.05, "b": 1, "h_prev": 1, "dh": 1}
    assert {name: spread[name] / scales[name] for name in scales} == pytest.approx(dict.fromkeys(scales, 1), rel=0.2)
    assert float(standin.asnumpy(seen["Wh"]).max()) < 0.3  # of ten thousand: no quotient of normal numbers
    again = np.random.default_rng(0).standard_normal(seen["x"].shape).astype("float32")
    np.testing.assert_array_equal(standin.asnumpy(seen["x"]), again)
