"""The output of commands: lines and tables without control characters, a checkpoint, a picture."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TextIO, TypeAlias

from rich.cells import cell_len, set_cell_size

from xrnn.commands.options import RunOptions
from xrnn.files import check_output, check_writable, printable, real_path, same_file, write_file
from xrnn.optional import install_hint
from xrnn.series.errors import ModelError, file_errors

Results: TypeAlias = dict[str, Any]  # for JSON
Draw: TypeAlias = Callable[[Any], None]  # fills a Matplotlib figure

REFUSAL: Final = "already exists; choose another name, or --overwrite"


class Run:
    """The output of classify, regress or forecast. Names that can't be written are refused before anything is read."""

    def __init__(self, options: RunOptions, default: str, inputs: Iterable[Path | None]) -> None:
        """Raises ModelError.

        default   the name of the checkpoint without --out;   inputs: what the run reads
        """
        self._options = options
        self.out = options.out or Path(default)
        self._picture = self.out.parent / f"{self.out.stem}.png"
        if self.out.suffix.lower() not in (".safetensors", ""):
            raise ModelError(f"--out is {self.out}; the name must end in .safetensors")
        check_outputs([self.out, self._picture], filter(None, inputs), overwrite=options.overwrite)

    def say(self, *texts: str) -> None:
        """Print each text that is not empty, unless --json asks for the results alone."""
        for text in texts:
            if text and not self._options.json:
                print(printable(text, keep="\n\t"), flush=True)

    def save(self, estimator: Any) -> None:
        """Write the checkpoint of a fitted estimator.   Raises ModelError."""
        self._write(self.out, estimator._content())
        self.say(f"checkpoint: {self.out} (xrnn predict {shlex.quote(str(self.out))} FILE...)")

    def finish(self, results: Results, draw: Draw) -> None:
        """Write the picture, and print the results for --json.   Raises ModelError."""
        picture = drawn(draw)
        if picture is None:
            self.say(f"picture: not drawn, Matplotlib is not installed ({install_hint('series')})")
        else:
            self._write(self._picture, picture)
            self.say(f"picture: {self._picture}")
        if self._options.json:
            files = {"checkpoint": str(self.out), "picture": None if picture is None else str(self._picture)}
            print(json.dumps(results | files))

    def _write(self, path: Path, content: bytes) -> None:
        with file_errors(ModelError, "write", path, "is the disk full, or read-only?"):
            write_file(path, content, lambda _: self._options.overwrite, REFUSAL)


def check_outputs(outputs: Sequence[Path], inputs: Iterable[Path], *, overwrite: bool) -> None:
    """Check that each output can be written and is none of the inputs.   Raises ModelError.

    inputs   files, and folders, whose subfolders hold the files to read
    """
    for output in outputs:
        expected = "make the folder, or choose one that you may write to"
        with file_errors(ModelError, "write", output, expected):
            check_writable(output)
            check_output(output, lambda _: overwrite, REFUSAL)
    for output, path in itertools.product(outputs, inputs):
        if same_file(output, path) or real_path(output).parent.parent == real_path(path):
            raise ModelError(f"{output} is among the files to read; write to another place")


def drawn(draw: Draw) -> bytes | None:
    """The picture, a PNG file; None if Matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    draw(figure := Figure(layout="constrained"))
    content = io.BytesIO()
    with warnings.catch_warnings():
        # Matplotlib draws a box for a letter that its font lacks, and warns.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(content, format="png", dpi=150, metadata={"Software": "xrnn"})
    return content.getvalue()


def escaped(value: Any) -> str:
    """The text of `value`, with escapes such as \\x1b for characters that can't be shown."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))


def in_picture(text: str) -> str:
    """The text for Matplotlib, which reads $ as the start of a formula."""
    return escaped(text).replace("$", r"\$")[:60]


def table(*rows: Sequence[str]) -> str:
    """The lines of a table: a column of text, then columns of numbers."""
    first, *others = zip(*rows, strict=True)
    width = max(map(cell_len, first))  # on a terminal, where some letters take two cells
    columns = [[set_cell_size(text, width) for text in first]]
    for column in others:
        width = max(map(len, column))
        columns.append([cell.rjust(width) for cell in column])
    return "\n".join(map("  ".join, zip(*columns, strict=True)))


def span(sizes: Sequence[int]) -> str:
    """The smallest and the largest of these sizes."""
    return f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"


def counted(count: int, noun: str) -> str:
    """ "1 step", "2 steps"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def to_stderr(text: str) -> None:
    """Print a line to stderr. If stderr is lost, the exit status shows an error."""
    try:
        print(printable(text), file=sys.stderr, flush=True)
    except OSError:
        drop(sys.stderr)


def drop(stream: TextIO) -> None:
    """Send what a lost stream still holds to the null device: Python flushes it again at exit, which would fail."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
