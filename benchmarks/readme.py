"""The table of the README, from what `benchmarks.compare` wrote: `python -m benchmarks.readme FOLDER/compare.json`."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.cases import CELLS, GATED, Case
from benchmarks.ratios import share
from benchmarks.report import Cell, against_peers

_HEAD = """\
| T, N, D, H | forward, µs | best peer / xrnn | of ceiling | forward + backward, µs | best peer / xrnn |
|---|--:|--:|--:|--:|--:|"""


def table(results: dict[str, Any]) -> str:
    """Of RNN, LSTM and GRU, as far as measured: a row for each case of `CELLS` and `GATED`, and the geometric means."""
    cells = {(cell["case"], cell["operation"]): cell for cell in results["cells"]}
    lines = _table(cells, CELLS)
    for kind in ("lstm", "gru"):
        stated = [case for case in GATED if case.cell == kind]
        if any((case.name, "train") in cells for case in stated):
            lines += ["", f"{kind.upper()}:", "", *_table(cells, stated)]
    return "\n".join(lines)


def _table(cells: dict[tuple[str, str], Cell], stated: Sequence[Case]) -> list[str]:
    lines = [_HEAD]
    for case in stated:
        if (case.name, "train") not in cells:
            continue
        forward, train = cells[case.name, "forward"], cells[case.name, "train"]
        rate = share(forward["flops"], forward["microseconds"]["xrnn"], forward["ceiling_gflops"])
        sizes = f"{case.T}, {case.N}, {case.D}, {case.H}"
        lines.append(
            f"| {sizes} | {_time(forward)} | {_peer(forward)} | {rate:.0%} | {_time(train)} | {_peer(train)} |"
        )
    for operation in ("step", "forward", "train"):
        ratios = [
            compared[1] for case in stated if (compared := against_peers(cells.get((case.name, operation), _NONE)))
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


def _peer(cell: Cell) -> str:
    compared = against_peers(cell)
    if compared is None:
        return ""
    name, ratio = compared
    return f"{ratio.median:.2f} ({ratio.low:.2f}–{ratio.high:.2f}) {name}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme", description="the README's table")
    parser.add_argument("results", type=Path, help="what benchmarks.compare wrote")
    print(table(json.loads(parser.parse_args(arguments).results.read_text())))


if __name__ == "__main__":
    main()
