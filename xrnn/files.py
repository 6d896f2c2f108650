"""Reading and writing files. The header is checked before the arrays are read, and files are replaced atomically.

Arrays are stored in safetensors files: a header with the name, shape and dtype of each array, then their bytes.
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
from pathlib import Path
from typing import Any, Final

import numpy as np

from xrnn.checks import check_bool
from xrnn.typing import HostArray

_PARTIAL: Final = ".xrnn.partial"
_DIGEST: Final = "digest"  # the metadata key of the SHA-256 of the arrays and of the other metadata


class FileError(ValueError):
    """A file can't be read, or has unexpected content. The message is one line."""


def printable(text: str, *, keep: str = "") -> str:
    """`text` with � for each unprintable character (terminal control sequences too) that is not in `keep`."""
    return "".join(c if c.isprintable() or c in keep else "�" for c in text)


def quoted(text: str) -> str:
    """A string from a file, for an error message: printable, and cut to 80 characters."""
    return printable(text if len(text) <= 80 else f"{text[:80]}…")


def parse_object(text: str) -> dict[str, Any]:
    """The JSON object that `text` holds.   Raises ValueError, which says what it holds instead."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("no JSON") from error
    if not isinstance(parsed, dict):
        raise ValueError(f"a {type(parsed).__name__}")
    return parsed


# ---- reading ----


class ArrayFile:
    """An open safetensors file. Only its header was read: call the checks before `read`.

    name       of the file, printable
    wanted     for errors: see `open_arrays`
    metadata   strings by name, from the file: use `quoted` to show them
    """

    def __init__(self, path: Path, opened: Any, wanted: str) -> None:
        self.name = printable(str(path))
        self.wanted = wanted
        self._opened = opened
        self.metadata: dict[str, str] = opened.metadata() or {}

    def check_format(self, expected: str, version: str) -> None:
        """Compare the format and version in the metadata.   Raises FileError."""
        if (found := self.metadata.get("format")) != expected:
            got = "no format of xrnn" if found is None else f"format {quoted(found)}"
            raise FileError(f"{self.name} has {got}: expected {self.wanted}")
        if (found := self.metadata.get("version", "none")) != version:
            raise FileError(f"{self.name} has version {quoted(found)}: expected {version}; use the xrnn that wrote it")

    def check_dtypes(self, *allowed: str) -> None:
        """Raises FileError for an array of another dtype than these, by their names in safetensors files."""
        for name in self._opened.keys():  # noqa: SIM118
            if (dtype := str(self._opened.get_slice(name).get_dtype())) not in allowed:
                raise FileError(
                    f"{self.name} holds {quoted(name)} as {dtype}: expected {', '.join(allowed)}; use another copy"
                )

    def read(self) -> dict[str, HostArray]:
        """The arrays by name.   Raises FileError if the arrays and the metadata do not match the digest."""
        try:
            arrays = {name: self._opened.get_tensor(name) for name in self._opened.keys()}  # noqa: SIM118
        except (TypeError, ValueError) as error:  # more dimensions than NumPy allows, or an unsupported dtype
            raise FileError(
                f"{self.name} holds an array that NumPy does not support ({quoted(str(error))}): expected float32 or "
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
    """`with open_arrays(path, "weights; name a file that …") as file:` reads the header.

    wanted   for errors: the expected content and the remedy

    Raises FileError if the file can't be read, is not a regular file or not a safetensors file, or is damaged. Some
    damage appears, and raises it, only in the block.
    """
    import safetensors  # here, so that `import xrnn` does not load it

    _check_start(path, wanted)
    try:
        with safetensors.safe_open(path, "numpy") as opened:
            yield ArrayFile(path, opened, wanted)
    except safetensors.SafetensorError as error:
        raise FileError(
            f"{printable(str(path))} is truncated or damaged ({quoted(str(error))}): expected a complete file; "
            "use another copy"
        ) from error


def format_in(path: Path) -> str:
    """The format that the header of a safetensors file names; empty for other files."""
    try:
        with open_arrays(path, "") as file:
            return file.metadata.get("format", "")
    except FileError:
        return ""


def holds_arrays(path: Path) -> bool:
    """Whether `path` is a file that begins as a safetensors file."""
    try:
        _check_start(path, "")
    except FileError:
        return False
    return True


def _check_start(path: Path, wanted: str) -> None:
    """Reject a file that does not begin as a safetensors file.   Raises FileError."""
    name = printable(str(path))
    try:
        with open(path, "rb", opener=_open_nonblocking) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            start = file.read(9) if regular else b""
    except OSError as error:
        raise FileError(f"can't read {name} ({error.strerror}): expected {wanted}") from error
    if not regular:
        raise FileError(f"{name} is not a regular file: expected {wanted}")
    if start[8:] != b"{":  # 8 bytes for the length of the header, then the header, a JSON object
        raise FileError(f"{name} is not a safetensors file: expected {wanted}")


def read_regular(
    path: Path, failure: str, wanted: str, offset: int = 0, size: int = -1, *, links: bool = True
) -> bytes:
    """The content of a regular file, or `size` bytes of it.   Raises FileError.

    failure, wanted   the beginning and the end of errors
    links             whether `path` may be a link
    """
    try:
        with open(path, "rb", opener=_open_nonblocking if links else _open_no_link) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or not (links or not path.is_symlink()):
                raise FileError(f"{failure} (not a regular file): expected {wanted}")
            if status.st_size < offset + size:
                raise FileError(f"{failure} (the file is too short): expected {wanted}")
            file.seek(offset)
            return file.read(size)
    except OSError as error:
        raise FileError(f"{failure} ({error.strerror}): expected {wanted}") from error


def _open_nonblocking(path: str, flags: int) -> int:
    """Without O_NONBLOCK, opening a FIFO blocks until another process writes to it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _open_no_link(path: str, flags: int) -> int:
    return _open_nonblocking(path, flags | getattr(os, "O_NOFOLLOW", 0))


