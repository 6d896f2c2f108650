"""The C file of a model computes what its `stream` computes; models without a C form are refused."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xrnn
from tests.errors import one_line
from tests.exchange.compiled_c import WARNINGS, built, outputs, streamed
from tests.exchange.layers import ONE_WAY, ROUNDING, XRNN_ONLY, drawn
from tests.peephole.layer import PeepholeLSTM
from xrnn import GRU, LSTM, RNN, Bidirectional, Dropout, LayerNorm, Linear, Stack, quantize, to_c
from xrnn.exchange import c
from xrnn.exchange.c import identifier, source
from xrnn.exchange.checkpoint import Checkpoint
from xrnn.exchange.model import Model, model_of
from xrnn.ops.int8 import Int8Matrix

T = 9


LAYERS: dict[str, Any] = {
    **ONE_WAY,
    **XRNN_ONLY,
    "leak": lambda: RNN.init(3, 5, leak=0.3),
    "leak of each unit": lambda: RNN.init(3, 5, leak=np.linspace(0.1, 1, 5, dtype="float32")),
    "heads": lambda: Stack([RNN.init(3, 6, heads=2), LSTM.init(6, 6, heads=3), GRU.init(6, 4, heads=4)]),
    "float64": lambda: GRU.init(3, 5, dtype="float64"),
    "one unit": lambda: LSTM.init(1, 1),
}


@pytest.fixture(autouse=True)
def _numpy_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XRNN_BACKEND", "numpy")


def signal(D: int, dtype: Any = "float32") -> Any:
    return np.random.default_rng(3).standard_normal((T, D)).astype(dtype)


@pytest.mark.parametrize("name", LAYERS)
def test_equals_stream(name: str, tmp_path: Path) -> None:
    layer = drawn(LAYERS[name]())
    to_c(layer, tmp_path / "model.c")
    x = signal(layer.input_size, layer.params[0].dtype)
    np.testing.assert_allclose(outputs(built(tmp_path, "model"), x), streamed(layer, x), **ROUNDING)


QUANTIZED = {name: make for name, make in LAYERS.items() if name not in ("heads", "float64")} | {
    "wide": lambda: GRU.init(33, 16),
    "narrow": lambda: LSTM.init(7, 19),
}


def quantized(name: str) -> Any:
    layer = drawn(QUANTIZED[name]())
    layer.Wh[...] /= layer.hidden_size**0.5
    return quantize(layer)


def signal_for(layer: Any) -> tuple[Any, Any]:
    """x (T, D) and h (T, H), in which 127 h / max |h| is never within 1e-3 of the middle between two integers.

    There, a rounding error of h would decide which integer it becomes.
    """
    for seed in itertools.count():
        x = np.random.default_rng(seed).standard_normal((T, layer.input_size)).astype("float32")
        h = streamed(layer, x)
        shares = 127 * h / np.maximum(np.abs(h).max(axis=1, keepdims=True), 1e-30)
        if (np.abs(shares % 1 - 0.5) > 1e-3).all():
            return x, h
    raise AssertionError


@pytest.mark.parametrize("name", QUANTIZED)
def test_the_file_of_a_quantized_layer_equals_stream_and_holds_its_integers(name: str, tmp_path: Path) -> None:
    layer = quantized(name)
    to_c(layer, tmp_path / "model.c")
    x, h = signal_for(layer)
    np.testing.assert_allclose(outputs(built(tmp_path, "model"), x), h, **ROUNDING)
    text = (tmp_path / "model.c").read_text()
    parts = {part: layer.named_params[part] for part in ("Wx", "Wh") if layer.named_params[part].size}
    for part, matrix in parts.items():
        content = re.search(rf"const int8_t model_{part}0\[\d+\] = {{(.*?)}};", text, re.DOTALL)
        assert content
        columns = np.array([int(word) for word in content[1].split(",")]).reshape(-1, len(matrix))
        assert sorted(map(tuple, columns)) == sorted(map(tuple, matrix.T))


@pytest.mark.parametrize("name", ["tanh", "relu", "leak", "lstm", "gru"])
def test_nan_and_infinity_in_the_x_of_a_quantized_layer_give_nan(name: str, tmp_path: Path) -> None:
    layer = quantized(name)
    to_c(layer, tmp_path / "model.c")
    program, x = built(tmp_path, "model"), np.ones((3, 3), "float32")
    for x[1, 2] in (np.nan, np.inf, -np.inf):
        h = outputs(program, x)
        np.testing.assert_array_equal(np.isnan(h), np.isnan(streamed(layer, x)))
        np.testing.assert_array_equal(np.isnan(h).all(axis=1), [False, True, True])


def test_very_small_and_very_large_numbers_for_a_quantized_layer(tmp_path: Path) -> None:
    layer = quantized("gru")
    to_c(layer, tmp_path / "model.c")
    program = built(tmp_path, "model")
    for x in (0.0, 1e-31, 1e-29, 3e38):
        row = np.full((1, 3), x, "float32")
        with np.errstate(over="ignore"):  # of the plain form
            np.testing.assert_allclose(outputs(program, row), streamed(layer, row), **ROUNDING)


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


def whole_model() -> tuple[list[Any], Any]:
    """Layers of every kind, and their outputs for `signal(2)`."""
    stack = Stack([drawn(GRU.init(4, 5)), drawn(LayerNorm.init(5)), quantize(drawn(LSTM.init(5, 6)))], dropout=0.5)
    before, after = drawn(Linear.init(2, 4)), drawn(Linear.init(6, 3))
    return [before, stack, Dropout(0.5), after], after(streamed(stack, before(signal(2))))


def test_a_chain_of_layers(tmp_path: Path) -> None:
    layers, y = whole_model()
    to_c(layers, tmp_path / "model.c", softmax=True)
    p = np.exp(y) / np.exp(y).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(outputs(built(tmp_path, "model"), signal(2)), p, rtol=1e-5, atol=1e-5)


def test_on_arm64(tmp_path: Path) -> None:
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("this machine has no qemu-aarch64: apt-get install qemu-user gcc-aarch64-linux-gnu")
    layers, y = whole_model()
    to_c(layers, tmp_path / "model.c")
    program = built(tmp_path, "model", compiler="aarch64-linux-gnu-gcc", flags=["-O2", "-static"])
    np.testing.assert_allclose(outputs(program, signal(2), "qemu-aarch64"), y, rtol=1e-5, atol=1e-5)


def test_an_embedding_reads_an_index(tmp_path: Path) -> None:
    embedding, rnn = drawn(xrnn.Embedding.init(5, 3)), drawn(RNN.init(3, 4))
    to_c({"embedding": embedding, "rnn": rnn}, tmp_path / "model.c")
    program = built(tmp_path, "model", index=True)
    index = np.array([0, 4, 2, 2, 1])
    np.testing.assert_allclose(outputs(program, index), streamed(rnn, embedding(index)), **ROUNDING)
    np.testing.assert_array_equal(outputs(program, [-1, 5, 2**31 - 1]), outputs(program, [0, 0, 0]))


def test_scale_and_mean_as_those_of_a_classifier(tmp_path: Path) -> None:
    """Missing values keep the last value, or the mean at first; large ones are limited."""
    from xrnn.series.scale import Scale

    stack, linear = drawn(GRU.init(2, 5)), drawn(Linear.init(5, 3))
    mean, deviation = np.array([1e3, -2.0]), np.array([3.0, 0.25])
    x = signal(2) * [3, 0.25] + [1e3, -2]
    x[:2, 0] = x[5, 1] = np.nan
    x[7] = 1e30, -1e30
    text = source(Model((stack, linear), (mean, deviation), mean=True), "model")
    (tmp_path / "model.c").write_text(text)
    to_c([stack, linear], tmp_path / "public.c", "model", scale=(mean, deviation), mean=True)
    assert (tmp_path / "public.c").read_text() == text
    h = streamed(stack, Scale(mean, deviation).apply(x.astype("float32").astype(float)))
    y = linear((np.cumsum(h, axis=0) / np.arange(1, T + 1)[:, None]).astype("float32"))
    np.testing.assert_allclose(outputs(built(tmp_path, "model"), x.astype("float32")), y, rtol=1e-5, atol=1e-5)


def last_models() -> dict[str, Any]:
    """Layers and options of models that look at the last steps, in float32."""
    gru, linear = drawn(GRU.init(2, 5)), drawn(Linear.init(5, 3))
    scale = np.array([1e3, -2.0]), np.array([3.0, 0.25])
    return {
        "classifier": ([gru, linear], {"scale": scale, "mean": True, "softmax": True}),
        "layers after it": ([drawn(LSTM.init(2, 5)), drawn(LayerNorm.init(5)), linear], {}),
        "a layer alone": ([drawn(LSTM.init(2, 5)), drawn(xrnn.SLSTM.init(5, 3))], {"mean": True}),
        "int8": ([quantize(gru), linear], {"mean": True}),
        "one unit": ([drawn(RNN.init(2, 1))], {"mean": True}),
    }


@pytest.mark.parametrize("last", [1, 4, T, T + 1])
@pytest.mark.parametrize("name", last_models())
def test_the_last_steps_are_the_whole_signal(name: str, last: int, tmp_path: Path) -> None:
    """y is what a program without `last` computes for these steps alone, bit for bit. `built` checks all accesses."""
    layers, options = last_models()[name]
    x = signal(2) * [3, 0.25] + [1e3, -2] if "scale" in options else signal(2)
    if "scale" in options:
        x[0, 0] = x[4:6, 1] = np.nan
    x = np.concatenate([x, x[::-1]]).astype("float32")
    to_c(layers, tmp_path / "model.c", **options)
    program = built(tmp_path, "model")
    want = [outputs(program, x[max(0, t - last) : t])[-1] for t in range(1, len(x) + 1)]
    to_c(layers, tmp_path / "model.c", last=last, **options)
    np.testing.assert_array_equal(outputs(built(tmp_path, "model"), x), want)


def test_the_last_indices_of_an_embedding(tmp_path: Path) -> None:
    embedding, rnn = xrnn.Embedding.init(5, 3, rng=0), drawn(RNN.init(3, 4))
    to_c([embedding, rnn], tmp_path / "model.c", last=2)
    index = np.array([0, 4, 2, 2, 1])
    want = [streamed(rnn, embedding(index[max(0, t - 2) : t]))[-1] for t in range(1, 6)]
    np.testing.assert_allclose(outputs(built(tmp_path, "model", index=True), index), want, **ROUNDING)


SIZES = """
#include <stdio.h>
#include "model.c"
int main(void) {
    static model_state state, other;
    static const float x[2] = {1, 2};
    float y[model_OUTPUT], expected[model_OUTPUT];
    model_init(&state);
    model_init(&other);
    for (int t = 0; t < 9; t++) model_step(&other, x, expected);
    for (int t = 0; t < 8; t++) model_step(&state, x, NULL);
    model_step(&state, x, y);
    printf("%zu %d", sizeof state, memcmp(y, expected, sizeof y));
}
"""


@pytest.mark.parametrize("name", last_models())
def test_the_file_says_the_bytes_of_its_state_and_a_step_may_only_keep_x(name: str, tmp_path: Path) -> None:
    layers, options = last_models()[name]
    to_c(layers, tmp_path / "model.c", last=7, **options)
    (tmp_path / "sizes.c").write_text(SIZES)
    subprocess.run(["gcc", *WARNINGS, "sizes.c", "-o", "sizes", "-lm"], cwd=tmp_path, check=True)
    size, different = subprocess.run([tmp_path / "sizes"], capture_output=True, text=True, check=True).stdout.split()
    assert different == "0"
    assert f"scratch memory: {int(size):,} bytes, if a double has 8. */" in (tmp_path / "model.c").read_text()


def test_the_mean_of_a_million_steps(tmp_path: Path) -> None:
    """A sum in float would lose digits of each h: 0.3 % after as many steps."""
    rnn = drawn(RNN.init(1, 1))
    to_c(rnn, tmp_path / "model.c", mean=True)
    found = outputs(built(tmp_path, "model", flags=["-O2"], repeats=1_000_000), [[0.8]])
    np.testing.assert_allclose(found, streamed(rnn, np.full((50, 1), 0.8, "float32"))[-1:], rtol=1e-5)


def test_a_compiler_that_assumes_finite_numbers_is_refused(tmp_path: Path) -> None:
    to_c(RNN.init(1, 1), tmp_path / "model.c")
    done = subprocess.run(["gcc", "-c", "-ffast-math", "model.c"], cwd=tmp_path, capture_output=True, text=True)
    assert "compile without -ffast-math" in done.stderr


def test_weights_are_exact(tmp_path: Path) -> None:
    values = np.array([[1e-45, -0.0, 3.4028235e38, 0.1], [1, 1 / 3, -1e-38, 2**-126]], "float32")
    linear = Linear(values, np.zeros(4, "float32"))
    to_c(linear, tmp_path / "model.c")
    program = built(tmp_path, "model")
    np.testing.assert_array_equal(outputs(program, np.eye(2)), values)


def test_labels_are_string_literals(tmp_path: Path) -> None:
    labels = ("walk", 'a"b\\', "ü??/\n", "@_x")
    text = source(Model((drawn(Linear.init(2, 4)),), labels=labels), "model")
    (tmp_path / "model.c").write_text(text)
    literals = re.findall(r'^    "(.*)",?$', text, re.MULTILINE)
    read = [re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), one) for one in literals]
    assert [one.encode("latin-1").decode() for one in read] == [*labels]
    built(tmp_path, "model")


def test_identifiers() -> None:
    names = {"gesture": "gesture", "a-b.c d": "a_b_c_d", "7segments": "m7segments", "__x__": "x"}
    assert {name: identifier(name) for name in names} == names
    with one_line(ValueError, "name is 'ß–'", "an ASCII letter or digit"):
        identifier("ß–")


def test_a_c_compiler_and_a_cpp_compiler_read_every_function(tmp_path: Path) -> None:
    recurrent = [RNN.init(6, 6, leak=0.3), LSTM.init(6, 6), GRU.init(6, 6), GRU.init(6, 6, reset_after=False)]
    recurrent += [xrnn.MinGRU.init(6, 6, candidate="positive"), xrnn.MinLSTM.init(6, 6), xrnn.SLSTM.init(6, 6)]
    recurrent += [xrnn.LRU.init(6, 3), RNN.init(6, 6, leak=0.3, trains_leak=True)]
    layers = [*map(drawn, [*recurrent, LayerNorm.init(6), Linear.init(6, 2)]), drawn(LayerNorm.init(2))]
    layers.insert(1, quantize(drawn(GRU.init(6, 6))))
    scale = np.zeros(6), np.ones(6)
    text = source(Model(tuple(layers), scale, mean=True, softmax=True, labels=("a", "b")), "model")
    assert all(f"model_{function}(" in text for function in c._cells_c()[1])
    # Any word can take the place of "model": then a local variable word_scale would hide the array word_scale.
    names = set(re.findall(r"\b[A-Za-z_]\w*", re.sub(r'/\*.*?\*/|#include[^\n]*|"[^"]*"', "", text, flags=re.DOTALL)))
    of_file = {name.removeprefix("model_") for name in names if name.startswith("model_")}
    others = {name for name in names if not name.startswith("model_")}
    assert not [(one, other) for one in others for other in of_file if one.endswith(f"_{other}")]
    (tmp_path / "model.c").write_text(text)
    in_c = outputs(built(tmp_path, "model"), signal(6))
    in_cpp = outputs(built(tmp_path, "model", compiler="g++", standard="c++2b"), signal(6))
    np.testing.assert_array_equal(in_cpp, in_c)


def test_gates_of_min_lstm_that_are_minus_infinity(tmp_path: Path) -> None:
    layer = xrnn.MinLSTM.init(1, 2, rng=0)
    layer.Wx[:, :4] = -3e38
    x = np.array([[2], [0.5]], "float32")
    to_c(layer, tmp_path / "model.c")
    found = outputs(built(tmp_path, "model"), x)
    assert np.isfinite(found).all()
    with np.errstate(over="ignore"):  # of the plain form
        np.testing.assert_allclose(found, layer(x[:, None])[:, 0], rtol=1e-5)


# ---- refusals ----


def test_layers_that_run_in_reverse_and_weights_that_are_not_finite_float32_are_refused(tmp_path: Path) -> None:
    path, both = tmp_path / "model.c", Bidirectional.init(GRU, 2, 3)
    path.write_text("before")
    for layer in (GRU.init(2, 3, reverse=True), both, Stack([both])):
        with one_line(ValueError, "layers[0]", "in reverse", "expected layers that run forward"):
            to_c(layer, path)
    for value in (np.nan, np.inf, 1e39):
        layer = GRU.init(2, 3, dtype="float64")
        layer.params[1][0, 0] = value
        with one_line(ValueError, "Wh of layers[0]", "NaN, infinity", "expected finite"):
            to_c(layer, path)
    assert path.read_text() == "before"


def test_refused_models() -> None:
    gru, own = GRU.init(2, 3), PeepholeLSTM.init(2, 3)
    series = Checkpoint(xrnn.Network(gru=gru), None, {"job": "xrnn series classifier"})
    assert model_of(Checkpoint(series.layers, None, {"job": "mine"})).layers == (gru,)
    rows: list[tuple[type[Exception], Any, dict[str, Any], str]] = [
        (TypeError, own, {}, "is a tests.peephole.layer.PeepholeLSTM"),
        (TypeError, 3, {}, "is a int: expected RNN"),
        (TypeError, ["x"], {}, "is a str: expected RNN"),
        (TypeError, Path("x"), {}, "layers is a path: use xrnn.load"),
        (ValueError, [], {}, "layers is empty"),
        (ValueError, series, {}, "a model of series, which needs its scale"),
        (ValueError, [gru, Linear.init(4, 2)], {}, "takes 4 features, but the layer before it gives 3"),
        (ValueError, [gru, xrnn.Embedding.init(3, 2)], {}, "layers[1] is an Embedding"),
        (ValueError, [gru, Linear.init(3, 2, dtype="float64")], {}, "layers[1]"),
        (TypeError, gru, {"mean": "no"}, "mean is 'no': expected True or False"),
        (TypeError, gru, {"softmax": "no"}, "softmax is 'no': expected True or False"),
        (ValueError, Linear.init(2, 3), {"last": 3}, "got last= without a recurrent layer"),
        (ValueError, gru, {"last": -1}, "last is -1"),
        (TypeError, gru, {"last": "3"}, "last is '3'"),
        (ValueError, Linear.init(2, 3), {"mean": True}, "mean=True without a recurrent layer"),
        (TypeError, gru, {"scale": np.zeros(2)}, "scale is a numpy.ndarray: expected a pair"),
        (ValueError, gru, {"scale": ([0.0] * 3, [1.0] * 2)}, "scale has shapes (3,) and (2,)"),
        (ValueError, gru, {"scale": ([0.0, np.nan], [1.0, 1.0])}, "scale has numbers that are not finite"),
        (ValueError, gru, {"scale": ([0.0, 0.0], [1.0, 0.0])}, "use 1 for a feature that does not vary"),
    ]
    for kind, layers, options, words in rows:
        with one_line(kind, words):
            model_of(layers, **options)
    with one_line(ValueError, "last is 2,000,000, but a C program keeps up to 1,048,576 steps; take a smaller number"):
        source(model_of(gru, last=2_000_000), "model")
    with one_line(ValueError, "layers[0] has a size above 1,048,576"):
        source(model_of(xrnn.Embedding(np.zeros((2**20 + 1, 1), "float32"))), "model")


@pytest.mark.parametrize(("compiler", "standard"), [("gcc", "c99"), ("gcc", "c2x"), ("g++", "c++17"), ("g++", "c++2b")])
def test_the_functions_are_a_file_that_compiles(compiler: str, standard: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    language = "c" if compiler == "gcc" else "c++"
    flags = [f"-std={standard}", *WARNINGS, "-Wno-unused-function", "-fsyntax-only", "-x", language]
    subprocess.run([compiler, *flags, Path(c.__file__).with_name("cells.c")], check=True)
