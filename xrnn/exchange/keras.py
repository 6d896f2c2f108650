"""Convert Keras' layers to layers and back. Keras 3, with any of its backends."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from xrnn.arrays.select import get_backend
from xrnn.backend import Backend
from xrnn.exchange.model import ExportedLayers, Model, cell_row, host, is_recurrent, model_of, unflattened, warn_of_nan
from xrnn.exchange.onnx_weights import from_onnx as xrnn_weights
from xrnn.exchange.onnx_weights import to_onnx as onnx_weights
from xrnn.layers.bidirectional import Bidirectional
from xrnn.layers.embedding import Embedding
from xrnn.layers.gru import GRU
from xrnn.layers.linear import Linear
from xrnn.layers.lstm import LSTM
from xrnn.layers.rnn import RNN
from xrnn.messages import kind_of
from xrnn.ops.cell import Cell
from xrnn.ops.cells.gru import GRUCell, GRUResetBeforeCell
from xrnn.ops.cells.lstm import LSTMCell
from xrnn.ops.cells.rnn import NONLINEARITIES, RNNCell
from xrnn.optional import import_optional, install_hint
from xrnn.typing import HostArray

if TYPE_CHECKING:
    import keras

RECURRENT: Final = {"SimpleRNN": RNN, "LSTM": LSTM, "GRU": GRU}
# For each gate of Keras, the index of the same gate in xrnn. GRU: z r h in Keras, r u n in xrnn. LSTM: i f g o in both.
_GATES: Final = {"SimpleRNN": (0,), "LSTM": (0, 1, 2, 3), "GRU": (1, 0, 2)}


class OfCell(NamedTuple):
    """The layer of Keras for a cell."""

    layer: str
    options: Callable[[Any], dict[str, Any]] = lambda cell: {}


# By the class of the cell. A subclass may compute something else, and needs its own row.
CELLS: Final[dict[type[Cell], OfCell]] = {
    RNNCell: OfCell("SimpleRNN", lambda cell: {"activation": cell.nonlinearity}),
    LSTMCell: OfCell("LSTM"),
    GRUCell: OfCell("GRU", lambda cell: {"reset_after": True}),
    GRUResetBeforeCell: OfCell("GRU", lambda cell: {"reset_after": False}),
}


_BACKENDS: Final = ("tensorflow", "torch", "jax")


def import_keras(user: str) -> ModuleType:
    """Keras 3, with the backend of its configuration if that is installed, else with one that is.

    Raises ImportError as `import_optional`, for earlier versions, and without a backend.
    """
    if "KERAS_BACKEND" in os.environ or "keras" in sys.modules or not find_spec("keras"):
        keras = import_optional("keras", user, "Keras")
    else:
        installed = [name for name in (_configured(), *_BACKENDS) if name and find_spec(name)]
        if not installed:
            raise ImportError(f"{user} needs a backend of Keras, and none is installed: {install_hint('torch')}")
        os.environ["KERAS_BACKEND"] = installed[0]  # Keras reads it in its import
        try:
            keras = import_optional("keras", user, "Keras")
        finally:
            del os.environ["KERAS_BACKEND"]
    if int(keras.__version__.partition(".")[0]) < 3:
        raise ImportError(f"{user} needs Keras 3, and this is {keras.__version__}: {install_hint('keras')}")
    return keras


def _configured() -> str:
    """The backend in Keras' configuration file; "" if there is no such file."""
    folder = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    with contextlib.suppress(OSError, ValueError):
        return str(json.loads(Path(folder, "keras.json").read_text()).get("backend", ""))
    return ""


# ---- from Keras ----


def from_keras(layer: keras.Layer, *, backend: str | Backend | None = None) -> Any:
    """The layer that computes the same as a Keras SimpleRNN, LSTM, GRU, Bidirectional, Dense or Embedding.

    layer     a layer with weights, or a Sequential of such layers and Dropout, which becomes a Stack; with Dense or
              Embedding a list
    backend   the backend of the layer's arrays, which are copies: by default the selected one

    Layers are time-first, Keras' are batch-first. They return the results of all steps, as with
    `return_sequences=True`; `last(h, direction=layer)` is the result with `return_sequences=False`. With
    `go_backwards=True` Keras returns the results in the order in which they are computed; the layer, made with
    `reverse=True`, returns them in the order of x, and so do all layers after it. Dropout in a Keras layer is left out.
    Warns if a weight holds NaN or infinity.

    Raises TypeError for other layers and dtypes; ValueError for other activations and merge modes, also for a softmax
    after the last Dense, for layers without weights or with LoRA, and for a Sequential in which a layer reads the final
    state of a layer that runs in reverse; ImportError without Keras 3.

    >>> from_keras(to_keras(GRU.init(3, 8, rng=0)))
    GRU(3 → 8, 296 parameters, float32, numpy)
    """
    keras = import_keras("xrnn.from_keras")
    target = get_backend(backend)
    if type(layer) is not keras.Sequential:
        alone = _from_layer(keras, layer, "layer", target)
        _warn_of_nan("layer", alone)
        return alone
    parts = [part for part in layer.layers if type(part) is not keras.layers.Dropout]
    if not parts:
        raise ValueError("layer is an empty Sequential: add a layer")
    made: list[Any] = []
    backwards = False  # whether Keras passes the steps to the next layer from the last to the first
    for i, (part, after) in enumerate(itertools.pairwise([*parts, None])):
        name = f"layers[{i}]"
        made.append(_from_layer(keras, part, name, target, backwards))
        _warn_of_nan(name, made[-1])
        backwards = getattr(made[-1], "reverse", backwards)
        if after is not None and not getattr(part, "return_sequences", True):
            if hasattr(after, "return_sequences"):
                raise ValueError(f"{name} has return_sequences=False: expected True before a recurrent layer")
            if backwards or type(made[-1]) is Bidirectional:
                raise ValueError(
                    f"{name} has return_sequences=False and runs in reverse: expected True, or a layer that runs "
                    "forward, before another layer; convert both alone, and join them by last(h, direction=layer)"
                )
    return unflattened(made)


