"""The base classes of the recurrent layers: checks, states, the cache, and the calls of the backend."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, Self, TypeAlias

import numpy as np

from xrnn import init
from xrnn.arrays.select import get_backend
from xrnn.backend import Backend
from xrnn.checks import check_bool, check_integer, check_lengths, check_size
from xrnn.layers.base import ByName, Layer, show_shape
from xrnn.layers.store import FrozenStore, Int8Store, Store
from xrnn.messages import kind_of
from xrnn.ops.cell import Cell, check_tuples
from xrnn.ops.heads import hidden_size
from xrnn.ops.inputs import Inputs, Trace
from xrnn.ops.int8 import Int8Matrix
from xrnn.ops.random import Draws
from xrnn.typing import Array, ArrayIfNeeded, DType, Lengths, StreamState
from xrnn.weight_checks import weight_checks

State: TypeAlias = tuple[Array, ...]  # (N, H) for each state of the cell


@dataclass(slots=True, eq=False)
class Cache(Trace):
    """What a forward keeps for `backward`."""

    cell: Cell
    updates: int  # the number of updates of the layer's weights when the forward ran
    weights: Sequence[Array] | None  # copies for `use_weight_checks`


class RecurrentLayer(Layer):
    """A layer that runs a cell over time. Subclasses add `forward`, `backward` and `__call__` with named states.

    cache          what the last `forward` keeps for `backward`; None before the first
    reverse        True if the layer starts at the last step; element 0 of the result is then the final state
    heads          the number of heads if Wh is (heads, H/heads, parts · H/heads); None if it is a matrix
    seed           decides, together with `forward_calls`, the random numbers of a cell with `draws`
    forward_calls  the number of forward calls with such a cell; it may be set
    """

    Wx: Array
    Wh: Array
    b: Array
    names: tuple[str, ...] = ("Wx", "Wh", "b")  # an instance adds the parameters of its cell
    cell_type: ClassVar[type[Cell]]
    _cache_type = Cache
    _store_type: type[Store] = Store
    store: Store  # how the layer keeps its weights

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name in cls.cell_type.params if "cell_type" in vars(cls) else ():
            setattr(cls, name, ByName(name))

    def __init__(self, cell: Cell, *params: Array, reverse: bool = False, seed: int | None = None) -> None:
        check_cell_type(cell)
        check_blocks(cell)
        self.cell = cell
        self.names = (*type(self).names, *cell.params)
        if len(params) != len(self.names):
            raise TypeError(
                f"got {len(params)} parameters, but the cell {cell.name!r} has {len(self.names)}: pass "
                f"{', '.join(self.names)}"
            )
        if any(isinstance(param, Int8Matrix) for param in params):
            self._store_type, self._reference = Int8Store, Int8Store.reference
            self.names += Int8Store.scales
            params = tuple(Int8Store.flat(self.title, self.names, params))
        super().__init__(*params)
        Wx, Wh, b = params[:3]
        H = self._hidden_size(cell, Wh)
        self._check_shape("Wx", Wx, ("D", len(cell.from_x) * H), f"Wh is {Wh.shape}")
        self._check_shape("b", b, (cell.pre * H,), f"Wh is {Wh.shape}")
        self.input_size: int = Wx.shape[0]
        self.hidden_size: int = H // cell.components
        self.output_size: int = H
        self.heads: int | None = Wh.shape[0] if len(Wh.shape) == 3 else None
        self.reverse = check_bool("reverse", reverse)
        if seed is None:
            seed = int(np.random.default_rng().integers(2**63)) if cell.draws else 0
        self.seed = check_integer("seed", seed, least=0)
        self.forward_calls = 0
        self.cache: Cache | None = None
        # A state has T + 1 slots (see `Trace`). This is the index of the results, by the rank of x: 2 for one step.
        self._slots: dict[int, Any] = {2: 0, 3: slice(None, -1)} if reverse else {2: 1, 3: slice(1, None)}
        self._no_states: tuple[None, ...] = (None,) * len(cell.states)
        self._forward_arguments = ", ".join(["x", *(f"{state}_prev" for state in cell.states)])
        self._state_names = [f"{state}_prev" for state in cell.states]
        self._gradient_names = [f"d{state}" for state in cell.states]

    def _hidden_size(self, cell: Cell, Wh: Array) -> int:
        """H, from the shape of Wh.   Raises ValueError for any other shape."""
        shape = Wh.shape
        parts = len(cell.from_h)
        if len(shape) == 3:
            check_has_heads(cell, self.title, "pass a matrix Wh (H, …)")
            k, K, width = shape
            if not k * K or width != parts * K:
                self._refuse_shape("Wh", Wh, f"(k, H/k, {_times(parts)}/k)", "k is the number of heads")
        elif len(shape) != 2 or not shape[0] or shape[1] != parts * shape[0] or shape[0] % cell.components:
            rows, columns = (_times(n * cell.components) for n in (1, parts))
            self._refuse_shape("Wh", Wh, f"({rows}, {columns})", "H is the hidden size")
        return hidden_size(Wh)

    @classmethod
    def init(
        cls,
        input_size: int,
        hidden_size: int,
        *,
        heads: int | None = None,
        reverse: bool = False,
        rng: np.random.Generator | int | None = None,
        dtype: DType = "float32",
        backend: str | Backend | None = None,
    ) -> Self:
        """A layer with new weights: Glorot uniform Wx, orthogonal Wh for each gate, and the cell's initial bias.

        heads  the number of heads of Wh, which divides hidden_size; None for a matrix Wh. Each gate of each head is
               orthogonal. MinGRU and MinLSTM take None only, because they have no recurrent product
        rng    a seed or a Generator, which gives the same weights on every backend; None for random weights
        dtype  float32 or float64

        All other arguments are those of the constructor. Raises TypeError or ValueError for wrong arguments.
        """
        return cls._with_new_weights(input_size, hidden_size, rng, dtype, backend, heads=heads, reverse=reverse)

    @classmethod
    def _with_new_weights(
        cls,
        input_size: int,
        hidden_size: int,
        rng: Any,
        dtype: Any,
        backend: str | Backend | None,
        *,
        heads: int | None = None,
        **options: Any,
    ) -> Self:
        params = fresh_params(cls._cell_with(options), input_size, hidden_size, rng, dtype, backend, heads)
        make: Any = cls  # unlike this class, its subclasses take no cell
        return make(*params, **options)

    @classmethod
    def _cell_with(cls, options: Mapping[str, Any]) -> Cell:
        """A cell with the same parameters as the cell of a layer with these options."""
        if not hasattr(cls, "cell_type"):
            raise TypeError(f"{cls.__name__} has no cell_type: set it to the class of its cell")
        return cls.cell_type()

    @classmethod
    def names_with(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """The names of the parameters of a layer with these options."""
        return (*cls.names, *cls._cell_with(options).params)

    @property
    def options(self) -> dict[str, Any]:
        return {"reverse": self.reverse}

    def __getstate__(self) -> dict[str, Any]:
        """Without the store, because the weights of a copy of a frozen layer may change."""
        return {name: value for name, value in super().__getstate__().items() if name != "store"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.params = self._store_type.restored(self.params)
        self._register()

    @property
    def title(self) -> str:
        return self._store_type.prefix + super().title

    @property
    def is_int8(self) -> bool:
        """Whether this is a quantized layer."""
        return self._store_type is Int8Store

    def remade(self, *params: Any) -> Self:
        """A layer with this layer's cell and options, and other parameters."""
        make: Any = type(self)
        return make(*params, **self.options)

    @property
    def is_frozen(self) -> bool:
        return self._store_type.is_frozen(self)

    def freeze_params(self) -> None:
        self._store_type.freeze(self)

    def _check_kinds(self) -> None:
        self._store_type.check_kinds(self)

    def _register(self) -> None:
        known = getattr(self, "_registered", ())
        super()._register()
        # A frozen layer has computed the coefficients of its cell from its own parameters.
        has_other = any(map(operator.is_not, known[3:], self.params[3:]))
        if has_other or not isinstance(getattr(self, "store", None), FrozenStore):
            self.store = self._store_type(self.title, self.backend, self.params)

    def _make_grads(self) -> None:
        self._store_type.make_grads(self)

    def _accept_replaced(self) -> None:
        self._store_type.accept_replaced(self)

    def stream(
        self, x: Array, state: StreamState | None = None, *, add: Array | None = None
    ) -> tuple[Array, StreamState]:
        """Inference on the next step (N, D) or steps (T, N, D) of an endless signal → h, state.

        state   the state that the previous call returned; None at the beginning. It is (N, H), or a tuple of such
                arrays if the cell has several states. The layer does not keep it, so one layer may process many
                signals, also in several threads.
        add     as in `forward`

        Raises ValueError for a layer that runs in reverse.
        """
        if self.reverse:
            self._refuse_stream()
        states = self._run(x, self._all_states(state), None, training=False, add=add)
        final = self._final(states)
        return states[0][self._slots[x.ndim]], final[0] if len(final) == 1 else final

    # ---- one run and one backward, for all public methods ----

    def _run(
        self,
        x: Array,
        initial: Sequence[Array | None],
        lengths: Lengths | None,
        *,
        training: bool,
        add: Array | None = None,
    ) -> Sequence[Array]:
        """All T + 1 slots of each state. With `training`, keeps the cache."""
        p, known = self.params, self._registered
        if p[0] is not known[0] or p[1] is not known[1] or p[2] is not known[2]:
            self._accept_replaced()
        if lengths is not None:
            lengths = self.checked_lengths(lengths, x)
        inputs = Inputs(x, p[0], p[1], p[2], initial, lengths, self.reverse)
        if add is not None:
            inputs.add = add
        if len(p) > 3:
            inputs.own = self._own_params()
        store = self.store
        if not training:
            inputs.frozen = store.frozen
        if training and self.cell.draws:
            inputs.draws = Draws(self.backend.xp, (self.seed, self.forward_calls))
        try:
            if self._single_device:
                states, z, kept = store.run(self.cell, inputs, training)
            else:
                self._check_input(x, initial, add)
                with self.backend.device_of(x):
                    states, z, kept = store.run(self.cell, inputs, training)
        except TypeError as error:
            failure = error
        else:
            if training:
                # A call of the method takes 2 % of a step of a small layer.
                weights = self._weights_for_checks() if weight_checks().enabled else None
                self.cache = Cache(inputs, states, z, kept, self.cell, self.updates, weights)
                self.forward_calls += self.cell.draws
            return states
        # This is outside `except`, so that the error is not chained to the error of the backend.
        self._check_input(x, initial, add)
        self._accept_replaced()
        raise failure

    def _own_params(self) -> Sequence[Array]:
        own = self.params[3:]
        if any(map(operator.is_not, own, self._registered[3:])):
            self._accept_replaced()
        return own

    def _final(self, states: Sequence[Array]) -> State:
        """Copies of the final states: the caller may change the result, and a view would keep its buffer alive."""
        last = 0 if self.reverse else -1
        if not self._single_device:
            with self.backend.device_of(states[0]):
                return tuple([s[last].copy() for s in states])
        final: State = (states[0][last].copy(),)
        for state in states[1:]:  # the caller has no other view of these, and one step's buffer is small
            final += (state[last] if len(state) == 2 else state[last].copy(),)
        return final

    def _backward(
        self, dstates: Sequence[Array | None], cache: Cache | None, needs_dx: bool, dadd: Array | None = None
    ) -> tuple[ArrayIfNeeded, ...]:
        needs_dx = check_bool("needs_dx", needs_dx)
        found: Any = self.cache if cache is None else cache
        cache = found if type(found) is Cache else self._cached(cache)  # without the call in the usual case
        self._check_cache(cache)
        if dstates[0] is None or not self._single_device:
            self._check_gradients(dstates, cache)
        if dadd is not None:
            self._check_dadd(dadd, dstates, cache)
        grads = self.grads if self._needs_grads else None
        try:
            with self.backend.device_of(cache.inputs.x):
                dx, dinitial = self.backend.recurrence_backward(self.cell, cache, dstates, grads, needs_dx, dadd)
        except TypeError as error:
            failure = error
        else:
            return dx, *dinitial
        self._check_gradients(dstates, cache)  # outside `except`, as in `_run`
        raise failure

    def _cached(self, cache: Any) -> Any:
        if self.cache is None:
            self.store.check_training("backward")
        return super()._cached(cache)

    def _check_cache(self, cache: Cache) -> None:
        """Refuse the cache of another layer, or of a forward with other weights.   Raises ValueError, RuntimeError."""
        inputs, p = cache.inputs, self.params
        if cache.cell is not self.cell or inputs.reverse is not self.reverse:
            raise ValueError(
                f"cache is of another layer: expected one of this {self.title}; take layer.cache after its forward"
            )
        if (
            cache.updates != self.updates
            or inputs.Wx is not p[0]
            or inputs.Wh is not p[1]
            or inputs.b is not p[2]
            or (len(p) > 3 and any(map(operator.is_not, inputs.own, p[3:])))
        ):
            self._refuse_changed(cache.updates)
        if cache.weights is not None:
            self._check_unchanged(cache.weights)

    # ---- the interface for Stack and Bidirectional: the same arguments and results for every cell ----

    @property
    def directions(self) -> tuple[tuple[int, bool], ...]:
        """The features of each direction in h, and whether it is reverse: for `last`."""
        return ((self.output_size, self.reverse),)

    @property
    def streams(self) -> bool:
        return not self.reverse

    def forward_part(
        self, x: Array, state: State | None, lengths: Lengths | None, *, training: bool
    ) -> tuple[Array, State]:
        """→ h and the final states. With `training`, keeps the cache."""
        states = self._run(x, self._all_states(state), lengths, training=training)
        return states[0][self._slots[x.ndim]], self._final(states)

    def backward_part(
        self, dh: Array, dfinal: State | None, cache: Cache | None, needs_dx: bool
    ) -> tuple[ArrayIfNeeded, State]:
        """The gradients of both results of `forward_part` → dx, and the gradients of the initial states."""
        dstates: Sequence[Array | None] = (dh, *self._no_states[1:])
        if dfinal is not None:
            cache = self._cached(cache)
            self._check_gradients(dstates, cache)
            dfinal = self._all_states(dfinal)
            for name, d in zip(self._gradient_names, dfinal, strict=True):
                self._check(name, d, (dh.shape[-2], self.output_size), "the shape of a final state")
            if len(cache.states[0]) > 1:
                dstates = self._with_final(dstates, dfinal, cache.inputs.x.ndim == 2)
        dx, *dinitial = self._backward(dstates, cache, needs_dx)
        if dfinal is not None and dh.ndim == 3 and not len(dh):  # T = 0: the final states are the initial states
            dinitial = list(dfinal)
        return dx, tuple(dinitial)

    def _with_final(self, dstates: Sequence[Array | None], dfinal: State, one_step: bool) -> list[Array]:
        """Copies of the gradients of all states, with the gradients of the final states added."""
        totals = []
        with self.backend.device_of(dfinal[0]):
            for dstate, d in zip(dstates, dfinal, strict=True):
                total = self.backend.xp.zeros_like(dstates[0]) if dstate is None else dstate.copy()
                last = total if one_step else total[0 if self.reverse else -1]
                last += d
                totals.append(total)
        return totals

    def checked_lengths(self, lengths: Lengths, x: Array) -> Array:
        """`lengths` as an array on the device of this layer.   Raises TypeError, ValueError."""
        self._check_input(x, ())
        if x.ndim == 2:
            raise ValueError("got lengths for one step, x (N, D): expected a sequence, x (T, N, D); leave lengths out")
        T, N, _ = x.shape
        with self.backend.device_of(x):
            return check_lengths(lengths, N, T, self.backend, self._device, f"this {self.title}")

    # ---- checks ----

    def _check_gradients(self, dstates: Sequence[Array | None], cache: Cache) -> None:
        """Refuse gradients of another type, dtype, device or shape than the results. The gradient of h is required."""
        shape = *cache.inputs.x.shape[:-1], self.output_size
        kind, dtype, single_device = self._array_type, self._dtype, self._single_device  # as in `_check_input`
        for dstate in dstates:
            if dstate is None and dstates[0] is not None:
                continue
            ours = (type(dstate) is kind and dstate.dtype is dtype and single_device) or self._is_ours(dstate)
            if not (ours and dstate.shape == shape):  # type: ignore[union-attr]
                name = next(name for name, given in zip(self._gradient_names, dstates, strict=True) if given is dstate)
                self._refuse(name, dstate, show_shape(shape), "the shape of what the last forward returned")

    def _all_states(self, state: Any) -> State:
        """`state` as a tuple with one entry for each state of the cell; None stands for zeros.   Raises ValueError."""
        if state is None:
            return self._no_states  # type: ignore[return-value]
        states = state if isinstance(state, tuple) else (state,)
        if len(states) != len(self._no_states):
            raise ValueError(
                f"got {len(states)} state{'' if len(states) == 1 else 's'}, but this {self.title} expects "
                f"{len(self._no_states)}, {' and '.join(self.cell.states)}: pass the state that it returned"
            )
        return states

    def _check_input(self, x: Array, initial: Sequence[Array | None], add: Array | None = None) -> None:
        # For most host arrays these comparisons are enough. They take less time than a call of `_is_ours`.
        kind, dtype, single_device = self._array_type, self._dtype, self._single_device
        if not ((type(x) is kind and x.dtype is dtype and single_device) or self._is_ours(x)):
            self._refuse_input(x)
        shape = x.shape
        if len(shape) not in (2, 3) or shape[-1] != self.input_size:
            self._refuse_input(x)
        expected = shape[-2], self.output_size
        for state in initial:
            if state is None:
                continue
            ours = (type(state) is kind and state.dtype is dtype and single_device) or self._is_ours(state)
            if not (ours and state.shape == expected):
                name = next(name for name, given in zip(self._state_names, initial, strict=True) if given is state)
                self._refuse(name, state, show_shape(expected), "N as in x, H as in Wh")
        if add is not None:
            self._check("add", add, (*shape[:-1], len(self.params[2])), "the steps and rows of x, the columns of b")

    def _check_dadd(self, dadd: Array, dstates: Sequence[Array | None], cache: Cache) -> None:
        """Refuse a dadd that the gradient of `add` cannot be written to: `backward` needs all other arrays as well."""
        shape = *cache.inputs.x.shape[:-1], len(self.params[2])
        self._check("dadd", dadd, shape, "the steps and rows of x, the columns of b")
        if not dadd.flags.c_contiguous:
            raise ValueError(
                "dadd is not C-contiguous: expected an array in C order; pass xp.empty(add.shape, add.dtype)"
            )
        others = {
            "x": cache.inputs.x,
            **dict(zip(self.cell.states, cache.states, strict=True)),
            **dict(zip(self._gradient_names, dstates, strict=True)),
            "the cache": cache.z,
            "the cache of the cell": cache.kept,
            **dict(zip(self.names, self.params, strict=True)),
            **{f"d{name}": grad for name, grad in zip(self.names, self.grads, strict=True)},
        }
        outline = self.backend.outline
        for name, array in others.items():
            if array is not None and np.shares_memory(outline(dadd), outline(array)):
                raise ValueError(
                    f"dadd overlaps {name} in memory, which backward needs: expected an array of its own; "
                    "pass xp.empty(add.shape, add.dtype)"
                )

    def _refuse_input(self, x: Array) -> NoReturn:
        D = self.input_size
        self._refuse(
            "x",
            x,
            f"(N, {D}) for one step of a batch or (T, N, {D}) for a sequence",
            f"Wx is {self.params[0].shape}; x[None] makes a batch of one vector, x[:, None] a batch of one sequence",
        )

    def _refuse_stream(self) -> NoReturn:
        raise ValueError(
            f"this {self.title} runs in reverse, from the last step to the first: expected a layer that runs forward; "
            "use a layer made without reverse=True"
        )


