"""Every kernel in the emulator: values against float64, over odd sizes and several schedules."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from tests import standin
from tests.cuda.emulated import LENGTHS, Problem, candidate_of, check, run, several_warps
from tests.peephole import cell as peephole_cell
from tests.standin.counting import counted
from xrnn.backends.cupy import choice, launch
from xrnn.backends.cupy.cells import KERNELS, NAMED, CellKernel
from xrnn.backends.cupy.launch import Variant, variants

pytestmark = pytest.mark.usefixtures("emulator")

# Few variants that reach each line of the sources: each kernel in both directions and both dtypes.
FEW = [v for v in variants() if not v.tiled or (v.rows, v.held) == (2, 16)]
# Without the proof, float64 runs for one cell only.
QUICK = [v for v in FEW if v.dtype == "float32" or v.cell.name == "lstm"]
FLOAT = [v for v in FEW if v.dtype == "float32"]
# The cells that share the name of another, such as relu.
SAME_NAME = [(v, c) for c in KERNELS.values() if c not in NAMED.values() for v in FLOAT if v.cell.name == c.name]
OTHERS = [replace(v, cell=cell) for v, cell in SAME_NAME]
RELU = [v for v in OTHERS if "Relu" in v.cell.template]
HEADER = str(Path(peephole_cell.__file__).with_name("peephole_lstm.h"))
PEEPHOLE = [
    replace(v, cell=CellKernel("peephole", "PeepholeLstm", HEADER, peephole_cell.PeepholeLSTMCell(), 0))
    for v in FLOAT
    if v.cell.name == "lstm"
]
EXCHANGING = [v for v in QUICK if v.cooperative]


def two_cells(variants: list[Variant]) -> list[Any]:
    """In `make test` the cells with one state and with two in float32. In .ci/proof the one with most, and those with
    own parameters."""
    quick = [v for v in variants if v.cell.name in ("rnn", "lstm") and v.dtype == "float32"]
    proof = [v for v in variants if v.cell.name in ("leak", "slstm", "lru")]
    return [*quick, *(pytest.param(v, marks=pytest.mark.proof) for v in proof)]


PROBLEMS = {
    "lengths in reverse": Problem(lengths=LENGTHS, reverse=True, add=True),
    "one of everything": Problem(T=1, N=1, H=1, units=1, groups=1),
    "one step": Problem(T=1, reverse=True, lengths=(0, 1, 0, 1, 1)),
    "rows of whole vectors": Problem(H=24, units=12),
    "unaligned operands": Problem(H=24, units=12, unaligned=True, add=True),
    "several tiles a group": Problem(T=3, N=11, H=9, units=4, groups=1, reverse=True),
    "odd heads": Problem(T=3, N=1, H=20, heads=4, units=2, groups=1, reverse=True),
    "no initial state, no gradient of c": Problem(given=False, dc=False, N=3),
    "heads of whole vectors": Problem(N=3, H=24, heads=2, groups=1, lengths=(2, 4, 0)),
    "many steps": Problem(T=2 * choice.AHEAD + 1, N=2, H=5, units=2, lengths=(17, 9), reverse=True),
}
MORE = {
    "odd": Problem(),
    "beyond the registers": Problem(T=2, N=3, H=36, units=12, groups=3, extra=16),
    "two helpers an output and two slices": Problem(T=5, N=3, H=64, units=6, extra=0),
    **PROBLEMS,
}


def fits(variant: Variant, problem: Problem) -> bool:
    """One block has few enough columns in the problem's layout; the parts that a group reads are whole vectors."""
    if variant.form == "group" and variant.backward and problem.heads > 1 and variant.cell.fed > 1:
        return problem.H // problem.heads % 4 == 0
    return variant.form != "one-block" or problem.H <= 24 or variant.cell.fed == 1


@pytest.mark.parametrize("variant", [*QUICK, *(pytest.param(v, marks=pytest.mark.proof) for v in OTHERS)], ids=str)
def test_values(variant: Variant) -> None:
    check(variant, Problem(), seed=5)


@pytest.mark.parametrize(
    "variant", [pytest.param(v, marks=[] if v.backward else [pytest.mark.proof]) for v in PEEPHOLE], ids=str
)
def test_a_cell_with_several_states_and_own_parameters(variant: Variant) -> None:
    """In group, two tiles a block, so that a thread adds to the gradients of several rows."""
    check(variant, Problem(N=11, groups=2, lengths=(*LENGTHS, *LENGTHS, 4), reverse=True), seed=5)


