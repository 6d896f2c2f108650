"""NumPy's products on the kernels' threads: `python -m benchmarks.soak_products --calls 100000` (one minute).

Several Python threads compute at the same time, after `xrnn.share_threads()`: products of all types and many sizes and
layouts, factorizations, and forward and backward passes of layers. The work is cut into phases. In each, the number of
OpenBLAS's threads is another one, set by threadpoolctl. In some, another thread also changes it during products. In
some, the process is forked between products: the child computes too, and the parent's threads then all start at once.
The command ends with status 1 unless

- each result equals, bit for bit, that of OpenBLAS on its own threads;
- each child ends by itself with equal results, and so does a process that exits while products run.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np

import xrnn
from benchmarks import machine
from xrnn.typing import HostArray

Compute = Callable[[], Sequence[HostArray]]

# OpenBLAS's threads, in turns, and the calls of a phase: few if they are more than the CPUs of a small machine, since
# threads that wait for each other then take turns.
_CALLS: Final = {2: 4_000, 1: 1_000, 3: 200}
THREADS: Final = tuple(_CALLS)
_PYTHON_THREADS: Final = 4
_FORKS: Final = 5  # in a phase with forks
_KINDS: Final = ("calm", "changing", "forking")  # the phases, in turns
# The exit of a process while another thread computes products.
_EXIT: Final = """
import threading, time
import numpy as np
import xrnn
xrnn.share_threads()
def compute():
    a = np.ones((400, 400), "float32")
    while True:
        a @ a
for _ in range(2):
    threading.Thread(target=compute, daemon=True).start()
