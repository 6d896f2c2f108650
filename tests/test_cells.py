"""The tables of the built-in cells and layers, and a cell that the tests add to them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import xrnn
from tests import peephole
from tests.errors import one_line
from tests.peephole.cell import PeepholeLSTMCell
from tests.peephole.layer import PeepholeLSTM
from xrnn import Bidirectional, Recurrent, Stack, check_cell
from xrnn.backend import Backend
from xrnn.cells import CELLS, cell_of, shapes
from xrnn.files import FileError
from xrnn.layers.recurrent import RecurrentLayer
from xrnn.models.text.model import CharLM
from xrnn.ops import cells as ops_cells
from xrnn.ops.cell import Cell
from xrnn.ops.cells.lstm import LSTMCell


def test_the_public_layers_are_those_of_the_table() -> None:
    public = {getattr(xrnn, name) for name in xrnn.__all__}
    layers = {each for each in public if inspect.isclass(each) and issubclass(each, RecurrentLayer)}
    assert {row.layer for row in CELLS.values()} == layers - {xrnn.Recurrent}


def test_each_layer_runs_the_cell_of_its_name() -> None:
    for name, row in CELLS.items():
        layer = row.layer.init(2, 3, backend="numpy")
        assert layer.cell.name == name
        assert type(layer.cell) is ops_cells.CELLS[name] is type(cell_of(name))
        assert layer.names == tuple(shapes(name, 3, 5))
        assert {name: param.shape for name, param in layer.named_params.items()} == shapes(name, 2, 3)


def test_the_table_of_cells_lists_every_cell_file() -> None:
    modules = [
        importlib.import_module(f"xrnn.ops.cells.{module.name}") for module in pkgutil.iter_modules(ops_cells.__path__)
    ]
    cells = {each for module in modules for each in vars(module).values() if inspect.isclass(each)}
    assert {each for each in cells if issubclass(each, Cell)} - {Cell} == set(ops_cells.CELLS.values())
    assert all(cell.name == name for name, cell in ops_cells.CELLS.items())


def test_a_subclass_of_a_built_in_cell_has_no_kernel() -> None:
    class Other(LSTMCell):
        name = "lstm"

    assert LSTMCell.kernel_name == "lstm"
    assert Other().kernel_name is None


# ---- a built-in cell with own parameters ----


@pytest.fixture
def built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    peephole.build_in(monkeypatch)


def test_its_parameters_are_attributes(built_in: None, backend: Backend) -> None:
    for layer in (PeepholeLSTM.init(2, 3, backend=backend), Recurrent.init(PeepholeLSTMCell(), 2, 3, backend=backend)):
        assert [getattr(layer, name) for name in ("p_i", "p_f", "p_o")] == layer.params[3:]
        with pytest.raises(AttributeError, match=f"'{layer.title}' object has no attribute 'p_g'"):
            layer.p_g  # type: ignore[union-attr]  # noqa: B018


def test_its_gradient_is_right(backend: Backend) -> None:
    check_cell(PeepholeLSTMCell(), backend=backend)


@pytest.mark.usefixtures("built_in")
def test_it_can_be_saved_and_loaded(tmp_path: Path, backend: Backend) -> None:
    options: dict[str, Any] = {"rng": 0, "backend": backend}
    layers: list[Any] = [
        PeepholeLSTM.init(3, 4, reverse=True, **options),
        Bidirectional.init(PeepholeLSTM, 3, 4, **options),
        Stack.init(PeepholeLSTM, 3, 4, **options),
    ]
    for layer in layers:
        xrnn.save(tmp_path / "layer", layer)
        loaded = xrnn.load(tmp_path / "layer", backend=backend)
        assert loaded.named_params.keys() == layer.named_params.keys()
        x = backend.asarray(np.ones((5, 2, 3), "float32"))
        assert_array_equal(backend.to_numpy(loaded(x)[0]), backend.to_numpy(layer(x)[0]))


def test_its_file_is_refused_if_it_is_not_built_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        peephole.build_in(patched)
        xrnn.save(tmp_path / "layer", PeepholeLSTM.init(3, 4, rng=0, backend="numpy"))
    with one_line(FileError, "the kind PeepholeLSTM is unknown", "RNN, LSTM, GRU"):
        xrnn.load(tmp_path / "layer")


@pytest.mark.usefixtures("built_in")
def test_a_model_of_the_command_line_can_use_it() -> None:
    rng, backend = np.random.default_rng(0), xrnn.get_backend("numpy")
    model = CharLM.init("peephole_lstm", 8, 2, rng=rng, backend=backend)
    assert [param.shape for param in model.params] == list(CharLM.shapes("peephole_lstm", 8, 2).values())
    again, index = CharLM("peephole_lstm", model.layers), np.zeros((4, 3), "int64")
    state = model.zero_state(3)
    assert_array_equal(again(index, state)[0], model(index, state)[0])
