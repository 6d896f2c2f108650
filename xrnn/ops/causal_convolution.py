"""The causal convolution of each channel by itself, with silu after it, and its gradient.

T time steps, N batch, D channels, W taps. x of the steps before step 0 is `initial`:

    a[t] = bias + Σ_j weight[:, j] x[t - W + 1 + j]        y = silu(a), or a
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from xrnn.ops.operands import check_fits, check_float
from xrnn.ops.silu import silu, silu_slope
from xrnn.typing import Array


@dataclass(slots=True, eq=False)
class ConvolutionInputs:
    """The operands of a causal convolution, all of one dtype. Strides are free.

    The kernels copy x and initial if their last axis is not contiguous.
    """

    x: Array  # (T, N, D)
    weight: Array  # (D, W), W ≥ 1; the last tap multiplies the x of the same step
    bias: Array | None = None  # (D,)
    silu: bool = True
    initial: Array | None = None  # (W - 1, N, D), the x of the W - 1 steps before step 0; None for zeros
    # (N,) integers in [0, T], None if all rows have T steps. Past the end of a row y and all gradients are 0, and x is
    # not used.
    lengths: Array | None = None

    def sizes(self) -> tuple[int, int, int, int]:
        """T, N, D, W."""
        shape: Any = self.x.shape
        return (*shape, self.weight.shape[1])

    def check(self) -> None:
        """Raise TypeError unless all arrays have the type, the dtype and the sizes of x and the weight."""
        x = self.x
        if x.ndim != 3 or self.weight.ndim != 2 or self.weight.shape[1] == 0:
            raise TypeError("x is not (T, N, D), or weight is not (D, W) with W ≥ 1")
        check_float("x", x)
        _, N, D, W = self.sizes()
        for name, shape in {"weight": (D, W), "bias": (D,), "initial": (W - 1, N, D)}.items():
            check_fits(name, getattr(self, name), x, shape, "x")
        if self.lengths is not None and self.lengths.shape != (N,):
            raise TypeError("lengths is not (N,)")


class ConvolutionOutputs(NamedTuple):
    y: Array  # (T, N, D)
    last: Array  # (W - 1, N, D), the x of the last W - 1 steps of each row: `initial` of the steps after these


class ConvolutionGradients(NamedTuple):
    """The gradients by the operands, in their shapes; None for an operand that is None."""

    x: Array
    weight: Array
    bias: Array | None
    initial: Array | None


def forward(xp: Any, inputs: ConvolutionInputs) -> ConvolutionOutputs:
    """→ y, last."""
    T, N, _, W = inputs.sizes()
    padded = _padded(xp, inputs)
    a = _sums(xp, inputs, padded)
    y = _within(xp, inputs, silu(xp, a) if inputs.silu else a)
    if inputs.lengths is None:
        return ConvolutionOutputs(y, padded[T:].copy())
    steps = inputs.lengths + xp.arange(W - 1)[:, None]  # (W - 1, N), of `padded`
    return ConvolutionOutputs(y, padded[steps, xp.arange(N)])


def backward(xp: Any, inputs: ConvolutionInputs, dy: Array | None, dlast: Array | None = None) -> ConvolutionGradients:
    """The gradients of `forward`, from dy (T, N, D) and dlast (W - 1, N, D), None for zeros.

    da = dy silu'(a)        dweight[:, j] = Σ_t da[t] x[t - W + 1 + j]        dx[t] = Σ_j weight[:, j] da[t + W - 1 - j]
    """
    T, N, D, W = inputs.sizes()
    padded = _padded(xp, inputs)
    weight = inputs.weight
    da = xp.zeros((T, N, D), inputs.x.dtype) if dy is None else dy
    if inputs.silu:
        da = da * silu_slope(xp, _sums(xp, inputs, padded))
    da = _within(xp, inputs, da)
    dpadded = xp.zeros_like(padded)
    dweight = xp.empty((D, W), weight.dtype)
    for j in range(W):
        dpadded[j : j + T] += weight[:, j] * da
        dweight[:, j] = (padded[j : j + T] * da).sum(axis=(0, 1))
    if dlast is not None:
        ends = T if inputs.lengths is None else inputs.lengths
        for j in range(W - 1):
            dpadded[ends + j, xp.arange(N)] += dlast[j]
    return ConvolutionGradients(
        x=dpadded[W - 1 :],
        weight=dweight,
        bias=None if inputs.bias is None else da.sum(axis=(0, 1)),
        initial=None if inputs.initial is None else dpadded[: W - 1],
    )


def _padded(xp: Any, inputs: ConvolutionInputs) -> Array:
    """x with `initial` in front, and zeros past the end of each row: (W - 1 + T, N, D)."""
    T, N, D, W = inputs.sizes()
    padded: Array = xp.zeros((W - 1 + T, N, D), inputs.x.dtype)
    if inputs.initial is not None:
        padded[: W - 1] = inputs.initial
    padded[W - 1 :] = _within(xp, inputs, inputs.x)
    return padded


def _sums(xp: Any, inputs: ConvolutionInputs, padded: Array) -> Array:
    """a, the convolution before silu."""
    T, N, D, W = inputs.sizes()
    a: Array = xp.zeros((T, N, D), padded.dtype)
    if inputs.bias is not None:
        a += inputs.bias
    for j in range(W):
        a += inputs.weight[:, j] * padded[j : j + T]
    return a


def _within(xp: Any, inputs: ConvolutionInputs, array: Array) -> Array:
    """`array` (T, N, D), with zeros past the end of each row."""
    if inputs.lengths is None:
        return array
    runs = xp.arange(len(array))[:, None] < inputs.lengths
    chosen: Array = xp.where(runs[:, :, None], array, xp.zeros((), array.dtype))
    return chosen
