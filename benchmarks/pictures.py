"""The pictures. Each library has one colour in all of them; the caption names the machine and the versions."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.cases import COMMON, SWEEPS, Case
from benchmarks.ratios import gflops, ratio

# The palette of Okabe and Ito, which colour-blind readers can tell apart.
COLOURS: Final = {
    "xrnn": "#0072b2",
    "xrnn-plain": "#56b4e9",
    "torch": "#d55e00",
    "torch-minimal": "#8c3b00",
    "onnxruntime": "#009e73",
    "jax": "#cc79a7",
    "jax-1": "#cc79a7",
    "jax-8": "#e69f00",
    "jax-associative": "#b8860b",
    "numpy": "#7f7f7f",
    "reservoirpy": "#000000",
}
_LABELS: Final = {"xrnn": "xrnn", "onnxruntime": "ONNX Runtime", "jax": "JAX", "numpy": "NumPy loop"}
_TITLES: Final = {"forward": "forward", "train": "forward + backward"}
_BESIDE: Final = "torch"  # its speed is 1 in the picture of speeds
_TICKS: Final = (0.25, 0.5, 1, 2, 5, 10, 20, 50)
# T, N, D, H in the picture of speeds: sizes that were measured with all three cells.
SPEED_SIZES: Final = ((50, 1, 64, 64), (50, 16, 64, 64), (50, 1, 256, 256), (50, 16, 256, 256), (50, 64, 256, 256))

_INK, _PAPER = "#ced6dd", "#14181e"  # of the dark theme of the documentation
_DARK: Final = {
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), _PAPER),
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
}

Times = dict[tuple[str, str], dict[str, list[float]]]  # (case, operation) → library → microseconds, one a round


def draw_speed(results: dict[str, Any], path: Path) -> None:
    """Each library's speed divided by PyTorch's: a panel for each cell and operation, a group of bars for each size.

    Besides `path`, it writes `path` with -dark, for a dark page, and with -narrow and -narrow-dark, for a telephone.
    """
    pyplot = agg_pyplot()
    for narrow in (False, True):
        for dark in (False, True):
            name = path.stem + "-narrow" * narrow + "-dark" * dark + path.suffix
            with pyplot.rc_context(_DARK if dark else {}):
                _draw_speed(pyplot, results, path.with_name(name), narrow)


def _draw_speed(pyplot: Any, results: dict[str, Any], path: Path, narrow: bool) -> None:
    times = _times(results)
    shape, size = ((len(_TITLES) * len(COMMON), 1), (4.2, 13)) if narrow else ((len(_TITLES), len(COMMON)), (11, 5.6))
    figure, grid = pyplot.subplots(*shape, figsize=size, sharex=not narrow, sharey=True, layout="constrained")
    panels = [(operation, cell) for operation in _TITLES for cell in COMMON]
    for axes, (operation, cell) in zip(grid.flat, panels, strict=True):
        names = [Case(*sizes, cell=cell).name for sizes in SPEED_SIZES]
        _draw_bars(axes, [_with_one_jax(times[name, operation]) for name in names])
        axes.set_title(f"{cell.upper()}, {_TITLES[operation]}", fontsize=10)
        axes.set_xticks(range(len(names)), [f"N={N}\nH={H}" for _, N, _, H in SPEED_SIZES])
        if narrow or cell == COMMON[0]:
            axes.set_ylabel("times as fast\nas PyTorch" if narrow else "times as fast as PyTorch\n(higher is better)")
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2 if narrow else len(labels), frameon=False)
    T = SPEED_SIZES[0][0]
    _caption(figure, results, f"T = {T}, D = H; ONNX Runtime has no backward pass.", 60 if narrow else 200)
    figure.savefig(path, dpi=100, metadata={"Software": None})
    pyplot.close(figure)


def _draw_bars(axes: Any, by_size: Sequence[dict[str, list[float]]]) -> None:
    """Bars from 1 up to a speed above PyTorch's, or down to one below it, on a logarithmic axis."""
    axes.axhline(1, color=COLOURS[_BESIDE], linewidth=1.8, label="PyTorch (1)")
    width = 0.8 / len(_LABELS)
    for number, (library, label) in enumerate(_LABELS.items()):
        measured = [(place, times) for place, times in enumerate(by_size) if library in times]
        places = [place + (number - (len(_LABELS) - 1) / 2) * width for place, _ in measured]
        above = [ratio(times[library], times[_BESIDE]).median - 1 for _, times in measured]
        axes.bar(places, above, width, bottom=1, label=label, color=COLOURS[library])
    axes.set_yscale("log")
    axes.set_yticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    axes.set_yticks([], minor=True)
    axes.grid(True, axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)