def _from_layer(keras: Any, layer: Any, name: str, target: Backend, backwards: bool = False) -> Any:
    """backwards: the layer gets the steps of x from the last to the first"""
    kind = type(layer).__name__
    if type(layer) is not getattr(keras.layers, kind, None) or kind not in (
        *RECURRENT,
        "Bidirectional",
        "Dense",
        "Embedding",
    ):
        raise TypeError(
            f"{name} is a {kind_of(layer)}: expected keras.layers' {', '.join(RECURRENT)}, Bidirectional, Dense or "
            "Embedding, or a Sequential of them; convert the parts of a larger model one by one"
        )
    if not layer.built or not layer.weights:
        raise ValueError(f"{name} has no weights yet: call it on an input, or build(…), first")
    if kind == "Bidirectional":
        directions = [layer.forward_layer, layer.backward_layer]
        if layer.merge_mode != "concat" or [part.go_backwards for part in directions] != [False, True]:
            raise ValueError(
                f"{name} has merge_mode={layer.merge_mode!r}: expected 'concat' of a forward and a backward layer; "
                "xrnn joins features"
            )
        if backwards:
            raise ValueError(
                f"{name} is a Bidirectional that gets the steps in reverse: expected go_backwards=False before it; "
                "xrnn's Bidirectional has the forward layer first"
            )
        return Bidirectional(*(_from_layer(keras, part, name, target) for part in directions))
    options: dict[str, Any] = {}
    weights = _weights(keras, layer, name)
    if kind in RECURRENT:
        weights, options = _recurrent(keras, layer, name, weights)
        options["reverse"] = bool(layer.go_backwards) is not backwards
    else:
        _check_table(keras, layer, name)
        if kind == "Dense" and len(weights) == 1:
            weights.append(np.zeros(weights[0].shape[1], weights[0].dtype))
    made = RECURRENT.get(kind) or {"Dense": Linear, "Embedding": Embedding}[kind]
    return made(*map(target.parameter, weights), **options)


def _weights(keras: Any, layer: Any, name: str) -> list[HostArray]:
    weights = [keras.ops.convert_to_numpy(weight) for weight in layer.weights]
    for weight in weights:
        if weight.dtype not in (np.float32, np.float64):
            raise TypeError(f"{name} has weights in {weight.dtype}: expected float32 or float64; make it with dtype=")
    return weights


def _warn_of_nan(name: str, layer: Any) -> None:
    if not all(np.isfinite(host(param)).all() for param in layer.params):
        warnings.warn(f"the weights of {name} hold NaN or infinity: the layer computes NaN", stacklevel=3)


def _check_table(keras: Any, layer: Any, name: str) -> None:
    """Raises ValueError for a Dense or Embedding with options that xrnn's layers lack."""
    if getattr(layer, "mask_zero", False):
        raise ValueError(f"{name} has mask_zero=True: expected False; pass lengths to the recurrent layers instead")
    if getattr(layer, "lora_enabled", False):
        raise ValueError(f"{name} has LoRA weights: add their product to the weights first")
    without = "xrnn's Linear has no activation; set layer.activation to keras.activations.linear, and apply the other"
    without += " to the result (to_c and to_onnx: softmax=True). `xrnn convert` does this for a softmax at the end"
    _check_activation(keras, layer, name, "activation", ("linear",), without)


def _check_activation(
    keras: Any, layer: Any, name: str, which: str, expected: Sequence[str], remedy: str = "xrnn has no such cell"
) -> str:
    """The name of an activation.   Raises ValueError for one that is not `expected`."""
    got = getattr(layer, which, keras.activations.linear)
    for activation in expected:
        if got is keras.activations.get(activation):
            return activation
    shown = getattr(got, "__name__", str(got))
    raise ValueError(f"{name} has {which}={shown!r}: expected {' or '.join(expected)}; {remedy}")


