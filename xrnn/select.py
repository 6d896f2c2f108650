"""Which backend new arrays come from, and which backend an array belongs to.

Layers and losses run on the backend of their arrays. The selection below is for new arrays only. The first of these
that is set decides: the argument `backend=`, `use_backend(...)`, `set_backend(...)`, `XRNN_BACKEND`, else `auto`.
"""

from __future__ import annotations

import contextlib
import copyreg
import functools
import importlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from xrnn.backend import Backend, BackendUnavailableError
from xrnn.dlpack import exports, take_over
from xrnn.setting import Setting, within
from xrnn.typing import Array, DType, HostArray, Numbers

Loader: TypeAlias = str | Callable[[], Backend]

_BUILT_IN: Final = ("cupy", "numpy")  # `auto` tries them in this order
# The only table of backends, by name: a function that tests the backend and returns it, or raises
# BackendUnavailableError; or the module that has it as `load`. `register_backend` adds to it.
_loaders: dict[str, Loader] = {name: f"xrnn.backends.{name}" for name in _BUILT_IN}
_ENTRY_POINTS: Final = "xrnn.backends"  # the group in which an installed package names its backends
_NUMBERS: Final = "biuf"  # the kinds of dtype
_MOST_AXES: Final = 64  # NumPy's limit

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
_lock = threading.RLock()  # threads that select at the same time cause one probe and one log message
_loaded: dict[str, Backend | BackendUnavailableError] = {}  # by name; a failure too, so that a backend is probed once
_loading: set[str] = set()  # backends whose loader is running: it may itself ask for the backend of an array
_by_type: dict[type, Backend] = {}  # array type → backend, for each loaded backend


@dataclass(frozen=True, slots=True)
class Selection:
    """The selected backend and the reasons, which `xrnn info` prints."""

    backend: Backend
    decided_by: str
    rejected: dict[str, str]  # name of an unavailable backend → reason


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
    if not isinstance(name, str) or name != name.strip().lower() or name in ("", "auto", *_BUILT_IN):
        raise ValueError(
            f"name is {name!r}: expected a name in lower case, other than {', '.join(['auto', *_BUILT_IN])}; rename it"
        )
    if not (callable(loader) or isinstance(loader, str)):
        raise TypeError(
            f"loader is a {kind_of(loader)}: expected a function that returns the backend, or a module name"
        )
    with _lock:
        _loaders[name] = loader
        _loaded.pop(name, None)


def choices() -> list[str]:
    """The names of the backends, `auto` first."""
    return ["auto", *_loaders]


def _add_installed() -> None:
    """Add the backends that installed packages name. This reads the metadata of all packages: tens of milliseconds."""
    metadata = importlib.import_module("importlib.metadata")  # imported here, because that takes time
    for point in metadata.entry_points(group=_ENTRY_POINTS):
        _loaders.setdefault(point.name, functools.partial(_run, point))


def _run(point: Any) -> Backend:
    return point.load()()


def _load(name: str) -> Backend | BackendUnavailableError:
    if name not in _loaded:
        _loading.add(name)
        try:
            _loaded[name] = _checked(name, _loaders[name])
        except BackendUnavailableError as error:
            _loaded[name] = error
            each: BaseException | None = error
            while each:  # a traceback would keep the frames of the first caller, and all that they refer to
                each.__traceback__, each = None, each.__cause__ or each.__context__
        finally:
            _loading.discard(name)
    return _loaded[name]


def _checked(name: str, loader: Loader) -> Backend:
    """Load a backend, and let `backend_of` recognize its arrays."""
    try:
        load = importlib.import_module(loader).load if isinstance(loader, str) else loader
        backend = load()
    except ImportError as error:
        raise BackendUnavailableError(
            f"it can't be imported ({error}): expected its package and what that needs; install them"
        ) from error
    if not isinstance(backend, Backend) or backend.name != name:
        raise TypeError(
            f"the loader of the backend {name!r} returned {backend!r}: expected a Backend with that name; set its name"
        )
    kind = backend.xp.ndarray
    owner = "numpy" if kind is np.ndarray else _by_type[kind].name if kind in _by_type else name
    if owner != name:
        raise TypeError(
            f"the arrays of the backend {name!r} are {kind.__module__}.{kind.__qualname__}, as those of {owner}: "
            "expected a type of its own; set xp.ndarray to a subclass"
        )
    recognize(backend)
    return backend


