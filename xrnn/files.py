"""Files that are checked before anything is allocated, and replaced whole or not at all.

Arrays lie in safetensors files: a header that names them, with a shape and a dtype each, and their bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from xrnn.typing import HostArray

try:
    import fcntl
except ImportError:  # Windows, where an open file can't be removed: that is lock enough
    fcntl = None  # type: ignore[assignment]

# NumPy's name of a dtype → safetensors'. Files with others are read by nobody here, and so refused.
_DTYPES: Final = {"float32": "F32", "float64": "F64", "int32": "I32", "int64": "I64"}
_PARTIAL: Final = ".xrnn.partial"
_DIGEST: Final = "digest"  # of the arrays and the rest of the metadata, in the metadata

Identity = tuple[int, int, int]  # device, inode, and when it was written: the inode may be used again


class FileError(ValueError):
    """A file can't be read, or holds something else than what was expected. The message is one line."""


class OccupiedError(Exception):
    """Another file lies where one was to be written."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What an array must be."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    def __str__(self) -> str:
        return f"{_DTYPES[self.dtype]} {self.shape}"


def printable(text: str, *, keep: str = "") -> str:
    """`text` with � for each character that a terminal would obey or can't show, but for those in `keep`."""
    return "".join(c if c.isprintable() or c in keep else "�" for c in text)


def quoted(text: str) -> str:
    """A string out of a file, as an error shows it: printable, and of a length that fits into a line."""
    return printable(text if len(text) <= 80 else f"{text[:80]}…")


def parse_object(text: str) -> dict[str, Any]:
    """The object in JSON out of a file.   Raises ValueError, with what the text is instead."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("no JSON") from error
    if not isinstance(parsed, dict):
        raise ValueError(f"a {type(parsed).__name__}")
    return parsed


# ---- reading ----


class ArrayFile:
    """An open safetensors file. Its header was read, its arrays were not: the checks come before `read`.

    name       of the file, as an error shows it
    metadata   strings by name, written by whoever wrote the file: quote them before they are shown
    """

    def __init__(self, path: Path, opened: Any, wanted: str) -> None:
        self.name, self._opened, self._wanted = printable(str(path)), opened, wanted
        self.metadata: dict[str, str] = opened.metadata() or {}

    def check_format(self, expected: str, version: str) -> None:
        """Compare what the metadata call the format and its version.   Raises FileError."""
        if (found := self.metadata.get("format")) != expected:
            got = "no format of xrnn" if found is None else f"format {quoted(found)}"
            raise FileError(f"{self.name} has {got}: expected {self._wanted}")
        if (found := self.metadata.get("version", "none")) != version:
            raise FileError(f"{self.name} has version {quoted(found)}: expected {version}; use the xrnn that wrote it")

    def check_dtypes(self, *allowed: str) -> None:
        """Raises FileError for an array of another dtype than these, by their names in safetensors files."""
        for name in self._opened.keys():  # noqa: SIM118
            if (dtype := str(self._opened.get_slice(name).get_dtype())) not in allowed:
                raise FileError(
                    f"{self.name} holds {quoted(name)} as {dtype}: expected {' or '.join(allowed)}; use another copy"
                )

    def check(self, expected: Mapping[str, Spec]) -> None:
        """Compare the header with `expected`: the same names, each of its shape and dtype.   Raises FileError."""
        names = set(self._opened.keys())
        for name in [*sorted(expected.keys() - names)[:1], *sorted(names - expected.keys())[:1]]:
            got = "has an array" if name in names else "lacks an array"
            raise FileError(
                f"{self.name} {got} {quoted(name)}: expected the {len(expected)} arrays that its "
                "metadata ask for, and no other; use another copy"
            )
        for name, spec in expected.items():
            found = self._opened.get_slice(name)
            dtype, shape = str(found.get_dtype()), tuple(found.get_shape())
            if (dtype, shape) != (_DTYPES[spec.dtype], spec.shape):
                raise FileError(
                    f"{self.name} holds {quoted(name)} as {dtype} {quoted(str(shape))}: expected "
                    f"{spec}, which its metadata ask for; use another copy"
                )

    def read(self) -> dict[str, HostArray]:
        """The arrays by name.   Raises FileError where they or the metadata don't give the digest beside them."""
        try:
            arrays = {name: self._opened.get_tensor(name) for name in self._opened.keys()}  # noqa: SIM118
        except (TypeError, ValueError) as error:  # more dimensions than NumPy has, or a dtype that it lacks
            raise FileError(
                f"{self.name} holds an array that NumPy can't hold ({quoted(str(error))}): expected float32 or "
                "float64 of few dimensions; use another copy"
            ) from error
        others = {name: value for name, value in self.metadata.items() if name != _DIGEST}
        if self.metadata.get(_DIGEST) != _digest(arrays, others):
            raise FileError(
                f"{self.name} was changed after it was written: expected content that gives its "
                "digest; use another copy"
            )
        return arrays


