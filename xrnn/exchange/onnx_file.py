"""Reading ONNX files from any source: sizes are checked before anything is allocated, and no code runs."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from xrnn.files import FileError, printable, quoted, read_regular
from xrnn.messages import kind_of
from xrnn.typing import HostArray

DEEPEST: Final = 8  # dimensions of an array
_MOST_NODES: Final = 2048
_WANTED: Final = "an ONNX model; name a file that an exporter wrote"
_BESIDE: Final = "use a model with its data inside, or in a file beside it"


def read_model(onnx: Any, source: Any) -> tuple[Any, str, Path | None]:
    """The onnx.ModelProto in a file, or `source` if it is one already; its name for errors; its folder, if it has one.

    Raises FileError for a file that can't be read or is no ONNX model, TypeError for other objects.
    """
    if isinstance(source, onnx.ModelProto):
        model = source
        name = "the model"
        folder = None
    elif isinstance(source, str | os.PathLike):
        path = Path(source)
        name = printable(str(path))
        folder = path.parent
        content = read_regular(path, f"can't read {name}", _WANTED)
        try:
            model = onnx.ModelProto.FromString(content)
        except Exception as error:  # protobuf has several implementations, with different exceptions
            raise FileError(f"{name} is not an ONNX model ({quoted(str(error))}): expected {_WANTED}") from error
    else:
        raise TypeError(f"source is a {kind_of(source)}: expected a path, or an onnx.ModelProto")
    if not 1 <= len(model.graph.node) <= _MOST_NODES:
        raise FileError(
            f"{name} has {len(model.graph.node):,} nodes: expected 1 to {_MOST_NODES:,}; name another model"
        )
    if not all(isinstance(text, str) for text in _texts(model)):  # bytes, if they are not UTF-8
        raise FileError(f"{name} holds a name that is not UTF-8: expected {_WANTED}")
    return model, name, folder


def _texts(model: Any) -> Iterator[Any]:
    """The names in a model."""
    graph = model.graph
    tensors = list(graph.initializer)
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
        tensors += [attribute.t for attribute in node.attribute]
    for tensor in tensors:
        yield from (tensor.name, *(text for entry in tensor.external_data for text in (entry.key, entry.value)))
    for value in (*graph.input, *graph.output):
        yield from (value.name, *(dim.dim_param for dim in value.type.tensor_type.shape.dim))
    yield from (opset.domain for opset in model.opset_import)


class Constants:
    """Decodes the tensors that a model stores.

    folder     the folder of the model, which may hold its external data; None for a model without a file
    elements   the number of elements decoded so far
    """

    def __init__(self, onnx: Any, folder: Path | None) -> None:
        self._onnx = onnx
        self._folder = folder
        self.elements = 0
        kinds = onnx.TensorProto
        self.kinds = (kinds.FLOAT, kinds.DOUBLE, kinds.INT64, kinds.INT32, kinds.BOOL)

    def array(self, tensor: Any) -> HostArray:
        """Raises FileError for other types, and for content that does not fit the dimensions."""
        the = f"the tensor '{quoted(tensor.name)}'"
        dims = tuple(tensor.dims)
        helper = self._onnx.helper
        if tensor.data_type not in self.kinds:
            raise FileError(
                f"{the} has the type {tensor.data_type}: expected float32 (1), float64 (11), int64 (7), int32 "
                "(6) or bool (9); convert it before the export"
            )
        dtype = self.dtype(tensor.data_type).newbyteorder("<")
        count = math.prod(dims)
        if len(dims) > DEEPEST or any(size < 0 for size in dims):
            raise FileError(f"{the} has the shape {quoted(str(dims))}: expected at most {DEEPEST} sizes of at least 0")
        if tensor.data_location == self._onnx.TensorProto.EXTERNAL:
            content: Any = self._external(tensor, the, count * dtype.itemsize)
        elif tensor.HasField("raw_data"):
            content = tensor.raw_data
        else:
            content = getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type))
        raw = isinstance(content, bytes)
        if len(content) != count * (dtype.itemsize if raw else 1):
            got = f"{len(content)} {'bytes' if raw else 'numbers'}"
            raise FileError(f"{the} holds {got}: expected those of its shape, {quoted(str(dims))}; use another copy")
        self.elements += count
        array = np.frombuffer(content, dtype) if raw else np.array(content, dtype)
        return array.reshape(dims).astype(dtype.newbyteorder("="), copy=False)

    def dtype(self, kind: int) -> np.dtype[Any]:
        """NumPy's dtype for one of ONNX's `kinds`."""
        return np.dtype(self._onnx.helper.tensor_dtype_to_np_dtype(kind))

    def _external(self, tensor: Any, the: str, size: int) -> bytes:
        """Data in another file, which must be beside the model, and no link."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location, offset, length = (entries.get(key, default) for key, default in _EXTERNAL.items())
        if self._folder is None:
            raise FileError(f"{the} is in another file: expected its data in the model; pass the model's path")
        if location in ("", ".", "..") or set(location) & set("/\\\0:"):
            raise FileError(f"{the} is in '{quoted(location)}': expected a file beside the model; {_BESIDE}")
        if not (offset.isascii() and offset.isdecimal() and len(offset) <= 15 and length in ("", str(size))):
            raise FileError(
                f"{the} has the offset {quoted(offset)} and length {quoted(length)}: expected {size} bytes, by its "
                "shape; use another copy"
            )
        failure = f"can't read {the} from '{quoted(location)}'"
        return read_regular(self._folder / location, failure, _BESIDE[4:], int(offset), size, links=False)


_EXTERNAL: Final = {"location": "", "offset": "0", "length": ""}


def refused(node: Any, got: str, expected: str) -> FileError:
    """The error for a node: `the node 'rnn' (RNN) has …: expected …`."""
    operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    name = node.name or (node.output[0] if node.output else "")
    return FileError(f"the node '{quoted(name)}' ({quoted(operator)}) {quoted(got)}: expected {expected}")