def _recurrent(keras: Any, layer: Any, name: str, weights: list[HostArray]) -> tuple[list[HostArray], dict[str, Any]]:
    """The parameters and the options of a recurrent layer."""
    options: dict[str, Any] = {}
    kind = type(layer).__name__
    expected = NONLINEARITIES if kind == "SimpleRNN" else ("tanh",)
    activation = _check_activation(keras, layer, name, "activation", expected)
    if kind == "SimpleRNN":
        options["nonlinearity"] = activation
    else:
        _check_activation(keras, layer, name, "recurrent_activation", ("sigmoid",))
    if kind == "GRU":
        options["reset_after"] = bool(layer.reset_after)
    Wx, Wh, *bias = weights
    both = np.zeros((2, Wx.shape[1]), Wx.dtype)  # Keras has a bias for h only in a GRU with reset_after
    both[: 2 if options.get("reset_after") else 1] = bias[0] if bias else 0
    make: Any = RECURRENT[kind]
    made = xrnn_weights(make._cell_with(options), _GATES[kind], Wx.T, Wh.T, both.reshape(-1))
    return list(made), options


# ---- to Keras ----


def to_keras(layers: ExportedLayers) -> keras.Layer:
    """The Keras layer that computes the same, or a Sequential for several layers, with copies of the weights.

    layers   RNN, LSTM, GRU, Bidirectional, LayerNorm, Linear, Embedding, a Stack, or a list or dict of these in their
             order

    The result is batch-first, has `return_sequences=True`, and the dtype of the layers. It has no dropout.

    Raises TypeError for other layers, and for cells that Keras does not have, such as an RNN with a leak; ValueError
    for a reverse layer outside of a Bidirectional, and for a Bidirectional of two sizes before another layer;
    ImportError without Keras 3. Warns of NaN and infinity.

    >>> to_keras(GRU.init(3, 8, rng=0)).units
    8
    """
    keras = import_keras("xrnn.to_keras")
    model = model_of(layers)
    warn_of_nan(model)
    return sequential(keras, model) if len(model.layers) > 1 else _to_layer(keras, model.layers[0], "layers[0]")


def sequential(keras: Any, model: Model) -> Any:
    """A keras.Sequential of the layers."""
    for i, layer in enumerate(model.layers[:-1]):
        if type(layer) is Bidirectional and len({size for size, _ in layer.directions}) > 1:
            sizes = " and ".join(str(size) for size, _ in layer.directions)
            raise ValueError(
                f"layers[{i}] is a Bidirectional of {sizes} units: expected two equal sizes before another layer, "
                "because Keras gives the next layer the wrong size; convert each layer alone"
            )
    made = [_to_layer(keras, layer, f"layers[{i}]") for i, layer in enumerate(model.layers)]
    if model.softmax:
        made[-1].activation = keras.activations.softmax
    first = model.layers[0]
    if type(first) is Embedding:
        return keras.Sequential([keras.Input((None,), dtype="int32"), *made])
    return keras.Sequential([keras.Input((None, first.input_size), dtype=first.params[0].dtype.name), *made])


def _to_layer(keras: Any, layer: Any, name: str) -> Any:
    """A built layer with weights."""
    of_keras = keras.layers
    dtype = layer.params[0].dtype.name
    shape: tuple[Any, ...] = (None, None, layer.input_size)
    if type(layer) is Bidirectional:
        forward, backward = (_recurrent_to_keras(keras, part, name) for part in layer.layers)
        made = of_keras.Bidirectional(forward, merge_mode="concat", backward_layer=backward, dtype=dtype)
        weights = [weight for part in layer.layers for weight in _weights_for_keras(part)]
    elif is_recurrent(layer):
        if layer.reverse:
            raise ValueError(
                f"{name} is a {layer.title} with reverse=True alone: expected a Bidirectional, or a layer that runs "
                "forward; Keras returns the results of such a layer in another order"
            )
        made = _recurrent_to_keras(keras, layer, name)
        weights = _weights_for_keras(layer)
    else:
        weights = [np.array(host(param)) for param in layer.params]
        if type(layer) is Linear:
            made = of_keras.Dense(layer.output_size, dtype=dtype)
        elif type(layer) is Embedding:
            made = of_keras.Embedding(layer.input_size, layer.output_size, dtype=dtype)
            shape = (None, None)
        else:
            made = of_keras.LayerNormalization(epsilon=layer.eps, dtype=dtype)
    made.build(shape)
    made.set_weights(weights)
    return made


def _recurrent_to_keras(keras: Any, layer: Any, name: str) -> Any:
    row = cell_row(CELLS, layer, name, "Keras", "xrnn.exchange.keras.CELLS")
    dtype = layer.params[0].dtype.name
    make = getattr(keras.layers, row.layer)
    options = {"return_sequences": True, "go_backwards": layer.reverse, "dtype": dtype, **row.options(layer.cell)}
    return make(layer.hidden_size, **options)


def _weights_for_keras(layer: Any) -> list[HostArray]:
    W, R, B = onnx_weights(map(host, layer.params), _GATES[CELLS[type(layer.cell)].layer])
    both = B.reshape(2, -1)
    return [W.T, R.T, both if type(layer.cell) is GRUCell else both[0]]
