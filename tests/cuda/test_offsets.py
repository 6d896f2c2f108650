"""Offsets beyond 2³¹ elements: the last batch row of arrays that are nowhere but in the address space."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests import standin
from tests.cuda.emulated import CELLS, PRODUCTS, D, Problem, candidate_of, make_cell
from tests.cuda_emulator import Module
from tests.reference import problem, solve
from xrnn.backends.cupy.launch import Variant, variants
from xrnn.ops import recurrence
from xrnn.ops.inputs import Inputs
from xrnn.typing import HostArray

pytestmark = pytest.mark.usefixtures("emulator")

SIZES = [
    (3, 2**26 + 1),  # T, N: one step is below 2³¹, the second ends above it
    (2, 2**27 + 1),  # the last row begins above it in each step
]
NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)  # Python names Linux's from 3.13 on
# One block does the last rows, where the whole grid would fill all of it.
LAST_ROW = {
    "stepwise": {"blockIdx.x / blocks": "N - 1"},
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
        pytest.skip(f"no address space for arrays of up to 34 GB: {error}")
    return np.frombuffer(memory, np.float32).reshape(shape)


@pytest.mark.parametrize(("T", "N"), SIZES)
@pytest.mark.parametrize(
    "variant",
    [
        v
        for v in variants()
        if (v.cell.name, v.dtype) == ("rnn", "float32")
        and (v.rows, v.held) in ((2, 16), (1, 8))
        and v.form in LAST_ROW
        and (v.form != "one-block" or v.rows == 2)
    ],
    ids=str,
)
def test_rows_beyond_two_billion_elements(variant: Variant, T: int, N: int) -> None:
    drawn = problem(CELLS["TanhElman"], (T, 1, D, H), "float32")
    solution = solve(drawn)
    # The plain form gives what the kernel reads, for the last row.
    x, Wx, Wh_device, b = (standin.asarray(a) for a in (drawn.x, *drawn.weights))
    initial = standin.asarray(drawn.initial[0])
    plain = recurrence.forward(
        standin, PRODUCTS, make_cell("TanhElman", H, "float32"), Inputs(x, Wx, Wh_device, b, [initial]), True
    )
    Wh, given = drawn.weights[1], sparse(N, H)
    h, z = sparse(T + 1, N, H), sparse(T, N, H)
    given[-1] = drawn.initial[0][0]
    z[:, -1] = drawn.x[:, 0] @ drawn.weights[0] + drawn.weights[2]
    step: Any = np.int32
    tail = (NULL, np.float32(0), NULL, step(T), step(N), step(H), step(0))
    code, candidate = variant.source, candidate_of(variant, Problem(T, 1, H))
    kernel_file = code.rindex("#line")
    for name, value in LAST_ROW[variant.form].items():
        where = code if name.startswith(("blockIdx.y", "gridDim")) else code[kernel_file:]
        assert name in where
        code = code.replace(name, value) if where is code else code[:kernel_file] + where.replace(name, value)
    m, grid, threads = candidate.layout, (1, 1), 32
    layout: tuple[Any, ...] = ()
    if m is not None:
        threads = m.threads
        layout = tuple(map(step, (m.column_threads, m.slice, m.pitch)))
        if variant.form == "group":
            grid, gave_up = (math.ceil(H / m.units), 1), np.zeros(1, "uint32")
            layout = (step(m.units), *layout, np.int64(1 << 40), np.uint64(gave_up.ctypes.data))
    kernel = Module(code, variant.options).get_function(variant.name)

    def run(prepare: Callable[[int], None], *args: Any, rounds: int) -> None:
        steps = [(step(i),) for i in range(rounds)] if variant.form == "stepwise" else [layout]
        for last in steps:
            if variant.form == "stepwise":
                prepare(int(last[0]))
            kernel(grid, (threads,), [*args, *last], shared_mem=0 if m is None else m.shared_bytes)

    if not variant.backward:
        rec = sparse(N, H)

        def multiply(i: int) -> None:
            if i == 0:
                h[0, -1] = given[-1]
            rec[-1] = h[i, -1] @ Wh

        if variant.form == "group":
            h[1:, -1].view("int32")[...] = -1
        arrays = (z, h, NULL, given, NULL, *tail, step(1))
        run(multiply, *((rec, NULL) if variant.form == "stepwise" else (Wh,)), *arrays, rounds=T)
        np.testing.assert_allclose(h[1:, -1], solution.states[0][:, 0], rtol=0, atol=5e-6)
        return

    h[:, -1] = plain.states[0].get()[:, 0]  # type: ignore[attr-defined]
    dh, dz, dh_prev, arrived = sparse(T, N, H), sparse(T, N, H), sparse(N, H), sparse(N, H)
    assert drawn.dstates[0] is not None
    dh[:, -1] = drawn.dstates[0][:, 0]

    def multiply_gradient(i: int) -> None:
        if i > 0:
            arrived[-1] = dz[T - i, -1] @ Wh.T

    if variant.form == "group":
        dz[:, -1].view("int32")[...] = -1
    first = (arrived, NULL) if variant.form == "stepwise" else (Wh,)
    run(multiply_gradient, *first, NULL, h, NULL, dh, NULL, dz, dh_prev, NULL, *tail, rounds=T + 1)
    np.testing.assert_allclose(dz[:, -1] @ drawn.weights[0].T, solution.gradients["dx"][:, 0], rtol=0, atol=5e-6)
    np.testing.assert_allclose(dh_prev[-1], solution.gradients["dh_prev"][0], rtol=0, atol=5e-6)