def _with_one_jax(times: dict[str, list[float]]) -> dict[str, list[float]]:
    """With the faster of the two unrollings of JAX's loop as "jax"."""
    both = [rounds for name, rounds in times.items() if name.startswith("jax-")]
    return times | ({"jax": min(both, key=statistics.median)} if both else {})


def draw_sweeps(results: dict[str, Any], folder: Path) -> list[Path]:
    """GFLOP/s against the batch size: a picture for each cell, a panel for each (T, H) and operation → the files.

    Lines and panels with fewer than two points are left out, and so is a cell without panels.
    """
    times = _times(results)
    paths = []
    for cell in COMMON:
        cases = {sizes: [_swept(cell, *sizes, N) for N in batches] for sizes, batches in SWEEPS.items()}
        panels = {
            sizes: measured
            for sizes, of_panel in cases.items()
            if len(measured := [case for case in of_panel if (case.name, "forward") in times]) > 1
        }
        if panels:
            paths.append(folder / ("gflops.png" if cell == "rnn" else f"gflops-{cell}.png"))
            _draw_panels(cell, panels, times, results, paths[-1])
    return paths


def _swept(cell: str, T: int, H: int, N: int) -> Case:
    return Case(T, N, H, H, cell=cell)


def _draw_panels(
    cell: str, panels: dict[tuple[int, int], list[Case]], times: Times, results: dict[str, Any], path: Path
) -> None:
    pyplot = agg_pyplot()
    ceiling = statistics.median(rate for row in results["cases"] for rate in row["ceiling_gflops"])
    size = (max(3.2 * len(panels), 9), 6.4)
    figure, grid = pyplot.subplots(2, len(panels), figsize=size, squeeze=False, sharey="row", layout="constrained")
    for row, operation in zip(grid, _TITLES, strict=True):
        for axes, ((T, H), cases) in zip(row, panels.items(), strict=True):
            for library, colour in COLOURS.items():
                points = [
                    (case.N, gflops(case.flops(operation), statistics.median(of_case[library])))
                    for case in cases
                    if library in (of_case := times.get((case.name, operation), {}))
                ]
                if len(points) > 1:
                    width = 2.2 if library == "xrnn" else 1.1
                    axes.plot(*zip(*points, strict=True), label=library, color=colour, marker="o", linewidth=width)
            axes.axhline(ceiling, color="black", linestyle="--", linewidth=1, label="large matrix product")
            axes.set(xscale="log", yscale="log")
            axes.set_title(f"{_TITLES[operation]}, T={T}, D=H={H}", fontsize=9)
            axes.set_xticks([case.N for case in cases], [str(case.N) for case in cases])
            axes.set_xticks([], minor=True)
            axes.tick_params(labelsize=8)
            axes.grid(True, alpha=0.3)
        row[0].set_ylabel("GFLOP/s (higher is better)")
    for axes in grid[-1]:
        axes.set_xlabel("batch size N")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, fontsize=9, frameon=False)
    _caption(figure, results, f"{cell.upper()};")
    figure.savefig(path, dpi=100, metadata={"Software": None})
    pyplot.close(figure)


def _times(results: dict[str, Any]) -> Times:
    return {(row["case"], row["operation"]): row["microseconds"] for row in results["cases"]}


def _caption(figure: Any, results: dict[str, Any], first: str, width: int = 200) -> None:
    """The machine and the versions, below the panels, in lines of at most `width` characters."""
    about, found = results["machine"], results.get("versions", {})
    versions = {
        "xrnn": found.get("xrnn", {}).get("xrnn"),
        "PyTorch": found.get("torch", {}).get("torch"),
        "ONNX Runtime": found.get("onnxruntime", {}).get("onnxruntime"),
        "JAX": found.get("jax-1", {}).get("jax"),
        "NumPy": found.get("numpy", {}).get("numpy"),
    }
    measured = f"{about['cpu']}, {about['threads']} threads, {results['dtype']}, {about['date'][:10]}"
    libraries = ", ".join(f"{name} {version.removesuffix('+cpu')}" for name, version in versions.items() if version)
    lines = [part for line in (f"{first} {measured}.", libraries) for part in textwrap.wrap(line, width)]
    figure.supxlabel("\n".join(lines), fontsize=8)


def agg_pyplot() -> Any:
    """Matplotlib's pyplot, drawing into files: without a display."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    return pyplot
