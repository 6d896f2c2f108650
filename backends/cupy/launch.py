"""Compiling and launching the recurrence's CUDA kernels through CuPy.

Everything runs on the current stream and on the current device; nothing waits for the device.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from xrnn.backends.cupy.choice import Candidate, Device
from xrnn.ops.cells.rnn import RNNCell
from xrnn.ops.inputs import Inputs, Trace
from xrnn.typing import Array

# Clock cycles that a block waits for another's states before it gives up: some seconds.
PATIENCE: Final = 1 << 33
# Whose launch it is: which word in host memory says that a kernel has given up. A comparison with the plain form
# (trust.py) leaves the user's alone.
USER: Final = 0
COMPARISON: Final = 1
_KERNELS: Final = {"one-block": "one_block", "group": "group"}
# Multiplications with addition in a cycle, float32 and float64, of a multiprocessor by compute capability (CUDA C
# programming guide, throughput of arithmetic instructions). Elsewhere: what the smaller GPUs have.
_RATES: Final = {"80": (64, 32), "90": (128, 64), "100": (128, 64)}
_OTHER_RATES: Final = (128, 2)
# Of shared memory, for 16 bytes that all threads of a warp read, by compute capability; elsewhere one.
_BROADCAST_WAVEFRONTS: Final = {"90": 2}


class LaunchError(RuntimeError):
    """A kernel could not be launched; the message is the driver's."""


@functools.cache
def source(form: str) -> str:
    """The CUDA source of a form's kernel, as one text: CuPy's cache of compiled code doesn't see included files."""
    folder = Path(__file__).parent
    names = ("tile.cu", "device.cu", f"{_KERNELS[form]}.cu")
    return "".join(f'#line 1 "{name}"\n{(folder / name).read_text()}' for name in names)


def options(dtype: Any, rows: int, kept: int, backward: bool) -> tuple[str, ...]:
    """The compiler options that make one variant of a kernel (see tile.cu)."""
    real = {"float32": "float", "float64": "double"}[np.dtype(dtype).name]
    return ("--std=c++17", f"-DREAL={real}", f"-DROWS={rows}", f"-DKEPT={kept}", f"-DBACKWARD={int(backward)}")


