"""Offsets beyond 2³¹ elements: the last batch row of arrays that are nowhere but in the address space."""

from __future__ import annotations

import math
import mmap
from typing import Any

import numpy as np
import pytest

from tests.cuda.emulated import Problem, candidate_of, draw, of_heads
from tests.cuda_emulator import Module
from tests.reference import sigmoid, solve
from xrnn.backends.cupy.launch import Variant, variants
from xrnn.typing import HostArray

pytestmark = pytest.mark.usefixtures("emulator")

SIZES = [
    (3, 2**26 + 1),  # T, N: one step is below 2³¹, the second ends above it
    (2, 2**27 + 1),  # the last row begins above it in each step
]
NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)  # Python names Linux's from 3.13 on
# One block does the last rows, where the whole grid would fill all of it.
LAST_ROW = {
    "stepwise": {"pair / H": "(N - 1)"},
    "scan": {"pair / H": "(N - 1)"},
    "one-block": {"blockIdx.x": "(N / ROWS)"},
    "group": {"blockIdx.y": "(N - 1)", "gridDim.y": "N"},
}
H = 21
NULL = np.uint64(0)


def sparse(*shape: int) -> HostArray:
    """float32 zeros that take memory only where they are touched."""
    try:
        memory = mmap.mmap(-1, 4 * math.prod(shape), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE)
    except OSError as error:
        pytest.skip(f"this machine has no address space for arrays of up to 45 GB: {error}")
    return np.frombuffer(memory, np.float32).reshape(shape)


@pytest.mark.parametrize(("T", "N"), SIZES)
@pytest.mark.parametrize(
    "variant",
    [
        v
        for v in variants()
        if v.cell.name in ("rnn", "min-gru")
        and v.dtype == "float32"
        and (v.rows, v.held) in ((2, 16), (1, 8))
        and v.form in LAST_ROW
        and (v.form != "one-block" or v.rows == 2)
    ],
    ids=str,
)
def test_rows_beyond_two_billion_elements(variant: Variant, T: int, N: int) -> None:
    heads, width = 3 if variant.cell.fed else 1, variant.cell.pre * H
    K, p = H // heads, Problem(T, 1, H, heads, units=4)
    drawn, code, candidate = draw(variant, p), variant.source, candidate_of(variant, p)
    solution, (Wx, Wh, b), dh_drawn = solve(drawn), drawn.weights, drawn.dstates[0]
    assert dh_drawn is not None
    Wh = of_heads(Wh, heads)
    kernel_file = code.rindex("#line")
    for name, value in LAST_ROW[variant.form].items():
        start = 0 if name.startswith(("blockIdx.y", "gridDim")) else kernel_file
        assert name in code[start:]
        code = code[:start] + code[start:].replace(name, value)
    kernel = Module(code, variant.options).get_function(variant.name)

    h, given = sparse(T + 1, N, H), sparse(N, H)
    given[-1] = drawn.initial[0][0]
    no_others = [NULL] * 3
    common: tuple[Any, ...] = (NULL, np.float32(0), NULL, *map(np.int32, (T, N, H, K, 0)))
    z = sparse(T, N, width)
    z[:, -1] = drawn.x[:, 0] @ Wx + b
    if variant.backward:
        h[:, -1] = np.concatenate([drawn.initial[0], solution.states[0][:, 0]])
        dh, dz, dh_prev = sparse(T, N, H), sparse(T, N, width), sparse(N, H)
        dh[:, -1], z[:, -1, :H] = dh_drawn[:, 0], sigmoid(z[:, -1, :H])  # the gates of minGRU; Elman has none
        arguments = (z, h, *no_others, dh, *no_others, dz, dh_prev, *no_others, NULL, *common)
    else:
        arguments = (z, h, *no_others, given, *no_others, *common, np.int32(1))
    if variant.form == "scan":
        kernel((1, 1), (H,), [Wh, *arguments])
    elif (m := candidate.layout) is None:
        sums, fed = sparse(heads, N, K), sparse(heads, N, K)
        fed[:, -1] = given[-1].reshape(heads, K)
        for i in range(T + variant.backward):
            if i > 0 or not variant.backward:
                sums[:, -1:] = fed[:, -1:] @ (Wh.swapaxes(1, 2) if variant.backward else Wh)
            kernel((1, 1), (H,), [sums, fed, *arguments, np.int32(i)])
    else:
        layout: tuple[Any, ...] = tuple(map(np.int32, (m.column_threads, m.slice, m.pitch)))
        grid = (1, 1, heads)
        if variant.form == "group":
            (dz if variant.backward else h[1:])[:, -1].view("int32")[...] = -1
            grid, gave_up = (math.ceil(K / m.units), 1, heads), np.zeros(1, "uint32")
            layout = (np.int32(m.units), *layout, np.int64(1 << 40), np.uint64(gave_up.ctypes.data))
        kernel(grid, (m.threads,), [Wh, *arguments, *layout], shared_mem=m.shared_bytes)
    if variant.backward:
        found = {"dx": dz[:, -1] @ Wx.T, "dh_prev": dh_prev[-1]}
        expected = {"dx": solution.gradients["dx"][:, 0], "dh_prev": solution.gradients["dh_prev"][0]}
    else:
        found, expected = {"h": h[1:, -1]}, {"h": solution.states[0][:, 0]}
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=5e-6)
