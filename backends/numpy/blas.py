"""The BLAS library of NumPy in this process, and what its threads do after a matrix product."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any, Final

import numpy as np

try:
    from xrnn.backends.numpy import _kernels as kernels
except ImportError:  # no compiler during the installation, or a checkout without an installation
    kernels = None  # type: ignore[assignment]

# The wheels of NumPy and SciPy rename OpenBLAS's functions, so that a process can load several copies.
_PREFIXES, _SUFFIXES = ("", "scipy_"), ("", "64_")
# A thread of OpenBLAS polls for 2 to the power of OPENBLAS_THREAD_TIMEOUT cycles (0: not set, which means 26) and then
# sleeps. 2**20 cycles are less than half a millisecond.
_SHORT_TIMEOUT: Final = 20
_REMEDY: Final = "set OPENBLAS_THREAD_TIMEOUT=4 before NumPy is imported"
# BLAS libraries read their number of threads from these variables when they are loaded.
_THREAD_VARIABLES: Final = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "OMP_NUM_THREADS")

_log = logging.getLogger("xrnn")


class OpenBLAS:
    """A copy of OpenBLAS that a module of this process is linked to.

    module  a compiled module. Its library is found by the functions that the module can call, whatever its path is.

    Raises LookupError if the module is linked to no OpenBLAS.
    """

    def __init__(self, module: Any) -> None:
        self._library = ctypes.CDLL(module.__file__)
        self._product = getattr(module, "dgemm", None)  # SciPy's
        get_config = self._function("get_config")
        get_config.restype = ctypes.c_char_p
        _, self.version, *options = get_config().decode().split()
        facts = dict(option.partition("=")[::2] for option in options)
        self.most_threads = int(facts.get("MAX_THREADS", 1))

    def _function(self, name: str) -> Any:
        for prefix in _PREFIXES:
            for suffix in _SUFFIXES:
                if function := getattr(self._library, f"{prefix}openblas_{name}{suffix}", None):
                    return function
        raise LookupError(f"no OpenBLAS with the function openblas_{name}")

    @property
    def threads(self) -> int:
        """The number of threads of a product."""
        return int(self._function("get_num_threads")())

    @property
    def has_own_threads(self) -> bool:
        """False if it computes on one thread, or on the threads of an OpenMP library."""
        return bool(self._function("get_parallel")() == 1)

    @property
    def set_callback(self) -> int:
        """The address of the function that passes its products to other threads; 0: it has none (before 0.3.27)."""
        try:
            return ctypes.cast(self._function("set_threads_callback_function"), ctypes.c_void_p).value or 0
        except LookupError:
            return 0

    def multiply(self) -> None:
        """Compute a product that is large enough for all threads."""
        a = np.ones((512, 512))
        if self._product:
            self._product(1.0, a, a)
        else:
            a @ a

    def cannot_share(self) -> str:
        """The reason why its products cannot run on the kernels' threads; "" if they can."""
        name = f"OpenBLAS {self.version}"
        if sys.platform == "win32":
            return f"on Windows, {name} keeps its threads: {_REMEDY} instead"
        if not self.has_own_threads:
            return f"{name} has no threads of its own"
        if not self.set_callback:
            return f"{name} lets no other threads run its products: update NumPy to one with OpenBLAS 0.3.27 or newer"
        if 2 * self.threads > self.most_threads:  # the products' threads have other numbers than its own
            return (
                f"{name} uses {self.threads} threads and has room for {self.most_threads}: expected at most half as "
                f"many; set OPENBLAS_NUM_THREADS={self.most_threads // 2}"
            )
        return ""

    @property
    def shares_threads(self) -> bool:
        """Whether its products run on the kernels' threads."""
        return bool(kernels) and kernels.shares_threads_with(self.set_callback)

    @property
    def polls(self) -> bool:
        """Whether its threads use their CPUs for tens of milliseconds after each product."""
        timeout_is_short = 0 < self._timeout() <= _SHORT_TIMEOUT
        return self.has_own_threads and self.threads > 1 and not timeout_is_short and not self.shares_threads

    def _timeout(self) -> int:
        try:
            return int(self._function("thread_timeout")())
        except LookupError:  # NumPy 2.5 hides the function: the variable may have changed since
            value = os.environ.get("OPENBLAS_THREAD_TIMEOUT", "").strip()
            return int(value) if value.isdigit() else 0


