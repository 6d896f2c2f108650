"""Which backend new arrays come from, and which backend an array belongs to.

Layers and losses follow the arrays they are given. Only creation asks here, in this order:
argument `backend=` > `use_backend(...)` > `set_backend(...)` > `XRNN_BACKEND` > `auto`.
"""

from __future__ import annotations

import contextlib
import copyreg
import functools
import importlib
import logging
import os
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from xrnn.backend import Backend, BackendUnavailableError
from xrnn.dlpack import exports, take_over
from xrnn.typing import Array, HostArray

# The only place that names backends. Each module has `load()`, which returns a Backend that was seen to work
# or raises BackendUnavailableError. `auto` tries them in this order.
_MODULES: Final = {"cupy": "xrnn.backends.cupy", "numpy": "xrnn.backends.numpy"}
# How forms are chosen on GPUs, also on those that aren't here (`xrnn info --explain … --device h100`).
GPU_CHOICE: Final = "xrnn.backends.cupy.choice"
CHOICES: Final = ("auto", *_MODULES)

_log = logging.getLogger("xrnn")
_context: ContextVar[str | Backend | None] = ContextVar("xrnn_backend", default=None)
_process: str | Backend | None = None
_lock = threading.RLock()  # one probe and one message, also where threads ask at the same time
_by_type: dict[type, Backend] = {}  # the array type of each backend in use → the backend


@dataclass(frozen=True, slots=True)
class Selection:
    """A decision, and what `xrnn info` says about it."""

    backend: Backend
    decided_by: str
    rejected: dict[str, str]  # backend name → why not


@functools.cache
def _load(name: str) -> Backend | BackendUnavailableError:
    # The failure is kept as well: a probe is paid for once.
    try:
        backend: Backend = importlib.import_module(_MODULES[name]).load()
    except BackendUnavailableError as error:
        return error
    register(backend)
    return backend


def register(backend: Backend) -> None:
    """Make `backend_of` know the arrays of `backend`: done for the table's own, to be called for any other."""
    _by_type[backend.xp.ndarray] = backend
    # What a backend holds (a module, compiled kernels) belongs to the process: a copy is the backend itself.
    copyreg.pickle(type(backend), lambda backend: (_registered, (backend.name,)))


def _registered(name: str) -> Backend:
    """The backend in use under this name, loaded if there is none yet. Raises as `get_backend` does."""
    in_use = [backend for backend in _by_type.values() if backend.name == name]
    return in_use[-1] if in_use else get_backend(name)


@functools.cache
def _auto() -> tuple[Backend, dict[str, str]]:
    """The first backend of the table that works, and why those before it don't, which the log gets once."""
    rejected: dict[str, str] = {}
    for name in _MODULES:
        found = _load(name)
        if isinstance(found, Backend):
            for other, why in rejected.items():
                _log.warning("xrnn runs on %s, not on %s: %s", name, other, why)
            return found, rejected
        rejected[name] = str(found)
    raise BackendUnavailableError(f"no backend works here: {rejected}")


def _requested() -> tuple[str | Backend, str]:
    """The backend that was asked for, and by what."""
    if (choice := _context.get()) is not None:
        return choice, f"use_backend({choice!r})"
    if _process is not None:
        return _process, f"set_backend({_process!r})"
    if name := os.environ.get("XRNN_BACKEND", "").strip().lower():
        return name, f"XRNN_BACKEND={name}"
    return "auto", "the default"


def select(backend: str | Backend | None = None, decided_by: str | None = None) -> Selection:
    """The backend for new arrays, with who decided and why others were passed over.

    decided_by   names the source of `backend`, for messages; by default the argument itself
    """
    if backend is None:
        return _resolve(*_requested())
    return _resolve(backend, decided_by or f"the argument backend={backend!r}")


def _resolve(choice: str | Backend, decided_by: str) -> Selection:
    if isinstance(choice, Backend):
        return Selection(choice, decided_by, {})
    if choice not in CHOICES:
        raise ValueError(f"unknown backend {choice!r} ({decided_by}): expected one of {', '.join(CHOICES)}")
    with _lock:
        if choice == "auto":
            found, rejected = _auto()
            return Selection(found, decided_by, dict(rejected))
        loaded = _load(choice)
    if isinstance(loaded, Backend):
        return Selection(loaded, decided_by, {})
    raise BackendUnavailableError(f"{decided_by} asked for {choice}, but {loaded}") from loaded


