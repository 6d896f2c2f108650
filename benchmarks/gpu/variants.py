"""Every variant of the CUDA kernels, both ways, beside the plain form: `python -m benchmarks.gpu.variants FILE`.

Each on the whole grid of a layout that the selection has for it. With --sanitized few of them, for compute-sanitizer,
which slows a kernel down a hundred times.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import xrnn
from benchmarks.gpu import results
from xrnn.backends.cupy import CupyBackend, launch
from xrnn.backends.cupy.choice import KEPT, ROWS, Candidate, Device, candidates

# Sizes at which every variant is a candidate, on a GPU with few multiprocessors or many: H decides how many rows of Wh
# a thread keeps in registers, N the rows of a tile.
SIZES: Final = [(H, N) for H in (13, 21, 37, 100, 131, 250, 300) for N in (1, 2, 9, 100, 250)]
SANITIZED_PATIENCE: Final = 1 << 40  # clock cycles: minutes


def variants(device: Device) -> Iterator[tuple[Candidate, str, int]]:
    """One candidate with its dtype and H for each variant that these sizes have on `device`.

    One of each form and dtype in turn, so that the first few differ most.
    """
    kinds = [_of_kind(device, form, dtype) for form in KEPT for dtype in ROWS]
    for turn in itertools.zip_longest(*kinds):
        yield from filter(None, turn)


def _of_kind(device: Device, form: str, dtype: str) -> Iterator[tuple[Candidate, str, int]]:
    seen = set()
    for H, N in SIZES:
        for candidate in candidates(device, dtype, 3, N, 5, H):
            variant = candidate.rows, candidate.kept
            if candidate.form == form and variant not in seen:
                seen.add(variant)
                yield candidate, dtype, H


def describe(candidate: Candidate, dtype: str, H: int) -> str:
    grid = " × ".join(map(str, candidate.grid))
    return f"{candidate.form} {dtype} rows={candidate.rows} kept={candidate.kept}, H={H}, grid {grid}"


def compare(
    backend: CupyBackend,
    few: int | None = None,
    seconds: float = 600,
    tell: Callable[[dict[str, str | None]], None] = print,
) -> dict[str, str | None]:
    """→ why each variant is not to be believed, None where it agrees with the plain form; `tell` gets it each time.

    The first `few`, those that fit into `seconds`.
    """
    end = time.monotonic() + seconds
    found: dict[str, str | None] = {}
    for candidate, dtype, H in itertools.islice(variants(backend.launcher.device()), few):
        if time.monotonic() > end:
            found["the others"] = "no time was left for them"
            tell(found)
            break
        found[describe(candidate, dtype, H)] = backend.trust.doubts(candidate, dtype, H)
        tell(found)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.variants", description="every variant once")
    parser.add_argument("out", type=Path, help="the JSON file to add to")
    parser.add_argument("--seconds", type=float, default=600, help="(default: %(default)s)")
    parser.add_argument("--sanitized", metavar="TOOL", default="", help="within this tool of compute-sanitizer")
    parser.add_argument("--few", type=int, help="so many of them")
    options = parser.parse_args(arguments)
    backend = xrnn.get_backend("cupy")
    assert isinstance(backend, CupyBackend)
    if options.sanitized:
        # Each array in an allocation of its own: within a pool nobody would see a write beyond the end.
        backend.xp.cuda.set_allocator(None)
        launch.PATIENCE = SANITIZED_PATIENCE  # type: ignore[misc]

    def tell(found: dict[str, str | None]) -> None:
        variant, doubts = list(found.items())[-1]
        print(f"{variant}: {doubts or 'agrees'}", flush=True)
        results.put(options.out, **{options.sanitized or "variants": found})

    found = compare(backend, options.few, options.seconds, tell)
    return int(any(found.values()))


if __name__ == "__main__":
    raise SystemExit(main())
