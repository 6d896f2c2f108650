"""What commands print and write: text without control characters; files, which are checked before they compute."""

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
from xrnn.series.checks import OutputError, escaped, file_errors


def say(text: str) -> None:
    """Print to stdout."""
    print(printable(text, keep="\n\t"), flush=True)


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


def table(*rows: Iterable[str]) -> str:
    """The lines of a table: a column of text, then columns of numbers."""
    columns: list[Sequence[str]] = [*zip(*rows, strict=True)]
    widths = [max(map(cell_len, column)) for column in columns]
    names = [set_cell_size(name, widths[0]) for name in columns[0]]
    numbers = [[cell.rjust(width) for cell in column] for column, width in zip(columns[1:], widths[1:], strict=True)]
    return "\n".join(map("  ".join, zip(names, *numbers, strict=True)))


_REFUSAL: Final = "exists: expected a new name; name another, or replace it with --overwrite"


def check_outputs(outputs: Sequence[Path], inputs: Iterable[Path], *, overwrite: bool) -> None:
    """Check each output, and that the command reads none of them.   Raises OutputError.

    inputs   files, and folders, whose subfolders hold the files to read
    """
    for output in outputs:
        expected = "expected an existing folder with write permission; make it or name another"
        with file_errors(OutputError, "write", output, expected):
            check_writable(output)
            check_output(output, lambda _: overwrite, _REFUSAL)
    for output, path in itertools.product(outputs, inputs):
        if same_file(output, path) or real_path(output).parent.parent == real_path(path):
            raise OutputError(f"{output} is among the files to read: expected another place; name another")


def write_output(path: Path, content: bytes, *, overwrite: bool) -> None:
    """Raises OutputError."""
    with file_errors(OutputError, "write", path, "expected free space and permission"):
        write_file(path, content, lambda _: overwrite, _REFUSAL)


Results: TypeAlias = dict[str, Any]  # for JSON
Draw: TypeAlias = Callable[[Any], None]  # fills a Matplotlib figure


class Run:
    """A run of one of these commands. Errors of the names of files are raised before it starts."""

    def __init__(self, options: RunOptions, default: str, inputs: Sequence[Path]) -> None:
        """Raises OutputError.

        default   the name of the checkpoint;   inputs: what the run reads
        """
        self._options, self.out = options, options.out or Path(default)
        self._picture = self.out.parent / f"{self.out.stem}.png"
        if self.out.suffix.lower() not in (".safetensors", ""):
            raise OutputError(f"--out is {self.out}: expected a name that ends in .safetensors; change the ending")
        check_outputs([self.out, self._picture], inputs, overwrite=options.overwrite)

    def say(self, text: str) -> None:
        """Print, unless --json asks for the results alone."""
        if not self._options.json:
            say(text)

    def save(self, estimator: Any) -> None:
        """Write the checkpoint of a fitted estimator.   Raises OutputError."""
        write_output(self.out, estimator._content(), overwrite=self._options.overwrite)
        self.say(f"checkpoint: {self.out} (xrnn predict {shlex.quote(str(self.out))} FILE...)")

    def finish(self, results: Results, draw: Draw) -> None:
        """Write the picture, and print the results for --json.   Raises OutputError."""
        picture = drawn(draw)
        if picture is None:
            self.say(f"picture: not drawn, Matplotlib is not installed ({install_hint('series')})")
        else:
            write_output(self._picture, picture, overwrite=self._options.overwrite)
            self.say(f"picture: {self._picture}")
        if self._options.json:
            files = {"checkpoint": str(self.out), "picture": None if picture is None else str(self._picture)}
            print(json.dumps(results | files))


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


def in_picture(text: str) -> str:
    """The text for Matplotlib, which reads $ as the start of a formula."""
    return escaped(text).replace("$", r"\$")[:60]


def span(sizes: Sequence[int]) -> str:
    """The smallest and the largest of these sizes."""
    return f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
