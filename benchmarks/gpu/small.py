"""Every variant of the CUDA kernels once, both ways, beside the plain form: `python -m benchmarks.gpu.small`.

Small enough for compute-sanitizer, which slows a kernel down a hundred times.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import xrnn
from xrnn.backends.cupy import CupyBackend
from xrnn.backends.cupy.choice import KEPT, ROWS, Candidate, Device, candidates

# Sizes at which every variant is a candidate, on a GPU with few multiprocessors or many: H decides how many rows of Wh
# a thread keeps in registers, N the rows of a tile. What runs is a small batch all the same.
SIZES = [(H, N) for H in (13, 21, 37, 100, 131, 250, 300) for N in (1, 2, 9, 100, 250)]


def variants(device: Device) -> Iterator[tuple[Candidate, str, int]]:
    """One candidate with its dtype and H for each variant that these sizes have on `device`."""
    for form in KEPT:
        for dtype in ROWS:
            seen = set()
            for H, N in SIZES:
                for candidate in candidates(device, dtype, 3, N, 5, H):
                    variant = candidate.rows, candidate.kept
                    if candidate.form == form and variant not in seen:
                        seen.add(variant)
                        yield candidate, dtype, H


def compare(backend: CupyBackend) -> dict[str, str]:
    """→ why each variant is not to be believed, "" for those that agree with the plain form."""
    return {
        f"{candidate.form} {dtype} rows={candidate.rows} kept={candidate.kept}, H={H}": backend.trust.doubts(
            candidate, dtype, H
        )
        for candidate, dtype, H in variants(backend.launcher.device())
    }


def main() -> None:
    backend = xrnn.get_backend("cupy")
    assert isinstance(backend, CupyBackend)
    # Each array in an allocation of its own: within a pool nobody would see a write beyond the end.
    backend.xp.cuda.set_allocator(None)
    found = compare(backend)
    for variant, doubts in found.items():
        print(f"{variant}: {doubts or 'agrees'}", flush=True)
    sys.exit(any(found.values()))


if __name__ == "__main__":
    main()
