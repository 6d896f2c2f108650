"""Every kernel in the emulator: values against float64, over odd sizes and several schedules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.cuda.emulated import Problem, check, run
from tests.cuda.variants import Variant, variants
from xrnn.backends.cupy import launch

pytestmark = pytest.mark.usefixtures("emulator")

# The fewest that reach every line of the sources: each kernel in both directions and both dtypes.
FEW = [v for v in variants() if v.rows == 2 and v.kept == 16]
PROBLEMS = {
    "odd": Problem(),
    "rows of whole vectors": Problem(H=24, columns=12),
    "one of everything": Problem(T=1, N=1, H=1, groups=1),
    "several tiles a group": Problem(T=3, N=11, H=9, columns=4, groups=1),
    "more than fits the registers": Problem(T=2, N=3, H=150, columns=32, groups=3),
    "relu": Problem(relu=True),
}


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize("variant", FEW, ids=str)
def test_values(variant: Variant, seed: int) -> None:
    check(variant, Problem(), seed=seed)


@pytest.mark.proof
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
@pytest.mark.parametrize("variant", list(variants()), ids=str)
def test_every_variant(variant: Variant, problem: Problem) -> None:
    for seed in (0, 1, 5):
        check(variant, problem, seed=seed)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("variant", FEW, ids=str)
def test_bitwise_the_same_under_every_schedule(variant: Variant, relu: bool) -> None:
    first, _, _ = run(variant, Problem(relu=relu), seed=0)
    for seed in (1, 5):
        again, _, _ = run(variant, Problem(relu=relu), seed=seed)
        assert first.tobytes() == again.tobytes()


# The pattern that means empty is a NaN as well: of an input it must come out as a NaN, and nobody may wait for it.
@pytest.mark.parametrize("spoil", [np.nan, "all bits set"])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("variant", FEW, ids=str)
def test_a_nan_comes_out_as_nan_and_stays_in_its_row(variant: Variant, relu: bool, spoil: Any) -> None:
    got, expected, gave_up = run(variant, Problem(spoil=spoil, relu=relu))
    assert np.isnan(expected).any()
    assert not gave_up
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    np.testing.assert_allclose(got[:, [0, 2, 3, 4]], expected[:, [0, 2, 3, 4]], atol=1e-5)


# Spoils a vector that is asked for although it is there already.
POLLED = (
    "ask<wide>(v[e], p[e], left[e], missing[e]);",
    """{
        bool there = v[e].at[0] != 0;
        for (int c = 0; c < kVector; ++c) there &= !is_empty(v[e].at[c]);
        ask<wide>(v[e], p[e], left[e], missing[e]);
        if (missing[e] && there) v[e].at[0] = 9;
    }""",
)


@pytest.mark.parametrize("H", [21, 24])
@pytest.mark.parametrize("variant", [v for v in FEW if v.form == "group"], ids=str)
def test_only_what_is_missing_is_asked_for_again(variant: Variant, H: int) -> None:
    source, problem = launch.source("group"), Problem(H=H, columns=8)
    assert source.count(POLLED[0]) == source.count("missing[e] = false;") == 1
    check(variant, problem, seed=5, code=source.replace(*POLLED))
    everything = source.replace(*POLLED).replace("missing[e] = false;", "missing[e] = waiting;")
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check(variant, problem, seed=5, code=everything)


# Spoils the inputs of a step while the one before it is finished.
SUMMED = "__syncthreads();  // all slices have been summed, and nobody reads the states any more"
SPOILT = """
    if (i + 1 < T)
        for (int n = mine.n; n < rows; n += mine.stride)
            const_cast<Real*>(start)[(BACKWARD ? T - 2 - i : i + 1) * step + {own} + n * H + mine.j] = 9;
"""
LATE = {"one-block": "ask(i)", "group": "ask_inputs(i, first_row)"}


@pytest.mark.parametrize("variant", FEW, ids=str)
def test_the_inputs_of_a_step_are_asked_for_in_the_one_before(variant: Variant) -> None:
    source, problem = launch.source(variant.form), Problem(N=2, groups=1)
    used = "const Inputs inputs = ahead;"
    assert source.count(SUMMED) == source.count(used) == 1
    code = source.replace(SUMMED, SUMMED + SPOILT.format(own="tile_offset" if variant.form == "one-block" else "own"))
    check(variant, problem, code=code)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check(variant, problem, code=code.replace(used, f"const Inputs inputs = {LATE[variant.form]};"))


@pytest.mark.parametrize("variant", [v for v in FEW if not v.backward], ids=str)
def test_nobody_waits_for_what_is_given(variant: Variant) -> None:
    got, expected, gave_up = run(variant, Problem(spoil="all bits set", spoilt="h_prev"))
    assert not gave_up
    assert np.isnan(got[:, 1]).all()
    np.testing.assert_allclose(got[:, [0, 2, 3, 4]], expected[:, [0, 2, 3, 4]], atol=1e-5)


@pytest.mark.parametrize("variant", [v for v in FEW if v.form == "group"], ids=str)
def test_a_group_without_all_its_blocks_gives_up(variant: Variant) -> None:
    problem = Problem(missing_blocks=1, patience=500)
    got, _, gave_up = run(variant, problem)
    assert gave_up
    present = got[:, :, : 2 * problem.columns]
    # The first step needs nobody; after it a block owes NaN for all that it can't compute.
    first, later = (-1, slice(None, -1)) if variant.backward else (0, slice(1, None))
    assert np.isfinite(present[first]).all()
    assert np.isnan(present[later]).all()
    bits = present.view(f"int{8 * got.itemsize}")
    assert (bits != -1).all()  # nothing is left that others would wait for
