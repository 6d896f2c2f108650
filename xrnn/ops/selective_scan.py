"""The selective scan of Mamba and its gradient.

Gu and Dao, 2023: "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", algorithm 2.

T time steps, N batch, D channels, K states of a channel, G groups of D/G neighbouring channels. For each row of the
batch and each channel d, with the state S (K,) before a step and S' after it:

    Δ = softplus(delta + bias)                    S'[k] = exp(Δ A[d, k]) S[k] + Δ u B[k]
    y = (Σ_k C[k] S'[k] + skip u) silu(z)         softplus, bias, skip and z may be left out

A and skip are called A and D by mamba_ssm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from xrnn.ops.operands import check_fits, check_float
from xrnn.ops.silu import sigmoid, silu, silu_slope, softplus
from xrnn.typing import Array

# The steps between two saved states. The backward pass computes the states between them a second time.
CHUNK: Final = 16


@dataclass(slots=True, eq=False)
class ScanInputs:
    """The operands of a selective scan, all of one dtype.

    Strides are free. The kernels copy an array of time steps whose last axes are not contiguous, and no other.
    """

    u: Array  # (T, N, D)
    delta: Array  # (T, N, D)
    A: Array  # (D, K), ≤ 0 for a state that does not grow
    # (T, N, K) for all channels; (T, N, G, K) for the channels of each group; (D, K) for all steps and rows
    B: Array
    C: Array  # one of the same shapes, not necessarily that of B
    skip: Array | None = None  # (D,)
    z: Array | None = None  # (T, N, D)
    bias: Array | None = None  # (D,)
    softplus: bool = False
    initial: Array | None = None  # (N, D, K), None for zeros
    # (N,) integers in [0, T], None if all rows have T steps. Past its end a row keeps its state, y and all gradients
    # of the step are 0, and no operand of the step is used.
    lengths: Array | None = None

    def sizes(self) -> tuple[int, int, int, int]:
        """T, N, D, K."""
        shape: Any = self.u.shape
        return (*shape, self.A.shape[1])

    def check(self) -> None:
        """Raise TypeError unless all arrays have the type, the dtype and the sizes of u and A."""
        u, A = self.u, self.A
        if u.ndim != 3 or A.ndim != 2:
            raise TypeError("u is not (T, N, D), or A is not (D, K)")
        check_float("u", u)
        T, N, D, K = self.sizes()
        shapes = {"delta": u.shape, "A": (D, K), "skip": (D,), "z": u.shape, "bias": (D,), "initial": (N, D, K)}
        for name, shape in shapes.items():
            check_fits(name, getattr(self, name), u, shape, "u")
        for name in ("B", "C"):
            array = getattr(self, name)
            groups = array.shape[2] if array.ndim == 4 else 1
            shape = {2: (D, K), 3: (T, N, K)}.get(array.ndim, (T, N, groups, K))
            check_fits(name, array, u, shape, "u")
            if groups == 0 or D % groups:
                raise TypeError(f"{name} has {groups} groups, which do not divide the {D} channels")
        if self.lengths is not None and self.lengths.shape != (N,):
            raise TypeError("lengths is not (N,)")


class ScanOutputs(NamedTuple):
    y: Array  # (T, N, D)
    last: Array  # (N, D, K), the state after the last step of each row
    # (⌈T / CHUNK⌉, N, K, D), the states before step 0, CHUNK, 2 · CHUNK, …; None if not training. All forms save the
    # same states, so any form can run backward.
    saved: Array | None


class ScanGradients(NamedTuple):
    """The gradients by the operands, in their shapes; None for an operand that is None."""

    u: Array
    delta: Array
    A: Array
    B: Array
    C: Array
    skip: Array | None
    z: Array | None
    bias: Array | None
    initial: Array | None


def forward(xp: Any, inputs: ScanInputs, training: bool) -> ScanOutputs:
    """→ y, last, saved."""
    T, N, D, K = inputs.sizes()
    u, dtype = inputs.u, inputs.u.dtype
    steps = _Steps(xp, inputs)
    y = xp.empty((T, N, D), dtype)
    saved = xp.empty((-(-T // CHUNK), N, K, D), dtype) if training else None
    S = xp.zeros((N, D, K), dtype) if inputs.initial is None else inputs.initial.copy()
    for t in range(T):
        if saved is not None and t % CHUNK == 0:
            saved[t // CHUNK] = S.swapaxes(1, 2)
        S = steps.after(t, S)
        y[t] = (S * steps.C(t)).sum(axis=-1)
    if inputs.skip is not None:
        y += inputs.skip * u
    if inputs.z is not None:
        y *= silu(xp, inputs.z)
    return ScanOutputs(steps.within(y), S, saved)


def backward(xp: Any, inputs: ScanInputs, saved: Array, dy: Array | None, dlast: Array | None = None) -> ScanGradients:
    """The gradients of `forward`, from dy (T, N, D) and dlast (N, D, K), None for zeros.

    With g the gradient of S' through all later steps, e = exp(Δ A) and v = Δ u:

        dr = dy silu(z)                  dS'[k] = g[k] + dr C[k]          g[k] of the step before = e[k] dS'[k]
        dC[k] = Σ_channels dr S'[k]      dB[k] = Σ_channels dS'[k] v      dv = Σ_k dS'[k] B[k]
        w[k] = dS'[k] e[k] S[k]          dA[k] = Σ_t w[k] Δ               dΔ = Σ_k w[k] A[k] + u dv
        du = Δ dv + skip dr              dskip = Σ_t dr u                 dz = dy (Σ_k C[k] S'[k] + skip u) silu'(z)
    """
    T, N, D, K = inputs.sizes()
    u, A, skip, z, dtype = inputs.u, inputs.A, inputs.skip, inputs.z, inputs.u.dtype
    steps = _Steps(xp, inputs)
    delta = steps.delta
    dy = xp.zeros((T, N, D), dtype) if dy is None else dy
    dr = dy if z is None else dy * silu(xp, z)  # the gradient of y before it is multiplied by silu(z)
    y, dv, ddelta = (xp.zeros((T, N, D), dtype) for _ in range(3))
    dA = xp.zeros_like(A)
    dB = xp.zeros(inputs.B.shape, dtype)
    dC = xp.zeros(inputs.C.shape, dtype)
    g = xp.zeros((N, D, K), dtype) if dlast is None else dlast.copy()
    for begin in reversed(range(0, T, CHUNK)):
        states = [saved[begin // CHUNK].swapaxes(1, 2)]
        for t in range(begin, min(begin + CHUNK, T)):
            states.append(steps.after(t, states[-1]))
        for t in reversed(range(begin, min(begin + CHUNK, T))):
            before, after = states[t - begin : t - begin + 2]
            y[t] = (after * steps.C(t)).sum(axis=-1)
            dS = g + dr[t][:, :, None] * steps.C(t)
            _add(dC, t, steps.within_step(t, dr[t][:, :, None] * after))
            _add(dB, t, steps.within_step(t, dS * steps.v[t][:, :, None]))
            dv[t] = (dS * steps.B(t)).sum(axis=-1)
            dbefore = dS * xp.exp(delta[t][:, :, None] * A)
            w = dbefore * before
            ddelta[t] = (w * A).sum(axis=-1)
            dA += steps.within_step(t, w * delta[t][:, :, None]).sum(axis=0)
            g = steps.choose(t, dbefore, g)
    du = dv * delta
    ddelta += dv * u
    if skip is not None:
        du += dr * skip
        y += skip * u
    if inputs.softplus:
        ddelta *= sigmoid(xp, steps.raw)
    ddelta = steps.within(ddelta)
    return ScanGradients(
        u=steps.within(du),
        delta=ddelta,
        A=dA,
        B=dB,
        C=dC,
        skip=None if skip is None else steps.within(dr * u).sum(axis=(0, 1)),
        z=None if z is None else steps.within(dy * y * silu_slope(xp, z)),
        bias=None if inputs.bias is None else ddelta.sum(axis=(0, 1)),
        initial=None if inputs.initial is None else g,
    )


class _Steps:
    """The recurrence of the states, step by step."""

    def __init__(self, xp: Any, inputs: ScanInputs) -> None:
        T, _, D, _ = inputs.sizes()
        self._xp, self._inputs, self._channels = xp, inputs, D
        self.raw = inputs.delta if inputs.bias is None else inputs.delta + inputs.bias
        self.delta = softplus(xp, self.raw) if inputs.softplus else self.raw
        self.v = self.delta * inputs.u
        # (T, N): False past the end of a row
        self._runs = None if inputs.lengths is None else xp.arange(T)[:, None] < inputs.lengths

    def B(self, t: int) -> Array:
        """B of a step, which broadcasts to (N, D, K)."""
        return self._of_channels(self._inputs.B, t)

    def C(self, t: int) -> Array:
        return self._of_channels(self._inputs.C, t)

    def after(self, t: int, S: Array) -> Array:
        """The states (N, D, K) after step t."""
        new = self._xp.exp(self.delta[t][:, :, None] * self._inputs.A) * S + self.v[t][:, :, None] * self.B(t)
        return self.choose(t, new, S)

    def choose(self, t: int, running: Array, ended: Array) -> Array:
        """`running` for the rows that have step t, and `ended` for the others."""
        if self._runs is None:
            return running
        chosen: Array = self._xp.where(self._runs[t][:, None, None], running, ended)
        return chosen

    def within_step(self, t: int, array: Array) -> Array:
        """`array` (N, D, K), with zeros for the rows that do not have step t."""
        return self.choose(t, array, self._xp.zeros((), array.dtype))

    def within(self, array: Array) -> Array:
        """`array` (T, N, D), with zeros past the end of each row."""
        if self._runs is None:
            return array
        chosen: Array = self._xp.where(self._runs[:, :, None], array, self._xp.zeros((), array.dtype))
        return chosen

    def _of_channels(self, array: Array, t: int) -> Array:
        if array.ndim == 2:
            return array[None]
        if array.ndim == 3:
            return array[t][:, None]
        _, N, groups, K = array.shape
        of_group = self._xp.broadcast_to(array[t][:, :, None], (N, groups, self._channels // groups, K))
        return of_group.reshape(N, self._channels, K)


def _add(out: Array, t: int, values: Array) -> None:
    """Add the gradient of B or C of a step by channel, (N, D, K), to that of B or C, which has one of three shapes."""
    if out.ndim == 2:
        out += values.sum(axis=0)
    elif out.ndim == 3:
        out[t] = values.sum(axis=1)
    else:
        N, D, K = values.shape
        groups = out.shape[2]
        out[t] = values.reshape(N, groups, D // groups, K).sum(axis=2)
