"""Pictures of a run, drawn by Matplotlib."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from xrnn.models.errors import OutputError

# Suffix → the first bytes of such a file, and its metadata key for the name of the program.
_FORMATS: Final = {".png": (b"\x89PNG", "Software"), ".svg": (b"<?xml", "Creator"), ".pdf": (b"%PDF", "Creator")}
_PROGRAM: Final = "xrnn: the loss of a training run"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to draw."""

    size: tuple[float, float]  # inches
    draw: Callable[[Any], None]  # fills a Matplotlib figure

    def content(self, path: Path) -> bytes | None:
        """The drawn picture, in the format of the suffix of `path`; None if Matplotlib is not installed."""
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError:
            return None
        figure = Figure(figsize=self.size, layout="constrained")
        FigureCanvasAgg(figure)
        self.draw(figure)
        suffix = path.suffix.lower()
        _, key = _FORMATS[suffix]
        content = io.BytesIO()
        with warnings.catch_warnings():
            # Matplotlib draws a box for a letter that its font lacks, and warns.
            warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
            figure.savefig(content, dpi=150, format=suffix[1:], metadata={key: _PROGRAM})
        return content.getvalue()


def check_format(path: Path) -> None:
    """Raises OutputError unless the suffix of `path` is that of a picture format."""
    if path.suffix.lower() not in _FORMATS:
        raise OutputError(f"--plot is {path}: expected a name that ends in {', '.join(_FORMATS)}; add one of them")


def is_own_picture(content: bytes) -> bool:
    """Whether a run drew the picture `content`."""
    return content.startswith(tuple(start for start, _ in _FORMATS.values())) and _PROGRAM.encode() in content
