"""Running a NumPy function or ufunc on device arrays, as CuPy would run its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tests.standin._device import launch
from tests.standin._memory import DeviceMemory, device_arrays, host
from tests.standin.counting import count

_SCALARS = (bool, int, float, complex, np.generic)


def signature(parameters: str) -> inspect.Signature:
    """The signature written as in a `def`: `a, axis=None, *, dtype=None`."""
    return inspect.signature(eval(f"lambda {parameters}: None"))


def with_signature(parameters: str, call: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """A function of these parameters, whose arguments `call` gets as a tuple and a dictionary."""
    accepted = signature(parameters)

    def function(*args: Any, **kwargs: Any) -> Any:
        bound = accepted.bind(*args, **kwargs)
        return call(bound.args, bound.kwargs)

    function.__signature__ = accepted  # type: ignore[attr-defined]
    return function


def run(function: Any, event: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """`function` of NumPy on the memory of its arguments. `event` is what to count, or "views"."""
    arrays = [array for value in (*args, *kwargs.values()) for array in device_arrays(value)]
    if not arrays:
        raise TypeError(f"{function.__name__} got no device array, but {[type(arg).__name__ for arg in args]}")
    if not isinstance(out := kwargs.get("out"), (DeviceMemory, type(None))):
        raise TypeError(f"return arrays must be of ArrayType, not {type(out)}")
    if event != "views":
        launch(event, *(array.device for array in arrays))
    if event == "products":
        # It first copies each matrix that is contiguous in neither order: `gemm` takes a leading dimension.
        for flags in (operand._host.flags for operand in args if operand._host.ndim == 2):
            if not (flags.c_contiguous or flags.f_contiguous):
                count("operand_copies")
    with np.errstate(all="ignore"):  # a GPU reports neither overflow nor division by zero
        result = function(*host(tuple(args)), **host(dict(kwargs)))
    if event == "views" and not np.shares_memory(result, arrays[0]._host) and result.size:
        launch("kernels", *(array.device for array in arrays))  # it had to copy
    return _wrap(result, arrays)


def call_ufunc(ufunc: np.ufunc, *inputs: Any, out: Any = None, dtype: Any = None, casting: Any = "same_kind") -> Any:
    """One elementwise kernel, or one product. CuPy's ufuncs take no other keywords: no `where`, no `order`."""
    for value in inputs:
        if not isinstance(value, (DeviceMemory, *_SCALARS)):
            raise TypeError(f"Unsupported type {type(value)}")
    (out,) = out if isinstance(out, tuple) else (out,)
    if ufunc is np.matmul and isinstance(out, DeviceMemory) and not out._host.flags.c_contiguous:
        raise ValueError("Output array must be C-contiguous")
    event = "products" if ufunc is np.matmul else "kernels"
    return run(ufunc, event, inputs, {"out": out, "dtype": dtype, "casting": casting})


def _wrap(result: Any, arrays: list[DeviceMemory]) -> Any:
    if result is None:
        return None
    if isinstance(result, tuple):
        return tuple(_wrap(item, arrays) for item in result)
    for array in arrays:
        if result is array._host:  # what was given as `out`
            return array
    return type(arrays[0])._of(result, arrays[0].device)
