"""The files that a run will write: checked before it begins, so that nothing a user has is lost at its end."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xrnn.files import OccupiedError, check_writable, identity, real_path, replace_only
from xrnn.jobs.errors import OutputError


@dataclass(frozen=True, slots=True)
class Output:
    """A file to write. What lies there already is replaced only if `is_ours`, which xrnn wrote."""

    option: str  # that names it: --out
    path: Path
    kind: str  # as an error calls it: "checkpoint"
    is_ours: Callable[[Path], bool]


class Destination:
    """Where an output goes, and which file lies there: over that one alone it is written.

    path   changes to the next free name where somebody else has put a file there meanwhile; `say` tells
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self.path = path
        self._say = say
        self._found = identity(path)

    def put(self, path: Path, content: bytes) -> None:
        """As `xrnn.files.replace_file`, for the present `path`."""
        try:
            self._found = replace_only(path, content, self._found)
        except OccupiedError:
            self.path, self._found = next_free(path, os.path.lexists), None
            self._say(f"{path} was written by another program meanwhile: it stays, and this run writes {self.path}")
            self.put(self.path, content)


def check_outputs(outputs: Sequence[Output], inputs: Iterable[Path]) -> None:
    """Find out whether every output can be written, harming none of the others, no input and no file of a stranger.

    Links are followed. Raises OutputError.
    """
    for output in outputs:
        _check(output)
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


def next_free(path: Path, taken: Callable[[Path], bool]) -> Path:
    """`path`, or the first of `name-2`, `name-3`, … that is not taken."""
    names = itertools.chain([path], (path.with_stem(f"{path.stem}-{i}") for i in itertools.count(2)))
    return next(name for name in names if not taken(name))


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, or would if it existed."""
    if os.path.exists(one) and os.path.exists(other):
        return os.path.samefile(one, other)
    return os.path.normcase(real_path(one)) == os.path.normcase(real_path(other))


def _check(output: Output) -> None:
    path = output.path
    if os.path.isdir(path):
        raise OutputError(f"can't write {path}: expected a file's name, but it is a folder; name a file in it")
    if os.path.lexists(real_path(path)):
        if not os.path.exists(path):
            raise OutputError(
                f"can't write {path}: expected a file's name, but it is a link to itself; remove the link, or name "
                f"another with {output.option}"
            )
        if not os.path.isfile(path):
            raise OutputError(
                f"can't write {path}: expected a file's name, but it is a device, a pipe or a socket; "
                f"name another with {output.option}"
            )
        if not output.is_ours(path):
            raise OutputError(
                f"{path} exists and is no {output.kind}: expected a new name, or a {output.kind} to replace; "
                f"name another with {output.option}"
            )
        if not os.access(path, os.W_OK):
            raise OutputError(
                f"can't write {path}: expected a file that may be replaced, but it is read-only; make it writable, or "
                f"name another with {output.option}"
            )
    elif os.path.islink(path):
        raise OutputError(
            f"can't write {path}: expected a file's name, but it is a link to {real_path(path)}, which doesn't exist; "
            f"remove the link, or name another with {output.option}"
        )
    try:
        check_writable(path)
    except OSError as error:
        raise OutputError(
            f"can't write {path} ({error.strerror}): expected an existing folder that may be written to; "
            "make it or name another"
        ) from error
