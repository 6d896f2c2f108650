"""The LSTM cell with peepholes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xrnn.backends.numpy import kernels
from xrnn.ops.cell import Run, StepArrays
from xrnn.ops.cells.gates import sigmoid
from xrnn.ops.cells.lstm import LSTMCell
from xrnn.typing import Array, HostArray


class PeepholeLSTMCell(LSTMCell):
    """i, f = σ(z₀ + p_i · c, z₁ + p_f · c), g = tanh(z₂);  c' = f · c + i · g;  o = σ(z₃ + p_o · c'), h' = o · tanh(c')

    (Gers & Schmidhuber, 2000)
    """

    name = "peephole_lstm"
    # Of the levels, only the one for tests has the kernel.
    kernel_name = property(lambda cell: "peephole_lstm" if kernels and "peephole_lstm" in kernels.cells() else None)
    params = ("p_i", "p_f", "p_o")  # (H,) each

    def initial_params(self, rng: np.random.Generator, H: int) -> Sequence[HostArray]:
        return tuple(rng.uniform(-0.1, 0.1, (3, H)))

    def step(self, run: Run, at: StepArrays) -> None:
        (i, f, g, o), (_, c), (h_next, c_next), (p_i, p_f, p_o) = at.z, at.before, at.after, run.params
        i += p_i * c
        f += p_f * c
        sigmoid(run.xp, at.z[:2])
        run.xp.tanh(g, out=g)
        c_next[...] = f * c + i * g
        o += p_o * c_next
        sigmoid(run.xp, o)
        h_next[...] = o * run.xp.tanh(c_next)

    def prepare(self, run: Run, at: StepArrays, dz: Array) -> None:
        pass  # that of the LSTM is for other gates

    def gradient(self, run: Run, at: StepArrays, dafter: Sequence[Array], dz: Array, dbefore: Sequence[Array]) -> None:
        (i, f, g, o), (_, c), (_, c_next), (p_i, p_f, p_o) = at.z, at.before, at.after, run.params
        (dh, dc), (dp_i, dp_f, dp_o), s = dafter, run.dparams, run.xp.tanh(c_next)
        dz[3] = dh * s * o * (1 - o)
        dc += dh * o * (1 - s * s) + dz[3] * p_o
        dz[0] = dc * g * i * (1 - i)
        dz[1] = dc * c * f * (1 - f)
        dz[2] = dc * i * (1 - g * g)
        dbefore[1][...] = dc * f + dz[0] * p_i + dz[1] * p_f
        dp_i += (dz[0] * c).sum(axis=0)
        dp_f += (dz[1] * c).sum(axis=0)
        dp_o += (dz[3] * c_next).sum(axis=0)
