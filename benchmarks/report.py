"""The results as tables: `python -m benchmarks.report [FOLDER]` reads what the other commands wrote.

`python -m benchmarks.report FILE` prints one file of `benchmarks.compare`, such as a committed one. With two files, OLD
and NEW, it prints what became slower or faster.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.accuracy import print_accuracy, print_products
from benchmarks.cases import GATES, STATED
from benchmarks.memory import print_memory
from benchmarks.peers import FROZEN, IN_BFLOAT16, OURS, THREE_PRODUCTS
from benchmarks.ratios import Ratio, fastest, quartiles, ratio, share
from benchmarks.step import print_step
from benchmarks.step_int8 import print_int8
from benchmarks.tables import table, wide_console
from benchmarks.torch_modules import print_modules

NAMES: Final = {
    "rnn": "RNN",
    "lstm": "LSTM",
    "gru": "GRU",
    "min-gru": "minGRU",
    "min-lstm": "minLSTM",
    "slstm": "sLSTM",
    "lru": "LRU",
    "leak": "leaky RNN",
    "lstm-heads": "LSTM, 4 heads",
}
# Table titles by (cell, ragged).
KINDS: Final = {
    (cell, ragged): NAMES[cell] + (", different lengths" if ragged else "")
    for cell in GATES
    for ragged in (False, True)
}
TITLES: Final = {"step": "one step", "forward": "forward", "train": "forward + backward"}
_COLOURS: Final = {"ahead": "green", "behind": "red", "tie": "yellow"}

# Two runs of the same code differ by a few percent more than the quartiles within each run show.
_SMALLEST_CHANGE: Final = 0.05

Row = dict[str, Any]  # one measured case and operation


def print_comparison(results: dict[str, Any], console: Console) -> None:
    """One table an operation: medians in microseconds, the ratio to the best peer, the share of the ceiling."""
    about = results["machine"]
    ceilings = [rate for row in results["cases"] for rate in row["ceiling_gflops"]]
    low, ceiling, high = quartiles(ceilings) if ceilings else (float("nan"),) * 3
    console.print(
        f"{about['cpu']}, {about['threads']} threads, {results['dtype']}, {results['rounds']} rounds, {about['date']}; "
        f"large matrix product: {ceiling:.0f} ({low:.0f}–{high:.0f}) GFLOP/s"
    )
    for line in results.get("wrong", []):
        console.print(f"wrong: {line}", highlight=False)
    for kind, name in KINDS.items():
        for operation, title in TITLES.items():
            rows = [row for row in results["cases"] if kind_of(row) == kind and row["operation"] == operation]
            if rows:
                console.print(_table(f"{name}, {title}, microseconds", rows))
                _print_mean(rows, console)


def kind_of(row: Row) -> tuple[str, bool]:
    """Rows of the same kind share a table. Older files have neither key."""
    return row.get("cell", "rnn"), row.get("ragged", False)


def base_title(row: Row) -> str:
    """The title of the column that compares a case with its base; empty if the case has none."""
    cell, ragged = kind_of(row)
    return "of full batch" if ragged else {"leak": "of Elman", "lstm-heads": "of LSTM"}.get(cell, "")


def against_base(row: Row) -> Ratio | None:
    """xrnn's time divided by that of `Case.base`. None without a base."""
    base = row.get("base_microseconds", {}).get("xrnn")
    return ratio(base, row["microseconds"]["xrnn"]) if base else None


def against_peers(row: Row, ours: str = "xrnn") -> tuple[str, Ratio] | None:
    """The fastest other library, and its time divided by ours. None if ours or all others were not measured."""
    times = row["microseconds"]
    peers = {name: rounds for name, rounds in times.items() if name not in (*OURS, *IN_BFLOAT16)}
    if ours not in times or not peers:
        return None
    best = fastest(peers)
    return best, ratio(times[ours], peers[best])


def frozen(row: Row) -> dict[str, Ratio]:
    """By column title, the time of the best peer, of xrnn and of `bare-read`, divided by the time of a frozen layer."""
    times = row["microseconds"]
    if FROZEN not in times:
        return {}
    columns = {}
    if compared := against_peers(row, FROZEN):
        columns[f"best peer / {FROZEN}"] = compared[1]
    for name, rounds in {"xrnn": times.get("xrnn"), **row.get("read_microseconds", {})}.items():
        if rounds:
            columns[f"{name} / {FROZEN}"] = ratio(times[FROZEN], rounds)
    return columns


