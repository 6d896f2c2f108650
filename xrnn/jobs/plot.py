"""The curve of a run: its loss, step by step, beside what it reached on held-out data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from xrnn.files import replace_file
from xrnn.jobs.picture import write_picture

_STYLES: Final[tuple[dict[str, Any], ...]] = (
    {"color": "tab:green", "linestyle": "--"},
    {"color": "tab:gray", "linestyle": ":"},
)


def plot_losses(
    path: Path,
    losses: Sequence[float],
    unit: str,
    levels: Mapping[str, float],
    put: Callable[[Path, bytes], None] = replace_file,
) -> bool:
    """Draw the losses of all steps, in `unit`, and a level line for each label of `levels` (two at most); `put` that.

    False, and nothing drawn, without Matplotlib. Raises OutputError where it can't be written.
    """

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        draw_losses(axes, losses, unit)
        for (label, level), style in zip(levels.items(), _STYLES, strict=False):
            axes.axhline(level, label=f"{label}: {level:.3f}", **style)
        axes.legend()

    return write_picture(path, (7, 4.2), draw, put)


def draw_losses(axes: Any, losses: Sequence[float], unit: str) -> None:
    """The losses of all steps, and their moving average."""
    steps = np.arange(1, len(losses) + 1)
    axes.plot(steps, losses, color="tab:blue", alpha=0.25, linewidth=0.8, label="each step")
    window = max(1, len(losses) // 50)
    if window > 1:
        means = np.convolve(losses, np.full(window, 1 / window), mode="valid")
        axes.plot(steps[window - 1 :], means, color="tab:blue", label=f"mean of {window} steps")
    axes.set(xlabel="step", ylabel=unit, ylim=(0, None), xlim=(1, max(2, len(losses))))
    axes.grid(alpha=0.3)
