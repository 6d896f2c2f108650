"""`RawModule`: CuPy's way to CUDA source, run by whatever is plugged in."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.standin._device import Device, launch
from tests.standin._memory import DeviceMemory

# Makes a module from code= and options= of a RawModule: an emulator, whose kernels take host arrays and NumPy scalars.
# None: no RawModule can be made.
compiler: Callable[..., Any] | None = None


class RawModule:
    """A module of kernels compiled from source, or read from `path`."""

    def __init__(
        self,
        code: str | None = None,
        *,
        path: str | None = None,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        translate_cucomplex: bool = False,
        enable_cooperative_groups: bool = False,
        name_expressions: Sequence[str] | None = None,
        jitify: bool | None = None,
    ) -> None:
        if compiler is None:
            raise NotImplementedError("nothing is plugged into tests.standin.raw.compiler to run CUDA source with")
        if path is not None or name_expressions is not None:
            raise NotImplementedError("the stand-in compiles source, without names of templates")
        if not isinstance(options, tuple):
            raise TypeError(f"options is a {type(options)}: CuPy takes a tuple")
        self.enable_cooperative_groups = enable_cooperative_groups
        self._module = compiler(code=code, options=options)

    def get_function(self, name: str) -> RawFunction:
        return RawFunction(name, self._module.get_function(name), self.enable_cooperative_groups)


class RawFunction:
    """One kernel of a module."""

    # Set it before a launch that asks for more, as CUDA demands.
    max_dynamic_shared_size_bytes = 48 * 1024

    def __init__(self, name: str, run: Callable[..., None], enable_cooperative_groups: bool) -> None:
        self.name, self._run, self.enable_cooperative_groups = name, run, enable_cooperative_groups

    @property
    def kernel(self) -> SimpleNamespace:
        """CuPy's Function, of which only the handle is public."""
        return SimpleNamespace(ptr=id(self))

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], *, shared_mem: int = 0
    ) -> None:
        arrays = [arg for arg in args if isinstance(arg, DeviceMemory)]
        for i, arg in enumerate(args):
            # CuPy sends a Python int or float as 8 bytes whatever the kernel's parameter is, and ignores strides.
            if not isinstance(arg, (DeviceMemory, np.generic)):
                raise TypeError(f"argument {i} of {self.name} is a {type(arg)}: pass a NumPy scalar or a device array")
            if isinstance(arg, DeviceMemory) and not arg._host.flags.c_contiguous:
                raise ValueError(f"argument {i} of {self.name} is not contiguous, and a kernel ignores strides")
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise ValueError(f"{self.name} is launched with {shared_mem} bytes of shared memory: CUDA's invalid value")
        if self.enable_cooperative_groups and math.prod(grid) > Device.attributes["MultiProcessorCount"]:
            # CuPy launches fewer blocks, with a warning, where the grid has one axis.
            raise ValueError(f"{self.name} is launched with a grid {grid}: its blocks can't all be resident at once")
        launch("raw_kernels", *(array.device for array in arrays))
        hosts = [arg._host if isinstance(arg, DeviceMemory) else arg for arg in args]
        self._run(grid, block, hosts, shared_mem=shared_mem)