def in_bfloat16(row: Row) -> dict[str, Ratio]:
    """By column title, the time of xrnn in float32 or of PyTorch in bfloat16, divided by that of xrnn in bfloat16 or
    bfloat16x3."""
    times = row["microseconds"]
    columns = {
        "float32 / bfloat16x3": (THREE_PRODUCTS, "xrnn"),
        "float32 / bfloat16": ("xrnn-bfloat16", "xrnn"),
        "torch / xrnn, bfloat16": IN_BFLOAT16,
    }
    return {
        title: ratio(times[ours], times[other])
        for title, (ours, other) in columns.items()
        if {ours, other} <= times.keys()
    }


def mean(rows: Sequence[Row]) -> tuple[float, list[str]] | None:
    """The geometric mean of *best peer / xrnn* over these rows, and the verdicts; None if nothing was compared."""
    ratios = [compared[1] for row in rows if (compared := against_peers(row))]
    if not ratios:
        return None
    return statistics.geometric_mean(r.median for r in ratios), [r.verdict for r in ratios]


def _table(title: str, rows: Sequence[Row]) -> Table:
    libraries = list(dict.fromkeys(name for row in rows for name in row["microseconds"]))
    libraries.sort(key=lambda name: name not in OURS)
    columns = ["T, N, D, H", "form", *libraries, "best peer / xrnn", "numpy / plain", "of ceiling"]
    if beside := base_title(rows[0]):
        columns.append(beside)
    compared = _compared_titles(rows)
    columns += compared
    return table(title, columns, (_row(row, libraries, compared) for row in rows), left=2)


def _row(row: Row, libraries: Sequence[str], titles: Sequence[str]) -> list[str]:
    times = row["microseconds"]
    compared = against_peers(row)
    cells = [", ".join(str(row[letter]) for letter in "TNDH"), row["forms"].get("xrnn", "")]
    for name in libraries:
        text = f"{statistics.median(times[name]):,.1f}" if name in times else ""
        cells.append(f"[bold]{text}[/bold]" if compared and name == compared[0] else text)
    cells.append(_coloured(compared[1]) if compared else "")
    both = "numpy" in times and "xrnn-plain" in times
    cells.append(_coloured(ratio(times["xrnn-plain"], times["numpy"])) if both else "")
    ours = times.get("xrnn")
    ceiling = row["ceiling_gflops"]
    cells.append(f"{share(row['flops'], ours, ceiling):.0%}" if ours and ceiling else "")
    if base_title(row):
        cells.append(str(against_base(row) or ""))
    ratios = _compared(row)
    return [*cells, *(_coloured(ratios[title]) if title in ratios else "" for title in titles)]


def _compared_titles(rows: Sequence[Row]) -> list[str]:
    """The columns that at least one row has: a row lacks a library that computed it wrongly."""
    return list(dict.fromkeys(title for row in rows for title in _compared(row)))


def _compared(row: Row) -> dict[str, Ratio]:
    """The columns that depend on which libraries were measured."""
    return in_bfloat16(row) | frozen(row)


def _coloured(r: Ratio) -> str:
    tie = " tie" if r.verdict == "tie" else ""
    return f"[{_COLOURS[r.verdict]}]{r}{tie}[/]"


def _print_mean(rows: Sequence[Row], console: Console) -> None:
    """Print the means: of xrnn over the cases of the documentation, and of the columns of `_compared`."""
    stated = {case.name for case in STATED}
    if found := mean([row for row in rows if row["case"] in stated]):
        value, verdicts = found
        counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in _COLOURS)
        console.print(f"best peer / xrnn over {len(verdicts)} sizes: geometric mean {value:.2f}; {counts}")
    for title in _compared_titles(rows):
        medians = [ratios[title].median for row in rows if title in (ratios := _compared(row))]
        value = statistics.geometric_mean(medians)
        console.print(f"{title} over {len(medians)} sizes: geometric mean {value:.2f}, lowest {min(medians):.2f}")


