"""Damaged checkpoints without end: `python -m tests.jobs.charlm.fuzz [--seed 0] [--files 10000]`.

Loading one gives a snapshot that its settings describe, or a CheckpointError on one line, and never takes memory
beyond the file's size. A file for which that does not hold is kept, and its name printed.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.forge import Tensor
from tests.jobs.charlm.forge import Forgery
from xrnn.jobs.charlm.checkpoint import CHECKPOINTS, specs
from xrnn.jobs.charlm.settings import Settings
from xrnn.jobs.checkpoint import Snapshot
from xrnn.jobs.errors import CheckpointError

# What stands in a file where another of its kind was.
VALUES: list[Any] = [
    0,
    1,
    -1,
    2,
    3,
    255,
    256,
    2**31,
    2**63,
    2**64,
    10**30,
    0.5,
    1e999,
    True,
    None,
    "",
    "3",
    "\x1b[2J",
    [],
    {},
]
DTYPES = ["F32", "F64", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I8", "U8", "I32", "I64", "BOOL", "C64", "F4", "", "f32"]
ALLOWANCE = 200_000  # bytes: for headers of any kind, as Python objects


def bytes_changed(content: bytes, rng: random.Random, where: int) -> bytes:
    """A few bytes before `where` take another value."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(min(where, len(changed)))] = rng.randrange(256)
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    """The end, or a part of the middle, is missing, or stands there twice."""
    start, end = sorted(rng.randrange(len(content)) for _ in range(2))
    return rng.choice([content[:start], content[:start] + content[end:], content[:end] + content[start:]])


def header_changed(content: bytes, rng: random.Random) -> bytes:
    """A piece of the header's JSON is another one, of whatever length; the length before it may follow."""
    size = struct.unpack("<Q", content[:8])[0]
    header = content[8 : 8 + size]
    start = rng.randrange(size)
    piece = rng.choice([b"", b'"', b"{", b"}", b"[" * 1000, b"null", b"-1", b"1e400", b"9" * 30, b"\xff", b"\\ud800"])
    header = header[:start] + piece + header[start + rng.choice([0, 1, 5]) :]
    return struct.pack("<Q", rng.choice([size, len(header), 2**63, 0])) + header + content[8 + size :]


def forgery_changed(rng: random.Random) -> bytes:
    """Settings, step, metadata or a tensor are others, and the digest is right."""
    forgery = Forgery()
    name = rng.choice(list(forgery.tensors))
    tensor = forgery.tensors[name]

    def other_setting() -> None:
        forgery.settings[rng.choice([*forgery.settings, "seed", "cell", "x"])] = rng.choice(VALUES)

    def other_step() -> None:
        forgery.step = str(rng.choice(VALUES))

    def other_metadata() -> None:
        forgery.metadata[rng.choice(["format", "version", "settings", "fingerprint", "step"])] = str(rng.choice(VALUES))

    def other_shape() -> None:
        tensor.shape = [rng.choice([0, 1, 3, 64, 2**31, 2**63 - 1]) for _ in range(rng.choice([0, 1, 2, 3, 65]))]

    def other_dtype() -> None:
        tensor.dtype = rng.choice(DTYPES)

    def other_content() -> None:
        tensor.content = bytes_changed(tensor.content, rng, len(tensor.content))

    def another_tensor() -> None:
        other = forgery.tensors.pop(name)
        forgery.tensors[rng.choice(["", "model.rnn9.b", "\x1b[2J", "x" * 10_000])] = other

    def fitting_tensor() -> None:
        shape = [rng.randint(0, 5) for _ in range(rng.randint(0, 3))]
        size = 4
        for length in shape:
            size *= length
        forgery.tensors[name] = Tensor("F32", shape, bytes(size))

    changes: list[Callable[[], None]] = [
        *(other_setting, other_step, other_metadata, other_shape, other_dtype, other_content),
        *(another_tensor, fitting_tensor),
    ]
    for change in rng.sample(changes, rng.choice([1, 1, 2])):
        change()
    return forgery.to_bytes()


def damaged(rng: random.Random) -> bytes:
    """A checkpoint that was changed in one way or another."""
    whole = Forgery().to_bytes()
    ways: list[Callable[[], bytes]] = [
        lambda: bytes_changed(whole, rng, len(whole)),
        lambda: bytes_changed(whole, rng, 3000),
        lambda: bytes_changed(whole, rng, 9),
        lambda: cut(whole, rng),
        lambda: header_changed(whole, rng),
        lambda: forgery_changed(rng),
        lambda: forgery_changed(rng),
    ]
    return rng.choice(ways)()


def check(path: Path) -> str:
    """Load what is at `path` → "loaded" or "refused".   Raises AssertionError where neither is right."""
    size = path.stat().st_size
    loaded: Snapshot[Settings] | CheckpointError
    tracemalloc.start()
    try:
        loaded = CHECKPOINTS.load(path)
    except CheckpointError as error:
        loaded = error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak <= 3 * size + ALLOWANCE, f"{peak:,} bytes of memory for a file of {size:,}"
    if isinstance(loaded, CheckpointError):
        assert str(loaded).isprintable(), repr(str(loaded))
        return "refused"
    expected = specs(loaded.settings, None, loaded.step)
    assert {name: array.shape for name, array in loaded.arrays.items()} == {n: s.shape for n, s in expected.items()}
    return "loaded"


def run(folder: Path, seed: int, files: int) -> dict[str, int]:
    """Check so many damaged files in `folder`, where one that fails the check stays → how often each outcome was."""
    outcomes = {"loaded": 0, "refused": 0}
    for i in range(files):
        path = folder / f"damaged-{seed}-{i}.safetensors"
        path.write_bytes(damaged(random.Random(f"{seed} {i}")))
        outcomes[check(path)] += 1
        path.unlink()
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.jobs.charlm.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", type=int, default=10_000)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="xrnn-fuzz-"))
    try:
        print(run(folder, options.seed, options.files))
    except BaseException:
        print(f"kept: {folder}", file=sys.stderr)
        raise
    folder.rmdir()


if __name__ == "__main__":
    main()