def recognize(backend: Backend) -> None:
    """Let `backend_of` recognize the arrays of `backend`."""
    _by_type[backend.xp.ndarray] = backend
    # A module and compiled kernels can't be pickled: a pickle holds the name, and a copy is the same backend.
    copyreg.pickle(type(backend), lambda backend: (_registered, (backend.name,)))


def _registered(name: str) -> Backend:
    """The loaded backend of this name, or else `get_backend(name)`, with its errors."""
    in_use = [backend for backend in _by_type.values() if backend.name == name]
    return in_use[-1] if in_use else get_backend(name)


@functools.cache
def _auto() -> tuple[Backend, dict[str, str]]:
    """The first backend of the table that works, and the reasons against those before it. Logs the reasons once.

    They are warnings only if there is a device that could be used.
    """
    rejected: dict[str, BackendUnavailableError] = {}
    for name in _BUILT_IN:
        found = _load(name)
        if isinstance(found, Backend):
            for other, why in rejected.items():
                level = logging.WARNING if why.device_present else logging.INFO
                _log.log(level, "xrnn runs on %s, not on %s: %s", name, other, why)
            return found, {other: str(why) for other, why in rejected.items()}
        rejected[name] = found
    raise BackendUnavailableError(f"no backend works here: {rejected}")


def _requested() -> tuple[str | Backend, str]:
    """The requested backend, and the source of the request."""
    if (choice := _context.get().backend) is not None:
        return choice, f"use_backend({choice!r})"
    if _process is not None:
        return _process, f"set_backend({_process!r})"
    if name := os.environ.get("XRNN_BACKEND", "").strip().lower():
        return name, f"XRNN_BACKEND={name}"
    return "auto", "the default"


def select(backend: str | Backend | None = None, decided_by: str | None = None) -> Selection:
    """The backend for new arrays, with the source of the decision and the reasons against others.

    decided_by   names the source of `backend`, for messages; by default the argument itself
    """
    if backend is None:
        return _resolve(*_requested())
    return _resolve(backend, decided_by or f"the argument backend={backend!r}")


def _resolve(choice: str | Backend, decided_by: str) -> Selection:
    if isinstance(choice, Backend):
        return Selection(choice, decided_by, {})
    with _lock:
        if choice != "auto" and choice not in _loaders:
            _add_installed()
            if choice not in _loaders:
                raise ValueError(f"unknown backend {choice!r} ({decided_by}): expected one of {', '.join(choices())}")
        if choice == "auto":
            found, rejected = _auto()
            return Selection(found, decided_by, dict(rejected))
        loaded = _load(choice)
    if isinstance(loaded, Backend):
        return Selection(loaded, decided_by, {})
    raise BackendUnavailableError(f"{decided_by} asked for {choice}, but {loaded}") from loaded


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
    known = _by_type.get(type(array))
    if known is not None:
        return known
    # A backend's library is imported only if the array's type comes from it.
    module = type(array).__module__.partition(".")[0]
    if module in _loaders:
        choice, decided_by = _requested()
        with _lock:
            if choice != "auto" and choice not in _loading:
                _resolve(choice, decided_by)
            found = _load(module)
        if isinstance(found, Backend) and found.owns(array):
            return found
    remedy = f"use xrnn.asarray({name})"
    if module == "torch":
        remedy += ", or the modules of xrnn.torch, through which PyTorch's gradients pass"
    if isinstance(array, np.ma.MaskedArray):
        remedy = f"use {name}.filled(0), or another value for what is masked"
    raise TypeError(f"{name} is a {kind_of(array)}: expected an array of {' or '.join(_loaders)}; {remedy}")


def device_of(array: Any) -> contextlib.AbstractContextManager[object]:
    """`with device_of(x):` runs the block on the device of `x`."""
    return backend_of(array).device_of(array)


