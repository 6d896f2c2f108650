"""The operators RNN, LSTM and GRU of an ONNX model: their checks, and the layers that compute the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from xrnn.exchange.onnx_file import refused
from xrnn.exchange.onnx_flows import Flow, Flows, Part, flipped, same, swapped, swapped_flipped
from xrnn.exchange.onnx_weights import OPERATORS
from xrnn.exchange.onnx_weights import from_onnx as xrnn_weights
from xrnn.files import FileError
from xrnn.ops.cells.rnn import NONLINEARITIES
from xrnn.typing import HostArray

_DIRECTIONS: Final = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_INPUTS: Final = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
CHAIN: Final = "a chain of layers; convert the parts of the model one by one"


class RecurrentNode:
    """attributes, inputs: by name; `fixed` has the names of the inputs that are stored in the model"""

    def __init__(
        self, node: Any, attributes: dict[str, Any], inputs: Sequence[HostArray | None], fixed: set[str]
    ) -> None:
        self._node, self._attributes = node, attributes
        self._given = dict(zip(_INPUTS, inputs, strict=False))
        self._fixed = {name for name, of_graph in zip(_INPUTS, node.input, strict=False) if of_graph in fixed}
        self._operator = OPERATORS[node.op_type]
        self._check()
        self._ways = _DIRECTIONS[_text(attributes.get("direction", "forward"))]
        self._X, self._W, self._R = (self._required(name) for name in "XWR")
        self._check_weights()

    def _refused(self, got: str, expected: str) -> FileError:
        return refused(self._node, f"has {got}", expected)

    def _required(self, name: str) -> HostArray:
        array = self._given.get(name)
        if array is None or array.ndim != 3:
            raise self._refused(f"no {name} of three dimensions", "one")
        return array

    def _check(self) -> None:
        """Refuse attributes and inputs that xrnn's cells do not support."""
        attributes = self._attributes
        P = self._given.get("P")
        if "clip" in attributes:
            raise self._refused(f"clip={attributes['clip']}", "no clip; xrnn's cells do not limit pre-activations")
        if attributes.get("input_forget", 0):
            raise self._refused("input_forget=1", "0; xrnn's LSTM does not couple its gates")
        if P is not None and P.any():
            raise self._refused("peepholes (P)", "none; xrnn's LSTM has none")
        if (direction := _text(attributes.get("direction", "forward"))) not in _DIRECTIONS:
            raise self._refused(f"direction={direction}", ", ".join(_DIRECTIONS))
        lacking = {name for name in "WRB" if self._given.get(name) is not None} - self._fixed
        if lacking:
            raise self._refused(f"{min(lacking)} as an input of the graph", "weights in the model")

    def _check_weights(self) -> None:
        G = len(self._operator.gates)
        ways = len(self._ways)
        H = self._R.shape[-1]
        D = self._X.shape[-1]
        shapes = {"W": (ways, G * H, D), "R": (ways, G * H, H), "B": (ways, 2 * G * H)}
        for name, shape in shapes.items():
            array = self._given.get(name)
            if array is not None and (array.shape != shape or not array.size):
                raise self._refused(f"{name} of shape {array.shape}", f"{shape}, by the input and R, {self._R.shape}")
            if array is not None and (array.dtype.kind != "f" or array.dtype != self._W.dtype):
                raise self._refused(f"{name} in {array.dtype}", "float32 or float64, the same for all weights")
        if self._attributes.get("hidden_size", H) != H:
            raise self._refused(f"hidden_size={self._attributes['hidden_size']}", f"{H}, by R, {self._R.shape}")

    def results(self, flows: Flows) -> list[HostArray]:
        """Y, Y_h and Y_c: new numbers."""
        layout = self._attributes.get("layout", 0)
        X = self._X.swapaxes(0, 1) if layout else self._X
        flow, backwards = self._source(flows, X)
        T, N, _ = X.shape
        H = self._R.shape[-1]
        self._check_states(flows, T)
        Y, final_h, final_c = [], [], []
        for k, way in enumerate(self._ways):
            reverse = way is not backwards
            h, c = flows.add((T, N, H), self._part(k, reverse), flow, more=(N, H))
            final_h.append(h[0 if reverse else -1])
            final_c.append(c)
            h = h[::-1] if backwards else h
            Y.append(h.swapaxes(0, 1) if layout else h)
        axis = 1 if layout else 0  # of the directions in Y_h and Y_c
        return [np.stack(Y, axis=axis + 1), np.stack(final_h, axis=axis), np.stack(final_c, axis=axis)]

    def _source(self, flows: Flows, X: HostArray) -> tuple[Flow, bool]:
        """The flow that X is, and whether X has its steps in reverse order."""
        source = flows.source(X, same, flipped, swapped, swapped_flipped)
        if source is None:
            raise refused(self._node, "reads neither the input of the graph nor the results of one layer", CHAIN)
        flow, view = source
        if view in (swapped, swapped_flipped):
            if any(earlier.is_timed for earlier in flow.chain()):
                raise self._refused("the batch as its time axis", "the time axis of the other layers")
            for earlier in flow.chain():  # the first recurrent layer shows which axis is time
                earlier.array = earlier.array.swapaxes(0, 1)
        for earlier in flow.chain():
            earlier.is_timed = True
        return flow, view in (flipped, swapped_flipped)

    def _check_states(self, flows: Flows, T: int) -> None:
        lengths = self._given.get("sequence_lens")
        in_order = lengths is not None and flows.is_input(lengths) and (np.diff(lengths.ravel()) == 1).all()
        if lengths is not None and not ((lengths == T).all() or in_order):
            raise self._refused(
                "fixed or moved sequence_lens", "none, or an input of the graph; pass lengths to the layer"
            )
        for name in ("initial_h", "initial_c"):
            state = self._given.get(name)
            if state is not None and state.any() and not self._is_given(flows, state):
                raise self._refused(f"a fixed or moved {name}", "zeros, or an input of the graph; pass it to the layer")

    def _is_given(self, flows: Flows, state: HostArray) -> bool:
        """Whether the state of each direction is zero, or rows of an input of the graph in their order."""
        if state.ndim != 3:
            return False
        for rows in state.swapaxes(0, 1) if self._attributes.get("layout", 0) else state:
            between = max(0, rows[1, 0] - rows[0, 0]) if len(rows) > 1 else 0
            in_order = rows[0, 0] + between * np.arange(len(rows))[:, None] + np.arange(rows.shape[1])
            if rows.any() and not (flows.is_input(rows) and np.array_equal(rows, in_order)):
                return False
        return True

    def _part(self, k: int, reverse: bool) -> Part:
        """The layer of direction k."""
        defaults = self._operator.activations
        options = {"reverse": reverse}
        given = self._attributes.get("activations", [])
        given = given if isinstance(given, list) else [given]  # an attribute of another type is refused below
        names = [_text(name) for name in given] or [*defaults] * len(self._ways)
        mine = tuple(name.capitalize() for name in names[k * len(defaults) : (k + 1) * len(defaults)])
        more: dict[str, Any] = {}
        is_rnn = self._node.op_type == "RNN" and mine in [(name.capitalize(),) for name in NONLINEARITIES]
        if len(names) != len(defaults) * len(self._ways) or not (is_rnn or mine == defaults):
            raise self._refused(f"the activations {', '.join(names)}", ", ".join(defaults * len(self._ways)))
        if is_rnn:
            more["nonlinearity"] = mine[0].lower()
        if self._node.op_type == "GRU":
            more["reset_after"] = bool(self._attributes.get("linear_before_reset", 0))
        B = self._given.get("B")
        b = np.zeros(2 * self._R.shape[1], self._W.dtype) if B is None else B[k]
        layer = self._operator.layer
        weights = xrnn_weights(layer._cell_with(more), self._operator.gates, self._W[k], self._R[k], b)
        return Part(layer, more | options, weights)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
