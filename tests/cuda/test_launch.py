"""On the stand-in: what the launch code asks CuPy for, and which variants are compared before they are believed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests import standin, standin_backend
from tests.standin._device import Device
from xrnn.backends.cupy import launch
from xrnn.backends.cupy.choice import Candidate, candidates
from xrnn.backends.cupy.launch import Launcher
from xrnn.backends.cupy.trust import Trust


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


def test_a_wrong_gradient_of_the_given_state_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with standin_backend.small() as backend:
        right = backend.launcher.backward

        def wrong(*arguments: Any) -> Any:
            dz, dh_prev = right(*arguments)
            return dz, 2 * dh_prev

        monkeypatch.setattr(backend.launcher, "backward", wrong)
        doubts = backend.trust.doubts(candidate(backend.launcher, "one-block", 20), "float32", 20)
        assert doubts.startswith("its dh_prev is off by ")


@pytest.mark.parametrize("other", [{"rows": 2}, {"kept": 16}, {"form": "group"}, {"dtype": "float64"}, {}], ids=str)
def test_each_variant_is_compared_by_itself(monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]) -> None:
    compared = []

    def compare(self: Trust, *variant: Any) -> str:
        compared.append(variant)
        return ""

    monkeypatch.setattr(Trust, "_compare", compare)
    with standin_backend.small() as backend:
        one = Candidate("one-block", 1.0, 1.0, rows=1, kept=8)
        changes = dict(other)
        dtype = changes.pop("dtype", "float32")
        for _ in range(2):
            assert backend.trust.doubts(one, "float32", 20) == ""
            assert backend.trust.doubts(replace(one, **changes), dtype, 20) == ""
    assert len(compared) == (2 if other else 1)