@functools.cache
def of_numpy() -> OpenBLAS | None:
    """NumPy's OpenBLAS; None if NumPy uses another library."""
    return _of("numpy.linalg._umath_linalg")


def loaded() -> list[OpenBLAS]:
    """The copies of OpenBLAS in this process, NumPy's first. SciPy has a copy of its own once it is imported."""
    return [library for name in ("numpy.linalg._umath_linalg", "scipy.linalg._fblas") if (library := _of(name))]


def _of(module: str) -> OpenBLAS | None:
    if module not in sys.modules:
        return None
    try:
        return OpenBLAS(sys.modules[module])
    except LookupError:
        return None


def describe() -> str:
    """NumPy's BLAS, its number of threads, and whether they poll: for `xrnn info`."""
    library = of_numpy()
    if not library:
        built: Any = np.show_config(mode="dicts")
        blas = built["Build Dependencies"]["blas"]
        return f"{blas['name']} {blas.get('version', '')}, {_threads_of_another()}"
    threads = library.threads
    if threads == 1:
        return f"OpenBLAS {library.version}, 1 thread"
    if not library.has_own_threads:
        return f"OpenBLAS {library.version}, {threads} threads of an OpenMP library"
    if library.shares_threads:
        why = "those of the kernels (share_threads)"
    elif library.polls:
        why = (
            f"which poll after each product, on the CPUs that the kernels need: call xrnn.share_threads(), or {_REMEDY}"
        )
    else:
        why = "which sleep after each product"
    return f"OpenBLAS {library.version}, {threads} threads, {why}"


def _threads_of_another() -> str:
    """The number of threads of another BLAS: from threadpoolctl if it is installed, otherwise from the environment."""
    try:
        import threadpoolctl
    except ImportError:
        limits = [f"{name}={os.environ[name]}" for name in _THREAD_VARIABLES if name in os.environ]
        return ", ".join(limits) or "threads not limited by the environment (threadpoolctl would count them)"
    counts = {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}
    return f"{'/'.join(map(str, sorted(counts))) or 'unknown'} threads"


def share_threads(shared: bool) -> None:
    """See `xrnn.share_threads`."""
    libraries = loaded()
    if shared:
        if not kernels:
            raise RuntimeError("xrnn has no compiled kernels here, so there are no threads to share: pip install -e .")
        if not libraries:
            raise RuntimeError("NumPy's BLAS is another library than OpenBLAS, and can't share the kernels' threads")
        reasons = [reason for library in libraries if (reason := library.cannot_share())]
        if reasons:
            raise RuntimeError(reasons[0])
    changed = [library for library in libraries if shared != library.shares_threads]
    for library in changed:
        unknown = kernels.count_unknown_products()
        kernels.share_threads_with(library.set_callback, library.most_threads, shared)
        if shared:
            library.multiply()
            if kernels.count_unknown_products() > unknown:
                share_threads(False)
                raise RuntimeError(
                    f"OpenBLAS {library.version} describes the work of its threads in a way that xrnn does not know: "
                    f"{_REMEDY} instead"
                )


def explain_delays() -> bool:
    """The kernels' threads have waited long for a CPU. If OpenBLAS's threads are the cause, log how to stop them.

    → whether the cause was found and logged
    """
    if not (any(library.polls for library in loaded()) and _a_thread_of_blas_runs()):
        return False
    _log.warning(
        "the threads of OpenBLAS poll after each matrix product of NumPy, on the CPUs that the kernels need: "
        f"call xrnn.share_threads(), take xrnn.Linear for the product, or {_REMEDY}"
    )
    return True


def _a_thread_of_blas_runs() -> bool:
    """Whether one of the threads that OpenBLAS started with NumPy uses a CPU (Linux)."""
    for task in _STARTED_WITH_NUMPY:
        with contextlib.suppress(OSError):  # the thread has ended
            if "\nState:\tR" in Path("/proc/self/task", task, "status").read_text():
                return True
    return False


def _threads_besides_python() -> set[str]:
    return {task.name for task in Path("/proc/self/task").glob("*")} - {str(t.native_id) for t in threading.enumerate()}


# NumPy is imported now, and OpenBLAS has started its threads. Those of other libraries start with their first work:
# PyTorch's also poll, after its own products.
_STARTED_WITH_NUMPY: Final = _threads_besides_python()