@contextlib.contextmanager
def open_arrays(path: Path, wanted: str) -> Iterator[ArrayFile]:
    """`with open_arrays(path, "weights; name a file that …") as file:` `wanted` is what errors expect, and a remedy.

    No more than the header is read. Raises FileError for what can't be read, is no regular file or no safetensors
    file, or is damaged: also from within the block, for what shows only there.
    """
    import safetensors  # here, since a program that saves nothing need not load it

    _look(path, wanted)
    try:
        with safetensors.safe_open(path, "numpy") as opened:
            yield ArrayFile(path, opened, wanted)
    except safetensors.SafetensorError as error:
        raise FileError(
            f"{printable(str(path))} is truncated or damaged ({quoted(str(error))}): expected a whole file; "
            "use another copy"
        ) from error


def _look(path: Path, wanted: str) -> None:
    """Refuse, from its first bytes, what can't be a safetensors file.   Raises FileError."""
    name = printable(str(path))
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            start = file.read(9) if regular else b""
    except OSError as error:
        raise FileError(f"can't read {name} ({error.strerror}): expected {wanted}") from error
    if not regular:
        raise FileError(f"{name} is no regular file: expected {wanted}")
    if start[8:] != b"{":  # eight bytes of the header's length, then the header, which is JSON
        raise FileError(f"{name} is not a safetensors file: expected {wanted}")


def _open_at_once(path: str, flags: int) -> int:
    """A FIFO would otherwise be waited for until somebody writes to it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _digest(arrays: Mapping[str, HostArray], metadata: Mapping[str, str]) -> str:
    sha = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        sha.update(f"{name} {array.dtype} {array.shape}".encode())
        sha.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


# ---- writing ----


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one piece, on the disk before the name points at it; a link or a mode stays.

    Raises OSError, with what was there before untouched and nothing left beside it.
    """
    path = real_path(path)
    with _written_aside(path, content) as aside:
        os.replace(aside, path)
    _sync_folder(path)


def replace_only(path: Path, content: bytes, found: Identity | None) -> Identity:
    """As `replace_file`, over nothing but the file `found`, or nothing at all → the identity of what is there then.

    Raises OccupiedError where another file is there by now, and OSError as `replace_file` does.
    """
    path = real_path(path)
    with _written_aside(path, content) as aside:
        written = identity(aside)
        assert written
        there = identity(path)
        if there is None:
            _link(aside, path)
        elif there == found:
            os.replace(aside, path)
        else:
            raise OccupiedError
    _sync_folder(path)
    return written


