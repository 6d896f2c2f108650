"""Writes the problems for driver.cpp, with their solutions by tests/reference.py. driver_file.h reads the file.

`python -m tests.backends.numpy.driver_file FILE`

The file is a sequence of records. The last one is `end 0 0`, so that a truncated file is detected. A record is a line
`NAME GIVEN EXPECTED`, followed by GIVEN input arrays and EXPECTED result arrays. NAME is the name of a cell's kernels,
or `products`. An array is a line `NAME SIZE`, followed by SIZE float64 in the machine's byte order. A scalar is an
array of one element.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from benchmarks import problems
from tests.reference import Problem, problem, solve, solve_affine, solve_classification
from xrnn.backends.numpy import kernel_of
from xrnn.ops.cell import Cell
from xrnn.typing import HostArray

Sizes: TypeAlias = tuple[int, int, int, int]
# Name, inputs, expected results.
Record: TypeAlias = tuple[str, Mapping[str, Any], Mapping[str, HostArray]]

SIZES: Final[tuple[Sizes, ...]] = (
    *((1, 1, 1, 1), (2, 1, 3, 5), (3, 4, 2, 33), (2, 7, 5, 15), (5, 3, 9, 70), (4, 13, 1, 17), (3, 26, 31, 100)),
    *((260, 1, 4, 19), (2, 3, 66, 130), (3, 2, 0, 5), (2, 300, 3, 9), (0, 2, 3, 4), (2, 0, 3, 4), (2, 3, 4, 0)),
    *((4, 100, 40, 6),),  # a cell without recurrent product takes its last 4 rows several steps at a time
    *((2, 1, 5, 256), (1, 2, 70, 263), (5, 1, 5, 256)),  # weights in strips: Wx and Wh, the same, Wh only
)
FEW_SIZES: Final[tuple[Sizes, ...]] = (
    *((5, 3, 4, 19), (7, 14, 3, 6), (17, 18, 2, 9), (4, 9, 7, 66), (2, 2, 0, 3), (0, 2, 3, 4), (2, 0, 3, 4)),
)
DTYPES: Final = ("float32", "float64")
# These cells run without lengths, forward in time: one cell with a recurrent product and one without it over all sizes,
# the others over half of them. Then every cell runs with and without lengths, once in each direction, over every second
# one of the few sizes.
COMMON: Final = {"rnn": SIZES, "lstm": SIZES[::2], "gru": SIZES[1::2], "min gru": SIZES, "lru": SIZES[::2]}
WITH_KERNELS: Final = (
    *("rnn", "relu", "lstm", "gru", "leak by unit", "leaky relu", "peephole lstm"),
    *("min gru", "min gru positive", "min lstm", "min lstm positive", "lru"),
    *("rnn heads", "lstm heads", "gru heads", "leak heads", "slstm", "slstm sigmoid heads"),
)
MOST_THREADS, FEW_THREADS = 4, 3


def records() -> Iterator[Record]:
    for dtype in DTYPES:
        for cell, cell_sizes in COMMON.items():
            for sizes in cell_sizes:
                yield of_recurrence(problem(cell, sizes, dtype), MOST_THREADS)
        for i, cell in enumerate(WITH_KERNELS):
            for lengths in (None, "ragged"):
                reverse = (lengths is None) == (i % 2 == 0)
                for sizes in FEW_SIZES[(i // 2 + (lengths is None)) % 2 :: 2]:
                    p = problem(cell, sizes, dtype, lengths=lengths, reverse=reverse)
                    yield of_recurrence(p, FEW_THREADS)
        for T, N, D, H in SIZES:
            yield of_products(T * N, D, H, dtype)


def of_recurrence(p: Problem, most_threads: int) -> Record:
    """Slot 0 of a state is the initial state; with `reverse` it is the last slot."""
    (T, N, D), H, solution = p.x.shape, p.initial[0].shape[1] // p.case.components, solve(p)
    cell = p.case.layer(*problem(p.cell, (1, 1, 1, max(H, 1))).weights).cell
    name = kernel_of(cell) or cell.name  # the driver has the kernel of tests/peephole at every level
    own = cell.coefficients(np, p.weights[3:])
    given = {
        **_header(p.dtype, most_threads),
        **{"sizes": (T, N, D, H), "reverse": p.reverse, "heads": len(p.weights[1]) if p.case.heads else 1},
        **{f"own{k}": np.broadcast_to(value, H) for k, value in enumerate(own)},
        **{"x": p.x, "lengths": () if p.lengths is None else p.lengths},
        **dict(zip(("Wx", "Wh", "b"), p.weights[:3], strict=True)),
        **{f"initial{k}": initial for k, initial in enumerate(p.initial)},
        **{f"dstates{k}": dstates for k, dstates in enumerate(p.dstates)},
    }
    expected = {name: solution.gradients[name] for name in ("dx", "dWx", "dWh", "db")}
    if type(cell).coefficients is Cell.coefficients:
        expected |= {f"d_own{k}": solution.gradients[f"d{name}"] for k, name in enumerate(cell.params)}
    for k, (state, initial, after) in enumerate(zip(p.case.states, p.initial, solution.states, strict=True)):
        slots = (after, initial[None]) if p.reverse else (initial[None], after)
        expected |= {f"states{k}": np.concatenate(slots), f"dinitial{k}": solution.gradients[f"d{state}_prev"]}
    return name, given, expected


def of_products(rows: int, D: int, C: int, dtype: str) -> Record:
    p = problems.affine(rows, D, C, dtype)
    given = {**_header(dtype, MOST_THREADS), "sizes": (rows, D, C), **vars(p)}
    expected = solve_affine(p)
    if C:
        loss = problems.classification(rows, C, dtype)
        given, expected = {**given, **vars(loss)}, {**expected, **solve_classification(loss)}
    return "products", given, expected


def _header(dtype: str, most_threads: int) -> dict[str, int]:
    return {"bits": 8 * np.dtype(dtype).itemsize, "threads": most_threads}


def write(path: Path, records: Iterable[Record]) -> None:
    with path.open("wb") as file:
        for name, given, expected in records:
            file.write(f"{name} {len(given)} {len(expected)}\n".encode())
            for array_name, values in (*given.items(), *expected.items()):
                array = np.asarray(values, "float64")
                file.write(f"{array_name} {array.size}\n".encode() + array.tobytes())
        file.write(b"end 0 0\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("expected the file to write: python -m tests.backends.numpy.driver_file FILE")
    write(Path(sys.argv[1]), records())
