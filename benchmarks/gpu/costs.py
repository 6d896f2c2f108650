"""Measures what the selection's prediction is made of, beside its estimates: `python -m benchmarks.gpu.costs FILE`.

With --rehearse a few times only, to try the program out.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from unittest import mock

import numpy as np

import xrnn
from benchmarks.gpu import results
from benchmarks.worker import measure
from xrnn.backends import cupy as adapter
from xrnn.backends.cupy import CupyBackend, choice
from xrnn.backends.cupy.choice import candidates
from xrnn.backends.cupy.launch import PATIENCE, WATCHED_PATIENCE

_LINE: Final = 32  # floats of a cache line
# What xrnn/backends/cupy/choice.py calls it: unit, how many of the unit are one of its own.
UNITS: Final = {
    "EXCHANGE": ("µs", 1e6),
    "ROUND_TRIP": ("µs", 1e6),
    "HOST_STEP": ("µs", 1e6),
    "LAUNCH": ("µs", 1e6),
    "L2_SHARED_BYTES_PER_CYCLE": ("bytes", 1.0),
    "SLICE_CYCLES": ("cycles", 1.0),
    "SHUFFLE_CYCLES": ("cycles", 1.0),
    "BROADCAST_CYCLES": ("cycles", 1.0),  # of 16 bytes, one wavefront or two: by compute capability in choice.py
    "PRODUCT_EFFICIENCY": ("of the peak", 1.0),
}


def source() -> str:
    """The kernels of costs.cu, with the accesses that the recurrence's kernels use."""
    files = (Path(choice.__file__).with_name("device.cu"), Path(__file__).with_name("costs.cu"))
    return "\n".join(["#define XRNN_INLINE __device__ __forceinline__", *(path.read_text() for path in files)])


