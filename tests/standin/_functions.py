"""The functions of the namespace: built from the tables of signatures, or written here where CuPy is special."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.standin._array import ndarray
from tests.standin._calls import call_ufunc, run, with_signature
from tests.standin._device import launch
from tests.standin._memory import device_arrays, host
from tests.standin._signatures import CREATION, DTYPES, KERNELS, UFUNCS, VIEWS
from tests.standin.counting import wait


def array(
    obj: Any,
    dtype: Any = None,
    copy: bool = True,
    order: Any = "K",
    subok: bool = False,
    ndmin: int = 0,
    *,
    blocking: bool = False,
) -> ndarray:
    if isinstance(obj, ndarray):
        return obj.astype(dtype or obj.dtype, order, copy=copy)
    if device_arrays(obj):
        raise TypeError("the stand-in makes no array from a list of device arrays: use stack")
    made = ndarray._of(np.array(obj, dtype, order=order, ndmin=ndmin))
    wait("host_to_device", "an array from host data")
    return made


def asarray(
    a: Any, dtype: Any = None, order: Any = None, *, copy: bool | None = None, blocking: bool = False
) -> ndarray:
    return array(a, dtype, bool(copy), order or "K")


def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    if isinstance(a, ndarray) and a.flags.c_contiguous and dtype in (None, a.dtype):
        return a
    return array(a, dtype, order="C")


def asnumpy(a: Any, stream: Any = None, order: Any = "C", out: Any = None, *, blocking: bool = True) -> Any:
    return a.get(stream, order, out, blocking) if isinstance(a, ndarray) else np.asarray(a, order=order)


def from_dlpack(array: Any, *, device: Any = None, copy: bool | None = None) -> ndarray:
    if array.__dlpack_device__()[0] not in (2, 13):
        raise BufferError("the stand-in takes over the memory of CUDA devices only")
    if device is not None or copy is not None:
        raise NotImplementedError("the stand-in takes over arrays where they are")
    return array.__dlpack__(stream=0)


def get_default_memory_pool() -> SimpleNamespace:
    """NumPy's memory is all there is."""
    return SimpleNamespace(free_all_blocks=lambda: None)


def take(a: Any, indices: Any, axis: Any = None, out: Any = None) -> Any:
    if isinstance(indices, list):
        indices = asarray(indices)
    return run(np.take, "kernels", (a, indices, axis), {"mode": "wrap"} | ({} if out is None else {"out": out}))


def _poison(memory: np.ndarray[Any, np.dtype[Any]]) -> None:
    """So that what was never written shows: a quiet NaN in any float, but not the one that kernels take for empty."""
    if memory.itemsize > 1:
        memory.view("uint16").fill(0xFFFA)
    else:
        memory.view("uint8").fill(0xFF)


def _create(name: str, args: Any, kwargs: Any) -> ndarray:
    made = ndarray._of(getattr(np, name)(*host(args), **host(kwargs)))
    if name.startswith("empty"):
        _poison(made._host.ravel("K"))
    else:
        launch("kernels")
    return made


NAMESPACE: dict[str, Any] = {
    **{
        name: with_signature(parameters, partial(run, getattr(np, name), event))
        for table, event in ((KERNELS, "kernels"), (VIEWS, "views"))
        for name, parameters in table.items()
    },
    **{name: with_signature(parameters, partial(_create, name)) for name, parameters in CREATION.items()},
    **{name: partial(call_ufunc, getattr(np, name)) for name in (*UFUNCS, "matmul")},
    **{name: getattr(np, name) for name in DTYPES},
    "array": array,
    "asarray": asarray,
    "ascontiguousarray": ascontiguousarray,
    "asnumpy": asnumpy,
    "from_dlpack": from_dlpack,
    "get_default_memory_pool": get_default_memory_pool,
    "inf": np.inf,
    "nan": np.nan,
    "newaxis": None,
    "pi": np.pi,
    "take": take,
}
