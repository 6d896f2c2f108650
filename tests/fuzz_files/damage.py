"""Random damage to the bytes of a file, and random changes to a file whose digest is right."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from typing import Any

from tests.safetensors_bytes import Forgery, Tensor

# Replacements for a value.
VALUES: list[Any] = [
    *(0, 1, -1, 2, 3, 255, 256, 2**31, 2**63, 2**64, 10**30, 0.5, 1e999, True, None),
    *("", "3", "\x1b[2J", [], {}),
]
DTYPES = ["F32", "F64", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I8", "U8", "I32", "I64", "BOOL", "C64", "F4", "", "f32"]


# ---- damage ----


def damaged(content: bytes, rng: random.Random) -> bytes:
    """The content, changed in a random way; the digest in it is not updated."""
    ways: list[Callable[[], bytes]] = [
        lambda: bytes_changed(content, rng, len(content)),
        lambda: bytes_changed(content, rng, 3000),
        lambda: bytes_changed(content, rng, 9),
        lambda: cut(content, rng),
        lambda: header_changed(content, rng),
    ]
    return rng.choice(ways)()


def bytes_changed(content: bytes, rng: random.Random, where: int) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(min(where, len(changed)))] = rng.randrange(256)
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    """The end or a part of the middle is missing, or is repeated."""
    start, end = sorted(rng.randrange(len(content)) for _ in range(2))
    return rng.choice([content[:start], content[:start] + content[end:], content[:end] + content[start:]])


def header_changed(content: bytes, rng: random.Random) -> bytes:
    """A piece of the header's JSON is replaced by one of any length; the length field may be updated."""
    size = struct.unpack("<Q", content[:8])[0]
    header = content[8 : 8 + size]
    start = rng.randrange(size)
    piece = rng.choice([b"", b'"', b"{", b"}", b"[" * 1000, b"null", b"-1", b"1e400", b"9" * 30, b"\xff", b"\\ud800"])
    header = header[:start] + piece + header[start + rng.choice([0, 1, 5]) :]
    return struct.pack("<Q", rng.choice([size, len(header), 2**63, 0])) + header + content[8 + size :]


# ---- forgeries, whose digest is right ----


def change(forgery: Forgery, rng: random.Random) -> None:
    """Change the description, the metadata or a tensor, once or twice."""
    for way in rng.choices([change_json, change_json, change_metadata, change_tensor], k=rng.choice([1, 1, 2])):
        way(forgery, rng)


def change_tensor(forgery: Forgery, rng: random.Random) -> None:
    name = rng.choice(list(forgery.tensors))
    tensor = forgery.tensors[name]

    def other_shape() -> None:
        tensor.shape = [rng.choice([0, 1, 3, 64, 2**31, 2**63 - 1]) for _ in range(rng.choice([0, 1, 2, 3, 65]))]

    def other_dtype() -> None:
        tensor.dtype = rng.choice(DTYPES)

    def other_content() -> None:
        if tensor.content:
            tensor.content = bytes_changed(tensor.content, rng, len(tensor.content))

    def another_name() -> None:
        other = forgery.tensors.pop(name)
        forgery.tensors[rng.choice(["", f"{name}9", "\x1b[2J", "x" * 10_000])] = other

    def fitting_tensor() -> None:
        shape = [rng.randint(0, 5) for _ in range(rng.randint(0, 3))]
        size = 4
        for length in shape:
            size *= length
        forgery.tensors[name] = Tensor("F32", shape, bytes(size))

    rng.choice([other_shape, other_dtype, other_content, another_name, fitting_tensor])()


def change_metadata(forgery: Forgery, rng: random.Random) -> None:
    forgery.metadata[rng.choice(list(forgery.whole_metadata()))] = str(rng.choice(VALUES))


def change_json(forgery: Forgery, rng: random.Random) -> None:
    names = ("layer", "checkpoint")
    name = rng.choice([name for name in names if name in forgery.metadata])
    try:
        forgery.metadata[name] = json.dumps(change_value(json.loads(forgery.metadata[name]), rng))
    except (ValueError, RecursionError):  # an earlier change left no JSON, or this change made a cycle
        forgery.metadata[name] = "[" * 1000


def change_value(tree: Any, rng: random.Random) -> Any:
    """The JSON tree with one value changed, at any depth."""
    if not isinstance(tree, dict | list) or not tree or rng.random() < 0.1:
        return rng.choice(VALUES)
    key = rng.choice(list(tree) if isinstance(tree, dict) else range(len(tree)))
    if (chance := rng.random()) < 0.1:
        del tree[key]
    elif chance < 0.2 and isinstance(tree, dict):
        tree[rng.choice(["kind", "x", "step", "options"])] = rng.choice([tree, *VALUES]) if chance < 0.15 else tree[key]
    elif chance < 0.2:
        tree.append(tree[key])  # type: ignore[union-attr]
    else:
        tree[key] = change_value(tree[key], rng)
    return tree
