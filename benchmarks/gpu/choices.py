"""The selection's choices: as predicted for a GPU, and judged by what was measured on one.

`python -m benchmarks.gpu.choices [--device h100]` prints the prediction over hidden and batch sizes.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final
from unittest import mock

from benchmarks.gpu.forms import BATCHES, HIDDEN, label
from xrnn.backends.cupy import choice
from xrnn.backends.cupy.cells import NAMED
from xrnn.backends.cupy.choice import Candidate, Device, Request

NEAR: Final = 1.1  # a choice is good where nothing is faster by more
FLOOR: Final = 1.5  # and its step near what the measured costs predict, where it is within this factor

Cell = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one cell: times in microseconds."""

    case: str
    operation: str
    chosen: str
    time: float  # of the chosen form
    best: str  # the fastest form that was measured
    best_time: float
    torch_time: float | None  # cuDNN in float32
    step: float  # of the chosen form's forward: what one more step costs, its share of the input's product included
    floor: float  # of the same, predicted from the measured costs

    @property
    def good(self) -> bool:
        return self.time <= NEAR * self.best_time

    @property
    def near_floor(self) -> bool:
        return self.step <= FLOOR * self.floor


@contextmanager
def measured(costs: Mapping[str, float | str]) -> Iterator[None]:
    """Within the block the selection predicts from these in place of its estimates."""
    with ExitStack() as stack:
        for name in costs:
            if hasattr(choice, name) and not isinstance(costs[name], str):  # words: it could not be measured
                stack.enter_context(mock.patch.object(choice, name, costs[name]))
        choice.candidates.cache_clear()
        try:
            yield
        finally:
            choice.candidates.cache_clear()


def judge(cells: Sequence[Cell], device: Device, costs: Mapping[str, float | str]) -> list[Verdict]:
    """Each size at which the chosen form was measured."""
    verdicts = []
    forwards = {c["case"]: c for c in cells if c["operation"] == "forward"}
    for cell in cells:
        times = {name: statistics.median(rounds) for name, rounds in cell["microseconds"].items()}
        own = {name: time for name, time in times.items() if name in cell["candidates"] or name == "plain"}
        best, chosen = min(own, key=lambda name: own[name]), cell["chosen"]
        with measured(costs):
            kernel = NAMED[cell["cell"]]
            request = Request(kernel, False, "float32", cell["T"], cell["N"], cell["D"], cell["H"])
            steps = {label(c): c.step_seconds for c in choice.candidates(device, request)}
            product = request.product_seconds(device, cell["N"], cell["D"], kernel.pre * cell["H"])
        forward = forwards[cell["case"]]
        once = statistics.median(forward["microseconds"][forward["chosen"]])
        step = (statistics.median(forward["longer_microseconds"]) - once) / cell["T"]
        verdicts.append(
            Verdict(
                cell["case"],
                cell["operation"],
                chosen,
                own[chosen],
                best,
                own[best],
                times.get("torch"),
                step,
                (steps.get(chosen, choice.HOST_STEP) + product) * 1e6,
            )
        )
    return verdicts


def predicted(device: Device, dtype: str, T: int, cell: str) -> list[str]:
    """The choices over hidden and batch sizes, D = H: form, grid, rows of a tile, and the microseconds of a step."""
    lines = [f"{cell} on {device.name}, {dtype}, T={T}, D=H: the choice and its µs a step, predicted, not measured"]
    for backward in (False, True):
        lines.append(f"{'backward' if backward else 'forward':>8}" + "".join(f"{f'N={N}':>25}" for N in BATCHES))
        for H in HIDDEN:
            requests = (Request(NAMED[cell], backward, dtype, T, N, H, H) for N in BATCHES)
            chosen = (choice.choose(device, request) for request in requests)
            forms = (f"{_short(c):>19}{c.step_seconds * 1e6:6.1f}" for c in chosen)
            lines.append(f"{f'H={H}':>8}" + "".join(forms))
    return lines


def _short(candidate: Candidate) -> str:
    return label(candidate).replace(" rows=", "/").replace("group-partial", "partial")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.choices", description="what the selection chooses")
    parser.add_argument("--device", choices=choice.DEVICES, default="h100", help="(default: %(default)s)")
    parser.add_argument("--dtype", choices=choice.ROWS, default="float32", help="(default: %(default)s)")
    parser.add_argument("--cell", choices=NAMED, default="rnn", help="(default: %(default)s)")
    parser.add_argument("-T", type=int, default=50, help="time steps (default: %(default)s)")
    options = parser.parse_args(arguments)
    print("\n".join(predicted(choice.DEVICES[options.device], options.dtype, options.T, options.cell)))


if __name__ == "__main__":
    main()
