"""The results as tables and pictures: `python -m benchmarks.report [FOLDER]` renders what the other commands wrote."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.accuracy import print_accuracy
from benchmarks.cases import COMMON, GATES, STATED, SWEEPS, Case
from benchmarks.console import wide_console
from benchmarks.memory import print_memory
from benchmarks.peers import OURS
from benchmarks.ratios import Ratio, fastest, gflops, quartiles, ratio, share
from benchmarks.step import print_step
from benchmarks.torch_modules import print_modules

_NAMES = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU", "leak": "leaky RNN"}
# By cell and whether the rows have lengths: what its tables are called.
KINDS = {(cell, ragged): _NAMES[cell] + ", different lengths" * ragged for cell in GATES for ragged in (False, True)}
_COLOURS = {"ahead": "green", "behind": "red", "tie": "yellow"}
_TITLES = {"step": "one step", "forward": "forward", "train": "forward + backward"}

Cell = dict[str, Any]
Series = dict[str, dict[tuple[str, str], float]]  # label → (case, operation) → microseconds


def print_comparison(results: dict[str, Any], console: Console) -> None:
    """One table an operation: medians in microseconds, the ratio to the best peer, the share of the ceiling."""
    machine = results["machine"]
    ceilings = [rate for cell in results["cells"] for rate in cell["ceiling_gflops"]]
    console.print(
        f"{machine['cpu']}, {machine['threads']} threads, {results['dtype']}, {results['rounds']} rounds, "
        f"{machine['date']}; large matrix product: {_show_quartiles(ceilings)} GFLOP/s",
        highlight=False,
    )
    for (kind, ragged), name in KINDS.items():
        of_kind = [cell for cell in results["cells"] if kind_of(cell) == (kind, ragged)]
        for operation, title in _TITLES.items():
            cells = [cell for cell in of_kind if cell["operation"] == operation]
            if cells:
                console.print(_table(f"{name}, {title}", cells))
                for line in _summary(cells):
                    console.print(line, highlight=False)


def kind_of(cell: Cell) -> tuple[str, bool]:
    """Cells of a kind share a table. Older results have neither key."""
    return cell.get("cell", "rnn"), cell.get("ragged", False)


def against_base(cell: Cell) -> Ratio | None:
    """xrnn's time over that of the full batch, or of the layer without a leak; None where there is no such thing."""
    base = cell.get("base_microseconds", {}).get("xrnn")
    return ratio(base, cell["microseconds"]["xrnn"]) if base else None


def against_peers(cell: Cell) -> tuple[str, Ratio] | None:
    """The fastest library that isn't ours, and its time over that of xrnn; None where one of them is missing."""
    times = cell["microseconds"]
    peers = {name: rounds for name, rounds in times.items() if name not in OURS}
    if "xrnn" not in times or not peers:
        return None
    best = fastest(peers)
    return best, ratio(times["xrnn"], peers[best])


