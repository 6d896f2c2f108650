"""The minimal gated cells, minGRU and minLSTM: their gates do not depend on h, so there is no recurrent product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from xrnn.ops.cell import Cell, Run, StepArrays
from xrnn.ops.cells.gates import sigmoid
from xrnn.typing import Array, HostArray

Candidate: TypeAlias = Literal["linear", "positive"]


class _MinimalCell(Cell):
    """h' = h + w · (y - h), with a weight w in [0, 1] and a candidate y = g(v), which are computed from z alone.

    candidate   "linear": g(v) = v. "positive": g(v) = v + 1/2 for v ≥ 0, otherwise σ(v)

    Raises ValueError for an unknown candidate.
    """

    from_h = ()

    def __init__(self, candidate: Candidate = "linear") -> None:
        if candidate not in get_args(Candidate):
            raise ValueError(f"unknown candidate {candidate!r}: expected one of {', '.join(get_args(Candidate))}")
        self.candidate: Candidate = candidate

    def step(self, run: Run, at: StepArrays) -> None:
        xp = run.xp
        (h,) = at.before
        (h_next,) = at.after
        w = at.z[0]
        y = at.z[-1]
        self.weigh(xp, at.z)
        if self.candidate == "positive":
            _make_positive(xp, y)
        xp.subtract(y, h, out=h_next)
        h_next *= w
        h_next += h

    def weigh(self, xp: Any, z: Array) -> None:
        """Overwrite z₀ by the weight w."""
        raise NotImplementedError

    def prepare(self, run: Run, at: StepArrays, dz: Array) -> None:
        """dz of v = w · g'(v), and dz₀ = w · (y - h), from which `prepare_gates` makes dz of the gates."""
        xp = run.xp
        (h,) = at.before
        w = at.z[:, 0]
        y = at.z[:, -1]
        xp.subtract(y, h, out=dz[:, 0])
        dz[:, 0] *= w
        dy = dz[:, -1]
        if self.candidate == "positive":  # y < 1/2 if and only if v < 0, up to rounding
            dy[...] = xp.where(y < 0.5, y * (1 - y), y.dtype.type(1))
            dy *= w
        else:
            dy[...] = w
        self.prepare_gates(at.z, dz)
        at.prepared = 1 - at.z[:, :1]

    def prepare_gates(self, z: Array, dz: Array) -> None:
        """Complete dz of the gates, of which dz₀ is w · (y - h) so far: multiply it by the derivatives of log w."""
        raise NotImplementedError

    def gradient(self, run: Run, at: StepArrays, dafter: Sequence[Array], dz: Array, dbefore: Sequence[Array]) -> None:
        """dz = dh' · prepared dz;  dh = dh' · (1 - w)."""
        dz *= dafter[0]
        run.xp.multiply(dafter[0], at.prepared[0], out=dbefore[0])


class MinGRUCell(_MinimalCell):
    """u = σ(z₀), y = g(z₁);  h' = h + u · (y - h)   (Feng et al., 2024).

    candidate   "linear": g(v) = v. "positive": g(v) = v + 1/2 for v ≥ 0, otherwise σ(v), as in the paper
    """

    name = "min-gru"
    kernel_name = property(lambda cell: "min_gru" if cell.candidate == "linear" else "min_gru_positive")
    pre = 2

    def weigh(self, xp: Any, z: Array) -> None:
        sigmoid(xp, z[0])

    def prepare_gates(self, z: Array, dz: Array) -> None:
        """dz₀ = u · (y - h) · (1 - u)."""
        dz[:, 0] *= 1 - z[:, 0]


class MinLSTMCell(_MinimalCell):
    """f, i = σ(z₀, z₁), y = g(z₂);  h' = (f · h + i · y) / (f + i)   (Feng et al., 2024).

    candidate   "linear": g(v) = v. "positive": g(v) = v + 1/2 for v ≥ 0, otherwise σ(v), as in the paper

    With w = i / (f + i) this is h' = h + w · (y - h). `step` leaves w and f in the place of z₀ and z₁. The gradient
    needs no i, since i · (1 - w) = f · w.
    """

    name = "min-lstm"
    kernel_name = property(lambda cell: "min_lstm" if cell.candidate == "linear" else "min_lstm_positive")
    pre = 3

    def initial_bias(self, H: int) -> HostArray:
        """1 for the forget gate, so that h decays slowly at first, as in the LSTM; 0 for the others."""
        return np.repeat([1.0, 0.0, 0.0], H)

    def weigh(self, xp: Any, z: Array) -> None:
        """w = i / (f + i) = (e + a) / (2e + a + b), with e : a : b = 1 : exp(-z₀) : exp(-z₁).

        The largest of e, a and b is 1. So nothing overflows, and the denominator is not 0, even if f and i underflow.
        """
        xp.maximum(z[:2], -1e30, out=z[:2])  # not -∞: its difference below would be NaN
        least = xp.minimum(xp.minimum(z[0], z[1]), 0)
        e, a, b = xp.exp(least), xp.exp(least - z[0]), xp.exp(least - z[1])
        a += e
        b += e
        b += a
        z[1] = z[0]
        sigmoid(xp, z[1])
        xp.divide(a, b, out=z[0])

    def prepare_gates(self, z: Array, dz: Array) -> None:
        """dz₀ = -w · (y - h) · (1 - w)(1 - f),  dz₁ = w · (y - h) · (1 - w)(1 - i), where (1 - w) · i = w · f."""
        w, f = z[:, 0], z[:, 1]
        dz[:, 1] = dz[:, 0] * (1 - w - w * f)
        dz[:, 0] *= (w - 1) * (1 - f)


def _make_positive(xp: Any, v: Array) -> None:
    """v = g(v), in place."""
    low = xp.minimum(v, 0)
    sigmoid(xp, low)  # 1/2 for v ≥ 0
    xp.maximum(v, 0, out=v)
    v += low
