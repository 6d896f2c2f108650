"""`xrnn convert` and `xrnn info FILE`."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import xrnn
from tests.commands.runs import FORECAST, RUNS, UPDATES, Capture, Patch, Run, failed, name_of
from tests.exchange.alike import assert_alike
from tests.exchange.compiled_c import built, outputs
from tests.exchange.layers import drawn
from tests.exchange.onnx_models import run
from tests.series.labelled.tiny import TINY_OPTIONS
from tests.series.waves import waves, write_ts
from xrnn import GRU, LSTM, RNN, Bidirectional, Linear, Stack
from xrnn.commands.main import main
from xrnn.series import Classifier, Regressor

pytestmark = [
    pytest.mark.usefixtures("blank_pictures"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of Keras
]


@pytest.fixture(autouse=True)
def folder(workdir: Path, monkeypatch: Patch) -> Path:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    return workdir


def stack() -> Any:
    return drawn(Stack([GRU.init(3, 4, backend="numpy"), GRU.init(4, 4, backend="numpy")]))


@pytest.mark.needs("keras", "keras")
@pytest.mark.parametrize("suffix", ["onnx", "keras", "pt"])
def test_there_and_back(suffix: str, capsys: Capture) -> None:
    xrnn.save("a.safetensors", stack())
    assert main(["convert", "a.safetensors", f"b.{suffix}"]) == 0
    assert main(["convert", f"b.{suffix}", "c.safetensors"]) == 0
    assert_alike(xrnn.load("c.safetensors"), stack())
    assert capsys.readouterr().out.splitlines()[0] == f"a.safetensors → b.{suffix}: GRU, GRU; 212 parameters"
    assert main(["info", f"b.{suffix}", "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert (described["parameters"], len(described["layers"])) == (212, 2)
    assert main(["info", "c.safetensors"]) == 0
    assert "layers: GRU(3 → 4, 100 parameters, float32, numpy), GRU(4 → 4" in capsys.readouterr().out


def test_several_layers_become_a_checkpoint(capsys: Capture) -> None:
    readout = drawn(Linear.init(4, 2, backend="numpy"))
    xrnn.to_onnx([stack(), readout], "a.onnx")
    assert main(["convert", "a.onnx", "a.safetensors"]) == 0
    layers = xrnn.load_checkpoint("a.safetensors").layers
    assert_alike(layers["0"], stack())
    assert_alike(layers["1"], readout)
    assert main(["convert", "a.safetensors", "b.onnx", "--lengths", "--states"]) == 0
    assert main(["convert", "a.safetensors", "b.pt"]) == 0
    assert main(["convert", "b.pt", "c.safetensors", "--prefix", "0."]) == 0
    assert_alike(xrnn.load("c.safetensors"), stack())
    capsys.readouterr()
    assert "use --prefix 0." in failed(capsys, "convert", "b.pt", "d.safetensors")


@pytest.mark.needs("keras", "keras")
def test_a_keras_model_that_ends_in_a_softmax(folder: Path, capsys: Capture) -> None:
    import keras
    import onnx

    gru, readout = keras.layers.GRU(4, return_sequences=True), keras.layers.Dense(2, "softmax")
    model = keras.Sequential([keras.Input((None, 3)), gru, keras.layers.Dense(5), readout])
    model.save("a.keras")
    x = np.random.default_rng(0).standard_normal((5, 3)).astype("float32")
    expected = keras.ops.convert_to_numpy(model(x[None]))[0]
    for suffix in ("c", "keras", "onnx"):
        assert main(["convert", "a.keras", f"model.{suffix}"]) == 0
    np.testing.assert_allclose(outputs(built(folder, "model"), x), expected, rtol=2e-6, atol=2e-6)
    again = keras.saving.load_model("model.keras")
    np.testing.assert_allclose(keras.ops.convert_to_numpy(again(x[None]))[0], expected, rtol=2e-6, atol=2e-6)
    (y,) = run(onnx.load("model.onnx"), x=x[:, None])
    np.testing.assert_allclose(y[:, 0], expected, rtol=2e-6, atol=2e-6)
    for suffix in ("pt", "safetensors"):
        assert f"ends in a softmax, which .{suffix} can't hold" in failed(capsys, "convert", "a.keras", f"b.{suffix}")


def test_a_quantized_layer_in_c(folder: Path, capsys: Capture) -> None:
    layer = xrnn.quantize(drawn(GRU.init(3, 4, backend="numpy")))
    xrnn.save("a.safetensors", layer)
    assert main(["convert", "a.safetensors", "model.c"]) == 0
    assert capsys.readouterr().out == "a.safetensors → model.c: quantized GRU; 124 parameters\n"
    x = np.ones((1, 3), "float32")
    np.testing.assert_allclose(outputs(built(folder, "model"), x), layer.stream(x)[0], rtol=2e-6, atol=2e-6)
    assert main(["info", "a.safetensors"]) == 0
    assert "layers: quantized GRU(3 → 4, 124 parameters, int8, numpy)" in capsys.readouterr().out
    assert main(["convert", "a.safetensors", "b.safetensors"]) == 0
    assert_array_equal(xrnn.load("b.safetensors")(x), layer(x))
    xrnn.save_checkpoint("c.safetensors", {"rnn": layer, "readout": drawn(Linear.init(4, 2, backend="numpy"))})
    assert main(["convert", "c.safetensors", "c.c"]) == 0
    assert capsys.readouterr().out.endswith("c.safetensors → c.c: quantized GRU, Linear; 134 parameters\n")
    for suffix in ("onnx", "keras", "pt"):
        printed = failed(capsys, "convert", "a.safetensors", f"b.{suffix}")
        assert "is a quantized GRU, which this format cannot hold" in printed
        assert "; write it to .safetensors or .c, or take the layer that it was made from" in printed
    for options in (["d.c", "--name", "日本"], ["日本.c"]):
        assert "the name 日本 has no ASCII letter or digit" in failed(capsys, "convert", "a.safetensors", *options)
    xrnn.save("a.safetensors", xrnn.LRU.init(3, 4, backend="numpy"))
    for suffix in ("onnx", "keras"):
        assert "; write it to .safetensors, or " in failed(capsys, "convert", "a.safetensors", f"b.{suffix}")


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_a_state_dict_of_an_rnn(nonlinearity: Any, capsys: Capture) -> None:
    import torch

    module = torch.nn.RNN(3, 4, 2, nonlinearity=nonlinearity, bidirectional=True, bias=False)
    others = dict.fromkeys(map(str, range(10)), torch.ones(2))
    torch.save({f"encoder.{key}": value for key, value in module.state_dict().items()} | others, "a.pt")
    assert main(["convert", "a.pt", "a.safetensors", "--prefix", "encoder.", "--nonlinearity", nonlinearity]) == 0
    assert_alike(xrnn.load("a.safetensors"), xrnn.from_torch(module))
    assert capsys.readouterr().err == (
        "warning: left out of a.pt: 0, 1, 2, 3, 4, 5, 6, 7, 2 more; convert these modules by xrnn.from_torch\n"
    )


# ---- checkpoints of commands ----


@pytest.fixture
def classifier(request: pytest.FixtureRequest) -> str:
    train, test = write_ts(Path("train.ts"), waves(10, 0)), write_ts(Path("test.ts"), waves(6, 1))
    kinds = {
        "both": [],
        "patches": ["--one-way", "--patch", "2"],
        "joined": ["--patch", "2", "--scaling", "each"],
    }
    more = kinds.get(getattr(request, "param", ""), ["--one-way"])
    out = ["--out", "gesture.safetensors", "--epochs", "5"]
    assert main(["classify", str(train), str(test), *TINY_OPTIONS, *more, *out]) == 0
    return "gesture.safetensors"


def test_a_classifier_in_c(classifier: str, folder: Path, capsys: Capture) -> None:
    """The program gives the probabilities of `xrnn predict --stream`, missing values included."""
    assert main(["convert", classifier, "model.c", "--name", "gesture"]) == 0
    series = waves(1, 5)[0].values.copy()
    series[1, 0] = np.nan
    rows = outputs(built(folder, "gesture"), series)
    predictor = Classifier.load(classifier)
    for steps in (1, len(series)):
        np.testing.assert_allclose(rows[steps - 1], predictor.predict_proba([series[:steps]])[0], rtol=1e-5, atol=1e-6)
    assert "gesture_labels[gesture_OUTPUT] = {" in Path("model.c").read_text()
    capsys.readouterr()
    assert main(["info", classifier, "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["kind"] == "checkpoint of `xrnn classify`"
    assert described["labels"] == [*map(str, predictor.classes_)]


@pytest.mark.parametrize("classifier", ["patches"], indirect=True)
def test_a_step_of_a_classifier_with_patches_in_c_is_a_patch(classifier: str, folder: Path, capsys: Capture) -> None:
    assert main(["convert", classifier, "model.c"]) == 0
    series = waves(1, 5)[0].values[:4]
    changes = np.diff(series, axis=0, prepend=np.nan)  # the first one is missing
    rows = outputs(built(folder, "model"), np.concatenate([series, changes], axis=1).reshape(2, -1))
    expected = list(Classifier.load(classifier).stream(series))
    np.testing.assert_allclose(rows, [expected[1], expected[3]], rtol=1e-5, atol=1e-6)
    capsys.readouterr()
    assert main(["info", classifier, "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert (described["patch"], described["scaling"]) == (2, "shared")


@pytest.mark.parametrize("classifier", ["joined"], indirect=True)
def test_a_refusal_says_how_to_train_a_model_that_the_format_holds(classifier: str, capsys: Capture) -> None:
    for suffix, words in (
        (".onnx", "trained with --scaling shared, with --patch 1; train one"),
        (".c", "converted to .c: expected a model trained with --scaling shared, with --one-way; train one"),
        (".pt", "takes a mean over time, which layers in .pt can't hold: expected .c or .onnx; convert to one of them"),
    ):
        assert failed(capsys, "convert", classifier, f"a{suffix}").endswith(words)


def test_a_classifier_in_c_with_weights_of_8_bits(classifier: str, folder: Path, capsys: Capture) -> None:
    assert main(["convert", classifier, "model.c", "--int8"]) == 0
    assert "→ model.c: quantized GRU" in capsys.readouterr().out
    series = waves(1, 5)[0].values
    p, expected = outputs(built(folder, "model"), series), [*Classifier.load(classifier).stream(series)]
    assert 1e-5 < np.abs(p - expected).max() < 0.05


def test_int8_needs_a_layer_to_quantize(folder: Path, capsys: Capture) -> None:
    gru = GRU.init(3, 4, backend="numpy")
    for layer, words in (
        (Linear.init(3, 4, backend="numpy"), "the model has no layer to quantize"),
        (xrnn.quantize(gru), "the model has no layer to quantize"),
        (
            Bidirectional(gru, GRU.init(3, 4, reverse=True, backend="numpy")),
            "train a model without Bidirectional",
        ),
    ):
        xrnn.save("a.safetensors", layer)
        assert words in failed(capsys, "convert", "a.safetensors", "b.c", "--int8")
    xrnn.save("a.safetensors", Bidirectional.init(GRU, 3, 4, heads=2, backend="numpy"))
    printed = failed(capsys, "convert", "a.safetensors", "b.safetensors", "--int8")
    assert "--int8 got a GRU with 2 heads" in printed
    assert printed.endswith("; leave out --int8, or train with one head")
    xrnn.save("a.safetensors", Stack([xrnn.quantize(gru), GRU.init(4, 5, backend="numpy")]))
    assert main(["convert", "a.safetensors", "b.safetensors", "--int8"]) == 0
    assert all(layer.is_int8 for layer in xrnn.load("b.safetensors").layers)


@pytest.mark.parametrize("options", [[], ["--int8"]])
def test_a_file_of_xrnn_keeps_names_and_other_values(options: list[str], capsys: Capture) -> None:
    layers = {"encoder": stack(), "readout": drawn(Linear.init(4, 2)), "decoder": GRU.init(4, 4, rng=0)}  # no chain
    extra = {"epoch": 6, "state": np.arange(3)}
    xrnn.save_checkpoint("a.safetensors", layers, optimizer=xrnn.Adam([layers["readout"]]), extra=extra)
    assert main(["convert", "a.safetensors", "b.safetensors", *options]) == 0
    again = xrnn.load_checkpoint("b.safetensors")
    assert_array_equal(again.extra.pop("state"), extra["state"])
    assert (again.extra, again.optimizer is None) == ({"epoch": 6}, bool(options))
    for name, layer in layers.items():
        assert_alike(again.layers[name], xrnn.quantize(layer) if options and name != "readout" else layer)
    stacked = Stack([GRU.init(3, 4, rng=0), GRU.init(4, 4, rng=1)], dropout=0.5)
    xrnn.save("c.safetensors", stacked)
    assert main(["convert", "c.safetensors", "d.safetensors", *options]) == 0
    assert_alike(xrnn.load("d.safetensors"), xrnn.quantize(stacked) if options else stacked)


def test_layers_that_form_no_chain(capsys: Capture) -> None:
    xrnn.save_checkpoint("a.safetensors", {"one": GRU.init(3, 4), "other": Linear.init(3, 2)})
    assert main(["info", "a.safetensors"]) == 0
    assert "names: one, other\nlayers: GRU(3 → 4, " in capsys.readouterr().out
    assert "a.safetensors: layers[1] takes 3 features, but" in failed(capsys, "convert", "a.safetensors", "a.onnx")


@pytest.mark.parametrize("classifier", ["both"], indirect=True)
def test_a_classifier_in_onnx(classifier: str, capsys: Capture) -> None:
    import onnx

    assert main(["convert", classifier, "model.onnx", "--lengths"]) == 0
    series = [each.values for each in waves(2, 5)]
    lengths = np.array([len(values) for values in series], "int32")
    x = np.full((lengths.max(), len(series), series[0].shape[1]), np.nan, "float32")
    for n, values in enumerate(series):
        x[: len(values), n] = values
    (p,) = run(onnx.load("model.onnx"), x=x, lengths=lengths)
    np.testing.assert_allclose(p, Classifier.load(classifier).predict_proba(series), rtol=1e-4, atol=1e-5)
    capsys.readouterr()
    assert main(["info", "model.onnx", "--json"]) == 0  # from_onnx reads no scale
    described = json.loads(capsys.readouterr().out)
    assert (described["kind"], "GRU (1)" in described["operators"]) == ("ONNX model", True)
    assert "(Sub) is not supported: expected RNN, LSTM, GRU" in described["no layers"]


def test_a_language_model_in_c(folder: Path) -> None:
    """A checkpoint of a user's own layers, which begin with an embedding."""
    embedding, stack = xrnn.Embedding.init(256, 5, rng=0), xrnn.Stack.init(xrnn.GRU, 5, 12, rng=1)
    linear = xrnn.Linear.init(12, 256, rng=2)
    xrnn.save_checkpoint("model.safetensors", {"embedding": embedding, "stack": stack, "linear": linear})
    assert main(["convert", "model.safetensors", "model.c"]) == 0
    index = np.frombuffer(b"hello", np.uint8)
    h, _ = stack(embedding(index[:, None]))
    logits = linear(h)[:, 0]
    np.testing.assert_allclose(outputs(built(folder, "model", index=True), index), logits, rtol=1e-5, atol=1e-5)


