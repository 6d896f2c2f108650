"""The files that a command writes. They are checked before it computes, and an existing file needs --overwrite."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from xrnn.files import check_output, check_writable, real_path, same_file, write_file
from xrnn.series.errors import OutputError, file_errors

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
