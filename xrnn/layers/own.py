"""The layer for a cell of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from xrnn.backend import Backend
from xrnn.layers.recurrent import Cache, RecurrentLayer, fresh_params, single
from xrnn.ops.cell import Cell
from xrnn.typing import Array


class Recurrent(RecurrentLayer):
    """A layer that runs a cell over time: for a `Cell` of your own, and what RNN, LSTM and GRU are made of.

    Wx (D, parts · H), Wh (H, parts · H), b (pre · H,), then the cell's own parameters: arrays of one backend, float32
    or float64. The layer runs on that backend, and holds these very arrays. T time steps, N batch, D input size, H
    hidden size; time comes first.

    A 2-d input is one step of a batch, (N, D); not a sequence without a batch, as in PyTorch.

    params   the arrays; named_params gives them by name
    grads    their gradients, overwritten in place by every `backward`: the same arrays at the same addresses
    cache    what the last `forward` keeps for `backward`: None before
    reverse  whether the last step is taken first; the first one's state is then the final one
    seed     with `step`, which counts the forwards and may be set, decides what a cell with `draws` draws

    Raises TypeError for arrays of other kinds, dtypes or backends, ValueError for shapes that don't fit.
    """

    @classmethod
    def init(
        cls,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        *,
        reverse: bool = False,
        seed: int = 0,
        rng: np.random.Generator | int | None = None,
        dtype: Any = "float32",
        backend: str | Backend | None = None,
    ) -> Self:
        """A layer with the weights of `fresh_params`. Raises TypeError and ValueError for what those don't take."""
        params = fresh_params(cell, input_size, hidden_size, rng, dtype, backend)
        return cls(cell, *params, reverse=reverse, seed=seed)

    def forward(self, x: Array, *initial: Array | None, lengths: Any = None) -> Any:
        """One step, x (N, D) → (N, H), or a sequence, x (T, N, D) → (T, N, H), for each state of the cell.

        initial   the states before, (N, H) each; None, or left out, for zeros
        lengths   (N,) integers in [0, T]: past its own length a row keeps its state, whatever x holds there

        Keeps what `backward` needs. The result is a view of a buffer that the layer never writes again; don't change
        it, `x` or the weights before `backward`.
        """
        return single(self._forward(x, self._padded(initial), lengths))

    def backward(self, *dstates: Array | None, cache: Cache | None = None) -> Any:
        """The gradient of what a `forward` returned → dx, in the shape of its x, and that of each initial state.

        dstates   the gradient of each result; None, or left out, for zeros
        cache     of which forward: `layer.cache`, taken after it; None for the last

        Overwrites `grads`. Raises RuntimeError without a `forward` before it, or where the weights have been updated
        since by an optimizer, or replaced.
        """
        return self._backward(self._padded(dstates), cache)

    def __call__(self, x: Array, *initial: Array | None, lengths: Any = None) -> Any:
        """Inference: what `forward` returns, with nothing kept."""
        return single(self._call(x, self._padded(initial), lengths))

    def _padded(self, given: Sequence[Array | None]) -> tuple[Array | None, ...]:
        """As many as the cell has states, None for those left out. Raises TypeError for more."""
        missing = len(self._none) - len(given)
        if missing < 0:
            raise TypeError(
                f"got {len(given)} states, but the cell {self.cell.name!r} has {len(self._none)}, "
                f"{' and '.join(self.cell.states)}: leave the others out"
            )
        return (*given, *self._none[:missing])
