"""The files that a run writes. They are checked before the run, and a run never replaces a foreign file."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from xrnn.commands.options import Command
from xrnn.commands.pictures import check_format
from xrnn.files import check_output, check_writable, real_path, same_file, write_file
from xrnn.models.checkpoint import PictureRecord
from xrnn.models.errors import OutputError, file_errors


class Output:
    """A file to write.

    option     the command-line option for it: "--out"
    path       changes if a foreign file appears there during the run
    is_own     (path, written by this run) → whether the file there belongs to this run or to the one that it continues
    refusal    for the error about another file, after its name
    say        prints a line
    overwrite  whether the file that is there now may be replaced
    """

    def __init__(
        self,
        option: str,
        path: Path,
        is_own: Callable[[Path, bool], bool],
        refusal: str,
        say: Callable[[str], None],
        *,
        overwrite: bool,
    ) -> None:
        self.option, self.path, self._is_own, self._refusal, self._say = option, path, is_own, refusal, say
        self._written = False
        self._replaced = sha256(path) if overwrite else ""

    def write(self, content: bytes) -> None:
        """Write `content` to `path`, or to a free name if a foreign file has appeared there.   Raises OSError."""
        path = self.path
        try:
            write_file(path, content, self._may_replace, self._refusal)
            self._written = True
        except (FileExistsError, IsADirectoryError):
            self.path = next_free(path, os.path.lexists)
            self._say(f"another program wrote {path} during this run: it is kept, and this run writes {self.path}")
            self.write(content)

    def check(self) -> None:
        """Raises OutputError if the file can't be written, or if a foreign file exists there. Links are followed."""
        path, other = self.path, f"name another with {self.option}"
        if os.path.islink(path) and not os.path.exists(path):
            where = "itself" if os.path.lexists(real_path(path)) else f"{real_path(path)}, which doesn't exist"
            raise OutputError(
                f"can't write {path}: expected the name of a file, but it is a link to {where}; remove the link, or "
                f"{other}"
            )
        expected = "expected an existing folder with write permission; make it or name another"
        with file_errors(OutputError, "write", path, expected):
            check_writable(path)
            check_output(path, self._may_replace, self._refusal)

    def _may_replace(self, path: Path) -> bool:
        return self._is_own(path, self._written) or (self._replaced != "" and sha256(path) == self._replaced)


def check_outputs(outputs: Sequence[Output], inputs: Iterable[Path]) -> None:
    """Check each output, and that outputs and inputs are all different files.   Raises OutputError."""
    for output in outputs:
        output.check()
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


def check_folders(tables: Sequence[Output], inputs: Iterable[Path]) -> None:
    """Check that no table is a file in an input folder.   Raises OutputError.

    tables   the log, and the file `csv`

    Checkpoints and pictures may be there: runs don't read them.
    """
    for output, folder in itertools.product(tables, filter(os.path.isdir, inputs)):
        if real_path(output.path).is_relative_to(real_path(folder)):
            raise OutputError(
                f"{output.option} is {output.path}, in the folder {folder}, which this run reads: expected a file "
                "outside it; name another"
            )


