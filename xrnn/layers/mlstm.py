"""The mLSTM layer: a matrix memory with an exponential input gate, a forget gate and a normaliser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Self

import numpy as np

from xrnn import init
from xrnn.arrays.select import get_backend
from xrnn.backend import Backend
from xrnn.checks import check_size
from xrnn.layers.state_space import Cache, State, StateSpaceLayer
from xrnn.ops.matrix_memory import MemoryInputs
from xrnn.ops.silu import sigmoid, softplus
from xrnn.typing import Array, ArrayIfNeeded, DType

_EPS: Final = 1e-6  # of the norm, as in xLSTM 7B
_USUAL_HEADS: Final = 4


class Gates(NamedTuple):
    """The gates of all steps, stabilised: see `stabilise`."""

    log_decay: Array  # (T, N, P): log f', at most the rounding error of m
    i: Array  # (T, N, P): i' ≤ 1, and 0 past the end of a row
    m: Array  # (T + 1, N, P): before the first step, then after each
    from_input: Array  # (T, N, P): whether m is log i


def stabilise(xp: Any, log_i: Array, log_f: Array, before: Array | None, lengths: Array | None) -> Gates:
    """The gates in the scale of a running maximum m.

    m' = max(log f + m, log i),  i' = exp(log i - m'),  f' = exp(log f + m - m')

    log_i, log_f   (T, N, P), log_f ≤ 0
    before         m before the first step, (N, P); None for zeros
    """
    T = len(log_i)
    if lengths is not None:
        runs = (xp.arange(T)[:, None] < lengths)[:, :, None]
        log_i, log_f = xp.where(runs, log_i, -math.inf), xp.where(runs, log_f, 0)
    m = xp.zeros((T + 1, *log_i.shape[1:]), log_i.dtype)
    if before is not None:
        m[0] = before
    for t in range(T):
        xp.add(log_f[t], m[t], out=m[t + 1])
        xp.maximum(m[t + 1], log_i[t], out=m[t + 1])
    # m - m' first: the difference of large neighbours is exact.
    return Gates(log_f + (m[:-1] - m[1:]), xp.exp(log_i - m[1:]), m, m[1:] == log_i)


def slopes_of_last_m(xp: Any, gates: Gates, lengths: Array | None) -> tuple[Array, Array, Array]:
    """The derivatives of the last m by log i and log f (T, N, P), and by m before the first step (N, P): 0 or 1.

    The last m is a sum: log i of the step at which m was last log i, and log f of all later steps. If there is no such
    step, it is m before the first step and log f of all steps.
    """
    later: Any = gates.from_input.sum(axis=0) - xp.cumsum(gates.from_input, axis=0)
    of_f = ~gates.from_input & (later == 0)
    if lengths is not None:
        of_f &= (xp.arange(len(later))[:, None] < lengths)[:, :, None]
    of_initial: Any = ~gates.from_input.any(axis=0)
    return gates.from_input & (later == 0), of_f, of_initial


@dataclass(slots=True, eq=False)
class Kept:
    """What a forward keeps for the gradients. E channels in P heads of V = E/P channels."""

    v: Array  # (T, N, P, V)
    gates: Gates
    f: Array  # (T, N, P): the pre-activations of the forget gate
    memory: MemoryInputs
    saved: Any  # the states that the memory saved
    last: Array  # (N, P, K, V + 1): the last S, and n as its last column
    bound: Array  # (T, N, P, 1): the smallest value of `size`
    n_q: Array  # (T, N, P, 1)
    size: Array  # (T, N, P, 1): max(|n · q|, bound)
    r: Array  # (T, N, P, V)
    scale: Array  # (T, N, P, 1): 1 / √(variance of r + ε)
    unit: Array  # (T, N, P, V): (r - mean) · scale
    o: Array  # (T, N, E): the output gate
    gated: Array  # (T · N, E): unit · norm · o


class MLSTM(StateSpaceLayer):
    """A matrix memory with an exponential input gate: the mLSTM of xLSTM   (Beck et al., 2024).

    q, k, v, o, i, f = split(x @ in_proj)
    i = exp(i + igate_bias),  f = σ(f + fgate_bias)
    S[t] = f · S[t-1] + i · k vᵀ,  n[t] = f · n[t-1] + i · k,  in each head
    r = S[t]ᵀ q' / max(|n[t] · q'|, 1),  q' = q / √K
    h[t] = (σ(o) · norm · (r - mean(r)) / √(variance(r) + 1e-6)) @ out_proj,  mean and variance of each head

    D inputs, E channels in P heads of E/P neighbours, K keys of a state, H outputs:

    in_proj      (D, 2PK + 2E + 2P): q, k, v, o, i, f
    igate_bias   (P,)
    fgate_bias   (P,)
    norm         (E,)
    out_proj     (E, H)

    These are the parameters of the mLSTM layer of xLSTM 7B (Beck et al., 2025), which stores out_proj and the parts of
    in_proj (q, k, v, ogate_preact, igate_preact, fgate_preact) transposed; `norm` is its multihead_norm.weight. Its
    tanh, which limits i and f to ±15 before the exponential and σ, is left out. Inputs are time-major, (T, N, D), or
    one step (N, D).

    The state before the first step has three parts, zeros if it is None: S (N, P, K, E/P) and n (N, P, K), both times
    exp(-m), and m (N, P). m is the stabiliser, a running maximum that keeps the exponentials finite and cancels in r.
    In the paper, a norm is applied to x before each layer, and x is added to the result. In a Stack of these layers,
    put a LayerNorm after each.

    Raises TypeError for another type or dtype of the arrays, ValueError for another shape or device.

    >>> mlstm = MLSTM.init(input_size=8, hidden_size=8, rng=0)
    >>> h, state = mlstm.forward(np.zeros((20, 4, 8), "float32"), lengths=[20, 7, 0, 13])
    >>> h.shape
    (20, 4, 8)
    >>> dx, dstate = mlstm.backward(np.ones_like(h))
    """

    in_proj: Array
    igate_bias: Array
    fgate_bias: Array
    norm: Array
    out_proj: Array
    names = ("in_proj", "igate_bias", "fgate_bias", "norm", "out_proj")

    def __init__(self, *params: Array) -> None:
        super().__init__(*params)
        in_proj, igate_bias, fgate_bias, norm, out_proj = params
        self._check("norm", norm, ("E",), "a factor for each of E channels")
        self._check("igate_bias", igate_bias, ("P",), "a number for each of P heads")
        E, P = len(norm), len(igate_bias)
        if not E or not P or E % P:
            self._refuse_shape("igate_bias", igate_bias, "(P,)", f"P heads must divide the {E} channels of norm")
        sizes = f"norm is {norm.shape}, igate_bias is {igate_bias.shape}"
        self._check("fgate_bias", fgate_bias, (P,), sizes)
        self._check("in_proj", in_proj, ("D", "2PK + 2E + 2P"), sizes)
        of_keys = in_proj.shape[1] - 2 * E - 2 * P
        if of_keys <= 0 or of_keys % (2 * P):
            self._refuse_shape("in_proj", in_proj, f"(D, {2 * P}·K + {2 * E + 2 * P})", f"{sizes}; K can't be 0")
        self._check("out_proj", out_proj, (E, "H"), sizes)
        self.input_size: int = in_proj.shape[0]
        self.hidden_size: int = out_proj.shape[1]
        self.output_size: int = self.hidden_size
        self.channels: int = E
        self.heads: int = P
        self.state_size: int = of_keys // (2 * P)
        self.cache: Cache | None = None

    @classmethod
    def init(
        cls,
        input_size: int,
        hidden_size: int,
        *,
        expand: int = 1,
        state_size: int | None = None,
        heads: int | None = None,
        rng: np.random.Generator | int | None = None,
        dtype: DType = "float32",
        backend: str | Backend | None = None,
    ) -> Self:
        """A layer with new weights, on the selected backend.

        expand      the number of channels E divided by hidden_size
        state_size  K, the keys of a head; None: half as many as its channels, rounded up, as in xLSTM 7B
        heads       P; None: 4, or the largest smaller number that divides E
        rng         a seed or a Generator, which gives the same weights on every backend; None for random weights

        Glorot uniform matrices, norm = 1. The columns of the two gates are 0, and their biases those of the paper:
        normally distributed with deviation 0.1 for i, and from 3 to 6 for f.

        Raises ValueError if `heads` does not divide E.
        """
        D, H = check_size("input_size", input_size), check_size("hidden_size", hidden_size)
        E = check_size("expand", expand) * H
        if heads is None:
            P = max(count for count in range(1, _USUAL_HEADS + 1) if E % count == 0)
        else:
            P = check_size("heads", heads)
            if E % P:
                raise ValueError(f"heads is {P}, which does not divide the {E} channels: choose another number")
        K = math.ceil(E / P / 2) if state_size is None else check_size("state_size", state_size)
        rng = init.as_generator(rng)
        dtype = init.as_dtype(dtype)
        backend = get_backend(backend)
        params = [
            np.concatenate((init.glorot_uniform(rng, D, 2 * P * K + 2 * E), np.zeros((D, 2 * P))), axis=1),
            rng.normal(0, 0.1, P),
            np.linspace(3, 6, P),
            np.ones(E),
            init.glorot_uniform(rng, E, H),
        ]
        return cls(*(backend.parameter(param, dtype) for param in params))

    def _state_shapes(self, N: int) -> dict[str, tuple[int, ...]]:
        E, P, K = self.channels, self.heads, self.state_size
        return {"S": (N, P, K, E // P), "n": (N, P, K), "m": (N, P)}

    def _split(self, projected: Array) -> list[Array]:
        """Views of the columns of q, k, v, o, i, f."""
        E = self.channels
        P = self.heads
        keys = self.heads * self.state_size
        ends = np.cumsum((keys, keys, E, E, P, P)).tolist()
        return [projected[..., begin:end] for begin, end in zip((0, *ends), ends, strict=False)]

    def _forward(
        self, x: Array, state: Sequence[Array | None], lengths: Array | None, training: bool
    ) -> tuple[Array, State, Kept]:
        T, N, _ = x.shape
        backend, xp, E, P, K = self.backend, self.backend.xp, self.channels, self.heads, self.state_size
        in_proj, igate_bias, fgate_bias, norm, out_proj = self.params
        S, n, m = state
        projected = self._product(x.reshape(T * N, self.input_size), in_proj).reshape(T, N, in_proj.shape[1])
        q, k, v, o, i, f = self._split(projected)
        f = f + fgate_bias
        gates = stabilise(xp, i + igate_bias, -softplus(xp, -f), m, lengths)  # log σ(f) = -softplus(-f)
        v = v.reshape(T, N, P, E // P)
        memory = MemoryInputs(
            q=q.reshape(T, N, P, K),
            k=k.reshape(T, N, P, K),
            v=_with_column(xp, v * gates.i[..., None], gates.i),  # a column of ones, times i', makes n a column of S
            log_decay=gates.log_decay,
            initial=None if S is None or n is None else _with_column(xp, S, n),
            lengths=lengths,
        )
        y, last, saved = backend.matrix_memory_forward(memory, training)
        n_q = y[..., -1:].copy()  # otherwise it would keep y in memory
        # y and n_q are √K times those of q', and so is the bound.
        bound = K**0.5 * self._exp(-gates.m[1:, :, :, None])
        size = xp.maximum(abs(n_q), bound)
        r = y[..., :-1] / size
        unit = r - r.mean(axis=-1, keepdims=True)
        scale = 1 / xp.sqrt((unit * unit).mean(axis=-1, keepdims=True) + _EPS)
        unit *= scale
        o = sigmoid(xp, o)
        gated = (unit.reshape(T, N, E) * norm * o).reshape(T * N, E)
        h = self._product(gated, out_proj)
        kept = Kept(v, gates, f, memory, saved, last, bound, n_q, size, r, scale, unit, o, gated)
        return h, (last[..., :-1].copy(), last[..., -1].copy(), gates.m[-1].copy()), kept

    def _exp(self, x: Array) -> Array:
        """exp(x), limited to a range in which it and its inverse are positive and finite."""
        most = 80.0 if self._dtype == "float32" else 700.0
        exponential: Array = self.backend.xp.exp(x.clip(-most, most))
        return exponential

    def _gradients(
        self, cache: Cache, dh: Array, dlast: Sequence[Array | None], needs_dx: bool, grads: Sequence[Array]
    ) -> tuple[ArrayIfNeeded, State]:
        T, N, _ = cache.x.shape
        c: Kept = cache.kept
        backend, xp, E, P, K = self.backend, self.backend.xp, self.channels, self.heads, self.state_size
        dS, dn, dm = dlast
        in_proj, _, _, norm, out_proj = self.params
        d_in_proj, d_igate_bias, d_fgate_bias, d_norm, d_out_proj = grads
        heads = c.r.shape  # (T, N, P, V)

        if cache.lengths is not None:
            runs = (xp.arange(T)[:, None] < cache.lengths).reshape(T * N, 1)
            dh = xp.where(runs, dh, xp.zeros((), dh.dtype))
        initial: Any = c.memory.initial
        if initial is None:
            initial = xp.zeros(c.last.shape, self._dtype)

        # out = unit · norm · o; unit depends on all r of a head.
        dgated = self._product_backward(c.gated, out_proj, dh, d_out_proj).reshape(T, N, E)
        unit = c.unit.reshape(T, N, E)
        do = dgated * unit * norm * c.o * (1 - c.o)
        dgated *= c.o
        d_norm[...] = (dgated * unit).sum(axis=(0, 1))
        dunit = (dgated * norm).reshape(heads)
        dr = dunit - dunit.mean(axis=-1, keepdims=True) - c.unit * (dunit * c.unit).mean(axis=-1, keepdims=True)
        dr *= c.scale

        # r = Sᵀ q / size, and size is |n · q| or a constant.
        dsize = -(dr * c.r).sum(axis=-1, keepdims=True) / c.size
        d_n_q = xp.where(abs(c.n_q) > c.bound, dsize * xp.sign(c.n_q), 0)
        dy = _with_column(xp, dr / c.size, d_n_q[..., 0])
        of_last = None if dS is None or dn is None else _with_column(xp, dS, dn)
        of_memory = backend.matrix_memory_backward(replace(c.memory, initial=initial), c.saved, dy, of_last)
        dinitial: Any = of_memory.initial

        # v of the memory is (v, 1) · i', and d i' / d log i = i': m is a constant.
        dv = of_memory.v[..., :-1] * c.gates.i[..., None]
        di = (of_memory.v * c.memory.v).sum(axis=-1)
        d_log_f = of_memory.log_decay
        dm_initial = (dinitial * initial).sum(axis=(2, 3))
        if of_last is not None:
            # m cancels in h, but the returned states depend on it: S and n are multiplied by exp(-m).
            dm = dm - (of_last * c.last).sum(axis=(2, 3))
            by_i, by_f, by_initial = slopes_of_last_m(xp, c.gates, cache.lengths)
            di += dm * by_i
            d_log_f += dm * by_f
            dm_initial += dm * by_initial
        df = d_log_f * sigmoid(xp, -c.f)
        d_igate_bias[...] = di.sum(axis=(0, 1))
        d_fgate_bias[...] = df.sum(axis=(0, 1))

        dq, dk = of_memory.q.reshape(T, N, P * K), of_memory.k.reshape(T, N, P * K)
        dprojected = xp.concatenate((dq, dk, dv.reshape(T, N, E), do, di, df), axis=2)
        dprojected = dprojected.reshape(T * N, in_proj.shape[1])
        dx = self._product_backward(cache.x.reshape(T * N, self.input_size), in_proj, dprojected, d_in_proj, needs_dx)
        return dx, (dinitial[..., :-1].copy(), dinitial[..., -1].copy(), dm_initial)


def _with_column(xp: Any, columns: Array, last: Array) -> Array:
    """(…, V) and (…) → (…, V + 1)."""
    joined: Array = xp.concatenate((columns, last[..., None]), axis=-1)
    return joined
