"""The measured cases, and the check against float64 that every result must pass before it is timed.

T time steps, N batch, D input size, H hidden size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from typing import Any, Final

import numpy as np

import xrnn
from benchmarks import problems
from xrnn import cells
from xrnn.backend import Backend
from xrnn.ops.cell import Cell
from xrnn.typing import HostArray


def _blocks_of(cell: Cell) -> tuple[int, int, int]:
    return len(cell.from_x), len(cell.from_h), cell.pre


OPERATIONS: Final = ("step", "forward", "train")
# By cell: the numbers of blocks in Wx, in Wh and in b. A block has H columns.
GATES: Final = {name: _blocks_of(cells.cell_of(name)) for name in cells.CELLS} | {
    "leak": (1, 1, 1),
    "lstm-heads": (4, 4, 4),
}
# The cells that PyTorch has too.
COMMON: Final = ("rnn", "lstm", "gru")
LEAK: Final = 0.3
LAYERS: Final[dict[str, Any]] = {**cells.CELLS, "leak": partial(xrnn.RNN, leak=LEAK), "lstm-heads": xrnn.LSTM}
HEADS: Final = {"lstm-heads": 4}  # by cell; 1 for the others
# The cell to compare with.
_BASES: Final = {"leak": "rnn", "lstm-heads": "lstm"}


def _cell_of(name: str) -> Cell:
    """A cell with the same states and parameters."""
    return cells.cell_of(_BASES.get(name, name))


@dataclass(frozen=True, slots=True)
class Case:
    T: int
    N: int
    D: int
    H: int
    cell: str = field(default="rnn", kw_only=True)  # a key of GATES
    ragged: bool = field(default=False, kw_only=True)  # True: each row has its own length

    @property
    def name(self) -> str:
        kind = "" if self.cell == "rnn" else f"{self.cell}-"
        return f"{kind}T{self.T}-N{self.N}-D{self.D}-H{self.H}{'-ragged' if self.ragged else ''}"

    @property
    def base(self) -> Case | None:
        """xrnn's own case to compare with: the full batch, the RNN without leak, the layer without heads."""
        if self.ragged:
            return replace(self, ragged=False)
        return replace(self, cell=_BASES[self.cell]) if self.cell in _BASES else None

    @property
    def lengths(self) -> HostArray:
        """(N,): T, or uniform in 1…T if the case is ragged."""
        if not self.ragged:
            return np.full(self.N, self.T)
        return np.random.default_rng((self.T, self.N)).integers(1, self.T, self.N, endpoint=True)

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        return self.T, self.N, self.D, self.H

    def flops(self, operation: str) -> int:
        """Multiplications and additions of the matrix products; training has three times those of a forward pass."""
        rows = self.N if operation == "step" else int(self.lengths.sum())
        of_x, of_h, _ = GATES[self.cell]
        of_each = of_x * self.D + of_h * self.H // HEADS.get(self.cell, 1)
        numbers = self.H * _cell_of(self.cell).components
        return 2 * rows * numbers * of_each * (3 if operation == "train" else 1)


