"""The gated recurrent unit, in both of its forms: the reset gate after the recurrent product, and before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xrnn.ops.cell import Cell, Run, StepArrays
from xrnn.ops.cells.gates import half, sigmoid
from xrnn.typing import Array


class GRUCell(Cell):
    """r, u = σ(z₁, z₂), n = tanh(z₀ + r · z₃);  h' = n + u · (h - n)   (Cho et al., 2014; reset after the product).

    The weights have the gates in the order r, u, n. z₃ is the recurrent part of n, and has its own bias. n is the first
    block of z, so that the blocks that h @ Wh feeds are neighbours: one product for each step.
    """

    name = "gru"
    kernel_name = "gru"
    pre = 4
    from_x = (1, 2, 0)
    from_h = (1, 2, 3)

    def constants(self, xp: Any, dtype: Any) -> Array:
        return half(xp, dtype)

    def step(self, run: Run, at: StepArrays) -> None:
        xp = run.xp
        (h,), (h_next,) = at.before, at.after
        z = at.z
        n, r, u, m = z[0], z[1], z[2], z[3]
        sigmoid(xp, z[1:3], run.constants)
        xp.multiply(r, m, out=h_next)
        n += h_next
        xp.tanh(n, out=n)
        _mix(run, n, u, h, h_next)

    def prepare(self, run: Run, at: StepArrays, dz: Array) -> None:
        """dz = (q, q · m · r(1-r), (h-n) · u(1-u), q · r), with q = (1-u)(1-n²)."""
        xp = run.xp
        (h,) = at.before
        n, r, u, m = (at.z[:, gate] for gate in range(4))
        q, dr, du, dm = (dz[:, gate] for gate in range(4))
        _prepare_new(run, n, u, h, q, du, scratch=dr)
        xp.multiply(q, r, out=dm)
        xp.subtract(1, r, out=dr)
        dr *= dm
        dr *= m

    def gradient(self, run: Run, at: StepArrays, dafter: Sequence[Array], dz: Array, dbefore: Sequence[Array]) -> None:
        """dz = dh' · prepared dz;  dh = dh' · u, without the part through z."""
        dz *= dafter[0]
        run.xp.multiply(dafter[0], at.z[2], out=dbefore[0])


class GRUResetBeforeCell(Cell):
    """r, u = σ(z₀, z₁), n = tanh(x @ Wx_n + (r · h) @ Wh_n + b_n);  h' = n + u · (h - n)   (Cho et al., 2014).

    The recurrent term is not one product of h: the product for n needs r.
    """

    name = "gru_reset_before"
    pre = 3
    recurs = True

    def constants(self, xp: Any, dtype: Any) -> Array:
        return half(xp, dtype)

    def recur(self, run: Run, at: StepArrays) -> None:
        (h,) = at.before
        r, u, n = at.z
        Wh = run.W
        H = len(Wh)
        gates = h @ Wh[:, : 2 * H]
        r += gates[:, :H]
        u += gates[:, H:]
        sigmoid(run.xp, at.z[:2], run.constants)
        n += (r * h) @ Wh[:, 2 * H :]

    def step(self, run: Run, at: StepArrays) -> None:
        (_, u, n), (h,), (h_next,) = at.z, at.before, at.after
        run.xp.tanh(n, out=n)
        _mix(run, n, u, h, h_next)

    def prepare(self, run: Run, at: StepArrays, dz: Array) -> None:
        """dz = (h · r(1-r), (h-n) · u(1-u), (1-u)(1-n²))."""
        xp = run.xp
        (h,) = at.before
        r, u, n = (at.z[:, gate] for gate in range(3))
        dr, du, q = (dz[:, gate] for gate in range(3))
        _prepare_new(run, n, u, h, q, du, scratch=dr)
        xp.subtract(1, r, out=dr)
        dr *= r
        dr *= h

    def gradient(self, run: Run, at: StepArrays, dafter: Sequence[Array], dz: Array, dbefore: Sequence[Array]) -> None:
        """dz₁, dz₂ = dh' · prepared dz;  dh = dh' · u, without the part through z. `recur_gradient` completes dz₀."""
        dz[1:] *= dafter[0]
        run.xp.multiply(dafter[0], at.z[1], out=dbefore[0])

    def recur_gradient(self, run: Run, at: StepArrays, dz: Array, dh: Array) -> None:
        """d(r·h) = dz₂ @ Wh_nᵀ;  dz₀ = d(r·h) · prepared dz₀;  dh += d(r·h) · r + (dz₀, dz₁) @ (Wh_r, Wh_u)ᵀ."""
        WhT = run.W
        H = dh.shape[1]
        drh = dz[2] @ WhT[2 * H :]
        dz[0] *= drh
        drh *= at.z[0]
        dh += drh
        dh += dz[0] @ WhT[:H]
        dh += dz[1] @ WhT[H : 2 * H]

    def recur_weights(self, xp: Any, at: StepArrays, dz: Array, dWh: Array) -> None:
        """dWh = (hᵀ @ dz₀, hᵀ @ dz₁, (r · h)ᵀ @ dz₂), summed over steps and rows."""
        h = at.before[0]
        H = h.shape[-1]
        for gate, left in enumerate((h, h, at.z[:, 0] * h)):
            dWh[:, gate * H : (gate + 1) * H] = left.reshape(-1, H).T @ dz[:, gate].reshape(-1, H)


def _mix(run: Run, n: Array, u: Array, h: Array, h_next: Array) -> None:
    """h' = n + u · (h - n)."""
    run.xp.subtract(h, n, out=h_next)
    h_next *= u
    h_next += n


def _prepare_new(run: Run, n: Array, u: Array, h: Array, q: Array, du: Array, scratch: Array) -> None:
    """q = (1-u)(1-n²) and du = (h-n) · u(1-u): the derivatives of h' by the pre-activations of n and u."""
    xp = run.xp
    xp.subtract(1, u, out=scratch)
    xp.multiply(n, n, out=q)
    xp.subtract(1, q, out=q)
    q *= scratch
    xp.subtract(h, n, out=du)
    du *= u
    du *= scratch
