"""The operands of a recurrence, and the arrays that its forward pass keeps for the backward pass.

T time steps, N batch, D input size, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from xrnn.ops.heads import hidden_size
from xrnn.ops.random import Draws
from xrnn.typing import Array


@dataclass(slots=True, eq=False)
class FrozenWeights:
    """Weights that cannot change, and what a backend makes of them, and of the own parameters, at their first use."""

    Wx: Any  # arrays, or Int8Matrix
    Wh: Any
    made: Any = None


# Not frozen: a frozen dataclass with nine fields takes 0.6 µs longer to make, a quarter of a small layer's step.
@dataclass(slots=True, eq=False)
class Inputs:
    """The operands of a recurrence."""

    x: Array  # (T, N, D), or (N, D) for one step
    Wx: Any  # (D, parts · H), one part for each block in cell.from_x: an array, or an Int8Matrix
    # (H, parts · H), one part for each block in cell.from_h: an array, or an Int8Matrix. With several heads an array
    # (k, H/k, parts · H/k): see heads.py.
    Wh: Any
    b: Array  # (pre · H,), one part for each block in cell.from_b
    initial: Sequence[Array | None]  # (N, H) for each state, None for zeros
    lengths: Array | None = None  # (N,) integers in [0, T], None if all rows have T steps
    reverse: bool = False  # from the last step to the first
    own: Sequence[Array] = ()  # the cell's own parameters
    draws: Draws | None = None  # random numbers, for a cell with `draws = True`
    frozen: FrozenWeights | None = None  # of Wx and Wh if they cannot change, for inference
    # Added to z: (T, N, pre · H), or (N, pre · H) for one step, with the parts of b. None for zeros.
    add: Array | None = None

    def sizes(self) -> tuple[int, int, int, int]:
        """T, N, D, H."""
        shape: Any = self.x.shape
        return (*shape, self.hidden_size()) if len(shape) == 3 else (1, *shape, self.hidden_size())

    def hidden_size(self) -> int:
        return hidden_size(self.Wh)

    def heads(self) -> int:
        """The number of heads of Wh, 1 for a matrix."""
        shape: tuple[int, ...] = self.Wh.shape
        return shape[0] if len(shape) == 3 else 1

    def check(self) -> None:
        """Raise TypeError unless x, the initial states and `add` have the type, dtype and sizes of the weights."""
        x, b = self.x, self.b  # not Wx, which may be an Int8Matrix
        kind = type(b)
        dtype = b.dtype
        if not (type(x) is kind and x.dtype == dtype and x.ndim in (2, 3) and x.shape[-1] == len(self.Wx)):
            raise TypeError("x does not fit the weights in type, dtype or shape")
        expected = x.shape[-2], self.hidden_size()
        for state in self.initial:
            if state is not None and not _fits(state, b, expected):
                raise TypeError("an initial state does not fit x and the weights in type, dtype or shape")
        if self.add is not None and not _fits(self.add, b, (*x.shape[:-1], len(b))):
            raise TypeError("add does not fit x and the weights in type, dtype or shape")


@dataclass(slots=True, eq=False)
class Trace:
    """The inputs and outputs of a forward recurrence. All forms make the same trace, so any form can run backward.

    Slot 0 of a state holds the initial state, and slot t + 1 the state after step t. With `reverse`, slot T holds the
    initial state, and slot t the state after step t. Past the length of a row, the values of `z` and `kept` are not
    defined.
    """

    inputs: Inputs
    states: Sequence[Array]  # (T+1, N, H) for each state, C-contiguous
    z: Array | None  # (T, N, pre · H), C-contiguous, as `step` left it; only in training, if `cell.keeps_z`
    kept: Array | None  # (T, kept, N, H), C-contiguous; only in training, if `cell.kept`

    def check(self, dstates: Sequence[Array | None]) -> None:
        """Raise TypeError unless the gradients of the states have their type, dtype and number of rows."""
        shape = *self.inputs.x.shape[:-1], self.inputs.hidden_size()
        for d in dstates:
            if d is not None and not _fits(d, self.states[0], shape):
                raise TypeError("the gradient of a state does not fit the trace in type, dtype or shape")

    def before(self, steps: slice) -> list[Array]:
        """The states before each of these steps, (steps, N, H) for each state."""
        return self._shifted(steps, self.inputs.reverse)

    def after(self, steps: slice) -> list[Array]:
        """The states after each of these steps."""
        return self._shifted(steps, not self.inputs.reverse)

    def _shifted(self, steps: slice, slots: int) -> list[Array]:
        shifted = slice(steps.start + slots, steps.stop + slots)
        return [s[shifted] for s in self.states]


def _fits(array: Any, like: Array, shape: tuple[int, ...]) -> bool:
    """Whether `array` has the type and dtype of `like`, and this shape."""
    return type(array) is type(like) and bool(array.dtype == like.dtype) and array.shape == shape


Outputs: TypeAlias = tuple[Sequence[Array], Array | None, Array | None]  # the states, z and kept of a `Trace`
