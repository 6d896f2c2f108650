"""Compiling and launching the recurrence's CUDA kernels through CuPy.

Everything runs on the current stream and on the current device; nothing waits for the device.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from xrnn.backends.cupy import choice
from xrnn.backends.cupy.cells import NAMED, CellKernel
from xrnn.backends.cupy.choice import Candidate, Device, Form, Request
from xrnn.backends.cupy.products import Cublas
from xrnn.ops import recurrence
from xrnn.ops.cell import Cell
from xrnn.ops.inputs import Inputs, Outputs, Trace
from xrnn.typing import Array

# Nanoseconds that a block polls before it gives up. If the driver ends kernels that run for long (two seconds on
# desktops), a block polls for less, and a launch has only as many steps as take a quarter of a second by prediction:
# if that is too small by a factor of four, the launch still takes less than a second.
PATIENCE: Final = 4_000_000_000
WATCHED_PATIENCE: Final = 500_000_000
WATCHED_SECONDS: Final = 0.25
# Elements of z that are computed at once, if z is not kept for backward: 128 MB in float32.
CHUNK: Final = 2**25
# Who launches: which word in host memory says that a kernel has given up. A self-test leaves the user's alone.
USER: Final = 0
SELF_TEST: Final = 1
COOPERATIVE: Final = ("group", "group-partial")  # forms whose blocks must all be resident
_HERE: Final = Path(__file__).parent
_CELLS: Final = _HERE.parent / "numpy" / "kernels" / "cells"
_INCLUDE: Final = re.compile(r'^#(?:pragma once|include "(.*)")$', re.MULTILINE)
_NULL: Final = np.uint64(0)
_MISSING: Final = [_NULL] * 4
_FLAGS: Final = np.int32(0), np.int32(1)


class LaunchError(RuntimeError):
    """A kernel could not be launched; the message is the driver's."""


class ContextLostError(RuntimeError):
    """A kernel ended in a way after which CUDA refuses every call of the process: no other form can run either."""


# Such as "cudaErrorIllegalAddress: an illegal memory access was encountered" and CUDA_ERROR_LAUNCH_TIMEOUT. cuBLAS has
# an error of its own for it.
_LOST: Final = re.compile(
    r"(illegal|misaligned|invalid)_?address|illegal_?instruction|invalid_?pc\b|error_?(assert|launch_?(fail|timeout))|"
    "hardware_?stack|ecc_?uncorrectable|cublas_status_execution_failed",
    re.IGNORECASE,
)


def raise_if_lost(error: Exception) -> None:
    """Raise ContextLostError if `error` is one, or says that the context is lost."""
    if isinstance(error, ContextLostError):
        raise error
    if _LOST.search(str(error)):
        why = " ".join(str(error).split())
        raise ContextLostError(
            f"the GPU's context is lost, and every later call of this process fails ({type(error).__name__}: {why}): "
            "start Python again; if it happens again, set XRNN_FUSED=0, which takes the plain forms"
        ) from error


@dataclass(frozen=True, slots=True)
class Variant:
    """A kernel and what it is compiled for."""

    cell: CellKernel
    form: Form
    backward: bool
    dtype: str
    rows: int = 1
    held: int = 8

    @classmethod
    def of(cls, candidate: Candidate, request: Request) -> Variant:
        tile = () if candidate.layout is None else (candidate.layout.rows, candidate.layout.held)
        return cls(request.cell, candidate.form, request.backward, request.dtype, *tile)

    def __str__(self) -> str:
        direction = "backward" if self.backward else "forward"
        tile = f" rows={self.rows} held={self.held}" if self.tiled else ""
        return f"{self.cell.template} {self.form} {direction} {self.dtype}{tile}"

    @property
    def name(self) -> str:
        """The name of the kernel function, and of its .cu file."""
        return self.form.replace("-", "_")

    @property
    def tiled(self) -> bool:
        return self.form in choice.HELD

    @property
    def cooperative(self) -> bool:
        return self.form in COOPERATIVE

    @property
    def options(self) -> tuple[str, ...]:
        real = {"float32": "float", "float64": "double"}[self.dtype]
        defines = {"REAL": real, "CELL": self.cell.template, "THREADS": choice.THREADS}
        if self.form == "scan":
            defines["AHEAD"] = choice.AHEAD
        if self.tiled:
            outputs = choice.max_outputs(self.cell, self.form, self.rows)
            loads = choice.LOADS[self.form]
            defines |= {"ROWS": self.rows, "HELD": self.held, "OUTPUTS": outputs, "LOADS": loads}
        return ("--std=c++17", *(f"-D{name}={value}" for name, value in defines.items()))

    @property
    def source(self) -> str:
        return source(self.form, self.cell.header, self.backward)


