"""Which backend new arrays come from, and which backend an array belongs to.

Layers and losses run on the backend of their arrays. The selection below is for new arrays only. The first of these
that is set decides: the argument `backend=`, `use_backend(...)`, `set_backend(...)`, `XRNN_BACKEND`, else `auto`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from xrnn.arrays import registry
from xrnn.arrays.registry import by_array_type
from xrnn.backend import Backend, BackendUnavailableError, is_parameter
from xrnn.messages import kind_of
from xrnn.setting import Setting, within

_log = logging.getLogger("xrnn")


class Choice(Setting):
    """The backend that a block of `use_backend` chose; None outside of blocks."""

    __slots__ = ("backend",)

    def __init__(self, backend: str | Backend | None) -> None:
        super().__init__()
        self.backend = backend


_no_choice: Final = Choice(None)
_context: ContextVar[Choice] = ContextVar("xrnn_backend", default=_no_choice)
_process: str | Backend | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """The selected backend and the reasons, which `xrnn info` prints."""

    backend: Backend
    decided_by: str
    rejected: dict[str, str]  # name of an unavailable backend → reason


def select(backend: str | Backend | None = None, decided_by: str | None = None) -> Selection:
    """The backend for new arrays, with the source of the decision and the reasons against others.

    decided_by   names the source of `backend`, for messages; by default the argument itself
    """
    if backend is None:
        return _resolve(*_requested())
    return _resolve(backend, decided_by or f"the argument backend={backend!r}")


def _requested() -> tuple[str | Backend, str]:
    """The requested backend, and the source of the request."""
    if (choice := _context.get().backend) is not None:
        return choice, f"use_backend({choice!r})"
    if _process is not None:
        return _process, f"set_backend({_process!r})"
    if name := os.environ.get("XRNN_BACKEND", "").strip().lower():
        return name, f"XRNN_BACKEND={name}"
    return "auto", "the default"


def _resolve(choice: str | Backend, decided_by: str) -> Selection:
    if isinstance(choice, Backend):
        return Selection(choice, decided_by, {})
    if choice == "auto":
        with registry.lock:
            found, rejected = _auto()
        return Selection(found, decided_by, dict(rejected))
    return Selection(registry.find(choice, decided_by), decided_by, {})


@functools.cache
def _auto() -> tuple[Backend, dict[str, str]]:
    """The first backend of the table that works, and the reasons against those before it. Logs the reasons once.

    They are warnings only if there is a device that could be used.
    """
    rejected: dict[str, BackendUnavailableError] = {}
    for name in registry.BUILT_IN:
        found = registry.load(name)
        if isinstance(found, Backend):
            for other, why in rejected.items():
                level = logging.WARNING if why.device_present else logging.INFO
                _log.log(level, "xrnn runs on %s, not on %s: %s", name, other, why)
            return found, {other: str(why) for other, why in rejected.items()}
        rejected[name] = found
    raise BackendUnavailableError(f"no backend works here: {rejected}")


def get_backend(backend: str | Backend | None = None) -> Backend:
    """The backend for new arrays: `backend` if given, else the selected one.

    Selected by, in this order: `use_backend(...)`, `set_backend(...)`, `XRNN_BACKEND`, or else the first that works.

    Raises ValueError for an unknown name, BackendUnavailableError if the requested backend can't run.

    >>> get_backend("numpy").name
    'numpy'
    """
    return select(backend).backend


def set_backend(backend: str | Backend | None) -> None:
    """Select the backend for new arrays, in all threads of the process. None cancels the selection.

    Raises ValueError for an unknown name and BackendUnavailableError if it can't run; the selection is then unchanged.

    >>> set_backend("numpy")
    >>> get_backend().name
    'numpy'
    >>> set_backend(None)
    """
    global _process
    if backend is not None:
        _resolve(backend, f"set_backend({backend!r})")
    _process = backend


@contextlib.contextmanager
def use_backend(backend: str | Backend) -> Iterator[Backend]:
    """`with use_backend("numpy"):` selects the backend for new arrays within the block.

    A thread that is started in the block does not inherit the selection (a ContextVar). When the block ends, the
    selection ends in every context. In a generator, a block around `yield` also holds in the caller until the generator
    continues: end the block before `yield`. Raises as `set_backend`.

    >>> with use_backend("numpy") as backend:
    ...     backend.name
    'numpy'
    """
    selected = _resolve(backend, f"use_backend({backend!r})").backend
    with within(_context, Choice(backend)):
        yield selected


def backend_of(array: Any, name: str = "array") -> Backend:
    """The backend of `array`. An error calls it `name`.

    Raises TypeError for any other object; BackendUnavailableError at the first array of a backend if the requested one
    can't run, as with XRNN_BACKEND=cupy without CuPy: arrays of NumPy would otherwise be computed on the CPU silently.

    >>> backend_of(np.zeros(3)).name
    'numpy'
    """
    known = by_array_type.get(type(array))
    if known is not None:
        return known
    # A backend's library is imported only if the array's type comes from it.
    module = type(array).__module__.partition(".")[0]
    if module in registry.loaders:
        _check_request()
        with registry.lock:
            found = registry.load(module)
        if isinstance(found, Backend) and found.owns(array):
            return found
    remedy = f"use xrnn.asarray({name})"
    if module == "torch":
        remedy += ", or the modules of xrnn.torch, through which PyTorch's gradients pass"
    if isinstance(array, np.ma.MaskedArray):
        remedy = f"use {name}.filled(0), or another value for what is masked"
    raise TypeError(f"{name} is a {kind_of(array)}: expected an array of {' or '.join(registry.loaded)}; {remedy}")


def refuse_fallback(array: Any) -> None:
    """Raises BackendUnavailableError for the caller's array if the requested backend can't run.

    Arrays that xrnn made for a layer are on a backend that was requested, perhaps by an argument `backend=`.
    """
    if not is_parameter(array):
        _check_request()


def _check_request() -> None:
    """Raises BackendUnavailableError if the requested backend can't run, ValueError for an unknown one."""
    choice, decided_by = _requested()
    with registry.lock:
        if choice != "auto" and choice not in registry.loading:
            _resolve(choice, decided_by)


def device_of(array: Any) -> contextlib.AbstractContextManager[object]:
    """`with device_of(x):` runs the block on the device of `x`."""
    return backend_of(array).device_of(array)