# By cell: the sizes T, N, D, H in the tables of the documentation.
_GATED: Final = (
    (1, 1, 64, 64),
    (50, 1, 64, 64),
    (50, 16, 64, 64),
    (50, 1, 256, 256),
    (50, 16, 256, 256),
    (20, 1, 512, 1024),
    (50, 64, 256, 256),
    (35, 3, 40, 100),
    (35, 48, 100, 200),
    (20, 16, 512, 512),
    (10, 256, 128, 256),
)
# The last two are long sequences, for which the recent cells are made.
_LONG: Final = (*_GATED, (1_000, 16, 256, 256), (10_000, 1, 256, 256))
SIZES: Final = {
    "rnn": (
        (50, 1, 16, 16),
        (50, 1, 64, 64),
        (50, 16, 64, 64),
        (50, 1, 256, 256),
        (50, 16, 256, 256),
        (50, 64, 256, 256),
        (50, 256, 64, 64),
        (50, 256, 256, 256),
        (20, 1, 1024, 1024),
        (20, 16, 1024, 1024),
        (20, 64, 512, 1024),
        (35, 3, 40, 100),
        (35, 48, 100, 200),
        (20, 256, 512, 512),
        (100, 8, 128, 384),
        (50, 1, 128, 512),
        (200, 32, 32, 96),
        (1, 1, 64, 64),
        (1, 256, 256, 256),
    ),
    "lstm": _GATED,
    "gru": _GATED,
    "min-gru": _LONG,
    "min-lstm": _LONG,
    "slstm": _LONG[:-1],  # after 10,000 steps its results in float32, of any library, are less exact than `check` asks
    "lru": _LONG,
    "leak": ((50, 1, 64, 64), (50, 16, 256, 256), (50, 64, 256, 256), (1000, 1, 1, 500)),
}
RAGGED_SIZES: Final = ((35, 48, 100, 200), (50, 16, 256, 256), (50, 64, 256, 256))
# Few rows with wide weights: most of the time goes into reading the weights from the second or third level of cache.
_WIDE: Final = (
    (20, 1, 384, 384),
    (20, 1, 385, 385),
    (20, 6, 385, 385),
    (25, 1, 300, 700),
    (25, 1, 320, 704),
    (20, 2, 320, 704),
    (20, 3, 512, 768),
    (20, 4, 512, 768),
    (20, 6, 512, 768),
    (20, 8, 512, 768),
    (12, 2, 640, 960),
    (15, 1, 512, 1024),
    (10, 1, 512, 1536),
    (10, 4, 512, 1536),
)

# Single steps of one and of many rows: an ordinary layer copies its weights for the one step, or reads them in place.
_STEPS: Final = {"lstm": ((1, 256), (16, 256), (64, 256), (16, 512)), "gru": ((1, 256), (16, 256), (16, 512))}

STATED: Final = (
    *(Case(*sizes, cell=cell) for cell, of_cell in SIZES.items() for sizes in of_cell),
    *(Case(*sizes, cell=cell, ragged=True) for cell in COMMON for sizes in RAGGED_SIZES),
)
# The recurrent product is half of the work of the dense layer: D = H.
_HEADED: Final = tuple(
    Case(T, N, H, H, cell="lstm-heads") for T, N, H in ((50, 16, 256), (50, 64, 256), (20, 16, 512), (20, 1, 1024))
)
ALL: Final = (*STATED, *_HEADED)
WIDE: Final = tuple(Case(*sizes, cell=cell) for cell in COMMON for sizes in _WIDE)
STEPS: Final = tuple(Case(1, N, H, H, cell=cell) for cell, sizes in _STEPS.items() for N, H in sizes)
# The cases with enough rows and weights for tile registers (AMX).
TILES: Final = tuple(
    case for case in STATED if case.cell in COMMON and not case.ragged and case.N >= 16 and case.H >= 200
)
QUICK: Final = (Case(50, 1, 16, 16), Case(35, 3, 40, 100), Case(1, 1, 64, 64))


