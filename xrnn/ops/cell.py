"""What a recurrent cell has to say: one step forward, and the gradient of that step.

The loop over time, the products with the weights, lengths and direction are the driver's (`recurrence.py`), once for
all cells. Letters, here and everywhere: T time steps, N batch, D input size, H hidden size; `d` in front means
gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from xrnn.ops.random import Draws
from xrnn.typing import Array, HostArray

MatmulAdd: TypeAlias = Callable[[Array, Array, Array], None]  # (a, b, out): out += a @ b


@dataclass(slots=True, eq=False)
class Run:
    """What a cell may use beside its operands."""

    xp: Any  # the array namespace
    matmul_add: MatmulAdd
    W: Array  # Wh (H, parts · H) in a step; its transpose in a gradient
    params: Sequence[Array] = ()  # the cell's own parameters, in the order of `Cell.params`
    dparams: Sequence[Array] = ()  # their gradients: zero before the first step, for `gradient` to add to
    training: bool = False
    constants: Any = None  # in a step, what the cell's `constants` gave
    draws: Draws | None = None  # random numbers, for a cell with `draws = True`


@dataclass(slots=True, eq=False)
class StepArrays:
    """The operands of one step. For `Cell.prepare`: of many, each with an axis of steps in front."""

    z: Any  # (pre, N, H); in a gradient None unless the cell keeps it
    before: Sequence[Array]  # (N, H) a state
    after: Sequence[Array]  # likewise
    kept: Any  # (kept, N, H), None where the cell keeps nothing
    prepared: Any = None  # what `prepare` left here for the gradient: (·, N, H)


class Cell:
    """One step of a recurrence. From the pre-activations z and the states before, a cell computes the states after.

    z has `pre` blocks of (N, H). The driver fills them: block from_x[i] with part i of x @ Wx, block from_h[i] with
    part i of h @ Wh, and all with the bias, whose parts follow `from_b`.
    """

    name: str = "cell"  # in errors and explanations; left out: the name of the class
    states: tuple[str, ...] = ("h",)  # the first is the output, and what Wh multiplies
    pre: int = 1  # blocks of z
    kept: int = 0  # (N, H) arrays that a step saves for the gradient, besides z
    keeps_z: bool = True  # whether the gradient needs z, as `step` left it
    direct: bool = True  # whether h depends on the h before also past z, so that `gradient` writes dbefore[0]
    params: tuple[str, ...] = ()  # the cell's own, beyond Wx, Wh and b
    draws: bool = False  # whether a step draws random numbers
    per_unit: tuple[float | Array, ...] = ()  # constants of a built-in cell for its kernel: numbers, or arrays (H,)

    # The block of z that each part of x @ Wx feeds, and each part of h @ Wh: those of h are neighbours, in their order,
    # so that one product a step is enough. Left out: all.
    from_x: tuple[int, ...] = (0,)
    from_h: tuple[int, ...] = (0,)
    # The block that each part of b feeds: those that x feeds, in their order, then the others. Never to be given.
    from_b: tuple[int, ...] = (0,)

    def __init_subclass__(cls) -> None:
        if "name" not in vars(cls):
            cls.name = cls.__name__
        if not isinstance(cls.params, tuple) or {"Wx", "Wh", "b"} & set(cls.params):
            raise TypeError(
                f"params of {cls.__name__} is {cls.params!r}: expected a tuple of names, none of them Wx, Wh or b"
            )
        cls.from_x, cls.from_h = cls._fed("from_x"), cls._fed("from_h")
        cls.from_b = cls.from_x + tuple(block for block in range(cls.pre) if block not in cls.from_x)

    @classmethod
    def _fed(cls, name: str) -> tuple[int, ...]:
        """`from_x` or `from_h`, all blocks where neither this class nor one that it derives from names some."""
        base: Any = super(cls, cls)
        fed: tuple[int, ...] = getattr(cls, name)
        # All of the blocks that a base has: all of those that this class has.
        left_out = name not in vars(cls) and fed == tuple(range(base.pre))
        return tuple(range(cls.pre)) if left_out else fed

    def initial_bias(self, H: int) -> HostArray:
        """(pre · H,) on the host, in float64."""
        return np.zeros(self.pre * H)

    def initial_params(self, rng: np.random.Generator, H: int) -> Sequence[HostArray]:
        """The first values of `params`, on the host, in float64."""
        return ()

    def constants(self, xp: Any, dtype: Any) -> Any:
        """Arrays that every `step` reads: made once a sequence, on the device, and found in `run.constants`."""
        return None

    # ---- one step ----

    def step(self, run: Run, at: StepArrays) -> None:
        """Fill `at.after` and `at.kept` from `at.z`, which may be changed, and `at.before`."""
        raise NotImplementedError(f"the cell {self.name!r} has no step: write its method `step`")

    def prepare(self, run: Run, at: StepArrays, dz: Array) -> None:
        """Compute what of the gradient doesn't depend on dafter, for many steps at once: optional, and faster.

        dz (steps, pre, N, H), and an array (steps, ·, N, H) that it leaves in `at.prepared`, reach `gradient` step by
        step.
        """

    def gradient(self, run: Run, at: StepArrays, dafter: Sequence[Array], dz: Array, dbefore: Sequence[Array]) -> None:
        """Fill dz (pre, N, H), and dbefore with what does not pass through z; add to `run.dparams`.

        `at.z` is as `step` left it, None unless `keeps_z`. dafter may be changed. Where `direct` is False, dbefore[0]
        is the driver's to write.
        """
        raise NotImplementedError(f"the cell {self.name!r} has no gradient: write its method `gradient`")

    # ---- a pointwise cell: h' = φ(z) ----

    # z then lies where h' will, and two calls a step are all that the loop needs.
    pointwise: bool = False

    def activate(self, xp: Any, z: Array) -> None:
        """z = φ(z), in place."""
        raise NotImplementedError

    def slope(self, xp: Any, h: Array, dz: Array) -> None:
        """dz = φ'(z), from h = φ(z)."""
        raise NotImplementedError

    # ---- the recurrent term: for a cell in which it is no product of h alone ----

    recurs: bool = False  # True where the three below are the cell's own

    def recur(self, run: Run, at: StepArrays) -> None:
        """Add the recurrent term to `at.z`."""
        raise NotImplementedError

    def recur_gradient(self, run: Run, at: StepArrays, dz: Array, dh: Array) -> None:
        """Add to dh (N, H) what comes by way of the recurrent term, and complete dz (pre, N, H)."""
        raise NotImplementedError

    def recur_weights(self, xp: Any, at: StepArrays, dz: Array, dWh: Array) -> None:
        """Overwrite dWh.   `at` and dz (steps, pre, N, H) are those of the whole sequence, 0 past a row's end."""
        raise NotImplementedError
