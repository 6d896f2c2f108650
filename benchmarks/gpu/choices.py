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


def predicted(device: Device, dtype: str, T: int, cell: str, heads: int = 1) -> list[str]:
    """The choices over hidden and batch sizes, D = H: form, grid, rows of a tile, and the microseconds of a step."""
    of = f"{cell}{f' with {heads} heads' if heads > 1 else ''} on {device.name}, {dtype}, T={T}, D=H"
    lines = [f"{of}: the choice and its µs a step, predicted, not measured"]
    for backward in (False, True):
        lines.append(f"{'backward' if backward else 'forward':>8}" + "".join(f"{f'N={N}':>25}" for N in BATCHES))
        for H in HIDDEN:
            requests = (Request(NAMED[cell], backward, dtype, T, N, H, H, heads) for N in BATCHES)
            chosen = (choice.choose(device, request) for request in requests)
            forms = (f"{_short(c):>18}{c.step_seconds * 1e6:7.2f}" for c in chosen)
            lines.append(f"{f'H={H}':>8}" + "".join(forms))
    return lines


def _short(candidate: Candidate) -> str:
    return label(candidate).replace(" rows=", "/").replace("group-partial", "partial")


def everything(dtype: str, T: int) -> Iterator[str]:
    """The table of each cell on each device, and how often each form is chosen there, where there is a choice."""
    for device in choice.DEVICES.values():
        shown = *((cell, 1) for cell in NAMED), ("lstm", 4)
        lines = [line for cell, heads in shown for line in (*predicted(device, dtype, T, cell, heads), "")]
        chosen = Counter(re.findall("stepwise|one-block|group|partial", "".join(lines)))
        yield from lines
        yield f"{device.name} takes {', '.join(f'{form} {times} times' for form, times in chosen.most_common())}\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.choices", description="what the selection chooses")
    parser.add_argument("--device", choices=choice.DEVICES, default="h100", help="(default: %(default)s)")
    parser.add_argument("--dtype", choices=choice.ROWS, default="float32", help="(default: %(default)s)")
    parser.add_argument("--cell", choices=NAMED, default="rnn", help="(default: %(default)s)")
    parser.add_argument("--heads", type=int, choices=(1, 2, 4, 8), default=1, help="(default: %(default)s)")
    parser.add_argument("-T", type=int, default=50, help="time steps (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs=3, metavar=("N", "D", "H"), help="all candidates for one size")
    parser.add_argument("--all", action="store_true", help="each cell on each device")
    options = parser.parse_args(arguments)
    if options.all:
        print("\n".join(everything(options.dtype, options.T)))
        return
    if options.heads > 1 and not NAMED[options.cell].fed:
        parser.error(
            f"--heads is {options.heads}, with --cell {options.cell}: expected a cell with a recurrent product"
        )
    device = choice.DEVICES[options.device]
    if options.size:
        shapes = dict(zip("TNDH", (options.T, *options.size), strict=True)) | {"heads": options.heads}
        print(choice.tables(device, options.cell, shapes, options.dtype))
    else:
        print("\n".join(predicted(device, options.dtype, options.T, options.cell, options.heads)))


if __name__ == "__main__":
    main()
