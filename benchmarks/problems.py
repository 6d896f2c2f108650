"""Random operands for every operation, for benchmarks and tests. `tests.reference` computes the expected results.

T time steps, N batch, D input size, H hidden size; rows and C columns of an affine map. A selective scan
has D channels with K states each, a convolution W taps, a matrix memory H heads with K keys and V values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xrnn.typing import HostArray


@dataclass
class Recurrence:
    x: HostArray  # (T, N, D)
    initial: list[HostArray]  # (N, H) for each state
    weights: list[HostArray]  # Wx, Wh, b, then the cell's own parameters
    dstates: list[HostArray]  # (T, N, H) for each state


@dataclass
class Affine:
    x: HostArray  # (rows, D)
    W: HostArray  # (D, C)
    b: HostArray  # (C,)
    dy: HostArray  # (rows, C)


@dataclass
class Classification:
    logits: HostArray  # (rows, C)
    targets: HostArray  # (rows,), each in [0, C)
    weight: HostArray  # (rows,), positive


@dataclass
class Scan:
    operands: dict[str, Any]  # HostArrays by their names in `xrnn.ops.selective_scan.ScanInputs`
    dy: HostArray  # (T, N, D)
    dlast: HostArray  # (N, D, K)


@dataclass
class Memory:
    operands: dict[str, Any]  # HostArrays by their names in `xrnn.ops.matrix_memory.MemoryInputs`
    dy: HostArray  # (T, N, H, V)
    dlast: HostArray  # (N, H, K, V)


@dataclass
class Convolution:
    operands: dict[str, Any]  # HostArrays by their names in `xrnn.ops.causal_convolution.ConvolutionInputs`
    dy: HostArray  # (T, N, D)
    dlast: HostArray  # (W - 1, N, D)


def recurrence(
    sizes: tuple[int, int, int, int],
    parts: tuple[int, int, int],
    states: Sequence[str],
    dtype: Any,
    seed: int = 0,
    own: Sequence[tuple[int, ...]] = (),
    components: int = 1,
) -> Recurrence:
    """Operands with these sizes T, N, D, H.

    parts       the number of parts of Wx, of Wh and of b, H columns each
    states      the names of the states. A normaliser n is at least 1
    own         for each of the cell's own parameters, its axes before (H,)
    components  of a unit, as in `Cell`: all arrays but the own parameters then have components · H in place of H

    The spectral radius of Wh is near 0.7, so that gradients and rounding errors do not grow with T.
    """
    T, N, D, units = sizes
    in_x, in_h, in_b = parts
    draw = _Draw(dtype, seed, *sizes)
    H = components * units
    x, h_prev = draw(T, N, D), draw(N, H, scale=0.5)
    Wx = draw(D, in_x * H, scale=0.7 / max(D, 1) ** 0.5)
    Wh = draw(H, in_h * H, scale=0.7 / max(H, 1) ** 0.5)
    b, dh = draw(in_b * H, scale=0.1), draw(T, N, H)
    others = [(draw(N, H, scale=0.5), draw(T, N, H)) for _ in states[1:]]
    initial, dstates = [h_prev, *(s for s, _ in others)], [dh, *(d for _, d in others)]
    initial = [1 + abs(s) if state == "n" else s for state, s in zip(states, initial, strict=True)]
    weights = [Wx, Wh, b, *(draw(*axes, units, scale=0.3) for axes in own)]
    return Recurrence(x, initial, weights, dstates)


def affine(rows: int, D: int, C: int, dtype: Any, seed: int = 0) -> Affine:
    draw = _Draw(dtype, seed, rows, D, C)
    return Affine(draw(rows, D), draw(D, C, scale=max(D, 1) ** -0.5), draw(C), draw(rows, C))


def classification(rows: int, C: int, dtype: Any, seed: int = 0, scale: float = 1) -> Classification:
    """Logits with this standard deviation. At 30, softmax is nearly 1 for one class in most rows, often a wrong one."""
    draw = _Draw(dtype, seed, rows, C)
    targets = draw.rng.integers(0, C, rows)
    return Classification(draw(rows, C, scale=scale), targets, draw.rng.uniform(0.1, 1, rows).astype(dtype))


def scan(
    sizes: tuple[int, int, int, int], dtype: Any, seed: int = 0, groups: int | None = None, constant: str = ""
) -> Scan:
    """Operands with these sizes T, N, D, K.

    groups     of B and C; None: B and C are (T, N, K)
    constant   which of "B" and "C" are (D, K), the same for all steps and rows: "", "B", "C" or "BC"

    With a bias near -2, softplus gives steps of about 0.1, as in a new model.
    """
    T, N, D, K = sizes
    draw = _Draw(dtype, seed, *sizes)
    of_steps = (T, N, K) if groups is None else (T, N, groups, K)
    return Scan(
        {
            "u": draw(T, N, D),
            "delta": draw(T, N, D),
            "A": -abs(draw(D, K, scale=4)),
            "B": draw(*((D, K) if "B" in constant else of_steps)),
            "C": draw(*((D, K) if "C" in constant else of_steps)),
            "skip": draw(D),
            "z": draw(T, N, D),
            "bias": draw(D) - np.asarray(2, dtype),
            "initial": draw(N, D, K),
        },
        draw(T, N, D),
        draw(N, D, K),
    )


def memory(sizes: tuple[int, int, int, int, int], dtype: Any, seed: int = 0, groups: int | None = None) -> Memory:
    """Operands with these sizes T, N, H, K, V.   groups: of q and k; None: one for each head"""
    T, N, H, K, V = sizes
    draw = _Draw(dtype, seed, *sizes)
    groups = H if groups is None else groups
    return Memory(
        {
            "q": draw(T, N, groups, K, scale=max(K, 1) ** -0.5),
            "k": draw(T, N, groups, K),
            "v": draw(T, N, H, V),
            "log_decay": -abs(draw(T, N, H, scale=0.3)),
            "initial": draw(N, H, K, V),
        },
        draw(T, N, H, V),
        draw(N, H, K, V),
    )


def convolution(sizes: tuple[int, int, int, int], dtype: Any, seed: int = 0) -> Convolution:
    """Operands with these sizes T, N, D, W."""
    T, N, D, W = sizes
    draw = _Draw(dtype, seed, *sizes)
    operands = {
        "x": draw(T, N, D),
        "weight": draw(D, W, scale=max(W, 1) ** -0.5),
        "bias": draw(D),
        "initial": draw(W - 1, N, D),
    }
    return Convolution(operands, draw(T, N, D), draw(W - 1, N, D))


class _Draw:
    """Normally distributed arrays of a dtype. The sizes are a part of the seed."""

    def __init__(self, dtype: Any, seed: int, *sizes: int) -> None:
        self.dtype = dtype
        self.rng = np.random.default_rng((seed, *sizes))

    def __call__(self, *shape: int, scale: float = 1) -> HostArray:
        return (self.rng.standard_normal(shape) * scale).astype(self.dtype)