@pytest.mark.parametrize("turn", range(len(FLOAT)), ids=lambda turn: str(FLOAT[turn]))
def test_problems(turn: int) -> None:
    """Every third one, in turn. `test_every_variant` takes all of them."""
    for name in [*PROBLEMS][turn % 3 :: 3]:
        if fits(FLOAT[turn], PROBLEMS[name]):
            check(FLOAT[turn], PROBLEMS[name])


@pytest.mark.parametrize("variant", EXCHANGING, ids=str)
def test_several_helpers_and_slices(variant: Variant) -> None:
    check(variant, MORE["two helpers an output and two slices"], seed=5)
    layout = candidate_of(variant, several_warps(variant)).layout
    assert layout is not None
    assert layout.threads > 32
    assert layout.span == 32
    check(variant, several_warps(variant), seed=5)


# The tiles differ in numbers alone: all of them run for one cell of each kind, with one output a thread or several.
TILES = [v for v in variants() if v not in FEW and v.cell.name in ("rnn", "lstm")]


@pytest.mark.proof
@pytest.mark.parametrize("variant", [*QUICK, *TILES], ids=str)
def test_every_variant(variant: Variant) -> None:
    for name in MORE if variant in QUICK else ("odd", "beyond the registers"):
        if fits(variant, MORE[name]):
            check(variant, MORE[name], seed=len(name))
    if variant.cooperative and variant not in EXCHANGING:
        check(variant, several_warps(variant), seed=5)


@pytest.mark.parametrize("variant", QUICK, ids=str)
def test_bitwise_the_same_under_each_schedule_and_in_inference(variant: Variant) -> None:
    problem = Problem(lengths=LENGTHS)
    first = run(variant, problem, seed=0)
    for seed in (1, 5):
        assert run(variant, problem, seed=seed).bits() == first.bits()
    if not variant.backward:
        inference = run(variant, problem, training=False)
        for name, array in inference.found.items():
            assert array.tobytes() == first.found[name].tobytes()


# The pattern that means empty is a NaN as well: from an input it must come out as a NaN, and no block may wait for it.
@pytest.mark.parametrize(
    ("variant", "spoil", "spoilt"),
    [
        pytest.param(v, spoil, spoilt, marks=[] if (v in FLOAT and spoil == "all bits set") else [pytest.mark.proof])
        for v in [*FLOAT, *RELU]
        for spoil in (["all bits set", np.nan] if v.cell.name in ("rnn", "lstm") else ["all bits set"])
        for spoilt in (["dh"] if v.backward else ["x", "h_prev"])
    ],
    ids=str,
)
def test_a_nan_comes_out_as_nan_and_stays_in_its_row(variant: Variant, spoil: Any, spoilt: Any) -> None:
    problem = Problem(spoil=spoil, spoilt=spoilt)
    clean, outcome = run(variant, replace(problem, spoil=None)), run(variant, problem)
    assert not outcome.gave_up
    if variant.backward:
        dz, expected = outcome.found["dz"], clean.found["dz"]
        assert np.isnan(dz[:2, 1]).any(axis=-1).all()
        assert np.isnan(outcome.found["dh_prev"][1]).all()
        np.testing.assert_array_equal(dz[2:], expected[2:])
    else:
        h, expected = outcome.found["h"], clean.found["h"]
        first = 1 if spoilt == "x" else 0
        assert np.isnan(h[first:, 1]).all()
        dz = h
    others = [0, 2, 3, 4]
    np.testing.assert_array_equal(dz[:, others], expected[:, others])


@pytest.mark.parametrize("variant", two_cells([v for v in FLOAT if v.cell.fed]), ids=str)
def test_an_infinite_weight_does_not_reach_a_row_without_steps(variant: Variant) -> None:
    """Its states and gradients are passed on as they are, although 0 · ∞ is NaN."""
    problem = Problem(lengths=LENGTHS)
    clean, outcome = run(variant, problem), run(variant, replace(problem, spoil=np.inf, spoilt="Wh"))
    for state in variant.cell.cell.states:
        name = f"d{state}_prev" if variant.backward else state
        np.testing.assert_array_equal(outcome.found[name][..., 0, :], clean.found[name][..., 0, :])


