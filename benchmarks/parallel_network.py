"""The cost model of `benchmarks.parallel` beside networks of limited rate: `python -m benchmarks.parallel_network`.

Each rank has a network namespace of its own, and a bridge connects them. `tc tbf` limits what each rank sends and what
it receives. The command needs Linux, root, and the mpiexec of MPICH, which sends by TCP here. It prints, for each rate:

- the time of one `mean` of all gradients, of 2, 3 and 4 ranks, beside the model's
- the time of an update of 2 ranks, beside the model's, and beside the same update with overlap: the gradients of the
  last layer are sent while those of the others are computed

The model gets the time of an update of one process, the latency of a message of one number between 2 ranks, and the
nominal rate less 4 % for the headers of TCP. 3 ranks are measured a second time with another
algorithm of MPICH, because its usual one is made for powers of two.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import machine
from benchmarks.parallel import Group, Started, add_options, in_turns, mpiexec, require_mpi, seconds_of_mean
from benchmarks.parallel_rank import HIDDEN
from benchmarks.ratios import ratio
from xrnn.cells import CELLS

_DATA: Final = 1448 / 1514  # the share of an Ethernet frame that is data
_BURST: Final = 32_000  # bytes that tbf lets pass at once
_QUEUE: Final = 4_000_000  # bytes that wait in tbf: more than a rank sends at once, so that nothing is dropped
_SUBNET: Final = "10.77.0"
_RING: Final = "MPIR_CVAR_ALLREDUCE_INTRA_ALGORITHM=ring"
# The ranks whose `mean` is measured, and a variable of MPICH that they get.
_MEANS: Final = {"2 ranks": (2, ""), "3 ranks": (3, ""), "3 ranks, ring": (3, _RING), "4 ranks": (4, "")}
_ENTER: Final = """#!/bin/sh
while [ "${{1#-}}" != "$1" ]; do shift; done
host=$1; shift
exec ip netns exec {prefix}-"${{host##*.}}" sh -c "$*"
"""


class NetworkError(Exception):
    """The namespaces can't be created. The message names the cause and the remedy."""


@contextlib.contextmanager
def namespaces(count: int, rate: int, folder: Path, *variables: str) -> Iterator[list[str]]:
    """Connect `count` network namespaces → the command that starts ranks in them, without the number of ranks.

    rate        in Mbit/s, of each namespace in each direction; 0 for no limit
    folder      for the program that enters a namespace
    variables   NAME=VALUE, for the environment of the ranks

    Raises NetworkError.
    """
    prefix = f"xrnn{os.getpid()}"
    switch, hosts = f"{prefix}-switch", [f"{prefix}-{k + 1}" for k in range(count)]
    made: list[str] = []
    try:
        for name in (switch, *hosts):
            _run("ip", "netns", "add", name)
            made.append(name)
        _run("ip", "-n", switch, "link", "add", "name", "switch", "type", "bridge")
        _run("ip", "-n", switch, "link", "set", "switch", "up")
        for k, host in enumerate(hosts):
            port = f"port{k + 1}"
            peer = ["type", "veth", "peer", "name", "eth0", "netns", host]
            _run("ip", "-n", switch, "link", "add", "name", port, *peer)
            _run("ip", "-n", switch, "link", "set", port, "master", "switch", "up")
            _run("ip", "-n", host, "address", "add", f"{_SUBNET}.{k + 1}/24", "dev", "eth0")
            _run("ip", "-n", host, "link", "set", "lo", "up")
            _run("ip", "-n", host, "link", "set", "eth0", "up")
            if rate:
                limit = ["root", "tbf", "rate", f"{rate}mbit", "burst", str(_BURST), "limit", str(_QUEUE)]
                _run("tc", "-n", host, "qdisc", "add", "dev", "eth0", *limit)
                _run("tc", "-n", switch, "qdisc", "add", "dev", port, *limit)
        # mpiexec calls it as it would call ssh: with options, the address of a host, and the words of a command.
        enter = folder / "enter"
        enter.write_text(_ENTER.format(prefix=prefix))
        enter.chmod(0o755)
        addresses = ",".join(f"{_SUBNET}.{k + 1}" for k in range(count))
        ssh = ["-launcher", "ssh", "-launcher-exec", str(enter), "-hosts", addresses, "-iface", "eth0"]
        yield ["ip", "netns", "exec", hosts[0], "env", "UCX_TLS=tcp", *variables, mpiexec(), *ssh]
    finally:
        for name in made:
            _run("ip", "netns", "delete", name)


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise NetworkError(
            f"`{shlex.join(words)}` failed ({' '.join(done.stderr.split())}): expected root, with the right to create "
            "network namespaces; run it as root, outside of a container"
        )
    return done.stdout


def measure(cell: str, batch: int, steps: int, rates: Sequence[int], rounds: int, updates: int) -> dict[str, Any]:
    """The results, as written to the JSON file."""
    with tempfile.TemporaryDirectory() as path:
        networks = []
        for number, rate in enumerate(rates):
            (folder := Path(path, str(number))).mkdir()
            seconds, first = _updates(rate, cell, batch, steps, rounds, updates, folder)
            means = {
                name: first if size == 2 else _mean(rate, cell, folder, name) for name, (size, _) in _MEANS.items()
            }
            networks.append({"mbit_per_second": rate, "seconds": seconds, "means": means})
    return {"cell": cell, "batch": batch, "steps": steps, "rounds": rounds, "networks": networks}


