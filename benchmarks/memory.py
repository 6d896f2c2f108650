"""How much memory a call takes at its peak, each in a fresh process: `python -m benchmarks.memory` (Linux).

The peak is the kernel's own high-water mark of resident memory, reset right before the call; the inputs, the
weights and the loaded library are below it. A small call comes first, so that loading code isn't counted.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.cases import COMMON, Case, Problem
from benchmarks.peers import PEERS, build
from benchmarks.worker import environment

CASES: Final = tuple(Case(T=1000, N=64, D=256, H=256, cell=cell) for cell in COMMON)
# By cell, how many numbers a unit has at each step that the backward pass needs: h; h, c, i, f, g, o; h, r, u, n, z_h.
_KEPT: Final = {"rnn": 1, "lstm": 6, "gru": 5}
# JAX compiles within a call, and its compiler's memory would be counted.
_PEERS: Final = ("xrnn", "xrnn-plain", "numpy", "torch", "onnxruntime")


def measure_memory(peers: Sequence[str], cases: Sequence[Case], threads: int) -> dict[str, Any]:
    """Peaks in bytes above the inputs, by case, operation and peer."""
    cells = [_measure(peers, case, threads) for case in cases]
    return {"machine": machine.describe(threads), "dtype": "float32", "cells": cells}


def _measure(peers: Sequence[str], case: Case, threads: int) -> dict[str, Any]:
    peaks: dict[str, dict[str, int]] = {"forward": {}, "train": {}}
    for operation, by_peer in peaks.items():
        for peer in peers:
            probe = [sys.executable, "-m", "benchmarks.memory", "--probe", peer, operation]
            done = subprocess.run(
                [*probe, case.cell, *map(str, case.sizes), "--threads", str(threads)],
                env=environment(threads) | PEERS[peer].environment,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            peak = json.loads(done.stdout.splitlines()[-1])
            if peak is not None:
                by_peer[peer] = peak
    steps = case.T * case.N
    return {
        "case": case.name,
        "h_bytes": 4 * steps * case.H,
        "x_bytes": 4 * steps * case.D,
        "kept_bytes": 4 * steps * (case.D + _KEPT[case.cell] * case.H),
        "peak_bytes": peaks,
    }


def peak(peer: str, operation: str, case: Case, threads: int) -> int | None:
    """The peak of one call in this process, in bytes; None where the library has no such operation."""
    small = build(peer, Problem(Case(T=2, N=2, D=16, H=16, cell=case.cell)), threads).calls
    if operation not in small:
        return None
    small[operation]()
    call = build(peer, Problem(case), threads).calls[operation]
    ctypes.CDLL(None).malloc_trim(0)  # what was freed so far must not hide what the call takes
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    before = _status("VmRSS")
    result = call()
    after = _status("VmHWM")
    del result
    return after - before


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}: the peak can't be measured on this system")


def print_memory(results: dict[str, Any], console: Console) -> None:
    for cell in results["cells"]:
        _print_cell(cell, console)


def _print_cell(cell: dict[str, Any], console: Console) -> None:
    h, kept, peaks = cell["h_bytes"], cell["kept_bytes"], cell["peak_bytes"]
    table = Table(title=f"peak memory above the inputs, MB, {cell['case']}", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("", "forward", "of h", "forward + backward", "beyond what is kept and dx", "of torch's"):
        table.add_column(column, justify="right" if column else "left")
    torch = peaks["train"].get("torch")
    for name, forward in peaks["forward"].items():
        train = peaks["train"].get(name)
        table.add_row(
            name,
            f"{forward / 1e6:.1f}",
            f"{forward / h:.0%}",
            f"{train / 1e6:.1f}" if train else "",
            f"{(train - kept) / kept:.1%}" if train else "",  # x is an input, and dx as large
            f"{train / torch:.0%}" if train and torch else "",
        )
    console.print(table)
    console.print(
        f"h is {h / 1e6:.1f} MB; what is kept for backward, {kept / 1e6:.1f} MB: x, h and, of a cell with gates, c and "
        "gates",
        highlight=False,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description="peak memory of a call")
    parser.add_argument(
        "--peers", type=machine.some_of(PEERS), default=",".join(_PEERS), help="comma-separated (default: %(default)s)"
    )
    parser.add_argument("--cell", choices=COMMON, help="only this one (default: all)")
    parser.add_argument("--probe", nargs=7, metavar=("PEER", "OPERATION", "CELL", *"TNDH"), help=argparse.SUPPRESS)
    machine.add_options(parser)
    options = parser.parse_args(arguments)

    if options.probe:
        peer, operation, cell, *sizes = options.probe
        print(json.dumps(peak(peer, operation, Case(*map(int, sizes), cell=cell), options.threads)))
        return
    cases = [case for case in CASES if options.cell in (None, case.cell)]
    results = measure_memory(options.peers, cases, options.threads)
    machine.write(results, options.out / "memory.json")
    print_memory(results, Console())


if __name__ == "__main__":
    main()