def kind_of(value: object) -> str:
    """The type of `value` for an error message: `list`, `numpy.ndarray`; for PyTorch's modules with the remedy."""
    name = full_name(type(value))
    is_module = any(full_name(base) == "torch.nn.modules.module.Module" for base in type(value).__mro__)
    return f"{name} (convert it by xrnn.from_torch)" if is_module else name


def full_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def asarray(array: Numbers, dtype: DType | None = None, *, backend: str | Backend | None = None) -> Array:
    """`array` on the selected backend, or on `backend`. Nothing else moves data between host and device.

    array   an array of any backend or of another library with DLPack (PyTorch, JAX, …), a number, or nested lists

    An array that is on that backend already is not copied: the result shares its memory, and is read-only if it is.

    Raises TypeError for a masked array, whose mask would be lost, for complex numbers, for a value without numbers
    (None, a string, a dict, an array of text, times or objects), and for another library's array that requires grad or
    has a dtype that the backend lacks; ValueError for an array on a device that the backend can't reach.

    >>> asarray([[1.0, 2.0]], "float32").shape
    (1, 2)
    """
    target = get_backend(backend)
    found: Any = array
    if not target.owns(array):
        on_host = None
        try:
            on_host = to_numpy(array)
        except TypeError:  # of another library, or not an array
            if isinstance(array, np.ma.MaskedArray):
                raise
        if on_host is not None:
            found = on_host
        elif exports(array):
            found = take_over(array, kind_of(array), target)
        else:
            found = _numbers(array)
    if found.dtype.kind == "c":  # `dtype` would drop the imaginary part
        check_numbers("array", found)
    made = target.asarray(found, dtype)
    if dtype is not None and made.dtype.kind not in _NUMBERS:
        raise TypeError(f"dtype is {made.dtype}: expected a dtype of real numbers; use 'float32'")
    check_numbers("array", made)
    return made


def check_numbers(name: str, array: Any) -> None:
    """Raises TypeError for an array of complex numbers, text, times, objects or records."""
    if array.dtype.kind == "c":
        raise TypeError(f"{name} has dtype {array.dtype}: expected real numbers; {cast(name, array, '')}")
    if array.dtype.kind not in _NUMBERS:
        raise TypeError(f"{name} has dtype {array.dtype}: expected numbers; convert it to numbers first")


def cast(name: str, array: Any, dtype: str) -> str:
    """The remedy for an array of another dtype. A cast of complex numbers would drop their imaginary part."""
    if array.dtype.kind == "c":
        return f"use {name}.real and {name}.imag"
    return f"use {name}.astype({dtype!r})"


def holds_mask(value: Any, levels: int = _MOST_AXES) -> bool:
    """Whether `value` is a masked array, or lists nested in at most this number of levels that hold one."""
    if isinstance(value, list | tuple):
        return levels > 0 and any(holds_mask(each, levels - 1) for each in value if not isinstance(each, float))
    return isinstance(value, np.ma.MaskedArray)


def _numbers(value: Any) -> HostArray:
    """A NumPy array of a number or of nested lists.   Raises TypeError for anything else, such as None or a string."""
    if holds_mask(value):
        raise TypeError("array holds a masked array: expected plain ones; use filled(0) of each")
    with contextlib.suppress(ValueError):  # lists of unequal lengths, and a list that holds itself
        array = np.asarray(value)
        if array.dtype.kind in (*_NUMBERS, "c"):
            return array
    raise TypeError(
        f"array is a {kind_of(value)}: expected an array, a number, or nested lists of numbers of equal lengths; "
        "convert it to numbers first"
    )


def to_numpy(array: Any) -> np.ndarray[Any, np.dtype[Any]]:
    """`array` as a NumPy array. From a GPU this copies and waits; a NumPy array is returned unchanged.

    >>> to_numpy(asarray([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """
    return backend_of(array).to_numpy(array)


if TYPE_CHECKING:
    xp = np  # type checkers and editors see NumPy's names
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
