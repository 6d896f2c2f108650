"""What every layer shares: parameters by name, gradients at fixed addresses, and the checks of its arguments."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NoReturn, Self

import numpy as np

from xrnn.arrays.select import backend_of, refuse_fallback
from xrnn.backend import Backend
from xrnn.checks import check_bool, check_float, check_place, dtype_of, is_read_only
from xrnn.messages import cast_hint, kind_of
from xrnn.sharing import users_of
from xrnn.typing import Array
from xrnn.weight_checks import count_changed, weight_checks


def unchangeable(array: Array) -> Array:
    """A copy of `array` that cannot change, if its backend has such arrays.

    The copy of a NumPy array lies in the memory of a `bytes` object: NumPy never makes such an array writable.
    """
    if type(array) is not np.ndarray:
        return array.copy()
    order: Any = "F" if array.flags.fnc else "C"
    return np.frombuffer(array.tobytes(order), array.dtype).reshape(array.shape, order=order)


class ByName:
    """A parameter as an attribute: `linear.W`. It is updated in place, because optimizers hold the same array."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, layer: Layer | None, owner: type | None = None) -> Any:
        if layer is None:
            return self
        if self._name not in layer.names:
            raise AttributeError(f"this {layer.title} has no parameter {self._name}")
        return layer.named_params[self._name]

    def __set__(self, layer: Layer, value: Any) -> None:
        param = layer.named_params[self._name]
        if value is param:  # `linear.W -= dW` assigns the same array
            return
        this = f"{self._name} of this {layer.title}"
        if is_read_only(param):
            raise AttributeError(
                f"{this} can't be changed: expected changes of the layer that it was made from; then make it again"
            )
        raise AttributeError(
            f"{this} can't be replaced: expected an update in place, because optimizers hold the same array; use "
            f"layer.{self._name}[...] = …"
        )


