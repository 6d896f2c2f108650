"""Data-parallel training beside PyTorch's DistributedDataParallel: `python -m benchmarks.parallel`.

Trains a character model with xrnn on MPI, with PyTorch on gloo, and with PyTorch after `xrnn.torch.accelerate`: each
in one process and in several, with one thread for each process, and the same batch for each rank. The runs take turns,
and the processes of the others are stopped.

The efficiencies of larger runs are predicted by a cost model:

    update of K ranks = c + 3 ⌈log₂ K⌉ · latency + 2 (K - 1) / K · bytes / bandwidth

c is the time of an update in one process. The gradients take a reduce-scatter followed by an all-gather (Rabenseifner,
2004), of ⌈log₂ K⌉ steps each, and the sum of the weights, which is sent first, takes as many steps. MPICH takes longer
if the number of ranks is not a power of two.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from benchmarks import machine
from benchmarks.cases import COMMON
from benchmarks.parallel_rank import HIDDEN
from benchmarks.processes import environment, rotated
from benchmarks.ratios import quartiles, ratio

LIBRARIES: Final = {"xrnn": "xrnn", "torch": "PyTorch", "xrnn.torch": "PyTorch, accelerated"}
# Typical latency in seconds and bandwidth in bytes per second.
NETWORKS: Final = {
    "1 Gbit/s Ethernet": (50e-6, 0.118e9),
    "10 Gbit/s Ethernet": (20e-6, 1.18e9),
    "100 Gbit/s InfiniBand": (2e-6, 12e9),
}
_PREDICTED: Final = (2, 4, 8, 16, 64, 256, 1024)  # ranks
_APART: Final = "apart"


@dataclass(frozen=True)
class Group:
    """The ranks that train one model."""

    library: str
    size: int
    batch: int  # of each rank

    @property
    def name(self) -> str:
        return f"{self.library} {self.size} × {self.batch}"


def mpiexec() -> str:
    """The path of the launcher: that beside this Python, if there is one."""
    return shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or "mpiexec"


class Started:
    """The running processes of a group. They are stopped except in `ask`, because waiting ranks use their CPUs."""

    def __init__(self, group: Group, cell: str, steps: int, folder: Path) -> None:
        rank = [sys.executable, "-m", "benchmarks.parallel_rank", group.library, cell, str(group.batch), str(steps)]
        rank.append(str(folder))
        if group.library == "xrnn":
            commands = [[mpiexec(), "-n", str(group.size), *rank] if group.size > 1 else rank]
        else:
            commands = [[*rank, str(number), str(group.size)] for number in range(group.size)]
        self._processes = [
            subprocess.Popen(
                command,
                env=environment(1),
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if k == 0 else None,
            )
            for k, command in enumerate(commands)
        ]
        files = [folder / str(number) for number in range(group.size)]
        while not all(file.exists() for file in files):
            if any(process.poll() is not None for process in self._processes):
                raise SystemExit(f"{group.name} ended before its first update: see its error above")
            time.sleep(0.01)
        self._pids = [int(file.read_text()) for file in files]
        self.ask(1)

    def pin(self, cpus: Sequence[int]) -> None:
        """Restrict rank k to CPU k, modulo their number."""
        for k, pid in enumerate(self._pids):
            os.sched_setaffinity(pid, {cpus[k % len(cpus)]})

    def ask(self, updates: int) -> dict[str, Any]:
        """The times and counts of that number of updates."""
        self.send(updates)
        return self.receive()

    def send(self, updates: int) -> None:
        """Let the ranks make that number of updates."""
        self._signal(signal.SIGCONT)
        stdin = self._processes[0].stdin
        assert stdin
        stdin.write(f"{updates}\n")
        stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Wait for the end of the updates → their times and counts."""
        stdout = self._processes[0].stdout
        assert stdout
        line = stdout.readline()
        self._signal(signal.SIGSTOP)
        return json.loads(line)

    def close(self) -> None:
        self._signal(signal.SIGCONT)
        for process in self._processes:
            process.communicate("0\n" if process is self._processes[0] else None)

    def _signal(self, number: int) -> None:
        for pid in self._pids:
            os.kill(pid, number)


class Apart:
    """Processes that train alone, at the same time, each on one CPU: what several processes cost without messages."""

    def __init__(self, count: int, batch: int, cell: str, steps: int, folder: Path) -> None:
        self._all: list[Started] = []
        cpus = sorted(os.sched_getaffinity(0))
        for number in range(count):
            (of_one := folder / f"apart{number}").mkdir()
            self._all.append(Started(Group("xrnn", 1, batch), cell, steps, of_one))
            self._all[-1].pin([cpus[number % len(cpus)]])

    def ask(self, updates: int) -> dict[str, Any]:
        """The times of the slowest."""
        for process in self._all:
            process.send(updates)
        return max((process.receive() for process in self._all), key=lambda times: float(times["seconds"]))

    def close(self) -> None:
        for process in self._all:
            process.close()


@contextlib.contextmanager
def started(groups: Sequence[Group], cell: str, steps: int) -> Iterator[dict[str, Started]]:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        running: dict[str, Started] = {}
        for number, group in enumerate(groups):
            (of_group := Path(folder, str(number))).mkdir()
            running[group.name] = Started(group, cell, steps, of_group)
            stack.callback(running[group.name].close)
        yield running