def _table(title: str, cells: Sequence[Cell]) -> Table:
    libraries = list(dict.fromkeys(name for cell in cells for name in cell["microseconds"]))
    libraries.sort(key=lambda name: name not in OURS)
    table = Table(title=f"{title}, microseconds", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("T, N, D, H", no_wrap=True)
    table.add_column("form", no_wrap=True)
    for name in libraries:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("best peer / xrnn", justify="right", no_wrap=True)
    table.add_column("numpy / plain", justify="right", no_wrap=True)
    table.add_column("of ceiling", justify="right", no_wrap=True)
    has_base = any(against_base(cell) for cell in cells)
    if has_base:
        table.add_column("of full batch" if cells[0]["ragged"] else "of Elman", justify="right", no_wrap=True)
    for cell in cells:
        times = cell["microseconds"]
        compared = against_peers(cell)
        row = [", ".join(str(cell[letter]) for letter in "TNDH"), cell["forms"].get("xrnn", "")]
        for name in libraries:
            text = f"{statistics.median(times[name]):,.1f}" if name in times else ""
            row.append(f"[bold]{text}[/bold]" if compared and name == compared[0] else text)
        row.append(_show(compared[1]) if compared else "")
        both = "numpy" in times and "xrnn-plain" in times
        row.append(_show(ratio(times["xrnn-plain"], times["numpy"])) if both else "")
        ours = times.get("xrnn")
        row.append(f"{share(cell['flops'], ours, cell['ceiling_gflops']):.0%}" if ours else "")
        if has_base:
            base = against_base(cell)
            row.append(f"{base.median:.2f} ({base.low:.2f}–{base.high:.2f})" if base else "")
        table.add_row(*row)
    return table


def _summary(cells: Sequence[Cell]) -> list[str]:
    """The geometric mean over the cells that figures are stated for, not those that only fill the pictures."""
    stated = {case.name for case in STATED}
    ratios = [compared[1] for cell in cells if cell["case"] in stated and (compared := against_peers(cell))]
    if not ratios:
        return []
    verdicts = [r.verdict for r in ratios]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in _COLOURS)
    mean = statistics.geometric_mean(r.median for r in ratios)
    return [f"best peer / xrnn over {len(ratios)} cells: geometric mean {mean:.2f}; {counts}"]


def _show(r: Ratio) -> str:
    tie = " tie" if r.verdict == "tie" else ""
    return f"[{_COLOURS[r.verdict]}]{r.median:.2f} ({r.low:.2f}–{r.high:.2f}){tie}[/]"


def _show_quartiles(values: Sequence[float]) -> str:
    low, median, high = quartiles(values)
    return f"{median:.0f} ({low:.0f}–{high:.0f})"


