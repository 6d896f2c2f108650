"""Training runs of a whole job, one a library: what `benchmarks.char_lm` and `benchmarks.classify` share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import xrnn
from benchmarks import machine
from benchmarks.ratios import quartiles, ratio
from xrnn.cells import CELLS
from xrnn.jobs.errors import DataError
from xrnn.jobs.settings import Settings
from xrnn.typing import HostArray


class Model(Protocol):
    @property
    def named_params(self) -> dict[str, Any]: ...


M = TypeVar("M", bound=Model)


class Run(Protocol):
    """A training run of one library."""

    version: str

    def step(self) -> None: ...

    def model(self) -> Any:
        """What was learned, as xrnn's model: one evaluation measures all."""
        ...


class XrnnRun:
    """That of a job's own trainer."""

    version = f"xrnn {xrnn.__version__}"

    def __init__(self, trainer: Any) -> None:
        self._trainer, self.step = trainer, trainer.step

    def model(self) -> Any:
        return self._trainer.model


def torch_for(settings: Settings) -> tuple[Any, str]:
    """PyTorch, with this process's number of threads and the run's seed, and how it is called."""
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(settings.seed)
    return torch, f"PyTorch {torch.__version__}"


def with_weights(model: M, weights: Iterable[HostArray]) -> M:
    """The model, holding these in place of its own."""
    for param, weight in zip(model.named_params.values(), weights, strict=True):
        param[...] = weight
    return model


def rate_lines(
    versions: Mapping[str, str], rates: Mapping[str, Sequence[float]], unit: str, before: str = "", width: int = 24
) -> list[str]:
    """A line a library, and one for each other rate over PyTorch's.   rates: items a second, one a block."""
    lines = []
    for library, version in versions.items():
        low, median, high = quartiles(rates[library])
        lines.append(f"{before}{version:{width}} {median:>9,.0f} {unit}/s ({low:,.0f} to {high:,.0f})")
    for library in versions:
        if library == "pytorch" or len(rates[library]) < 2:
            continue
        r = ratio(rates["pytorch"], rates[library])
        name = f"{library} / PyTorch"
        lines.append(f"{before}{name:{width}} {r.median:>9.2f} ({r.low:.2f} to {r.high:.2f}): {r.verdict}")
    return lines


def add_options(parser: argparse.ArgumentParser, cell: str) -> None:
    threads = min(2, os.cpu_count() or 1)
    parser.add_argument("--cell", choices=CELLS, default=cell, help="(default: %(default)s)")
    parser.add_argument("--threads", type=machine.positive, default=threads, help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write what was measured to this file")


def insist_on_data(parser: argparse.ArgumentParser, load: Callable[[], Any]) -> None:
    """Read the data once before any process does, which could only say by a traceback that they can't be read."""
    try:
        load()
    except DataError as error:
        parser.error(str(error))
