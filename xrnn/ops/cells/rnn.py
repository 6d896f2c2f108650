"""The Elman cell, and its leaky forms: the leak after the nonlinearity, and before it."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np

from xrnn.ops.cell import Cell, Run, StepArrays
from xrnn.ops.cells.gates import scalar
from xrnn.typing import Array, HostArray

Nonlinearity: TypeAlias = Literal["tanh", "relu", "softplus"]
NONLINEARITIES: Final = get_args(Nonlinearity)
LEAST_LOGIT: Final = -80.0  # σ(-80) = 2e-35 is a normal number in float32


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
        elif self.nonlinearity == "relu":
            xp.maximum(z, 0, out=z)
        else:
            with np.errstate(invalid="ignore"):  # NumPy's logaddexp warns of a NaN
                xp.logaddexp(0, z, out=z)

    def step(self, run: Run, at: StepArrays) -> None:
        self.activate(run.xp, at.after[0])  # it holds z: see `Cell.pointwise`

    def prepare(self, run: Run, at: StepArrays, dz: Array) -> None:
        self.slope(run.xp, at.after[0], dz[:, 0])

    def slope(self, xp: Any, y: Array, dz: Array) -> None:
        """dz = φ'(z), from y = φ(z)."""
        if self.nonlinearity == "tanh":
            xp.multiply(y, y, out=dz)
            xp.subtract(1, dz, out=dz)
        elif self.nonlinearity == "relu":
            dz[...] = y > 0
        else:
            xp.expm1(-y, out=dz)  # softplus' = σ(z) = 1 - exp(-y)
            xp.negative(dz, out=dz)

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
        self.leak = leak
        self.rest = 1 - leak
        self.nonlinearity: Nonlinearity = nonlinearity
        self.elman = RNNCell(nonlinearity)

    def coefficients(self, xp: Any, params: Sequence[Array]) -> tuple[Any, ...]:
        return (self.leak,)

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


class TrainedLeak:
    """leak = σ(leak_logit), one for each unit, for a cell that trains its leak.

    σ keeps the leak in (0, 1]. Below LEAST_LOGIT, leak_logit counts as LEAST_LOGIT, so that σ does not underflow to 0.
    """

    params: tuple[str, ...] = ("leak_logit",)  # (H,)

    def initial_params(self, rng: np.random.Generator, H: int) -> Sequence[HostArray]:
        """A leak of 1/2."""
        return (np.zeros(H),)

    def coefficients(self, xp: Any, params: Sequence[Array]) -> tuple[Any, ...]:
        (logit,) = params
        return (1 / (1 + xp.exp(-xp.maximum(logit, LEAST_LOGIT))),)

    def params_gradient(
        self, xp: Any, params: Sequence[Array], coefficients: Sequence[Any], dparams: Sequence[Array]
    ) -> None:
        """dleak_logit = dleak · leak · (1 - leak), and 0 below LEAST_LOGIT."""
        (logit,), (leak,), (d,) = params, coefficients, dparams
        d *= leak * (1 - leak) * (logit >= LEAST_LOGIT)


class TrainedLeakRNNCell(TrainedLeak, Cell):
    """h' = h + leak · (y - h),  y = φ(z),  leak = σ(leak_logit): a leaky cell that trains its leak."""

    name = "trained_leak_rnn"
    kernel_name = property(lambda cell: f"leaky_{cell.nonlinearity}")

    def __init__(self, nonlinearity: Nonlinearity = "tanh") -> None:
        self.nonlinearity: Nonlinearity = nonlinearity
        self.elman = RNNCell(nonlinearity)

    def step(self, run: Run, at: StepArrays) -> None:
        (y,), (h,), (h_next,), (leak,) = at.z, at.before, at.after, run.params
        self.elman.activate(run.xp, y)
        run.xp.subtract(y, h, out=h_next)
        h_next *= leak
        h_next += h

    def prepare(self, run: Run, at: StepArrays, dz: Array) -> None:
        self.elman.slope(run.xp, at.z, dz)
        dz *= run.params[0]

    def gradient(self, run: Run, at: StepArrays, dafter: Sequence[Array], dz: Array, dbefore: Sequence[Array]) -> None:
        """dz = dh' · leak · φ'(z);  dleak = Σ dh' · (y - h);  dh = dh' · (1 - leak), without the part through z."""
        (dh,), (y,), (h,), (leak,), (dleak,) = dafter, at.z, at.before, run.params, run.dparams
        dz *= dh
        dleak += ((y - h) * dh).sum(axis=0)
        run.xp.multiply(dh, 1 - leak, out=dbefore[0])


class CurrentRNNCell(Cell):
    """v' = v + leak · (z - v),  h' = φ(v'): the leak before the nonlinearity   (Miller and Fumarola, 2012).

    leak   a number in (0, 1], or an array (H,) with one for each unit

    v is the current into a unit, h its rate.
    """

    name = "current_rnn"
    kernel_name = property(lambda cell: f"current_{cell.nonlinearity}")
    states = ("h", "v")
    keeps_z = False
    direct = False

    def __init__(self, leak: float | Array = 1.0, nonlinearity: Nonlinearity = "tanh") -> None:
        self.leak = leak
        self.nonlinearity: Nonlinearity = nonlinearity
        self.elman = RNNCell(nonlinearity)

    def coefficients(self, xp: Any, params: Sequence[Array]) -> tuple[Any, ...]:
        return (self.leak,)

    def step(self, run: Run, at: StepArrays) -> None:
        (z,), (_, v), (h_next, v_next), (leak,) = at.z, at.before, at.after, run.params
        run.xp.subtract(z, v, out=v_next)
        v_next *= leak
        v_next += v
        h_next[...] = v_next
        self.elman.activate(run.xp, h_next)

    def prepare(self, run: Run, at: StepArrays, dz: Array) -> None:
        self.elman.slope(run.xp, at.after[0], dz[:, 0])

    def gradient(self, run: Run, at: StepArrays, dafter: Sequence[Array], dz: Array, dbefore: Sequence[Array]) -> None:
        """dv' += dh' · φ'(v');  dz = dv' · leak;  dleak = Σ dv' · (z - v);  dv = dv' · (1 - leak).

        z - v = (v' - v) / leak, so that z need not be kept. The division by the leak amplifies only the rounding error
        of dleak.
        """
        (dh, dv), (_, v), (_, v_next), (leak,) = dafter, at.before, at.after, run.params
        dz[0] *= dh
        dv += dz[0]
        run.xp.multiply(dv, leak, out=dz[0])
        for dleak in run.dparams:
            dleak += ((v_next - v) / leak * dv).sum(axis=0)
        run.xp.multiply(dv, 1 - leak, out=dbefore[1])


class TrainedLeakCurrentRNNCell(TrainedLeak, CurrentRNNCell):
    """A `CurrentRNNCell` that trains its leak: leak = σ(leak_logit), one for each unit."""

    name = "trained_leak_current_rnn"
    kernel_name = property(lambda cell: f"current_{cell.nonlinearity}")

    def __init__(self, nonlinearity: Nonlinearity = "tanh") -> None:
        super().__init__(nonlinearity=nonlinearity)
