"""`--log FILE.csv`: the figures of a run, one row for each report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from xrnn.models.errors import OutputError


def is_log(path: Path, columns: Sequence[str]) -> bool:
    """Whether `path` is a log with these columns."""
    header = _line(columns)
    try:
        with path.open("rb") as file:
            return file.read(len(header)) == header
    except OSError:
        return False


class Log:
    """Writes rows of numbers. If a write fails, the run continues without a log, and `say` prints why."""

    def __init__(self, path: Path, columns: Sequence[str], say: Callable[[str], None], *, append: bool) -> None:
        """Raises OutputError if the file can't be opened."""
        self._path, self._say, self._failed = path, say, False
        try:
            self._file = path.open("ab" if append else "wb", buffering=0)
        except OSError as error:
            raise OutputError.of(error, path, "expected free space and permission") from error
        if not append:
            self._write(columns)

    def row(self, values: Sequence[float]) -> None:
        self._write([f"{value:.10g}" for value in values])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def _write(self, values: Sequence[str]) -> None:
        if self._failed:
            return
        try:
            self._file.write(_line(values))
        except OSError as error:
            self._failed = True
            self._say(f"can't write {self._path} ({error.strerror}): the run continues without a log")


def _line(values: Sequence[str]) -> bytes:
    return (",".join(values) + "\n").encode()
