"""What all recurrent layers share."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, Self, TypeAlias

import numpy as np

from xrnn import init
from xrnn.backend import Backend
from xrnn.checks import check_bool, check_integer, check_lengths, check_size
from xrnn.layers.base import Layer, show_shape
from xrnn.ops.cell import Cell
from xrnn.ops.random import Draws
from xrnn.ops.recurrence import Inputs, Trace
from xrnn.select import get_backend, kind_of
from xrnn.typing import Array, ArrayIfNeeded

State: TypeAlias = tuple[Array, ...]  # (N, H) for each state of the cell


@dataclass(slots=True, eq=False)
class Cache:
    """What a forward keeps for `backward`."""

    trace: Trace
    updates: int  # of the layer's weights, when the forward ran


class RecurrentLayer(Layer):
    """A layer that runs a cell over time. Subclasses add `forward`, `backward` and a call, with their states by name.

    cache    what the last `forward` keeps for `backward`: None before
    reverse  whether the last step is taken first; slot 0 of the result is then the final state
    seed     with `step`, which counts the forwards and may be set, decides what a cell with `draws` draws
    """

    Wx: Array
    Wh: Array
    b: Array
    names: tuple[str, ...] = ("Wx", "Wh", "b")  # of a layer: then the cell's own parameters
    _cell_type: ClassVar[type[Cell]]
    _cache_type = Cache

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
        super().__init__(*params)
        Wx, Wh, b = params[:3]
        H = Wh.shape[0] if Wh.ndim else 0
        if not H or Wh.shape != (H, len(cell.from_h) * H):
            parts = len(cell.from_h)
            self._refuse("Wh", Wh, f"(H, {f'{_times(parts)}H' if parts else 0})", "H is the hidden size")
        self._check("Wx", Wx, ("D", len(cell.from_x) * H), f"Wh is {Wh.shape}")
        self._check("b", b, (cell.pre * H,), f"Wh is {Wh.shape}")
        self.input_size: int = Wx.shape[0]
        self.hidden_size: int = H
        self.reverse = check_bool("reverse", reverse)
        if seed is None:
            seed = int(np.random.default_rng().integers(2**63)) if cell.draws else 0
        self.seed, self.step = check_integer("seed", seed, least=0), 0
        self.cache: Cache | None = None
        # Where the results lie among the T + 1 slots of a state: of one step, and of a sequence (see `Trace`).
        self._slot: int = 0 if reverse else 1
        self._slots: slice = slice(None, -1) if reverse else slice(1, None)
        self._has_extras = bool(cell.params or cell.draws)
        self._none: tuple[None, ...] = (None,) * len(cell.states)
        self._forward_arguments = ", ".join(["x", *(f"{state}_prev" for state in cell.states)])
        self._state_names = [f"{state}_prev" for state in cell.states]
        self._gradient_names = [f"d{state}" for state in cell.states]

    @classmethod
    def init(
        cls,
        input_size: int,
        hidden_size: int,
        *,
        rng: np.random.Generator | int | None = None,
        dtype: Any = "float32",
        backend: str | Backend | None = None,
        **options: Any,
    ) -> Self:
        """A layer with fresh weights: Glorot uniform Wx, Wh orthogonal by gate, and the initial bias of the cell.

        rng      a seed or a Generator: the same weights on every backend; None for other weights at each call
        dtype    float32 or float64
        options  those of the constructor, as reverse

        Raises TypeError or ValueError for other sizes, rng, dtype or options.
        """
        params = fresh_params(cls._cell_with(options), input_size, hidden_size, rng, dtype, backend)
        make: Any = cls  # the constructor of a subclass takes the parameters alone
        return make(*params, **options)  # type: ignore[no-any-return]

    @classmethod
    def _cell_with(cls, options: Mapping[str, Any]) -> Cell:
        """A cell with the parameters of a layer with these options."""
        return cls._cell_type()

    @classmethod
    def names_with(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """The names of the parameters of a layer with these options."""
        return (*cls.names, *cls._cell_with(options).params)

    @property
    def options(self) -> dict[str, Any]:
        return {"reverse": self.reverse}

    def stream(self, x: Array, state: Any = None) -> tuple[Array, Any]:
        """Inference on the next step (N, D), or the next steps (T, N, D), of a signal without end → h, state.

        state   what the call before returned, None at the beginning: (N, H), a tuple of these for a cell with several.
                None of it stays in the layer, so one layer may serve many signals, from many threads.

        Raises ValueError for a layer that runs in reverse.
        """
        if self.reverse:
            self._refuse_stream()
        states = self._infer(x, self._all_states(state), None)
        if x.ndim == 3:
            return states[0][1:], single(self._copies(states))
        # Only h is also the result, which the caller may change; and the buffers of one step may live on.
        h = states[0][1]
        own = self._copy(h)
        if len(states) == 1:
            return h, own
        final = [own]
        for s in states[1:]:
            final.append(s[1])  # noqa: PERF401 - a comprehension is a function: 0.1 µs
        return h, tuple(final)

    # ---- for layers made of layers, to which every cell looks alike ----

    @property
    def output_size(self) -> int:
        return self.hidden_size

    @property
    def streams(self) -> bool:
        return not self.reverse

    def through(self, x: Array, state: State | None, lengths: Any, *, training: bool) -> tuple[Array, State]:
        """h and the states after the last step taken; keeps the cache where `training`."""
        states = (self._train if training else self._infer)(x, self._all_states(state), lengths)
        return states[0][self._slot if x.ndim == 2 else self._slots], self._copies(states)

    def _copies(self, states: Sequence[Array]) -> State:
        """Copies of the final states: the caller may change the result, whose buffer views would keep alive."""
        last = 0 if self.reverse else -1
        return tuple([self._copy(s[last]) for s in states])

    def _copy(self, array: Array) -> Array:
        if self._single_device:
            return array.copy()
        with self.backend.device_of(array):
            return array.copy()

    def checked_lengths(self, lengths: Any, x: Array) -> Array:
        """`lengths` as an array on this layer's device, for all layers that x goes through."""
        self._check_input(x, ())
        return self._checked_lengths(lengths, x)

    def back(self, dh: Array, dfinal: State | None, cache: Cache | None, needs_dx: bool) -> tuple[ArrayIfNeeded, State]:
        """The gradient by way of both results of `through` → dx, that of the initial states."""
        dstates: Sequence[Array | None] = (dh, *self._none[1:])
        if dfinal is not None:
            cache = self._cached(cache)
            self._check_gradients(dstates, cache)
            dfinal = self._all_states(dfinal)
            for name, d in zip(self._gradient_names, dfinal, strict=True):
                self._check(name, d, (dh.shape[-2], self.hidden_size), "the shape of a final state")
            if len(cache.trace.states[0]) > 1:
                dstates = self._with_final(dstates, dfinal, cache.trace.inputs.x.ndim == 2)
        dx, *dinitial = self._backward(dstates, cache, needs_dx)
        if dfinal is not None and dh.ndim == 3 and not len(dh):  # without a step the final states are the initial ones
            dinitial = list(dfinal)
        return dx, tuple(dinitial)

    def _with_final(self, dstates: Sequence[Array | None], dfinal: State, one_step: bool) -> list[Array]:
        """The gradients of all states, with those of the final ones added: copies."""
        whole = []
        with self.backend.device_of(dfinal[0]):
            for dstate, d in zip(dstates, dfinal, strict=True):
                total = self.backend.xp.zeros_like(dstates[0]) if dstate is None else dstate.copy()
                last = total if one_step else total[0 if self.reverse else -1]
                last += d
                whole.append(total)
        return whole

    # ---- what they all are made of ----

    def _forward(self, x: Array, initial: Sequence[Array | None], lengths: Any) -> Sequence[Array]:
        """The results, (T, N, H) a state or (N, H) of one step; keeps the cache."""
        return self._results(self._train(x, initial, lengths), x.ndim == 2)

    def _call(self, x: Array, initial: Sequence[Array | None], lengths: Any) -> Sequence[Array]:
        """The same results, with nothing kept."""
        return self._results(self._infer(x, initial, lengths), x.ndim == 2)

    def _results(self, states: Sequence[Array], one_step: bool) -> Sequence[Array]:
        slots = self._slot if one_step else self._slots
        return [s[slots] for s in states]

    def _train(self, x: Array, initial: Sequence[Array | None], lengths: Any) -> Sequence[Array]:
        """The states of a run that keeps the cache."""
        trace = self._run(x, initial, lengths, True)
        self.cache = Cache(trace, self.updates)
        return trace.states

    def _infer(self, x: Array, initial: Sequence[Array | None], lengths: Any) -> Sequence[Array]:
        """The states of a run that keeps nothing."""
        if lengths is None:
            try:
                states = self.backend.infer(self.cell, self.params, x, initial, self.reverse, self._dtype)
            except TypeError:
                self._accept_replaced()  # raises an error that names the parameter
                raise
            if states is not None:
                return states
        return self._run(x, initial, lengths, False).states

    def _run(self, x: Array, initial: Sequence[Array | None], lengths: Any, training: bool) -> Trace:
        if not self.backend.surely_fit(x, initial, self._dtype, self.input_size, self.hidden_size):
            self._check_input(x, initial)
        if lengths is not None:
            lengths = self._checked_lengths(lengths, x)
        p, known = self.params, self._registered
        if p[0] is not known[0] or p[1] is not known[1] or p[2] is not known[2]:
            self._accept_replaced()
        inputs = Inputs(x, p[0], p[1], p[2], initial, lengths, self.reverse)
        if self._has_extras:
            inputs.own = p[3:]
            if any(map(operator.is_not, inputs.own, known[3:])):
                self._accept_replaced()
            if self.cell.draws and training:
                inputs.draws = Draws(self.backend.xp, (self.seed, self.step))
                self.step += 1
        if self._single_device:
            return self.backend.recurrence_forward(self.cell, inputs, training)
        with self.backend.device_of(x):
            return self.backend.recurrence_forward(self.cell, inputs, training)

    def _backward(
        self, dstates: Sequence[Array | None], cache: Cache | None, needs_dx: bool
    ) -> tuple[ArrayIfNeeded, ...]:
        if needs_dx is not True and needs_dx is not False:  # a call takes longer than to see that it is one of them
            needs_dx = check_bool("needs_dx", needs_dx)
        if cache is None:
            cache = self.cache  # as `_cached` does; of a small layer's step that call would be a noticeable part
        if type(cache) is not Cache:
            cache = self._cached(cache)
        trace, p = cache.trace, self.params
        inputs = trace.inputs
        if cache.updates != self.updates or inputs.Wx is not p[0] or inputs.Wh is not p[1] or inputs.b is not p[2]:
            self._refuse_changed(cache.updates)
        self._check_gradients(dstates, cache)
        if self._single_device:
            dx, dinitial = self.backend.recurrence_backward(self.cell, trace, dstates, self.grads, needs_dx)
        else:
            with self.backend.device_of(inputs.x):
                dx, dinitial = self.backend.recurrence_backward(self.cell, trace, dstates, self.grads, needs_dx)
        return dx, *dinitial

    def _check_gradients(self, dstates: Sequence[Array | None], cache: Cache) -> None:
        """Refuse gradients that aren't those of the results. That of h must be there; the others may be None."""
        shape = *cache.trace.inputs.x.shape[:-1], self.hidden_size
        kind, dtype, single_device = self._array_type, self._dtype, self._single_device  # as in `_check_input`
        for dstate in dstates:
            if dstate is None and dstates[0] is not None:
                continue
            ours = (type(dstate) is kind and dstate.dtype is dtype and single_device) or self._is_ours(dstate)
            if not (ours and dstate.shape == shape):  # type: ignore[union-attr]
                name = next(name for name, given in zip(self._gradient_names, dstates, strict=True) if given is dstate)
                self._refuse(name, dstate, show_shape(shape), "the shape of what the last forward returned")

    def _all_states(self, state: Any) -> State:
        """A state for each that the cell has; `state` None for zeros. Raises ValueError for fewer or more."""
        if state is None:
            return self._none  # type: ignore[return-value]
        states = state if isinstance(state, tuple) else (state,)
        if len(states) != len(self._none):
            raise ValueError(
                f"got {len(states)} state{'s' * (len(states) != 1)}, but this {self.title} expects "
                f"{len(self._none)}, {' and '.join(self.cell.states)}: pass on what it returned"
            )
        return states

    def _check_input(self, x: Array, initial: Sequence[Array | None]) -> None:
        # Calling `_is_ours` takes longer than its comparisons; two of them, written out, accept most host arrays.
        kind, dtype, single_device = self._array_type, self._dtype, self._single_device
        if not ((type(x) is kind and x.dtype is dtype and single_device) or self._is_ours(x)):
            self._refuse_input(x)
        shape = x.shape
        if len(shape) not in (2, 3) or shape[-1] != self.input_size:
            self._refuse_input(x)
        expected = shape[-2], self.hidden_size
        for state in initial:
            if state is None:
                continue
            ours = (type(state) is kind and state.dtype is dtype and single_device) or self._is_ours(state)
            if not (ours and state.shape == expected):
                name = next(name for name, given in zip(self._state_names, initial, strict=True) if given is state)
                self._refuse(name, state, show_shape(expected), "N as in x, H as in Wh")

    def _checked_lengths(self, lengths: Any, x: Array) -> Array:
        if x.ndim == 2:
            raise ValueError("got lengths for one step, x (N, D): expected a sequence, x (T, N, D); leave lengths out")
        T, N, _ = x.shape
        with self.backend.device_of(x):
            return check_lengths(lengths, N, T, self.backend, self._device, f"this {self.title}")

    def _refuse_input(self, x: Array) -> NoReturn:
        D = self.input_size
        self._refuse(
            "x",
            x,
            f"(N, {D}) for one step of a batch or (T, N, {D}) for a sequence",
            f"Wx is {self.params[0].shape}; x[None] makes a batch of one vector, x[:, None] one of one sequence",
        )

    def _refuse_stream(self) -> NoReturn:
        raise ValueError(
            f"this {self.title} runs in reverse, from the last step on: expected a layer that runs forward; "
            "stream with one made without reverse=True"
        )


