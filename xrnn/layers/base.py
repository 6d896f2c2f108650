"""What every layer shares: parameters by name, gradients that stay where they are."""

from __future__ import annotations

from typing import Any, ClassVar

from xrnn.backend import Backend
from xrnn.ops.rnn import Array
from xrnn.select import backend_of


class Layer:
    """Parameters and their gradients, on the backend of the parameters.

    params   the arrays, in the order of `names`; update them in place
    grads    their gradients, overwritten in place by every `backward`: the same arrays at the same addresses
    """

    names: ClassVar[tuple[str, ...]] = ()
    params: list[Array]
    grads: list[Array]

    def __init__(self, *params: Array) -> None:
        self.params = list(params)
        self.backend: Backend = _common_backend(self, params)
        self.grads = [self.backend.xp.zeros(p.shape, p.dtype) for p in params]

    @property
    def named_params(self) -> dict[str, Array]:
        """The parameters by name."""
        return dict(zip(self.names, self.params, strict=True))

    def _check(self, name: str, array: Any, shape: tuple[int | str, ...]) -> None:
        """Refuse an array that is not this layer's kind: backend, device, dtype, rank, sizes.

        `shape` gives each axis as its size, or as a letter where any size will do.
        """
        owner = type(self).__name__
        if not self.backend.owns(array):
            raise TypeError(
                f"{name} is a {type(array).__module__}.{type(array).__qualname__}, but this {owner} lives on the "
                f"{self.backend.name} backend: move it with xrnn.asarray({name}, backend={self.backend.name!r}), or "
                f"set XRNN_BACKEND=numpy to keep everything on the CPU"
            )
        reference = self.params[0]
        if array.dtype != reference.dtype:
            raise TypeError(
                f"{name} has dtype {array.dtype}, but this {owner} computes in {reference.dtype}: "
                f"use {name}.astype({str(reference.dtype)!r})"
            )
        if array.device != reference.device:
            raise ValueError(
                f"{name} is on device {array.device}, but this {owner} is on {reference.device}: "
                f"create both under the same cupy.cuda.Device"
            )
        fits = len(array.shape) == len(shape) and all(
            isinstance(want, str) or want == got for want, got in zip(shape, array.shape, strict=True)
        )
        if not fits:
            raise ValueError(f"{name} has shape {array.shape}, but this {owner} expects {_show(shape)}")


def _show(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def _common_backend(layer: Layer, params: tuple[Array, ...]) -> Backend:
    owner = type(layer).__name__
    first, *rest = zip(layer.names, params, strict=True)
    backend = backend_of(first[1], first[0])
    dtype = first[1].dtype
    if dtype.name not in ("float32", "float64"):
        raise TypeError(
            f"{first[0]} has dtype {dtype}, but {owner} computes in float32 or float64: "
            f"use {first[0]}.astype('float32')"
        )
    for name, array in rest:
        if not backend.owns(array):
            raise TypeError(
                f"{name} is a {type(array).__module__}.{type(array).__qualname__}, but {first[0]} is on the "
                f"{backend.name} backend: use xrnn.asarray({name}, backend={backend.name!r})"
            )
        if array.dtype != dtype:
            raise TypeError(
                f"{name} has dtype {array.dtype}, but {first[0]} has {dtype}: use {name}.astype({str(dtype)!r})"
            )
        if array.device != first[1].device:
            raise ValueError(
                f"{name} is on device {array.device}, but {first[0]} is on {first[1].device}: "
                "create both under the same cupy.cuda.Device"
            )
    return backend