class Layer:
    """Parameters and their gradients, on the backend of the parameters.

    params    the arrays, in the order of `names`; update them in place
    grads     their gradients: `backward` overwrites these arrays in place, their addresses never change
    updates   counts the updates of these arrays by optimizers, through this layer or another one

    needs_grads   False for a layer that is not trained: `backward` then computes dx only, which the layers below need.
                  Setting it to False sets `grads` to 0. Leave such a layer out of the optimizer

    Each parameter is an attribute as well: `linear.W`.
    """

    names: tuple[str, ...] = ()
    updates: int = 0
    cache: Any = None
    input_size: Any
    output_size: Any
    _cache_type: type = object
    _forward_arguments: str = "x"  # for an error
    _reference: int = 0  # the index of the parameter that decides the backend, dtype and device
    _needs_grads: bool = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name in vars(cls).get("names", ()):
            setattr(cls, name, ByName(name))

    def __init__(self, *params: Array) -> None:
        check_float(self.names[self._reference], params[self._reference])
        refuse_fallback(params[self._reference])
        self.params: list[Array] = list(params)
        self._bind_to(params[self._reference])
        self._check_kinds()
        self._register()
        self._make_grads()

    def _make_grads(self) -> None:
        with self.backend.device_of(self.params[0]):
            self.grads: list[Array] = [self.backend.zeros(p.shape, p.dtype) for p in self.params]

    def _bind_to(self, first: Array) -> None:
        """Use the backend, dtype and device of `first`."""
        self.backend: Backend = backend_of(first)
        self._array_type = type(first)
        self._dtype = first.dtype
        self._device = first.device
        self._single_device = self.backend.single_device

    def _check_kinds(self) -> None:
        for name, param in zip(self.names, self.params, strict=True):
            if not self._is_ours(param):
                self._refuse(name, param)

    def _register(self) -> None:
        """Register this layer with its parameters, so that each update of one is counted in `updates`."""
        self._registered = tuple(self.params)
        self._users = [users_of(param) for param in self.params]
        for users in self._users:
            users.add(self)

    @property
    def is_frozen(self) -> bool:
        """True if the parameters are read-only, as `freeze` makes them with NumPy."""
        return is_read_only(self.params[0])

    def freeze_params(self) -> None:
        """Replace the parameters by copies that cannot change, if the backend has such arrays: for `freeze`.

        Raises TypeError or ValueError for replaced parameters that do not fit.
        """
        self._accept_replaced()
        with self.backend.device_of(self.params[0]):
            self.params = [unchangeable(param) for param in self.params]
        self._make_grads()  # in place of copies: the system gives new zeros memory only when they are written
        self._register()

    def _accept_replaced(self) -> None:
        """Check parameters that were replaced in `params` since the last call.   Raises TypeError, ValueError."""
        self._check_kinds()
        for name, param, grad in zip(self.names, self.params, self.grads, strict=True):
            if param.shape != grad.shape:
                self._refuse(name, param, f"{grad.shape}", f"{name} was replaced; make another layer for other sizes")
        self._register()

    def __repr__(self) -> str:
        count = sum(param.size for param in self.params)
        title = f"frozen {self.title}" if self.is_frozen else self.title
        return (
            f"{title}({self.input_size} → {self.output_size}, {count:,} parameters, "
            f"{self.params[0].dtype.name}, {self.backend.name})"
        )

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: without the cache and the references to backend and device."""
        here = {"backend", "_array_type", "_dtype", "_device", "_single_device", "_users", "_registered"}
        return {name: value for name, value in vars(self).items() if name not in here} | {"cache": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """The usual copy, with its arrays in the memory of `Backend.zeros`, except those that are not in C order."""
        for array in (*self.params, *self.grads):
            if id(array) not in memo and array.flags.c_contiguous:  # in memo: the copy of an array that others share
                with self.backend.device_of(array):
                    memo[id(array)] = self.backend.parameter(array)
        made = memo[id(self)] = type(self).__new__(type(self))
        made.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return made

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        # Also of joblib's memory maps, which are arrays of another class.
        self.params = [np.array(param) if is_read_only(param) else param for param in self.params]
        self._bind_to(self.params[self._reference])
        self._register()

    @property
    def title(self) -> str:
        """The layer's name in error messages."""
        return type(self).__name__

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's options: `type(layer)(*layer.params, **layer.options)` makes an equal layer."""
        return {}

    @property
    def named_params(self) -> dict[str, Array]:
        """The parameters by name."""
        return dict(zip(self.names, self.params, strict=True))

    @property
    def needs_grads(self) -> bool:
        return self._needs_grads

    @needs_grads.setter
    def needs_grads(self, needed: bool) -> None:
        self._needs_grads = check_bool("needs_grads", needed)
        if not needed:
            for g in self.grads:
                with self.backend.device_of(g):
                    g[...] = 0

    # These checks only compare; the message is built after one has failed. Recurrent layers whose arrays have one
    # device call them only after the operation has refused its operands, to name the wrong one.

    def _is_ours(self, array: Any) -> bool:
        """Whether `array` has this layer's type (no subclass), dtype and device."""
        return (
            type(array) is self._array_type
            and (array.dtype is self._dtype or array.dtype == self._dtype)
            and (self._single_device or array.device == self._device)
        )

    def _check(self, name: str, array: Any, shape: tuple[int | str, ...], remedy: str) -> None:
        """Refuse an array of another type, dtype, device or shape. A letter in `shape` allows any size."""
        if not (self._is_ours(array) and (array.shape == shape or _fits(array.shape, shape))):
            self._refuse(name, array, show_shape(shape), remedy)

    def _check_shape(self, name: str, array: Array, shape: tuple[int | str, ...], remedy: str) -> None:
        if not _fits(array.shape, shape):
            self._refuse_shape(name, array, show_shape(shape), remedy)

    def _cached(self, cache: Any) -> Any:
        return given_or_last(cache, self.cache, self._cache_type, self._forward_arguments)

    def _weights_for_checks(self) -> Sequence[Array] | None:
        """Copies of the weights for `_check_unchanged`; None without `use_weight_checks`."""
        if not weight_checks().enabled:
            return None
        with self.backend.device_of(self.params[0]):
            return [param.copy() for param in self.params]

    def _check_unchanged(self, weights: Sequence[Array]) -> None:
        """Raise RuntimeError if a parameter differs from its copy in `weights`, which the forward made."""
        for name, before, now in zip(self.names, weights, self.params, strict=True):
            with self.backend.device_of(now):
                changed = count_changed(before, now)
            if changed:
                raise RuntimeError(
                    f"{name} of this {self!r} has changed in {changed:,} of {now.size:,} values since that forward: "
                    "expected the weights it ran with; call backward before the change, or forward again"
                )

    def _refuse_changed(self, updates: int) -> NoReturn:
        """Report that the weights changed between a forward and its backward. `updates` is the count at the forward."""
        how = "updated" if updates != self.updates else "replaced"
        raise RuntimeError(
            f"the weights of this {self.title} have been {how} since that forward: expected the weights it ran with; "
            "call backward before the update, or forward again"
        )

    def _refuse(self, name: str, array: Any, expected: str = "", remedy: str = "") -> NoReturn:
        """Raise TypeError for a wrong type or dtype, ValueError for a wrong device or shape.

        `expected` and `remedy` are about the shape.
        """
        this = f"this {self.title}"
        check_place(name, array, self.backend, self._device, this)
        if array.dtype != self._dtype:
            raise TypeError(
                f"{name} has {dtype_of(array)}, but {this} computes in {self._dtype}: "
                f"{cast_hint(name, array, self._dtype.name)}"
            )
        self._refuse_shape(name, array, expected, remedy)

    def _refuse_shape(self, name: str, array: Array, expected: str, remedy: str) -> NoReturn:
        raise ValueError(f"{name} has shape {array.shape}, but this {self.title} expects {expected}: {remedy}")


def _fits(shape: tuple[int, ...], expected: tuple[int | str, ...]) -> bool:
    return len(shape) == len(expected) and all(
        isinstance(want, str) or want == got for want, got in zip(expected, shape, strict=True)
    )


def show_shape(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def given_or_last(cache: Any, last: Any, kind: type, arguments: str) -> Any:
    """The cache for `backward`: the given one, else the last forward's.

    Raises RuntimeError if there was no forward, TypeError for another object.
    """
    cache = last if cache is None else cache
    if cache is None:
        raise RuntimeError(f"backward needs a forward before it: call forward({arguments}) first")
    if not isinstance(cache, kind):
        raise TypeError(f"cache is a {kind_of(cache)}: expected this layer's own; take layer.cache after the forward")
    return cache


def like_states(layer: Any) -> Array:
    """An array with the dtype and the device of the layer's states: its last parameter, which is never int8."""
    return [*layer.named_params.values()][-1]