class SingleStateLayer(RecurrentLayer):
    """A recurrent layer whose cell has one state, h."""

    def forward(self, x: Array, h_prev: Array | None = None, *, lengths: Any = None) -> Array:
        """One step, x (N, D) → h (N, H), or a sequence, x (T, N, D) → h (T, N, H); h_prev (N, H), None for zeros.

        lengths   (N,) integers in [0, T]: past its own length a row keeps its state, whatever x holds there

        Keeps what `backward` needs. The result is a view of a buffer that the layer never writes again; don't change
        it, `x` or the weights before `backward`.
        """
        hs = self._train(x, (h_prev,), lengths)[0]
        h: Array = hs[self._slot if x.ndim == 2 else self._slots]
        return h

    def backward(self, dh: Array, *, cache: Cache | None = None, needs_dx: bool = True) -> tuple[ArrayIfNeeded, Array]:
        """The gradient of what a `forward` returned → dx, in the shape of its x, and dh_prev (N, H).

        cache      of which forward: `layer.cache`, taken after it; None for the last
        needs_dx   False where x is data: dx is then None, and its product isn't taken

        Overwrites `grads`. Raises RuntimeError without a `forward` before it, or where the weights have been updated
        since by an optimizer, or replaced.
        """
        dx, dh_prev = self._backward((dh,), cache, needs_dx)
        return dx, dh_prev

    def __call__(self, x: Array, h_prev: Array | None = None, *, lengths: Any = None) -> Array:
        """Inference: what `forward` returns, with nothing kept."""
        hs = self._infer(x, (h_prev,), lengths)[0]
        h: Array = hs[self._slot if x.ndim == 2 else self._slots]
        return h


