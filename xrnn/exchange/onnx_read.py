"""Read layers from an ONNX model.

Exporters put other operators between the layers, such as Transpose, Squeeze and Concat. The graph is run on an input
whose elements are different numbers, and each layer returns new numbers, which show what the next layer reads. So any
operators that only move elements are supported, in any order.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from xrnn.arrays.select import get_backend
from xrnn.backend import Backend
from xrnn.exchange.model import unflattened
from xrnn.exchange.onnx_evaluate import LENGTHS, Evaluator, supports
from xrnn.exchange.onnx_file import Constants, read_model, refused
from xrnn.exchange.onnx_flows import Flows, Part, flat, same, swapped
from xrnn.exchange.onnx_recurrent import CHAIN, RecurrentNode
from xrnn.exchange.onnx_weights import OPERATORS
from xrnn.files import FileError, quoted
from xrnn.layers.bidirectional import Bidirectional
from xrnn.layers.embedding import Embedding
from xrnn.layers.linear import Linear
from xrnn.optional import import_optional
from xrnn.typing import HostArray

if TYPE_CHECKING:
    import onnx

_SIZES: Final = ((3, 2, 5, 7), (4, 5, 2, 3))  # of symbolic dimensions, in the order of their appearance, in two runs


def from_onnx(source: str | os.PathLike[str] | onnx.ModelProto, *, backend: str | Backend | None = None) -> Any:
    """The layers of an ONNX model: one layer, a Bidirectional or a Stack; with Linear or Embedding a list of layers.

    source    the path of a file, or an onnx.ModelProto
    backend   the backend of the layers' arrays, which are copies: by default the selected one

    The model consists of the operators RNN, LSTM and GRU; Gather for an Embedding at the beginning; Gemm, or MatMul and
    Add, for a Linear; and between them any operators that only move elements, as exporters write them. Operators after
    the last layer that choose successive steps or the final states, such as the last step, are left out. Layers are
    always time-first, and take initial states and lengths as arguments. Past its length a row keeps its state, while
    ONNX Runtime returns zeros.

    Nothing in the file is executed. External data are read only from a file beside the model. Warns if a weight holds
    NaN or infinity.

    Raises ValueError for files that can't be read and for models of another kind: it names the first unsupported
    operator, activation or attribute, such as clip, input_forget and peepholes; TypeError for other objects;
    ImportError without onnx.

    >>> from_onnx(to_onnx(GRU.init(3, 8, rng=0)))
    GRU(3 → 8, 296 parameters, float32, numpy)
    """
    onnx = import_optional("onnx", "xrnn.from_onnx")
    model, name, folder = read_model(onnx, source)
    constants = Constants(onnx, folder)
    try:
        chain, other = (_Run(onnx, model, constants, sizes).chain() for sizes in _SIZES)
        if [[part.key for part in parts] for parts in chain] != [[part.key for part in parts] for parts in other]:
            raise FileError("the layers depend on the number of steps: expected the same for all; export it again")
    except FileError as error:
        raise FileError(f"{name}: {error}") from error
    return _made(chain, get_backend(backend))


def _made(chain: Sequence[Sequence[Part]], target: Backend) -> Any:
    layers = []
    for i, parts in enumerate(chain):
        if not all(np.isfinite(param).all() for part in parts for param in part.params):
            warnings.warn(f"the weights of layer {i} hold NaN or infinity: the layer computes NaN", stacklevel=3)
        directions = [part.layer(*map(target.parameter, part.params), **part.options) for part in parts]
        layers.append(Bidirectional(*directions) if len(directions) == 2 else directions[0])
    return unflattened(layers)


class _Run:
    """A run of the graph.   sizes: of the symbolic dimensions"""

    def __init__(self, onnx: Any, model: Any, constants: Constants, sizes: Sequence[int]) -> None:
        self._onnx, self._graph, self._constants, self._sizes = onnx, model.graph, constants, sizes
        self._stored = {tensor.name: tensor for tensor in self._graph.initializer}
        self._values: dict[str, HostArray] = {}
        self._fixed: set[str] = set()  # the names of values that depend on no input
        self._flows = Flows()
        self._evaluator = Evaluator(onnx, model.opset_import, constants)

    def chain(self) -> list[tuple[Part, ...]]:
        """The parts of each layer, from the first to the last."""
        self._feed()
        for node in self._graph.node:
            inputs = [self._value(node, name) if name else None for name in node.input]
            results = self._layer(node, inputs)
            if results is None:
                if not supports(node, inputs):
                    raise refused(node, "is not supported", f"RNN, LSTM, GRU, Linear and Embedding, {CHAIN}")
                if LENGTHS.fullmatch(node.op_type):
                    self._flows.compare([array for array in inputs if array is not None])
                results = self._evaluator.run(node, inputs)
                if all(name in self._fixed for name in node.input if name):
                    self._fixed.update(node.output)
            self._values |= dict(zip(node.output, results, strict=False))
        names = [value.name for value in self._graph.output]
        if not names or not all(name in self._values for name in names):
            raise FileError("an output is given by no node: expected a valid ONNX model")
        last = self._flows.end({name: self._values[name] for name in names})
        return [flow.parts for flow in last.chain() if flow.parts]

    def _feed(self) -> None:
        """Give each input of the graph its numbers."""
        symbols: dict[str, int] = {}
        integers = (self._onnx.TensorProto.INT32, self._onnx.TensorProto.INT64)
        for value in self._graph.input:
            kind = value.type.tensor_type
            if value.name in self._stored:
                continue
            if not kind.HasField("shape"):
                raise FileError(f"the input '{quoted(value.name)}' has no shape: expected one; export the model again")
            shape = []
            for at, dim in enumerate(kind.shape.dim):
                symbol = dim.dim_param or f"{value.name} {at}"
                if not dim.dim_value:
                    symbols.setdefault(symbol, self._sizes[len(symbols) % len(self._sizes)])
                shape.append(dim.dim_value or symbols[symbol])
            self._values[value.name] = self._flows.input(shape, kind.elem_type in integers)

    def _value(self, node: Any, name: str) -> HostArray:
        if name not in self._values:
            if name not in self._stored:
                raise refused(node, f"reads '{name}', which no node before it gives", "a valid ONNX model")
            self._values[name] = self._constants.array(self._stored[name])
            self._fixed.add(name)
        return self._values[name]

    def _layer(self, node: Any, inputs: Sequence[HostArray | None]) -> list[HostArray] | None:
        """The results of a node that is a layer; None for another node."""
        if node.domain not in ("", "ai.onnx"):
            return None
        get = self._onnx.helper.get_attribute_value
        attributes = {attribute.name: get(attribute) for attribute in node.attribute}
        if node.op_type in OPERATORS:
            return RecurrentNode(node, attributes, inputs, self._fixed).results(self._flows)
        fixed = [name in self._fixed for name in node.input]
        arrays = [array for array in inputs if array is not None]
        if len(arrays) < len(inputs):
            return None
        if node.op_type == "Gather" and fixed == [True, False] and attributes.get("axis", 0) in (0, -2):
            return self._embedding(*arrays)
        if node.op_type in ("MatMul", "Gemm") and fixed in ([False, True], [False, True, True]):
            usual = {"alpha": 1, "beta": 1, "transA": 0, "transB": attributes.get("transB", 0)}
            if any(value != usual.get(name) for name, value in attributes.items()):
                return None
            x, W, *bias = arrays
            return self._linear(x, W.T if attributes.get("transB", 0) else W, *bias)
        if node.op_type == "Add" and sorted(fixed) == [False, True]:
            return self._with_bias(*(arrays if fixed[1] else arrays[::-1]))
        return None

    def _embedding(self, W: HostArray, index: HostArray) -> list[HostArray] | None:
        source = self._flows.index_source(index) if index.ndim in (1, 2) else None
        if W.dtype.kind != "f" or W.ndim != 2 or source is None:
            return None
        shape, view = source
        return [view(self._flows.add((*shape, W.shape[1]), Part(Embedding, {}, (W,)), None)[0])]

    def _linear(self, x: HostArray, W: HostArray, b: HostArray | None = None) -> list[HostArray] | None:
        """x @ W + b."""
        source = self._flows.source(x, same, swapped, flat)
        if source is None or W.ndim != 2 or W.dtype.kind != "f" or x.shape[-1:] != W.shape[:1]:
            return None
        if b is not None and (b.shape != W.shape[1:] or b.dtype != W.dtype):
            return None
        flow, view = source
        b = np.zeros(W.shape[1], W.dtype) if b is None else b
        part = Part(Linear, {}, (np.ascontiguousarray(W), b))
        return [view(self._flows.add((*flow.array.shape[:2], W.shape[1]), part, flow)[0])]

    def _with_bias(self, x: HostArray, bias: HostArray) -> list[HostArray] | None:
        """A Linear whose bias is added by a node of its own."""
        source = self._flows.source(x, same, swapped, flat)
        part = source[0].parts[0] if source and source[0].parts else None
        if source is None or part is None or part.layer is not Linear or part.params[1].any():
            return None
        flow, view = source
        W = part.params[0]
        if bias.shape != W.shape[1:] or bias.dtype != W.dtype or flow.before is None:
            return None
        return [view(self._flows.add(flow.array.shape, Part(Linear, {}, (W, bias)), flow.before)[0])]
