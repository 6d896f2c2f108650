"""The Elman cell, and its leaky form."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final, Literal, TypeAlias, get_args

from xrnn.ops.cell import Cell, Run, StepArrays
from xrnn.ops.cells.gates import scalar
from xrnn.typing import Array

Nonlinearity: TypeAlias = Literal["tanh", "relu"]
NONLINEARITIES: Final = get_args(Nonlinearity)


class RNNCell(Cell):
    """h' = φ(z)   (Elman, 1990)."""

    name = "rnn"
    kernel_name = property(attrgetter("nonlinearity"))
    keeps_z = False  # φ' is computed from the output
    direct = False
    pointwise = True

    def __init__(self, nonlinearity: Nonlinearity = "tanh") -> None:
        self.nonlinearity: Nonlinearity = nonlinearity

    def activate(self, xp: Any, z: Array) -> None:
        if self.nonlinearity == "tanh":
            xp.tanh(z, out=z)
        else:
            xp.maximum(z, 0, out=z)

    def step(self, run: Run, at: StepArrays) -> None:
        self.activate(run.xp, at.after[0])  # it holds z: see `Cell.pointwise`

    def prepare(self, run: Run, at: StepArrays, dz: Array) -> None:
        self.slope(run.xp, at.after[0], dz[:, 0])

    def slope(self, xp: Any, y: Array, dz: Array) -> None:
        """dz = φ'(z), from y = φ(z)."""
        if self.nonlinearity == "tanh":
            xp.multiply(y, y, out=dz)
            xp.subtract(1, dz, out=dz)
        else:
            dz[...] = y > 0

    def gradient(self, run: Run, at: StepArrays, dafter: Sequence[Array], dz: Array, dbefore: Sequence[Array]) -> None:
        """dz = dh' · φ'(z)."""
        dz *= dafter[0]


class LeakyRNNCell(Cell):
    """h' = (1 - leak) · h + leak · y,  y = φ(z)   (Jaeger et al., 2007).

    leak   a number in (0, 1], or an array (H,) with one for each unit

    y is kept for the gradient. Computing y from h' would divide the rounding error of h' by the leak.
    """

    name = "leaky_rnn"
    kernel_name = property(lambda cell: f"leaky_{cell.nonlinearity}")

    def __init__(self, leak: float | Array, nonlinearity: Nonlinearity = "tanh") -> None:
        self.leak, self.rest = leak, 1 - leak
        self.per_unit = (leak,)
        self.nonlinearity: Nonlinearity = nonlinearity
        self.elman = RNNCell(nonlinearity)

    def constants(self, xp: Any, dtype: Any) -> tuple[Array, Array]:
        """leak and 1 - leak, each 0-d or (H,)."""
        leak, rest = (scalar(xp, dtype, a) if isinstance(a, int | float) else a for a in (self.leak, self.rest))
        return leak, rest

    def step(self, run: Run, at: StepArrays) -> None:
        (y,), (h,), (h_next,), (leak, rest) = at.z, at.before, at.after, run.constants
        self.elman.activate(run.xp, y)
        run.xp.multiply(h, rest, out=h_next)
        h_next += run.xp.multiply(y, leak, out=None if run.training else y)

    def prepare(self, run: Run, at: StepArrays, dz: Array) -> None:
        self.elman.slope(run.xp, at.z, dz)
        dz *= self.leak

    def gradient(self, run: Run, at: StepArrays, dafter: Sequence[Array], dz: Array, dbefore: Sequence[Array]) -> None:
        """dz = dh' · leak · φ'(z);  dh = dh' · (1 - leak), without the part through z."""
        dz *= dafter[0]
        run.xp.multiply(dafter[0], self.rest, out=dbefore[0])
