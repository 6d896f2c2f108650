"""Every level of this CPU, and the emulated one, computes every cell in every precision.

Only the highest level runs by default, so a difference between levels would otherwise show on some machines only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.backends.numpy.conftest import EMULATED, LEVELS, at_level, on_level
from tests.backends.numpy.test_recurrence import FUSED_CELLS, SIZES, check, refuse_plain_forms, results
from tests.combinations import thin
from tests.reference import Problem, problem
from xrnn import use_precision
from xrnn.backends.numpy import kernels

# The largest error of h and of the gradients, relative to the largest value.
TOLERANCE: dict[Any, float] = {"bfloat16x3": 1e-4, "bfloat16": 0.02}

_no_plain_form = pytest.fixture(refuse_plain_forms, autouse=True, name="_no_plain_form")
any_level = pytest.fixture(on_level, params=[*LEVELS, *EMULATED], name="any_level")


def has_reduced_products(p: Problem, precision: str) -> bool:
    """Whether the level in use multiplies with fewer bits in this precision, if the size repays it.

    Tiles take layers of one head. Pairs take heads with an even number of units.
    """
    Wh = p.weights[1]
    heads, units = Wh.shape[:2] if p.case.heads else (1, len(Wh))
    if kernels.level().startswith("amx"):
        return heads == 1
    pairs = precision == "bfloat16" and kernels.products_by(1) in ("avx512bf16", "pairs-emulated")
    return pairs and (heads == 1 or units % 2 == 0)


CASES = thin(LEVELS, FUSED_CELLS, [*SIZES, (2, 49, 35, 65)], every=9)
if EMULATED:  # the level for tests has the kernel of tests/peephole
    CASES += thin(EMULATED, [*FUSED_CELLS, "peephole lstm"], [*SIZES, (2, 49, 35, 65)], every=9)


@pytest.mark.parametrize(("any_level", "cell", "sizes"), CASES, indirect=["any_level"])
def test_every_cell_in_every_precision(any_level: str, cell: str, sizes: tuple[int, int, int, int]) -> None:
    """The precision is the expected one: otherwise the results in bfloat16 would have, or lack, the bits of float32."""
    assert kernels.level() == any_level
    ways: list[Any] = [
        ({"add": True}, {"lengths": "ragged"}, "C"),
        ({"lengths": "ragged", "reverse": True}, {"reverse": True, "add": True}, "F"),
    ]
    for options, in_float64, order in ways:
        check(problem(cell, sizes, "float64", **in_float64), order)
        p = problem(cell, sizes, "float32", **options)
        in_float32 = check(p, order)
        for precision, tolerance in TOLERANCE.items():
            with use_precision(precision):
                if not has_reduced_products(p, precision):
                    for name, got in results(p, order, left_out=False).items():
                        assert_array_equal(got, in_float32[name], err_msg=f"{name}, {precision}")
                elif any_level not in EMULATED or np.prod(sizes) < 1e6:  # emulated tiles are slow
                    found = check(p, order, tolerance)
                    multiplies = p.x.size and not p.past_end.all()
                    assert not multiplies or any(np.any(found[name] != got) for name, got in in_float32.items())


@pytest.mark.skipif(not EMULATED, reason="built without the level for tests")
def test_a_level_has_its_own_cells() -> None:
    """Also if another level was in use before: the level for tests has one cell more."""
    names = {}
    for level in [LEVELS[-1], *EMULATED, LEVELS[-1]]:
        with at_level(level):
            names[level] = kernels.cells()
    assert names[EMULATED[0]] == [*names[LEVELS[-1]], "peephole_lstm"]
