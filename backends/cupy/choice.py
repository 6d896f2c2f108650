"""Which form of the recurrence runs on a GPU: a function of the device and the sizes, and of nothing else.

`candidates` enumerates every form that fits, with its resources and a predicted time; `choose` takes the fastest.
Nothing here needs CuPy or a GPU.

T time steps, N batch, D input size, H hidden size.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

MAX_THREADS: Final = 256  # a block's, as the kernels are compiled: a thread may then have 255 registers
VECTOR_BYTES: Final = 16  # the columns of a thread
MAX_SIZE: Final = 2**30  # T, N and H are 32 bits wide in the kernels, which count a little beyond them
# What the kernels are compiled for: batch rows of a tile, and rows of W that a thread keeps in registers. The
# combinations are those that ptxas compiles without spilling (tests/cuda/test_resources.py).
ROWS: Final = {"float32": (1, 2, 4), "float64": (1, 2)}
KEPT: Final = {"one-block": (8, 16, 32), "group": (16, 32)}
LOADS: Final = 4  # vectors of the others' states that a thread asks for at a time (group.cu)

# What the prediction is made of, in seconds or clock cycles. Estimates: none of them has been measured yet.
EXCHANGE: Final = 0.7e-6  # from the write of a state in one block to its arrival in another, through L2
ROUND_TRIP: Final = 0.35e-6  # a read of L2
PLAIN_STEP: Final = 12e-6  # a product and an elementwise kernel, launched from Python
LAUNCH: Final = 8e-6  # a kernel, launched from Python
WEIGHTS_BANDWIDTH: Final = 100e9  # bytes a second that one block reads W with, at the start
STEP_CYCLES: Final = 300  # two barriers of a block, the nonlinearity, and filling the pipelines
SLICE_CYCLES: Final = 12  # adding one more slice's sum to an output: it waits for the last addition, and for its read
SHARED_BYTES_PER_CYCLE: Final = 128
L2_BYTES_PER_CYCLE: Final = 64
PRODUCT_EFFICIENCY: Final = 0.5  # of the peak rate, for large products


@dataclass(frozen=True, slots=True)
class Device:
    """What the choice needs to know of a GPU."""

    name: str
    multiprocessors: int
    shared_bytes: int  # of one block, at most
    clock: float  # cycles a second
    float32_rate: int  # multiplications with addition of one multiprocessor in a cycle
    float64_rate: int
    cooperative: bool = True  # can launch a grid whose blocks are all resident
    broadcast_wavefronts: int = 1  # of shared memory, for 16 bytes that all threads of a warp read

    def rate(self, dtype: str) -> int:
        return self.float32_rate if dtype == "float32" else self.float64_rate


# For `xrnn info --explain … --device NAME`, from the vendor's data sheets.
DEVICES: Final = {
    "a100": Device("NVIDIA A100", 108, 166_912, 1.41e9, 64, 32),
    "h100": Device("NVIDIA H100", 132, 232_448, 1.83e9, 128, 64, broadcast_wavefronts=2),
    "h200": Device("NVIDIA H200", 132, 232_448, 1.83e9, 128, 64, broadcast_wavefronts=2),
    "b200": Device("NVIDIA B200", 148, 232_448, 1.85e9, 128, 64),
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A form with its launch: what the kernel is compiled for, how its blocks are laid out, what it costs.

    See tile.cu for `columns`, `column_threads`, `slice` and `pitch`.
    """

    form: str  # plain, one-block or group
    seconds: float  # predicted: the whole forward recurrence with the input's product
    step_seconds: float  # predicted: one step
    rows: int = 0
    kept: int = 0
    columns: int = 0
    column_threads: int = 0
    slice: int = 0
    pitch: int = 0
    threads: int = 0
    grid: tuple[int, int] = (0, 0)  # group: (blocks that share W, groups that split the batch)
    shared_bytes: int = 0


def choose(device: Device, dtype: Any, T: int, N: int, D: int, H: int) -> Candidate:
    """The candidate with the smallest predicted time; the plain form where nothing else fits."""
    return min(candidates(device, dtype, T, N, D, H), key=lambda candidate: candidate.seconds)


