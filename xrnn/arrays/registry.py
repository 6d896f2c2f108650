"""The table of backends by name: built-in ones, and those of other packages. A backend is loaded at its first use."""

from __future__ import annotations

import copyreg
import functools
import importlib
import threading
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np

from xrnn.backend import Backend, BackendUnavailableError
from xrnn.messages import kind_of

Loader: TypeAlias = str | Callable[[], Backend]

BUILT_IN: Final = ("cupy", "numpy")  # `auto` tries them in this order
# The only table of backends, by name: a function that tests the backend and returns it, or raises
# BackendUnavailableError; or the module that has it as `load`. `register_backend` adds to it.
loaders: dict[str, Loader] = {name: f"xrnn.backends.{name}" for name in BUILT_IN}
_ENTRY_POINTS: Final = "xrnn.backends"  # the group in which an installed package names its backends

lock = threading.RLock()  # threads that select at the same time cause one probe and one log message
loaded: dict[str, Backend | BackendUnavailableError] = {}  # by name; a failure too, so that a backend is probed once
loading: set[str] = set()  # backends whose loader is running: it may itself ask for the backend of an array
by_array_type: dict[type, Backend] = {}  # of each loaded backend


def register_backend(name: str, loader: Loader) -> None:
    """Add a backend of another package, for `XRNN_BACKEND=name`, `set_backend(name)`, `backend=name` and `xrnn info`.

    name     in lower case, the `name` of the backend
    loader   a function that returns the backend, a `Backend`, or the name of a module with such a function `load`. It
             is called when the backend is first used. It raises BackendUnavailableError if the backend can't run here.

    The arrays decide which backend computes, so the backend needs an array type of its own, `xp.ndarray`. For arrays in
    host memory, that can be a subclass of `numpy.ndarray`. `backend_of` knows the type once the backend was selected by
    its name; before that, only if the type is defined in the package `name`.

    A second call with the same name replaces the loader. `auto` selects only NumPy and CuPy. An installed package may
    name its backends in the entry points `xrnn.backends` instead: `name = "module:load"`. Then nothing needs to import
    it, so the commands find its backends too.

    Raises ValueError for a name that is taken or not in lower case, TypeError for another loader.

    >>> register_backend("mine", "my_package.backend")  # its function `load` is called by get_backend("mine")
    """
    if not isinstance(name, str) or name != name.strip().lower() or name in ("", "auto", *BUILT_IN):
        raise ValueError(
            f"name is {name!r}: expected a name in lower case, other than {', '.join(['auto', *BUILT_IN])}; rename it"
        )
    if not (callable(loader) or isinstance(loader, str)):
        raise TypeError(
            f"loader is a {kind_of(loader)}: expected a function that returns the backend, or a module name"
        )
    with lock:
        loaders[name] = loader
        loaded.pop(name, None)


def choices() -> list[str]:
    """The names of the backends, `auto` first."""
    return ["auto", *loaders]


def find(name: str, decided_by: str) -> Backend:
    """The backend of this name, loaded at the first call.   decided_by: the source of the name, for errors

    Raises ValueError for an unknown name, BackendUnavailableError if the backend can't run.
    """
    with lock:
        if name not in loaders:
            _add_installed()
        if name not in loaders:
            raise ValueError(f"unknown backend {name!r} ({decided_by}): expected one of {', '.join(choices())}")
        found = load(name)
    if isinstance(found, Backend):
        return found
    raise BackendUnavailableError(f"{decided_by} asked for {name}, but {found}") from found


def _add_installed() -> None:
    """Add the backends that installed packages name. This reads the metadata of all packages: tens of milliseconds."""
    metadata = importlib.import_module("importlib.metadata")  # imported here, because that takes time
    for point in metadata.entry_points(group=_ENTRY_POINTS):
        loaders.setdefault(point.name, functools.partial(_load_entry_point, point))


def _load_entry_point(point: Any) -> Backend:
    return point.load()()


def load(name: str) -> Backend | BackendUnavailableError:
    """The backend with this name in the table, or the reason why it can't run. The caller holds `lock`."""
    if name not in loaded:
        loading.add(name)
        try:
            loaded[name] = _run_loader(name, loaders[name])
        except BackendUnavailableError as error:
            loaded[name] = error
            _drop_tracebacks(error)
        finally:
            loading.discard(name)
    return loaded[name]


def _drop_tracebacks(error: BaseException) -> None:
    """A stored error with its traceback would keep the frames of the first caller, and all that they refer to."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__


def _run_loader(name: str, loader: Loader) -> Backend:
    """Load a backend, check it, and let `backend_of` recognize its arrays."""
    try:
        run = importlib.import_module(loader).load if isinstance(loader, str) else loader
        backend = run()
    except ImportError as error:
        raise BackendUnavailableError(
            f"it can't be imported ({error}): install its package and what that needs"
        ) from error
    if not isinstance(backend, Backend) or backend.name != name:
        raise TypeError(
            f"the loader of the backend {name!r} returned {backend!r}: expected a Backend with that name; set its name"
        )
    kind = backend.xp.ndarray
    if kind is np.ndarray:
        owner = "numpy"
    elif kind in by_array_type:
        owner = by_array_type[kind].name
    else:
        owner = name
    if owner != name:
        raise TypeError(
            f"the arrays of the backend {name!r} are {kind.__module__}.{kind.__qualname__}, as those of {owner}: "
            "expected a type of its own; set xp.ndarray to a subclass"
        )
    recognize(backend)
    return backend


def recognize(backend: Backend) -> None:
    """Let `backend_of` recognize the arrays of `backend`."""
    by_array_type[backend.xp.ndarray] = backend
    # A module and compiled kernels can't be pickled: a pickle holds the name, and a copy is the same backend.
    copyreg.pickle(type(backend), lambda backend: (_unpickled, (backend.name,)))


def _unpickled(name: str) -> Backend:
    """The backend of this name that is in use, or else the one that the table loads, with its errors."""
    in_use = [backend for backend in by_array_type.values() if backend.name == name]
    return in_use[-1] if in_use else find(name, f"the argument backend={name!r}")
