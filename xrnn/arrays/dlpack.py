"""Arrays of other libraries by DLPack, without a copy if the backend can use their memory.

DLPack is a protocol between array libraries: `__dlpack_device__` tells the device of an array's memory, `__dlpack__`
exports the memory   (https://dmlc.github.io/dlpack/latest/python_spec.html).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from xrnn.backend import Backend

_HOST: Final = (1, 3)  # kDLCPU, kDLCUDAHost: memory that NumPy reads
# If one of these methods of a PyTorch tensor returns True, its memory does not hold its values. PyTorch exports such
# tensors without an error.
_NOT_IN_MEMORY: Final = ("is_neg", "_is_zerotensor")


def exports(array: Any) -> bool:
    """Whether `array` is of another library and has DLPack."""
    return hasattr(type(array), "__dlpack_device__") and not isinstance(array, np.ndarray | np.generic)


def take_over(array: Any, kind: str, backend: Backend) -> Any:
    """An array of the backend that shares the memory of `array`, or a NumPy array if that is host memory.

    kind   the type of `array` for errors

    The result is read-only if `array` is. Raises TypeError if the memory must not be shared or the dtype is unknown,
    ValueError for a device that the backend can't reach.
    """
    if getattr(array, "requires_grad", False):
        raise TypeError(
            f"array is a {kind} that requires grad: expected values alone; use xrnn.asarray(x.detach()), or the "
            "modules of xrnn.torch, through which PyTorch's gradients pass"
        )
    if any(getattr(array, asks, bool)() for asks in _NOT_IN_MEMORY):
        raise TypeError(
            f"array is a {kind} that computes its values when it is read: expected values in memory; use "
            "xrnn.asarray(x.clone())"
        )
    try:
        where = int(array.__dlpack_device__()[0])
        if where in backend.dlpack_devices:
            return _checked(backend.xp.from_dlpack(array))
        if where in _HOST:
            return _checked(np.from_dlpack(array))
    except Exception as error:  # each library raises its own types
        what = f" of dtype {array.dtype}" if hasattr(array, "dtype") else ""
        raise TypeError(
            f"array is a {kind}{what} that can't be taken over ({_first_line(error)}): expected a dense array of a "
            "dtype that NumPy has, on the CPU or on the backend's device; convert or copy it with its own library first"
        ) from error
    raise ValueError(
        f"array is a {kind} on {getattr(array, 'device', f'the DLPack device {where}')}: expected one on the CPU or "
        f"on a device of the {backend.name} backend; copy it to the CPU with its own library first"
    )


def _checked(array: Any) -> Any:
    """`array`, unless its dtype is a package's: NumPy 2.5 takes bfloat16 over if ml_dtypes is imported."""
    if array.dtype.kind == "V":
        raise BufferError("Unsupported dtype")
    return array


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
