"""The Mamba-2 layer: a state-space model whose heads have matrices as states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np

from xrnn import init
from xrnn.arrays.select import get_backend
from xrnn.backend import Backend
from xrnn.checks import check_size
from xrnn.layers.mamba import new_dt_bias
from xrnn.layers.state_space import Cache, State, StateSpaceLayer
from xrnn.ops.causal_convolution import ConvolutionInputs
from xrnn.ops.matrix_memory import MemoryInputs
from xrnn.ops.silu import sigmoid, silu, silu_slope, softplus
from xrnn.typing import Array, ArrayIfNeeded, DType

_EPS: Final = 1e-5  # of the RMSNorm, as in mamba_ssm
_USUAL_HEAD: Final = 64  # the channels of a head in the paper


@dataclass(slots=True, eq=False)
class Kept:
    """What a forward keeps for the gradients. E channels in P heads of V = E/P channels."""

    projected: Array  # (T, N, E + C + P): z, the C inputs of the convolution, dt
    convolution: ConvolutionInputs
    u: Array  # (T, N, P, V)
    step: Array  # (T, N, P): Δ
    A: Array  # (P,)
    memory: MemoryInputs
    saved: Any  # the states that the memory saved
    y: Array  # (T, N, E), with skip · u
    gated: Array  # (T, N, E): y · silu(z)
    scale: Array  # (T, N, 1): 1 / √(mean(gated²) + ε)
    normalized: Array  # (T · N, E): gated · scale · norm


class Mamba2(StateSpaceLayer):
    """A state-space model with a matrix memory in each head: the mixer of Mamba-2   (Dao & Gu, 2024).

    z, uBC, dt = split(x @ in_proj)
    u, B, C = split(silu(causal convolution of each channel of uBC with conv, + conv_bias))
    Δ = softplus(dt + dt_bias)
    S[t] = exp(Δ · A) · S[t-1] + B (Δ · u)ᵀ,  A = -exp(A_log),  in each head
    r = (S[t]ᵀ C + skip · u) · silu(z)
    h[t] = (r / √(mean(r²) + 1e-5) · norm) @ out_proj

    D inputs, E channels in P heads of E/P neighbours, K keys of a state, W taps of the convolution, H outputs. All
    heads read the same B and C:

    in_proj    (D, 2E + 2K + P): z, u, B, C, dt    conv, conv_bias      (E + 2K, W), (E + 2K,)
    norm       (E,)                                dt_bias, A_log, skip (P,) each
    out_proj   (E, H)

    These are the parameters of `mamba_ssm.Mamba2` with ngroups=1, which stores in_proj and out_proj transposed; `skip`
    is its D, `norm` its norm.weight, and `conv` its conv1d.weight without the axis in the middle. Inputs are
    time-major, (T, N, D), or one step (N, D).

    The state before the first step is a pair, zeros if it is None: the inputs of the convolution in the last W - 1
    steps, (W - 1, N, E + 2K), and S, (N, P, K, E/P). In the paper, an RMSNorm is applied to x before each layer, and x
    is added to the result. In a Stack of these layers, put a LayerNorm after each.

    Raises TypeError for another type or dtype of the arrays, ValueError for another shape or device.

    >>> mamba = Mamba2.init(input_size=8, hidden_size=8, rng=0)
    >>> h, state = mamba.forward(np.zeros((20, 4, 8), "float32"), lengths=[20, 7, 0, 13])
    >>> h.shape
    (20, 4, 8)
    >>> dx, dstate = mamba.backward(np.ones_like(h))
    """

    in_proj: Array
    conv: Array
    conv_bias: Array
    dt_bias: Array
    A_log: Array
    skip: Array
    norm: Array
    out_proj: Array
    names = ("in_proj", "conv", "conv_bias", "dt_bias", "A_log", "skip", "norm", "out_proj")

    def __init__(self, *params: Array) -> None:
        super().__init__(*params)
        in_proj, conv, conv_bias, dt_bias, A_log, skip, norm, out_proj = params
        self._check("norm", norm, ("E",), "a factor for each of E channels")
        self._check("A_log", A_log, ("P",), "a number for each of P heads")
        E, P = len(norm), len(A_log)
        if not E or not P or E % P:
            self._refuse_shape("A_log", A_log, "(P,)", f"the number of heads must divide the {E} channels of norm")
        self._check("conv", conv, ("E + 2K", "W"), "W taps for each of E channels and 2K keys")
        C, W = conv.shape
        if not W or C <= E or (C - E) % 2:
            self._refuse_shape("conv", conv, f"({E} + 2K, W)", f"norm is {norm.shape}; neither K nor W can be 0")
        K = (C - E) // 2
        sizes = f"norm is {norm.shape}, A_log is {A_log.shape}, conv is {conv.shape}"
        self._check("in_proj", in_proj, ("D", 2 * E + 2 * K + P), sizes)
        self._check("conv_bias", conv_bias, (C,), sizes)
        self._check("dt_bias", dt_bias, (P,), sizes)
        self._check("skip", skip, (P,), sizes)
        self._check("out_proj", out_proj, (E, "H"), sizes)
        self.input_size: int = in_proj.shape[0]
        self.hidden_size: int = out_proj.shape[1]
        self.output_size: int = self.hidden_size
        self.channels: int = E
        self.heads: int = P
        self.state_size: int = K
        self.cache: Cache | None = None

    @classmethod
    def init(
        cls,
        input_size: int,
        hidden_size: int,
        *,
        expand: int = 2,
        state_size: int = 128,
        taps: int = 4,
        heads: int | None = None,
        rng: np.random.Generator | int | None = None,
        dtype: DType = "float32",
        backend: str | Backend | None = None,
    ) -> Self:
        """A layer with new weights, on the selected backend.

        expand      the number of channels E divided by hidden_size
        state_size  K, the keys of a state
        taps        W, of the convolution
        heads       P; None: heads of 64 channels, as in the paper, or of the largest smaller number that divides E
        rng         a seed or a Generator, which gives the same weights on every backend; None for random weights

        Glorot uniform matrices, A between -1 and -16, skip = norm = 1, and steps softplus(dt_bias) from 0.001 to 0.1.

        Raises ValueError if `heads` does not divide E.
        """
        D, H = check_size("input_size", input_size), check_size("hidden_size", hidden_size)
        E = check_size("expand", expand) * H
        K = check_size("state_size", state_size)
        W = check_size("taps", taps)
        if heads is None:
            P = E // max(size for size in range(1, min(E, _USUAL_HEAD) + 1) if E % size == 0)
        else:
            P = check_size("heads", heads)
            if E % P:
                raise ValueError(f"heads is {P}, which does not divide the {E} channels: choose another number")
        rng = init.as_generator(rng)
        dtype = init.as_dtype(dtype)
        backend = get_backend(backend)
        params = [
            init.glorot_uniform(rng, D, 2 * E + 2 * K + P),
            rng.uniform(-(W**-0.5), W**-0.5, (E + 2 * K, W)),
            np.zeros(E + 2 * K),
            new_dt_bias(rng, P),
            np.log(rng.uniform(1, 16, P)),
            np.ones(P),
            np.ones(E),
            init.glorot_uniform(rng, E, H),
        ]
        return cls(*(backend.parameter(param, dtype) for param in params))

    def _state_shapes(self, N: int) -> dict[str, tuple[int, ...]]:
        E, P, K = self.channels, self.heads, self.state_size
        return {
            "the last inputs of the convolution": (self.params[1].shape[1] - 1, N, E + 2 * K),
            "the states": (N, P, K, E // P),
        }

    def _forward(
        self, x: Array, state: Sequence[Array | None], lengths: Array | None, training: bool
    ) -> tuple[Array, State, Kept]:
        T, N, _ = x.shape
        backend = self.backend
        xp = self.backend.xp
        of_convolution, of_memory = state
        in_proj, conv, conv_bias, dt_bias, A_log, skip, norm, out_proj = self.params
        E, P, K = self.channels, self.heads, self.state_size
        projected = self._product(x.reshape(T * N, self.input_size), in_proj).reshape(T, N, 2 * E + 2 * K + P)
        z, inputs, dt = projected[..., :E], projected[..., E : 2 * E + 2 * K], projected[..., 2 * E + 2 * K :]
        convolution = ConvolutionInputs(inputs, conv, conv_bias, True, of_convolution, lengths)
        uBC, last_inputs = backend.causal_convolution_forward(convolution)
        u = uBC[..., :E].reshape(T, N, P, E // P)
        step = softplus(xp, dt + dt_bias)
        A = -xp.exp(A_log)
        memory = MemoryInputs(
            q=uBC[..., None, E + K :],
            k=uBC[..., None, E : E + K],
            v=u * step[..., None],
            log_decay=step * A,
            initial=of_memory,
            lengths=lengths,
        )
        y, last, saved = backend.matrix_memory_forward(memory, training)
        y += u * skip[:, None]  # u is 0 past the end of a row
        y = y.reshape(T, N, E)
        gated = y * silu(xp, z)
        scale = 1 / xp.sqrt((gated * gated).mean(axis=-1, keepdims=True) + _EPS)
        normalized = (gated * scale * norm).reshape(T * N, E)
        h = self._product(normalized, out_proj)
        kept = Kept(projected, convolution, u, step, A, memory, saved, y, gated, scale, normalized)
        return h, (last_inputs, last), kept

    def _gradients(
        self, cache: Cache, dh: Array, dlast: Sequence[Array | None], needs_dx: bool, grads: Sequence[Array]
    ) -> tuple[ArrayIfNeeded, State]:
        T, N, _ = cache.x.shape
        c: Kept = cache.kept
        backend, xp, E, K = self.backend, self.backend.xp, self.channels, self.state_size
        in_proj, _, _, dt_bias, _, skip, norm, out_proj = self.params
        d_in_proj, d_conv, d_conv_bias, d_dt_bias, d_A_log, d_skip, d_norm, d_out_proj = grads
        z, dt = c.projected[..., :E], c.projected[..., 2 * E + 2 * K :]

        convolution = replace(c.convolution, initial=self._or_zeros(c.convolution.initial, 0, N))
        memory = replace(c.memory, initial=self._or_zeros(c.memory.initial, 1, N))
        if cache.lengths is not None:
            runs = (xp.arange(T)[:, None] < cache.lengths).reshape(T * N, 1)
            dh = xp.where(runs, dh, xp.zeros((), dh.dtype))

        # out = gated · scale · norm; scale depends on all gated of a step.
        dnormalized = self._product_backward(c.normalized, out_proj, dh, d_out_proj).reshape(T, N, E)
        unit = c.gated * c.scale
        d_norm[...] = (dnormalized * unit).sum(axis=(0, 1))
        dunit = dnormalized * norm
        dgated = c.scale * (dunit - unit * (dunit * unit).mean(axis=-1, keepdims=True))
        dz = dgated * c.y * silu_slope(xp, z)
        dy = (dgated * silu(xp, z)).reshape(c.u.shape)

        of_memory = backend.matrix_memory_backward(memory, c.saved, dy, dlast[1])
        d_skip[...] = (dy * c.u).sum(axis=(0, 1, 3))
        du = of_memory.v * c.step[..., None] + dy * skip[:, None]
        dstep = (of_memory.v * c.u).sum(axis=-1) + of_memory.log_decay * c.A
        d_A_log[...] = (of_memory.log_decay * c.step).sum(axis=(0, 1)) * c.A  # A = -exp(A_log)
        ddt = dstep * sigmoid(xp, dt + dt_bias)
        d_dt_bias[...] = ddt.sum(axis=(0, 1))

        duBC = xp.concatenate((du.reshape(T, N, E), of_memory.k.reshape(T, N, K), of_memory.q.reshape(T, N, K)), axis=2)
        of_convolution = backend.causal_convolution_backward(convolution, duBC, dlast[0])
        d_conv[...] = of_convolution.weight
        d_conv_bias[...] = of_convolution.bias
        dprojected = xp.concatenate((dz, of_convolution.x, ddt), axis=2).reshape(T * N, in_proj.shape[1])
        dx = self._product_backward(cache.x.reshape(T * N, self.input_size), in_proj, dprojected, d_in_proj, needs_dx)
        dinitial: Any = of_convolution.initial, of_memory.initial
        return dx, dinitial