class Costs:
    """The measurements, on the current device of `backend`."""

    def __init__(self, backend: CupyBackend, times: int = 1000, elements: int = 1 << 16) -> None:
        """`elements`, a power of two, are read: too many for the first level of caches, few enough for L2."""
        self.backend = backend
        self.xp = backend.xp
        self.times = np.int32(times)
        self.elements = elements
        self.device = backend.launcher.device()
        # `exchanges` needs cooperative launches. The grids of the other kernels are small enough for them.
        module = self.xp.RawModule(code=source(), options=("--std=c++17",), enable_cooperative_groups=True)
        self._kernel = module.get_function

    def _seconds(self, call: Callable[[], Any]) -> float:
        """The median time of a call, with the wait for the GPU."""

        def call_and_wait() -> None:
            call()
            self.xp.cuda.get_current_stream().synchronize()

        return measure(call_and_wait, at_least=0, at_most=math.inf, calls=5)

    def _cycles(self, kernel: Any, grid: int, block: int, *args: Any, shared: int = 0) -> float:
        """What one of `times` takes in the slowest block, in clock cycles."""
        cycles = self.xp.zeros(max(grid, 2), "int64")
        for _ in range(2):  # the first isn't counted
            kernel((grid,), (block,), (self.times, *args, cycles), shared_mem=shared)
        return float(self.backend.to_numpy(cycles)[:grid].max()) / int(self.times)

    def exchange(self) -> float:
        """Seconds: an element of each block to all others, by the time of one more: the launch itself falls out.

        Raises RuntimeError if the blocks gave up waiting for each other.
        """
        blocks = self.device.multiprocessors
        mail, gave_up = self.xp.zeros(blocks * _LINE, "float32"), self.xp.zeros(1, "uint32")
        kernel = self._kernel("exchanges")
        patience = WATCHED_PATIENCE if self.device.watchdog else PATIENCE

        def call(times: np.int32) -> None:
            mail.fill(0)
            kernel((blocks, 1), (blocks,), (times, mail, np.int64(patience), gave_up))

        many, one = self._seconds(lambda: call(self.times)), self._seconds(lambda: call(np.int32(1)))
        if self.backend.to_numpy(gave_up)[0]:
            raise RuntimeError("its blocks gave up waiting for one another: they don't all run at once")
        return (many - one) / (int(self.times) - 1)

    def round_trip(self) -> float:
        """Seconds: a read of L2."""
        # From each to one far from it; 4099 is odd, so that all are reached.
        chain = self.xp.asarray(((np.arange(self.elements) + 4099) % self.elements).astype(np.uint32))
        return self._cycles(self._kernel("round_trips"), 1, 1, chain) / self.device.clock

    def l2_shared_bytes_per_cycle(self) -> float:
        """Of one block, all of them reading at the same time."""
        n = self.elements
        values = self.xp.zeros(n, "float32")
        kernel = self._kernel("wide_reads")
        blocks = self.device.multiprocessors
        return 4 * n / self._cycles(kernel, blocks, choice.THREADS, values, np.int32(n))

    def slice_cycles(self) -> float:
        """Clock cycles: one more slice in a sum, by the threads of a block that finish a tile."""
        n = 32
        kernel = self._kernel("slice_sums")
        threads = choice.THREADS
        return self._cycles(kernel, 1, threads, np.int32(n), shared=4 * n * threads) / n

    def shuffle_cycles(self) -> float:
        """Clock cycles: an addition of what another lane sent, one warp alone."""
        return self._cycles(self._kernel("shuffles"), 1, choice.WARP)

    def broadcast_cycles(self) -> float:
        """Clock cycles: 16 bytes of shared memory to all threads of a warp, with a block's warps at work."""
        n = 64
        threads = choice.THREADS
        cycles = self._cycles(self._kernel("broadcasts"), 1, threads, np.int32(n), shared=16 * n)
        return cycles / (n * threads / 32)

    def host_step(self) -> float:
        """Seconds: one more step of the stepwise form, launched from Python."""
        rnn = xrnn.RNN.init(64, 64, rng=0, backend=self.backend)

        def call(T: int) -> Callable[[], Any]:
            x = self.xp.zeros((T, 1, 64), "float32")
            return lambda: rnn(x)

        with mock.patch.object(adapter, "choose", lambda device, request: candidates(device, request)[0]):
            return (self._seconds(call(110)) - self._seconds(call(10))) / 100

    def launch(self) -> float:
        """Seconds: a kernel, launched from Python, one after the other."""
        x = self.xp.zeros(1, "float32")

        def call() -> None:
            for _ in range(100):
                x.fill(0)

        return self._seconds(call) / 100

    def product_efficiency(self) -> float:
        """Of the peak that the clock and the multiprocessors give."""
        size = min(4096, 64 * self.device.multiprocessors)
        a = self.xp.ones((size, size), "float32")
        out = self.xp.empty_like(a)
        peak = self.device.float32_rate * self.device.multiprocessors * self.device.clock
        return size**3 / self._seconds(lambda: self.xp.matmul(a, a, out=out)) / peak

    def measure(self) -> Iterator[tuple[str, float | str]]:
        """Each under its name in choice.py, whose lower case is the method's; words in place of one that failed."""
        for name in UNITS:
            try:
                yield name, getattr(self, name.lower())()
            except Exception as error:
                yield name, f"{type(error).__name__}: {error}"


def lines(measured: dict[str, float | str]) -> list[str]:
    """Each beside its estimate."""
    text = []
    for name, value in measured.items():
        if isinstance(value, str):
            text.append(f"{name:26} {value}")
            continue
        unit, scale = UNITS[name]
        estimate = f"estimate {getattr(choice, name) * scale:.3g}" if hasattr(choice, name) else ""
        text.append(f"{name:26} {value * scale:10.3g} {unit:12} {estimate}".rstrip())
    return text


def changes(measured: dict[str, float | str]) -> list[str]:
    """The lines of choice.py whose estimates are off by more than a fifth, as they should be."""
    off = {
        name: value
        for name, value in measured.items()
        if isinstance(value, float) and not 1 / 1.2 < value / getattr(choice, name, value) < 1.2
    }
    return [f"{name}: Final = {value:.3g}" for name, value in off.items()]


def main() -> int:
    backend = xrnn.get_backend("cupy")
    assert isinstance(backend, CupyBackend)
    out = Path(sys.argv[1])
    rehearse = "--rehearse" in sys.argv[2:]
    measured: dict[str, float | str] = {}
    for name, value in Costs(backend, **({"times": 3, "elements": 64} if rehearse else {})).measure():
        measured[name] = value
        results.put(out, costs=measured)
        print(*lines({name: value}), flush=True)
    return int(any(isinstance(value, str) for value in measured.values()))


if __name__ == "__main__":
    raise SystemExit(main())