def print_own(results: dict[str, Any], console: Console) -> None:
    """What pytest-benchmark measured: the median of each form, and on a GPU the device's and the host's share."""
    table = Table(title="xrnn alone, microseconds", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("T, N, D, H", "backend", "form", *_TITLES.values(), "events", "host"):
        table.add_column(column, justify="left" if column in ("T, N, D, H", "backend", "form") else "right")
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for timing in results["benchmarks"]:
        info = timing["extra_info"]
        if "case" not in info:
            continue  # none of the recurrence
        fused = "fused" if timing["params"]["form"] == "fused" else "plain"
        row = rows.setdefault((info["case"], info["backend"], fused), {"form": info["form"]})
        row[info["operation"]] = f"{timing['stats']['median'] * 1e6:,.1f}"
        for part in ("event_us", "host_us"):
            if part in info:
                row[part] = " / ".join(filter(None, (row.get(part), f"{info[part]:,.1f}")))
    for (case, backend, _), row in rows.items():
        columns = (row.get(key, "") for key in (*_TITLES, "event_us", "host_us"))
        table.add_row(
            case.translate(str.maketrans("-", ",", "TNDH")).replace(",", ", "), backend, row["form"], *columns
        )
    console.print(table)


def device_series(own: dict[str, Any] | None) -> Series:
    """The GPU's lines in the pictures, from xrnn's own timings: the device's time, a line a form."""
    series: Series = {}
    for timing in own["benchmarks"] if own else []:
        info = timing["extra_info"]
        if "event_us" in info:
            line = series.setdefault(f"xrnn cupy {timing['params']['form']}", {})
            line[info["case"], info["operation"]] = info["event_us"]
    return series


def draw_comparison(results: dict[str, Any], folder: Path, device: Series | None = None) -> list[Path]:
    """Throughput against batch size: two pictures a cell, a panel for each series and operation → their files.

    A run that measured none of a cell's series draws none of it. `device` adds lines that were measured elsewhere.
    """
    return [path for cell in COMMON for path in _draw_cell(cell, results, folder, device or {})]


def _draw_cell(cell: str, results: dict[str, Any], folder: Path, device: Series) -> list[Path]:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    lines: Series = {}
    for result in results["cells"]:
        for name, rounds in result["microseconds"].items():
            lines.setdefault(name, {})[result["case"], result["operation"]] = statistics.median(rounds)
    lines |= device
    measured = {case for case, operation in chain.from_iterable(lines.values()) if operation != "step"}
    series = {
        (T, H): [N for N in batches if Case(T, N, H, H, cell=cell).name in measured]
        for (T, H), batches in SWEEPS.items()
    }
    drawn = {sizes: batches for sizes, batches in series.items() if batches}
    names = {Case(T, N, H, H, cell=cell).name for (T, H), batches in drawn.items() for N in batches}
    lines = {name: line for name, line in lines.items() if names & {case for case, what in line if what != "step"}}
    ceiling = statistics.median(rate for cell in results["cells"] for rate in cell["ceiling_gflops"])
    machine = results["machine"]
    paths: list[Path] = []
    if not drawn:
        return paths
    for unit, label in (("gflops", "GFLOP/s"), ("sequences", "sequences a second")):
        figure, grid = pyplot.subplots(
            2, len(drawn), figsize=(max(3.2 * len(drawn), 9), 6.4), squeeze=False, sharey="row", layout="constrained"
        )
        for row, operation in zip(grid, ("forward", "train"), strict=True):
            for axes, ((T, H), batches) in zip(row, drawn.items(), strict=True):
                for number, (name, line) in enumerate(lines.items()):
                    points = _points(line, operation, unit, [Case(T, N, H, H, cell=cell) for N in batches])
                    ours = name.startswith("xrnn")
                    axes.plot(
                        *points,
                        label=name,
                        color=f"C{number}",
                        marker="o",
                        markersize=4 if ours else 3,
                        linewidth=2.2 if ours else 1.1,
                    )
                if unit == "gflops":
                    axes.axhline(ceiling, color="black", linestyle="--", linewidth=1, label="large matrix product")
                axes.set(xscale="log", yscale="log", title=f"{_TITLES[operation]}, T={T}, D=H={H}")
                axes.set_xticks(batches, [str(batch) for batch in batches])
                axes.set_xticks([], minor=True)
                axes.title.set_fontsize(9)
                axes.tick_params(labelsize=8)
                axes.grid(True, alpha=0.3)
            row[0].set_ylabel(label)
        for axes in grid[-1]:
            axes.set_xlabel("batch size")
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=9, frameon=False)
        figure.suptitle(
            f"{_NAMES[cell]}: {machine['cpu']}, {machine['threads']} threads, {results['dtype']}", fontsize=10
        )
        paths.append(folder / (f"{unit}.png" if cell == "rnn" else f"{unit}-{cell}.png"))
        figure.savefig(paths[-1], dpi=110)
        pyplot.close(figure)
    return paths


def _points(
    line: dict[tuple[str, str], float], operation: str, unit: str, cases: Sequence[Case]
) -> tuple[list[int], list[float]]:
    """→ batch sizes, throughputs, where the line has them."""
    times = {case: line[case.name, operation] for case in cases if (case.name, operation) in line}
    return [case.N for case in times], [
        gflops(case.flops(operation), time) if unit == "gflops" else case.N / time * 1e6 for case, time in times.items()
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description="render the results")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/bench"), help="(default: %(default)s)")
    folder = parser.parse_args(arguments).folder

    console = wide_console()
    printers = {
        "compare": print_comparison,
        "xrnn": print_own,
        "step": print_step,
        "memory": print_memory,
        "accuracy": print_accuracy,
        "torch_modules": print_modules,
    }
    found = {name: path for name in printers if (path := folder / f"{name}.json").exists()}
    if not found:
        sys.exit(
            f"{folder} holds no results: expected {', '.join(f'{name}.json' for name in printers)}; run make bench"
        )
    results = {name: json.loads(path.read_text()) for name, path in found.items()}
    for name, result in results.items():
        printers[name](result, console)
    if "compare" in results:
        for path in draw_comparison(results["compare"], folder, device_series(results.get("xrnn"))):
            console.print(f"wrote {path}", highlight=False)


if __name__ == "__main__":
    main()
