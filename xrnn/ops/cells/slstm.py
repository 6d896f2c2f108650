"""The sLSTM cell: an LSTM with an exponential input gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from xrnn.ops.cell import Cell, Run, StepArrays
from xrnn.ops.cells.gates import sigmoid
from xrnn.typing import Array, HostArray

ForgetGate: TypeAlias = Literal["exp", "sigmoid"]

# The largest logarithm of f' in a fresh state: exp(80) is finite in float32, so that f' · 0 is 0.
_LARGEST = 80


class SLSTMCell(Cell):
    """i, f = exp(z₀), exp(z₁) or σ(z₁), g = tanh(z₂), o = σ(z₃)   (Beck et al., 2024).

    m' = max(log f + m, log i), or log i where n = 0,  i' = exp(log i - m'),  f' = exp(log f + m - m')
    c' = f' · c + i' · g,  n' = f' · n + i',  h' = o · c' / n'

    One of i' and f' is 1, so n ≥ 1 after every step from a fresh state, n = 0. m only rescales c and n: h would be the
    same with any m. `gradient` takes m as a constant.

    forget_gate   "exp": f = exp(z₁). "sigmoid": f = σ(z₁)

    Raises ValueError for an unknown forget gate.
    """

    name = "slstm"
    kernel_name = property(lambda cell: "slstm" if cell.forget_gate == "exp" else "slstm_sigmoid")
    states = ("h", "c", "n", "m")
    stabilisers = ("m",)
    pre = 4
    direct = False

    def __init__(self, forget_gate: ForgetGate = "exp") -> None:
        if forget_gate not in get_args(ForgetGate):
            raise ValueError(f"unknown forget_gate {forget_gate!r}: expected one of {', '.join(get_args(ForgetGate))}")
        self.forget_gate: ForgetGate = forget_gate

    def initial_bias(self, H: int) -> HostArray:
        """The forget gate starts at σ(1), as in the LSTM: b is 1, or log σ(1) for "exp"; 0 for the others."""
        return np.repeat([0.0, 1.0 if self.forget_gate == "sigmoid" else -np.log1p(np.exp(-1.0)), 0.0, 0.0], H)

    def step(self, run: Run, at: StepArrays) -> None:
        """z becomes log i - log f - m, ∂(log f)/∂z₁, g, o."""
        xp = run.xp
        log_i, f, g, o = at.z
        (_, c, n, m), (h_next, c_next, n_next, m_next) = at.before, at.after
        log_past = self._log_forget(xp, f)
        log_past += m
        m_next[...] = xp.where(n == 0, log_i, xp.maximum(log_past, log_i))
        log_i -= log_past
        i, f = _scaled_gates(xp, log_i, n)
        xp.tanh(g, out=g)
        sigmoid(xp, o)
        xp.multiply(f, c, out=c_next)
        xp.multiply(f, n, out=n_next)
        n_next += i
        i *= g
        c_next += i
        xp.divide(c_next, n_next, out=h_next)
        h_next *= o

    def _log_forget(self, xp: Any, z: Array) -> Array:
        """log f, a new array. z becomes its derivative: 1, or 1 - σ(z)."""
        if self.forget_gate == "exp":
            log_f: Array = z.copy()
            z[...] = 1
            return log_f
        t = xp.exp(-xp.abs(z))
        log_f = xp.minimum(z, 0)
        log_f -= xp.log1p(t)
        xp.divide(xp.where(z < 0, t.dtype.type(1), t), t + 1, out=z)
        return log_f

    def prepare(self, run: Run, at: StepArrays, dz: Array) -> None:
        """dz = (i', f' · ∂(log f)/∂z₁, i' · (1 - g²), h' · (1 - o)),  prepared = (f', o / n', h' / n')."""
        xp = run.xp
        n = at.before[2]
        h_next, _, n_next, _ = at.after
        i, f = _scaled_gates(xp, at.z[:, 0], n)
        g, o = at.z[:, 2], at.z[:, 3]
        di, df, dg, do = (dz[:, block] for block in range(4))
        di[...] = i
        xp.multiply(f, at.z[:, 1], out=df)
        xp.multiply(g, g, out=dg)
        xp.subtract(1, dg, out=dg)
        dg *= i
        xp.subtract(1, o, out=do)
        do *= h_next
        per_n = 1 / xp.where(n_next == 0, n_next.dtype.type(1), n_next)  # past its end a row may still have n = 0
        at.prepared = xp.stack((f, o * per_n, h_next * per_n), axis=1)

    def gradient(self, run: Run, at: StepArrays, dafter: Sequence[Array], dz: Array, dbefore: Sequence[Array]) -> None:
        """dc' += dh' · o / n',  dn' -= dh' · h' / n';  dz = (g · dc' + dn', c · dc' + n · dn', dc', dh') · prepared dz.

        dc = f' · dc',  dn = f' · dn',  dm = 0.
        """
        xp = run.xp
        _, c, n, _ = at.before
        dh, dc, dn, _ = dafter
        f, into_c, into_n = at.prepared
        into_c *= dh
        dc += into_c
        into_n *= dh
        dn -= into_n
        dz[0] *= at.z[2] * dc + dn
        dz[1] *= c * dc + n * dn
        dz[2] *= dc
        dz[3] *= dh
        xp.multiply(f, dc, out=dbefore[1])
        xp.multiply(f, dn, out=dbefore[2])
        dbefore[3][...] = 0


def _scaled_gates(xp: Any, d: Array, n: Array) -> tuple[Array, Array]:
    """i' = exp(log i - m') and f' = exp(log f + m - m'), from d = log i - log f - m."""
    fresh = n == 0
    i = xp.minimum(d, 0)
    f = -d
    xp.minimum(f, xp.where(fresh, d.dtype.type(_LARGEST), xp.zeros_like(d)), out=f)
    xp.copyto(i, 0, where=fresh)
    return xp.exp(i), xp.exp(f)
