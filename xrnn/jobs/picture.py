"""Pictures that runs draw: written whole, and known again as xrnn's own, so that they may be replaced."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from xrnn.jobs.errors import OutputError

# How each format begins, and where its metadata hold the program's name.
_FORMATS: Final = {".png": (b"\x89PNG", "Software"), ".svg": (b"<?xml", "Creator"), ".pdf": (b"%PDF", "Creator")}
_PROGRAM: Final = "xrnn: the loss of a training run"
_ENDS: Final = 8192  # bytes: metadata lie at the start or, in PDF, at the end


def check_format(path: Path) -> None:
    """Raises OutputError for a name that no picture can have."""
    if path.suffix not in _FORMATS:
        raise OutputError(f"--plot is {path}: expected a name that ends in {', '.join(_FORMATS)}; add one of them")


def is_own_picture(path: Path) -> bool:
    """Whether `write_picture` wrote what is at `path`, by the program's name in it. Reads its two ends at most."""
    try:
        with path.open("rb") as file:
            start = file.read(_ENDS)
            file.seek(max(0, file.seek(0, io.SEEK_END) - _ENDS))
            return holds_own_picture(start + file.read(_ENDS))
    except OSError:
        return False


def holds_own_picture(content: bytes) -> bool:
    """Whether `content`, a whole file or its two ends, is a picture that `write_picture` wrote."""
    starts = tuple(start for start, _ in _FORMATS.values())
    return content.startswith(starts) and _PROGRAM.encode() in content[:_ENDS] + content[-_ENDS:]


def write_picture(
    path: Path, size: tuple[float, float], draw: Callable[[Any], None], put: Callable[[Path, bytes], None]
) -> bool:
    """Let `draw` fill a Matplotlib figure of `size`, in inches, and `put` the picture at `path`.

    False, and nothing drawn, without Matplotlib. Raises OutputError where it can't be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure)
    _, key = _FORMATS[path.suffix]
    picture = io.BytesIO()
    with warnings.catch_warnings():
        # A label may be in a script that Matplotlib's font lacks: it draws boxes, and would warn of each letter.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(picture, dpi=150, format=path.suffix[1:], metadata={key: _PROGRAM})
    try:
        put(path, picture.getvalue())
    except OSError as error:
        raise OutputError(f"can't write {path} ({error.strerror}): expected room and permission there") from error
    return True
