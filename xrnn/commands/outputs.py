"""The files that a run writes. They are checked before the run, and an existing file needs --overwrite."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from xrnn.files import check_output, check_writable, real_path, same_file, write_file
from xrnn.series.errors import OutputError, file_errors


class Output(NamedTuple):
    """A file to write: the option that names it, such as "--out", its path, and whether it may replace another."""

    option: str
    path: Path
    overwrite: bool

    def may_replace(self, path: Path) -> bool:
        return self.overwrite

    @property
    def refusal(self) -> str:
        return f"exists: expected a new name; name another with {self.option}, or replace it with --overwrite"

    def write(self, content: bytes) -> None:
        """Raises OutputError."""
        with file_errors(OutputError, "write", self.path, "expected free space and permission"):
            write_file(self.path, content, self.may_replace, self.refusal)


def check_ending(option: str, path: Path | None, ending: str, *others: str) -> None:
    """Raises OutputError for another ending of the path."""
    if path and path.suffix.lower() not in (ending, *others):
        raise OutputError(f"{option} is {path}: expected a name that ends in {ending}; change the ending")


def check_outputs(outputs: Sequence[Output], inputs: Iterable[Path]) -> None:
    """Check each output, and that the run reads none of them.   Raises OutputError.

    inputs   files, and folders, whose subfolders hold the files to read
    """
    for output in outputs:
        expected = "expected an existing folder with write permission; make it or name another"
        with file_errors(OutputError, "write", output.path, expected):
            check_writable(output.path)
            check_output(output.path, output.may_replace, output.refusal)
    for output, path in itertools.product(outputs, inputs):
        if same_file(output.path, path) or real_path(output.path).parent.parent == real_path(path):
            raise OutputError(
                f"{output.option} would write {output.path}, among the files that this run reads: expected another "
                "place; name another"
            )
