"""The files that a run writes. They are checked before the run, and an existing file needs --overwrite."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

from xrnn.files import check_output, check_writable, real_path, same_file, write_file
from xrnn.series.errors import OutputError, file_errors

_OF_XLSX: Final = ("pandas", "openpyxl")


class Output(NamedTuple):
    """A file to write: the option for it, such as "--out", its path, and whether it may replace another."""

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


def check_ending(option: str, path: Path | None, endings: Sequence[str]) -> None:
    """Raises OutputError unless the suffix of the path is one of `endings`, and the packages for it are there."""
    if path and path.suffix.lower() not in endings:
        raise OutputError(
            f"{option} is {path}: expected a name that ends in {', '.join(filter(None, endings))}; add one of them"
        )
    if path and path.suffix.lower() == ".xlsx" and (missing := [p for p in _OF_XLSX if not find_spec(p)]):
        raise OutputError(
            f"{option} is {path}, which needs the package {missing[0]}: expected it, or a name that ends in .csv; use "
            f"`pip install {missing[0]}`"
        )


def check_outputs(outputs: Sequence[Output], inputs: Iterable[Path]) -> None:
    """Check each output, that outputs are different files, and that the run reads none of them.   Raises OutputError.

    inputs   files, and folders, whose subfolders hold the files to read
    """
    for output in outputs:
        expected = "expected an existing folder with write permission; make it or name another"
        with file_errors(OutputError, "write", output.path, expected):
            check_writable(output.path)
            check_output(output.path, output.may_replace, output.refusal)
    for one, other in itertools.combinations(outputs, 2):
        if same_file(one.path, other.path):
            raise OutputError(
                f"{one.option} and {other.option} would both write {one.path}: expected two files; "
                f"name another with {other.option}"
            )
    for output, path in itertools.product(outputs, inputs):
        if same_file(output.path, path) or real_path(output.path).parent.parent == real_path(path):
            raise OutputError(
                f"{output.option} is {output.path}, among the files that this run reads: expected another place; name "
                "another"
            )