class Launcher:
    """The kernels of one CuPy module, compiled when first used, for each device."""

    def __init__(self, cupy: ModuleType) -> None:
        self.xp: Any = cupy
        self._kernels: dict[tuple[Any, ...], Any] = {}
        self._devices: dict[int, Device] = {}
        # A word in pinned memory for each device, stream and USER or COMPARISON. Kernels write it at any time, so it
        # stays where it is for good.
        self._gave_up: dict[tuple[int, int, int], np.ndarray[Any, np.dtype[np.uint32]]] = {}

    def device(self) -> Device:
        """What `choose` needs to know of the current device."""
        current = self.xp.cuda.Device()
        if current.id not in self._devices:
            attributes = current.attributes
            self._devices[current.id] = Device(
                self.xp.cuda.runtime.getDeviceProperties(current.id)["name"].decode(),
                attributes["MultiProcessorCount"],
                attributes["MaxSharedMemoryPerBlockOptin"],
                attributes["ClockRate"] * 1e3,
                *_RATES.get(current.compute_capability, _OTHER_RATES),
                cooperative=bool(attributes["CooperativeLaunch"]),
                broadcast_wavefronts=_BROADCAST_WAVEFRONTS.get(current.compute_capability, 1),
            )
        return self._devices[current.id]

    def gave_up(self, whose: int) -> bool:
        """Whether a kernel of the current stream has given up waiting since this was last asked.

        It looks at host memory: no wait.
        """
        word = self._word(whose)
        if not word[0]:
            return False
        word[0] = 0
        return True

    def _word(self, whose: int) -> np.ndarray[Any, np.dtype[np.uint32]]:
        """By which the current stream's kernels say that they gave up: whoever uses another stream doesn't see it."""
        cuda = self.xp.cuda
        key = cuda.runtime.getDevice(), cuda.get_current_stream().ptr, whose
        if key not in self._gave_up:
            word = np.frombuffer(cuda.alloc_pinned_memory(4), np.uint32, 1)
            word[0] = 0
            self._gave_up.setdefault(key, word)  # another thread on this stream may have made it meanwhile
        return self._gave_up[key]

    def raise_if_gave_up(self) -> None:
        """Raise RuntimeError once after a kernel that the user launched on the current stream has given up waiting."""
        if self.gave_up(USER):
            raise RuntimeError(
                "a recurrence launched earlier gave up waiting for its own blocks, and its results are NaN: expected "
                "all of them to run at once; run it again, or with XRNN_FUSED=0, which takes the plain form"
            )

    def fits(self, candidate: Candidate, dtype: Any, backward: bool) -> bool:
        """Whether the driver, too, says that all blocks of a group can be resident at once."""
        if candidate.form != "group":
            return True
        resident = self.xp.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor(
            self._kernel(candidate, dtype, backward).kernel.ptr, candidate.threads, candidate.shared_bytes
        )
        return bool(math.prod(candidate.grid) <= resident * self.device().multiprocessors)

    def forward(self, candidate: Candidate, cell: RNNCell, inputs: Inputs, whose: int = USER) -> Trace:
        """h[t] = φ(x[t] @ Wx + h[t-1] @ Wh + b), the loop over time in one kernel."""
        xp = self.xp
        x, (h_prev,) = inputs.x, inputs.initial
        (T, N, D), H = inputs.sizes(), inputs.b.shape[0]
        Wh = xp.ascontiguousarray(inputs.Wh)

        hs = xp.empty((T + 1, N, H), dtype=x.dtype)
        hs[0] = 0 if h_prev is None else h_prev
        # In a group hs tells what has arrived, and can't hold the input's share as well.
        start = xp.empty((T, N, H), dtype=x.dtype) if candidate.form == "group" else hs[1:]
        z = start.reshape(T * N, H)
        xp.matmul(x.reshape(T * N, D), inputs.Wx, out=z)
        z += inputs.b
        self._launch(candidate, cell, Wh, start, hs, hs, hs[1:], backward=False, whose=whose)
        return Trace(inputs, (hs,))

    def backward(
        self, candidate: Candidate, cell: RNNCell, trace: Trace, dh: Array, whose: int = USER
    ) -> tuple[Array, Array]:
        """dz[t] = (dh[t] + dz[t+1] @ Whᵀ) · φ'(z[t]), the loop over time in one kernel → dz, dh_prev."""
        xp = self.xp
        (hs,) = trace.states
        WhT = xp.ascontiguousarray(trace.inputs.Wh.T)

        dz = xp.empty(dh.shape, dtype=dh.dtype)
        self._launch(candidate, cell, WhT, xp.ascontiguousarray(dh), hs, dz, dz, backward=True, whose=whose)
        return dz, xp.matmul(dz[0], WhT)

    def _launch(
        self,
        candidate: Candidate,
        cell: RNNCell,
        W: Array,
        start: Array,
        hs: Array,
        state: Array,
        to_fill: Array,
        *,
        backward: bool,
        whose: int,
    ) -> None:
        """Fill the part `to_fill` of `state`; the arrays are those of tile.cu."""
        T, N, H = start.shape
        sizes = T, N, H, cell.nonlinearity == "relu"
        layout = candidate.columns, candidate.column_threads, candidate.slice, candidate.pitch
        # NumPy scalars: CuPy would send a Python int as 8 bytes.
        args = [W, start, hs, state, *map(np.int32, (*sizes, *layout))]
        if candidate.form == "group":
            to_fill.view(f"int{8 * state.itemsize}").fill(-1)  # all bits set: empty
            args += [np.int64(PATIENCE), np.uint64(self._word(whose).ctypes.data)]
        # CuPy refuses a cooperative grid that is too large, but it shrinks one of a single group, with a warning:
        # `fits` is asked before.
        kernel = self._kernel(candidate, state.dtype, backward)
        try:
            kernel(candidate.grid, (candidate.threads,), tuple(args), shared_mem=candidate.shared_bytes)
        except Exception as error:
            raise LaunchError(f"{type(error).__name__}: {error}") from error

    def _kernel(self, candidate: Candidate, dtype: Any, backward: bool) -> Any:
        form, variant = candidate.form, options(dtype, candidate.rows, candidate.kept, backward)
        key = (form, variant, self.xp.cuda.runtime.getDevice())
        if key not in self._kernels:
            module = self.xp.RawModule(code=source(form), options=variant, enable_cooperative_groups=form == "group")
            kernel = module.get_function(_KERNELS[form])
            # More than 48 KB have to be asked for. It is a bound: each launch says what it takes.
            kernel.max_dynamic_shared_size_bytes = self.device().shared_bytes
            self._kernels[key] = kernel
        return self._kernels[key]
