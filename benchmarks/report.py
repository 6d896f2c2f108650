"""The results as tables and pictures: `python -m benchmarks.report [FOLDER]` renders what the other commands wrote."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.cases import CELLS, SWEEPS, Case
from benchmarks.peers import OURS
from benchmarks.ratios import Ratio, fastest, gflops, ratio, share

_COLOURS = {"ahead": "green", "behind": "red", "tie": "yellow"}
_TITLES = {"step": "one step", "forward": "forward", "train": "forward + backward"}

Cell = dict[str, Any]


def print_comparison(results: dict[str, Any], console: Console) -> None:
    """One table an operation: medians in microseconds, the ratio to the best peer, the share of the ceiling."""
    machine = results["machine"]
    ceilings = [rate for cell in results["cells"] for rate in cell["ceiling_gflops"]]
    console.print(
        f"{machine['cpu']}, {machine['threads']} threads, {results['dtype']}, {results['rounds']} rounds, "
        f"{machine['date']}; large matrix product: {_quartiles(ceilings)} GFLOP/s",
        highlight=False,
    )
    for operation, title in _TITLES.items():
        cells = [cell for cell in results["cells"] if cell["operation"] == operation]
        if cells:
            console.print(_table(title, cells))
            for line in _summary(cells):
                console.print(line, highlight=False)


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
        table.add_row(*row)
    return table


def _summary(cells: Sequence[Cell]) -> list[str]:
    """The geometric mean over the cells that figures are stated for, not those that only fill the pictures."""
    stated = {case.name for case in CELLS}
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


def wide_console() -> Console:
    """A console that never shortens a column: what is piped into a file is as complete as what is shown."""
    return Console(width=max(Console().width, 170))


def _quartiles(values: Sequence[float]) -> str:
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{median:.0f} ({low:.0f}–{high:.0f})"


def draw_comparison(results: dict[str, Any], folder: Path) -> list[Path]:
    """Throughput against batch size, a panel for each series and operation → the files that were written.

    A run that measured none of the series draws nothing.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    by_name = {(cell["case"], cell["operation"]): cell for cell in results["cells"]}
    libraries = list(dict.fromkeys(name for cell in results["cells"] for name in cell["microseconds"]))
    colours = {name: f"C{number}" for number, name in enumerate(libraries)}
    drawn = {
        (T, H): batches
        for (T, H), batches in SWEEPS.items()
        if any((Case(T, N, H, H).name, "forward") in by_name for N in batches)
    }
    ceiling = statistics.median(rate for cell in results["cells"] for rate in cell["ceiling_gflops"])
    machine = results["machine"]
    paths: list[Path] = []
    if not drawn:
        return paths
    for unit, label in (("gflops", "GFLOP/s"), ("sequences", "sequences a second")):
        figure, grid = pyplot.subplots(
            2, len(drawn), figsize=(3.2 * max(len(drawn), 2), 6.4), squeeze=False, layout="constrained"
        )
        for row, operation in zip(grid, ("forward", "train"), strict=True):
            for axes, ((T, H), batches) in zip(row, drawn.items(), strict=True):
                for name in libraries:
                    points = _series(by_name, name, operation, unit, T, H, batches)
                    if not points:
                        continue
                    ours = name in OURS
                    axes.plot(
                        *zip(*points, strict=True),
                        label=name,
                        color=colours[name],
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
        figure.suptitle(f"{machine['cpu']}, {machine['threads']} threads, {results['dtype']}", fontsize=10)
        paths.append(folder / f"{unit}.png")
        figure.savefig(paths[-1], dpi=110)
        pyplot.close(figure)
    return paths


def _series(
    cells: dict[tuple[str, str], Cell], name: str, operation: str, unit: str, T: int, H: int, batches: Sequence[int]
) -> list[tuple[int, float]]:
    points = []
    for N in batches:
        cell = cells.get((Case(T, N, H, H).name, operation))
        if cell and name in cell["microseconds"]:
            time = statistics.median(cell["microseconds"][name])
            points.append((N, gflops(cell["flops"], time) if unit == "gflops" else N / time * 1e6))
    return points


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description="render the results")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/bench"), help="(default: %(default)s)")
    folder = parser.parse_args(arguments).folder

    console = wide_console()
    results = json.loads((folder / "compare.json").read_text())
    print_comparison(results, console)
    for path in draw_comparison(results, folder):
        console.print(f"wrote {path}", highlight=False)


if __name__ == "__main__":
    main()
