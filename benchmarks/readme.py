"""The tables of docs/speed.md in Markdown, and the picture of README:

python -m benchmarks.readme benchmarks/results/2026-11-27-compare.json [--picture docs/speed.png]

The files are results of `benchmarks.compare`, also with `--steps`, or of `benchmarks.memory`. The tables of recent
cells, of single steps and of memory join the rows of several files.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks import machine
from benchmarks.cases import STATED, Case
from benchmarks.peers import FROZEN, TORCH
from benchmarks.pictures import draw_speed
from benchmarks.ratios import Ratio, fastest, ratio
from benchmarks.report import KINDS, NAMES, TITLES, Row, against_peers, mean

_SIZES: Final = (
    (50, 1, 64, 64),
    (50, 16, 256, 256),
    (50, 64, 256, 256),
    (35, 48, 100, 200),
    (20, 1, 512, 1024),
    (20, 1, 1024, 1024),
)
_COLUMNS: Final = ("T, N, D, H", "forward, µs", "best peer / xrnn", "forward + backward, µs", "best peer / xrnn")
# The cells that neither PyTorch nor JAX has, and the code that they are compared with, by its name.
_RECENT: Final = ("min-gru", "min-lstm", "slstm", "lru")
_PEERS: Final = {
    "PyTorch": ("torch-minimal",),
    "JAX, `lax.scan`": ("jax-1", "jax-8"),
    "JAX, `associative_scan`": ("jax-associative",),
}
_OF_A_STEP: Final = {"xrnn": "xrnn", FROZEN: "frozen", "onnxruntime": "ONNX Runtime", "torch": "PyTorch"}

Rows = Mapping[tuple[str, str], Row]  # by case and operation


def tables(files: Sequence[Sequence[Row]]) -> str:
    """Memory; or by size, geometric means, the recent cells, single steps.   files: the rows of each"""
    rows = [row for file in files for row in file]
    if "peak_bytes" in rows[0]:
        return "\n".join(_memory(rows))
    stated = _stated({(row["case"], row["operation"]): row for row in rows}) if len(files) == 1 else []
    recent = [row for row in rows if row.get("cell") in _RECENT]
    steps = [row for row in rows if row["operation"] == "step" and FROZEN in row["microseconds"]]
    means = ["\n".join(table(some)) for table, some in ((_recent, recent), (_steps, steps)) if some]
    return "\n\n".join([*stated, *means])


def _stated(rows: Rows) -> list[str]:
    """A table for each cell with some sizes, and a table of the geometric means over all sizes."""
    found, means = [], _head("", *TITLES.values())
    for kind, name in KINDS.items():
        cases = [case for case in STATED if (case.cell, case.ragged) == kind and (case.name, "train") in rows]
        if cases:
            means.append(_line((name, *(_mean(rows, cases, operation) for operation in TITLES))))
            if not cases[0].base:
                found.append(f"{name}:\n\n" + "\n".join(_table(rows, cases)))
    return [*found, "\n".join(means)] if found else []


def _table(rows: Rows, cases: Sequence[Case]) -> list[str]:
    lines = _head(*_COLUMNS)
    for case in cases:
        if case.sizes in _SIZES:
            cells = [", ".join(map(str, case.sizes))]
            for operation in ("forward", "train"):
                row = rows[case.name, operation]
                cells.append(_microseconds(row["microseconds"]["xrnn"]))
                compared = against_peers(row)
                cells.append(f"{compared[1].median:.2f} {compared[0].split('-')[0]}" if compared else "")
            lines.append(_line(cells))
    return lines


def _mean(rows: Rows, cases: Sequence[Case], operation: str) -> str:
    found = mean([row for case in cases if (row := rows.get((case.name, operation)))])
    return f"{found[0]:.2f} ({found[1].count('ahead')} of {len(found[1])})" if found else ""


def _recent(rows: Sequence[Row]) -> list[str]:
    """For each cell and other library, the geometric mean over the sizes of its time divided by xrnn's."""
    lines = _head("", *TITLES.values())
    for cell in dict.fromkeys(row["cell"] for row in rows):
        for title, peers in _PEERS.items():
            cells = [f"{NAMES[cell]} beside {title}"]
            for operation in TITLES:
                ratios = [
                    r for row in rows if (row["cell"], row["operation"]) == (cell, operation) for r in _of(row, peers)
                ]
                ahead = sum(r.verdict == "ahead" for r in ratios)
                value = statistics.geometric_mean(r.median for r in ratios) if ratios else 0
                cells.append(f"{value:.2f} ({ahead} of {len(ratios)})" if ratios else "")
            lines += [_line(cells)] if any(cells[1:]) else []
    return lines


def _of(row: Row, peers: Sequence[str]) -> list[Ratio]:
    """The time of the fastest of these peers divided by xrnn's; empty if none of them was measured."""
    times = {name: rounds for name, rounds in row["microseconds"].items() if name in peers}
    return [ratio(row["microseconds"]["xrnn"], times[fastest(times)])] if times else []


def _steps(rows: Sequence[Row]) -> list[str]:
    """Microseconds of each library in one step."""
    names = [name for name in _OF_A_STEP if any(name in row["microseconds"] for row in rows)]
    lines = _head("one step: N, D, H", *(f"{_OF_A_STEP[name]}, µs" for name in names))
    for row in rows:
        sizes, times = ", ".join(str(row[letter]) for letter in "NDH"), row["microseconds"]
        lines.append(_line([f"{NAMES[row['cell']]} {sizes}", *(_microseconds(times[name]) for name in names)]))
    return lines


def _memory(rows: Sequence[Row]) -> list[str]:
    """The peak memory of training."""
    lines = _head("", "xrnn, MB", "PyTorch, MB", "xrnn / PyTorch", "h, MB")
    for row in rows:
        cell = row["case"].rpartition("-T")[0] or "rnn"
        peaks = row["peak_bytes"]["train"]
        ours, theirs = peaks["xrnn"], next(peaks[name] for name in TORCH if name in peaks)
        numbers = [f"{size / 1e6:,.0f}" for size in (ours, theirs)] + [
            f"{ours / theirs:.2f}",
            f"{row['h_bytes'] / 1e6:,.0f}",
        ]
        lines.append(_line([NAMES[cell], *numbers]))
    return lines


def _microseconds(rounds: Sequence[float]) -> str:
    median = statistics.median(rounds)
    return f"{median:,.1f}" if median < 100 else f"{median:,.0f}"


def _head(*titles: str) -> list[str]:
    """The head of a table, whose first column holds text."""
    return [_line(titles), "|---" + "|--:" * (len(titles) - 1) + "|"]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme", description="the tables of docs/speed.md")
    parser.add_argument(
        "results",
        type=machine.results_with("cases"),
        nargs="+",
        metavar="FILE",
        help="results, such as build/bench/compare.json",
    )
    parser.add_argument("--picture", type=Path, help="draw the README's picture into this PNG file")
    options = parser.parse_args(arguments)
    if options.picture:
        draw_speed(options.results[0], options.picture)
    print(tables([result["cases"] for result in options.results]))


if __name__ == "__main__":
    main()