def variants() -> Iterator[Variant]:
    """Every variant that the selection can ask for, of one cell for each name (cells.py)."""
    for cell, dtype, backward in itertools.product(NAMED.values(), choice.ROWS, (False, True)):
        yield Variant(cell, "stepwise" if cell.fed else "scan", backward, dtype)
        for form in choice.HELD if cell.fed else ():
            if form == "group-partial" and not (backward and cell.fed > 1 and dtype == "float32"):
                continue
            for rows, held in choice.tiles(form, dtype):
                yield Variant(cell, form, backward, dtype, rows, held)


@functools.cache
def source(form: Form, header: str, backward: bool) -> str:
    """The CUDA source of a kernel as one text: CuPy's cache of compiled code doesn't see included files.

    The equations are those of the CPU's kernels: their cell headers as they are, without the lines that include.
    """
    tiled = ("tile.cu", "exchange.cu") if form in COOPERATIVE else ("tile.cu",) if form in choice.HELD else ()
    step = "backward.cu" if backward else "forward.cu"
    kernel = f"{form.replace('-', '_')}.cu"
    files = ("cell.cu", "device.cu", step, *tiled, kernel)
    paths = (_HERE / "prelude.cu", *_headers(_CELLS / header), *(_HERE / file for file in files))
    return "".join(f'#line 1 "{path.name}"\n{_INCLUDE.sub("", path.read_text())}' for path in paths)


def _headers(path: Path) -> list[Path]:
    """A cell's header, after those that it includes."""
    included = (path.parent / name for name in _INCLUDE.findall(path.read_text()) if name)
    return [*dict.fromkeys(itertools.chain(*map(_headers, included))), path]


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """A compiled kernel with its grid, and those of its arguments that are the same in each call."""

    candidate: Candidate
    request: Request
    kernel: Any
    grid: tuple[int, int, int]
    threads: int
    shared_bytes: int
    sizes: tuple[Any, ...]  # T, N, H, K. NumPy scalars, as all arguments: CuPy would send a Python int as 8 bytes
    layout: tuple[Any, ...]  # of the tile
    steps: int  # of a launch, at most
    watched: bool  # the driver ends kernels that run for long

    def __call__(self, *args: Any) -> None:
        try:
            self.kernel(self.grid, (self.threads,), args, shared_mem=self.shared_bytes)
        except Exception as error:
            raise_if_lost(error)
            raise LaunchError(f"{type(error).__name__}: {error}") from error


