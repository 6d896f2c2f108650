"""xrnn.torch's modules beside PyTorch's own: `python -m benchmarks.torch_modules [--quick] [--cell gru]`.

The same code runs both, each in a process of its own; inference under inference_mode, training by `backward`. The input
of training needs a gradient, as in all layers of a model but the first; *on data* it needs none.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
from collections.abc import Sequence
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.cases import COMMON, GATED, QUICK, Case
from benchmarks.console import wide_console
from benchmarks.peers import MODULES
from benchmarks.ratios import ratio
from benchmarks.worker import Worker

_PEERS: Final = ("torch", MODULES)
_OPERATIONS: Final = {"forward": "inference", "train": "training", "train on data": "training on data"}

CASES: Final = tuple(
    Case(*sizes, cell=cell) for cell in COMMON for sizes in dict.fromkeys(case.sizes for case in GATED)
)


def measure(cases: Sequence[Case], rounds: int, threads: int) -> dict[str, Any]:
    """Times in microseconds, one a round."""
    machine.pin(threads)
    cells = []
    with contextlib.ExitStack() as stack:
        workers = [Worker(peer, threads) for peer in _PEERS]
        for worker in workers:
            stack.callback(worker.close)
        for case in cases:
            errors = {worker.peer: worker.prepare(case)["errors"] for worker in workers}
            times: dict[str, dict[str, list[float]]] = {name: {peer: [] for peer in _PEERS} for name in _OPERATIONS}
            for turn in range(rounds):
                for operation in _OPERATIONS:
                    for worker in workers[:: -1 if turn % 2 else 1]:
                        times[operation][worker.peer].append(worker.time(operation))
            sizes = {letter: getattr(case, letter) for letter in "TNDH"}
            cells.append({"case": case.name, "cell": case.cell, **sizes, "microseconds": times, "errors": errors})
        versions = {worker.peer: worker.about for worker in workers}
    about = machine.describe(threads)
    return {"machine": about, "versions": versions, "dtype": "float32", "rounds": rounds, "cells": cells}


def print_modules(results: dict[str, Any], console: Console) -> None:
    operations = [name for name in _OPERATIONS if name in results["cells"][0]["microseconds"]]  # older ones have two
    for kind in COMMON:
        cells = [cell for cell in results["cells"] if cell["cell"] == kind]
        if not cells:
            continue
        table = Table(title=f"torch.nn.{kind.upper()} and xrnn.torch's, microseconds", title_justify="left")
        table.box = box.SIMPLE_HEAD
        table.add_column("T, N, D, H", no_wrap=True)
        ratios: dict[str, list[float]] = {operation: [] for operation in operations}
        for operation in operations:
            for column in (f"{_OPERATIONS[operation]}:\nPyTorch", "\nxrnn", "\nPyTorch / xrnn"):
                table.add_column(column, justify="right", no_wrap=True)
        for cell in cells:
            row = [", ".join(str(cell[letter]) for letter in "TNDH")]
            for operation in operations:
                theirs, ours = (cell["microseconds"][operation][peer] for peer in _PEERS)
                r = ratio(ours, theirs)
                ratios[operation].append(r.median)
                row += [f"{statistics.median(times):,.1f}" for times in (theirs, ours)]
                row.append(f"{r.median:.2f} ({r.low:.2f}–{r.high:.2f}) {r.verdict}")
            table.add_row(*row)
        console.print(table)
        means = (f"{_OPERATIONS[name]} {statistics.geometric_mean(rs):.2f}" for name, rs in ratios.items())
        console.print(f"PyTorch / xrnn over {len(cells)} cells, geometric mean: {', '.join(means)}", highlight=False)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.torch_modules", description="xrnn.torch's modules beside PyTorch's own"
    )
    parser.add_argument("--quick", action="store_true", help="a few small cases, as a smoke test")
    parser.add_argument("--cell", choices=COMMON, help="one kind only")
    parser.add_argument("--rounds", type=machine.positive, default=7, help="(default: %(default)s)")
    machine.add_options(parser)
    options = parser.parse_args(arguments)
    cases = [case for case in (QUICK if options.quick else CASES) if options.cell in (None, case.cell)]
    if not cases:
        parser.error(f"--quick has no case of --cell {options.cell}: leave out one of them")
    results = measure(cases, options.rounds, options.threads)
    machine.write(results, options.out / "torch_modules.json")
    print_modules(results, wide_console())


if __name__ == "__main__":
    main()