def check_cell_type(cell: Any) -> None:
    """Raises TypeError for what is no cell."""
    if not isinstance(cell, Cell):
        raise TypeError(f"cell is a {kind_of(cell)}: expected an instance of a subclass of xrnn.Cell; make one first")


def check_blocks(cell: Cell) -> None:
    """Refuse a cell whose parts of Wx or Wh feed blocks that the driver can't.   Raises ValueError."""
    from_h, every = cell.from_h, range(cell.pre)
    for name, fed in (("from_x", cell.from_x), ("from_h", from_h)):
        if not set(fed) <= set(every) or len(set(fed)) < len(fed) or (name == "from_x" and not fed):
            raise ValueError(
                f"the cell {cell.name!r} has {name} = {fed} and pre = {cell.pre}: expected blocks from 0 to "
                f"{cell.pre - 1}, none of them twice; change {name} or pre"
            )
    # One product a step writes all that h feeds; a cell with a recurrent term of its own takes its own products.
    if from_h and not cell.recurs and from_h != tuple(range(from_h[0], from_h[0] + len(from_h))):
        raise ValueError(
            f"the cell {cell.name!r} has from_h = {from_h}: expected neighbouring blocks in their order, as (1, 2, 3); "
            "number the blocks of z so that those which h feeds lie together"
        )


