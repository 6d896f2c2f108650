"""Files are written aside and renamed: whoever looks finds the last whole one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from xrnn.jobs.charlm.errors import OutputError


def check_writable(path: Path) -> None:
    """Raises OutputError where a file can't be written to `path`."""
    if path.is_dir():
        raise OutputError(f"can't write {path}: expected a file's name, but it is a folder; name a file in it")
    aside = _aside(path)
    try:
        aside.touch()
        aside.unlink()
    except OSError as error:
        raise OutputError(
            f"can't write {path} ({error.strerror}): expected an existing folder that may be written to; "
            "make it or name another"
        ) from error


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one piece, on the disk before the name points at it; a link or a mode stays.

    Raises OSError, with what was there before untouched and nothing left beside it.
    """
    path = path.resolve()
    aside = _aside(path)
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, aside)
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the rename itself; elsewhere a folder can't be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _aside(path: Path) -> Path:
    """A name of this process's own: two may be writing to one path."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")
