"""Recurrent layers on NumPy and CuPy, with hand-derived backward passes and fused kernels.

    from xrnn import RNN, xp
    rnn = RNN.init(input_size=32, hidden_size=128, rng=0)
    h = rnn.forward(xp.ones((10, 4, 32), dtype="float32"))  # (T, N, D) → (T, N, H)

`XRNN_BACKEND` (auto, numpy, cupy) chooses the backend of new arrays. A layer runs on the backend of its weights.
"""

import importlib as _importlib
import os.path as _path
import typing as _typing

from xrnn.arrays.convert import asarray, to_numpy
from xrnn.arrays.namespace import xp as xp
from xrnn.arrays.registry import register_backend
from xrnn.arrays.select import backend_of, get_backend, set_backend, use_backend
from xrnn.backend import Backend, BackendUnavailableError, Explanation, use_fused
from xrnn.cells import register_cell
from xrnn.gradcheck import GradientMismatchError, gradcheck
from xrnn.groups import Group, HasParameters, ParameterGroup
from xrnn.info import show_config
from xrnn.layers.base import Layer
from xrnn.layers.bidirectional import Bidirectional
from xrnn.layers.composite import Part, States
from xrnn.layers.current import CurrentRNN
from xrnn.layers.dropout import Dropout
from xrnn.layers.embedding import Embedding
from xrnn.layers.frozen import freeze
from xrnn.layers.gru import GRU
from xrnn.layers.layer_norm import LayerNorm
from xrnn.layers.linear import Linear
from xrnn.layers.lru import LRU
from xrnn.layers.lstm import LSTM
from xrnn.layers.mamba import Mamba
from xrnn.layers.mamba2 import Mamba2
from xrnn.layers.minimal import MinGRU, MinLSTM
from xrnn.layers.mlstm import MLSTM
from xrnn.layers.network import Network
from xrnn.layers.own_cell import Recurrent, check_cell
from xrnn.layers.quantized import quantize
from xrnn.layers.recurrent import RecurrentLayer, SingleStateLayer
from xrnn.layers.rnn import RNN
from xrnn.layers.slstm import SLSTM
from xrnn.layers.stack import Stack
from xrnn.layers.warm_up import warm_up
from xrnn.losses import (
    balanced_weights,
    binary_cross_entropy,
    huber,
    mean_squared_error,
    quantile,
    softmax_cross_entropy,
)
from xrnn.ops.cell import Cell, Run, StepArrays
from xrnn.ops.cells.gates import sigmoid
from xrnn.ops.cells.gru import GRUCell
from xrnn.ops.cells.lru import LRUCell
from xrnn.ops.cells.lstm import LSTMCell
from xrnn.ops.cells.minimal import MinGRUCell, MinLSTMCell
from xrnn.ops.cells.rnn import CurrentRNNCell, LeakyRNNCell, RNNCell, TrainedLeakCurrentRNNCell, TrainedLeakRNNCell
from xrnn.ops.cells.slstm import SLSTMCell
from xrnn.optim import EMA, SGD, Adam, Optimizer, clip_grad_norm, cosine, linear
from xrnn.precision import set_precision, use_precision
from xrnn.sequences import Directed, batches, last, last_gradient, pad
from xrnn.threads import share_threads
from xrnn.typing import Array, DType, HostArray, Lengths, StreamState, SupportsDLPack
from xrnn.weight_checks import use_weight_checks

# Names whose modules are imported at their first use, so that `import xrnn` does not import the modules' dependencies.
_AT_FIRST_USE = {
    "Checkpoint": "xrnn.exchange.checkpoint",
    "from_keras": "xrnn.exchange.keras",
    "from_onnx": "xrnn.exchange.onnx_read",
    "from_torch": "xrnn.exchange.torch",
    "load": "xrnn.exchange.files",
    "load_checkpoint": "xrnn.exchange.checkpoint",
    "save": "xrnn.exchange.files",
    "save_checkpoint": "xrnn.exchange.checkpoint",
    "to_c": "xrnn.exchange.c",
    "to_keras": "xrnn.exchange.keras",
    "to_onnx": "xrnn.exchange.onnx_write",
    "to_torch": "xrnn.exchange.torch",
}

if _typing.TYPE_CHECKING:
    from xrnn.exchange.c import to_c
    from xrnn.exchange.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from xrnn.exchange.files import load, save
    from xrnn.exchange.keras import from_keras, to_keras
    from xrnn.exchange.onnx_read import from_onnx
    from xrnn.exchange.onnx_write import to_onnx
    from xrnn.exchange.torch import from_torch, to_torch
else:

    def __getattr__(name: str) -> object:
        if name in _AT_FIRST_USE:
            return getattr(_importlib.import_module(_AT_FIRST_USE[name]), name)
        raise AttributeError(f"module 'xrnn' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return [*globals(), *_AT_FIRST_USE]


__version__ = "0.1.0"

# An editable install adds the checkout to the path of the package, because `backends` is there. Without this line, the
# other folders of the checkout could be imported too: `xrnn.tests`, and `xrnn.xrnn`, a second copy.
__path__ = [folder for folder in __path__ if folder != _path.dirname(_path.dirname(__file__))]

__all__ = [
    "EMA",
    "GRU",
    "LRU",
    "LSTM",
    "MLSTM",
    "RNN",
    "SGD",
    "SLSTM",
    "Adam",
    "Array",
    "Backend",
    "BackendUnavailableError",
    "Bidirectional",
    "Cell",
    "Checkpoint",
    "CurrentRNN",
    "CurrentRNNCell",
    "DType",
    "Directed",
    "Dropout",
    "Embedding",
    "Explanation",
    "GRUCell",
    "GradientMismatchError",
    "Group",
    "HasParameters",
    "HostArray",
    "LRUCell",
    "LSTMCell",
    "Layer",
    "LayerNorm",
    "LeakyRNNCell",
    "Lengths",
    "Linear",
    "Mamba",
    "Mamba2",
    "MinGRU",
    "MinGRUCell",
    "MinLSTM",
    "MinLSTMCell",
    "Network",
    "Optimizer",
    "ParameterGroup",
    "Part",
    "RNNCell",
    "Recurrent",
    "RecurrentLayer",
    "Run",
    "SLSTMCell",
    "SingleStateLayer",
    "Stack",
    "States",
    "StepArrays",
    "StreamState",
    "SupportsDLPack",
    "TrainedLeakCurrentRNNCell",
    "TrainedLeakRNNCell",
    "asarray",
    "backend_of",
    "balanced_weights",
    "batches",
    "binary_cross_entropy",
    "check_cell",
    "clip_grad_norm",
    "cosine",
    "freeze",
    "from_keras",
    "from_onnx",
    "from_torch",
    "get_backend",
    "gradcheck",
    "huber",
    "last",
    "last_gradient",
    "linear",
    "load",
    "load_checkpoint",
    "mean_squared_error",
    "pad",
    "quantile",
    "quantize",
    "register_backend",
    "register_cell",
    "save",
    "save_checkpoint",
    "set_backend",
    "set_precision",
    "share_threads",
    "show_config",
    "sigmoid",
    "softmax_cross_entropy",
    "to_c",
    "to_keras",
    "to_numpy",
    "to_onnx",
    "to_torch",
    "use_backend",
    "use_fused",
    "use_precision",
    "use_weight_checks",
    "warm_up",
    "xp",
]
