"""`xrnn convert` and `xrnn info FILE`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import xrnn
from tests.commands.runs import FORECAST, RUNS, Capture, Run, failed, name_of
from tests.exchange.compiled_c import built, outputs
from tests.exchange.layers import assert_alike, drawn
from tests.exchange.onnx_models import run
from tests.series.labelled.tiny import TINY_OPTIONS
from tests.series.waves import waves, write_ts
from xrnn import GRU, RNN, Bidirectional, Linear, Stack
from xrnn.commands.main import main
from xrnn.series import Classifier, Regressor
from xrnn.typing import HostArray

pytestmark = pytest.mark.usefixtures("blank_pictures", "workdir")


def stack() -> Any:
    return drawn(Stack([GRU.init(3, 4, backend="numpy"), GRU.init(4, 4, backend="numpy")]))


def convert(*words: str) -> None:
    assert main(["convert", *words]) == 0


def in_c(source: str, x: HostArray, *options: str, index: bool = False) -> HostArray:
    """What the C program of a file computes for each row of x."""
    convert(source, "model.c", "--overwrite", *options)
    return outputs(built(Path.cwd(), "model", index=index), x)


def description(capsys: Capture, file: str) -> dict[str, str]:
    """The lines of `xrnn info FILE`."""
    capsys.readouterr()
    assert main(["info", file]) == 0
    return dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())


@pytest.mark.needs("onnx", "onnx")
def test_onnx_and_back(capsys: Capture) -> None:
    """Several layers that are no Stack become a checkpoint."""
    readout = drawn(Linear.init(4, 2, backend="numpy"))
    xrnn.save("a.safetensors", stack())
    xrnn.to_onnx([stack(), readout], "b.onnx")
    convert("a.safetensors", "a.onnx")
    assert capsys.readouterr().out == "a.safetensors → a.onnx: GRU, GRU; 212 parameters\n"
    assert description(capsys, "a.onnx")["weights"] == "212"
    convert("a.onnx", "c.safetensors")
    assert_alike(xrnn.load("c.safetensors"), stack())
    convert("b.onnx", "d.safetensors")
    layers = xrnn.load_checkpoint("d.safetensors").layers
    assert_alike(layers["0"], stack())
    assert_alike(layers["1"], readout)
    convert("d.safetensors", "e.onnx", "--lengths", "--states")


@pytest.mark.needs("onnx", "onnx")
def test_a_quantized_layer_in_c(capsys: Capture) -> None:
    layer = xrnn.quantize(drawn(GRU.init(3, 4, backend="numpy")))
    x = np.ones((1, 3), "float32")
    xrnn.save("a.safetensors", layer)
    assert_allclose(in_c("a.safetensors", x), layer.stream(x)[0], rtol=2e-6, atol=2e-6)
    assert capsys.readouterr().out == "a.safetensors → model.c: quantized GRU; 124 parameters\n"
    assert description(capsys, "a.safetensors")["layers"] == "[quantized GRU(3 → 4, 124 parameters, int8, numpy)]"
    convert("a.safetensors", "b.safetensors")
    assert_array_equal(xrnn.load("b.safetensors")(x), layer(x))
    xrnn.save_checkpoint("c.safetensors", {"rnn": layer, "readout": drawn(Linear.init(4, 2, backend="numpy"))})
    convert("c.safetensors", "c.c")
    assert capsys.readouterr().out.endswith("c.safetensors → c.c: quantized GRU, Linear; 134 parameters\n")
    words = "is a quantized GRU, which this format cannot hold: expected float32 or float64 layers; write it to .safe"
    assert words in failed(capsys, "convert", "a.safetensors", "b.onnx")


# ---- checkpoints of commands ----


def trained(*options: str) -> Classifier:
    """The classifier in the file c.safetensors, without names of channels."""
    train, test = write_ts(Path("train.ts"), waves(10, 0)), write_ts(Path("test.ts"), waves(6, 1))
    words = [str(train), str(test), *TINY_OPTIONS, "--epochs", "5", "--out", "c.safetensors"]
    assert main(["classify", *words, *options]) == 0
    return Classifier.load("c.safetensors")


def long_series() -> HostArray:
    """More rows than a series of the training has, with missing values."""
    series = np.concatenate([each.values for each in waves(6, 5)])
    series[1, 0] = series[9, 1] = np.nan
    return series


@pytest.mark.parametrize("last", [None, 3])
def test_a_classifier_in_c(last: int | None, capsys: Capture) -> None:
    """The program gives the probabilities of a stream, missing values included; with --int8, nearly."""
    classifier = trained("--one-way")
    series = long_series()
    options = [] if last is None else ["--last", str(last)]
    rows = in_c("c.safetensors", series, *options)
    streamed = np.array([*classifier.stream(series, last)])
    assert_allclose(rows, streamed, rtol=1e-5, atol=1e-6)
    assert "model_labels[model_OUTPUT] = {" in Path("model.c").read_text()
    described = description(capsys, "c.safetensors")
    assert described["kind"].startswith("Classifier(model=")
    assert described["classes"] == "['quick', 'slow']"
    p = in_c("c.safetensors", series, "--int8", *options)
    assert "→ model.c: quantized GRU" in capsys.readouterr().out
    assert 1e-5 < np.abs(p - streamed).max() < 0.05


@pytest.mark.parametrize("patch", [2, 3])
def test_a_step_of_a_classifier_with_patches_in_c_is_a_patch(patch: int, capsys: Capture) -> None:
    """Also at the start of the last rows, where the first change is missing as in a series."""
    classifier = trained("--one-way", "--patch", str(patch))
    assert classifier.steps_ % patch == 0
    rng = np.random.default_rng(0)
    series = rng.standard_normal((30, 2)) + np.arange(30)[:, None]
    changes = np.diff(series, axis=0, prepend=np.nan)
    rows = in_c("c.safetensors", np.concatenate([series, changes], axis=1).reshape(30 // patch, -1))
    expected = [*classifier.stream(series)][patch - 1 :: patch]
    assert_allclose(rows, expected, rtol=1e-5, atol=1e-6)
    described = description(capsys, "c.safetensors")
    assert (described["patch"], described["scaling"]) == (str(patch), "shared")


@pytest.mark.needs("onnx", "onnx")
def test_c_holds_one_window_and_onnx_none(capsys: Capture) -> None:
    classifier = trained("--one-way", "--window", "3")
    series = long_series()
    assert classifier.steps_ == 6
    words = (
        "c.safetensors answers by the mean over windows of 3 rows, which a .c file can't hold; give --last 3 for the"
    )
    assert words in failed(capsys, "convert", "c.safetensors", "a.c")
    for last in ("3", "5"):  # the rows of an incomplete window are not counted
        rows = in_c("c.safetensors", series, "--last", last)
        assert_allclose(rows, [*classifier.stream(series, 3)], rtol=1e-5, atol=1e-6)
    words = "c.safetensors can't be converted to .onnx; train a model with --window 0"
    assert words in failed(capsys, "convert", "c.safetensors", "a.onnx")


def test_the_number_of_last_rows_belongs_to_c_files_of_series(capsys: Capture) -> None:
    trained("--one-way")
    assert failed(capsys, "convert", "c.safetensors", "a.onnx", "--last", "3").startswith("got --last for .onnx")
    assert failed(capsys, "convert", "c.safetensors", "a.c", "--last", "0").startswith(
        "--last is 0: expected a whole n"
    )
    xrnn.save("a.safetensors", stack())
    assert failed(capsys, "convert", "a.safetensors", "a.c", "--last", "3").startswith(
        "got --last for a.safetensors, w"
    )


def test_a_refusal_says_how_to_train_a_model_that_the_format_holds(capsys: Capture) -> None:
    trained("--patch", "2", "--scaling", "each")
    trained_with = "can't be converted to {}; train a model with {}"
    for suffix, words in (
        (".onnx", trained_with.format(".onnx", "--scaling shared, --patch 1")),
        (".c", trained_with.format(".c", "--scaling shared, --one-way")),
        (".safetensors", "takes a mean over time, which layers in .safetensors can't hold; convert it to .c or .onnx"),
    ):
        assert words in failed(capsys, "convert", "c.safetensors", f"a{suffix}")
    trained("--overwrite", "--patch", "2")
    assert trained_with.format(".c", "--one-way") in failed(capsys, "convert", "c.safetensors", "a.c")
    assert main(["classify", "train.ts", "test.ts", "--model", "convolutions", "--out", "d.safetensors"]) == 0
    words = trained_with.format(".c", "--model recurrent, --one-way")
    assert words in failed(capsys, "convert", "d.safetensors", "a.c")


@pytest.mark.needs("onnx", "onnx")
def test_a_classifier_in_onnx(capsys: Capture) -> None:
    import onnx

    classifier = trained()
    convert("c.safetensors", "model.onnx", "--lengths")
    series = [each.values for each in waves(2, 5)]
    lengths = np.array([len(values) for values in series], "int32")
    x = np.full((lengths.max(), len(series), series[0].shape[1]), np.nan, "float32")
    for n, values in enumerate(series):
        x[: len(values), n] = values
    (p,) = run(onnx.load("model.onnx"), x=x, lengths=lengths)
    assert_allclose(p, classifier.predict_proba(series), rtol=1e-4, atol=1e-5)
    rows = np.concatenate(series)
    *_, streamed = classifier.stream(rows)
    last = rows[-classifier.steps_ :].astype("float32")[:, None]
    (p,) = run(onnx.load("model.onnx"), x=last, lengths=np.array([len(last)], "int32"))
    assert_allclose(p[0], streamed, rtol=1e-4, atol=1e-5)
    assert "(Sub) is not supported: expected RNN, LSTM, GRU" in failed(capsys, "info", "model.onnx")


def test_a_language_model_in_c() -> None:
    """A checkpoint of a user's own layers, which begin with an embedding."""
    embedding = xrnn.Embedding.init(256, 5, rng=0)
    stack = xrnn.Stack.init(xrnn.GRU, 5, 12, rng=1)
    linear = xrnn.Linear.init(12, 256, rng=2)
    xrnn.save_checkpoint("model.safetensors", {"embedding": embedding, "stack": stack, "linear": linear})
    index = np.frombuffer(b"hello", np.uint8)
    h, _ = stack(embedding(index[:, None]))
    assert_allclose(in_c("model.safetensors", index, index=True), linear(h)[:, 0], rtol=1e-5, atol=1e-5)


