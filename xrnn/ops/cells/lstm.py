"""The long short-term memory cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xrnn.ops.cell import Cell, Run, StepArrays
from xrnn.typing import Array, HostArray


class LSTMCell(Cell):
    """i, f, o = σ(z₀, z₁, z₃), g = tanh(z₂);  c' = f · c + i · g,  h' = o · tanh(c')   (Gers et al., 2000)."""

    name = "lstm"
    kernel_name = "lstm"
    states = ("h", "c")
    pre = 4
    direct = False

    def initial_bias(self, H: int) -> HostArray:
        """1 for the forget gate, so that c decays slowly at first (Jozefowicz et al., 2015); 0 for the others."""
        return np.repeat([0.0, 1.0, 0.0, 0.0], H)

    def constants(self, xp: Any, dtype: Any) -> tuple[Array, Array]:
        """For each gate the factor before and after its tanh, and the number to add last: (4, 1, 1) each."""
        both = xp.empty((2, 4, 1, 1), dtype)
        both.fill(0.5)
        both[0, 2, 0, 0], both[1, 2, 0, 0] = 1, 0
        return both[0], both[1]

    def step(self, run: Run, at: StepArrays) -> None:
        xp = run.xp
        (_, c), (h_next, c_next) = at.before, at.after
        z = at.z
        scale, shift = run.constants
        i, f, g, o = z[0], z[1], z[2], z[3]
        z *= scale  # σ(z) = tanh(z / 2) / 2 + 1/2: one tanh for all gates
        xp.tanh(z, out=z)
        z *= scale
        z += shift
        xp.multiply(i, g, out=h_next)  # h_next holds i · g until c' is computed
        xp.multiply(f, c, out=c_next)
        c_next += h_next
        xp.tanh(c_next, out=h_next)
        h_next *= o

    def prepare(self, run: Run, at: StepArrays, dz: Array) -> None:
        """dz = (g · i(1-i), c · f(1-f), i · (1-g²), s · o(1-o)), prepared = o · (1-s²), with s = tanh(c')."""
        xp = run.xp
        (_, c), (_, c_next) = at.before, at.after
        i, g, o = at.z[:, 0], at.z[:, 2], at.z[:, 3]
        di, df, dg, do = (dz[:, gate] for gate in range(4))
        s = xp.tanh(c_next)

        xp.multiply(at.z, at.z, out=dz)
        xp.subtract(at.z, dz, out=dz)  # σ' = σ(1 - σ) for all gates; that of g is overwritten below
        di *= g
        df *= c
        do *= s
        xp.multiply(g, g, out=dg)
        xp.subtract(1, dg, out=dg)
        dg *= i

        s *= s
        xp.subtract(1, s, out=s)
        s *= o
        at.prepared = s[:, None]

    def gradient(self, run: Run, at: StepArrays, dafter: Sequence[Array], dz: Array, dbefore: Sequence[Array]) -> None:
        """dc' += dh' · prepared;  dz = (dc', dc', dc', dh') · prepared dz;  dc = dc' · f."""
        xp = run.xp
        dh, dc = dafter
        into_c = at.prepared[0]
        into_c *= dh
        dc += into_c
        dz[:3] *= dc
        dz[3] *= dh
        xp.multiply(dc, at.z[1], out=dbefore[1])
