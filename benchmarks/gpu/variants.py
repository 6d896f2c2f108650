"""Every variant of the CUDA kernels beside the plain form: `python -m benchmarks.gpu.variants FILE`.

Each variant runs on the complete grid of a layout that the selection could choose. Within compute-sanitizer, which
makes a kernel a hundred times slower, only a few of them run (--few, --sanitized).
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import xrnn
from benchmarks.gpu import results
from xrnn.backends.cupy import CupyBackend, launch
from xrnn.backends.cupy.cells import CellKernel
from xrnn.backends.cupy.choice import Candidate, Device, Request, candidates
from xrnn.backends.cupy.launch import Variant, variants

# Sizes at which every variant is a candidate, on a GPU with few multiprocessors or many: H decides the number of weight
# rows in registers, N the rows of a tile.
SIZES: Final = [
    (H, N)
    for H in (3, 5, 9, 14, 18, 21, 25, 37, 50, 54, 55, 57, 61, 66, 100, 109, 131, 250, 300)
    for N in (1, 2, 9, 100, 250)
]
SANITIZED_PATIENCE: Final = 1 << 40  # nanoseconds: minutes


def compared(device: Device) -> Iterator[tuple[Candidate, Request]]:
    """A candidate for each variant that these sizes have on `device`, then one of each kernel with two heads.

    The first variant of each kernel comes first, then the second of each, and so on.
    """
    kernels: dict[tuple[str, bool, CellKernel, str], list[Variant]] = {}
    first: dict[Variant, tuple[Candidate, Request]] = {}
    for variant in variants():
        kernels.setdefault((variant.form, variant.backward, variant.cell, variant.dtype), []).append(variant)
    for (cell, backward, dtype), (H, N) in itertools.product(dict.fromkeys((c, b, d) for _, b, c, d in kernels), SIZES):
        request = Request(cell, backward, dtype, 3, N, 5, H)
        for candidate in candidates(device, request):
            first.setdefault(Variant.of(candidate, request), (candidate, request))
    for turn in itertools.zip_longest(*kernels.values()):
        yield from (first[variant] for variant in turn if variant in first)
    for backward, cell, dtype in dict.fromkeys((b, c, d) for _, b, c, d in kernels if c.fed):
        request = Request(cell, backward, dtype, 3, 9, 5, 64, 2)
        yield from ((candidate, request) for candidate in {c.form: c for c in candidates(device, request)}.values())


def compare(
    backend: CupyBackend,
    few: int | None = None,
    seconds: float = 600,
    tell: Callable[[dict[str, str | None]], None] = print,
) -> dict[str, str | None]:
    """→ why each variant is not used, None if it agrees with the plain form; `tell` gets it each time.

    The first `few`, without those for which no time was left after `seconds`.
    """
    end = time.monotonic() + seconds
    found: dict[str, str | None] = {}
    for candidate, request in itertools.islice(compared(backend.launcher.device()), few):
        if time.monotonic() > end:
            break
        why, _ = backend.selftest.failure(candidate, request)
        grid = " × ".join(map(str, candidate.grid))
        heads = f" heads={request.heads}" if request.heads > 1 else ""
        found[f"{Variant.of(candidate, request)}, H={request.H}{heads}, grid {grid}"] = why
        tell(found)
    return found


def _compile(variants: Sequence[Variant]) -> None:
    backend = xrnn.get_backend("cupy")
    assert isinstance(backend, CupyBackend)
    for variant in variants:
        backend.launcher.compiled(variant)


def compile_all(device: Device, few: int | None, seconds: float) -> None:
    """Fill the compiler's cache on disk by several processes, as far as the time allows.

    A variant that was not compiled, or failed, is compiled at its first use, which reports the error.
    """
    every = [*dict.fromkeys(Variant.of(*request) for request in itertools.islice(compared(device), few))]
    end = time.monotonic() + seconds
    number = min(8, os.cpu_count() or 1)  # each process has a context of some hundred megabytes on the GPU
    spawn = get_context("spawn")
    processes = [spawn.Process(target=_compile, args=(every[start::number],)) for start in range(number)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
    for process in processes:
        process.kill()
    done = sum(process.exitcode == 0 for process in processes)
    print(f"{len(every)} variants: {done} of {number} processes have compiled their share")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.variants", description="every variant once")
    parser.add_argument("out", type=Path, help="the JSON file to add to")
    parser.add_argument("--seconds", type=float, default=600, help="(default: %(default)s)")
    parser.add_argument("--sanitized", metavar="TOOL", default="", help="within this tool of compute-sanitizer")
    parser.add_argument("--few", type=int, help="at most this number of variants")
    parser.add_argument("--compile", action="store_true", help="only compile them, in several processes")
    options = parser.parse_args(arguments)
    backend = xrnn.get_backend("cupy")
    assert isinstance(backend, CupyBackend)
    if options.compile:
        compile_all(backend.launcher.device(), options.few, options.seconds - 10)
        return 0
    if options.sanitized:
        # Each array in an allocation of its own: within a pool a write beyond the end would not be noticed.
        backend.xp.cuda.set_allocator(None)
        launch.PATIENCE = SANITIZED_PATIENCE  # type: ignore[misc]

    def tell(found: dict[str, str | None]) -> None:
        variant, why = list(found.items())[-1]
        print(f"{variant}: {why or 'agrees'}", flush=True)
        results.put(options.out, **{options.sanitized or "variants": found})

    found = compare(backend, options.few, options.seconds, tell)
    every = len([*itertools.islice(compared(backend.launcher.device()), options.few)])
    if len(found) < every:
        print(f"no time was left for {every - len(found)} more")
    return 1 if any(found.values()) else 2 if len(found) < every else 0


if __name__ == "__main__":
    raise SystemExit(main())
