"""Write layers as an ONNX model of standard operators."""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from xrnn.checks import check_bool
from xrnn.exchange.model import ExportedLayers, Model, cell_row, host, is_recurrent, model_of, warn_of_nan
from xrnn.exchange.onnx_weights import CELLS, OPERATORS
from xrnn.exchange.onnx_weights import to_onnx as onnx_weights
from xrnn.files import write_own
from xrnn.layers.bidirectional import Bidirectional
from xrnn.layers.embedding import Embedding
from xrnn.layers.linear import Linear
from xrnn.optional import import_optional
from xrnn.typing import HostArray

if TYPE_CHECKING:
    import onnx

_OPSET: Final = 17  # the first with LayerNormalization
_IR_VERSION: Final = 8  # of the same release of onnx, 1.12
_MOST_BYTES: Final = 2**31 - 1  # of a file without external data


def to_onnx(
    layers: ExportedLayers,
    path: str | os.PathLike[str] | None = None,
    *,
    lengths: bool = False,
    states: bool = False,
    scale: tuple[Any, Any] | None = None,
    mean: bool = False,
    softmax: bool = False,
    overwrite: bool = False,
) -> onnx.ModelProto:
    """An onnx.ModelProto that computes what the layers compute, checked by onnx. Also writes it to `path`, if given.

    layers     RNN, LSTM, GRU, Bidirectional, LayerNorm, Linear, Embedding, a Stack, or a list or dict of these in the
               order in which they run
    lengths    add an input `lengths` (N,) int32: past its length a row keeps its states, as in xrnn
    states     add inputs for the initial states, `h_prev` and `c_prev` (N, H), and outputs for the final ones, `h_last`
               and `c_last`. With several layers or directions their numbers follow: `h_prev.0`, `h_prev.1`
    scale      (mean, deviation): standardise each feature of x, in float64
    mean       the layers after the last recurrent one get the mean of its h over time
    softmax    the result is the softmax of the last layer
    overwrite  replace any file at `path`. By default, only an empty file or one that `to_onnx` wrote is replaced

    The graph takes x (T, N, D), or indices (T, N) int64 for an Embedding, for any T and N. Its first output is h, or y
    if the last layer is not recurrent. The dtype is that of the layers; ONNX Runtime computes float32 only.

    Raises TypeError for other layers, and for cells without an operator in ONNX, such as an RNN with a leak; ValueError
    for models above 2 GiB; FileExistsError for a file that it may not replace, and OSError if the file can't be
    written; ImportError without onnx. Warns of NaN and infinity.

    >>> model = to_onnx([GRU.init(3, 8, rng=0), Linear.init(8, 2, rng=0)], "model.onnx")
    >>> [node.op_type for node in model.graph.node if node.op_type in ("GRU", "Gemm", "MatMul")]
    ['GRU', 'MatMul']
    """
    onnx = import_optional("onnx", "xrnn.to_onnx")
    model = model_of(layers, scale=scale, mean=mean, softmax=softmax)
    warn_of_nan(model)
    made = model_proto(onnx, model, lengths=check_bool("lengths", lengths), states=check_bool("states", states))
    if path is not None:
        write_own(path, made.SerializeToString(), "xrnn.to_onnx", _has_producer, overwrite=overwrite)
    return made


def _has_producer(path: Path) -> bool:
    """Whether the file begins as the models that `model_proto` makes: with the version of the format, then "xrnn"."""
    with path.open("rb") as file:
        return re.match(rb"\x08.\x12\x04xrnn", file.read(8), re.DOTALL) is not None


def model_proto(onnx: Any, model: Model, *, lengths: bool, states: bool) -> Any:
    _check(model)
    graph = _Graph(onnx, model.layers[0].params[0].dtype, lengths, states)
    graph.run(model)
    made = onnx.helper.make_model(
        onnx.helper.make_graph(graph.nodes, "xrnn", graph.inputs, graph.outputs, graph.constants),
        producer_name="xrnn",
        opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )
    if model.labels:
        onnx.helper.set_model_props(made, {"labels": json.dumps(model.labels)})
    onnx.checker.check_model(made, full_check=True)
    return made


def _check(model: Model) -> None:
    for i, layer in enumerate(model.layers):
        for part in getattr(layer, "layers", [layer]) if is_recurrent(layer) else []:
            cell_row(CELLS, part, f"layers[{i}]", "ONNX", "xrnn.exchange.onnx_weights.CELLS")
    bytes_ = sum(param.nbytes for layer in model.layers for param in layer.params)
    if bytes_ > _MOST_BYTES:
        raise ValueError(
            f"the layers have {bytes_:,} bytes: expected at most {_MOST_BYTES:,}, the limit of ONNX's files"
        )