class SingleStateLayer(RecurrentLayer):
    """A recurrent layer whose cell has one state, h."""

    def forward(
        self, x: Array, h_prev: Array | None = None, *, lengths: Lengths | None = None, add: Array | None = None
    ) -> Array:
        """One step, x (N, D) → h (N, H), or a sequence, x (T, N, D) → h after every step (T, N, H).

        h_prev    (N, H), None for zeros
        lengths   (N,) integers in [0, T]: past its length a row keeps its state, and x and add are not read there
        add       (T, N, columns of b), or (N, columns of b) for one step: a term of each pre-activation, as a b that
                  differs between steps and rows; for noise. None for nothing

        Keeps a cache for `backward`. The result is a view of a buffer that the layer does not write again. Do not
        change it, `x` or the weights before `backward`.
        """
        return self._run(x, (h_prev,), lengths, training=True, add=add)[0][self._slots[x.ndim]]

    def backward(
        self, dh: Array, *, cache: Cache | None = None, needs_dx: bool = True, dadd: Array | None = None
    ) -> tuple[ArrayIfNeeded, Array]:
        """The gradient dh of the result of a `forward` → dx, in the shape of x, and dh_prev (N, H).

        cache      `layer.cache` as it was after an earlier forward; None for the last forward
        needs_dx   False if the gradient of x is not needed: dx is then None
        dadd       a C-contiguous array of the shape of `add`, overwritten by its gradient; None if it is not needed

        Overwrites `grads`. Raises RuntimeError if there was no `forward`, or if the weights have been updated or
        replaced since; ValueError for the cache of another layer, and for a dadd that overlaps another array of this
        call.
        """
        dx, dh_prev = self._backward((dh,), cache, needs_dx, dadd)
        return dx, dh_prev

    def __call__(
        self, x: Array, h_prev: Array | None = None, *, lengths: Lengths | None = None, add: Array | None = None
    ) -> Array:
        """Inference: the result of `forward`, without a cache."""
        return self._run(x, (h_prev,), lengths, training=False, add=add)[0][self._slots[x.ndim]]


