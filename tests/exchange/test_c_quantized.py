"""The C file of a quantized layer has its integers, and computes what its `stream` computes."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.exchange.compiled_c import built, outputs, streamed
from tests.exchange.layers import ROUNDING, drawn
from tests.thin import thin
from xrnn import GRU, LSTM, RNN, SLSTM, LayerNorm, Linear, MinGRU, MinLSTM, Stack, quantize, to_c
from xrnn.ops.int8 import Int8Matrix, quantize_rows

T = 9
LAYERS: dict[str, Any] = {
    "tanh": RNN.init,
    "relu": lambda D, H: RNN.init(D, H, nonlinearity="relu"),
    "leak": lambda D, H: RNN.init(D, H, leak=0.3),
    "leak of each unit": lambda D, H: RNN.init(D, H, leak=np.linspace(0.1, 1, H, dtype="float32")),
    "lstm": LSTM.init,
    "gru": GRU.init,
    "gru reset before": lambda D, H: GRU.init(D, H, reset_after=False),
    "min gru": MinGRU.init,
    "slstm": SLSTM.init,
    "min lstm": lambda D, H: MinLSTM.init(D, H, candidate="positive"),
}


@pytest.fixture(autouse=True)
def _numpy_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XRNN_BACKEND", "numpy")


def make(name: str, D: int, H: int, seed: int = 7) -> Any:
    layer = drawn(LAYERS[name](D, H), seed)
    layer.Wh[...] /= H**0.5
    return quantize(layer)


def signal_for(layer: Any, D: int, run: Any = streamed) -> tuple[Any, Any]:
    """x (T, D) and h (T, H), in which 127 h / max |h| is never within 1e-3 of the middle between two integers.

    There, a rounding error of h would decide which integer it becomes.
    """
    for seed in itertools.count():
        x = np.random.default_rng(seed).standard_normal((T, D)).astype("float32")
        h = run(layer, x)
        shares = 127 * h / np.maximum(np.abs(h).max(axis=1, keepdims=True), 1e-30)
        if (np.abs(shares % 1 - 0.5) > 1e-3).all():
            return x, h
    raise AssertionError


@pytest.mark.parametrize(("name", "sizes"), thin([*LAYERS], [(1, 1), (3, 5), (7, 19), (33, 16)]))
def test_equals_stream(name: str, sizes: tuple[int, int], tmp_path: Path) -> None:
    D, H = sizes
    layer = make(name, D, H)
    x, h = signal_for(layer, D)
    to_c(layer, tmp_path / "model.c")
    np.testing.assert_allclose(outputs(built(tmp_path, "model"), x), h, **ROUNDING)


def test_a_chain_of_layers(tmp_path: Path) -> None:
    first, norm, second, readout = make("gru", 2, 5), drawn(LayerNorm.init(5)), make("lstm", 5, 7), Linear.init(7, 3)

    def chain(layers: Any, x: Any) -> Any:
        return streamed(second, norm(streamed(first, x)))

    x, h = signal_for(None, 2, chain)
    assert np.abs(quantize_rows(norm(streamed(first, x)))[0]).max() == 127
    to_c([Stack([first, norm, second]), readout], tmp_path / "model.c")
    np.testing.assert_allclose(outputs(built(tmp_path, "model"), x), readout(h), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_the_file_holds_the_integers_by_columns(name: str, tmp_path: Path) -> None:
    layer = make(name, 3, 5)
    to_c(layer, tmp_path / "model.c")
    text = (tmp_path / "model.c").read_text()
    parts = {part: layer.named_params[part] for part in ("Wx", "Wh") if layer.named_params[part].size}
    for part, matrix in parts.items():
        content = re.search(rf"const int8_t model_{part}0\[\d+\] = {{(.*?)}};", text, re.DOTALL)
        assert content
        columns = np.array([int(word) for word in content[1].split(",")]).reshape(-1, len(matrix))
        assert sorted(map(tuple, columns)) == sorted(map(tuple, matrix.T))
    assert text.count("static const float ") == len(parts) + 1 + ("leak" in name)  # scales, b and leak


@pytest.mark.parametrize(("name", "value"), thin(["tanh", "relu", "leak", "lstm", "gru"], [np.nan, np.inf, -np.inf]))
def test_nan_and_infinity_in_x_give_nan(name: str, value: float, tmp_path: Path) -> None:
    layer = make(name, 3, 5)
    x = np.ones((3, 3), "float32")
    x[1, 2] = value
    to_c(layer, tmp_path / "model.c")
    h = outputs(built(tmp_path, "model"), x)
    np.testing.assert_array_equal(np.isnan(h), np.isnan(streamed(layer, x)))
    assert not np.isnan(h[0]).any()
    assert np.isnan(h[1:]).all()


@pytest.mark.parametrize("x", [0.0, 1e-31, 1e-29, 3e38])
def test_very_small_and_very_large_numbers(x: float, tmp_path: Path) -> None:
    layer, row = make("gru", 3, 5), np.full((1, 3), x, "float32")
    to_c(layer, tmp_path / "model.c")
    with np.errstate(over="ignore"):  # of the plain form
        np.testing.assert_allclose(outputs(built(tmp_path, "model"), row), streamed(layer, row), **ROUNDING)


def test_a_column_of_the_largest_sums(tmp_path: Path) -> None:
    """65,536 products of 127 · -128 fit the 32 bits of the sum."""
    D = 2**16
    Wx = Int8Matrix(np.full((D, 1), -128, "int8"), np.full(1, 2.0**-30, "float32"))
    Wh = Int8Matrix(np.zeros((1, 1), "int8"), np.zeros(1, "float32"))
    layer = RNN(Wx, Wh, np.zeros(1, "float32"))  # type: ignore[arg-type]
    x = np.ones((1, D), "float32")
    to_c(layer, tmp_path / "model.c")
    h = outputs(built(tmp_path, "model"), x)
    np.testing.assert_allclose(h, np.tanh(-D * 128 * 2.0**-30), **ROUNDING)
    np.testing.assert_allclose(h, streamed(layer, x), **ROUNDING)
