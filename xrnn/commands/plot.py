"""The curve of a run: the loss of each update, and the loss on held-out data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from xrnn.commands.picture import Picture

_STYLES: Final[tuple[dict[str, Any], ...]] = (
    {"color": "tab:green", "linestyle": "--"},
    {"color": "tab:gray", "linestyle": ":"},
)


def loss_curve(losses: Sequence[float], unit: str, levels: Mapping[str, float]) -> Picture:
    """The losses of all updates, in `unit`, and a horizontal line for each label of `levels` (two at most)."""

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        draw_losses(axes, losses, unit)
        for (label, level), style in zip(levels.items(), _STYLES, strict=False):
            axes.axhline(level, label=f"{label}: {level:.3f}", **style)
        axes.legend()

    return Picture((7, 4.2), draw)


def draw_losses(axes: Any, losses: Sequence[float], unit: str) -> None:
    """The losses of all updates, and their moving average."""
    steps = np.arange(1, len(losses) + 1)
    axes.plot(steps, losses, color="tab:blue", alpha=0.25, linewidth=0.8, label="each step")
    window = max(1, len(losses) // 50)
    if window > 1:
        means = np.convolve(losses, np.full(window, 1 / window), mode="valid")
        axes.plot(steps[window - 1 :], means, color="tab:blue", label=f"mean of {window} steps")
    axes.set(xlabel="step", ylabel=unit, ylim=(0, None), xlim=(1, max(2, len(losses))))
    axes.grid(alpha=0.3)
