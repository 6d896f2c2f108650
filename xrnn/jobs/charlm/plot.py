"""The picture of a run: its loss, step by step, beside what it reached on held-out text."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from xrnn.jobs.charlm.errors import OutputError
from xrnn.jobs.charlm.files import check_writable, replace_file

_FORMATS: Final = (".png", ".svg", ".pdf")


def check_picture(path: Path) -> None:
    """Find out before training whether a picture can be written to `path`. Raises OutputError."""
    if path.suffix not in _FORMATS:
        raise OutputError(f"--plot is {path}: expected a name that ends in {', '.join(_FORMATS)}; add one of them")
    check_writable(path)


def plot_losses(path: Path, losses: Sequence[float], held_out: float, zlib: float) -> bool:
    """Draw the losses (bits per character) to `path`. False, and nothing drawn, without Matplotlib.

    Raises OutputError where it can't be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    steps = np.arange(1, len(losses) + 1)
    axes.plot(steps, losses, color="tab:blue", alpha=0.25, linewidth=0.8, label="each step")
    window = max(1, len(losses) // 50)
    if window > 1:
        means = np.convolve(losses, np.full(window, 1 / window), mode="valid")
        axes.plot(steps[window - 1 :], means, color="tab:blue", label=f"mean of {window} steps")
    axes.axhline(held_out, color="tab:green", linestyle="--", label=f"held out: {held_out:.3f}")
    axes.axhline(zlib, color="tab:gray", linestyle=":", label=f"held out, zlib level 9: {zlib:.3f}")
    axes.set(xlabel="step", ylabel="bits per character", ylim=(0, None), xlim=(1, max(2, len(losses))))
    axes.grid(alpha=0.3)
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150, format=path.suffix[1:])
    try:
        replace_file(path, picture.getvalue())
    except OSError as error:
        raise OutputError(f"can't write {path} ({error.strerror}): expected room and permission there") from error
    return True