class Problem:
    """The float32 arrays of one case, equal in every process, and the expected results in float64."""

    def __init__(self, case: Case, seed: int = 0, *, backend: Backend | None = None) -> None:
        self.case = case
        self.backend = backend or xrnn.get_backend("numpy")
        cell = _cell_of(case.cell)
        own = [()] * len(cell.params)
        drawn = problems.recurrence(case.sizes, GATES[case.cell], cell.states, np.float32, seed, own, cell.components)
        self.x = drawn.x
        self.Wx, self.Wh, self.b, *self.own = drawn.weights
        if case.cell in HEADS:
            k = math.gcd(HEADS[case.cell], case.H)
            self.Wh = np.ascontiguousarray(self.Wh.reshape(k, case.H // k, -1)[..., : self.Wh.shape[1] // k])
        self.states = tuple(drawn.initial)  # h first
        self.dh = drawn.dstates[0]
        self.lengths = case.lengths if case.ragged else None
        self.within = np.arange(case.T)[:, None] < case.lengths  # (T, N): False past a row's end
        self.dh[~self.within] = 0  # results past a row's end differ between libraries and are ignored

    @property
    def h_prev(self) -> HostArray:
        return self.states[0]

    @property
    def weights(self) -> tuple[HostArray, ...]:
        """Wx, Wh, b, and the cell's own parameters."""
        return self.Wx, self.Wh, self.b, *self.own

    @cached_property
    def reference(self) -> dict[str, HostArray]:
        """h and the gradients of Σ h·dh, in the order of "train", computed by the plain form in float64.

        The plain form itself is tested against textbook recurrences and automatic differentiation.
        """
        x, dh, *states = (self.backend.asarray(a, "float64") for a in (self.x, self.dh, *self.states))
        layer = LAYERS[self.case.cell](*(self.backend.asarray(w, "float64") for w in self.weights))
        with xrnn.use_fused(False):
            result = layer.forward(x, *states, lengths=self.lengths)
            gradients = [*layer.backward(dh), *layer.grads]
        h = result[0] if isinstance(result, tuple) else result
        states = [state for state in layer.cell.states if state not in layer.cell.stabilisers]
        names = ["dx", *(f"d{state}_prev" for state in states), *(f"d{name}" for name in layer.names)]
        arrays = dict(zip(names, gradients, strict=True))
        found = {name: to_numpy(array) for name, array in {"h": h, **arrays}.items()}
        return {**found, "h": np.where(self.within[..., None], found["h"], 0)}


_SQUARE = 1536
SQUARE_FLOPS: Final = 2 * _SQUARE**3


@cache
def square() -> tuple[HostArray, HostArray]:
    """Two large matrices. The rate of their product, in operations per second, is the machine's ceiling."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((_SQUARE, _SQUARE), np.float32), rng.standard_normal((_SQUARE, _SQUARE), np.float32)


def check(operation: str, result: Any, problem: Problem, tolerance: float = 1e-4) -> float:
    """Compare the result of a peer's call with the float64 reference → the largest error of its arrays.

    An error is relative to the largest value of its array.


    result  "step" and "stream": h (N, H); "forward": h (T, N, H); "train": (h, dx, dh_prev, dWx, dWh, db), for an LSTM
            with dc_prev after dh_prev, for an sLSTM also dn_prev; "train on data": the same without dx
    Raises AssertionError that names the wrong array.
    """
    reference = problem.reference
    if operation in ("step", "stream"):
        expected = {"h": reference["h"][0]}
        arrays = (result,)
    elif operation == "forward":
        expected = {"h": reference["h"]}
        arrays = (result,)
    else:
        left_out = "dx" if operation == "train on data" else None
        expected = {name: array for name, array in reference.items() if name != left_out}
        arrays = tuple(result)
    worst = 0.0
    for (name, want), array in zip(expected.items(), arrays, strict=True):
        got = to_numpy(array)
        if name == "h" and operation not in ("step", "stream"):
            got = np.where(problem.within[..., None], got, np.zeros((), got.dtype))
        where = f"{problem.case.name} {operation}: {name}"
        if got.dtype != np.float32 or got.shape != want.shape:
            raise AssertionError(f"{where} is {got.dtype} {got.shape}: expected float32 {want.shape}")
        if not want.size:  # Wh of a cell without a recurrent product
            continue
        error = float(np.abs(got - want).max() / np.abs(want).max())
        if not error <= tolerance:  # a NaN fails too
            raise AssertionError(f"{where} is off by {error:.2g} of its largest value: expected at most {tolerance:g}")
        worst = max(worst, error)
    return worst


def to_numpy(array: Any) -> HostArray:
    """A host array from an array of any of the libraries."""
    if hasattr(array, "detach"):  # PyTorch
        array = array.detach().cpu()
        array = array.float() if str(array.dtype) == "torch.bfloat16" else array
    if hasattr(array, "get"):  # CuPy
        array = array.get()
    return np.asarray(array)