def fresh_params(
    cell: Cell,
    input_size: int,
    hidden_size: int,
    rng: np.random.Generator | int | None,
    dtype: Any,
    backend: str | Backend | None,
) -> list[Array]:
    """A Glorot uniform Wx and an orthogonal Wh for each gate; the bias and the own parameters that the cell asks for.

    rng    a seed or a Generator: the same weights on every backend; None for fresh ones
    dtype  float32 or float64

    Raises TypeError and ValueError for a cell, sizes, rng or dtype that are something else.
    """
    check_cell_type(cell)
    D, H = check_size("input_size", input_size), check_size("hidden_size", hidden_size)
    rng, dtype = init.as_generator(rng), init.as_dtype(dtype)
    Wx = np.concatenate([init.glorot_uniform(rng, D, H) for _ in cell.from_x], axis=1)
    Wh = np.concatenate([np.empty((H, 0)), *(init.orthogonal(rng, H) for _ in cell.from_h)], axis=1)
    asarray = get_backend(backend).asarray
    return [asarray(w, dtype) for w in (Wx, Wh, cell.initial_bias(H), *cell.initial_params(rng, H))]


def shapes_of(cell: Cell, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter, by name."""
    D, H = input_size, hidden_size
    own = cell.initial_params(np.random.default_rng(0), H)
    return {
        "Wx": (D, len(cell.from_x) * H),
        "Wh": (H, len(cell.from_h) * H),
        "b": (cell.pre * H,),
        **{name: np.shape(param) for name, param in zip(cell.params, own, strict=True)},
    }


def single(states: Sequence[Array]) -> Any:
    """The state of a cell with one; all of them, as a tuple, of a cell with several."""
    return states[0] if len(states) == 1 else tuple(states)


def _times(parts: int) -> str:
    return "" if parts == 1 else str(parts)
