"""The linear recurrent unit as a layer."""

from __future__ import annotations

import math
from typing import Self

import numpy as np

from xrnn.backend import Backend
from xrnn.checks import check_number
from xrnn.layers.recurrent import SingleStateLayer, fresh_params
from xrnn.ops.cells.lru import LRUCell
from xrnn.typing import Array, DType


class LRU(SingleStateLayer):
    """Linear recurrent unit: H complex units, each with a recurrence of its own   (Orvieto et al., 2023).

    s[t] = λ · s[t-1] + exp(γ) · (x[t] @ B + b),  λ = exp(-exp(ν) + i · exp(θ))
    h[t] = (Re s[t], Im s[t])

    Wx (D, 2H) holds the real parts of B, then the imaginary parts, and b (2H,) those of b, which is 0 in the paper. Wh
    (2H, 0) has no elements. nu, theta, gamma (H,): ν, θ, γ. |λ| < 1, because ν counts as log(1e-6) if it is smaller.
    All are arrays of one backend, float32 or float64; the layer runs on that backend and uses them without a copy. D is
    the input size. Inputs are time-major, (T, N, D), for T time steps of a batch of N. An input (N, D) is one step of a
    batch. h and the state are (…, N, 2H), real parts first: the readout is a `Linear` of input size 2H.

    reverse  run from the last step to the first

    Raises TypeError for arrays of another kind, dtype or backend; ValueError for shapes that do not fit.

    >>> lru, readout = LRU.init(input_size=3, hidden_size=8, rng=0), Linear.init(16, 2, rng=1)
    >>> y = readout.forward(lru.forward(np.zeros((20, 4, 3), "float32"), lengths=[20, 7, 0, 13]))
    >>> y.shape
    (20, 4, 2)
    """

    cell_type = LRUCell
    nu: Array
    theta: Array
    gamma: Array

    def __init__(
        self, Wx: Array, Wh: Array, b: Array, nu: Array, theta: Array, gamma: Array, *, reverse: bool = False
    ) -> None:
        super().__init__(LRUCell(), Wx, Wh, b, nu, theta, gamma, reverse=reverse)
        for name, param in zip(self.cell.params, (nu, theta, gamma), strict=True):
            self._check_shape(name, param, (self.hidden_size,), f"Wh is {Wh.shape}")

    @classmethod
    def init(
        cls,
        input_size: int,
        hidden_size: int,
        *,
        r_min: float = 0.0,
        r_max: float = 1.0,
        max_phase: float = 2 * math.pi,
        heads: int | None = None,
        reverse: bool = False,
        rng: np.random.Generator | int | None = None,
        dtype: DType = "float32",
        backend: str | Backend | None = None,
    ) -> Self:
        """A layer with new weights.

        hidden_size   the number H of complex units; h has 2H features
        r_min, r_max  the initial |λ| lie on a ring between these radii, |λ|² uniformly. For long sequences take 0.9 and
                      0.999: a unit remembers about 1 / (1 - |λ|) steps
        max_phase     the initial phases of λ are uniform between 0 and this angle
        heads         only None, because an LRU has no recurrent product
        rng           a seed or a Generator, which gives the same weights on every backend; None for random weights
        dtype         float32 or float64

        Raises TypeError or ValueError for wrong arguments.
        """
        r_max = check_number("r_max", r_max, "a number in (0, 1]", lambda r: 0 < r <= 1)
        r_min = check_number("r_min", r_min, f"a number from 0 to r_max, {r_max}", lambda r: 0 <= r <= r_max)
        max_phase = check_number("max_phase", max_phase, "a number in (0, 2π]", lambda a: 0 < a <= 2 * math.pi)
        cell = LRUCell(r_min, r_max, max_phase)
        return cls(*fresh_params(cell, input_size, hidden_size, rng, dtype, backend, heads), reverse=reverse)