def check_cell_type(cell: Any) -> None:
    """Raises TypeError if `cell` is not an instance of `Cell`."""
    if not isinstance(cell, Cell):
        raise TypeError(f"cell is a {kind_of(cell)}: expected an instance of a subclass of xrnn.Cell; make one first")


def check_blocks(cell: Cell) -> None:
    """Check `states`, `pre`, `kept`, `from_x`, `from_h` and `recurs` of a cell.   Raises TypeError, ValueError."""
    check_tuples(cell, f"the cell {cell.name!r}")
    for name, least in (("pre", 1), ("kept", 0), ("components", 1)):
        check_integer(f"{name} of the cell {cell.name!r}", getattr(cell, name), least=least)
    from_h = cell.from_h
    every = range(cell.pre)
    for name, fed in (("from_x", cell.from_x), ("from_h", from_h)):
        if not set(fed) <= set(every) or len(set(fed)) < len(fed) or (name == "from_x" and not fed):
            raise ValueError(
                f"the cell {cell.name!r} has {name} = {fed} and pre = {cell.pre}: expected blocks from 0 to "
                f"{cell.pre - 1}, each at most once; change {name} or pre"
            )
    if cell.pointwise and (cell.pre, from_h, len(cell.states)) != (1, (0,), 1):
        raise ValueError(
            f"the cell {cell.name!r} is pointwise and has pre = {cell.pre}, from_h = {from_h} and "
            f"{len(cell.states)} states: expected one block, fed by h, and one state; write step and gradient instead"
        )
    for method in ("recur", "recur_gradient", "recur_weights"):
        if (getattr(type(cell), method) is not getattr(Cell, method)) != bool(cell.recurs):
            got, remedy = ("no", "write it") if cell.recurs else ("a", "set recurs = True")
            raise ValueError(
                f"the cell {cell.name!r} has recurs = {cell.recurs} and {got} method {method}: expected all of recur, "
                f"recur_gradient and recur_weights with recurs = True, and none without; {remedy}"
            )
    # One product per step feeds all of these blocks. A cell with `recurs` computes its own products.
    if from_h and not cell.recurs and from_h != tuple(range(from_h[0], from_h[0] + len(from_h))):
        raise ValueError(
            f"the cell {cell.name!r} has from_h = {from_h}: expected neighbouring blocks in ascending order, "
            "such as (1, 2, 3); number the blocks of z so that the blocks of h are neighbours"
        )


