"""Arrays of other libraries, by DLPack: taken over without a copy where their memory is the backend's own kind.

DLPack is the protocol by which array libraries hand each other memory: `__dlpack_device__` says where it lies,
`__dlpack__` hands it over   (https://dmlc.github.io/dlpack/latest/python_spec.html).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from xrnn.backend import Backend

_HOST: Final = (1, 3)  # kDLCPU, kDLCUDAHost: memory that NumPy reads
# Methods of PyTorch's tensors whose values are not those in their memory. It exports them without a word.
_NOT_IN_MEMORY: Final = ("is_neg", "_is_zerotensor")


def exports(array: Any) -> bool:
    """Whether `array` is another library's and can be taken over."""
    return hasattr(type(array), "__dlpack_device__") and not isinstance(array, np.ndarray | np.generic)


def take_over(array: Any, kind: str, backend: Backend) -> Any:
    """The backend's array on the memory of `array`; NumPy's, still to be moved, where that is the host's.

    kind   what an error calls its type

    It is read-only where `array` is. Raises TypeError for one that must not be shared or is of a dtype that is unknown
    there, ValueError for one on a device that the backend doesn't reach.
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
            return backend.xp.from_dlpack(array)
        if where in _HOST:
            return np.from_dlpack(array)
    except Exception as error:  # of whatever kind: it is the other library's
        what = f" of dtype {array.dtype}" if hasattr(array, "dtype") else ""
        raise TypeError(
            f"array is a {kind}{what} that can't be taken over ({_first_line(error)}): expected a dense array of a "
            "dtype that NumPy has, on the CPU or on the backend's device; convert or copy it with its own library first"
        ) from error
    raise ValueError(
        f"array is a {kind} on {getattr(array, 'device', f'the DLPack device {where}')}: expected one on the CPU, or "
        f"where the arrays of the {backend.name} backend lie; copy it to the CPU with its own library first"
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