def get_backend(backend: str | Backend | None = None) -> Backend:
    """The backend new arrays come from: `backend` if given, else what was selected (see the module's first lines).

    Raises ValueError for an unknown name, BackendUnavailableError where an explicit choice can't run.
    """
    return select(backend).backend


def set_backend(backend: str | Backend | None) -> None:
    """Choose for the whole process, every thread included. None takes the choice back.

    Raises ValueError for an unknown name and BackendUnavailableError where it can't run; the choice before it
    then stands.
    """
    global _process
    if backend is not None:
        _resolve(backend, f"set_backend({backend!r})")
    _process = backend


@contextlib.contextmanager
def use_backend(backend: str | Backend) -> Iterator[Backend]:
    """Choose within the block. A thread started inside does not inherit the choice (it is a ContextVar).

    Raises as `set_backend` does.
    """
    selected = _resolve(backend, f"use_backend({backend!r})").backend
    token = _context.set(backend)
    try:
        yield selected
    finally:
        _context.reset(token)


def backend_of(array: Any, name: str = "array") -> Backend:
    """The backend that `array` belongs to. `name` is what an error calls it.

    Raises TypeError where it is no backend's array.
    """
    known = _by_type.get(type(array))
    if known is not None:
        return known
    # A library is loaded only for an array that it made: so it is never imported just to find out.
    module = type(array).__module__.partition(".")[0]
    if module in _MODULES:
        with _lock:
            found = _load(module)
        if isinstance(found, Backend) and found.owns(array):
            return found
    remedy = f"use xrnn.asarray({name})"
    if module == "torch":
        remedy += ", or the modules of xrnn.torch, through which PyTorch's gradients pass"
    if isinstance(array, np.ma.MaskedArray):
        remedy = f"use {name}.filled(0), or another value for what is masked"
    raise TypeError(f"{name} is a {kind_of(array)}: expected an array of {' or '.join(_MODULES)}; {remedy}")


def device_of(array: Any) -> contextlib.AbstractContextManager[object]:
    """`with device_of(x):` runs the block on the device of `x`."""
    return backend_of(array).device_of(array)


def kind_of(value: object) -> str:
    """The type of `value` as an error shows it: `list`, `numpy.ndarray`."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def asarray(array: Any, dtype: Any = None, *, backend: str | Backend | None = None) -> Array:
    """`array` on the selected backend (or on `backend`): the one explicit move between host and device.

    `array` is an array of any backend, one of another library by DLPack (PyTorch, JAX, …), or anything NumPy makes one
    of. What lies there already is not copied: the result is on the same memory, and read-only where `array` is.

    Raises TypeError for a masked array, whose mask would be lost, for a value without numbers (None, a string, a dict),
    and for another library's array that requires grad or has a dtype that the backend lacks; ValueError for an array on
    a device that the backend can't reach.
    """
    target = get_backend(backend)
    if not target.owns(array):
        on_host = None
        try:
            on_host = to_numpy(array)
        except TypeError:  # it is no backend's
            if isinstance(array, np.ma.MaskedArray):
                raise
        if on_host is not None:
            array = on_host
        elif exports(array):
            array = take_over(array, kind_of(array), target)
        else:
            array = _numbers(array)
    return target.asarray(array, dtype)


def _numbers(value: Any) -> HostArray:
    """A NumPy array of a number or of nested lists.   Raises TypeError for anything else, such as None or a string."""
    with contextlib.suppress(ValueError):  # lists of unequal lengths
        array = np.asarray(value)
        if array.dtype.kind in "biufc":
            return array
    raise TypeError(
        f"array is a {kind_of(value)}: expected an array, a number, or nested lists of numbers of equal lengths; "
        "convert it to numbers first"
    )


def to_numpy(array: Any) -> np.ndarray[Any, np.dtype[Any]]:
    """`array` as a NumPy array; from a device this copies and waits. NumPy's own comes back as it is."""
    return backend_of(array).to_numpy(array)


if TYPE_CHECKING:
    xp = np  # for checkers and editors: the names are NumPy's
else:

    class _Namespace:
        """The array namespace of the selected backend, looked up at each use."""

        def __getattr__(self, name: str) -> Any:
            return getattr(get_backend().xp, name)

        def __dir__(self) -> list[str]:
            return dir(get_backend().xp)

        def __repr__(self) -> str:
            return "<xrnn.xp: the array namespace of the selected backend>"

    xp = _Namespace()
