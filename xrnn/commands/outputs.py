"""The files that a run writes. They are checked before the run, and an existing file needs --overwrite."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xrnn.commands.pictures import check_format
from xrnn.files import check_output, check_writable, real_path, same_file, write_file
from xrnn.series.errors import OutputError, file_errors


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


def write(output: Output, content: bytes) -> None:
    """Write the file.   Raises OutputError."""
    with file_errors(OutputError, "write", output.path, "expected free space and permission"):
        write_file(output.path, content, output.may_replace, output.refusal)


class Outputs(NamedTuple):
    """The files that a run writes."""

    checkpoint: Output
    picture: Output
    table: Output | None

    @classmethod
    def choose(cls, options: Any, default: Path, inputs: Sequence[Path], csv: Path | None = None) -> Outputs:
        """Choose the names that the options leave open, and check all outputs.   Raises OutputError.

        options   values of RUN;   default: the checkpoint;   inputs: what the run reads;   csv: the table
        """
        if options.plot:
            check_format(options.plot)
        out = options.out or default
        checkpoint = Output("--out", out, options.overwrite)
        picture = Output("--plot", options.plot or out.parent / f"{out.stem}.png", options.overwrite)
        table = Output("--csv", csv, options.overwrite) if csv else None
        _check([checkpoint, picture, *([table] if table else [])], inputs)
        for output in [checkpoint, picture, *([table] if table else [])]:
            if output is table or os.path.lexists(output.path):
                _check_outside(output, inputs)
        return cls(checkpoint, picture, table)


def _check(outputs: Sequence[Output], inputs: Iterable[Path]) -> None:
    """Check each output, and that outputs and inputs are all different files.   Raises OutputError."""
    for output in outputs:
        path = output.path
        if os.path.islink(path) and not os.path.exists(path):
            where = "itself" if os.path.lexists(real_path(path)) else f"{real_path(path)}, which doesn't exist"
            raise OutputError(
                f"can't write {path}: expected the name of a file, but it is a link to {where}; remove the link, or "
                f"name another with {output.option}"
            )
        expected = "expected an existing folder with write permission; make it or name another"
        with file_errors(OutputError, "write", path, expected):
            check_writable(path)
            check_output(path, output.may_replace, output.refusal)
    for one, other in itertools.combinations(outputs, 2):
        if same_file(one.path, other.path):
            raise OutputError(
                f"{one.option} and {other.option} would both write {one.path}: expected two files; "
                f"name another with {other.option}"
            )
    for output, path in itertools.product(outputs, inputs):
        if same_file(output.path, path):
            raise OutputError(
                f"{output.option} is {output.path}, which this run reads: expected another file; name another"
            )


def _check_outside(output: Output, inputs: Iterable[Path]) -> None:
    """Check that the output is no file in an input folder, which a run reads.   Raises OutputError."""
    for folder in filter(os.path.isdir, inputs):
        if real_path(output.path).is_relative_to(real_path(folder)):
            raise OutputError(
                f"{output.option} is {output.path}, in the folder {folder}, which this run reads: expected a file "
                "outside it; name another"
            )
