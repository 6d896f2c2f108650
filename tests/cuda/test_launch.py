"""On the stand-in: what the launch code asks CuPy for, and which layouts are compared before their first use."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu.forms import cell_of
from tests import standin, standin_backend
from tests.standin import _device
from xrnn.backends.cupy import CupyBackend, launch
from xrnn.backends.cupy.cells import NAMED
from xrnn.backends.cupy.choice import DEVICES, Candidate, Device, Layout, Request, candidates
from xrnn.backends.cupy.launch import Bound, Launcher, LaunchError
from xrnn.backends.cupy.selftest import SelfTest


def candidate(launcher: Launcher, form: str, H: int, cell: str = "rnn", *, backward: bool = False) -> Candidate:
    request = Request(NAMED[cell], backward, "float32", 4, 5, 3, H)
    return next(c for c in candidates(launcher.device(), request) if c.form == form)


def failure(
    backend: CupyBackend, c: Candidate, H: int, cell: str = "rnn", dtype: str = "float32", *, backward: bool = False
) -> Any:
    request = Request(NAMED[cell], backward, dtype, 4, 5, 3, H)
    why, final = backend.selftest.failure(c, request, cell_of(cell))
    assert final
    return why


def test_the_blocks_of_a_group_are_launched_together(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}
    make = standin.RawModule

    def spy(code: str, options: Any, enable_cooperative_groups: bool) -> Any:
        asked[re.search(r"(\w+)\(const Real\*", code)[1]] = enable_cooperative_groups  # type: ignore[index]
        return make(code=code, options=options, enable_cooperative_groups=enable_cooperative_groups)

    with standin_backend.small() as backend:
        monkeypatch.setattr(standin, "RawModule", spy)
        for form, H in (("stepwise", 20), ("one-block", 20), ("group", 60), ("group-partial", 60)):
            c = candidate(backend.launcher, form, H, "gru", backward=True)
            assert failure(backend, c, H, "gru", backward=True) is None
    assert asked == {"stepwise": False, "one_block": False, "group": True, "partial": True}


def test_the_source_is_the_cpus_cells_and_includes_nothing() -> None:
    for variant in launch.variants():
        assert "#include" not in variant.source
        assert f"struct {variant.cell.template}" in variant.source or "Elman" in variant.cell.template


def test_a_grid_that_the_driver_refuses_is_not_even_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with standin_backend.small() as backend:
        monkeypatch.setattr(standin.cuda.driver, "occupancyMaxActiveBlocksPerMultiprocessor", lambda *_: 0)
        monkeypatch.setattr(backend.launcher, "forward", lambda *_, **__: pytest.fail("it was launched"))
        why = failure(backend, candidate(backend.launcher, "group", 260), 260)
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


BLOCK = Candidate("one-block", 1.0, 1.0, (9, 1), Layout(1, 8, 20, 5, 8, 12, 15, 4000))
BLOCKS = Candidate("group", 1.0, 1.0, (3, 2), Layout(2, 16, 8, 2, 16, 20, 32, 4000))


def changed(candidate: Candidate, **fields: Any) -> Candidate:
    assert candidate.layout is not None
    return replace(candidate, layout=replace(candidate.layout, **fields))


@pytest.mark.parametrize(
    ("one", "other", "times"),
    [
        (BLOCK, BLOCK, 1),
        (BLOCK, replace(BLOCK, seconds=2.0, step_seconds=2.0), 1),
        (BLOCK, replace(BLOCK, grid=(1000, 1)), 1),  # both have more blocks than the GPU has multiprocessors
        (BLOCK, replace(BLOCK, grid=(3, 1)), 2),
        *((BLOCKS, changed(BLOCKS, **{name: 4}), 2) for name in ("rows", "held", "units", "column_threads")),
        *((BLOCKS, changed(BLOCKS, **{name: 4}), 2) for name in ("slice", "pitch", "threads")),
        (BLOCKS, replace(BLOCKS, form="one-block"), 2),
        (BLOCKS, replace(BLOCKS, grid=(3, 1)), 2),
    ],
)
def test_each_layout_is_compared_by_itself(
    monkeypatch: pytest.MonkeyPatch, one: Candidate, other: Candidate, times: int
) -> None:
    compared = []
    monkeypatch.setattr(SelfTest, "_compare", lambda self, *what: compared.append(what))
    with standin_backend.small() as backend:
        for each in (one, other, one, other):
            assert failure(backend, each, 20) is None
        assert len(compared) == times
        failure(backend, one, 20, backward=True)
        failure(backend, one, 20, "lstm")
        failure(backend, one, 21)
        with standin.cuda.Device(1):
            failure(backend, one, 20)
        assert len(compared) == times + 4


@pytest.mark.parametrize(
    ("candidate", "grid", "N"),
    [
        (BLOCKS, (3, 2), 5),  # two tiles of two rows, and a row
        (changed(replace(BLOCKS, grid=(32, 4)), rows=4), (32, 4), 17),
        (changed(replace(BLOCKS, grid=(3, 3)), rows=1), (3, 3), 4),
        (BLOCK, (6, 1), 6),  # five multiprocessors, and one more
        (changed(replace(BLOCK, grid=(3, 1)), rows=4), (3, 1), 9),
        (changed(replace(BLOCK, grid=(1, 1)), rows=2), (2, 1), 3),
    ],
)
def test_the_comparison_has_the_grid_that_will_run(
    monkeypatch: pytest.MonkeyPatch, candidate: Candidate, grid: tuple[int, int], N: int
) -> None:
    launched = []

    def forward(bound: Bound, cell: Any, inputs: Any, *others: Any) -> None:
        launched.append((bound.candidate, bound.grid, inputs.x.shape))
        raise LaunchError("seen enough")

    with standin_backend.small() as backend:
        monkeypatch.setattr(backend.launcher, "forward", forward)
        monkeypatch.setattr(backend.launcher, "fits", lambda *_: True)
        assert failure(backend, candidate, 20) == "seen enough"
    assert launched == [(replace(candidate, grid=grid), grid, (3, N, 5))]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-3), ("float64", 1e-9)])
@pytest.mark.parametrize(("share", "agrees"), [(0.9, True), (1.1, False)])
def test_how_far_off_a_form_may_be(
    monkeypatch: pytest.MonkeyPatch, dtype: str, tolerance: float, share: float, agrees: bool
) -> None:
    with standin_backend.small() as backend:
        right = backend.launcher.backward

        def nearly(*arguments: Any) -> Any:
            dz, (dh_prev,) = right(*arguments)
            at = standin.asnumpy(abs(dh_prev)).argmax()
            dh_prev.reshape(-1)[int(at)] *= 1 + share * tolerance
            return dz, (dh_prev,)

        monkeypatch.setattr(backend.launcher, "backward", nearly)
        why = failure(backend, Candidate("stepwise", 1.0, 1.0), 20, dtype=dtype, backward=True)
    assert (why is None) is agrees
    assert why is None or why.startswith(f"its dh_prev is off by {share * tolerance:.2g} of")


def test_the_problem_that_is_compared_is_of_moderate_size() -> None:
    # Standard normal, Wx and Wh so scaled that a state's sums are near 1: neither 0 nor saturated.
    with standin_backend.small() as backend:
        request = Request(NAMED["lstm"], False, "float32", 3, 8, 5, 100)
        inputs, dstates = backend.selftest._problem(cell_of("lstm"), request, True)
    arrays: dict[str, Any] = {
        "x": inputs.x,
        "Wx": inputs.Wx,
        "Wh": inputs.Wh,
        "b": inputs.b,
        "h": inputs.initial[0],
        "dh": dstates[0],
    }
    scales = {"x": 1, "Wx": 5**-0.5, "Wh": 0.05, "b": 1, "h": 1, "dh": 1}
    spread = {name: float(standin.asnumpy(array).std()) / scales[name] for name, array in arrays.items()}
    assert spread == pytest.approx(dict.fromkeys(scales, 1), rel=0.2)
    assert sorted(set(standin.asnumpy(inputs.lengths).tolist())) == [0, 1, 2, 3]
    again = np.asarray(np.random.default_rng(0).standard_normal(inputs.x.shape), "float32")
    np.testing.assert_array_equal(standin.asnumpy(inputs.x), again)