def print_changes(old: dict[str, Any], new: dict[str, Any], console: Console) -> None:
    """Print the rows in which a time of xrnn changed by more than the noise, slower ones first.

    A time is divided by the geometric mean of the changes of the other libraries, since the speed of a machine varies.
    A change counts if it is larger than 5 %, and the quartiles of the two runs do not overlap.
    """
    for key in ("cpu", "threads"):
        if old["machine"].get(key) != new["machine"].get(key):
            console.print(f"not comparable: {key} was {old['machine'].get(key)}, is {new['machine'].get(key)}")
    pairs = _times_in_both(old, new)
    drifts = [statistics.median(b) / statistics.median(a) for (*_, name), (a, b) in pairs.items() if name not in OURS]
    drift = statistics.geometric_mean(drifts) if drifts else 1.0
    changed = []
    compared = 0
    for (case, operation, name), (before, after) in pairs.items():
        if name not in OURS:
            continue
        compared += 1
        a = quartiles(before)
        b = [time / drift for time in quartiles(after)]
        change = b[1] / a[1]
        if abs(change - 1) > _SMALLEST_CHANGE and (b[0] > a[2] or b[2] < a[0]):
            colour = _COLOURS["behind" if change > 1 else "ahead"]
            times = [f"{time:,.1f} ({low:,.1f}–{high:,.1f})" for low, time, high in (a, b)]
            changed.append((change, [case, TITLES[operation], name, *times, f"[{colour}]{change:.2f}[/]"]))
    others = f"{drift:.2f} (geometric mean of {len(drifts)} times)" if drifts else "not measured"
    console.print(f"new / old time of the other libraries: {others}", highlight=False)
    changed.sort(key=lambda entry: -entry[0])
    columns = ["case", "operation", "library", "old", "new", "new / old"]
    if changed:
        console.print(table("microseconds, with quartiles", columns, [line for _, line in changed], left=3))
    slower = sum(change > 1 for change, _ in changed)
    console.print(f"{compared} times of xrnn: {slower} slower, {len(changed) - slower} faster, the others unchanged")


def _times_in_both(old: dict[str, Any], new: dict[str, Any]) -> dict[tuple[str, str, str], tuple[list[float], ...]]:
    """Microseconds of both runs, by case, operation and library."""
    by_run = [
        {
            (row["case"], row["operation"], name): times
            for row in results["cases"]
            for name, times in row["microseconds"].items()
        }
        for results in (old, new)
    ]
    return {key: (times, by_run[1][key]) for key, times in by_run[0].items() if key in by_run[1]}


def print_own(results: dict[str, Any], console: Console) -> None:
    """pytest-benchmark's results: the median of each form."""
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for timing in results["benchmarks"]:
        info = timing["extra_info"]
        if "case" not in info:
            continue  # not a recurrence
        fused = "fused" if timing["params"]["form"] == "fused" else "plain"
        row = rows.setdefault((info["case"], info["backend"], fused), {"form": info["form"]})
        row[info["operation"]] = f"{timing['stats']['median'] * 1e6:,.1f}"
    columns = ["case", "backend", "form", *TITLES.values()]
    keys = ("form", *TITLES)
    lines = ([case, backend, *(row.get(key, "") for key in keys)] for (case, backend, _), row in rows.items())
    console.print(table("xrnn alone, microseconds", columns, lines, left=3))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description="print the results")
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path("build/bench"), help="or one file (default: %(default)s)"
    )
    parser.add_argument("new", type=Path, nargs="?", help="a second file, to compare with the first")
    options = parser.parse_args(arguments)
    folder = options.folder

    console = wide_console()
    if options.new:
        for path in (folder, options.new):
            if not path.is_file():
                parser.error(f"{path} is no file: expected two files of python -m benchmarks.compare")
        old, new = ({"path": path, **machine.read(path)} for path in (folder, options.new))
        for results in (old, new):
            if "cases" not in results:
                parser.error(f"{results['path']} holds no cases: expected two files of python -m benchmarks.compare")
        print_changes(old, new, console)
        return
    if folder.is_file():
        print_comparison(machine.read(folder), console)
        return
    printers = {
        "compare": print_comparison,
        "xrnn": print_own,
        "step": print_step,
        "step-int8": print_int8,
        "memory": print_memory,
        "accuracy": print_accuracy,
        "products": print_products,
        "torch_modules": print_modules,
    }
    found = {name: path for name in printers if (path := folder / f"{name}.json").exists()}
    if not found:
        names = ", ".join(f"{name}.json" for name in printers)
        sys.exit(f"{folder} holds no results: expected {names}; run make bench")
    for name, path in found.items():
        printers[name](machine.read(path), console)


if __name__ == "__main__":
    main()
