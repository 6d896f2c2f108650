"""On the stand-in: what the launch code asks CuPy for, and which layouts are compared before their first use."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any
from unittest import mock

import pytest

from tests import standin
from tests.standin import _device
from tests.standin.imitation import imitate
from xrnn.backends.cupy import CupyBackend
from xrnn.backends.cupy.cells import NAMED
from xrnn.backends.cupy.choice import DEVICES, Candidate, Device, Layout, Request, candidates
from xrnn.backends.cupy.launch import Launcher, LaunchError


def request(H: int, cell: str = "rnn", dtype: str = "float32", *, backward: bool = False) -> Request:
    return Request(NAMED[cell], backward, dtype, 4, 5, 3, H)


def failure(gpu: CupyBackend, which: Candidate | str, r: Request) -> str | None:
    """Why this candidate, or the first of this form, is not used."""
    found = (c for c in candidates(gpu.launcher.device(), r) if c.form == which)
    candidate = next(found) if isinstance(which, str) else which
    why, final = gpu.selftest.failure(candidate, r)
    assert final
    return why


def test_the_blocks_of_a_group_are_launched_together(gpu: CupyBackend) -> None:
    asked = {}
    with mock.patch.object(standin, "RawModule", wraps=standin.RawModule) as spy:
        for form, H in (("stepwise", 20), ("one-block", 20), ("group", 60), ("group-partial", 60)):
            assert failure(gpu, form, request(H, "gru", backward=True)) is None
            asked[form] = spy.call_args.kwargs["enable_cooperative_groups"]
    assert asked == {"stepwise": False, "one-block": False, "group": True, "group-partial": True}


def test_a_grid_that_the_driver_refuses_is_not_even_tried(gpu: CupyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standin.cuda.driver, "occupancyMaxActiveBlocksPerMultiprocessor", lambda *_: 0)
    monkeypatch.setattr(gpu.launcher, "forward", lambda *_, **__: pytest.fail("it was launched"))
    why = "the driver can't keep all 5 blocks of a group resident at once"
    assert failure(gpu, "group", request(260)) == why


@pytest.mark.parametrize("expected", DEVICES.values(), ids=DEVICES)
def test_what_is_asked_of_a_gpu_is_what_is_told_of_one_that_is_named(
    monkeypatch: pytest.MonkeyPatch, expected: Device
) -> None:
    imitate(monkeypatch.setattr, expected)
    assert Launcher(standin).device() == expected


def test_a_driver_that_does_not_tell_the_memorys_clock(gpu: CupyBackend) -> None:
    with mock.patch.dict(_device.Device.attributes, MemoryClockRate=0, GlobalMemoryBusWidth=0):
        device = gpu.launcher.device()
    assert device.bandwidth == min(each.bandwidth for each in DEVICES.values())
    assert candidates(device, request(4000))[0].seconds < 1


def test_the_device_is_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    common = _device.Device.attributes
    by_id = property(lambda device: {**common, "MultiProcessorCount": 7 + device.id})
    monkeypatch.setattr(_device.Device, "attributes", by_id)
    launcher = Launcher(standin)
    assert launcher.device().multiprocessors == 7
    with standin.cuda.Device(1):
        assert launcher.device().multiprocessors == 8
    assert launcher.device().multiprocessors == 7


BLOCK = Candidate("one-block", 1.0, 1.0, (9, 1), Layout(1, 8, 20, 5, 8, 12, 15, 4000))
BLOCKS = Candidate("group", 1.0, 1.0, (3, 2), Layout(2, 16, 8, 2, 16, 20, 32, 4000))


def changed(candidate: Candidate, grid: tuple[int, int], **layout: Any) -> Candidate:
    assert candidate.layout is not None
    return replace(candidate, grid=grid, layout=replace(candidate.layout, **layout))


@pytest.mark.parametrize(
    ("one", "other", "times"),
    [
        (BLOCK, BLOCK, 1),
        (BLOCK, replace(BLOCK, seconds=2.0, step_seconds=2.0), 1),
        (BLOCK, replace(BLOCK, grid=(1000, 1)), 1),  # both have more blocks than the GPU has multiprocessors
        (BLOCK, replace(BLOCK, grid=(3, 1)), 2),
        *((BLOCKS, changed(BLOCKS, BLOCKS.grid, **{field.name: 4}), 2) for field in fields(Layout)),
        (BLOCKS, replace(BLOCKS, form="one-block"), 2),
        (BLOCKS, replace(BLOCKS, grid=(3, 1)), 2),
    ],
)
def test_each_layout_is_compared_by_itself(gpu: CupyBackend, one: Candidate, other: Candidate, times: int) -> None:
    with mock.patch.object(gpu.selftest, "_compare", return_value=None) as compare:
        for each in (one, other, one, other):
            assert failure(gpu, each, request(20)) is None
        assert compare.call_count == times
        for r in (request(20, backward=True), request(20, "lstm"), request(21), replace(request(20), heads=2)):
            failure(gpu, one, r)
        with standin.cuda.Device(1):
            failure(gpu, one, request(20))
        assert compare.call_count == times + 5


@pytest.mark.parametrize(
    ("candidate", "grid", "N"),
    [
        (BLOCKS, (3, 2), 5),  # two tiles of two rows, and a row
        (changed(BLOCKS, (32, 4), rows=4), (32, 4), 17),
        (changed(BLOCKS, (3, 3), rows=1), (3, 3), 4),
        (BLOCK, (6, 1), 6),  # five multiprocessors, and one more
        (changed(BLOCK, (3, 1), rows=4), (3, 1), 9),
        (changed(BLOCK, (1, 1), rows=2), (2, 1), 3),
    ],
)
def test_the_comparison_has_the_grid_that_will_run(
    gpu: CupyBackend, candidate: Candidate, grid: tuple[int, int], N: int
) -> None:
    with (
        mock.patch.object(gpu.launcher, "forward", side_effect=LaunchError("seen enough")) as forward,
        mock.patch.object(gpu.launcher, "fits", return_value=True),
    ):
        assert failure(gpu, candidate, request(20)) == "seen enough"
    ((bound, _, inputs, *_),) = (call.args for call in forward.call_args_list)
    assert (bound.candidate, bound.grid, inputs.x.shape) == (replace(candidate, grid=grid), (*grid, 1), (3, N, 5))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-3), ("float64", 1e-9)])
@pytest.mark.parametrize(("share", "agrees"), [(0.9, True), (1.1, False)])
def test_how_far_off_a_form_may_be(gpu: CupyBackend, dtype: str, tolerance: float, share: float, agrees: bool) -> None:
    right = gpu.launcher.backward

    def nearly(*arguments: Any) -> Any:
        dz, (dh_prev,) = right(*arguments)
        dh_prev.reshape(-1)[int(abs(dh_prev).argmax())] *= 1 + share * tolerance
        return dz, (dh_prev,)

    with mock.patch.object(gpu.launcher, "backward", nearly):
        why = failure(gpu, "stepwise", request(20, dtype=dtype, backward=True))
    assert (why is None) is agrees
    assert why is None or why.startswith(f"its dh_prev is off by {share * tolerance:.2g} of")
