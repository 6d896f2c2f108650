"""What every layer shares: parameters by name, gradients that stay where they are, and the check at the door."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from xrnn.backend import Backend
from xrnn.checks import check_float, check_place, dtype_of
from xrnn.typing import Array


class Layer:
    """Parameters and their gradients, on the backend of the parameters.

    params   the arrays, in the order of `names`; update them in place
    grads    their gradients, overwritten in place by every `backward`: the same arrays at the same addresses
    """

    names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *params: Array) -> None:
        first = params[0]
        self.backend: Backend = check_float(self.names[0], first)
        self._array_type, self._dtype, self._device = type(first), first.dtype, first.device
        self._on_host = self._device == "cpu"  # there is one host: nothing to compare at each call
        for name, param in zip(self.names, params, strict=True):
            if not self._is_ours(param):
                self._refuse(name, param)
        self.params: list[Array] = list(params)
        with self.backend.device_of(first):
            self.grads: list[Array] = [self.backend.xp.zeros(p.shape, p.dtype) for p in params]

    @property
    def named_params(self) -> dict[str, Array]:
        """The parameters by name."""
        return dict(zip(self.names, self.params, strict=True))

    # The tests below run at every call, so they only compare; words are sought once a test has failed.

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
            self._refuse(name, array, _show(shape), remedy)

    def _refuse(self, name: str, array: Any, expected: str = "", remedy: str = "") -> NoReturn:
        """Say in one line what `array` is, what was expected, and the remedy; the last two are for a wrong shape.

        Raises TypeError for a wrong type or dtype, ValueError for a wrong device or shape.
        """
        this = f"this {type(self).__name__}"
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


def _show(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
