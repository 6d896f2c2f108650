"""The functions and methods the stand-in has, with CuPy 14's parameters.

An unknown name is an AttributeError, an unknown keyword a TypeError. `test_names.py` holds these against the real
package. To add a function, add a line.
"""

from __future__ import annotations

from typing import Final

# One kernel each: elementwise over arrays that exist, or a reduction.
KERNELS: Final = {
    "clip": "a, a_min, a_max, out=None",
    "concatenate": "tup, axis=0, out=None, *, dtype=None, casting='same_kind'",
    "copyto": "dst, src, casting='same_kind', where=None",
    "cumsum": "a, axis=None, dtype=None, out=None",
    "max": "a, axis=None, out=None, keepdims=False",
    "mean": "a, axis=None, dtype=None, out=None, keepdims=False",
    "min": "a, axis=None, out=None, keepdims=False",
    "stack": "tup, axis=0, out=None, *, dtype=None, casting='same_kind'",
    "sum": "a, axis=None, dtype=None, out=None, keepdims=False",
    "where": "condition, x=None, y=None",
}

# No kernel, unless the result can only be a copy.
VIEWS: Final = {
    "broadcast_to": "array, shape",
    "reshape": "a, newshape, order='C', *, copy=None",
    "transpose": "a, axes=None",
}

# New arrays, on the current device.
CREATION: Final = {
    "arange": "start, stop=None, step=1, dtype=None",
    "empty": "shape, dtype=float, order='C'",
    "empty_like": "prototype, dtype=None, order='K', subok=None, shape=None",
    "full": "shape, fill_value, dtype=None, order='C'",
    "ones": "shape, dtype=float, order='C'",
    "ones_like": "a, dtype=None, order='K', subok=None, shape=None",
    "zeros": "shape, dtype=float, order='C'",
    "zeros_like": "a, dtype=None, order='K', subok=None, shape=None",
}

UFUNCS: Final = (
    *("abs", "absolute", "add", "ceil", "cos", "divide", "equal", "exp", "expm1", "floor", "floor_divide", "greater"),
    *("greater_equal", "isfinite", "isinf", "isnan", "less", "less_equal", "log", "log1p", "logaddexp"),
    *(
        "logical_and",
        "logical_not",
        "logical_or",
        "maximum",
        "minimum",
        "multiply",
        "negative",
        "not_equal",
        "power",
        "reciprocal",
    ),
    *("remainder", "sign", "signbit", "sin", "sqrt", "square", "subtract", "tanh", "true_divide"),
)

DTYPES: Final = (
    *("bool_", "complex64", "complex128", "float16", "float32", "float64", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64"),
)

METHOD_KERNELS: Final = {
    "all": "axis=None, out=None, keepdims=False",
    "any": "axis=None, out=None, keepdims=False",
    "argmax": "axis=None, out=None, dtype=None, keepdims=False",
    "argmin": "axis=None, out=None, dtype=None, keepdims=False",
    "argsort": "axis=-1, kind=None",
    "clip": "min=None, max=None, out=None",
    "copy": "order='C'",
    "cumsum": "axis=None, dtype=None, out=None",
    "fill": "value",
    "flatten": "order='C'",
    "max": "axis=None, out=None, keepdims=False",
    "mean": "axis=None, dtype=None, out=None, keepdims=False",
    "min": "axis=None, out=None, keepdims=False",
    "prod": "axis=None, dtype=None, out=None, keepdims=None",
    "repeat": "repeats, axis=None",
    "sum": "axis=None, dtype=None, out=None, keepdims=False",
}

METHOD_VIEWS: Final = {
    "ravel": "order='C'",
    "reshape": "*shape, order='C', copy=None",
    "squeeze": "axis=None",
    "swapaxes": "axis1, axis2",
    "transpose": "*axes",
    "view": "dtype=None, type=None",
}
