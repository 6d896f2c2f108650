"""The tables and the picture of the README and of docs/speed.md, from a file that `benchmarks.compare` wrote:

python -m benchmarks.readme benchmarks/results/2026-11-27-compare.json [--picture docs/speed.png]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import machine
from benchmarks.cases import STATED, Case
from benchmarks.pictures import draw_speed
from benchmarks.report import KINDS, TITLES, Row, against_peers, mean

_SIZES: Final = (
    (50, 1, 64, 64),
    (50, 16, 256, 256),
    (50, 64, 256, 256),
    (35, 48, 100, 200),
    (20, 1, 512, 1024),
    (20, 1, 1024, 1024),
)
_COLUMNS: Final = ("T, N, D, H", "forward, µs", "best peer / xrnn", "forward + backward, µs", "best peer / xrnn")

Rows = Mapping[tuple[str, str], Row]  # by case and operation


def tables(results: dict[str, Any]) -> str:
    """A Markdown table for each cell with some sizes, and a table of the geometric means over all sizes."""
    rows = {(row["case"], row["operation"]): row for row in results["cases"]}
    found, means = [], [_line(("", *TITLES.values())), "|---" + "|--:" * len(TITLES) + "|"]
    for kind, name in KINDS.items():
        cases = [case for case in STATED if (case.cell, case.ragged) == kind and (case.name, "train") in rows]
        if cases:
            means.append(_line((name, *(_mean(rows, cases, operation) for operation in TITLES))))
            if not cases[0].base:
                found.append(f"{name}:\n\n" + "\n".join(_table(rows, cases)))
    return "\n\n".join([*found, "\n".join(means)])


def _table(rows: Rows, cases: Sequence[Case]) -> list[str]:
    lines = [_line(_COLUMNS), "|---" + "|--:" * (len(_COLUMNS) - 1) + "|"]
    for case in cases:
        if case.sizes in _SIZES:
            cells = [", ".join(map(str, case.sizes))]
            for operation in ("forward", "train"):
                row = rows[case.name, operation]
                median = statistics.median(row["microseconds"]["xrnn"])
                cells.append(f"{median:,.1f}" if median < 100 else f"{median:,.0f}")
                compared = against_peers(row)
                cells.append(f"{compared[1].median:.2f} {compared[0].split('-')[0]}" if compared else "")
            lines.append(_line(cells))
    return lines


def _mean(rows: Rows, cases: Sequence[Case], operation: str) -> str:
    found = mean([row for case in cases if (row := rows.get((case.name, operation)))])
    return f"{found[0]:.2f} ({found[1].count('ahead')} of {len(found[1])})" if found else ""


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme", description="the tables of docs/speed.md")
    parser.add_argument("results", type=Path, help="a file that benchmarks.compare wrote")
    parser.add_argument("--picture", type=Path, help="draw the README's picture into this PNG file")
    options = parser.parse_args(arguments)
    results = machine.read(options.results)
    if options.picture:
        draw_speed(results, options.picture)
    print(tables(results))


if __name__ == "__main__":
    main()
