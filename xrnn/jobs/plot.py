"""The picture of a run: its loss, step by step, beside what it reached on held-out data."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from xrnn.files import replace_file
from xrnn.jobs.errors import OutputError

# How each format begins, and where its metadata hold the program's name.
_FORMATS: Final = {".png": (b"\x89PNG", "Software"), ".svg": (b"<?xml", "Creator"), ".pdf": (b"%PDF", "Creator")}
_PROGRAM: Final = "xrnn: the loss of a training run"
_ENDS: Final = 8192  # bytes: metadata lie at the start or, in PDF, at the end
_STYLES: Final[tuple[dict[str, Any], ...]] = (
    {"color": "tab:green", "linestyle": "--"},
    {"color": "tab:gray", "linestyle": ":"},
)


def check_format(path: Path) -> None:
    """Raises OutputError for a name that no picture can have."""
    if path.suffix not in _FORMATS:
        raise OutputError(f"--plot is {path}: expected a name that ends in {', '.join(_FORMATS)}; add one of them")


def is_own_picture(path: Path) -> bool:
    """Whether `plot_losses` drew what is at `path`, by the program's name in it. Reads its two ends at most."""
    try:
        with path.open("rb") as file:
            start = file.read(_ENDS)
            file.seek(max(0, file.seek(0, io.SEEK_END) - _ENDS))
            return holds_own_picture(start + file.read(_ENDS))
    except OSError:
        return False


def holds_own_picture(content: bytes) -> bool:
    """Whether `content`, a whole file or its two ends, is a picture that `plot_losses` drew."""
    starts = tuple(start for start, _ in _FORMATS.values())
    return content.startswith(starts) and _PROGRAM.encode() in content[:_ENDS] + content[-_ENDS:]


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
    for (label, level), style in zip(levels.items(), _STYLES, strict=False):
        axes.axhline(level, label=f"{label}: {level:.3f}", **style)
    axes.set(xlabel="step", ylabel=unit, ylim=(0, None), xlim=(1, max(2, len(losses))))
    axes.grid(alpha=0.3)
    axes.legend()
    try:
        put(path, _rendered(figure, path.suffix))
    except OSError as error:
        raise OutputError(f"can't write {path} ({error.strerror}): expected room and permission there") from error
    return True


def _rendered(figure: Any, suffix: str) -> bytes:
    _, key = _FORMATS[suffix]
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150, format=suffix[1:], metadata={key: _PROGRAM})
    return picture.getvalue()