time.sleep(0.1)
"""


def products(rng: np.random.Generator, count: int) -> list[Compute]:
    """Single products of random types, sizes and layouts."""
    made: list[Compute] = []
    for number in range(count):
        a, b = _factors(rng, number)
        match number // 4 % 4:
            case 0:
                made.append(lambda a=a, b=b: [a @ b])  # type: ignore[misc]
            case 1:
                made.append(lambda a=a, b=b: [b.T @ a.T])  # type: ignore[misc]
            case 2:
                made.append(lambda a=a: [a.T @ a])  # type: ignore[misc]
            case 3:
                made.append(lambda a=a, b=b: [a @ b[:, 0]])  # type: ignore[misc]
    return made


def several_products(rng: np.random.Generator, count: int) -> list[Compute]:
    made: list[Compute] = []
    for number in range(count):
        a, b = _factors(rng, number)
        made.append(lambda a=a, b=b: [a[::2] @ b[:, ::2], np.matmul(np.stack([a, a]), b)])  # type: ignore[misc]
    return made


def factorizations(rng: np.random.Generator, count: int) -> list[Compute]:
    made: list[Compute] = []
    for number in range(count):
        n = int(2 ** rng.uniform(4, 7.5))
        a = _array(rng, (n, n), "fdFD"[number % 4])
        a = a @ a.conj().T + n * np.eye(n, dtype=a.dtype)
        made.append(lambda a=a: [np.linalg.solve(a, a[0]), np.linalg.cholesky(a)])  # type: ignore[misc]
    return made


def layers(rng: np.random.Generator) -> list[Compute]:
    made: list[Compute] = []
    for T, N, D, H in ((20, 32, 64, 128), (10, 1, 64, 256), (5, 64, 30, 50)):
        x, dh = (rng.standard_normal((T, N, size), np.float32) for size in (D, H))
        weights = [0.1 * rng.standard_normal(shape, np.float32) for shape in ((D, H), (H, H), (H,))]

        def train(x: HostArray = x, dh: HostArray = dh, weights: Sequence[HostArray] = weights) -> Sequence[HostArray]:
            rnn = xrnn.RNN(*weights)
            return [rnn.forward(x).copy(), *rnn.backward(dh), *rnn.grads]

        made.append(train)
    return made


def _factors(rng: np.random.Generator, number: int) -> tuple[Any, Any]:
    m, k, n = (int(2 ** rng.uniform(0, 8.5)) for _ in range(3))
    dtype = "fdFD"[number % 4]
    return _array(rng, (m, k), dtype), _array(rng, (k, n), dtype)


def _array(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Any:
    parts = rng.standard_normal((2, *shape))
    return (parts[0] + 1j * parts[1] if dtype in "FD" else parts[0]).astype(dtype)


class Soak:
    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._random = random.Random(seed)
        singles = products(rng, 80)
        several = several_products(rng, 16)
        factorized = factorizations(rng, 16)
        self._computations = [*singles, *layers(rng), *several, *factorized]
        # The number of threads may change between the products of a computation: then the result is none of those
        # expected.
        self._counts = {"changing": len(singles)}
        self._pools = machine.threadpools().ThreadpoolController()
        self._expected = [self._on(threads, self.digests) for threads in THREADS]  # without sharing

    def _on(self, threads: int, compute: Callable[[], Any]) -> Any:
        with self._pools.limit(limits=threads, user_api="blas"):
            return compute()

    def digests(self) -> list[tuple[bytes, ...]]:
        return [digest(compute()) for compute in self._computations]

    def check(self, chosen: Sequence[int], settings: Sequence[int]) -> int:
        """Compute and compare → the number of calls. `settings`: the places in THREADS of what may be in effect."""
        for number in chosen:
            found = digest(self._computations[number]())
            if all(found != self._expected[setting][number] for setting in settings):
                raise AssertionError(f"computation {number} has other results than OpenBLAS alone")
        return len(chosen)

    def phase(self, kind: str, setting: int) -> int:
        """→ the number of calls."""
        calls = _CALLS[1] if kind == "changing" else _CALLS[THREADS[setting]]
        settings = range(len(THREADS)) if kind == "changing" else [setting]
        if kind != "forking":
            return int(self._on(THREADS[setting], lambda: self._compute(kind, calls, settings)))
        done = 0
        for _ in range(_FORKS):  # between products: in a child, OpenBLAS waits for those of other threads forever
            self._on(THREADS[setting], lambda: self.fork(settings))
            done += int(self._on(THREADS[setting], lambda: self._compute(kind, calls // _FORKS, settings)))
        return done

    def _compute(self, kind: str, calls: int, settings: Sequence[int]) -> int:
        count = self._counts.get(kind, len(self._computations))
        with ThreadPoolExecutor(_PYTHON_THREADS) as pool:
            running = [
                pool.submit(self.check, self._random.choices(range(count), k=calls // _PYTHON_THREADS), settings)
                for _ in range(_PYTHON_THREADS)
            ]
            if kind == "changing":
                for threads in itertools.cycle(THREADS):
                    if all(future.done() for future in running):
                        break
                    self._on(threads, lambda: time.sleep(0.002))
            return sum(future.result() for future in running)

    def fork(self, settings: Sequence[int]) -> None:
        chosen = self._random.choices(range(len(self._computations)), k=20)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of Python, for a fork beside other threads
            child = os.fork()
        if not child:
            status = 1
            try:
                self.check(chosen, settings)
                status = 0
            finally:
                os._exit(status)
        if status := os.waitpid(child, 0)[1]:
            raise AssertionError(f"a forked child ended with status {os.waitstatus_to_exitcode(status)}")


def digest(arrays: Sequence[HostArray]) -> tuple[bytes, ...]:
    return tuple(np.ascontiguousarray(array).tobytes() for array in arrays)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak_products", description="products on shared threads"
    )
    parser.add_argument("--calls", type=machine.positive, default=100_000, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of sizes and order (default: %(default)s)")
    options = parser.parse_args(arguments)
    machine.print_version()
    soak = Soak(options.seed)
    try:
        xrnn.share_threads()
    except RuntimeError as error:
        parser.error(str(error))
    calls = 0
    phases = itertools.cycle(itertools.product(range(len(THREADS)), _KINDS))
    while calls < options.calls:
        setting, kind = next(phases)
        calls += soak.phase(kind, setting)
    for _ in range(10):
        subprocess.run([sys.executable, "-c", _EXIT], check=True)
    print(f"{calls:,} calls on shared threads have the results of OpenBLAS alone")


if __name__ == "__main__":
    main()
