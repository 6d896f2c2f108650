"""The tables of the built-in cells and layers, and a cell that the tests add to them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.testing import assert_allclose

import xrnn
from tests import peephole
from tests.errors import one_line, refused
from tests.exchange.compiled_c import built, outputs
from tests.exchange.layers import assert_alike
from tests.peephole.cell import PeepholeLSTMCell
from tests.peephole.layer import PeepholeLSTM
from xrnn import Bidirectional, Recurrent, Stack, cells
from xrnn.backend import Backend
from xrnn.cells import CELLS, cell_of, shapes
from xrnn.commands.main import main
from xrnn.exchange import c
from xrnn.files import FileError
from xrnn.layers.recurrent import RecurrentLayer
from xrnn.ops.cells.lstm import LSTMCell
from xrnn.series import Classifier


def test_the_public_layers_are_those_of_the_table() -> None:
    public = {getattr(xrnn, name) for name in xrnn.__all__}
    layers = {each for each in public if inspect.isclass(each) and issubclass(each, RecurrentLayer)}
    # The estimators and the other formats do not take these.
    others = {xrnn.CurrentRNN, xrnn.Recurrent, RecurrentLayer, xrnn.SingleStateLayer}
    assert set(CELLS.values()) == layers - others


def test_each_layer_runs_the_cell_of_its_name() -> None:
    for name, kind in CELLS.items():
        layer = kind.init(2, 3, backend="numpy")
        assert layer.cell.name == name
        assert type(layer.cell) is type(cell_of(name))
        assert layer.names == tuple(shapes(name, 3, 5))
        assert {name: param.shape for name, param in layer.named_params.items()} == shapes(name, 2, 3)


def test_a_subclass_of_a_built_in_cell_has_no_kernel() -> None:
    class Other(LSTMCell):
        name = "lstm"

    assert LSTMCell.kernel_name == "lstm"
    assert Other().kernel_name is None


@pytest.fixture
def built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    peephole.build_in(monkeypatch)


def test_its_parameters_are_attributes(built_in: None, backend: Backend) -> None:
    for layer in (PeepholeLSTM.init(2, 3, backend=backend), Recurrent.init(PeepholeLSTMCell(), 2, 3, backend=backend)):
        assert [getattr(layer, name) for name in ("p_i", "p_f", "p_o")] == layer.params[3:]
        with pytest.raises(AttributeError, match=f"'{layer.title}' object has no attribute 'p_g'"):
            layer.p_g  # type: ignore[union-attr]  # noqa: B018


# ---- the doors: each works for a registered cell, or refuses it in one line ----


def made(backend: Backend | str = "numpy") -> Any:
    return PeepholeLSTM.init(3, 4, rng=0, backend=backend)


def to_c(folder: Path) -> None:
    xrnn.to_c(made(), folder / "model.c")


def in_c(folder: Path) -> None:
    """With a row in the table of C."""
    row = c.CCell("peephole_lstm", PEEPHOLE_IN_C)
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(c.CELLS, PeepholeLSTMCell, row)
        for layer in (made(), xrnn.quantize(made())):
            xrnn.to_c(layer, folder / "model.c")
            x = np.random.default_rng(0).standard_normal((5, 3)).astype("float32")
            assert_allclose(outputs(built(folder, "model"), x), layer(x[:, None])[0][:, 0], rtol=1e-5, atol=1e-6)


PEEPHOLE_IN_C = """
/* i, f = sigmoid(z_i + p_i c), sigmoid(z_f + p_f c);  c = f c + i tanh(z_g);  h = sigmoid(z_o + p_o c) tanh(c) */
static void @_peephole_lstm(int H, const float *p_i, const float *p_f, const float *p_o, const float *z, float *h,
                            float *c) {
    for (int j = 0; j < H; j++) {
        const float i = @_sigmoid(z[j] + p_i[j] * c[j]), f = @_sigmoid(z[H + j] + p_f[j] * c[j]);
        c[j] = f * c[j] + i * tanhf(z[2 * H + j]);
        h[j] = @_sigmoid(z[3 * H + j] + p_o[j] * c[j]) * tanhf(c[j]);
    }
}
"""


def saved(folder: Path) -> None:
    for layer in (made(), Bidirectional.init(PeepholeLSTM, 3, 4, rng=0), Stack.init(PeepholeLSTM, 3, 4, rng=0)):
        xrnn.save(folder / "layer", layer)
        assert_alike(xrnn.load(folder / "layer"), layer)


def in_a_checkpoint(folder: Path) -> None:
    layer = made()
    xrnn.save_checkpoint(folder / "c", {"a": layer}, optimizer=xrnn.Adam([layer]))
    assert_alike(xrnn.load_checkpoint(folder / "c").layers["a"], layer)


def quantized(folder: Path) -> None:
    small = xrnn.quantize(made())
    assert_allclose(small(X)[0], made()(X)[0], rtol=0, atol=0.02)
    xrnn.save(folder / "small", small)
    assert_alike(xrnn.load(folder / "small"), small)


def accelerated(folder: Path) -> None:
    from xrnn.torch import accelerate

    accelerate(made())


def in_commands(folder: Path) -> None:
    file = str(folder / "a.safetensors")
    xrnn.save(file, made())
    explained = ["--explain", "5", "3", "4", "6", "--cell", "peephole_lstm"]
    for words in (["info", *explained], ["info", file], ["convert", file, str(folder / "b.safetensors")]):
        assert main(words) == 0


def classified(folder: Path) -> None:
    series = [np.ones((5, 3), "float32"), np.zeros((4, 3), "float32")]
    Classifier(cell="peephole_lstm", hidden=4, epochs=1).fit(series, ["a", "b"]).predict(series)


X = np.random.default_rng(0).standard_normal((5, 2, 3)).astype("float32")
NOT_IN = "layers[0] is a PeepholeLSTM with the cell 'peephole_lstm', which {} does not have: expected one of rnn, "
# The door; None if it works, otherwise the words of the refusal.
DOORS: Final[dict[str, tuple[Callable[[Path], Any], str | None]]] = {
    "to_c": (
        to_c,
        NOT_IN.format("to_c")
        + "leaky_rnn, trained_leak_rnn, lstm, gru, gru_reset_before, min-gru, min-lstm, slstm, lru; write it to",
    ),
    "to_c with a row": (in_c, None),
    "to_onnx": (lambda folder: xrnn.to_onnx(made()), NOT_IN.format("ONNX")),
    "to_keras": (lambda folder: xrnn.to_keras(made()), NOT_IN.format("Keras")),
    "to_torch": (lambda folder: xrnn.to_torch(made()), NOT_IN.format("PyTorch").replace("layers[0]", "layer")),
    "save and load": (saved, None),
    "checkpoint": (in_a_checkpoint, None),
    "quantize": (quantized, None),
    "accelerate": (accelerated, "model is a PeepholeLSTM: expected a torch.nn.Module"),
    "xrnn info and convert": (in_commands, None),
    "Classifier": (classified, None),
}


LIBRARIES: Final = {"onnx": "onnx", "keras": "keras", "torch": "torch", "accelerate": "torch"}


def marks(door: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.needs(library, library) for word, library in LIBRARIES.items() if door.endswith(word)]


@pytest.mark.usefixtures("built_in")
@pytest.mark.parametrize("door", [pytest.param(door, marks=marks(door)) for door in DOORS])
def test_a_registered_cell_goes_through_every_door(door: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XRNN_BACKEND", "numpy")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    run, refusal = DOORS[door]
    if refusal is None:
        run(tmp_path)
        return
    with one_line(TypeError, refusal):
        run(tmp_path)


def test_registering_is_checked(built_in: None) -> None:
    assert cells.register_cell(PeepholeLSTM) is PeepholeLSTM  # again
    before = list(CELLS)

    class LSTM(PeepholeLSTM):
        cell_type = type("Renamed", (PeepholeLSTMCell,), {})  # type: ignore[assignment]

    class Twin(PeepholeLSTM):
        pass

    def registering(kind: Any) -> Callable[[], Any]:
        return lambda: cells.register_cell(kind)

    no_cell: Any = type("NoCell", (RecurrentLayer,), {})
    taken, own_names = " has the name of a registered layer: expected new names", ("Stack", "Network", "Recurrent")
    others: list[Any] = [PeepholeLSTMCell, made(), Recurrent, None]
    refused(
        *((ValueError, registering(kind), taken) for kind in (LSTM, Twin)),
        *((ValueError, registering(of_cell("mine", name)), f"{name} with the cell", taken) for name in own_names),
        (ValueError, registering(of_cell("leak", "Mine")), f"Mine with the cell 'leak'{taken}"),
        *((TypeError, registering(kind), "expected a subclass of RecurrentLayer; pass the class") for kind in others),
        (TypeError, registering(no_cell), "NoCell has no cell_type: set it to the class of its cell"),
        (TypeError, lambda: no_cell.init(2, 3), "NoCell has no cell_type"),
    )
    assert list(CELLS) == before


def of_cell(cell: str, name: str) -> type[RecurrentLayer]:
    return type(name, (PeepholeLSTM,), {"cell_type": type("Cell", (PeepholeLSTMCell,), {"name": cell})})


def test_a_class_that_is_defined_again_replaces_the_first(built_in: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CELLS, "renamed", None)  # deletes it after the test
    del CELLS["renamed"]
    for cell in ("mine", "mine", "renamed"):
        again = cells.register_cell(of_cell(cell, "Mine"))
        assert list(CELLS)[-2:] == ["peephole_lstm", cell]
        assert CELLS[cell] is again


def test_its_file_is_refused_if_it_is_not_built_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        peephole.build_in(patched)
        xrnn.save(tmp_path / "layer", PeepholeLSTM.init(3, 4, rng=0, backend="numpy"))
    with one_line(FileError, "the kind PeepholeLSTM is unknown", "RNN, LSTM, GRU"):
        xrnn.load(tmp_path / "layer")