def test_a_regression_predicts_the_target(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for n in range(8):
        target = Path("series") / f"{n % 4}.5"
        target.mkdir(parents=True, exist_ok=True)
        np.save(target / f"{n}.npy", rng.standard_normal((6, 2)) + n)
    options = [*TINY_OPTIONS, "--one-way", "--epochs", "3", "--out", "r.safetensors"]
    assert main(["regress", "series", *options]) == 0
    assert main(["convert", "r.safetensors", "model.c"]) == 0
    series = np.load(next(Path("series").rglob("*.npy")))
    want = Regressor.load("r.safetensors").predict([series])
    np.testing.assert_allclose(outputs(built(folder, "model"), series)[-1], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("run", RUNS, ids=name_of)
def test_info_of_a_checkpoint_with_any_name(run: Run, trained: Path, capsys: Capture) -> None:
    """`--out` names it freely."""
    Path("q1.st").symlink_to(trained / run.command)
    assert main(["info", "q1.st", "--json"]) == 0
    got = json.loads(capsys.readouterr().out)
    assert got["kind"] == f"checkpoint of `xrnn {run.command}`"
    assert (got["updates"], got["parameters"] > 0, len(got["layers"]) >= 2) == (UPDATES, True, True)
    if run is FORECAST:
        assert got["horizon"] == 3
        assert "is a forecaster, which scales each series by itself" in failed(capsys, "convert", "q1.st", "a.c")
    Path("other.st").write_bytes(b"abc")
    assert "other.st has another suffix: expected .onnx" in failed(capsys, "info", "other.st")
    assert "--nonlinearity is x: expected tanh or relu" in failed(capsys, "info", "other.st", "--nonlinearity", "x")


def test_info_of_a_checkpoint_shows_its_optimizer_and_other_values(capsys: Capture) -> None:
    linear = Linear.init(2, 1, rng=0)
    adam = xrnn.Adam([linear])
    adam.step()
    xrnn.save_checkpoint("a.safetensors", {"readout": linear}, optimizer=adam, extra={"epoch": 6})
    xrnn.save_checkpoint("b.safetensors", {}, extra={"state": np.ones(3)})
    assert main(["info", "a.safetensors"]) == 0
    assert "extra: epoch\noptimizer: Adam (updates: 1)\n" in capsys.readouterr().out
    assert main(["info", "b.safetensors"]) == 0
    assert "extra: state\n" in capsys.readouterr().out
    assert "b.safetensors has no layers: expected" in failed(capsys, "convert", "b.safetensors", "b.c")


# ---- errors ----


def test_what_cannot_be_converted(capsys: Capture) -> None:
    xrnn.save("a.safetensors", Bidirectional.init(RNN, 2, 3, leak=0.5))
    Path("folder.c").mkdir()
    for arguments, words in (
        (["a.safetensors", "b.txt"], "expected a name with .onnx, .keras, .pt, .safetensors, .c"),
        (["a.txt", "b.c"], "another suffix: expected .onnx, .keras, .pt, .safetensors"),
        (["a.safetensors", "a.safetensors"], "exists: expected a new name; add --overwrite"),
        (["a.safetensors", "a.safetensors", "--overwrite"], "a.safetensors is the file that is converted: expected an"),
        (["a.safetensors", "folder.c"], "can't write folder.c: expected the name of a file, but it is a folder"),
        (["a.safetensors", "b.c", "--lengths"], "expected .onnx"),
        (["a.safetensors", "b.onnx", "--int8"], "got --int8 for .onnx: expected .c or .safetensors"),
        (["a.safetensors", "b.c", "--prefix", "x."], "expected a .pt file"),
        (["a.safetensors", "b.c", "--nonlinearity", "x"], "--nonlinearity is x: expected tanh or relu"),
        (["a.safetensors", "b.c"], "runs in reverse"),
        (["a.safetensors", "b.onnx"], "the cell 'leaky_rnn', which ONNX does not have"),
        (["a.safetensors", "b.pt"], "the cell 'leaky_rnn', which PyTorch does not have"),
        (["nothing.onnx", "b.c"], "can't read nothing.onnx"),
        (["nothing.safetensors", "b.c"], "can't read nothing.safetensors"),
        (["nothing.pt", "b.c"], "can't read nothing.pt"),
        (["nothing.keras", "b.c"], "can't read nothing.keras"),
        (["a.safetensors", "nowhere/b.c"], "can't write nowhere/b.c"),
    ):
        assert words in failed(capsys, "convert", *arguments)
    assert sorted(os.listdir()) == ["a.safetensors", "folder.c"]
    assert "expected one of them" in failed(capsys, "info", "a.safetensors", "--explain", "1", "1", "1", "1")


def test_nan_gives_a_warning(capsys: Capture) -> None:
    layer = stack()
    layer.params[0][0, 0] = np.nan
    xrnn.save("a.safetensors", layer)
    assert main(["convert", "a.safetensors", "a.onnx"]) == 0
    assert "NaN or infinity" in capsys.readouterr().err
    assert main(["convert", "a.safetensors", "a.c"]) == 1
    assert "error: Wx of layers[0] holds NaN" in capsys.readouterr().err
    assert not Path("a.c").exists()


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch evil",)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_files_with_code_are_refused(capsys: Capture) -> None:
    import torch

    torch.save({"weight_ih_l0": Evil()}, "a.pt")
    assert "weights_only=True (it holds a whole model, or other Python objects): expe" in failed(capsys, "info", "a.pt")
    torch.jit.save(torch.jit.script(torch.nn.GRU(2, 3)), "a.pt")
    assert "weights_only=True (it holds TorchScript): expected" in failed(capsys, "info", "a.pt")
    torch.save([torch.ones(2)], "b.pt")
    assert "holds a list: expected a state dict" in failed(capsys, "info", "b.pt")
    for weight, words in ((torch.ones(5, 3), "of shape (5, 3): expected 1, 3 or 4 times 2 rows"), (torch.ones(5), "")):
        torch.save({"weight_ih_l0": weight, "weight_hh_l0": torch.ones(5, 2)}, "c.pt")
        assert words in failed(capsys, "info", "c.pt")
    torch.save(torch.nn.GRU(2, 3).state_dict() | {"weight_hr_l0": torch.ones(2)}, "d.pt")
    assert "holds no GRU of 1 layers" in failed(capsys, "info", "d.pt")
    huge = torch.zeros(1).expand(2**20, 2**20)  # one element in the file
    torch.save(torch.nn.GRU(2, 3).state_dict() | {"weight_hh_l0": huge}, "e.pt")
    assert "tensors that are larger than the file" in failed(capsys, "info", "e.pt")
    torch.save({name: value.int() for name, value in torch.nn.GRU(2, 3).state_dict().items()}, "f.pt")
    assert "holds no GRU of 1 layers" in failed(capsys, "info", "f.pt")
    assert not Path("evil").exists()


@pytest.mark.needs("keras", "keras")
def test_hostile_keras_files_are_refused(capsys: Capture) -> None:
    xrnn.save("a.safetensors", LSTM.init(2, 3, rng=0, backend="numpy"))
    assert main(["convert", "a.safetensors", "a.keras"]) == 0
    capsys.readouterr()

    def changed(change: Any, compression: int = zipfile.ZIP_STORED) -> str:
        content = io.BytesIO()
        with zipfile.ZipFile("a.keras") as source, zipfile.ZipFile(content, "w", compression) as target:
            for name in source.namelist():
                data = source.read(name)
                if name == "config.json":
                    config = json.loads(data)
                    change(config["config"]["layers"])
                    data = json.dumps(config).encode()
                target.writestr(name, data)
        Path("b.keras").write_bytes(content.getvalue())
        return failed(capsys, "info", "b.keras")

    assert "an object of os" in changed(lambda layers: layers[1].update(module="os", class_name="system"))
    assert "an object of" in changed(lambda layers: layers[1].update(registered_name="evil>Layer"))
    assert "a layer Lambda" in changed(lambda layers: layers[1].update(class_name="Lambda"))
    assert "weights" in changed(lambda layers: layers[1]["config"].update(units=2**20))
    assert "an input of shape" in changed(lambda layers: layers[0]["config"].update(batch_shape=[None, 2**40, 2]))
    assert "data are compressed" in changed(lambda layers: None, zipfile.ZIP_DEFLATED)
    Path("b.keras").write_bytes(b"no archive")
    assert "can't be read (BadZipFile" in failed(capsys, "info", "b.keras")
