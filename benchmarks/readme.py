"""The tables of docs/speed.md from what `benchmarks.compare` wrote: `python -m benchmarks.readme FOLDER/compare.json`.

With `--short` those of the README: the same with some of the rows, for the cells without lengths or a leak.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.cases import STATED, Case
from benchmarks.ratios import share
from benchmarks.report import KINDS, Cell, against_base, against_peers

_HEAD = "| T, N, D, H | forward, µs | best peer / xrnn | of ceiling | forward + backward, µs | best peer / xrnn |"
_RULE = "|---|--:|--:|--:|--:|--:|"
# T, N, D, H of the rows that the README has.
_SHORT: Final = (
    (50, 1, 64, 64),
    (50, 16, 256, 256),
    (50, 64, 256, 256),
    (35, 48, 100, 200),
    (20, 1, 512, 1024),
    (20, 1, 1024, 1024),
)


def table(results: dict[str, Any], short: bool = False) -> str:
    """A table for each kind of cell that was measured: a row for each case of `STATED`, and the geometric means."""
    cells = {(cell["case"], cell["operation"]): cell for cell in results["cells"]}
    tables = []
    for (kind, ragged), name in KINDS.items():
        of_kind = [case for case in STATED if (case.cell, case.ragged) == (kind, ragged)]
        measured = [case for case in of_kind if (case.name, "train") in cells]
        if measured and not (short and measured[0].base):
            tables.append(f"{name}:\n\n" + "\n".join(_table(cells, measured, short)))
    return "\n\n".join(tables)


def _table(cells: dict[tuple[str, str], Cell], cases: Sequence[Case], short: bool) -> list[str]:
    beside = "" if cases[0].base is None else "of full batch" if cases[0].ragged else "of Elman"
    lines = [(f"{_HEAD} {beside} |" if beside else _HEAD), f"{_RULE}--:|" if beside else _RULE]
    for case in (case for case in cases if not short or case.sizes in _SHORT):
        forward, train = cells[case.name, "forward"], cells[case.name, "train"]
        rate = share(forward["flops"], forward["microseconds"]["xrnn"], forward["ceiling_gflops"])
        sizes = f"{case.T}, {case.N}, {case.D}, {case.H}"
        line = f"| {sizes} | {_time(forward)} | {_peer(forward)} | {rate:.0%} | {_time(train)} | {_peer(train)} |"
        lines.append(f"{line} {_base(forward)}, {_base(train)} |" if beside else line)
    for operation in ("step", "forward", "train"):
        ratios = [
            compared[1] for case in cases if (compared := against_peers(cells.get((case.name, operation), _NONE)))
        ]
        if ratios:
            mean = statistics.geometric_mean(ratio.median for ratio in ratios)
            ahead = sum(ratio.verdict == "ahead" for ratio in ratios)
            lines.append(f"{operation}: geometric mean {mean:.2f}, ahead in {ahead} of {len(ratios)} cells")
    return lines


_NONE: Cell = {"microseconds": {}}


def _time(cell: Cell) -> str:
    median = statistics.median(cell["microseconds"]["xrnn"])
    return f"{median:,.1f}" if median < 100 else f"{median:,.0f}"


def _base(cell: Cell) -> str:
    base = against_base(cell)
    return f"{base.median:.2f}" if base else ""


def _peer(cell: Cell) -> str:
    compared = against_peers(cell)
    if compared is None:
        return ""
    name, ratio = compared
    return f"{ratio.median:.2f} ({ratio.low:.2f}–{ratio.high:.2f}) {name}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme", description="the tables of docs/speed.md")
    parser.add_argument("results", type=Path, help="what benchmarks.compare wrote")
    parser.add_argument("--short", action="store_true", help="those of the README, which have fewer rows")
    options = parser.parse_args(arguments)
    print(table(json.loads(options.results.read_text()), options.short))


if __name__ == "__main__":
    main()
