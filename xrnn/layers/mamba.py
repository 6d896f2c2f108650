"""The Mamba layer: a selective state-space model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np

from xrnn import init
from xrnn.arrays.select import get_backend
from xrnn.backend import Backend
from xrnn.checks import check_size
from xrnn.layers.state_space import Cache, State, StateSpaceLayer
from xrnn.ops.causal_convolution import ConvolutionInputs
from xrnn.ops.selective_scan import ScanInputs
from xrnn.typing import Array, ArrayIfNeeded, DType

_SHORTEST_STEP: Final = 1e-3
_LONGEST_STEP: Final = 0.1


def new_dt_bias(rng: np.random.Generator, size: int) -> np.ndarray[Any, np.dtype[Any]]:
    """Biases whose softplus is between 0.001 and 0.1, evenly on a logarithmic scale."""
    step = np.exp(rng.uniform(math.log(_SHORTEST_STEP), math.log(_LONGEST_STEP), size))
    inverse_of_softplus: np.ndarray[Any, np.dtype[Any]] = step + np.log(-np.expm1(-step))
    return inverse_of_softplus


@dataclass(slots=True, eq=False)
class Kept:
    """What a forward keeps for the gradients."""

    convolution: ConvolutionInputs
    scan: ScanInputs
    projected: Array  # (T · N, R + 2K): the R columns that dt_proj reads, B, C
    y: Array  # (T, N, E), the result of the scan
    saved: Any  # the states that the scan saved


class Mamba(StateSpaceLayer):
    """A selective state-space model: the mixer of Mamba   (Gu & Dao, 2023).

    u, z = split(x @ in_proj)
    u = silu(causal convolution of each channel of u with conv, + conv_bias)
    dt, B, C = split(u @ x_proj)
    Δ = softplus(dt @ dt_proj + dt_bias)
    S[t] = exp(Δ · A) · S[t-1] + Δ · u · B,  A = -exp(A_log)
    h[t] = ((S[t] · C summed over the K states) + skip · u) · silu(z) @ out_proj

    D inputs, E channels, K states of a channel, W taps of the convolution, rank R of dt, H outputs:

    in_proj    (D, 2E): u, then z                 conv, conv_bias   (E, W), (E,)
    x_proj     (E, R + 2K): dt, then B, then C    dt_proj, dt_bias  (R, E), (E,)
    A_log      (E, K)                             skip, out_proj    (E,), (E, H)

    These are the parameters of `mamba_ssm.Mamba`, whose linear layers have transposed weights; `skip` is its D, and
    `conv` its conv1d.weight without the axis in the middle. Inputs are time-major, (T, N, D), or one step (N, D).

    The state before the first step is a pair, zeros if it is None: the inputs of the convolution in the last W - 1
    steps, (W - 1, N, E), and S, (N, E, K). In the paper, a LayerNorm or RMSNorm is applied to x before each layer, and
    x is added to the result. In a Stack of these layers, put a LayerNorm after each: the h of a new layer is small.

    Raises TypeError for another type or dtype of the arrays, ValueError for another shape or device.

    >>> mamba = Mamba.init(input_size=8, hidden_size=8, rng=0)
    >>> h, state = mamba.forward(np.zeros((20, 4, 8), "float32"), lengths=[20, 7, 0, 13])
    >>> h.shape
    (20, 4, 8)
    >>> dx, dstate = mamba.backward(np.ones_like(h))
    """

    in_proj: Array
    conv: Array
    conv_bias: Array
    x_proj: Array
    dt_proj: Array
    dt_bias: Array
    A_log: Array
    skip: Array
    out_proj: Array
    names = ("in_proj", "conv", "conv_bias", "x_proj", "dt_proj", "dt_bias", "A_log", "skip", "out_proj")

    def __init__(self, *params: Array) -> None:
        super().__init__(*params)
        in_proj, conv, conv_bias, x_proj, dt_proj, dt_bias, A_log, skip, out_proj = params
        self._check("conv", conv, ("E", "W"), "W taps for each of E channels")
        E, W = conv.shape
        if not E or not W:
            self._refuse_shape("conv", conv, "(E, W)", "neither size can be 0")
        channels = f"conv is {conv.shape}"
        self._check("in_proj", in_proj, ("D", 2 * E), channels)
        self._check("conv_bias", conv_bias, (E,), channels)
        self._check("dt_proj", dt_proj, ("R", E), channels)
        self._check("dt_bias", dt_bias, (E,), channels)
        self._check("A_log", A_log, (E, "K"), channels)
        self._check("skip", skip, (E,), channels)
        self._check("out_proj", out_proj, (E, "H"), channels)
        R = len(dt_proj)
        K = A_log.shape[1]
        self._check("x_proj", x_proj, (E, R + 2 * K), f"dt_proj is {dt_proj.shape}, A_log is {A_log.shape}")
        self.input_size: int = in_proj.shape[0]
        self.hidden_size: int = out_proj.shape[1]
        self.output_size: int = self.hidden_size
        self.channels: int = E
        self.cache: Cache | None = None

    @classmethod
    def init(
        cls,
        input_size: int,
        hidden_size: int,
        *,
        expand: int = 2,
        state_size: int = 16,
        taps: int = 4,
        rank: int | None = None,
        rng: np.random.Generator | int | None = None,
        dtype: DType = "float32",
        backend: str | Backend | None = None,
    ) -> Self:
        """A layer with new weights, on the selected backend.

        expand      the number of channels E divided by hidden_size
        state_size  K, the states of a channel
        taps        W, of the convolution
        rank        R; None: hidden_size / 16, rounded up, as in the paper
        rng         a seed or a Generator, which gives the same weights on every backend; None for random weights

        Glorot uniform matrices, A = -1, …, -K in each channel, skip = 1, and steps softplus(dt_bias) from 0.001 to 0.1.
        """
        D, H = check_size("input_size", input_size), check_size("hidden_size", hidden_size)
        E = check_size("expand", expand) * H
        K = check_size("state_size", state_size)
        W = check_size("taps", taps)
        R = math.ceil(H / 16) if rank is None else check_size("rank", rank)
        rng = init.as_generator(rng)
        dtype = init.as_dtype(dtype)
        backend = get_backend(backend)
        dt_bias = new_dt_bias(rng, E)
        params = [
            init.glorot_uniform(rng, D, 2 * E),
            rng.uniform(-(W**-0.5), W**-0.5, (E, W)),
            np.zeros(E),
            init.glorot_uniform(rng, E, R + 2 * K),
            rng.uniform(-(R**-0.5), R**-0.5, (R, E)),
            dt_bias,
            np.log(np.tile(np.arange(1, K + 1.0), (E, 1))),
            np.ones(E),
            init.glorot_uniform(rng, E, H),
        ]
        return cls(*(backend.parameter(param, dtype) for param in params))

    def _state_shapes(self, N: int) -> dict[str, tuple[int, ...]]:
        taps, K = self.params[1].shape[1], self.params[6].shape[1]
        return {
            "the last inputs of the convolution": (taps - 1, N, self.channels),
            "the states": (N, self.channels, K),
        }

    def _forward(
        self, x: Array, state: Sequence[Array | None], lengths: Array | None, training: bool
    ) -> tuple[Array, State, Kept]:
        T, N, _ = x.shape
        backend = self.backend
        of_convolution, of_scan = state
        in_proj, conv, conv_bias, x_proj, dt_proj, dt_bias, A_log, skip, out_proj = self.params
        E = self.channels
        K = A_log.shape[1]
        R = len(dt_proj)
        both = self._product(x.reshape(T * N, self.input_size), in_proj).reshape(T, N, 2 * E)
        convolution = ConvolutionInputs(both[..., :E], conv, conv_bias, True, of_convolution, lengths)
        u, last_inputs = backend.causal_convolution_forward(convolution)
        projected = self._product(u.reshape(T * N, E), x_proj)
        scan = ScanInputs(
            u=u,
            delta=self._product(projected[:, :R], dt_proj).reshape(T, N, E),
            A=-backend.xp.exp(A_log),
            B=projected[:, R : R + K].reshape(T, N, K),
            C=projected[:, R + K :].reshape(T, N, K),
            skip=skip,
            z=both[..., E:],
            bias=dt_bias,
            softplus=True,
            initial=of_scan,
            lengths=lengths,
        )
        y, last, saved = backend.selective_scan_forward(scan, training)
        h = self._product(y.reshape(T * N, E), out_proj)
        return h, (last_inputs, last), Kept(convolution, scan, projected, y, saved)

    def _gradients(
        self, cache: Cache, dh: Array, dlast: Sequence[Array | None], needs_dx: bool, grads: Sequence[Array]
    ) -> tuple[ArrayIfNeeded, State]:
        T, N, _ = cache.x.shape
        c: Kept = cache.kept
        E, backend, xp = self.channels, self.backend, self.backend.xp
        in_proj, _, _, x_proj, dt_proj, _, A_log, _, out_proj = self.params
        R = len(dt_proj)
        d_in_proj, d_conv, d_conv_bias, d_x_proj, d_dt_proj, d_dt_bias, d_A_log, d_skip, d_out_proj = grads

        convolution = replace(c.convolution, initial=self._or_zeros(c.convolution.initial, 0, N))
        scan = replace(c.scan, initial=self._or_zeros(c.scan.initial, 1, N))

        dy = self._product_backward(c.y.reshape(T * N, E), out_proj, dh, d_out_proj)
        of_scan = backend.selective_scan_backward(scan, c.saved, dy.reshape(T, N, E), dlast[1])
        ddelta = of_scan.delta.reshape(T * N, E)
        d_projected = xp.concatenate(
            (
                self._product_backward(c.projected[:, :R], dt_proj, ddelta, d_dt_proj),
                of_scan.B.reshape(T * N, A_log.shape[1]),
                of_scan.C.reshape(T * N, A_log.shape[1]),
            ),
            axis=1,
        )
        du = self._product_backward(scan.u.reshape(T * N, E), x_proj, d_projected, d_x_proj).reshape(T, N, E)
        du += of_scan.u
        of_convolution = backend.causal_convolution_backward(convolution, du, dlast[0])
        dboth = xp.concatenate((of_convolution.x, of_scan.z), axis=2).reshape(T * N, 2 * E)
        dx = self._product_backward(cache.x.reshape(T * N, self.input_size), in_proj, dboth, d_in_proj, needs_dx)
        d_conv[...] = of_convolution.weight
        d_conv_bias[...] = of_convolution.bias
        d_dt_bias[...] = of_scan.bias
        d_A_log[...] = of_scan.A * scan.A  # A = -exp(A_log)
        d_skip[...] = of_scan.skip
        dinitial: Any = of_convolution.initial, of_scan.initial
        return dx, dinitial
