"""Words of error messages: the type of a value, and the remedy for an array of the wrong dtype."""

from __future__ import annotations

from typing import Any


def kind_of(value: object) -> str:
    """The type of `value` for an error message: `list`, `numpy.ndarray`; for PyTorch's modules with the remedy."""
    name = full_name(type(value))
    is_module = any(full_name(base) == "torch.nn.modules.module.Module" for base in type(value).__mro__)
    return f"{name} (convert it by xrnn.from_torch)" if is_module else name


def full_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def cast_hint(name: str, array: Any, dtype: str) -> str:
    """The remedy for an array of another dtype. A cast of complex numbers would drop their imaginary part."""
    if array.dtype.kind == "c":
        return f"use {name}.real and {name}.imag"
    return f"use {name}.astype({dtype!r})"
