"""What every layer shares: parameters by name, gradients that stay where they are, and the check at the door."""

from __future__ import annotations

from typing import Any, NoReturn

from xrnn.backend import Backend
from xrnn.checks import check_float, check_place, dtype_of
from xrnn.select import backend_of, kind_of
from xrnn.typing import Array


class Layer:
    """Parameters and their gradients, on the backend of the parameters.

    params   the arrays, in the order of `names`; update them in place
    grads    their gradients, overwritten in place by every `backward`: the same arrays at the same addresses
    """

    names: tuple[str, ...] = ()
    updates: int = 0  # how often an optimizer has updated the parameters
    cache: Any = None
    _cache_type: type = object
    _forward_arguments: str = "x"  # for an error

    def __init__(self, *params: Array) -> None:
        first = params[0]
        check_float(self.names[0], first)
        self._take_place(first)
        for name, param in zip(self.names, params, strict=True):
            if not self._is_ours(param):
                self._refuse(name, param)
        self.params: list[Array] = list(params)
        with self.backend.device_of(first):
            self.grads: list[Array] = [self.backend.xp.zeros(p.shape, p.dtype) for p in params]

    def _take_place(self, first: Array) -> None:
        """Compute where `first`, a parameter, lies."""
        self.backend: Backend = backend_of(first)
        self._array_type, self._dtype, self._device = type(first), first.dtype, first.device
        self._on_host = self._device == "cpu"  # there is one host: nothing to compare at each call

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: without the cache, and without what belongs to this process."""
        here = {"backend", "_array_type", "_dtype", "_device", "_on_host"}
        return {name: value for name, value in vars(self).items() if name not in here} | {"cache": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._take_place(self.params[0])

    @property
    def title(self) -> str:
        """What an error calls this layer."""
        return type(self).__name__

    @property
    def options(self) -> dict[str, Any]:
        """What the constructor takes by name: `type(layer)(*layer.params, **layer.options)` makes a layer alike."""
        return {}

    @property
    def named_params(self) -> dict[str, Array]:
        """The parameters by name."""
        return dict(zip(self.names, self.params, strict=True))

    # The checks below run at every call, so they only compare. The message is built after a check has failed.

    def _is_ours(self, array: Any) -> bool:
        """Whether `array` has this layer's type (no subclass), dtype and device."""
        return (
            type(array) is self._array_type
            and (array.dtype is self._dtype or array.dtype == self._dtype)
            and (self._on_host or array.device == self._device)
        )

    def _check(self, name: str, array: Any, shape: tuple[int | str, ...], remedy: str) -> None:
        """Refuse an array that is not this layer's kind or not of `shape`: sizes, or letters where any size fits."""
        if not (self._is_ours(array) and (array.shape == shape or _fits(array.shape, shape))):
            self._refuse(name, array, show_shape(shape), remedy)

    def _cached(self, cache: Any) -> Any:
        return given_or_last(cache, self.cache, self._cache_type, self._forward_arguments)

    def _refuse_changed(self, updates: int) -> NoReturn:
        """Say that a backward's forward ran with other weights: updated ones, if `updates` counts fewer updates."""
        how = "updated" if updates != self.updates else "replaced"
        raise RuntimeError(
            f"the weights of this {self.title} have been {how} since that forward: expected the weights it ran with; "
            "call backward before the update, or forward again"
        )

    def _refuse(self, name: str, array: Any, expected: str = "", remedy: str = "") -> NoReturn:
        """Say in one line what `array` is, what was expected, and the remedy; the last two are for a wrong shape.

        Raises TypeError for a wrong type or dtype, ValueError for a wrong device or shape.
        """
        this = f"this {self.title}"
        check_place(name, array, self.backend, self._device, this)
        if array.dtype != self._dtype:
            raise TypeError(
                f"{name} has {dtype_of(array)}, but {this} computes in {self._dtype}: "
                f"use {name}.astype({self._dtype.name!r})"
            )
        raise ValueError(f"{name} has shape {array.shape}, but {this} expects {expected}: {remedy}")


def _fits(shape: tuple[int, ...], expected: tuple[int | str, ...]) -> bool:
    return len(shape) == len(expected) and all(
        isinstance(want, str) or want == got for want, got in zip(expected, shape, strict=True)
    )


def show_shape(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def given_or_last(cache: Any, last: Any, kind: type, arguments: str) -> Any:
    """The cache that `backward` works with. Raises RuntimeError where there was no forward, TypeError for no cache."""
    cache = last if cache is None else cache
    if cache is None:
        raise RuntimeError(f"backward needs a forward before it: call forward({arguments}) first")
    if not isinstance(cache, kind):
        raise TypeError(f"cache is a {kind_of(cache)}: expected this layer's own; take layer.cache after the forward")
    return cache
