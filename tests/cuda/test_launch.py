"""What the launch code asks CuPy for, on the stand-in: kernels of the right kind, for the right device."""

from __future__ import annotations

from typing import Any

import pytest

from tests import standin, standin_backend
from tests.standin._device import Device
from xrnn.backends.cupy import launch
from xrnn.backends.cupy.choice import Candidate, candidates
from xrnn.backends.cupy.launch import Launcher


def candidate(launcher: Launcher, form: str, H: int) -> Candidate:
    return next(c for c in candidates(launcher.device(), "float32", 4, 5, 3, H) if c.form == form)


def test_the_blocks_of_a_group_are_launched_together(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}
    make = standin.RawModule

    def spy(code: str, options: Any, enable_cooperative_groups: bool) -> Any:
        asked[code] = enable_cooperative_groups
        return make(code=code, options=options, enable_cooperative_groups=enable_cooperative_groups)

    with standin_backend.small() as backend:
        monkeypatch.setattr(standin, "RawModule", spy)
        for form, H in (("one-block", 20), ("group", 260)):
            assert backend.trust.doubts(candidate(backend.launcher, form, H), "float32", H) == ""
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


def test_the_device_is_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    common = Device.attributes
    by_id = property(lambda device: {**common, "MultiProcessorCount": 7 + device.id})
    monkeypatch.setattr(Device, "attributes", by_id)
    launcher = Launcher(standin)
    assert launcher.device().multiprocessors == 7
    with standin.cuda.Device(1):
        assert launcher.device().multiprocessors == 8
    assert launcher.device().multiprocessors == 7
