"""xrnn.torch's modules beside PyTorch's own: `python -m benchmarks.torch_modules`.

Both run the same code, each in its own process: inference under inference_mode, training by `backward`. The input of
*training* needs a gradient, as in every layer but a model's first; the input of *training on data* needs none.

Packed cases have rows of different lengths; each call packs them and pads the result. `--autocast` measures both within
torch.autocast("cpu", torch.bfloat16), `--few-steps` up to four rows of a few steps with wide weights.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console

from benchmarks import machine
from benchmarks.cases import COMMON, RAGGED_SIZES, SIZES, Case
from benchmarks.peers import MODULES, MODULES_IN_BFLOAT16, OURS
from benchmarks.ratios import ratio
from benchmarks.tables import table, wide_console
from benchmarks.worker import timed, workers

_PEERS: Final = ("torch", MODULES)
_UNDER_AUTOCAST: Final = ("torch-bfloat16", MODULES_IN_BFLOAT16)
_OPERATIONS: Final = {"forward": "inference", "train": "training", "train on data": "training on data"}

# One packed sequence, as in a service, and few packed rows with wide weights.
_PACKED: Final = ((50, 1, 64, 64), (50, 1, 256, 256), (20, 1, 512, 1024), (35, 3, 256, 384), *RAGGED_SIZES)
CASES: Final = (
    *(Case(*sizes, cell=cell) for cell in COMMON for sizes in SIZES["lstm"]),
    *(Case(*sizes, cell=cell, ragged=True) for cell in COMMON for sizes in _PACKED),
)
# The kernels then read PyTorch's weights in place, or the call runs in PyTorch.
FEW_STEPS: Final = tuple(Case(T, N, 512, 1024, cell=cell) for cell in COMMON for N in (1, 4) for T in (1, 3, 8))


def measure(cases: Sequence[Case], peers: Sequence[str], rounds: int, threads: int) -> dict[str, Any]:
    """Times in microseconds, one a round. `peers`: PyTorch's modules, then xrnn.torch's."""
    machine.pin(threads)
    measured = []
    with workers(peers, threads) as started:
        if not started:
            sys.exit("nothing to compare: PyTorch is not installed")
        for case in cases:
            # Some gradients of PyTorch's LSTM under autocast are wrong: such operations have no time of PyTorch's.
            prepared = {worker.peer: worker.prepare(case, drop_wrong=worker.peer not in OURS) for worker in started}
            errors = {peer: found["errors"] for peer, found in prepared.items()}
            wrong = [line for found in prepared.values() for line in found["wrong"]]
            times = timed(started, list(_OPERATIONS), rounds)
            sizes = {letter: getattr(case, letter) for letter in "TNDH"}
            measured.append(
                {
                    "case": case.name,
                    "cell": case.cell,
                    "packed": case.ragged,
                    **sizes,
                    "microseconds": times,
                    "errors": errors,
                }
            )
            measured[-1]["wrong"] = wrong
        versions = {worker.peer: worker.about for worker in started}
    about = machine.describe(threads)
    return {"machine": about, "versions": versions, "peers": [*peers], "rounds": rounds, "cases": measured}


def print_modules(results: dict[str, Any], console: Console) -> None:
    columns = ["T, N, D, H"]
    for operation in _OPERATIONS:
        columns += [f"{_OPERATIONS[operation]}:\nPyTorch", "\nxrnn", "\nPyTorch / xrnn"]
    for cell, packed in itertools.product(COMMON, (False, True)):
        cases = [case for case in results["cases"] if (case["cell"], case["packed"]) == (cell, packed)]
        if not cases:
            continue
        ratios: dict[str, list[float]] = {operation: [] for operation in _OPERATIONS}
        rows = []
        for case in cases:
            row = [", ".join(str(case[letter]) for letter in "TNDH")]
            for operation in _OPERATIONS:
                theirs, ours = (case["microseconds"][operation].get(peer) for peer in results["peers"])
                if theirs is None:
                    says = "PyTorch's gradients are wrong" if case["wrong"] else "PyTorch has none for this CPU"
                    row += ["", f"{statistics.median(ours):,.1f}", says]
                    continue
                compared = ratio(ours, theirs)
                ratios[operation].append(compared.median)
                row += [f"{statistics.median(times):,.1f}" for times in (theirs, ours)]
                row.append(f"{compared} {compared.verdict}")
            rows.append(row)
        title = f"torch.nn.{cell.upper()} and xrnn.torch's, {'packed' if packed else 'padded'}, microseconds"
        console.print(table(title, columns, rows))
        means = [
            f"{_OPERATIONS[name]} {statistics.geometric_mean(medians):.2f}"
            for name, medians in ratios.items()
            if medians
        ]
        if means:
            console.print(f"PyTorch / xrnn over {len(cases)} sizes, geometric mean: {', '.join(means)}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.torch_modules", description="xrnn.torch's modules beside PyTorch's own"
    )
    parser.add_argument(
        "--cases", default="", help="only cases of this cell, or with such a part in the name: N64-D256"
    )
    parser.add_argument("--autocast", action="store_true", help="both under torch.autocast to bfloat16")
    parser.add_argument("--few-steps", action="store_true", help="a few steps of up to four rows with wide weights")
    parser.add_argument("--rounds", type=machine.positive, default=7, help="(default: %(default)s)")
    machine.add_options(parser)
    options = parser.parse_args(arguments)
    cases = machine.cases_named(parser, FEW_STEPS if options.few_steps else CASES, options.cases)
    machine.print_version()
    results = measure(cases, _UNDER_AUTOCAST if options.autocast else _PEERS, options.rounds, options.threads)
    kinds = ("_autocast" if options.autocast else "") + ("_few_steps" if options.few_steps else "")
    machine.write(results, options.out / f"torch_modules{kinds}.json")
    print_modules(results, wide_console())


if __name__ == "__main__":
    main()
