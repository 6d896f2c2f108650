"""Evaluates the operators between the layers of an ONNX model, which move elements or compute shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from xrnn.exchange.onnx_file import DEEPEST, Constants, refused
from xrnn.typing import HostArray

MOST_ELEMENTS: Final = 2**20  # of an array that is computed
FIRST: Final = 2**40  # the numbers that layers return start here, far above those that a model stores
_INTEGERS: Final = (6, 7)  # the numbers of int32 and int64 in ONNX
_SMALL: Final = 1024  # elements of an operand of arithmetic

_MOVES: Final = re.compile(
    "Cast|Concat|Constant|ConstantOfShape|Dropout|Expand|Flatten|Gather|Identity|Reshape|ReverseSequence|Shape|Size|Slice"
    "|Split|Squeeze|Tile|Transpose|Unsqueeze|Where"
)
_SHAPE_ARITHMETIC: Final = re.compile("Add|And|Div|Equal|Greater|Less|Max|Min|Mod|Mul|Not|Or|Range|Sub")
# These may also compare lengths, an input of the graph. Its numbers are large, so every row counts as complete.
LENGTHS: Final = re.compile("Greater|Less|Max")


def supports(node: Any, inputs: Sequence[HostArray | None]) -> bool:
    """Whether the node moves elements, or computes a shape from numbers that are not the results of layers."""
    op = node.op_type

    def known(array: HostArray | None) -> bool:
        if array is None or array.size > _SMALL:
            return False
        lengths = array.ndim < 2 and array.dtype.kind == "i" and LENGTHS.fullmatch(op)
        return bool(lengths or (array < FIRST).all())

    if op == "Cast" and inputs and inputs[0] is not None and inputs[0].dtype.kind == "i" and (inputs[0] >= FIRST).any():
        # Integers stay integers: as floats they would look like results that no cast has rounded.
        return all(attribute.i in _INTEGERS for attribute in node.attribute if attribute.name == "to")
    if op == "Dropout" and len(inputs) > 2 and inputs[2] is not None and inputs[2].any():
        return False  # in training mode
    computes = _SHAPE_ARITHMETIC.fullmatch(op) and all(map(known, inputs))
    return node.domain in ("", "ai.onnx") and bool(_MOVES.fullmatch(op) or computes)


class Evaluator:
    """Evaluates supported nodes. The total size of the results is limited: a small file must not fill the memory."""

    def __init__(self, onnx: Any, opsets: Sequence[Any], constants: Constants) -> None:
        self._onnx = onnx
        self._opsets = list(opsets)
        self._constants = constants
        self._used = 0

    def run(self, node: Any, inputs: Sequence[HostArray | None]) -> list[HostArray]:
        """The results of a node.   Raises FileError if they are too large, or if the node is invalid."""
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "Constant" and "value" in attributes:
            return [self._constants.array(attributes["value"].t)]
        try:
            to = attributes["to"].i if node.op_type == "Cast" else 0
            if to and to not in self._constants.kinds:
                raise ValueError(f"type {to} is not supported")
            of_kind = inputs[0].dtype.kind if to and inputs[0] is not None else ""
            if node.op_type == "Dropout" or (of_kind and of_kind == self._constants.dtype(to).kind):
                # In inference, Dropout is the identity. A cast to a smaller float or integer would round numbers.
                node = self._onnx.helper.make_node("Identity", node.input[:1], node.output[:1])
                inputs = inputs[:1]
            elements = self._size(node, attributes, [array for array in inputs if array is not None])
            self._used += elements
            if self._used > 4 * MOST_ELEMENTS + 8 * self._constants.elements:
                raise ValueError(f"{elements:,} elements are too many")
            return self._results(node, inputs)
        except Exception as error:  # for an invalid node, the library raises errors of any kind
            got = f"can't be evaluated ({type(error).__name__}: {error})"
            raise refused(node, got, "a valid model of moderate size; check it by onnx.checker") from error

    def _size(self, node: Any, attributes: Any, arrays: Sequence[HostArray]) -> int:
        """An upper bound on the number of elements of all results.   Raises ValueError for an invalid node."""
        op = node.op_type
        total = sum(array.size for array in arrays)
        if op == "ConstantOfShape":
            return math.prod(_sizes(arrays[0]))
        if op == "Expand":
            return math.prod(np.broadcast_shapes(arrays[0].shape, _sizes(arrays[1])))
        if op == "Tile":
            return arrays[0].size * math.prod(_sizes(arrays[1]))
        if op == "Gather":
            axis = attributes["axis"].i if "axis" in attributes else 0
            return int(arrays[1].size * (arrays[0].size // max(1, arrays[0].shape[axis])))
        if op == "Range":
            start, limit, delta = (float(array) for array in arrays)
            return max(0, math.ceil((limit - start) / delta))
        if op == "Where" or _SHAPE_ARITHMETIC.fullmatch(op):
            return math.prod(np.broadcast_shapes(*(array.shape for array in arrays)))
        if op == "Split" and "num_outputs" in attributes and attributes["num_outputs"].i != len(node.output):
            raise ValueError("num_outputs is not the number of outputs")
        return total

    def _results(self, node: Any, inputs: Sequence[HostArray | None]) -> list[HostArray]:
        from onnx.reference import ReferenceEvaluator

        value, helper = self._onnx.ValueInfoProto, self._onnx.helper
        given = {name: array for name, array in zip(node.input, inputs, strict=True) if array is not None}
        if node.op_type == "Where" or not _MOVES.fullmatch(node.op_type):  # all operands need one type
            wide = {"i": np.int64, "f": np.float64, "b": np.bool_}
            given = {name: array.astype(wide[array.dtype.kind]) for name, array in given.items()}
        described = ([value(name=name) for name in names if name] for names in (given, node.output))
        model = helper.make_model(helper.make_graph([node], "node", *described), opset_imports=self._opsets)
        named = zip([name for name in node.output if name], ReferenceEvaluator(model).run(None, given), strict=True)
        results = {name: np.asarray(result) for name, result in named}
        if any(array.dtype.kind not in "bif" for array in results.values()):
            raise ValueError("the result is not of numbers")
        return [results.get(name, np.zeros(0)) for name in node.output]


def _sizes(array: HostArray) -> tuple[int, ...]:
    """The sizes in an array.   Raises ValueError for an array that is no shape."""
    if array.ndim != 1 or array.size > DEEPEST or (array < 0).any():
        raise ValueError("a shape is invalid")
    return tuple(map(int, array))
