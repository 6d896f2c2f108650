"""Checks of the operands of an operation. They only compare; a message is built after one has failed."""

from __future__ import annotations

from typing import Any

from xrnn.typing import Array


def check_float(name: str, array: Array) -> None:
    """Raise TypeError unless `array` has dtype float32 or float64."""
    if array.dtype.name not in ("float32", "float64"):
        raise TypeError(f"{name} has dtype {array.dtype}: expected float32 or float64")


def check_fits(name: str, array: Any, like: Array, shape: tuple[int, ...], others: str) -> None:
    """Raise TypeError unless `array` is None, or has `shape` and the type and dtype of `like`.

    others   the names of the operands that decide the shape, for the message
    """
    if array is None:
        return
    if not (type(array) is type(like) and array.dtype == like.dtype and array.shape == shape):
        raise TypeError(f"{name} does not fit {others} in type, dtype or shape")
