"""Indices: what CuPy takes between the brackets."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.standin._memory import DeviceMemory
from tests.standin.counting import wait


def host_index(array: DeviceMemory, key: Any) -> tuple[tuple[Any, ...], bool]:
    """`key` for the host array, and whether it holds index arrays, so that reading makes a copy in a kernel.

    The host waits for how many True a mask has, in reading and in assigning. An index array is not checked but
    wraps around, as in CuPy.
    """
    keys = [_host_key(k) for k in (key if isinstance(key, tuple) else (key,))]
    if not any(k is Ellipsis for k in keys):
        keys.append(Ellipsis)  # so that a single element stays a 0-d view
    ndim = array._host.ndim
    skipped = ndim - sum(_axes(k) for k in keys)
    axis, advanced = 0, False
    for i, k in enumerate(keys):
        if isinstance(k, np.ndarray):
            advanced = True
            if k.dtype == bool:
                wait("waits", "a boolean mask as index")
            elif k.dtype.kind in "iu" and axis < ndim:
                keys[i] = k % max(array._host.shape[axis], 1)
        axis += skipped if k is Ellipsis else _axes(k)
    return tuple(keys), advanced


def _host_key(key: Any) -> Any:
    if isinstance(key, DeviceMemory):
        return key._host
    if isinstance(key, list):
        wait("host_to_device", "a list as index")
        return np.asarray(key)
    if isinstance(key, (slice, int, np.integer)) or key is None or key is Ellipsis:
        return key
    raise TypeError(f"Unsupported type {type(key)} as an index")


def _axes(key: Any) -> int:
    """How many axes of the array `key` takes up."""
    if key is None or key is Ellipsis:
        return 0
    return key.ndim if isinstance(key, np.ndarray) and key.dtype == bool else 1
