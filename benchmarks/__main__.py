"""Measure everything, print the tables: `python -m benchmarks [--quick] [--out FOLDER]`."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks import machine
from benchmarks.processes import environment


def commands(out: Path, threads: int, quick: bool) -> list[list[str]]:
    """The arguments of Python, a list for each command. The comparison comes first, while the machine is coolest."""
    common = ["--out", str(out), "--threads", str(threads)]
    own = ["pytest", "benchmarks", "-q", "-p", "no:cacheprovider", f"--benchmark-json={out / 'xrnn.json'}"]
    own += ["--benchmark-max-time=0.1", "--benchmark-min-rounds=5", "--benchmark-quiet"]
    if quick:
        return [
            ["benchmarks.compare", "--quick", "--rounds", "5", *common],
            [*own, "-k", "T50-N1-D16-H16"],
            ["benchmarks.step", "--rounds", "3", *common],
            ["benchmarks.memory", "--peers", "xrnn,torch", *common],
            ["benchmarks.accuracy", "--seeds", "2", "--per-exponent", "1", *common],
            ["benchmarks.report", str(out)],
        ]
    return [
        ["benchmarks.compare", *common],
        own,
        *([f"benchmarks.{name}", *common] for name in ("step", "memory", "accuracy")),
        ["benchmarks.report", str(out)],
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="measure everything and print it")
    parser.add_argument("--quick", action="store_true", help="a little of each, as a smoke test: half a minute")
    machine.add_options(parser)
    options = parser.parse_args(arguments)

    options.out.mkdir(parents=True, exist_ok=True)
    for command in commands(options.out, options.threads, options.quick):
        if command[0] == "pytest" and not find_spec("pytest_benchmark"):
            print("left out pytest benchmarks: pytest-benchmark is not installed. Remedy: pip install -e '.[bench]'")
            continue
        print(f"\n$ python -m {' '.join(command)}", flush=True)
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", *command], env=environment(options.threads), check=True)
        print(f"({time.perf_counter() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
