"""Find the text, hold out a part of it, and cut the rest into chunks."""

from __future__ import annotations

import hashlib
import os
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from xrnn.files import real_path
from xrnn.models.errors import DataError, file_errors, param
from xrnn.typing import HostArray

HELD_OUT: Final = 0.05  # of the files, or of the bytes if there are few files
_PIECE: Final = 2**20  # bytes read at a time
_FEW: Final = 20  # 5 % of fewer files is less than one
_OUTSIDE_THE_LIBRARY: Final = {"site-packages", "test", "tests"}


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file of the corpus. Its name is relative to the given folder, so it does not change if the folder moves."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """Bytes to train on and held-out bytes, each (size,) uint8, and their origin."""

    train: HostArray
    held_out: HostArray
    source: str  # a description in one line
    fingerprint: str  # the same if the bytes and their split are the same
    facts: None = None  # the model depends on no property of the text


def load_corpus(paths: Sequence[Path] = (), refusal: Callable[[bytes], str] = lambda content: "") -> Corpus:
    """The text of files and folders; without any, the source code of Python's standard library.

    A folder gives its files at any depth, sorted by name, except hidden and binary ones (those with a NUL byte).

    refusal   Returns the reason to skip the content, or ""

    Raises DataError for a missing path, an unreadable file, a named file that is binary, and too little text.
    """
    files, skipped = _read_paths(paths, refusal) if paths else (_standard_library(), 0)
    if not any(file.content for file in files):
        where = ", ".join(map(str, paths)) or "the standard library"
        raise DataError(
            f"found no text in {where} ({len(files)} empty files, {skipped} binary): expected text files; "
            "name others, or none for Python's standard library"
        )
    train, held_out, split = _hold_out(files)
    if len(held_out) < 2:
        total = len(train) + len(held_out)
        raise DataError(
            f"the text has {total:,} bytes, of which {len(held_out)} would be held out: expected at least 2 there; "
            "give more text"
        )
    source = f"{len(files):,} file{'s' * (len(files) > 1)}, {len(train) + len(held_out):,} bytes; {split}"
    if skipped:
        source += f"; skipped {skipped:,} binary or special files"
    return Corpus(train, held_out, source, _fingerprint(train, held_out))


class Streams:
    """N streams start at N evenly spaced places of a text, and read it cyclically, T bytes per step.

    chunk(k)[t, n] = text[(n · size // N + k · T + t) mod size],  0 ≤ t ≤ T: inputs [:-1] and targets [1:].

    The positions are a function of the step, the chunks of a stream are contiguous, and no byte is left out.
    Raises DataError if the first chunks would overlap.
    """

    def __init__(self, text: HostArray, seq_len: int, batch: int) -> None:
        needed = batch * (seq_len + 1)
        if len(text) < needed:
            raise DataError(
                f"the text to train on has {len(text):,} bytes: expected at least {needed:,} for one chunk "
                f"({param('batch')} {batch} × ({param('seq_len')} {seq_len} + 1)); give more text, or lower one of them"
            )
        self._text = text
        self._stride = seq_len
        starts = np.arange(batch, dtype=np.int64) * len(text) // batch
        self._first = starts + np.arange(seq_len + 1)[:, None]

    def chunk(self, step: int) -> HostArray:
        """(T+1, N) int32: the bytes of step `step`, and the one after them."""
        index = (self._first + step * self._stride) % len(self._text)
        chunk: HostArray = self._text[index].astype(np.int32)
        return chunk


def _standard_library() -> list[TextFile]:
    root = Path(sysconfig.get_paths()["stdlib"])
    names = (
        name
        for name in _names_under(root)
        if name.endswith(".py") and not _OUTSIDE_THE_LIBRARY & set(name.split("/")[:-1])
    )
    return [TextFile(name, content) for name in names if (content := _read(root / name)) is not None]


def _read_paths(paths: Iterable[Path], refusal: Callable[[bytes], str]) -> tuple[list[TextFile], int]:
    """The text files under `paths`, each once, and the number of skipped ones."""
    files: list[TextFile] = []
    seen: set[Path] = set()
    skipped = 0
    for path in paths:
        named = not os.path.isdir(path)
        if named and not os.path.isfile(path):
            got = "is neither a file nor a folder" if os.path.lexists(path) else "doesn't exist"
            raise DataError(f"{path} {got}: expected a text file or a folder of them; check the path")
        for name in [path.name] if named else _names_under(path):
            file = path if named else path / name
            real = real_path(file)
            if real in seen:  # named twice, or with its folder: held-out text must not be in the training text
                continue
            seen.add(real)
            content = _read(file) if os.path.isfile(file) else None
            got = "is binary (it has a NUL byte)" if content is None else refusal(content)
            if content is not None and not got:
                files.append(TextFile(name, content))
            elif named:
                raise DataError(f"{path} {got}: expected text; name a text file")
            else:
                skipped += 1
    return files, skipped


def _names_under(root: Path) -> list[str]:
    """The files at any depth under `root`, as sorted relative names with `/`, without hidden ones."""

    def refuse(error: OSError) -> None:
        raise DataError(
            f"can't list {error.filename} ({error.strerror}): expected a readable folder; change its "
            "permissions or leave it out"
        ) from error

    names: list[str] = []
    for folder, subfolders, files in os.walk(root, onerror=refuse):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        relative = Path(folder).relative_to(root)
        names += [(relative / name).as_posix() for name in files if not name.startswith(".")]
    return sorted(names)


def _read(file: Path) -> bytes | None:
    """The content of `file`, or None if it is binary: reading stops at the first piece with a NUL byte."""
    pieces: list[bytes] = []
    expected = "expected a readable text file; change its permissions or leave it out"
    with file_errors(DataError, "read", file, expected), file.open("rb") as opened:
        while piece := opened.read(_PIECE):
            if b"\0" in piece:
                return None
            pieces.append(piece)
    return b"".join(pieces)


def _hold_out(files: Sequence[TextFile]) -> tuple[HostArray, HostArray, str]:
    """Bytes to train on, held-out bytes, and a description of the split."""
    if len(files) < _FEW:
        text = _joined(files)
        cut = len(text) - int(len(text) * HELD_OUT)
        return text[:cut], text[cut:], f"held out: the last {len(text) - cut:,} bytes (5 %, since there are few files)"
    # The files with the lowest hashes, instead of all below a threshold: so it is always 5 %, and at least one file.
    by_hash = sorted(files, key=lambda file: hashlib.blake2b(os.fsencode(file.name)).digest())
    chosen = {file.name for file in by_hash[: round(len(files) * HELD_OUT)]}
    held = [file for file in files if file.name in chosen]
    train, held_out = _joined([file for file in files if file.name not in chosen]), _joined(held)
    return train, held_out, f"held out: {len(held)} files of {len(held_out):,} bytes, by a hash of their path"


def _joined(files: Iterable[TextFile]) -> HostArray:
    return np.frombuffer(b"".join(file.content for file in files), dtype=np.uint8)


def _fingerprint(train: HostArray, held_out: HostArray) -> str:
    return hashlib.sha256(b"%d:" % len(train) + train.tobytes() + held_out.tobytes()).hexdigest()
