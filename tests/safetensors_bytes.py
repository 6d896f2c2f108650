"""Takes safetensors files apart and writes them byte by byte, so that tests can forge files with a right digest."""

from __future__ import annotations

import hashlib
import json
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_DTYPES = {"float16": "F16", "float32": "F32", "float64": "F64", "int32": "I32", "int64": "I64", "int8": "I8"}


@dataclass
class Tensor:
    dtype: str
    shape: list[int]
    content: bytes

    @classmethod
    def of(cls, array: Any) -> Tensor:
        return cls(_DTYPES[array.dtype.name], list(array.shape), array.tobytes())


@dataclass
class Forgery:
    """The content of a file, to be changed by a test. Its digest is always valid."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, content: bytes) -> Forgery:
        start = 8 + struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8:start])
        metadata = dict(sorted(header.pop("__metadata__").items()))  # safetensors writes them in random order
        del metadata["digest"]
        tensors = {
            name: Tensor(each["dtype"], each["shape"], content[start:][slice(*each["data_offsets"])])
            for name, each in header.items()
        }
        return cls(tensors, metadata)

    def whole_metadata(self) -> dict[str, str]:
        return self.metadata

    def to_bytes(self) -> bytes:
        metadata = self.whole_metadata()
        names = {code: name for name, code in _DTYPES.items()}
        sha = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
        for name, tensor in sorted(self.tensors.items()):
            sha.update(f"{name} {names.get(tensor.dtype, tensor.dtype)} {tuple(tensor.shape)}".encode())
            sha.update(tensor.content)
        header: dict[str, Any] = {"__metadata__": metadata | {"digest": sha.hexdigest()}}
        content = b""
        # The widest elements come first, so that all elements are aligned.
        for name, tensor in sorted(self.tensors.items(), key=lambda item: item[1].dtype != "F64"):
            start, content = len(content), content + tensor.content
            header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, len(content)]}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text + content

    def write(self, path: Path) -> Path:
        path.write_bytes(self.to_bytes())
        return path


def tensor(name: str, dtype: str, shape: list[int], content: bytes) -> Callable[[Forgery], None]:
    return lambda forgery: forgery.tensors.update({name: Tensor(dtype, shape, content)})


def without(name: str) -> Callable[[Forgery], None]:
    return lambda forgery: forgery.tensors.__delitem__(name)


def changed(entry: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Forgery], None]:
    """A change of the JSON object in this entry of the metadata."""

    def apply(forgery: Forgery) -> None:
        description = json.loads(forgery.metadata[entry])
        change(description)
        forgery.metadata[entry] = json.dumps(description)

    return apply


@contextmanager
def little_memory(path: Path, allowance: int) -> Iterator[None]:
    """Fails if the block allocates more than three times the file's size plus `allowance` bytes."""
    tracemalloc.start()
    try:
        yield
        peak, size = tracemalloc.get_traced_memory()[1], path.stat().st_size
    finally:
        tracemalloc.stop()
    assert peak <= 3 * size + allowance, f"{peak:,} bytes of memory for a file of {size:,}"
