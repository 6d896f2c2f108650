"""What a cell learns in some time: one row each, added to a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import cells
from benchmarks.cases import GATES


def test_cells_are_measured_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, path = tmp_path / "text.txt", tmp_path / "cells.json"
    text.write_text("to be or not to be, that is the question. " * 200)
    options = ["--minutes", "0.001", "--hidden", "8", "--threads", "1", "--json", str(path), str(text)]
    cells.main(["--cells", "leak,lstm-heads", *options])
    cells.main(["--cells", "lru,leak", *options])  # the row of leak is replaced
    results = json.loads(path.read_text())
    assert [row["cell"] for row in results["learned"]] == ["lstm-heads", "lru", "leak"]
    for row in results["learned"]:
        assert row["updates"] > 0
        assert row["copy_updates"] > 0
        assert 0 < row["bits_per_character"] < 8
        assert 0 <= row["copied"] <= 1
    printed = capsys.readouterr().out
    cells.main(["--print", str(path)])
    table = capsys.readouterr().out
    assert printed.endswith(table)
    assert "LSTM, 4 heads" in table

    with pytest.raises(SystemExit):
        cells.main(["--cells", "gru", *options, "--minutes", "2"])
    assert "has minutes 0.001: expected 2.0, as in this run; give another file" in capsys.readouterr().err
    assert json.loads(path.read_text()) == results


def test_every_cell_has_a_row() -> None:
    assert set(cells._KINDS) == set(GATES)


def test_the_symbols_to_repeat_are_those_of_the_beginning() -> None:
    x, symbols = cells.draw(np.random.default_rng(0), N=50)
    assert x.shape == (28, 50, 9)
    assert (x[:4].argmax(axis=-1) == symbols).all()
    assert (x[4:24] == 0).all()
    assert (x[24:] == np.eye(9)[8]).all()
    assert len(np.unique(symbols)) == 8
