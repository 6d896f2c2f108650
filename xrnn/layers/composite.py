"""The base class of layers that contain layers: it joins their parameters, gradients and states."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeAlias

from xrnn.arrays.select import backend_of
from xrnn.checks import check_bool
from xrnn.layers.base import given_or_last, like_states
from xrnn.messages import kind_of
from xrnn.sharing import FixedList
from xrnn.typing import Array, ArrayIfNeeded, Lengths

States: TypeAlias = tuple[Any, ...]  # one entry for each layer: a tuple of arrays (N, H), or nested States


class Part(Protocol):
    """A layer that a composite may contain: a recurrent layer, a LayerNorm, or another composite."""

    cache: Any

    @property
    def updates(self) -> int: ...
    @property
    def params(self) -> list[Array]: ...
    @property
    def grads(self) -> list[Array]: ...
    @property
    def input_size(self) -> int: ...
    @property
    def output_size(self) -> int: ...
    @property
    def streams(self) -> bool: ...
    @property
    def title(self) -> str: ...
    @property
    def named_params(self) -> dict[str, Array]: ...
    @property
    def needs_grads(self) -> bool: ...
    @needs_grads.setter
    def needs_grads(self, needed: bool) -> None: ...
    def checked_lengths(self, lengths: Lengths, x: Array) -> Array: ...
    def forward_part(self, x: Array, state: Any, lengths: Lengths | None, *, training: bool) -> tuple[Array, Any]: ...
    def backward_part(self, dh: Array, dfinal: Any, cache: Any, needs_dx: bool) -> tuple[ArrayIfNeeded, Any]: ...


class Composite:
    """Several layers with the interface of one.

    layers   the layers, in order: a tuple, so that no layer is replaced without the constructor's checks
    params   the parameters of all layers, in their order
    grads    the gradients of all parameters, in the same order
    cache    what the last `forward` keeps for `backward`; None before the first

    needs_grads   whether all layers are trained; setting it sets that of each layer. `stack.layers[0].needs_grads =
                  False` is for one of them
    """

    _cache_type: type = object

    def __init__(self, layers: Sequence[Part]) -> None:
        if not isinstance(layers, Sequence):
            raise TypeError(f"layers is a {kind_of(layers)}: expected a list of recurrent layers, as in Stack([a, b])")
        for i, layer in enumerate(layers):
            if not hasattr(layer, "forward_part"):
                raise TypeError(f"layers[{i}] is a {kind_of(layer)}: expected a recurrent layer, such as an LSTM")
        self.layers = tuple(layers)
        if self.layers:
            self._check_alike()
        parts = [*self.layers, *self.grads]  # the gradients, to find layers in nested composites too
        if len({id(part) for part in parts}) < len(parts):
            raise ValueError("a layer is given twice: make another, or copy.deepcopy it")
        self.cache: Any = None

    def _check_alike(self) -> None:
        """Refuse layers of different dtypes, backends or devices.   Raises ValueError."""
        arrays = map(like_states, self.layers)
        first, *others = (f"{array.dtype} on {_place(array)}" for array in arrays)
        for i, other in enumerate(others, start=1):
            if other != first:
                raise ValueError(
                    f"layers[{i}] computes in {other}, but layers[0] in {first}: expected layers of one dtype on one "
                    "device; make them alike"
                )

    @property
    def params(self) -> list[Array]:
        return FixedList(param for layer in self.layers for param in layer.params)

    @property
    def grads(self) -> list[Array]:
        return FixedList(grad for layer in self.layers for grad in layer.grads)

    @property
    def named_params(self) -> dict[str, Array]:
        """The parameters by name, with the index of their layer in front: `0.Wx`."""
        return {f"{i}.{name}": p for i, layer in enumerate(self.layers) for name, p in layer.named_params.items()}

    @property
    def needs_grads(self) -> bool:
        return all(layer.needs_grads for layer in self.layers)

    @needs_grads.setter
    def needs_grads(self, needed: bool) -> None:
        for layer in self.layers:
            layer.needs_grads = needed

    @property
    def title(self) -> str:
        return type(self).__name__

    @property
    def updates(self) -> int:
        return max(layer.updates for layer in self.layers)

    def __repr__(self) -> str:
        return f"{self.title}({', '.join(map(repr, self.layers))})"

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: without the cache."""
        return vars(self) | {"cache": None}

    # ---- for users ----

    def forward(
        self, x: Array, states: States | None = None, *, lengths: Lengths | None = None
    ) -> tuple[Array, States]:
        """A sequence x (T, N, D) or one step (N, D) → h of the same rank, and the states after the last step.

        states    the initial states, such as those that an earlier call returned: a tuple for each layer; None for
                  zeros
        lengths   (N,) integers in [0, T]: past its length a row keeps its states, and x is not read there

        Keeps a cache for `backward`.
        """
        return self.forward_part(x, states, self._moved(lengths, x), training=True)

    def backward(
        self, dh: Array, dstates: States | None = None, *, cache: Any = None, needs_dx: bool = True
    ) -> tuple[ArrayIfNeeded, States]:
        """The gradients of the results of a `forward` → dx, and the gradients of its initial states.

        dstates    the gradients of the returned states; None for zeros
        cache      `layer.cache` as it was after an earlier forward; None for the last forward
        needs_dx   False if the gradient of x is not needed: dx is then None

        Overwrites `grads`. Raises RuntimeError if there was no `forward`.
        """
        return self.backward_part(dh, dstates, cache, check_bool("needs_dx", needs_dx))

    def __call__(
        self, x: Array, states: States | None = None, *, lengths: Lengths | None = None
    ) -> tuple[Array, States]:
        """Inference: the results of `forward` without dropout, and without a cache."""
        return self.forward_part(x, states, self._moved(lengths, x), training=False)

    def _moved(self, lengths: Lengths | None, x: Array) -> Array | None:
        """`lengths` on the layers' device, moved there once for all layers."""
        return None if lengths is None else self.checked_lengths(lengths, x)

    # ---- as a part of another composite ----

    def checked_lengths(self, lengths: Lengths, x: Array) -> Array:
        return self.layers[0].checked_lengths(lengths, x)

    def forward_part(self, x: Array, states: Any, lengths: Lengths | None, *, training: bool) -> tuple[Array, States]:
        raise NotImplementedError

    def backward_part(self, dh: Array, dfinal: Any, cache: Any, needs_dx: bool) -> tuple[ArrayIfNeeded, States]:
        raise NotImplementedError

    def _cached(self, cache: Any) -> Any:
        return given_or_last(cache, self.cache, self._cache_type, "x, states")

    def _each_state(self, name: str, states: Any) -> Iterator[Any]:
        """The states of each layer; None for each if `states` is None.   Raises ValueError for a wrong number."""
        if states is None:
            return iter([None] * len(self.layers))
        if not isinstance(states, tuple | list) or len(states) != len(self.layers):
            got = f"{len(states)} entries" if isinstance(states, tuple | list) else f"a {kind_of(states)}"
            raise ValueError(
                f"{name} has {got}: expected a tuple of {len(self.layers)}, one for each layer of this "
                f"{self.title}; pass the states that it returned"
            )
        return iter(states)


def _place(array: Array) -> str:
    """The backend and the device of an array."""
    return f"{backend_of(array).name}'s {array.device}"
