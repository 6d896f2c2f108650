"""Training runs of complete jobs, one a library: for `benchmarks.char_lm`."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import xrnn
from benchmarks import machine
from benchmarks.processes import Child, MissingLibraryError, environment, rotated
from benchmarks.ratios import quartiles, ratio
from xrnn.cells import CELLS
from xrnn.models.errors import DataError
from xrnn.models.settings import Settings
from xrnn.typing import HostArray


class Run(Protocol):
    """A training run of one library."""

    version: str

    def step(self) -> None:
        """Make one update."""
        ...

    def model(self) -> Any:
        """The trained weights in xrnn's model, so that all libraries are evaluated by the same code."""
        ...


class XrnnRun:
    """The run of a job's own trainer."""

    version = f"xrnn {xrnn.__version__}"

    def __init__(self, trainer: Any) -> None:
        self._trainer, self.step = trainer, trainer.step

    def model(self) -> Any:
        return self._trainer.model


@contextlib.contextmanager
def children(
    libraries: Iterable[str], threads: int, make: Callable[..., Any], *arguments: Any
) -> Iterator[dict[str, Child]]:
    """A child process `make(library, *arguments)` for each library that is installed, by library."""
    machine.pin(threads)
    with contextlib.ExitStack() as stack:
        started = {}
        for library in libraries:
            try:
                child = Child(make, library, *arguments, environment=environment(threads))
            except MissingLibraryError as error:
                print(f"left out {error}. Remedy: pip install -e '.[bench]'", flush=True)
            else:
                started[library] = stack.enter_context(child)
        yield started


def seconds(children: Mapping[str, Child], rounds: int, method: str, *arguments: Any) -> dict[str, list[float]]:
    """What the method returns in each round, by library. The libraries take turns."""
    measured: dict[str, list[float]] = {library: [] for library in children}
    for order in rotated(list(children), rounds):
        for library in order:
            measured[library].append(children[library].ask(method, *arguments))
    return measured


def time_updates(run: Run, count: int) -> float:
    """The seconds that `count` updates take."""
    start = time.perf_counter()
    for _ in range(count):
        run.step()
    return time.perf_counter() - start


def torch_for(settings: Settings) -> tuple[Any, str]:
    """PyTorch, set to this process's number of threads and the run's seed, and its name with its version."""
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(settings.seed)
    return torch, f"PyTorch {torch.__version__}"


def with_weights(model: Any, weights: Iterable[HostArray]) -> Any:
    """The model, with its parameters replaced by these."""
    for param, weight in zip(model.params, weights, strict=True):
        param[...] = weight
    return model


def rate_lines(
    versions: Mapping[str, str], rates: Mapping[str, Sequence[float]], unit: str, before: str = "", width: int = 24
) -> list[str]:
    """A line for each library's rate, then one for its ratio to PyTorch's rate (without PyTorch, to the first one).

    rates   items per second, one a block
    """
    lines = []
    for library, version in versions.items():
        low, median, high = quartiles(rates[library])
        lines.append(f"{before}{version:{width}} {median:>9,.0f} {unit}/s ({low:,.0f} to {high:,.0f})")
    base = "pytorch" if "pytorch" in rates else next(iter(rates))
    for library in versions:
        if library == base or len(rates[library]) < 2:
            continue
        r = ratio(rates[base], rates[library])
        name = f"{library} / {'PyTorch' if base == 'pytorch' else base}"
        lines.append(f"{before}{name:{width}} {r.median:>9.2f} ({r.low:.2f} to {r.high:.2f}): {r.verdict}")
    return lines


def add_options(parser: argparse.ArgumentParser, cell: str) -> None:
    threads = min(2, os.cpu_count() or 1)
    parser.add_argument("--cell", choices=CELLS, default=cell, help="(default: %(default)s)")
    parser.add_argument("--threads", type=machine.positive, default=threads, help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the results to this file")


def check_data(parser: argparse.ArgumentParser, load: Callable[[], Any]) -> None:
    """Read the data once before the child processes do, so that an error is one line and not a traceback."""
    try:
        load()
    except DataError as error:
        parser.error(str(error))
