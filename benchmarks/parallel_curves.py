"""The loss curves of 1, 2 and 3 ranks with the same batch: `python -m benchmarks.parallel_curves --picture FILE`.

Runs `xrnn train` in each number of ranks, and prints how far the losses of several ranks are from those of one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import machine, runs
from benchmarks.parallel import mpiexec, require_mpi
from benchmarks.processes import environment
from xrnn.cells import CELLS
from xrnn.commands.pictures import Picture
from xrnn.models.corpus import load_corpus
from xrnn.models.text import CHARACTER_MODEL
from xrnn.select import get_backend

RANKS: Final = (1, 2, 3)
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73")
_WIDTHS: Final = (5.0, 2.5, 1.0)  # the curves lie on each other


def losses(ranks: int, paths: Sequence[Path], options: dict[str, str]) -> list[float]:
    """The loss of each update of `xrnn train` in that number of ranks, in bits per character."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        words = [mpiexec(), "-n", str(ranks)] * (ranks > 1) + [sys.executable, "-m", "xrnn", "train"]
        words += [*map(str, paths), "--out", str(out), "--plot", f"{out}.png", "--quiet"]
        words += [f"--{name}={value}" for name, value in options.items()]
        subprocess.run(words, env=environment(1), check=True, stdout=subprocess.DEVNULL)
        found: list[float] = CHARACTER_MODEL.load(out, get_backend("numpy")).arrays["losses"].tolist()
    return found


def differences(results: dict[str, Any], ranks: int) -> Any:
    """|loss of `ranks` ranks - loss of one|, for each update."""
    several, one = (np.array(results["losses"][str(count)]) for count in (ranks, 1))
    return np.abs(several - one)


def report(results: dict[str, Any]) -> str:
    options = ", ".join(f"--{name} {value}" for name, value in results["options"].items())
    lines = [f"{results['machine']['cpu']}: xrnn train {options}; loss in bits per character"]
    for ranks in RANKS:
        line = f"{ranks} ranks: {results['losses'][str(ranks)][-1]:.6f} in the last update"
        if ranks > 1:
            apart = differences(results, ranks)
            line += (
                f"; from one rank: at most {apart[:100].max():.1e} in the first 100 updates, {apart.max():.1e} in all"
            )
        lines.append(line)
    return "\n".join(lines)


def picture(results: dict[str, Any]) -> Picture:
    """The curves on each other; below, how far those of several ranks are from that of one."""

    def draw(figure: Any) -> None:
        top, bottom = figure.subplots(2, 1, sharex=True)
        for ranks, colour, width in zip(RANKS, _COLOURS, _WIDTHS, strict=True):
            label = f"{ranks} ranks" if ranks > 1 else "1 process"
            top.plot(results["losses"][str(ranks)], color=colour, linewidth=width, label=label)
            if ranks > 1:
                bottom.plot(differences(results, ranks), color=colour, linewidth=1, label=label)
        about, options = results["machine"], results["options"]
        top.set(ylabel="loss, bits per character", title=f"{options['cell']}, {options['batch']} streams in each batch")
        bottom.set(xlabel="update", ylabel="|difference from 1 process|", yscale="log")
        for axes in (top, bottom):
            axes.grid(alpha=0.3)
            axes.legend()
        figure.supxlabel(f"float32; {about['cpu']}, {about['date'][:10]}", fontsize=8)

    return Picture((8, 5.6), draw)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.parallel_curves", description="the loss curves of several ranks"
    )
    parser.add_argument("paths", nargs="*", type=Path, help="text (default: Python's own sources)")
    parser.add_argument("--cell", choices=list(CELLS), default="lstm", help="(default: %(default)s)")
    parser.add_argument("--hidden", type=machine.positive, default=128, help="(default: %(default)s)")
    parser.add_argument("--batch", type=machine.positive, default=32, help="of all ranks (default: %(default)s)")
    parser.add_argument("--steps", type=machine.positive, default=300, help="updates (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--picture", type=Path, help="draw the curves into this PNG file")
    given = parser.parse_args(arguments)
    if given.batch < max(RANKS):
        parser.error(f"--batch is {given.batch}: expected at least {max(RANKS)}, a stream for each rank")
    require_mpi(parser)
    if given.picture and not find_spec("matplotlib"):
        parser.error("matplotlib is not installed: expected it to draw the curves; pip install -e '.[plot]'")
    runs.check_data(parser, lambda: load_corpus(given.paths))
    machine.print_version()
    options = {name: str(getattr(given, name)) for name in ("cell", "hidden", "batch", "steps")}
    curves = {str(ranks): losses(ranks, given.paths, options) for ranks in RANKS}
    results = {"machine": machine.describe(1), "options": options, "losses": curves}
    if given.json:
        machine.write(results, given.json)
    if given.picture:
        given.picture.write_bytes(picture(results).content(given.picture) or b"")
    print(report(results))


if __name__ == "__main__":
    main()
