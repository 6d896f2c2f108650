"""The interface of a recurrent cell: one time step, and the gradient of that step.

The driver (`recurrence.py`) does the rest for all cells: the loop over time, the products with the weights, lengths and
direction. T time steps, N batch, D input size, H hidden size; a name with `d` in front is a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from xrnn.ops.products import MatmulAdd, Products
from xrnn.ops.random import NO_DRAWS, Draws
from xrnn.typing import Array, HostArray


@dataclass(slots=True, eq=False)
class Run:
    """What stays the same for all steps of a run."""

    xp: Any  # the array namespace
    products: Products
    W: Array  # Wh (H, parts · H) in `step`; its transpose in `gradient`
    params: Sequence[Array] = ()  # the cell's own parameters, in the order of `Cell.params`; see `Cell.coefficients`
    dparams: Sequence[Array] = ()  # the gradients of `params`: zeros at first; `gradient` adds to them
    training: bool = False
    constants: Any = None  # the result of `Cell.constants`; None in `gradient`
    draws: Draws = NO_DRAWS  # random numbers for a cell with `draws = True`, in training

    @property
    def matmul_add(self) -> MatmulAdd:
        """(a, b, out): out += a @ b, in the precision in effect."""
        return self.products.matmul_add


@dataclass(slots=True, eq=False)
class StepArrays:
    """The arrays of one time step. In `Cell.prepare` they are those of many steps, with an axis of steps in front."""

    z: Any  # pre-activations (pre, N, H); in `gradient` None if the cell has keeps_z = False
    before: Sequence[Array]  # the states before the step, (N, H) each
    after: Sequence[Array]  # the states after it
    kept: Any  # (kept, N, H), None if the cell has kept = 0
    prepared: Any = None  # an optional result of `prepare`, (·, N, H)


def _blocks(pre: Any) -> tuple[int, ...]:
    """All blocks of z; none if `pre` is no integer, which the layer refuses."""
    return tuple(range(pre)) if isinstance(pre, int) else ()


_TUPLES: Final = {
    "states": (str, "at least one name"),
    "params": (str, "names, none of them Wx, Wh or b"),
    "from_x": (int, "numbers of blocks"),
    "from_h": (int, "numbers of blocks"),
}


def check_tuples(cell: type[Cell] | Cell, title: str) -> None:
    """Raises TypeError unless `states`, `params`, `from_x` and `from_h` of a cell are tuples of the right content."""
    for name, (kind, content) in _TUPLES.items():
        value = getattr(cell, name)
        fits = isinstance(value, tuple) and all(isinstance(item, kind) for item in value)
        if not fits or (name == "states" and not value) or (name == "params" and {"Wx", "Wh", "b"} & set(value)):
            raise TypeError(f"{name} of {title} is {value!r}: expected a tuple of {content}; set {name} of the class")


class Cell:
    """One time step: a cell computes the states after it from the pre-activations z and the states before it.

    z has `pre` blocks of (N, H). The driver computes them: part i of x @ Wx is added to block from_x[i], part i of
    h @ Wh to block from_h[i], and the bias to all blocks.

    Every cell has `step` and `gradient`, and may have `prepare` and `constants`. Two kinds of cells have more methods:

    pointwise   h' = φ(z): `activate` and `slope`. Without lengths the driver calls them in place of `step` and
                `gradient`, which would take 1.6 times as long at T = 1.
    recurs      the recurrent term is not a product of h: `recur`, `recur_gradient` and `recur_weights`
    """

    name: str = "cell"  # for errors and `explain`; default: the name of the class
    states: tuple[str, ...] = ("h",)  # the first is the output; Wh multiplies it
    pre: int = 1  # blocks of z
    components: int = 1  # numbers of a unit in a state: 2 for complex units. H of the arrays counts numbers
    kept: int = 0  # the number of (N, H) arrays that `step` saves for `gradient`, besides z
    keeps_z: bool = True  # False if `gradient` does not read z
    direct: bool = True  # False if h depends on the previous h only through z; the driver then fills dbefore[0]
    stabilisers: tuple[str, ...] = ()  # states that only rescale others; `gradient` takes them as constants
    params: tuple[str, ...] = ()  # the names of the cell's own parameters, besides Wx, Wh and b
    draws: bool = False  # True if a step draws random numbers
    kernel_name: str | None = None  # of a built-in cell's kernel; not inherited: a subclass may compute other values

    # The block of z for each part of x @ Wx, and for each part of h @ Wh. Default: all blocks. The blocks in from_h
    # must follow each other, such as (1, 2), so that each step needs one product.
    from_x: tuple[int, ...] = (0,)
    from_h: tuple[int, ...] = (0,)
    # The block for each part of b: first the blocks in from_x, in that order, then the others. This class sets it.
    from_b: tuple[int, ...] = (0,)

    def __init_subclass__(cls) -> None:
        if "name" not in vars(cls):
            cls.name = cls.__name__
        if "kernel_name" not in vars(cls):
            cls.kernel_name = None
        check_tuples(cls, cls.__name__)
        cls.from_x, cls.from_h = cls._fed("from_x"), cls._fed("from_h")
        cls.from_b = cls.from_x + tuple(block for block in _blocks(cls.pre) if block not in cls.from_x)

    @classmethod
    def _fed(cls, name: str) -> tuple[int, ...]:
        """`from_x` or `from_h`. Defaults to all blocks if no class in the hierarchy sets it."""
        base: Any = super(cls, cls)
        fed: tuple[int, ...] = getattr(cls, name)
        # Inherited, unless the base feeds all of its blocks: this class then feeds all of its own, which may be more.
        left_out = name not in vars(cls) and fed == _blocks(base.pre)
        return _blocks(cls.pre) if left_out else fed

    def initial_input(self, rng: np.random.Generator, D: int, H: int) -> HostArray | None:
        """The initial Wx, (D, parts · H), on the host, in float64; None for Glorot uniform parts."""
        return None

    def initial_bias(self, H: int) -> HostArray:
        """The initial b, (pre · H,), on the host, in float64."""
        return np.zeros(self.pre * H)

    def initial_params(self, rng: np.random.Generator, H: int) -> Sequence[HostArray]:
        """The initial values of `params`, on the host, in float64."""
        return ()

    def constants(self, xp: Any, dtype: Any) -> Any:
        """Arrays that every `step` reads from `run.constants`. They are made once for each sequence, on its device."""
        return None

    def coefficients(self, xp: Any, params: Sequence[Array]) -> tuple[Any, ...]:
        """The arrays that `step` and `gradient` read in `run.params`, made once for each run from the own parameters.

        Default: the parameters themselves. Others have the same number and shapes, and `run.dparams` has the gradients
        of the coefficients until `params_gradient`.
        """
        return tuple(params)

    def params_gradient(
        self, xp: Any, params: Sequence[Array], coefficients: Sequence[Any], dparams: Sequence[Array]
    ) -> None:
        """Replace the gradients of the coefficients, in `dparams`, by those of the own parameters."""

    # ---- one step ----

    def step(self, run: Run, at: StepArrays) -> None:
        """Compute `at.after` and `at.kept` from `at.z` and `at.before`. It may change `at.z`."""
        raise NotImplementedError(f"the cell {self.name!r} has no step: write its method `step`")

    def prepare(self, run: Run, at: StepArrays, dz: Array) -> None:
        """Optional speed-up: precompute, for many steps at once, the factors that do not depend on dafter.

        Write them to dz (steps, pre, N, H), and more of them to a new array (steps, ·, N, H) in `at.prepared`.
        `gradient` then gets both, step by step.
        """

    def gradient(self, run: Run, at: StepArrays, dafter: Sequence[Array], dz: Array, dbefore: Sequence[Array]) -> None:
        """Compute dz (pre, N, H) and dbefore from dafter, the gradients of the states; add to `run.dparams`.

        dbefore: ∂loss/∂state[t-1] along the direct path, without the path through z, which the driver adds. If
        `direct` is False, leave out dbefore[0]. `at.z` has the values that `step` left there. It may change dafter.
        """
        raise NotImplementedError(f"the cell {self.name!r} has no gradient: write its method `gradient`")

    # ---- a pointwise cell: h' = φ(z) ----

    # The driver computes z in the array for h', and `activate` overwrites it with h'. So a step takes two calls: the
    # product and `activate`. Such a cell has one state, and pre = 1.
    pointwise: bool = False

    def activate(self, xp: Any, z: Array) -> None:
        """z = φ(z), in place."""
        raise NotImplementedError

    def slope(self, xp: Any, h: Array, dz: Array) -> None:
        """dz = φ'(z), computed from h = φ(z)."""
        raise NotImplementedError

    # ---- a cell whose recurrent term is not a product of h ----

    recurs: bool = False  # True: the cell has the three methods below, and the driver takes no product with Wh

    def recur(self, run: Run, at: StepArrays) -> None:
        """Add the recurrent term to `at.z`."""
        raise NotImplementedError

    def recur_gradient(self, run: Run, at: StepArrays, dz: Array, dh: Array) -> None:
        """Add the gradient through the recurrent term to dh (N, H), and complete dz (pre, N, H)."""
        raise NotImplementedError

    def recur_weights(self, xp: Any, at: StepArrays, dz: Array, dWh: Array) -> None:
        """Overwrite dWh.   `at` and dz (steps, pre, N, H) have all steps of a sequence, and zeros past a row's end."""
        raise NotImplementedError