# Spoils a vector that is requested although it has arrived.
POLLED = (
    "request<wide>(v[e], p[e], left[e], missing[e]);",
    """{
        bool there = v[e].at[0] != 0;
        for (int c = 0; c < kVector; ++c) there &= !is_empty(v[e].at[c]);
        request<wide>(v[e], p[e], left[e], missing[e]);
        if (missing[e] && there) v[e].at[0] = 9;
    }""",
)


@pytest.mark.parametrize("H", [21, 24])
@pytest.mark.parametrize("variant", two_cells([v for v in EXCHANGING if v.form == "group"]), ids=str)
def test_a_poll_requests_only_what_is_missing(variant: Variant, H: int) -> None:
    check(variant, Problem(H=H), seed=5, edits=(POLLED,))


@pytest.mark.parametrize("variant", two_cells(EXCHANGING), ids=str)
def test_a_group_without_all_its_blocks_gives_up(variant: Variant) -> None:
    problem, present = Problem(missing_blocks=1, patience=2000, T=5), 16
    # The last block that gives up writes when it does: no block waits for longer than twice the patience.
    edits = [("tell_host(gave_up);", "emulator::store(gave_up, unsigned(clock64()));")]
    if variant.form == "group-partial":  # which asks the grid for its blocks: one of them publishes nothing
        problem, present = replace(problem, missing_blocks=0), problem.H
        edits.append(("if (i == T) continue;", "if (i == T || blockIdx.x + 1 == gridDim.x) continue;"))
    outcome = run(variant, problem, edits=tuple(edits))
    assert problem.patience < outcome.gave_up <= 2 * problem.patience
    if not variant.backward:
        h = outcome.found["h"]
        # The first step waits for no other block; after it a block owes NaN for all that it can't compute.
        assert np.isfinite(h[0, :, :present]).all()
        assert all(np.isnan(outcome.found[name][1:, :, :present]).all() for name in outcome.expected if name != "z")
        exchanged = h[..., :present]
    else:
        dz = outcome.found["dz"].reshape(problem.T, problem.N, -1, problem.H)[..., :present]
        assert np.isfinite(dz[-1]).all()
        assert np.isnan(dz[:-1]).all()
        for name in variant.cell.cell.states:
            assert np.isnan(outcome.found[f"d{name}_prev"][:, :present]).all()
        for name in variant.cell.cell.params:
            assert np.isnan(outcome.found[f"d{name}"][:present]).all()
        exchanged = dz[:, :, variant.cell.pre - variant.cell.fed :]
    if variant.form == "group":  # nothing is left that others would wait for
        bits = np.ascontiguousarray(exchanged).view(f"int{8 * exchanged.itemsize}")
        assert (bits != -1).all()


@pytest.mark.parametrize("variant", two_cells(FLOAT), ids=str)
def test_a_watched_gpu_gets_short_launches(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "WATCHED_SECONDS", 2.0)  # a step of the emulated candidates takes a second
    for p in (Problem(T=5), Problem(T=4, lengths=LENGTHS, reverse=True, dc=False), Problem(T=5, lengths=LENGTHS)):
        expected = run(variant, p)
        with mock.patch.dict(standin.cuda.Device.attributes, KernelExecTimeout=1):
            with counted() as counters:
                found = run(variant, p)
            check(variant, p)
        assert counters.raw_kernels == (p.T + variant.backward if variant.form == "stepwise" else math.ceil(p.T / 2))
        # In group-partial the last bit of a partial sum depends on its place in the launch, and the scan form adds up
        # the gradients of own parameters by launch.
        assert found.bits() == expected.bits() or variant.form == "group-partial" or variant.cell.name == "lru"


def test_long_inference_runs_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(T=5, lengths=(0, 5, 2, 3, 1))
    whole = {v: run(v, problem, training=False) for v in FEW if not v.backward and v.dtype == "float32"}
    monkeypatch.setattr(launch, "CHUNK", 1)  # a step a chunk
    for variant, expected in whole.items():
        for reverse in (False, True):
            check(variant, replace(problem, reverse=reverse), training=False)
        assert run(variant, problem, training=False).bits() == expected.bits()