def fresh_params(
    cell: Cell,
    input_size: int,
    hidden_size: int,
    rng: np.random.Generator | int | None,
    dtype: Any,
    backend: str | Backend | None,
    heads: int | None = None,
) -> list[Array]:
    """New parameters: Glorot uniform Wx and orthogonal Wh for each gate; the bias and own parameters from the cell.

    rng    a seed or a Generator, which gives the same weights on every backend; None for random weights
    dtype  float32 or float64
    heads  the number of heads of Wh; None for a matrix

    Raises TypeError or ValueError for wrong arguments.
    """
    check_cell_type(cell)
    check_blocks(cell)
    D = check_size("input_size", input_size)
    H = check_size("hidden_size", hidden_size) * cell.components
    rng = init.as_generator(rng)
    dtype = init.as_dtype(dtype)
    Wx = cell.initial_input(rng, D, H)
    if Wx is None:
        Wx = np.concatenate([init.glorot_uniform(rng, D, H) for _ in cell.from_x], axis=1)
    K = H if heads is None else H // check_heads(heads, H, cell)
    by_head = [
        np.concatenate([np.empty((K, 0)), *(init.orthogonal(rng, K) for _ in cell.from_h)], axis=1)
        for _ in range(H // K)
    ]
    Wh = by_head[0] if heads is None else np.stack(by_head)
    parameter = get_backend(backend).parameter
    return [parameter(w, dtype) for w in (Wx, Wh, cell.initial_bias(H), *cell.initial_params(rng, H))]


def check_heads(heads: Any, hidden_size: int, cell: Cell) -> int:
    """The number of heads.   Raises TypeError unless it is an integer, ValueError unless this layer can have it."""
    k = check_integer("heads", heads, least=1)
    check_has_heads(cell, f"a layer with the cell {cell.name!r}", "use heads=None")
    if hidden_size % k:
        raise ValueError(
            f"heads is {k} and hidden_size is {hidden_size}: expected heads that divide hidden_size; use "
            f"hidden_size={-(-hidden_size // k) * k}"
        )
    return k


def check_has_heads(cell: Cell, title: str, remedy: str) -> None:
    """Raises ValueError if the recurrent term of the cell is not h @ Wh."""
    if cell.recurs or not cell.from_h:
        raise ValueError(f"{title} has no heads: expected a cell whose recurrent term is h @ Wh; {remedy}")


def shapes_of(cell: Cell, input_size: int, hidden_size: int, heads: int | None = None) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter, by name.   Raises TypeError and ValueError as `check_heads` does."""
    D = input_size
    H = hidden_size * cell.components
    parts = len(cell.from_h)
    K = H if heads is None else H // check_heads(heads, H, cell)
    own = cell.initial_params(np.random.default_rng(0), H)
    return {
        "Wx": (D, len(cell.from_x) * H),
        "Wh": (H, parts * H) if heads is None else (heads, K, parts * K),
        "b": (cell.pre * H,),
        **{name: np.shape(param) for name, param in zip(cell.params, own, strict=True)},
    }


def single(states: Sequence[Array]) -> Any:
    """The state of a cell with one state; a tuple of all states for a cell with several."""
    return states[0] if len(states) == 1 else tuple(states)


def _times(parts: int) -> str:
    """The number of columns of `parts` parts, for an error message."""
    return {0: "0", 1: "H"}.get(parts, f"{parts}H")


def as_tuple(results: Any) -> tuple[Any, ...]:
    return results if isinstance(results, tuple) else (results,)