def next_free(path: Path, taken: Callable[[Path], bool]) -> Path:
    """`path`, or the first of `name-2`, `name-3`, … that is not taken."""
    names = itertools.chain([path], (path.with_stem(f"{path.stem}-{i}") for i in itertools.count(2)))
    return next(name for name in names if not taken(name))


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hex; empty if it can't be read, or is no regular file."""
    if not path.is_file():  # reading a pipe would wait
        return ""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files that a run writes.

    drawn      the picture that the resumed run drew; None if it drew none
    lines      says which name was chosen, if the default one is taken
    columns    of the log
    continues_log   whether rows are added to an existing log
    """

    checkpoint: Output
    picture: Output
    log: Output | None
    table: Output | None
    drawn: PictureRecord | None
    lines: list[str]
    columns: list[str]
    continues_log: bool

    @classmethod
    def choose(
        cls, command: Command[Any], settings: Any, drawn: PictureRecord | None, say: Callable[[str], None]
    ) -> Outputs:
        """Choose the names that the options leave open, and check all outputs.   Raises OutputError.

        If the default name of the checkpoint is taken, `default-2`, `default-3`, … are tried.

        drawn   the picture that the resumed checkpoint records
        say     prints a line during the run
        """
        options, columns = command.options, command.trainer.columns(settings)
        lines: list[str] = []
        out, plot, resume, overwrite = options.out or options.resume, options.plot, options.resume, options.overwrite
        if plot:
            check_format(plot)
        if out is None:
            out = command.default_out if overwrite else next_free(command.default_out, lambda path: _taken(path, plot))
            if out != command.default_out:
                lines = [f"{command.default_out} or its picture is taken: this run writes {out}"]
        picture = plot or _picture_beside(out)
        continues = resume is not None and same_file(out, resume)

        def output(option: str, path: Path, is_own: Callable[[Path, bool], bool], expected: str = "") -> Output:
            remedy = f"name another with {option}, or replace it with --overwrite"
            refusal = f"exists: expected a new name{expected}; {remedy}"
            return Output(option, path, is_own, refusal, say, overwrite=overwrite)

        def has_header(header: Sequence[str]) -> Callable[[Path, bool], bool]:
            return lambda path, written: resume is not None and has_columns(path, header)

        log, continues_log = None, resume is not None and not overwrite
        if options.log:
            log = output("--log", options.log, has_header(columns), ", or the log of such a run" if resume else "")
        table = output("--csv", command.csv, has_header(command.table_columns)) if command.csv else None
        checkpoint = output(
            "--out",
            out,
            lambda path, written: command.kind.wrote(path) and (written or continues or overwrite),
            f", or --resume {out} to continue it" if command.kind.wrote(out) else "",
        )
        pictures = output(
            "--plot",
            picture,
            lambda path, written: drawn is not None and sha256(path) == drawn.sha256,
            f", or the picture that {resume} records" if resume else "",
        )
        outputs = cls(checkpoint, pictures, log, table, drawn, lines, columns, continues_log)
        tables = [each for each in (log, table) if each]
        check_outputs(
            [checkpoint, outputs.picture, *tables], [*command.paths, *([resume] if resume and not continues else [])]
        )
        check_folders(tables, command.paths)
        return outputs

    def open_log(self, say: Callable[[str], None]) -> contextlib.AbstractContextManager[Log | None]:
        """The log of the run, or None without one.   say: prints a line.   Raises OutputError."""
        if self.log is None:
            return contextlib.nullcontext()
        with file_errors(OutputError, "write", self.log.path, "expected free space and permission"):
            if not (self.continues_log and has_columns(self.log.path, self.columns)):
                self.log.write(_line(self.columns))
            return Log(self.log.path, say)


def _taken(checkpoint: Path, plot: Path | None) -> bool:
    return os.path.lexists(checkpoint) or (plot is None and os.path.lexists(_picture_beside(checkpoint)))


def _picture_beside(checkpoint: Path) -> Path:
    return checkpoint.parent / f"{checkpoint.stem}.png"


# ---- `--log FILE.csv`: the figures of a run, one row for each report ----


def has_columns(path: Path, columns: Sequence[str]) -> bool:
    """Whether the file begins with a line of these columns, as the log and the table of a run do."""
    header = _line(columns)
    try:
        with path.open("rb") as file:
            return file.read(len(header)) == header
    except OSError:
        return False


class Log:
    """Appends rows of numbers. If a write fails, the run continues without a log, and `say` prints why."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        """Raises OSError if the file can't be opened."""
        self._path, self._say, self._failed = path, say, False
        self._file = path.open("ab", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def row(self, values: Sequence[float]) -> None:
        if self._failed:
            return
        try:
            self._file.write(_line([f"{value:.10g}" for value in values]))
        except OSError as error:
            self._failed = True
            self._say(f"can't write {self._path} ({error.strerror}): the run continues without a log")


def _line(values: Sequence[str]) -> bytes:
    return (",".join(values) + "\n").encode()