class _Graph:
    """The graph while it is built. Methods add nodes, and return the names of their results."""

    def __init__(self, onnx: Any, dtype: Any, lengths: bool, states: bool) -> None:
        self._onnx, self._lengths, self._states = onnx, lengths, states
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self._names = (f"v{i}" for i in itertools.count())
        self._type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self._inside = ""  # (T, N) bool: whether a step is within its row's length
        self._final: list[tuple[str, str, int]] = []  # name, value, H of each final state
        self._of_state = 0

    def run(self, model: Model) -> None:
        first = model.layers[0]
        last = model.layers[-1]
        onnx = self._onnx
        if type(first) is Embedding:
            x = self._input("x", ["T", "N"], onnx.TensorProto.INT64)
        else:
            x = self._input("x", ["T", "N", first.input_size])
        if self._lengths:
            self._begin_lengths(x)
        if model.scale is not None:
            x = self._scaled(x, *model.scale)
        several = sum(len(getattr(layer, "layers", [layer])) for layer in model.layers if is_recurrent(layer)) > 1
        rank = 3
        for i, layer in enumerate(model.layers):
            if is_recurrent(layer):
                x = self._recurrent(layer, x, i, several)
            elif type(layer) is Linear:
                x = self._linear(layer, x, i, rank)
            elif type(layer) is Embedding:
                x = self.add("Gather", self.constant(f"W{i}", host(layer.W)), x)
            else:
                parameters = [self.constant(f"{name}{i}", host(p)) for name, p in layer.named_params.items()]
                x = self.add("LayerNormalization", x, *parameters, axis=-1, epsilon=layer.eps)
            if model.mean and i == model.last_recurrent:
                x = self._mean(x)
                rank = 2
        if model.softmax:
            x = self.add("Softmax", x, axis=-1)
        shape = [*(["T", "N"] if rank == 3 else ["N"]), last.output_size]
        self._output("h" if is_recurrent(last) and not model.softmax else "y", x, shape)
        for name, value, H in self._final:
            self._output(name, value, ["N", H])

    # ---- parts ----

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one result."""
        return self.add_several(op, inputs, 1, **attributes)[0]

    def add_several(self, op: str, inputs: Sequence[str], results: int, **attributes: Any) -> list[str]:
        names = [next(self._names) for _ in range(results)]
        self.nodes.append(self._onnx.helper.make_node(op, inputs, names, **attributes))
        return names

    def constant(self, name: str, array: HostArray) -> str:
        self.constants.append(self._onnx.numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(next(self._names), np.array(values, np.int64))

    def _input(self, name: str, shape: list[Any], kind: Any = None) -> str:
        self.inputs.append(self._onnx.helper.make_tensor_value_info(name, kind or self._type, shape))
        return name

    def _output(self, name: str, value: str, shape: list[Any]) -> None:
        self.nodes.append(self._onnx.helper.make_node("Identity", [value], [name]))
        self.outputs.append(self._onnx.helper.make_tensor_value_info(name, self._type, shape))

    def _begin_lengths(self, x: str) -> None:
        int32 = self._onnx.TensorProto.INT32
        lengths = self._input("lengths", ["N"], int32)
        T = self.add("Squeeze", self.add("Cast", self.add("Shape", x, start=0, end=1), to=int32))
        zero, one = (self.constant(f"int32_{i}", np.array(i, np.int32)) for i in (0, 1))
        steps = self.add("Range", zero, T, one)
        self._inside = self.add("Less", self.add("Unsqueeze", steps, self.integers(1)), lengths)
        # ONNX does not define the result of a row of length 0: it runs one step, and `_some` drops the result.
        self._at_least_one = self.add("Max", lengths, one)
        self._some = self.add("Unsqueeze", self.add("Less", zero, lengths), self.integers(1))  # (N, 1)

    @functools.cached_property
    def _zero(self) -> str:
        return self.constant("zero", np.zeros((), self._onnx.helper.tensor_dtype_to_np_dtype(self._type)))

    def _scaled(self, x: str, mean: HostArray, deviation: HostArray) -> str:
        double = self.add("Cast", x, to=self._onnx.TensorProto.DOUBLE)
        centred = self.add("Sub", double, self.constant("scale_mean", mean))
        scaled = self.add("Div", centred, self.constant("scale_deviation", deviation))
        most, least = (self.constant(name, np.array(value)) for name, value in (("most", 1e6), ("least", -1e6)))
        return self.add("Cast", self.add("Clip", scaled, least, most), to=self._type)

    def _linear(self, layer: Any, x: str, i: int, rank: int) -> str:
        W, b = (self.constant(f"{name}{i}", host(param)) for name, param in layer.named_params.items())
        return self.add("Gemm", x, W, b) if rank == 2 else self.add("Add", self.add("MatMul", x, W), b)

    def _mean(self, h: str) -> str:
        if not self._inside:
            return self.add("ReduceMean", h, axes=[0], keepdims=0)
        inside = self.add("Unsqueeze", self._inside, self.integers(2))
        total = self.add("ReduceSum", self.add("Where", inside, h, self._zero), self.integers(0), keepdims=0)
        count = self.add("Unsqueeze", self.add("Cast", "lengths", to=self._type), self.integers(1))
        return self.add("Div", total, count)

    def _recurrent(self, layer: Any, x: str, i: int, several: bool) -> str:
        """h (T, N, H) of a layer, or (T, N, 2H) of a Bidirectional."""
        parts: list[Any] = [*layer.layers] if type(layer) is Bidirectional else [layer]
        kinds = {
            (type(part.cell), part.hidden_size, str(CELLS[type(part.cell)].attributes(part.cell))) for part in parts
        }
        if len(kinds) == 2:  # one ONNX operator runs both directions only if they have the same kind, size and options
            halves = [self._operator([part], x, f"{i}.{k}", several) for k, part in enumerate(parts)]
            return self.add("Concat", *halves, axis=-1)
        return self._operator(parts, x, str(i), several)

    def _operator(self, parts: list[Any], x: str, label: str, several: bool) -> str:
        first, row = parts[0], CELLS[type(parts[0].cell)]
        operator = OPERATORS[row.operator]
        weights = zip(*(onnx_weights(map(host, part.params), operator.gates) for part in parts), strict=True)
        named = [self.constant(f"{name}{label}", np.stack(of)) for name, of in zip("WRB", weights, strict=True)]
        initial = self._initial(parts, several)
        attributes: dict[str, Any] = {"hidden_size": first.hidden_size}
        attributes["direction"] = "bidirectional" if len(parts) > 1 else "reverse" if first.reverse else "forward"
        for name, value in row.attributes(first.cell).items():
            attributes[name] = value * len(parts) if isinstance(value, list) else value
        inputs = [x, *named, self._at_least_one if self._lengths else "", *initial]
        Y, *final = self.add_several(row.operator, inputs, 1 + len(first.cell.states), **attributes)
        if self._lengths:
            final = [
                self.add("Where", self._some, last, before or self._zero)
                for last, before in zip(final, initial or [""] * len(final), strict=True)
            ]
            # Past its end a row keeps its final state. In reverse, it is still in its initial state there.
            forward = self.constant(next(self._names), np.array([[[not part.reverse]] for part in parts]))
            past = self.add("Where", forward, final[0], initial[0] if initial else self._zero)
            Y = self.add("Where", self.add("Unsqueeze", self._inside, self.integers(1, 3)), Y, past)
        self._name_final(parts, final, several)
        if len(parts) == 1:
            return self.add("Squeeze", Y, self.integers(1))
        return self.add("Reshape", self.add("Transpose", Y, perm=[0, 2, 1, 3]), self.integers(0, 0, -1))

    def _initial(self, parts: list[Any], several: bool) -> list[str]:
        """(directions, N, H) for each state of the cell; nothing if the states are zeros."""
        if not self._states:
            return []
        rows: dict[str, list[str]] = {state: [] for state in parts[0].cell.states}
        for k, part in enumerate(parts):
            for state, of_state in rows.items():
                name = self._state_name(state, "prev", k, several)
                of_state.append(self.add("Unsqueeze", self._input(name, ["N", part.hidden_size]), self.integers(0)))
        return [self.add("Concat", *row, axis=0) if len(parts) > 1 else row[0] for row in rows.values()]

    def _name_final(self, parts: list[Any], final: list[str], several: bool) -> None:
        if not self._states:
            return
        for k, part in enumerate(parts):
            at = self.constant(next(self._names), np.array(k, np.int64))
            for state, value in zip(part.cell.states, final, strict=True):
                name = self._state_name(state, "last", k, several)
                self._final.append((name, self.add("Gather", value, at, axis=0), part.hidden_size))
        self._of_state += len(parts)

    def _state_name(self, state: str, which: str, k: int, several: bool) -> str:
        return f"{state}_{which}" + (f".{self._of_state + k}" if several else "")