class Launcher:
    """The kernels of one CuPy module, compiled when first used, for each device."""

    def __init__(self, cupy: ModuleType) -> None:
        self.xp: Any = cupy
        self.cublas = Cublas(cupy)
        self._gemm = self.cublas.gemm
        self._kernels: dict[tuple[Variant, int], Any] = {}
        self._devices: dict[int, Device] = {}
        # A word in pinned memory for each device, stream and USER or SELF_TEST. Kernels write it at any time, so it is
        # never freed.
        self._gave_up: dict[tuple[int, int, int], tuple[np.ndarray[Any, np.dtype[np.uint32]], np.uint64]] = {}

    # ---- the device ----

    def device(self) -> Device:
        """What `choose` needs to know about the current device."""
        number = self.xp.cuda.runtime.getDevice()
        if number not in self._devices:
            current = self.xp.cuda.Device(number)
            attributes = current.attributes
            self._devices[number] = Device(
                self.xp.cuda.runtime.getDeviceProperties(number)["name"].decode(),
                current.compute_capability,
                attributes["MultiProcessorCount"],
                attributes["MaxSharedMemoryPerBlockOptin"],
                attributes["ClockRate"] * 1e3,
                attributes["L2CacheSize"],
                # Two transfers a clock cycle, which is in kHz; the width is in bits. If the driver tells neither, as
                # for memory that belongs to the CPU too: that of a small GPU.
                2e3 * attributes["MemoryClockRate"] * attributes["GlobalMemoryBusWidth"] / 8
                or min(device.bandwidth for device in choice.DEVICES.values()),
                bool(attributes["CooperativeLaunch"]),
                bool(attributes["KernelExecTimeout"]),
            )
        return self._devices[number]

    def gave_up(self, whose: int) -> bool:
        """Whether a kernel of the current stream has given up since the last question. Reads host memory: no wait."""
        word, _ = self._word(whose)
        if not word[0]:
            return False
        word[0] = 0
        return True

    def _word(self, whose: int) -> tuple[np.ndarray[Any, np.dtype[np.uint32]], np.uint64]:
        """The current stream's word, and its address. Callers on another stream don't see it."""
        cuda = self.xp.cuda
        key = cuda.runtime.getDevice(), cuda.get_current_stream().ptr, whose
        if key not in self._gave_up:
            word = np.frombuffer(cuda.alloc_pinned_memory(4), np.uint32, 1)
            word[0] = 0
            # Another thread on this stream may have been faster.
            self._gave_up.setdefault(key, (word, np.uint64(word.ctypes.data)))
        return self._gave_up[key]

    def raise_if_gave_up(self) -> None:
        """Raise RuntimeError, once, if a kernel that the user launched on the current stream has given up."""
        if self.gave_up(USER):
            raise RuntimeError(
                "a recurrence launched earlier gave up waiting for its own blocks, and its results are NaN: expected "
                "all of them to run at once; run it again, or with XRNN_FUSED=0, which takes the plain form"
            )

    def raise_if_capturing(self) -> None:
        """Raise RuntimeError if the current stream is being captured.

        The graph would use memory that CuPy gives to other arrays after this call, and CuPy cannot capture products.
        """
        if self.xp.cuda.get_current_stream().is_capturing():
            raise RuntimeError(
                "the stream is being captured into a CUDA graph: expected a call outside a capture, because CuPy's "
                "matrix products cannot be captured; end the capture first, and capture only your own operations"
            )

    # ---- kernels ----

    def bind(self, candidate: Candidate, request: Request) -> Bound:
        """The kernel of `candidate` for T steps of N rows. Compiles it at its first use on a device."""
        variant = Variant.of(candidate, request)
        m = candidate.layout
        sizes = tuple(map(np.int32, (request.T, request.N, request.units, request.head_units)))
        layout: tuple[Any, ...] = ()
        if m is None:
            pairs = request.N * request.units
            threads = choice.spread(self.device(), pairs)
            shared_bytes = 0
            grid = math.ceil(pairs / threads), 1, 1
        else:
            units = (m.units,) if variant.cooperative else ()
            layout = tuple(map(np.int32, (*units, m.column_threads, m.slice, m.pitch)))
            # CuPy would shrink a cooperative grid of one dimension that is too large.
            grid = (*candidate.grid, request.heads)
            threads = m.threads
            shared_bytes = m.shared_bytes
        watched = self.device().watchdog
        steps = request.T
        if watched and candidate.form != "stepwise":
            steps = max(1, min(steps, int(WATCHED_SECONDS / candidate.step_seconds)))
        kernel = self.compiled(variant)
        return Bound(
            candidate, request, kernel, grid, threads, shared_bytes, sizes, layout, steps=steps, watched=watched
        )

    def fits(self, bound: Bound) -> bool:
        """Whether the driver, too, says that all blocks of a group can be resident at once."""
        if bound.candidate.form not in COOPERATIVE:
            return True
        resident = self.xp.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor(
            bound.kernel.kernel.ptr, bound.threads, bound.shared_bytes
        )
        return bool(math.prod(bound.grid) <= resident * self.device().multiprocessors)

    def compiled(self, variant: Variant) -> Any:
        key = variant, self.xp.cuda.runtime.getDevice()
        if key not in self._kernels:
            module = self.xp.RawModule(
                code=variant.source, options=variant.options, enable_cooperative_groups=variant.cooperative
            )
            kernel = module.get_function(variant.name)
            # More than 48 KB must be asked for. It is a bound: each launch says how much it takes.
            kernel.max_dynamic_shared_size_bytes = self.device().shared_bytes
            self._kernels[key] = kernel
        return self._kernels[key]

    # ---- forward and backward ----

    def forward(self, bound: Bound, cell: Cell, inputs: Inputs, training: bool, whose: int = USER) -> Outputs:
        """The states after each step, and z if `training` and the cell keeps it: as `recurrence.forward`."""
        xp, dtype, form = self.xp, inputs.x.dtype, bound.candidate.form
        T, N, H, reverse = bound.request.T, bound.request.N, bound.request.H, inputs.reverse
        Wh = xp.ascontiguousarray(inputs.Wh)
        x = inputs.x if inputs.x.ndim == 3 else inputs.x[None]
        add = inputs.add  # past a row's end it reaches only z there, which has no meaning
        states = [xp.empty((T + 1, N, H), dtype) for _ in cell.states]
        if form == "group":
            _empty(states[0])
        keeps = training and cell.keeps_z
        length = min(bound.steps, T if keeps else max(1, CHUNK // (N * cell.pre * H)))
        z = xp.empty((T if keeps else length, N, cell.pre * H), dtype)
        given = [None if initial is None else xp.ascontiguousarray(initial) for initial in inputs.initial]
        if form == "stepwise":
            for state, initial in zip(states, given, strict=True):
                state[-1 if reverse else 0] = 0 if initial is None else initial
        own = self._own(cell.coefficients(xp, inputs.own), dtype)
        lengths = self._lengths(inputs)
        end = *bound.sizes[1:], _FLAGS[reverse], _FLAGS[keeps]
        for steps in _chunks(T, length, reverse):
            x_here = x
            add_here = add
            z_here = z
            around = states
            lengths_here = lengths
            count = bound.sizes[0]
            if length < T:
                count = np.int32(steps.stop - steps.start)
                x_here = x[steps]
                z_here = z[steps] if keeps else z[:count]
                add_here = None if add is None else add[steps]
                around = [state[steps.start : steps.stop + 1] for state in states]
                # They count from step 0.
                lengths_here = lengths if lengths is _NULL else lengths - np.int32(steps.start)
            recurrence.project_input(xp, self.cublas.dot, cell, inputs, x_here, add_here, z_here)
            args = z_here, *_each(around), *_each(given), *own, lengths_here, count, *end
            if form == "stepwise":
                self._forward_steps(bound, Wh, around[0], args, reverse)
            else:
                bound(Wh, *args, *bound.layout, *self._waiting(bound, whose))
            given = [state[0 if reverse else -1] for state in around]
        return states, z if keeps else None, None

    def backward(
        self,
        bound: Bound,
        cell: Cell,
        trace: Trace,
        dstates: Sequence[Array | None],
        coefficients: Sequence[Any],
        dparams: Sequence[Array] = (),
        whose: int = USER,
    ) -> tuple[Array, tuple[Array, ...]]:
        """→ dz (T, N, pre · H), dinitial (N, H) a state; adds to `dparams`: as `recurrence.through_time`."""
        xp, inputs, form = self.xp, trace.inputs, bound.candidate.form
        T, N, H, dtype = bound.request.T, bound.request.N, bound.request.H, inputs.x.dtype
        Wh = xp.ascontiguousarray(inputs.Wh)
        dz = xp.empty((T, N, cell.pre * H), dtype)
        if form == "group":
            _empty(dz)
        dinitial = [xp.empty((N, H), dtype) for _ in cell.states]
        d_own: Any = xp.zeros((N, len(dparams), bound.request.units), dtype) if dparams else _NULL
        dabove = [None if d is None else xp.ascontiguousarray(d) for d in dstates]
        z: Any = _NULL if trace.z is None else trace.z
        own = self._own(coefficients, dtype)
        lengths = self._lengths(inputs)
        end = *bound.sizes[1:], _FLAGS[inputs.reverse]
        for number, steps in enumerate(_chunks(T, bound.steps, not inputs.reverse)):
            z_here, around, dabove_here, dz_here = z, trace.states, dabove, dz
            lengths_here = lengths
            count = bound.sizes[0]
            if bound.steps < T:
                count = np.int32(steps.stop - steps.start)
                z_here = z if z is _NULL else z[steps]
                dz_here = dz[steps]
                around = [state[steps.start : steps.stop + 1] for state in trace.states]
                lengths_here = lengths if lengths is _NULL else lengths - np.int32(steps.start)
                dabove_here = [None if d is None else d[steps] for d in dabove]
            # Add the previous launch's gradients of its initial states to this chunk's last step (in reverse, its
            # first).
            if number:
                edge = slice(0, 1) if inputs.reverse else slice(int(count) - 1, None)
                dabove_here = [self._added(*pair, edge, count) for pair in zip(dabove_here, dinitial, strict=True)]
            gradients = dz_here, *_each(dinitial), d_own
            args = z_here, *_each(around), *_each(dabove_here), *gradients, *own, lengths_here, count, *end
            if form == "stepwise":
                self._backward_steps(bound, Wh, dz, args, inputs.reverse)
            else:
                parts = (xp.zeros((2, N, bound.grid[0], H), dtype),) if form == "group-partial" else ()
                bound(Wh, *args, *bound.layout, *self._waiting(bound, whose), *parts)
        if dparams:
            for dparam, d in zip(dparams, d_own.sum(axis=0), strict=True):
                dparam += d
        return dz, tuple(dinitial)

    def _forward_steps(self, launch: Bound, Wh: Array, h: Array, args: Any, reverse: bool) -> None:
        """A product and a kernel for each step. With heads, the kernel writes the operands of the next product."""
        T = len(h) - 1
        heads = launch.request.heads
        fed = None
        if heads > 1:
            first = h[T if reverse else 0].reshape(-1, *Wh.shape[:2])
            fed = first.swapaxes(0, 1).copy()  # of one row, ascontiguousarray would be a view of h
        else:
            Wh = Wh.reshape(h.shape[2], -1)  # one head has a third axis, too
            sums = self.xp.empty((h.shape[1], Wh.shape[1]), h.dtype)
        for i in range(T):
            if fed is None:
                self._gemm(h[T - i if reverse else i], Wh, sums, 0.0)
            else:
                sums = fed @ Wh
            launch(sums, _NULL if fed is None else fed, *args, np.int32(i))

    def _backward_steps(self, launch: Bound, Wh: Array, dz: Array, args: Any, reverse: bool) -> None:
        """A kernel and a product for each step, and a kernel that completes the gradient of the initial h."""
        T, N, z_width = dz.shape
        H = launch.request.H
        heads = launch.request.heads
        sums = self.xp.empty((N, H), dz.dtype)
        if heads > 1:
            WhT = self.xp.ascontiguousarray(Wh.swapaxes(1, 2))
            fed = self.xp.empty((heads, N, WhT.shape[1]), dz.dtype)
        else:
            WhT = Wh.reshape(H, -1).T
            fed = None if len(WhT) == z_width else self.xp.empty((N, len(WhT)), dz.dtype)
        for i in range(T + 1):
            if i > 0 and heads > 1:
                sums = fed @ WhT
            elif i > 0:
                multiplied = dz[i - 1 if reverse else T - i] if fed is None else fed
                self._gemm(multiplied, WhT, sums, 0.0)
            launch(sums, _NULL if fed is None else fed, *args, np.int32(i))

    def _added(self, d: Array | None, more: Array, edge: slice, count: Any) -> Array:
        """A copy of `d`, zeros if it is None, with `more` added at `edge`."""
        copy: Array = self.xp.zeros((int(count), *more.shape), more.dtype) if d is None else d.copy()
        copy[edge] += more
        return copy

    # ---- arguments ----

    def _own(self, coefficients: Sequence[Any], dtype: Any) -> tuple[Any, Any]:
        """The cell's coefficients (own, H), or null and the number that all units have."""
        if len(coefficients) > 1:
            return self.xp.stack(coefficients), dtype.type(0)
        one: Any = coefficients[0] if coefficients else 0.0
        if isinstance(one, (int, float)):
            return _NULL, dtype.type(one)
        return self.xp.ascontiguousarray(one), dtype.type(0)

    def _lengths(self, inputs: Inputs) -> Any:
        return _NULL if inputs.lengths is None else inputs.lengths.astype(np.int32)

    def _waiting(self, bound: Bound, whose: int) -> tuple[Any, ...]:
        """How long a block waits for others, and where it notes that it gave up."""
        if bound.candidate.form not in COOPERATIVE:
            return ()
        return np.int64(WATCHED_PATIENCE if bound.watched else PATIENCE), self._word(whose)[1]


def _empty(array: Array) -> None:
    """Set all bits: what the blocks of a group wait for (exchange.cu)."""
    array.view(f"int{8 * array.itemsize}").fill(-1)


def _each(arrays: Sequence[Any]) -> list[Any]:
    """An array for each of four states; null for one that is None or missing."""
    return [_NULL if array is None else array for array in arrays] + _MISSING[len(arrays) :]


def _chunks(T: int, length: int, reverse: bool) -> list[slice]:
    """The steps in the order of the run."""
    chunks = [slice(start, min(start + length, T)) for start in range(0, T, length)]
    return chunks[::-1] if reverse else chunks
