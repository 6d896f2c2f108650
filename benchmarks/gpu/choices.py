"""The selection's choices, as predicted for a GPU: `python -m benchmarks.gpu.choices [--device h100 | --all]`."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from benchmarks.gpu.forms import BATCHES, HIDDEN, label
from xrnn.backends.cupy import choice
from xrnn.backends.cupy.cells import NAMED
from xrnn.backends.cupy.choice import Candidate, Device, Request


def predicted(device: Device, dtype: str, T: int, cell: str) -> list[str]:
    """The choices over hidden and batch sizes, D = H: form, grid, rows of a tile, and the microseconds of a step."""
    lines = [f"{cell} on {device.name}, {dtype}, T={T}, D=H: the choice and its µs a step, predicted, not measured"]
    for backward in (False, True):
        lines.append(f"{'backward' if backward else 'forward':>8}" + "".join(f"{f'N={N}':>25}" for N in BATCHES))
        for H in HIDDEN:
            chosen = (choice.choose(device, Request(NAMED[cell], backward, dtype, T, N, H, H)) for N in BATCHES)
            forms = (f"{_short(c):>18}{c.step_seconds * 1e6:7.2f}" for c in chosen)
            lines.append(f"{f'H={H}':>8}" + "".join(forms))
    return lines


def _short(candidate: Candidate) -> str:
    return label(candidate).replace(" rows=", "/").replace("group-partial", "partial")


def everything(dtype: str, T: int) -> Iterator[str]:
    """The table of each cell on each device, and how often each form is chosen there, where there is a choice."""
    for device in choice.DEVICES.values():
        lines = [line for cell in NAMED for line in (*predicted(device, dtype, T, cell), "")]
        chosen = Counter(re.findall("stepwise|one-block|group|partial", "".join(lines)))
        yield from lines
        yield f"{device.name} takes {', '.join(f'{form} {times} times' for form, times in chosen.most_common())}\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.choices", description="what the selection chooses")
    parser.add_argument("--device", choices=choice.DEVICES, default="h100", help="(default: %(default)s)")
    parser.add_argument("--dtype", choices=choice.ROWS, default="float32", help="(default: %(default)s)")
    parser.add_argument("--cell", choices=NAMED, default="rnn", help="(default: %(default)s)")
    parser.add_argument("-T", type=int, default=50, help="time steps (default: %(default)s)")
    parser.add_argument("--all", action="store_true", help="each cell on each device")
    options = parser.parse_args(arguments)
    if options.all:
        print("\n".join(everything(options.dtype, options.T)))
        return
    print("\n".join(predicted(choice.DEVICES[options.device], options.dtype, options.T, options.cell)))


if __name__ == "__main__":
    main()
