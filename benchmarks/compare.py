"""The speed of xrnn and its peers: `python -m benchmarks.compare [--quick]`, 25 minutes, seconds with --quick.

Each library runs in its own process. A round measures every library once, one after the other; each round starts with
another library. A case's figure is the median over the rounds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import machine
from benchmarks.cases import ALL, GATES, OPERATIONS, QUICK, SQUARE_FLOPS, STEPS, TILES, WIDE, Case
from benchmarks.peers import COMPARED, OF_STEPS, OF_TILES, OURS, PEERS, THREE_PRODUCTS
from benchmarks.ratios import gflops
from benchmarks.report import print_comparison
from benchmarks.tables import wide_console
from benchmarks.worker import Worker, timed, workers
from xrnn.backends.numpy import kernels


def compare(
    cases: Sequence[Case], peers: Sequence[str], rounds: int, threads: int, out: Path, console: Console
) -> dict[str, Any]:
    """The results: times in microseconds, one for each round. Writes `out`/compare.json after each case.

    If a peer computes wrong numbers, its operation is left out of that case, and a line in "wrong" says so. Wrong
    numbers of xrnn end the comparison: RuntimeError.
    """
    machine.pin(threads)
    results: dict[str, Any] = {"machine": machine.describe(threads), "dtype": "float32", "rounds": rounds}
    start = time.perf_counter()
    with workers(peers, threads) as started:
        results["versions"] = {worker.peer: worker.about for worker in started}
        results["cases"] = []
        for number, case in enumerate(cases, 1):
            try:
                prepared = {worker.peer: worker.prepare(case, worker.peer not in OURS) for worker in started}
                for peer, wrong in ((peer, line) for peer, about in prepared.items() for line in about["wrong"]):
                    results.setdefault("wrong", []).append(f"{peer}: {wrong}")
                    console.print(f"wrong: {results['wrong'][-1]}", highlight=False)
                results["cases"] += _measure(case, started, prepared, rounds)
            except TimeoutError as error:
                results.setdefault("left_out", []).append(f"{case.name}: {error}")
                console.print(f"left out {results['left_out'][-1]}")
                started[:] = [worker if worker.is_alive else Worker(worker.peer, threads) for worker in started]
            results["seconds"] = round(time.perf_counter() - start)
            machine.write(results, out / "compare.json")
            console.print(f"{number:3}/{len(cases)}  {case.name:24} {results['seconds']:5} s")
    return results


def _measure(
    case: Case, workers: Sequence[Worker], prepared: dict[str, dict[str, Any]], rounds: int
) -> list[dict[str, Any]]:
    operations = ("product", *(f"{kind}{operation}" for kind in ("", "base ", "read ") for operation in OPERATIONS))
    times = timed(workers, operations, rounds)
    # The ceiling of a round is the rate of the library whose large product is fastest.
    ceiling = [gflops(SQUARE_FLOPS, min(of_round)) for of_round in zip(*times["product"].values(), strict=True)]
    return [
        {
            "case": case.name,
            "cell": case.cell,
            "ragged": case.ragged,
            "T": case.T,
            "N": case.N,
            "D": case.D,
            "H": case.H,
            "operation": operation,
            "flops": case.flops(operation),
            "microseconds": times[operation],
            "base_microseconds": times[f"base {operation}"],
            "read_microseconds": times[f"read {operation}"],
            "errors": {peer: prepared[peer]["errors"][operation] for peer in times[operation]},
            "forms": {peer: prepared[peer]["form"] for peer in times[operation] if prepared[peer]["form"]},
            "ceiling_gflops": ceiling,
        }
        for operation in OPERATIONS
        if times[operation]
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description="xrnn beside its peers")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--quick", action="store_true", help="a few small cases, as a smoke test")
    which.add_argument("--wide", action="store_true", help="other cases: few rows with wide weights")
    which.add_argument("--steps", action="store_true", help="other cases: single steps of one and of many rows")
    which.add_argument("--tiles", action="store_true", help="other cases and peers: what tile registers (AMX) gain")
    which.add_argument(
        "--size", type=machine.positive, nargs=4, metavar=("T", "N", "D", "H"), help="one case: a size of your own"
    )
    parser.add_argument("--cell", choices=tuple(GATES), help="the cell of --size (default: rnn)")
    parser.add_argument(
        "--cases", default="", help="only cases of this cell, or with such a part in the name: N64-D256"
    )
    parser.add_argument(
        "--peers",
        type=machine.some_of(PEERS),
        help=f"comma-separated (default: {','.join(COMPARED)}; with --steps: {','.join(OF_STEPS)}; with --tiles: "
        f"{','.join(OF_TILES)})",
    )
    parser.add_argument("--rounds", type=machine.positive, default=7, help="(default: %(default)s)")
    machine.add_options(parser)
    options = parser.parse_args(arguments)
    if options.cell and not options.size:
        parser.error("got --cell without --size: expected both; to choose cases by their cell, use --cases")

    sets = {"quick": QUICK, "wide": WIDE, "steps": STEPS, "tiles": TILES}
    chosen = next((cases for option, cases in sets.items() if getattr(options, option)), ALL)
    if options.size:
        chosen = (Case(*options.size, cell=options.cell or "rnn"),)
    cases = machine.cases_named(parser, chosen, options.cases)
    peers = options.peers or (OF_STEPS if options.steps else OF_TILES if options.tiles else COMPARED)
    machine.print_version()
    if options.tiles and not (kernels and kernels.level().startswith("amx")):
        print("no tiles here (AMX; `xrnn info` says why): only bfloat16 is compared with float32 and with PyTorch")
        peers = [peer for peer in peers if peer != THREE_PRODUCTS]
    console = wide_console()
    results = compare(cases, peers, options.rounds, options.threads, options.out, console)
    print_comparison(results, console)


if __name__ == "__main__":
    main()
