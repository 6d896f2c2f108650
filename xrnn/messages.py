"""Words of error messages: the type of a value, and the remedy for an array of the wrong dtype."""

from __future__ import annotations

from typing import Any, Final

_CONVERTED: Final = ("rnn.RNNBase", "linear.Linear", "sparse.Embedding")  # by xrnn.from_torch


def kind_of(value: object) -> str:
    """The type of `value` for an error message: `list`, `numpy.ndarray`; for PyTorch's modules with the remedy."""
    name = full_name(type(value))
    bases = _bases(value)
    if "torch.nn.modules.module.Module" not in bases:
        return name
    return f"{name} (convert {'its parts' if is_torch_network(value) else 'it'} by xrnn.from_torch)"


def is_torch_network(value: object) -> bool:
    """Whether `value` is a module of PyTorch of which only the parts can be converted."""
    bases = _bases(value)
    converted = any(f"torch.nn.modules.{name}" in bases for name in _CONVERTED)
    return "torch.nn.modules.module.Module" in bases and not converted


def _bases(value: object) -> list[str]:
    return [full_name(base) for base in type(value).__mro__]


def full_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def cast_hint(name: str, array: Any, dtype: str) -> str:
    """The remedy for an array of another dtype. A cast of complex numbers would drop their imaginary part."""
    if array.dtype.kind == "c":
        return f"use {name}.real and {name}.imag"
    return f"use {name}.astype({dtype!r})"
