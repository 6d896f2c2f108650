"""The README's picture; its caption names the machine and the versions."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.cases import COMMON, Case
from benchmarks.ratios import ratio

# Labels and colours: the palette of Okabe and Ito, which colour-blind readers can tell apart.
_BARS: Final = {
    "xrnn": ("xrnn", "#0072b2"),
    "onnxruntime": ("ONNX Runtime", "#009e73"),
    "jax": ("JAX", "#cc79a7"),
    "numpy": ("NumPy loop", "#7f7f7f"),
}
_TITLES: Final = {"forward": "forward", "train": "forward + backward"}
_BESIDE, _COLOUR_BESIDE = "torch", "#d55e00"  # its speed is 1
_TICKS: Final = (0.25, 0.5, 1, 2, 5, 10, 20, 50)
# T, N, D, H: sizes that were measured with all three cells.
_SIZES: Final = ((50, 1, 64, 64), (50, 16, 64, 64), (50, 1, 256, 256), (50, 16, 256, 256), (50, 64, 256, 256))

_INK, _PAPER = "#ced6dd", "#14181e"  # of the dark theme of the documentation
_DARK: Final = {
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), _PAPER),
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
}


def draw_speed(results: dict[str, Any], path: Path) -> None:
    """Each library's speed divided by PyTorch's: a panel for each cell and operation, a group of bars for each size.

    Besides `path`, it writes `path` with -dark, for a dark page, and with -narrow and -narrow-dark, for a telephone.
    """
    import matplotlib

    matplotlib.use("agg")  # into files, without a display
    from matplotlib import pyplot

    for narrow in (False, True):
        for dark in (False, True):
            name = f"{path.stem}{'-narrow' if narrow else ''}{'-dark' if dark else ''}{path.suffix}"
            with pyplot.rc_context(_DARK if dark else {}):
                _draw_speed(pyplot, results, path.with_name(name), narrow)


def _draw_speed(pyplot: Any, results: dict[str, Any], path: Path, narrow: bool) -> None:
    times = {(row["case"], row["operation"]): row["microseconds"] for row in results["cases"]}
    shape, size = ((len(_TITLES) * len(COMMON), 1), (4.2, 13)) if narrow else ((len(_TITLES), len(COMMON)), (11, 5.6))
    figure, grid = pyplot.subplots(*shape, figsize=size, sharex=not narrow, sharey=True, layout="constrained")
    panels = [(operation, cell) for operation in _TITLES for cell in COMMON]
    for axes, (operation, cell) in zip(grid.flat, panels, strict=True):
        names = [Case(*sizes, cell=cell).name for sizes in _SIZES]
        _draw_bars(axes, [_with_one_jax(times[name, operation]) for name in names])
        axes.set_title(f"{cell.upper()}, {_TITLES[operation]}", fontsize=10)
        axes.set_xticks(range(len(names)), [f"N={N}\nH={H}" for _, N, _, H in _SIZES])
        if narrow or cell == COMMON[0]:
            axes.set_ylabel("times as fast\nas PyTorch" if narrow else "times as fast as PyTorch\n(higher is better)")
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2 if narrow else len(labels), frameon=False)
    T = _SIZES[0][0]
    _caption(figure, results, f"T = {T}, D = H; ONNX Runtime has no backward pass.", 60 if narrow else 200)
    figure.savefig(path, dpi=100, metadata={"Software": None})
    pyplot.close(figure)


def _draw_bars(axes: Any, by_size: Sequence[dict[str, list[float]]]) -> None:
    """Bars from 1 up to a speed above PyTorch's, or down to one below it, on a logarithmic axis."""
    axes.axhline(1, color=_COLOUR_BESIDE, linewidth=1.8, label="PyTorch (1)")
    width = 0.8 / len(_BARS)
    for number, (library, (label, colour)) in enumerate(_BARS.items()):
        measured = [(place, times) for place, times in enumerate(by_size) if library in times]
        places = [place + (number - (len(_BARS) - 1) / 2) * width for place, _ in measured]
        above = [ratio(times[library], times[_BESIDE]).median - 1 for _, times in measured]
        axes.bar(places, above, width, bottom=1, label=label, color=colour)
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


def _caption(figure: Any, results: dict[str, Any], first: str, width: int) -> None:
    """The machine and the versions, below the panels, in lines of at most `width` characters."""
    about = results["machine"]
    found = results.get("versions", {})
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