@functools.lru_cache(maxsize=256)
def candidates(device: Device, dtype: Any, T: int, N: int, D: int, H: int) -> tuple[Candidate, ...]:
    """Every form that fits, the plain one first.

    plain      any size, any dtype
    one-block  where a block holds all of W (H, H): its columns are at most its threads, and its share of W beyond the
               registers fits into shared memory, beside the states and the slices' sums
    group      where S blocks hold W, and S · G blocks are resident at once. A block leaves no room for a second one on
               its multiprocessor (256 threads with up to 255 registers), so that is S · G ≤ multiprocessors. For each S
               the batch is split as finely as that allows.
    """
    dtype = np.dtype(dtype).name
    product = product_seconds(device, dtype, T * N, D, H)
    plain_step = max(PLAIN_STEP, product_seconds(device, dtype, N, H, H))
    found = [Candidate("plain", 2 * LAUNCH + product + T * plain_step, plain_step)]
    if dtype in ROWS and min(T, N, H) > 0 and max(T, N, H) <= MAX_SIZE:
        found += _one_block(device, dtype, T, N, H, product)
        if device.cooperative:
            found += _groups(device, dtype, T, N, H, product)
    return tuple(found)


def _one_block(device: Device, dtype: str, T: int, N: int, H: int, product: float) -> list[Candidate]:
    found = []
    for rows in ROWS[dtype]:
        block = _best_layout(device, "one-block", dtype, H, H, rows)
        if block is None:
            continue
        blocks = math.ceil(N / rows)
        step = _tile_cycles(device, "one-block", dtype, H, rows, block) / device.clock
        weights = H * H * np.dtype(dtype).itemsize / WEIGHTS_BANDWIDTH
        waves = math.ceil(blocks / device.multiprocessors)
        seconds = 3 * LAUNCH + product + waves * (weights + T * step)
        found.append(Candidate("one-block", seconds, waves * step, rows=rows, grid=(blocks, 1), **block))
    return found