def measure(cell: str, size: int, batch: int, steps: int, rounds: int, updates: int) -> dict[str, Any]:
    """The results of one cell, as written to the JSON file."""
    libraries = [library for library in LIBRARIES if library == "xrnn" or find_spec("torch")]
    groups = [Group(library, count, batch) for library in libraries for count in (1, size)]
    with (
        tempfile.TemporaryDirectory() as folder,
        started(groups, cell, steps) as running,
        contextlib.closing(Apart(size, batch, cell, steps, Path(folder))) as apart,
    ):
        asked = in_turns(running | {_APART: apart}, rounds, updates)
    of_ranks = asked[groups[1].name]
    return {
        "cell": cell,
        "groups": [asdict(group) for group in groups],
        "seconds": {name: [answer["seconds"] / updates for answer in results] for name, results in asked.items()},
        "reduced": [answer["reduced"] / updates for answer in of_ranks],
        "sent": of_ranks[0]["sent"],
    }


def in_turns(running: Mapping[str, Started | Apart], rounds: int, updates: int) -> dict[str, list[dict[str, Any]]]:
    """The results of each round, by name. Each makes a round before, which is not counted."""
    asked: dict[str, list[dict[str, Any]]] = {name: [] for name in running}
    for group in running.values():
        group.ask(updates)
    for order in rotated(list(running), rounds):
        for name in order:
            asked[name].append(running[name].ask(updates))
    return asked


def seconds_of_mean(size: int, sent: float, latency: float, bandwidth: float) -> float:
    """The model's time to average `sent` bytes over `size` ranks."""
    return 3 * math.ceil(math.log2(size)) * latency + 2 * (size - 1) / size * sent / bandwidth


def report(results: dict[str, Any]) -> str:
    size, batch, steps = results["processes"], results["batch"], results["steps"]
    about = results["machine"]
    lines = [
        f"{about['cpu']}: embedding 64, {HIDDEN} units, {steps} steps, {batch} sequences for each rank, "
        f"{size} processes of one thread; medians and quartiles of {results['rounds']} rounds"
    ]
    for of_cell in results["cells"]:
        lines += ["", *_report(of_cell, size, batch, steps)]
    return "\n".join(lines)


def _report(results: dict[str, Any], size: int, batch: int, steps: int) -> list[str]:
    cell, seconds = results["cell"], results["seconds"]
    lines = [f"{cell}"]
    of = {(group["library"], group["size"], group["batch"]): group for group in results["groups"]}

    def times(library: str, count: int) -> list[float]:
        return seconds[Group(library, count, batch).name]

    for library, name in LIBRARIES.items():
        if (library, 1, batch) not in of:
            continue
        rate = steps * batch * size / statistics.median(times(library, size))
        low, speedup, high = (
            size * quotient for quotient in quartiles(_divided(times(library, 1), times(library, size)))
        )
        lines.append(f"  {name:22} {rate:>9,.0f} characters/s, {speedup:.2f} ({low:.2f}–{high:.2f}) times one process")
        if library != "xrnn":
            lines.append(f"  {'xrnn / ' + name:33} {ratio(times('xrnn', size), times(library, size))}")
    low, speedup, high = (size * quotient for quotient in quartiles(_divided(times("xrnn", 1), seconds[_APART])))
    lines.append(f"  {'processes that train alone':33} {speedup:.2f} ({low:.2f}–{high:.2f}) times one process")
    alone, together = (statistics.median(times("xrnn", count)) for count in (1, size))
    share = statistics.median(results["reduced"]) / together
    sent = results["sent"]
    lines += [f"  in the reducer, with waiting: {share:.1%} of an update", f"  sent by an update: {sent:,} bytes"]
    lines.append(f"  {'efficiency by number of ranks':30}{''.join(f'{count:>7}' for count in _PREDICTED)}")
    for network, (latency, bandwidth) in NETWORKS.items():
        waits = (seconds_of_mean(count, sent, latency, bandwidth) for count in _PREDICTED)
        lines.append(f"  {network:30}{''.join(f'{alone / (alone + wait):>7.2f}' for wait in waits)}")
    return lines


def _divided(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parallel", description="data-parallel training")
    parser.add_argument("--cells", type=machine.some_of(COMMON), default=list(COMMON), help="(default: all)")
    default = "(default: %(default)s)"
    parser.add_argument("--processes", type=machine.positive, default=2, help=default)
    parser.add_argument("--batch", type=machine.positive, default=64, help=f"of each rank {default}")
    parser.add_argument("--steps", type=machine.positive, default=64, help=f"time steps {default}")
    parser.add_argument("--rounds", type=machine.positive, default=15, help=default)
    parser.add_argument("--updates", type=machine.positive, default=5, help=f"in a round {default}")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args(arguments)
    if options.processes < 2:
        parser.error("--processes is 1: expected at least 2, to compare with one process")
    if not find_spec("mpi4py"):
        parser.error("mpi4py is not installed: expected it to connect the processes; pip install -e '.[mpi]'")
    machine.print_version()
    size, batch, steps = options.processes, options.batch, options.steps
    cells = [measure(cell, size, batch, steps, options.rounds, options.updates) for cell in options.cells]
    about = {
        "machine": machine.describe(1),
        "processes": size,
        "batch": batch,
        "steps": steps,
        "rounds": options.rounds,
    }
    results = about | {"cells": cells}
    if options.json:
        machine.write(results, options.json)
    print(report(results))


if __name__ == "__main__":
    main()
