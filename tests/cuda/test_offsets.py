"""Offsets beyond 2³¹ elements: the last batch row of arrays that are nowhere but in the address space."""

from __future__ import annotations

import math
import mmap

import numpy as np
import pytest

from tests.cuda.emulated import Operands, Problem, launch_kernel, tolerance
from tests.cuda.variants import Variant
from xrnn.backends.cupy import launch
from xrnn.typing import HostArray

pytestmark = pytest.mark.usefixtures("emulator")

H = 21
SIZES = [
    (3, 2**26 + 1),  # T, N: one step is below 2³¹, the second ends above it
    (2, 2**27 + 1),  # the last row begins above it in each step
]
NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)  # Python names Linux's from 3.13 on
# One block does the last rows, where the whole grid would fill all of it.
LAST_ROW = {
    "one-block": {"blockIdx.x": "(N / ROWS)"},
    "group": {"blockIdx.y": "(N - 1)", "gridDim.y": "N"},
}


def sparse(*shape: int) -> HostArray:
    """float32 zeros that take memory only where they are touched."""
    try:
        memory = mmap.mmap(-1, 4 * math.prod(shape), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE)
    except OSError as error:
        pytest.skip(f"no address space for arrays of up to 34 GB: {error}")
    return np.frombuffer(memory, np.float32).reshape(shape)


@pytest.mark.parametrize(("T", "N"), SIZES)
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("form", LAST_ROW)
def test_rows_beyond_two_billion_elements(form: str, backward: bool, T: int, N: int) -> None:
    variant, problem = Variant(form, "float32", 2, 16, backward), Problem()
    last = Operands.draw(variant, T, 1, H, relu=False)
    start, hs = sparse(T, N, H), sparse(T + 1, N, H)
    state = sparse(T, N, H) if backward else hs
    start[:, -1:] = last.start
    hs[:, -1:], expected = last.solve()
    filled = state[:, -1] if backward else state[1:, -1]
    filled.view("int32")[...] = -1  # empty, to a group

    code = launch.source(form)
    for name, value in LAST_ROW[form].items():
        assert name in code
        code = code.replace(name, value)
    grid = (1, 1) if form == "one-block" else (math.ceil(H / problem.columns), 1)
    assert not launch_kernel(variant, (last.W, start, hs, state), problem, grid, code)
    np.testing.assert_allclose(filled, expected[:, 0], rtol=0, atol=tolerance("float32"))
