"""The tables of docs/speed.md and the README's picture, from a file that `benchmarks.compare` wrote:

python -m benchmarks.readme benchmarks/results/2026-11-26-compare.json [--short] [--picture docs/speed.png]
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
from benchmarks.ratios import share
from benchmarks.report import KINDS, TITLES, Row, against_base, against_peers, base_title, mean

_SHORT: Final = (
    (50, 1, 64, 64),
    (50, 16, 256, 256),
    (50, 64, 256, 256),
    (35, 48, 100, 200),
    (20, 1, 512, 1024),
    (20, 1, 1024, 1024),
)


def table(results: dict[str, Any], short: bool = False) -> str:
    """A Markdown table for each kind of cell, with a row for each stated case, and the geometric means.

    short   fewer rows and columns, and no tables of ragged batches and of the leaky RNN
    """
    rows = {(row["case"], row["operation"]): row for row in results["cases"]}
    tables = []
    for kind, name in KINDS.items():
        cases = [case for case in STATED if (case.cell, case.ragged) == kind and (case.name, "train") in rows]
        if cases and not (short and cases[0].base):
            tables.append(f"{name}; {_means(rows, cases)}:\n\n" + "\n".join(_table(rows, cases, short)))
    return "\n\n".join(tables)


def _table(rows: Mapping[tuple[str, str], Row], cases: Sequence[Case], short: bool) -> list[str]:
    ceiling = [] if short else ["of ceiling"]
    beside = base_title(rows[cases[0].name, "train"])
    columns = ["T, N, D, H", "forward, µs", "best peer / xrnn", *ceiling, "forward + backward, µs", "best peer / xrnn"]
    columns += [beside] if beside else []
    lines = [_line(columns), "|---" + "|--:" * (len(columns) - 1) + "|"]
    for case in cases:
        if short and case.sizes not in _SHORT:
            continue
        forward, train = rows[case.name, "forward"], rows[case.name, "train"]
        cells = [", ".join(map(str, case.sizes)), _time(forward), _peer(forward, short)]
        if ceiling:
            cells.append(f"{share(forward['flops'], forward['microseconds']['xrnn'], forward['ceiling_gflops']):.0%}")
        cells += [_time(train), _peer(train, short)]
        if beside:
            cells.append(", ".join(f"{base.median:.2f}" for row in (forward, train) if (base := against_base(row))))
        lines.append(_line(cells))
    return lines


def _means(rows: Mapping[tuple[str, str], Row], cases: Sequence[Case]) -> str:
    texts = []
    for operation, title in TITLES.items():
        if found := mean([row for case in cases if (row := rows.get((case.name, operation)))]):
            value, verdicts = found
            texts.append(f"{title} {value:.2f}, ahead in {verdicts.count('ahead')} of {len(verdicts)} sizes")
    return "geometric means: " + "; ".join(texts)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _time(row: Row) -> str:
    median = statistics.median(row["microseconds"]["xrnn"])
    return f"{median:,.1f}" if median < 100 else f"{median:,.0f}"


def _peer(row: Row, short: bool) -> str:
    compared = against_peers(row)
    if compared is None:
        return ""
    name, ratio = compared
    return f"{ratio.median:.2f} {name.split('-')[0]}" if short else f"{ratio} {name}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme", description="the tables of docs/speed.md")
    parser.add_argument("results", type=Path, help="a file that benchmarks.compare wrote")
    parser.add_argument("--short", action="store_true", help="fewer rows and columns, as in the docs")
    parser.add_argument("--picture", type=Path, help="draw the README's picture into this PNG file")
    options = parser.parse_args(arguments)
    results = machine.read(options.results)
    if options.picture:
        draw_speed(results, options.picture)
    print(table(results, options.short))


if __name__ == "__main__":
    main()
