"""The files that a run writes. They are checked before the run, and a run never replaces a foreign file."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from xrnn.files import check_writable, create_file, real_path, replace_file
from xrnn.models.errors import OutputError

Refusal = Callable[[Path, bool], str]


class Output:
    """A file to write.

    option    the command-line option for it: "--out"
    path      changes if a foreign file appears there during the run
    refusal   (path, written by this run) → why the existing file at `path` must not be replaced; empty if it may be
    say       prints a line
    """

    def __init__(self, option: str, path: Path, refusal: Refusal, say: Callable[[str], None]) -> None:
        self.option, self.path, self._refusal, self._say = option, path, refusal, say
        self._written = False

    def write(self, content: bytes) -> None:
        """Write `content` to `path`, or to a free name if a foreign file has appeared there.   Raises OSError."""
        path = self.path
        try:
            if os.path.isfile(path) and not self._refusal(path, self._written):
                replace_file(path, content)
            else:
                create_file(path, content)
            self._written = True
        except FileExistsError:
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
        try:
            check_writable(path)
        except OSError as error:
            expected = "expected an existing folder with write permission; make it or name another"
            raise OutputError.of(error, path, expected) from error
        if os.path.exists(path):
            if refusal := self._refusal(path, False):
                raise OutputError(f"{path} {refusal}")
            if not os.access(path, os.W_OK):
                raise OutputError(
                    f"can't write {path}: expected a writable file, but it is read-only; make it writable, or {other}"
                )


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


def next_free(path: Path, taken: Callable[[Path], bool]) -> Path:
    """`path`, or the first of `name-2`, `name-3`, … that is not taken."""
    names = itertools.chain([path], (path.with_stem(f"{path.stem}-{i}") for i in itertools.count(2)))
    return next(name for name in names if not taken(name))


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to the same file, or would if it existed."""
    if os.path.exists(one) and os.path.exists(other):
        return os.path.samefile(one, other)
    return os.path.normcase(real_path(one)) == os.path.normcase(real_path(other))


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hex; empty if it can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
