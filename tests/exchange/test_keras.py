"""Keras' layers and xrnn's compute the same after a conversion; layers without a counterpart are refused."""

from __future__ import annotations

import importlib
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xrnn
from tests.errors import one_line, refused
from tests.exchange.layers import ROUNDING, SHARED, D, H, drawn, leaves, results, x_of
from tests.fresh import output_of
from xrnn import GRU, LSTM, Bidirectional, Dropout, Linear, Stack, from_keras, to_keras

pytestmark = [
    pytest.mark.needs("keras", "keras"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of PyTorch, in Keras' code
]
KERAS: dict[str, Any] = {
    "SimpleRNN": lambda **o: keras.layers.SimpleRNN(H, **o),
    "relu": lambda **o: keras.layers.SimpleRNN(H, activation="relu", **o),
    "softplus": lambda **o: keras.layers.SimpleRNN(H, activation="softplus", **o),
    "LSTM": lambda **o: keras.layers.LSTM(H, **o),
    "GRU": lambda **o: keras.layers.GRU(H, **o),
    "reset before": lambda **o: keras.layers.GRU(H, reset_after=False, **o),
}
keras: Any = None


@pytest.fixture(autouse=True, scope="module")
def _imported() -> None:
    """Not at the top: Keras takes seconds, and each process of pytest-xdist imports every file."""
    global keras
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = importlib.import_module("keras")


def ready(layer: Any) -> Any:
    """The Keras layer with random weights, biases too."""
    layer.build((None, None, D))
    rng = np.random.default_rng(0)
    layer.set_weights([rng.standard_normal(weight.shape) * 0.5 for weight in layer.get_weights()])
    return layer


def keras_results(layer: Any, x: Any) -> Any:
    return keras.ops.convert_to_numpy(layer(x.swapaxes(0, 1))).swapaxes(0, 1)


@pytest.mark.parametrize("name", KERAS)
@pytest.mark.parametrize(
    "options", [{}, {"use_bias": False}, {"go_backwards": True}, {"dtype": "float64", "dropout": 0.5}]
)
def test_from_keras(name: str, options: dict[str, Any]) -> None:
    theirs = ready(KERAS[name](return_sequences=True, **options))
    x = x_of(6, 4, D, dtype=options.get("dtype", "float32"))
    ours = from_keras(theirs, backend="numpy")
    want = keras_results(theirs, x)
    if "go_backwards" in options:
        assert ours.reverse
        want = want[::-1]
    np.testing.assert_allclose(results(ours, x)[0], want, **ROUNDING)


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_to_keras_and_back(name: str, dtype: str) -> None:
    ours = drawn(SHARED[name](dtype=dtype, backend="numpy"))
    theirs, x = to_keras(ours), x_of(6, 4, D, dtype=dtype)
    np.testing.assert_allclose(keras_results(theirs, x), results(ours, x)[0], **ROUNDING)
    again = from_keras(theirs, backend="numpy")
    assert [leaf.options for leaf in leaves(again)] == [leaf.options for leaf in leaves(ours)]
    for got, want in zip(again.params, ours.params, strict=True):
        np.testing.assert_array_equal(got, want)


def test_several_layers() -> None:
    layers: list[Any] = [GRU.init(D, 6, backend="numpy"), Bidirectional.init(LSTM, 6, 2, backend="numpy")]
    embedding, readout = drawn(xrnn.Embedding.init(7, D, backend="numpy")), drawn(Linear.init(4, 2, backend="numpy"))
    stack = drawn(Stack(layers, dropout=0.5))
    index = np.random.default_rng(0).integers(7, size=(6, 4))
    model = to_keras({"embedding": embedding, "stack": stack, "readout": readout})
    y = readout(stack(embedding(index))[0])
    np.testing.assert_allclose(keras_results(model, index), y, **ROUNDING)
    e, s, r = from_keras(model, backend="numpy")
    np.testing.assert_allclose(r(s(e(index))[0]), y, **ROUNDING)
    norm, x = drawn(xrnn.LayerNorm.init(H, backend="numpy")), x_of(6, 4, D)
    normalized = Stack([GRU.init(D, H, backend="numpy"), norm])
    theirs = to_keras([normalized, Dropout(0.5)])
    np.testing.assert_allclose(keras_results(theirs, x), normalized(x)[0], rtol=1e-5, atol=1e-5)


def bidirectional(merge_mode: str = "concat", ways: tuple[bool, bool] = (False, True), sequences: bool = True) -> Any:
    forward, backward = (keras.layers.GRU(3, return_sequences=sequences, go_backwards=way) for way in ways)
    return keras.layers.Bidirectional(forward, merge_mode=merge_mode, backward_layer=backward)


ARRANGED: dict[str, Any] = {
    "forward": lambda: keras.layers.LSTM(H, return_sequences=True),
    "backwards": lambda: keras.layers.GRU(H, return_sequences=True, go_backwards=True),
    "final": lambda: keras.layers.SimpleRNN(H),
    "final backwards": lambda: keras.layers.LSTM(2, go_backwards=True),
    "bidirectional": bidirectional,
    "final bidirectional": lambda: bidirectional(sequences=False),
    "exchanged": lambda: bidirectional(ways=(True, False)),
    **{mode: lambda mode=mode: bidirectional(mode) for mode in ("sum", "mul", "ave")},
    "dense": lambda: keras.layers.Dense(3, use_bias=False),
    "dropout": lambda: keras.layers.Dropout(0.5),
}


def test_every_arrangement_of_layers_is_equal_or_refused() -> None:
    x, outcomes = x_of(5, 4, D), {True: 0, False: 0}
    middle = ("backwards", "dense")
    for chain in (
        *itertools.product(ARRANGED),
        *itertools.product(ARRANGED, ("bidirectional", *middle)),
        *itertools.product(middle, middle, ("final backwards", "bidirectional", *middle)),
    ):
        final = next((i for i, name in enumerate(chain) if "final" in name), len(chain))
        if not {"dense", "dropout"}.issuperset(chain[final + 1 :]) or chain == ("dropout",):
            continue  # Keras refuses a recurrent layer after a final state
        theirs = keras.Sequential([keras.Input((None, D)), *(ARRANGED[name]() for name in chain)])
        rng = np.random.default_rng(0)
        theirs.set_weights([rng.standard_normal(weight.shape) * 0.5 for weight in theirs.get_weights()])
        outcomes[equal_or_refused(theirs, chain, x)] += 1
    assert outcomes == {True: 36, False: 21}


def equal_or_refused(theirs: Any, chain: Sequence[str], x: Any) -> bool:
    """Whether from_keras accepts the model. If it does, the layers compute the same."""
    try:
        ours = from_keras(theirs, backend="numpy")
    except ValueError:
        return False
    y: Any = x
    recurrent: Any = None
    for each in ours if isinstance(ours, list) else [ours]:
        if isinstance(each, Linear):
            y = each(y)
        else:
            y, recurrent = results(each, y)[0], each
    want = keras.ops.convert_to_numpy(theirs(x.swapaxes(0, 1)))
    if want.ndim == 3:  # Keras returns the steps in the order in which they are computed
        want = want.swapaxes(0, 1)[:: (-1) ** chain.count("backwards")]
    else:
        y = y[-1] if isinstance(each, Linear) else xrnn.last(y, direction=recurrent)
    np.testing.assert_allclose(y, want, err_msg=str(chain), rtol=1e-5, atol=1e-5)
    return True


# ---- refusals ----


def test_keras_layers_that_are_refused() -> None:
    L = keras.layers

    class Mine(L.LSTM):  # type: ignore[misc,name-defined]
        pass

    def built(layer: Any) -> Any:
        layer.build((None, None) if isinstance(layer, L.Embedding) else (None, None, D))
        return layer

    lora = built(L.Dense(4))
    lora.enable_lora(2)
    half = ready(L.LSTM(H, dtype="float16", recurrent_initializer="zeros"))
    two = keras.Sequential([ready(L.LSTM(H)), ready(L.LSTM(H))])
    rows: list[tuple[type[Exception], Any, str, str]] = [
        (ValueError, built(L.LSTM(H, activation="relu")), "activation='relu'", "expected tanh"),
        (ValueError, built(L.GRU(H, recurrent_activation="hard_sigmoid")), "='hard_sigmoid'", "expected sigmoid"),
        (ValueError, built(L.SimpleRNN(H, activation="linear")), "='linear'", "expected tanh or relu or softplus"),
        (ValueError, built(L.Dense(H, activation="softmax")), "='softmax'", "expected linear"),
        (ValueError, built(L.Bidirectional(L.GRU(H), merge_mode="sum")), "merge_mode='sum'", "expected 'concat'"),
        *((TypeError, layer, "layer is a", "one by one") for layer in (Mine(H), L.RNN(L.LSTMCell(H)), L.ReLU(), 3)),
        (ValueError, L.LSTM(H), "layer has no weights yet", "call it on an input"),
        (ValueError, built(L.Embedding(4, 2, mask_zero=True)), "layer has mask_zero=True", "pass lengths"),
        (TypeError, half, "weights in float16", "expected float32 or float64"),
        (ValueError, keras.Sequential(), "layer is an empty Sequential", "add a layer"),
        (ValueError, lora, "layer has LoRA weights", "add their product to the weights"),
        (ValueError, two, "layers[0] has return_sequences=False", "expected True"),
    ]
    for kind, layer, *words in rows:
        with one_line(kind, *words):
            from_keras(layer)


def test_layers_that_keras_lacks() -> None:
    unequal = Bidirectional(GRU.init(2, 3), GRU.init(2, 4, reverse=True))
    sizes = "layers[0] is a Bidirectional of 3 and 4 units: expected two equal sizes"
    refused(
        (ValueError, lambda: to_keras(GRU.init(2, 3, reverse=True)), "layers[0] is a GRU with reverse=True alone"),
        (ValueError, lambda: to_keras([unequal, Linear.init(7, 1)]), sizes),
        (ValueError, lambda: to_keras([unequal, GRU.init(7, 1)]), sizes),
    )


PICK = """
import os, sys, warnings
os.environ.pop("KERAS_BACKEND", None)
import xrnn.exchange.keras as module
find = module.find_spec
module.find_spec = lambda name: find(name) if name in {names} else None
warnings.simplefilter("default")
try:
    print(module.import_keras("a test").backend.backend(), os.environ.get("KERAS_BACKEND"))
except ImportError as error:
    print(error, "keras" in sys.modules)
"""


@pytest.mark.proof
def test_an_installed_backend_is_chosen(tmp_path: Path) -> None:
    """Keras' own default is TensorFlow, installed or not."""
    (tmp_path / "keras.json").write_text('{"backend": "tensorflow"}')
    keras_home = {"KERAS_HOME": str(tmp_path), "XRNN_BACKEND": "numpy"}
    assert output_of(PICK.format(names=["keras", "torch"]), **keras_home).splitlines()[-1] == "torch None"
    assert output_of(PICK.format(names=["keras"]), **keras_home) == (
        "a test needs a backend of Keras, and none is installed: `pip install -e '.[torch]'` False"
    )
