"""The peak memory of one call, each in a new process: `python -m benchmarks.memory` (Linux).

The peak is the kernel's high-water mark of resident memory, reset before the call. It excludes the inputs, the weights
and the loaded library. A small call comes first, so that loading code is not counted.
"""

from __future__ import annotations

import argparse
import ctypes
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from benchmarks import machine
from benchmarks.cases import COMMON, Case, Problem
from benchmarks.peers import PEERS, TORCH, build
from benchmarks.processes import Child, environment
from benchmarks.tables import table, wide_console
from benchmarks.worker import workers
from xrnn.cells import cell_of

CASES: Final = tuple(Case(T=1000, N=64, D=256, H=256, cell=cell) for cell in COMMON)
LONG: Final = tuple(
    Case(T=10_000, N=16, D=256, H=256, cell=cell) for cell in ("min-gru", "min-lstm", "lru", "gru", "lstm")
)
# By cell: the number of arrays (T, N, H) kept for the backward pass: h (RNN); h, c and the gates i, f, g, o (LSTM);
# h, r, u, n and z_h (GRU); h, u and y (minGRU); h, w, f and y (minLSTM); the real and imaginary parts of h (LRU).
_KEPT: Final = {"rnn": 1, "lstm": 6, "gru": 5, "min-gru": 3, "min-lstm": 4, "lru": 2}
# JAX is left out: it compiles during the first call, so its compiler's memory would be counted.
_PEERS: Final = ("xrnn", "xrnn-plain", "numpy", "torch", "onnxruntime")
_PEERS_OF_LONG: Final = ("xrnn", *TORCH)


def measure_memory(peers: Sequence[str], cases: Sequence[Case], threads: int) -> dict[str, Any]:
    """Peaks in bytes above the inputs, by case, operation and peer."""
    with workers(peers, threads) as started:
        installed = [worker.peer for worker in started]
    measured = [_measure(installed, case, threads) for case in cases]
    return {"machine": machine.describe(threads), "dtype": "float32", "cases": measured}


def _measure(peers: Sequence[str], case: Case, threads: int) -> dict[str, Any]:
    peaks: dict[str, dict[str, int]] = {"forward": {}, "train": {}}
    for operation, by_peer in peaks.items():
        for peer in peers:
            variables = environment(threads) | PEERS[peer].environment
            with Child(import_module, __spec__.name, environment=variables) as child:
                peak = child.ask("peak", peer, operation, case, threads)
            if peak is not None:
                by_peer[peer] = peak
    elements = case.T * case.N
    return {
        "case": case.name,
        "h_bytes": 4 * elements * case.H * cell_of(case.cell).components,
        "x_bytes": 4 * elements * case.D,
        "kept_bytes": 4 * elements * (case.D + _KEPT[case.cell] * case.H),
        "peak_bytes": peaks,
    }


def peak(peer: str, operation: str, case: Case, threads: int) -> int | None:
    """The peak of one call in this process, in bytes; None if the library has no such operation."""
    small = build(peer, Problem(Case(T=2, N=2, D=16, H=16, cell=case.cell)), threads).calls
    if operation not in small:
        return None
    small[operation]()
    call = build(peer, Problem(case), threads).calls[operation]
    ctypes.CDLL(None).malloc_trim(0)  # otherwise the call could reuse memory that was freed before
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    before = status("VmRSS")
    result = call()
    after = status("VmHWM")
    del result
    return after - before


def status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}: the peak can't be measured on this system")


def print_memory(results: dict[str, Any], console: Console) -> None:
    columns = ["", "forward", "of h", "forward + backward", "beyond kept arrays and dx", "of torch's"]
    for case in results["cases"]:
        h, kept, peaks = case["h_bytes"], case["kept_bytes"], case["peak_bytes"]
        torch = next((peaks["train"][name] for name in TORCH if name in peaks["train"]), None)
        rows = []
        for name, forward in peaks["forward"].items():
            row = [name, f"{forward / 1e6:.1f}", f"{forward / h:.0%}"]
            if train := peaks["train"].get(name):
                # `kept` contains x, which is not in the peak, as an input; dx, which is in the peak, has the same size.
                row += [f"{train / 1e6:.1f}", f"{(train - kept) / kept:.1%}"]
                row += [f"{train / torch:.0%}"] if torch else []
            rows.append(row)
        console.print(table(f"peak memory above the inputs, MB, {case['case']}", columns, rows))
        console.print(
            f"h: {h / 1e6:.1f} MB; kept for the backward pass: {kept / 1e6:.1f} MB (x, h; with gates also c and gates)"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description="peak memory of a call")
    parser.add_argument("--long", action="store_true", help="10,000 steps of LSTM, GRU, minGRU, minLSTM and LRU")
    parser.add_argument(
        "--peers",
        type=machine.some_of(PEERS),
        help=f"comma-separated (default: {','.join(_PEERS)}; with --long: {','.join(_PEERS_OF_LONG)})",
    )
    machine.add_options(parser)
    options = parser.parse_args(arguments)

    cases, peers = (LONG, _PEERS_OF_LONG) if options.long else (CASES, _PEERS)
    machine.print_version()
    results = measure_memory(options.peers or peers, cases, options.threads)
    machine.write(results, options.out / "memory.json")
    print_memory(results, wide_console())


if __name__ == "__main__":
    main()
