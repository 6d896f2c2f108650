"""Compiling CUDA source for the emulator, and launching its kernels with the arguments CuPy would send."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

Sanitizer: TypeAlias = Literal["address,undefined", "thread"]

_HERE = Path(__file__).parent
_CACHE = Path(tempfile.gettempdir()) / f"xrnn-cuda-emulator-{os.getuid()}"
_KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\(')
# Why there is no emulator on this machine, or "". (The sanitizers' libraries come with Linux's g++.)
MISSING = (
    "the emulator runs on Linux with glibc"
    if sys.platform != "linux"
    else "the emulator compiles kernels with g++, and there is none"
    if shutil.which("g++") is None
    else ""
)


class EmulatorError(RuntimeError):
    """A kernel did what CUDA forbids, or never ended."""


class _Launch(ctypes.Structure):
    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_uint64),
        ("seed", ctypes.c_uint64),
        ("arguments", ctypes.c_void_p),
    )


class Module:
    """The kernels (`extern "C" __global__`) of `code`, compiled once and kept in a cache of the temporary folder.

    options    the compiler options CuPy would pass; only -D… means something to g++
    sanitizer  build with it; the process must then be one of `run_under(sanitizer, …)`
    """

    def __init__(self, code: str, options: Sequence[str] = (), *, sanitizer: Sanitizer | None = None) -> None:
        self.names = _KERNEL.findall(code)
        source = f'#include "emulator.h"\n{code}\n' + "".join(f"EMULATE({name})\n" for name in self.names)
        defines = [option for option in options if option.startswith("-D")]
        # PyDLL keeps the GIL: the runtime holds the state of one launch, so Python threads take turns.
        self._library = ctypes.PyDLL(str(_build(source, defines, sanitizer)))

    def get_function(self, name: str) -> Kernel:
        if name not in self.names:
            raise AttributeError(f"no kernel {name!r}: the source has {', '.join(self.names)}")
        return Kernel(self._library, name)


class Kernel:
    """One kernel: called as CuPy's RawKernel is, and with a `seed` for the schedule (0: every thread in turn)."""

    def __init__(self, library: ctypes.CDLL, name: str) -> None:
        self.name = name
        self._start = library[f"emulate_{name}"]
        self._start.restype = ctypes.c_char_p
        widths = (ctypes.c_int * 64)()
        library[f"widths_{name}"](widths)
        self._widths = list(widths)[: list(widths).index(0)]

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: Sequence[Any], *, shared_mem: int = 0, seed: int = 0
    ) -> None:
        """Run to the end. Raises TypeError for arguments of the wrong kind or width, EmulatorError for the rest."""
        values = self._pack(args)
        pointers = (ctypes.c_void_p * max(len(values), 1))(*map(ctypes.addressof, values))
        sizes = ((*size, 1, 1)[:3] for size in (grid, block))
        launch = _Launch(*sizes, shared_mem, seed, ctypes.addressof(pointers))
        if (error := self._start(ctypes.byref(launch))) is not None:
            raise EmulatorError(f"{self.name}: {error.decode()}")

    def _pack(self, args: Sequence[Any]) -> list[Any]:
        if len(args) != len(self._widths):
            raise TypeError(f"{self.name} takes {len(self._widths)} arguments, got {len(args)}")
        values: list[Any] = []
        for i, (arg, width) in enumerate(zip(args, self._widths, strict=True)):
            if isinstance(arg, np.ndarray) and width == -1:
                arg = np.uint64(arg.ctypes.data)  # a scalar may also be an address
            if not isinstance(arg, np.generic) or arg.itemsize != (8 if width == -1 else width):
                expected = "an array" if width == -1 else f"a NumPy scalar of {width} bytes"
                raise TypeError(f"argument {i} of {self.name} has type {type(arg).__name__}: expected {expected}")
            values.append(ctypes.create_string_buffer(arg.tobytes(), arg.itemsize))
        return values


def run_under(sanitizer: Sanitizer | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own, which can load a Module built with `sanitizer`."""
    names = {None: [], "thread": ["tsan"], "address,undefined": ["asan", "ubsan"]}[sanitizer]
    libraries = [_gcc(f"-print-file-name=lib{name}.so") for name in names]
    environment = {
        **os.environ,
        "LD_PRELOAD": ":".join(libraries),
        "TSAN_OPTIONS": "halt_on_error=1 exitcode=66",
        "ASAN_OPTIONS": "detect_leaks=0 exitcode=67",
        "UBSAN_OPTIONS": "halt_on_error=1 exitcode=68",
    }
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def _gcc(*arguments: str) -> str:
    """What g++ prints.   Raises EmulatorError if it fails."""
    # Under a sanitizer that is preloaded for this process the compiler would be slow, and hang at times.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    run = subprocess.run(["g++", *arguments], capture_output=True, text=True, check=False, env=environment)
    if run.returncode:
        raise EmulatorError(f"g++ refuses the source:\n{run.stderr}")
    return run.stdout.strip()


def _build(source: str, defines: list[str], sanitizer: Sanitizer | None) -> Path:
    """The shared library of `source`, from the cache where it was built before."""
    flags = ["-std=c++17", "-fPIC", f"-I{_HERE}"]
    # The runtime moves pointers in queues: as loops, because ThreadSanitizer intercepts memmove.
    runtime_flags = [*flags, "-O1", "-g", "-Wall", "-Werror", "-fno-tree-loop-distribute-patterns"]
    runtime_flags += ["-DEMULATOR_TSAN"] if sanitizer == "thread" else []
    # Most kernels run for milliseconds: without optimization, they compile in half the time.
    kernel_flags = [*flags, *defines, *(["-O1", "-g", f"-fsanitize={sanitizer}"] if sanitizer else ["-O0"])]
    header, runtime = (_HERE / "emulator.h").read_text(), (_HERE / "emulator.cpp").read_text()

    def compile_runtime(output: Path) -> None:
        _gcc(*runtime_flags, "-c", str(_HERE / "emulator.cpp"), "-o", str(output))

    def compile_kernel(output: Path) -> None:
        kernel = output.with_suffix(".cpp")
        kernel.write_text(source)
        _gcc(*kernel_flags, "-shared", str(kernel), str(runtime_object), "-o", str(output))

    runtime_object = cached(header + runtime + " ".join(runtime_flags), ".o", compile_runtime)
    return cached(header + runtime + source + " ".join(kernel_flags), ".so", compile_kernel)


def cached(content: str, suffix: str, make: Callable[[Path], None]) -> Path:
    """The file that `make` wrote for `content`, in the cache. It appears at once: no process sees half a file."""
    file = _CACHE / (hashlib.sha256(content.encode()).hexdigest()[:20] + suffix)
    if not file.exists():
        _CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_CACHE) as folder:
            fresh = Path(folder) / file.name
            make(fresh)
            fresh.replace(file)
    return file