def _updates(
    rate: int, cell: str, batch: int, steps: int, rounds: int, updates: int, folder: Path
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """The seconds of an update, alone and of 2 ranks, without and with overlap, and the times of `mean`."""
    cpus = sorted(os.sched_getaffinity(0))
    with namespaces(2, rate, folder) as launcher, contextlib.ExitStack() as stack:
        running: dict[str, Started] = {}
        for name, library, size in (("alone", "xrnn", 1), ("2 ranks", "xrnn", 2), ("overlap", "overlap", 2)):
            (of_group := folder / name).mkdir()
            running[name] = Started(Group(library, size, batch), cell, steps, of_group, launcher)
            stack.callback(running[name].close)
            running[name].pin(cpus)
        asked = in_turns(running, rounds, updates)
        first = running["2 ranks"].first
    seconds = {name: [each["seconds"] / updates for each in results] for name, results in asked.items()}
    return seconds, _times(first)


def _mean(rate: int, cell: str, folder: Path, name: str) -> dict[str, float]:
    """The times of `mean`: the ranks compute nothing."""
    size, variable = _MEANS[name]
    with namespaces(size, rate, folder, *[variable] * bool(variable)) as launcher:
        (of_group := folder / name).mkdir()
        group = Started(Group("xrnn", size, 1), cell, 1, of_group, launcher)
        group.close()
    return _times(group.first)


def _times(first: dict[str, Any]) -> dict[str, float]:
    return {"one_number": first["latency"], "all": first["all"], "bytes": 4 * (first["numbers"] + 1)}


def report(results: dict[str, Any]) -> str:
    about, networks = results["machine"], results["networks"]
    sent = networks[0]["means"]["2 ranks"]["bytes"]
    lines = [
        f"{about['cpu']}: {results['cell']}, {HIDDEN} units, {results['steps']} steps, {results['batch']} sequences "
        f"for each rank, one thread each; medians and quartiles of {results['rounds']} rounds; milliseconds",
        "",
        f"one mean of {sent:,} bytes: measured (model)",
        f"  {'Mbit/s':>10}" + "".join(f"{name:>20}" for name in _MEANS),
    ]
    for network in networks:
        means = network["means"]
        cells = [_beside_model(each["all"], _predicted(network, _MEANS[name][0])) for name, each in means.items()]
        lines.append(f"  {_rate(network):>10}" + "".join(f"{each:>20}" for each in cells))
    lines += ["", "one update of 2 ranks", f"  {'Mbit/s':>10}{'measured (model)':>20}{'measured / model':>24}"]
    lines[-1] += f"{'with overlap / without':>28}"
    for network in networks:
        seconds = network["seconds"]
        model, wait = None, _predicted(network, 2)
        if wait is not None:
            model = [each + wait for each in seconds["alone"]]
        measured = _beside_model(statistics.median(seconds["2 ranks"]), statistics.median(model) if model else None)
        off = str(ratio(model, seconds["2 ranks"])) if model else "–"
        overlap = str(ratio(seconds["2 ranks"], seconds["overlap"]))
        lines.append(f"  {_rate(network):>10}{measured:>20}{off:>24}{overlap:>28}")
    return "\n".join(lines)


def _predicted(network: dict[str, Any], size: int) -> float | None:
    """The model's time of one `mean`; None for a network without a known rate."""
    if not network["mbit_per_second"]:
        return None
    two = network["means"]["2 ranks"]
    return seconds_of_mean(size, two["bytes"], two["one_number"] / 2, network["mbit_per_second"] * 1e6 / 8 * _DATA)


def _rate(network: dict[str, Any]) -> str:
    return f"{network['mbit_per_second']:,}" if network["mbit_per_second"] else "no limit"


def _beside_model(seconds: float, model: float | None) -> str:
    return f"{seconds * 1e3:.1f} ({model * 1e3:.1f})" if model is not None else f"{seconds * 1e3:.1f} (–)"


def _rates(text: str) -> list[int]:
    """Option type: Mbit/s."""
    return [machine.positive(word) for word in text.split(",")]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.parallel_network", description="the cost model beside networks of limited rate"
    )
    parser.add_argument("--cell", choices=list(CELLS), default="rnn", help="(default: %(default)s)")
    parser.add_argument("--rates", type=_rates, default=[1000, 100, 10], help="Mbit/s (default: 1000,100,10)")
    add_options(parser, rounds=9, updates=2)
    options = parser.parse_args(arguments)
    require_mpi(parser)
    for program in ("ip", "tc"):
        if not shutil.which(program):
            parser.error(f"{program} is not installed: expected it to limit the rate; apt install iproute2, on Linux")
    machine.print_version()
    sizes = (options.cell, options.batch, options.steps, [0, *options.rates], options.rounds, options.updates)
    try:
        results = {"machine": machine.describe(1)} | measure(*sizes)
    except NetworkError as error:
        parser.error(str(error))
    if options.json:
        machine.write(results, options.json)
    print(report(results))


if __name__ == "__main__":
    main()
