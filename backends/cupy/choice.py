"""Which form of a recurrence runs on a GPU: a function of the device, the cell, the direction and the sizes.

`candidates` lists every form that fits, with its resources and a predicted time; `choose` takes the fastest. Nothing
here needs CuPy or a GPU. T time steps, N batch, D input size, H hidden size.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from xrnn.backends.cupy.cells import NAMED, CellKernel

Form: TypeAlias = Literal["plain", "scan", "stepwise", "one-block", "group", "group-partial"]

# What the kernels are compiled for; launch.py hands these numbers to the compiler. Tests compile the combinations and
# make sure that none spills registers (tests/cuda/test_resources.py).
THREADS: Final = 256  # of a block, at most: a thread may then have 255 registers
ROWS: Final = {"float32": (1, 2, 4), "float64": (1, 2)}  # batch rows of a tile
# Weight rows in registers, and requests that a thread has in flight (exchange.cu), of the forms that have tiles.
HELD: Final[dict[Form, tuple[int, ...]]] = {"one-block": (8, 16, 32), "group": (16, 32), "group-partial": (16, 32)}
LOADS: Final[dict[Form, int]] = {"one-block": 4, "group": 4, "group-partial": 8}
AHEAD: Final = 8  # rounds whose inputs a thread of the scan form has requested (scan.cu)
VECTOR_BYTES: Final = 16  # the columns of a thread
WARP: Final = 32
MAX_SIZE: Final = 2**30  # of T, N and H: the kernels count them, and a little beyond, in 32 bits
MAX_HEADS: Final = 65_535  # of a grid, in its third dimension
MAX_PARTIAL_H: Final = 1024  # group-partial: a block computes all columns of a head
L2_SHARE: Final = 0.5  # share of L2 for arrays that must stay in L2

# Costs of the prediction, in seconds or clock cycles: estimates, none of them measured yet.
EXCHANGE: Final = 0.7e-6  # from a write in one block to its arrival in another, through L2
ROUND_TRIP: Final = 0.35e-6  # a read from L2
MEMORY_TRIP: Final = 0.7e-6  # a read from memory
TILE_GAP: Final = 0.1e-6  # group-partial: between two tiles of a step, whose sums have arrived
HOST_STEP: Final = 24e-6  # stepwise: a product and a kernel, launched from Python; 18 to 30 µs
DEVICE_STEP: Final = 2.5e-6  # stepwise: the kernel on the device, beside the product
LAUNCH: Final = 8e-6  # a kernel, launched from Python
STEP_CYCLES: Final = 300  # two barriers of a block, the nonlinearity, and filling the pipelines
BARRIER_CYCLES: Final = 40  # of these, for a barrier of a block that is one of a warp
SLICE_CYCLES: Final = 12  # adding one more sum of slices to an output: an addition that waits for a read
PART_CYCLES: Final = 4  # the same for each further part of Wh: the sums of the parts overlap
SHUFFLE_CYCLES: Final = 30  # until a lane has added what another one sent
SCAN_CYCLES: Final = 60  # scan: the instructions of a warp in a step, with one gate and its reads and writes
SHARED_BYTES_PER_CYCLE: Final = 128
L2_BYTES_PER_CYCLE: Final = 64  # of one multiprocessor, if few others read
L2_SHARED_BYTES_PER_CYCLE: Final = 23  # of each multiprocessor, if all of them read
SCHEDULERS: Final = 4  # of a multiprocessor: they share its rate of arithmetic
SCATTERED_BYTES_PER_CYCLE: Final = 32  # group-partial: 4-byte reads, of one multiprocessor
PRODUCT_EFFICIENCY: Final = 0.5  # of the peak rate, for large products


# By compute capability: multiply-adds of a multiprocessor in a cycle, in float32 and float64 (CUDA C programming guide,
# throughput of arithmetic instructions), and the wavefronts of shared memory for 16 bytes that all threads of a warp
# read. Elsewhere: those of the smaller GPUs.
_RATES: Final = {"75": (64, 2, 1), "80": (64, 32, 1), "90": (128, 64, 2), "100": (128, 64, 1)}
_OTHER_RATES: Final = (128, 2, 1)
# The same in TF32, on the tensor cores, with float32 sums; elsewhere that of float32. bfloat16: twice that.
_TF32_RATES: Final = {"80": 512, "90": 1024, "100": 2048}


@dataclass(frozen=True, slots=True)
class Device:
    """What the choice needs to know about a GPU."""

    name: str
    capability: str  # "75" is 7.5
    multiprocessors: int
    shared_bytes: int  # of one block, at most
    clock: float  # cycles a second
    l2_bytes: int
    bandwidth: float  # of its memory, bytes a second
    cooperative: bool = True  # can launch a grid whose blocks are all resident
    watchdog: bool = False  # the driver ends kernels that run for long

    @property
    def float32_rate(self) -> int:
        return _RATES.get(self.capability, _OTHER_RATES)[0]

    @property
    def broadcast_wavefronts(self) -> int:
        return _RATES.get(self.capability, _OTHER_RATES)[2]

    def product_rate(self, dtype: str, precision: str) -> int:
        """Multiply-adds per cycle and multiprocessor of a cuBLAS product."""
        if dtype != "float32" or precision not in ("tf32", "bfloat16") or int(self.capability) < 80:
            return self.rate(dtype)
        return _TF32_RATES.get(self.capability, self.float32_rate) * (1 + (precision == "bfloat16"))

    def bandwidth_of(self, moved: float) -> tuple[float, float]:
        """Bytes a second, and the seconds of one read, of an array of `moved` bytes that was just written."""
        if moved < L2_SHARE * self.l2_bytes:
            return L2_SHARED_BYTES_PER_CYCLE * self.multiprocessors * self.clock, ROUND_TRIP
        return self.bandwidth, MEMORY_TRIP

    def rate(self, dtype: str) -> int:
        return _RATES.get(self.capability, _OTHER_RATES)[1] if dtype == "float64" else self.float32_rate


# For `python -m benchmarks.gpu.choices --device NAME`, from the vendor's data sheets.
DEVICES: Final = {
    "t4": Device("NVIDIA T4", "75", 40, 65_536, 1.59e9, 4 << 20, 320e9),
    "l4": Device("NVIDIA L4", "89", 58, 101_376, 2.04e9, 48 << 20, 300e9),
    "4060": Device("NVIDIA RTX 4060", "89", 24, 101_376, 2.46e9, 24 << 20, 272e9),
    "4090": Device("NVIDIA RTX 4090", "89", 128, 101_376, 2.52e9, 72 << 20, 1008e9),
    "5090": Device("NVIDIA RTX 5090", "120", 170, 101_376, 2.41e9, 96 << 20, 1792e9),
    "a100": Device("NVIDIA A100", "80", 108, 166_912, 1.41e9, 40 << 20, 1555e9),
    "h100": Device("NVIDIA H100", "90", 132, 232_448, 1.83e9, 50 << 20, 3350e9),
    "h200": Device("NVIDIA H200", "90", 132, 232_448, 1.83e9, 50 << 20, 4800e9),
    "b200": Device("NVIDIA B200", "100", 148, 232_448, 1.85e9, 126 << 20, 8000e9),
}


@dataclass(frozen=True, slots=True)
class Request:
    """A recurrence to choose a form for."""

    cell: CellKernel
    backward: bool
    dtype: str
    T: int
    N: int
    D: int
    H: int
    heads: int = 1
    precision: str = field(default="float32", kw_only=True)  # of the library's products; the kernels compute in dtype

    @property
    def units(self) -> int:
        return self.H // self.cell.components

    @property
    def head_units(self) -> int:
        return self.units // self.heads

    @property
    def has_kernels(self) -> bool:
        return self.dtype in ROWS and 0 < min(self.T, self.N, self.H) <= max(self.T, self.N, self.H) <= MAX_SIZE

    @property
    def has_product(self) -> bool:
        return self.has_kernels and self.cell.fed > 0

    @property
    def itemsize(self) -> int:
        return np.dtype(self.dtype).itemsize

    @property
    def vector(self) -> int:
        return VECTOR_BYTES // self.itemsize

    def weights(self, form: Form, units: int) -> tuple[int, int]:
        """K and the columns of the matrix that a block of `units` units multiplies by (tile.cu)."""
        fed, K = self.cell.fed, self.head_units
        if not self.backward:
            return K, fed * units
        return (fed * units, K) if form == "group-partial" else (fed * K, units)

    def product_seconds(self, device: Device, M: int, K: int, P: int, heads: int = 1) -> float:
        """A product (M, K) @ (K, P) of the library, of each head: its arithmetic, or its operands from L2 or memory."""
        precision = self.precision if heads == 1 else "float32"  # products.py
        rate = device.product_rate(self.dtype, precision) * device.multiprocessors * device.clock
        moved = heads * self.itemsize * (M * K + K * P + M * P)
        return max(heads * M * K * P / (rate * PRODUCT_EFFICIENCY), moved / device.bandwidth_of(moved)[0])

    def weights_seconds(self, device: Device, form: Form, layout: Layout, blocks: int) -> float:
        """The time in which each of `blocks` blocks reads its weights, all at once."""
        K, columns = self.weights(form, layout.units)
        share = K * columns * self.itemsize / (_l2_rate(device, blocks) * device.clock)
        # The share in registers is requested at once; of the rest, a Vector of rows at a time.
        return share + MEMORY_TRIP * (1 + (layout.slice - layout.held) / self.vector)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a block holds its weights (tile.cu), and what the kernel is compiled for."""

    rows: int
    held: int
    units: int
    column_threads: int
    slice: int
    pitch: int
    threads: int
    shared_bytes: int

    @property
    def span(self) -> int:
        """Threads side by side whose sums of a product shuffles add: a warp, or those of one slice."""
        return self.column_threads if WARP % self.column_threads else min(WARP, self.threads)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A form with its launch and its predicted cost."""

    form: Form
    seconds: float  # predicted: the complete loop over time; forward with the input's product
    step_seconds: float  # predicted: one step
    grid: tuple[int, int] = (0, 0)  # of each head; group: (blocks that share Wh, groups that split the batch)
    layout: Layout | None = None  # None for forms without tiles


def choose(device: Device, request: Request) -> Candidate:
    """The candidate with the smallest predicted time."""
    return min(candidates(device, request), key=lambda candidate: candidate.seconds)


@functools.lru_cache(maxsize=256)
def candidates(device: Device, r: Request) -> tuple[Candidate, ...]:
    """Every form of `FORMS` that fits, the one without limits first."""
    product = 0.0 if r.backward else r.product_seconds(device, r.T * r.N, r.D, r.cell.pre * r.H)
    fitting = (estimate(device, r, form, product) for form, (fits, estimate) in FORMS.items() if fits(device, r))
    return tuple(itertools.chain.from_iterable(fitting))


def _each_step(device: Device, r: Request, form: Form, product: float) -> Iterator[Candidate]:
    K = r.head_units
    step = max(HOST_STEP, r.product_seconds(device, r.N, K, r.cell.fed * K, r.heads) + DEVICE_STEP)
    yield Candidate(form, 2 * LAUNCH + product + r.T * step, step)


def _scan(device: Device, r: Request, form: Form, product: float) -> Iterator[Candidate]:
    """A step moves z, the states and their gradients. If few threads wait for them, the time of a read counts.

    Forward, z is written and read. Backward, dz is written, and z is read if the cell keeps it.
    """
    z = r.cell.pre * (1 + (not r.backward or r.cell.cell.keeps_z))
    moved = r.itemsize * r.N * r.H * (z + (1 + r.backward) * r.cell.states)
    bandwidth, trip = device.bandwidth_of(r.T * moved)
    warps = math.ceil(r.N * r.units / WARP / device.multiprocessors)  # of a multiprocessor; a warp has one scheduler
    turns = math.ceil(warps / SCHEDULERS) * SCHEDULERS * WARP / device.rate(r.dtype)
    cycles = turns * (SCAN_CYCLES + r.cell.cycles)
    step = max(moved / bandwidth, trip / AHEAD, cycles / device.clock)
    yield Candidate(form, 3 * LAUNCH + product + r.T * step, step)


def spread(device: Device, threads: int) -> int:
    """Threads of a block of a form without tiles: few, so that the blocks are on all multiprocessors."""
    return min(THREADS, WARP * math.ceil(threads / WARP / device.multiprocessors))


def _one_block(device: Device, r: Request, form: Form, product: float) -> Iterator[Candidate]:
    for rows in ROWS[r.dtype]:
        layout = _best_layout(device, r, form, r.head_units, rows)
        if layout is None:
            continue
        grid = math.ceil(r.N / rows), 1
        blocks = grid[0] * r.heads
        waves = math.ceil(blocks / device.multiprocessors)
        step = waves * _tile_cycles(device, r, form, layout) / device.clock
        weights = waves * r.weights_seconds(device, form, layout, min(blocks, device.multiprocessors))
        yield Candidate(form, 3 * LAUNCH + product + weights + r.T * step, step, grid, layout)


def _groups(device: Device, r: Request, form: Form, product: float) -> Iterator[Candidate]:
    # Units that fill Vectors. Several S round to the same number of units: the fewest blocks for each.
    per_unit = r.weights(form, 1)[1]
    grain = 1 if form == "group-partial" else r.vector // math.gcd(r.vector, per_unit)
    most = device.multiprocessors // r.heads  # blocks of a head
    for units in sorted({grain * math.ceil(r.head_units / S / grain) for S in range(2, most + 1)}):
        S = math.ceil(r.head_units / units)
        if S < 2:
            continue
        G = min(most // S, r.N)
        share = math.ceil(r.N / G)
        fitting = [rows for rows in ROWS[r.dtype] if rows >= share]
        # A tile that holds the share, or smaller ones: they need fewer threads and less shared memory.
        for rows in ROWS[r.dtype][: ROWS[r.dtype].index(fitting[0]) + 1] if fitting else ROWS[r.dtype]:
            layout = _best_layout(device, r, form, units, rows)
            if layout is None or (form == "group-partial" and L2_SHARE * device.l2_bytes < 8 * r.N * S * r.H):
                continue
            cycles = _tile_cycles(device, r, form, layout) + _bring_cycles(device, r, form, layout, S * G * r.heads)
            tile = cycles / device.clock
            gap = TILE_GAP if form == "group-partial" else ROUND_TRIP
            # The first tile of a step waits for the others' last step; the rest has arrived in the meantime.
            step = EXCHANGE + tile + (math.ceil(share / rows) - 1) * (gap + tile)
            weights = r.weights_seconds(device, form, layout, S * G * r.heads)
            yield Candidate(form, 4 * LAUNCH + product + weights + r.T * step, step, (S, G), layout)


def _is_group(device: Device, r: Request) -> bool:
    # A head has a piece of each part of dz. A group reads whole vectors of these pieces (exchange.cu).
    whole = not r.backward or r.cell.fed == 1 or r.heads == 1 or r.head_units % r.vector == 0
    return r.has_product and device.cooperative and whole


def _is_partial_group(device: Device, r: Request) -> bool:
    small = r.dtype == "float32" and r.head_units <= MAX_PARTIAL_H
    return r.has_product and device.cooperative and r.backward and r.cell.fed > 1 and small


# By form: whether it fits, and its candidates with their predicted times, to which the input's product is added.
FORMS: Final[dict[Form, tuple[Callable[[Device, Request], bool], Callable[..., Iterator[Candidate]]]]] = {
    # the array library's operations; the only form for other dtypes and empty arrays
    "plain": (lambda device, r: not r.has_kernels, _each_step),
    # one thread for each unit of a row: every size, the only form of a cell without a recurrent product
    "scan": (lambda device, r: r.has_kernels and not r.cell.fed, _scan),
    # a product of the library and one kernel a step: every size
    "stepwise": (lambda device, r: r.has_product, _each_step),
    # if a block can hold all of Wh
    "one-block": (lambda device, r: r.has_product and r.heads <= MAX_HEADS, _one_block),
    # if S blocks can hold the Wh of a head, and the S · G blocks of all heads are resident at once. A block leaves no
    # room for a second one on its multiprocessor (256 threads of up to 255 registers). G is as large as that allows.
    "group": (_is_group, _groups),
    # backward of cells with several parts of Wh, in float32: a group that exchanges less
    "group-partial": (_is_partial_group, _groups),
}


def _best_layout(device: Device, r: Request, form: Form, units: int, rows: int) -> Layout | None:
    """The fastest layout; None if the threads or the shared memory are too few.

    The most threads have the smallest shares of the weights. Fewer threads, with a share that the registers hold, may
    still be faster.
    """
    K, columns = r.weights(form, units)
    slices = THREADS // math.ceil(columns / r.vector)
    if slices < 1:
        return None
    share = r.vector * math.ceil(K / slices / r.vector)
    # The most rows in registers come first: of layouts that take as long, the first is taken.
    helds = sorted((held for of_tile, held in tiles(form, r.dtype) if of_tile == rows), reverse=True)
    layouts = (layout(r, form, units, rows, held, max(share, held)) for held in helds)
    fitting = [one for one in layouts if one is not None and one.shared_bytes <= device.shared_bytes]
    return min(fitting, default=None, key=lambda one: _tile_cycles(device, r, form, one))


def layout(r: Request, form: Form, units: int, rows: int, held: int, share: int) -> Layout | None:
    """A block's threads and shared memory, if each thread has `share` rows of the weights, `held` of them in registers.

    None if that takes too many threads.
    """
    K, columns = r.weights(form, units)
    column_threads = math.ceil(columns / r.vector)
    finishing = math.ceil(rows * units / max_outputs(r.cell, form, rows))  # threads, for all outputs of a tile
    slices = max(math.ceil(K / share), math.ceil(finishing / column_threads))
    if WARP % column_threads == 0:  # the slices fill warps, or a power of two of them a part of one
        in_warp = min(WARP // column_threads, 1 << (slices - 1).bit_length())
        slices = in_warp * math.ceil(slices / in_warp)
    threads = slices * column_threads
    if threads > THREADS:
        return None
    pitch = share + r.vector * (share // r.vector % 2 == 0)  # an odd number of vectors
    found = Layout(rows, held, units, column_threads, share, pitch, threads, 0)
    operands = rows * slices * pitch
    partial = threads // found.span * rows * column_threads * r.vector
    if form == "group" and WARP % column_threads == 0 and threads > WARP:
        partial *= 2  # group.cu
    gathered = threads if form == "group-partial" else 0
    shared_bytes = (share - held) * threads * VECTOR_BYTES + (operands + partial + gathered) * r.itemsize
    return replace(found, shared_bytes=shared_bytes)


def tiles(form: Form, dtype: str) -> list[tuple[int, int]]:
    """The pairs of ROWS and HELD that kernels are compiled for."""
    pairs = itertools.product(ROWS[dtype], HELD[form])
    # One block with four rows and 32 held is never the fastest: a block with so few slices has too few threads.
    return [(rows, held) for rows, held in pairs if form != "one-block" or rows * held <= 64]


def max_outputs(cell: CellKernel, form: Form, rows: int) -> int:
    """The (row, unit) pairs of a tile that one thread computes a step for.

    Cells with one part of Wh have registers for several. They need them: else a block with many units would have few
    rows. In the one-block form, whose states stay in registers, there is room for two.
    """
    if cell.fed > 1 or form == "group-partial":
        return 1
    return rows if form == "group" else min(rows, 2)


def _tile_cycles(device: Device, r: Request, form: Form, layout: Layout) -> float:
    """Clock cycles from a tile's operands in shared memory to its outputs: arithmetic or shared memory, sums, waits."""
    rows, threads, share, vector = layout.rows, layout.threads, layout.slice, r.vector
    # A warp is always on the same scheduler: few warps use few of them.
    warps = math.ceil(threads / WARP)
    arithmetic = rows * share * vector * WARP * math.ceil(warps / SCHEDULERS) * SCHEDULERS / device.rate(r.dtype)
    weights = (share - layout.held) * threads * VECTOR_BYTES
    broadcasts = rows * share // vector * warps  # of 16 bytes
    operands = broadcasts * device.broadcast_wavefronts * SHARED_BYTES_PER_CYCLE
    sums = threads // layout.span
    partial = 2 * sums * rows * layout.column_threads * VECTOR_BYTES
    product = max(arithmetic, (weights + operands + partial) / SHARED_BYTES_PER_CYCLE)
    parts = 1 if r.backward else r.cell.fed
    added = (SLICE_CYCLES + PART_CYCLES * (parts - 1)) * sums * math.ceil(rows * layout.units / threads)
    shuffles = _shuffle_cycles(rows * vector, layout.span // layout.column_threads, warps)
    barrier = BARRIER_CYCLES if form == "group" and layout.span == WARP < threads else 0
    return product + shuffles + added + STEP_CYCLES - barrier + r.cell.cycles


def _shuffle_cycles(elements: int, lanes: int, warps: int) -> float:
    """Clock cycles in which each warp of a block adds `elements` over `lanes` lanes (add_lanes in tile.cu)."""
    turns = range(1, lanes.bit_length())
    return sum(SHUFFLE_CYCLES + max(1, elements >> turn) * warps for turn in turns)


def _bring_cycles(device: Device, r: Request, form: Form, layout: Layout, blocks: int) -> float:
    """Clock cycles to read a tile's operands from L2, the first of which have just arrived. All blocks read at once."""
    rate = _l2_rate(device, blocks)
    K, _ = r.weights(form, layout.units)
    if form == "group-partial":
        size = layout.rows * r.head_units * r.itemsize
        trips = math.ceil(layout.rows * r.head_units / (LOADS[form] * layout.threads))
        cycles = size / rate + size / min(SCATTERED_BYTES_PER_CYCLE, rate)
        outputs = layout.rows * layout.units
        threads = layout.threads
        lanes = 1 if WARP % outputs or threads % WARP else WARP // outputs
        cycles += _shuffle_cycles(1, lanes, math.ceil(threads / WARP)) + SLICE_CYCLES * (threads // outputs // lanes)
    else:
        trips = math.ceil(K / (layout.threads * r.vector * (LOADS[form] // layout.rows)))
        cycles = layout.rows * K * r.itemsize / rate
    return cycles + (trips - 1) * ROUND_TRIP * device.clock


def _l2_rate(device: Device, blocks: int) -> float:
    """Bytes per cycle that each of `blocks` blocks reads from L2."""
    return min(L2_BYTES_PER_CYCLE, L2_SHARED_BYTES_PER_CYCLE * device.multiprocessors / blocks)


def table(device: Device, request: Request) -> str:
    """The candidates with their resources and predicted times; → marks the chosen one."""
    r = request
    chosen = choose(device, request)
    lines = [
        f"{r.cell.name} {'backward' if r.backward else 'forward'}, {r.dtype}, T={r.T} N={r.N} D={r.D} H={r.H}"
        f"{f' heads={r.heads}' if r.heads > 1 else ''}, on {device.name}; times are predicted, not measured",
        f"  {'form':13} {'grid':>9} {'threads':>7} {'rows':>4} {'held':>4} {'shared':>9} {'µs a step':>9} {'µs':>9}",
    ]
    for c in candidates(device, request):
        where = f"{'→' if c is chosen else ' '} {c.form:13} "
        if c.layout is None:
            where += f"{'-':>9} {'-':>7} {'-':>4} {'-':>4} {'-':>9}"
        else:
            grid = " × ".join(map(str, c.grid))
            m = c.layout
            where += f"{grid:>9} {m.threads:>7} {m.rows:>4} {m.held:>4} {m.shared_bytes / 1024:>6.1f} KB"
        lines.append(f"{where} {c.step_seconds * 1e6:>9.2f} {c.seconds * 1e6:>9.1f}")
    return "\n".join(lines)


def tables(device: Device, cell: str, shapes: Mapping[str, int], dtype: Any) -> str:
    """A table for each direction of a cell with a kernel, named as in cells.py."""
    sizes = (np.dtype(dtype).name, *(shapes[letter] for letter in "TNDH"), shapes.get("heads", 1))
    return "\n".join(table(device, Request(NAMED[cell], backward, *sizes)) for backward in (False, True))