def _digest(arrays: Mapping[str, HostArray], metadata: Mapping[str, str]) -> str:
    sha = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        sha.update(f"{name} {array.dtype} {array.shape}".encode())
        sha.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


# ---- writing ----


def write_own(
    path: str | os.PathLike[str], content: bytes, writer: str, has_mark: Callable[[Path], bool], *, overwrite: bool
) -> None:
    """The rule of all functions that write a file: as `write_file`, and an existing file needs the mark of its writer.

    writer     the name of the function: "xrnn.save"
    has_mark   path → whether the file there has the mark of this function
    overwrite  replace any other file too
    """
    if os.fspath(path).endswith(("/", os.sep)):  # `Path` would remove the slash
        raise IsADirectoryError(
            f"{printable(os.fspath(path))} is a folder's name: expected that of a file; name one in it"
        )
    refusal = f"already exists, and {writer} did not write it: choose another name, or pass overwrite=True"
    may_replace = (lambda _: True) if check_bool("overwrite", overwrite) else has_mark
    write_file(Path(path), content, may_replace, refusal)


def write_file(path: Path, content: bytes, may_replace: Callable[[Path], bool], refusal: str) -> None:
    """Write `content` to `path`. At any moment, `path` is the old file or the complete new one.

    may_replace, refusal   see `check_output`, which is called before the content is written, and again before the file
                           gets its name

    Links are followed, and the mode of the old file is kept. The content is on the disk before the file gets its name.
    Raises OSError, with the old file unchanged.
    """
    check_output(path, may_replace, refusal)
    target = real_path(path)
    with _temporary_file(target) as temporary:
        _write(temporary, content)
        check_output(path, may_replace, refusal)
        with contextlib.suppress(FileNotFoundError):  # a new file
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    _sync_folder(target)


def check_output(path: Path, may_replace: Callable[[Path], bool], refusal: str) -> None:
    """Check that `path` is a new name, or a file that may be replaced.

    may_replace   path → whether the file there may be replaced; an empty file may always be
    refusal       for the error about another file, after its name: "exists: expected …"

    Raises FileExistsError for another file, PermissionError for a read-only file, and OSError for a folder, a device, a
    pipe and a socket.
    """
    _check_regular(path)
    if not os.path.exists(path):
        return
    if not os.access(path, os.W_OK):
        raise PermissionError(
            f"can't write {printable(str(path))}: expected a writable file, but it is read-only; make it writable, or "
            "name another"
        )
    if os.path.getsize(path) and not may_replace(path):
        raise FileExistsError(f"{printable(str(path))} {refusal}")


def arrays_content(arrays: Mapping[str, HostArray], metadata: Mapping[str, str]) -> bytes:
    """The content of a safetensors file with the arrays and the metadata, and a digest of both."""
    import safetensors.numpy

    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    content = safetensors.numpy.save(contiguous, {**metadata, _DIGEST: _digest(contiguous, metadata)})
    # The library writes the metadata in a random order. They are sorted, so that the same values give the same file.
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    ordered = json.dumps(header, separators=(",", ":")).encode()
    ordered += b" " * (-len(ordered) % 8)  # aligns the arrays
    return b"".join((len(ordered).to_bytes(8, "little"), ordered, memoryview(content)[8 + size :]))


def check_writable(path: Path) -> None:
    """Raises OSError if `write_file` could not write a new file to `path`."""
    _check_regular(path)
    with _temporary_file(real_path(path)):
        pass


def _check_regular(path: Path) -> None:
    """Raises OSError if `path` leads to anything but a regular file or a new name.

    A rename would replace a device by a file, for example /dev/null.
    """
    try:
        mode = os.stat(path).st_mode  # also fails if the name is too long, unlike that of the temporary file
    except FileNotFoundError:
        return
    expected = f"can't write {printable(str(path))}: expected the name of a file, but it is"
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{expected} a folder; name a file in it")
    if not stat.S_ISREG(mode):
        raise FileExistsError(f"{expected} a device, a pipe or a socket; name another")


def real_path(path: Path) -> Path:
    """`path` with all links followed, except a link to nothing or to itself."""
    return Path(os.path.realpath(path))


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to the same file, or would if it existed."""
    if os.path.exists(one) and os.path.exists(other):
        return os.path.samefile(one, other)
    return os.path.normcase(real_path(one)) == os.path.normcase(real_path(other))


@contextlib.contextmanager
def _temporary_file(path: Path) -> Iterator[Path]:
    """A new, empty file in the folder of `path`. At the end of the block it is removed, unless it was renamed."""
    temporary = path.with_name(f".{secrets.token_hex(8)}{_PARTIAL}")
    try:
        temporary.open("xb").close()
    except OSError as error:  # its message would name the temporary file
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    """Write a rename to the disk, on systems that can open a folder. The file's content is there already."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):  # a folder can be writable but not readable
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