def identity(path: Path) -> Identity | None:
    """Which file `path` leads to, None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


def write_arrays(
    path: Path,
    arrays: Mapping[str, HostArray],
    metadata: Mapping[str, str],
    put: Callable[[Path, bytes], None] = replace_file,
) -> None:
    """`put` the arrays and the metadata, with a digest of both, at `path`.   Raises as `put` does."""
    import safetensors.numpy

    whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    digested = {**metadata, _DIGEST: _digest(whole, metadata)}
    put(path, safetensors.numpy.save(whole, digested))


def check_writable(path: Path) -> None:
    """Raises OSError where `replace_file` could not write to `path`."""
    path = real_path(path)
    with contextlib.suppress(FileNotFoundError):
        os.lstat(path)  # which fails for a name that is too long, as the one beside it is not
    with _aside(path):
        pass


@contextlib.contextmanager
def reserved(path: Path) -> Iterator[None]:
    """Within the block, no other process can reserve `path`. The file that says so ends with this process.

    Raises FileExistsError where another has reserved it, OSError as `check_writable` does.
    """
    path = real_path(path)
    name = hashlib.sha256(os.fsencode(os.path.normcase(path.name))).hexdigest()[:16]
    with _created(path.with_name(f".{name}{_PARTIAL}")):
        yield


def real_path(path: Path) -> Path:
    """`path` with every link followed; a link that leads nowhere or to itself is left as it is."""
    return Path(os.path.realpath(path))


@contextlib.contextmanager
def _written_aside(path: Path, content: bytes) -> Iterator[Path]:
    """A file beside `path` that holds `content` and has its mode, on the disk, and gone at the end of the block."""
    with _aside(path) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, file.name)
        if os.name == "nt":  # which renames no open file
            file.close()
        yield Path(file.name)


def _link(aside: Path, path: Path) -> None:
    """Give the file a second name, which must be new.   Raises OccupiedError."""
    try:
        os.link(aside, path)
    except FileExistsError as error:
        raise OccupiedError from error
    except OSError:  # this file system has no hard links, and so no way to rename over nothing only
        os.replace(aside, path)


def _sync_folder(path: Path) -> None:
    """Bring a rename to the disk, where the system lets a folder be opened. The file itself is there already."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):  # a folder may be written to that may not be read
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextlib.contextmanager
def _aside(path: Path) -> Iterator[BinaryIO]:
    """A new file beside `path`, gone at the end of the block unless it was renamed. Its name fits where `path` does.

    What killed processes left in the folder goes first.
    """
    _remove_leftovers(path.parent)
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(_created(path.with_name(f".{secrets.token_hex(8)}{_PARTIAL}")))
        except OSError as error:  # which names the file beside, of which nobody knows
            raise OSError(error.errno, error.strerror, str(path)) from error
        yield file


@contextlib.contextmanager
def _created(path: Path) -> Iterator[BinaryIO]:
    """A new file at `path`, gone at the end of the block unless it was renamed.   Raises FileExistsError.

    The lock tells the file from what a killed process left: it ends with the process that holds it, in whatever way
    that ends.
    """
    while True:
        _remove_leftover(path)
        file = path.open("xb")
        _lock(file, wait=True)
        if _lies_at(path, file):  # nobody took it for a leftover before it was locked
            break
        file.close()
    try:
        with file:
            try:
                yield file
            finally:
                if os.name == "posix":  # while it is locked, so that nobody puts another there in between
                    path.unlink(missing_ok=True)
    finally:
        if os.name != "posix":  # which removes no open file
            path.unlink(missing_ok=True)


def _lies_at(path: Path, file: BinaryIO) -> bool:
    return os.path.exists(path) and os.path.samestat(os.stat(path), os.fstat(file.fileno()))


def _remove_leftovers(folder: Path) -> None:
    names: list[str] = []
    with contextlib.suppress(OSError):  # a folder may be written to that may not be listed
        names = os.listdir(folder)
    for name in names:
        if name.startswith(".") and name.endswith(_PARTIAL):
            _remove_leftover(folder / name)


def _remove_leftover(path: Path) -> None:
    # It may be missing, being written, removed by another process, or not ours to remove.
    with contextlib.suppress(OSError):
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return
            _lock(file, wait=False)
            if os.name == "posix" and _lies_at(path, file):
                path.unlink()
        if os.name != "posix":
            path.unlink()


def _lock(file: BinaryIO, *, wait: bool) -> None:
    """Raises OSError where another process holds the lock, or the file system has none, and `wait` is False."""
    if fcntl is None:
        return
    with contextlib.suppress(OSError) if wait else contextlib.nullcontext():
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