def _groups(device: Device, dtype: str, T: int, N: int, H: int, product: float) -> list[Candidate]:
    itemsize = np.dtype(dtype).itemsize
    vector = VECTOR_BYTES // itemsize
    found = []
    # Several S round to the same number of whole vectors of columns: the fewest blocks for each.
    for columns in sorted({vector * math.ceil(H / S / vector) for S in range(2, device.multiprocessors + 1)}):
        S = math.ceil(H / columns)
        G = min(device.multiprocessors // S, N)
        share = math.ceil(N / G)
        rows = min((r for r in ROWS[dtype] if r >= share), default=ROWS[dtype][-1])
        block = _best_layout(device, "group", dtype, H, columns, rows)
        if S < 2 or block is None:
            continue
        tile = _tile_cycles(device, "group", dtype, H, rows, block) / device.clock
        # The first tile of a step waits for the others' last step; the rest has arrived meanwhile.
        step = EXCHANGE + tile + (math.ceil(share / rows) - 1) * (ROUND_TRIP + tile)
        seconds = 4 * LAUNCH + product + H * columns * itemsize / WEIGHTS_BANDWIDTH + T * step
        found.append(Candidate("group", seconds, step, rows=rows, grid=(S, G), **block))
    return found


def _best_layout(device: Device, form: str, dtype: str, H: int, columns: int, rows: int) -> dict[str, int] | None:
    """The fastest layout for `columns` of W (H, H); None where the threads or the shared memory are too few for it.

    The most threads have the smallest shares of W. Fewer, with a share that the registers hold, may still be faster.
    """
    itemsize = np.dtype(dtype).itemsize
    vector = VECTOR_BYTES // itemsize
    column_threads = math.ceil(columns / vector)
    slices = MAX_THREADS // column_threads
    if slices < vector:
        return None
    share = vector * math.ceil(H / slices / vector)
    # The most rows in registers come first: where two take as long, the first is taken.
    layouts = (layout(dtype, H, columns, rows, kept, max(share, kept)) for kept in sorted(KEPT[form], reverse=True))
    fitting = [block for block in layouts if block["shared_bytes"] <= device.shared_bytes]
    return min(fitting, default=None, key=lambda b: _tile_cycles(device, form, dtype, H, rows, b))


def layout(dtype: str, H: int, columns: int, rows: int, kept: int, share: int) -> dict[str, int]:
    """A block's threads and shared memory (see tile.cu), each thread having `share` rows of W, `kept` in registers."""
    itemsize = np.dtype(dtype).itemsize
    vector = VECTOR_BYTES // itemsize
    column_threads = math.ceil(columns / vector)
    slices = max(math.ceil(H / share), vector)  # at least as many threads as columns
    threads = slices * column_threads
    pitch = share + vector * (share // vector % 2 == 0)  # an odd number of vectors
    states, partial = rows * slices * pitch, slices * rows * column_threads * vector
    return {
        "kept": kept,
        "columns": columns,
        "column_threads": column_threads,
        "slice": share,
        "pitch": pitch,
        "threads": threads,
        "shared_bytes": (share - kept) * threads * VECTOR_BYTES + (states + partial) * itemsize,
    }


def _tile_cycles(device: Device, form: str, dtype: str, H: int, rows: int, block: dict[str, int]) -> float:
    """Clock cycles from a tile's states to its outputs: arithmetic or shared memory, the slices' sums, and waits.

    The states are in shared memory (one-block), or the first of them have just arrived in L2 (group).
    """
    threads, share, slices = block["threads"], block["slice"], block["threads"] // block["column_threads"]
    itemsize = np.dtype(dtype).itemsize
    vector = VECTOR_BYTES // itemsize
    arithmetic = rows * share * threads * vector / device.rate(dtype)
    weights = (share - block["kept"]) * threads * VECTOR_BYTES
    broadcasts = rows * share // vector * math.ceil(threads / 32)  # one a warp, of 16 bytes
    states = broadcasts * device.broadcast_wavefronts * SHARED_BYTES_PER_CYCLE
    partial = 2 * rows * threads * VECTOR_BYTES
    shared = (weights + states + partial) / SHARED_BYTES_PER_CYCLE
    outputs = math.ceil(rows / (threads // block["columns"]))  # of one thread, each a chain of additions
    product = max(arithmetic, shared) + STEP_CYCLES + SLICE_CYCLES * slices * outputs
    if form == "one-block":
        return product
    trips = math.ceil(H / (threads * vector * (LOADS // rows)))  # the fewer threads, the more
    bring = rows * H * itemsize / L2_BYTES_PER_CYCLE + (trips - 1) * ROUND_TRIP * device.clock
    return bring + product


def product_seconds(device: Device, dtype: str, M: int, K: int, P: int) -> float:
    """A product (M, K) @ (K, P) of the library."""
    rate = device.rate(dtype if dtype in ROWS else "float32") * device.multiprocessors * device.clock
    return M * K * P / (rate * PRODUCT_EFFICIENCY)


def table(device: Device, dtype: Any, T: int, N: int, D: int, H: int) -> str:
    """The candidates with their resources and predicted times, a mark at the chosen one."""
    found = candidates(device, dtype, T, N, D, H)
    chosen = choose(device, dtype, T, N, D, H)
    lines = [
        f"{device.name}, {np.dtype(dtype).name}, T={T} N={N} D={D} H={H}; times are predicted, not measured",
        f"  {'form':10} {'grid':>9} {'threads':>7} {'rows':>4} {'kept':>4} {'shared':>9} {'µs a step':>9} {'µs':>9}",
    ]
    for c in found:
        grid = f"{c.grid[0]} × {c.grid[1]}" if c.threads else "-"
        lines.append(
            f"{'→' if c is chosen else ' '} {c.form:10} {grid:>9} {c.threads or '-':>7} {c.rows or '-':>4} "
            f"{c.kept or '-':>4} {c.shared_bytes / 1024:>6.1f} KB {c.step_seconds * 1e6:>9.2f} {c.seconds * 1e6:>9.1f}"
        )
    return "\n".join(lines)