def test_a_regression_in_c_predicts_the_target() -> None:
    rng = np.random.default_rng(0)
    X = [rng.standard_normal((6, 2)) + n for n in range(8)]
    y = np.arange(8) + 100.5
    regressor = Regressor(hidden=4, one_way=True, epochs=3).fit(X, y)
    regressor.save("r.safetensors")
    rows = np.concatenate(X)
    assert_allclose(in_c("r.safetensors", rows)[:, 0], [*regressor.stream(rows)], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("run", RUNS, ids=name_of)
def test_info_of_a_checkpoint_with_any_name(run: Run, trained: Path, capsys: Capture) -> None:
    """`--out` names it freely."""
    Path("q1.st").symlink_to(trained / run.command)
    got = description(capsys, "q1.st")
    kinds = {"classify": "Classifier", "regress": "Regressor", "forecast": "Forecaster"}
    assert got["kind"].startswith(f"{kinds[run.command]}(")
    if run is FORECAST:
        assert "horizon=3" in got["model"]
        words = "is a forecaster, which has no layers to convert; run `xrnn pr"
        assert words in failed(capsys, "convert", "q1.st", "a.c")


# ---- files of layers ----


@pytest.mark.parametrize("options", [[], ["--int8"]])
def test_a_file_of_xrnn_keeps_names_and_other_values(options: list[str], capsys: Capture) -> None:
    layers = {"encoder": stack(), "readout": drawn(Linear.init(4, 2)), "decoder": GRU.init(4, 4, rng=0)}  # no chain
    extra = {"epoch": 6, "state": np.arange(3)}
    adam = xrnn.Adam([layers["readout"]])
    adam.step()
    xrnn.save_checkpoint("a.safetensors", layers, optimizer=adam, extra=extra)
    described = description(capsys, "a.safetensors")
    assert (described["names"], described["extra"]) == ("['encoder', 'readout', 'decoder']", "['epoch', 'state']")
    convert("a.safetensors", "b.safetensors", *options)
    again = xrnn.load_checkpoint("b.safetensors")
    assert_array_equal(again.extra.pop("state"), extra["state"])
    assert (again.extra, again.optimizer is None) == ({"epoch": 6}, bool(options))
    for name, layer in layers.items():
        assert_alike(again.layers[name], xrnn.quantize(layer) if options and name != "readout" else layer)
    stacked = Stack([GRU.init(3, 4, rng=0), GRU.init(4, 4, rng=1)], dropout=0.5)
    xrnn.save("c.safetensors", stacked)
    convert("c.safetensors", "d.safetensors", *options)
    assert_alike(xrnn.load("d.safetensors"), xrnn.quantize(stacked) if options else stacked)


def test_int8_quantizes_what_is_not_quantized(capsys: Capture) -> None:
    gru = GRU.init(3, 4, backend="numpy")
    xrnn.save("a.safetensors", Stack([xrnn.quantize(gru), GRU.init(4, 5, backend="numpy")]))
    convert("a.safetensors", "b.safetensors", "--int8")
    assert all(layer.is_int8 for layer in xrnn.load("b.safetensors").layers)
    for layer, words in (
        (Linear.init(3, 4, backend="numpy"), "the model has no layer to quantize: --int8 expects a recurrent one"),
        (xrnn.quantize(gru), "the model has no layer to quantize"),
        (Bidirectional.init(GRU, 3, 4, heads=2, backend="numpy"), "this GRU has 2 heads: expected a matrix Wh"),
    ):
        xrnn.save("a.safetensors", layer, overwrite=True)
        assert words in failed(capsys, "convert", "a.safetensors", "b.c", "--int8")


@pytest.mark.needs("onnx", "onnx")
def test_what_cannot_be_converted(capsys: Capture) -> None:
    xrnn.save("a.safetensors", Bidirectional.init(RNN, 2, 3, leak=0.5))
    xrnn.save_checkpoint("two.safetensors", {"one": GRU.init(3, 4), "other": Linear.init(3, 2)})  # no chain
    xrnn.save_checkpoint("none.safetensors", {}, extra={"epoch": 6})
    Path("other.st").write_bytes(b"abc")
    before = sorted(os.listdir())
    for words, message in (
        ("a.safetensors b.txt", "OUT is b.txt; its name must end in .onnx, .safetensors, .c"),
        (
            "other.st b.c",
            "other.st is not a safetensors file: expected a file of xrnn; name one that xrnn.save, xrnn.s",
        ),
        ("a.safetensors a.safetensors", "already exists; choose another name, or --overwrite"),
        ("a.safetensors a.safetensors --overwrite", "a.safetensors is among the files to read"),
        ("a.safetensors 日本.c", "name is '日本': expected an ASCII letter or digit"),
        ("a.safetensors b.c --lengths", "got --lengths for .c, but it is for .onnx; leave it out"),
        ("a.safetensors b.onnx --int8", "got --int8 for .onnx, but it is for .c and .safetensors"),
        ("a.safetensors b.c", "runs in reverse"),
        ("a.safetensors b.onnx", "the cell 'leaky_rnn', which ONNX does not have"),
        ("two.safetensors b.onnx", "layers[1] takes 3 features, but the layer before it gives 4"),
        ("none.safetensors b.c", "none.safetensors has no layers"),
        ("nothing.onnx b.c", "can't read nothing.onnx"),
        ("nothing.safetensors b.c", "can't read nothing.safetensors"),
    ):
        assert message in failed(capsys, "convert", *words.split())
    assert sorted(os.listdir()) == before
    assert "leave one out" in failed(capsys, "info", "a.safetensors", "--explain", "1", "1", "1", "1")


@pytest.mark.needs("onnx", "onnx")
def test_nan_gives_a_warning(capsys: Capture) -> None:
    layer = stack()
    layer.params[0][0, 0] = np.nan
    xrnn.save("a.safetensors", layer)
    convert("a.safetensors", "a.onnx")
    assert "NaN or infinity" in capsys.readouterr().err
    assert main(["convert", "a.safetensors", "a.c"]) == 1
    assert "error: Wx of layers[0] holds NaN" in capsys.readouterr().err
    assert not Path("a.c").exists()
