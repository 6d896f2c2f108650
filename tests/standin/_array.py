"""The device array: NumPy's arithmetic behind CuPy's refusals."""

from __future__ import annotations

import operator
from functools import partial
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from tests.standin._calls import call_ufunc, run, with_signature
from tests.standin._device import current_device, launch
from tests.standin._index import host_index
from tests.standin._memory import DeviceMemory
from tests.standin._signatures import METHOD_KERNELS, METHOD_VIEWS
from tests.standin.counting import wait


class ndarray(DeviceMemory, NDArrayOperatorsMixin):
    """An array in the memory of a pretend device. The operators come from the mixin by way of `__array_ufunc__`."""

    __hash__ = None  # type: ignore[assignment]
    __array_priority__ = 100
    __imatmul__ = None  # type: ignore[assignment]  # CuPy has none: `a @= b` would bind a new array, not write into the old one

    def __init__(self, shape: Any, dtype: Any = float, memptr: Any = None, strides: Any = None, order: str = "C"):
        if memptr is not None or strides is not None:
            raise NotImplementedError("the stand-in makes no array from a pointer")
        self._host = np.empty(shape, dtype, order)  # type: ignore[call-overload]
        self.device = current_device()

    # ---- facts that cost nothing ----

    shape, strides, dtype, ndim, size, itemsize, nbytes = (
        property(operator.attrgetter(f"_host.{name}"))
        for name in ("shape", "strides", "dtype", "ndim", "size", "itemsize", "nbytes")
    )

    @property
    def flags(self) -> SimpleNamespace:
        flags = self._host.flags
        return SimpleNamespace(c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous, owndata=flags.owndata)

    @property
    def data(self) -> SimpleNamespace:
        return SimpleNamespace(ptr=self._host.ctypes.data, device=self.device)

    @property
    def T(self) -> Self:
        return self._of(self._host.T, self.device)

    def __len__(self) -> int:
        return len(self._host)

    # ---- NumPy's protocols ----

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device.id

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: Any = None
    ) -> Self:
        return self[...]  # in place of a capsule: another array on the same memory

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__":
            raise TypeError(f"the stand-in has no {ufunc.__name__}.{method}")
        return call_ufunc(ufunc, *inputs, **kwargs)

    # ---- indexing ----

    def __getitem__(self, key: Any) -> Self:
        index, advanced = host_index(self, key)
        if advanced:
            launch("kernels", self.device)
        return self._of(self._host[index], self.device)

    def __setitem__(self, key: Any, value: Any) -> None:
        index, advanced = host_index(self, key)
        if isinstance(value, ndarray):
            if not advanced and _same_memory(self._host[index], value._host):
                return  # what `a[0] += 1` assigns in the end: CuPy skips it as well
            launch("kernels", self.device, value.device)
            self._host[index] = value._host
        elif isinstance(value, (bool, int, float, complex, np.generic)):
            if advanced:
                wait("host_to_device", "a number assigned through an index array")
            launch("kernels", self.device)
            self._host[index] = value
        else:
            raise TypeError(f"Unsupported type {type(value)}")

    # ---- reads: the host waits ----

    def __float__(self) -> float:
        wait("waits", "float()")
        return float(self._only())

    def __int__(self) -> int:
        wait("waits", "int()")
        return int(self._only())

    def __bool__(self) -> bool:
        wait("waits", "bool()")
        return bool(self._host)

    def _only(self) -> Any:
        if self.size != 1:
            raise TypeError("only length-1 arrays can be converted to Python scalars")
        return self._host.reshape(())

    def item(self) -> Any:
        wait("waits", "item()")
        return self._host.item()

    # ---- transfers ----

    def get(self, stream: Any = None, order: Any = "C", out: Any = None, blocking: bool = True) -> Any:
        wait("device_to_host", "get()")
        if out is None:
            return self._host.copy(order)
        if not isinstance(out, np.ndarray):
            raise TypeError("Only numpy.ndarray can be obtained from cupy.ndarray")
        out[...] = self._host
        return out

    def set(self, arr: Any, stream: Any = None) -> None:
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype or arr.shape != self.shape:
            raise ValueError(f"{arr.dtype} {arr.shape} can't be set to {self.dtype} {self.shape}")
        wait("host_to_device", "set()")
        self._host[...] = arr

    # ---- copies: a deep one stays on the device, a pickle goes by way of the host ----

    def __deepcopy__(self, memo: Any) -> Self:
        launch("kernels", self.device)
        return self._of(self._host.copy(), self.device)

    def __reduce__(self) -> Any:
        return _from_host, (self.get(),)

    # ---- methods with more than a table line to them ----

    def astype(
        self, dtype: Any, order: Any = "K", casting: Any = None, subok: bool | None = None, copy: bool = True
    ) -> Self:
        if not copy and np.dtype(dtype) == self.dtype:
            return self
        launch("kernels", self.device)
        with np.errstate(all="ignore"):
            return self._of(self._host.astype(dtype, order, casting or "unsafe"), self.device)

    def dot(self, b: Any, out: Any = None) -> Any:
        return run(np.dot, "products", (self, b), {} if out is None else {"out": out})


def _from_host(values: Any) -> ndarray:
    """What a pickle becomes, on the current device."""
    wait("host_to_device", "an array from a pickle")
    return ndarray._of(values)


def _same_memory(a: Any, b: Any) -> bool:
    return (a.ctypes.data, a.shape, a.strides) == (b.ctypes.data, b.shape, b.strides)


# So that messages which name the type are the same here and on a GPU.
ndarray.__module__ = "cupy"


for _table, _event in ((METHOD_KERNELS, "kernels"), (METHOD_VIEWS, "views")):
    for _name, _parameters in _table.items():
        setattr(
            ndarray, _name, with_signature(f"self, {_parameters}", partial(run, getattr(np.ndarray, _name), _event))
        )
