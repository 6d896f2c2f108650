"""`xrnn regress`: a number for each series."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import STANDIN
from tests.errors import one_line
from tests.models.checks import check_gradients, check_transfers, in_float64
from tests.models.data.waves import write_csv
from tests.models.snapshots import check_resume, save_forged
from xrnn.backend import Backend
from xrnn.cells import CELLS
from xrnn.commands.main import main
from xrnn.models.data.series import Series
from xrnn.models.errors import CheckpointError, DataError
from xrnn.models.labelled.data import load_labelled
from xrnn.models.labelled.head import Numbers, numbers, r_squared
from xrnn.models.labelled.model import REGRESSION, SeriesModel
from xrnn.models.labelled.settings import RegressionSettings
from xrnn.models.labelled.trainer import SeriesTrainer
from xrnn.select import get_backend
from xrnn.typing import Array

TINY = RegressionSettings(hidden=6, batch=4, lr=0.02, dropout=0.0, noise=0.0)
OPTIONS = ["--hidden", "6", "--batch", "4", "--lr", "0.02", "--dropout", "0", "--noise", "0"]
pytestmark = pytest.mark.usefixtures("blank_pictures", "workdir")


def series(count: int, seed: int) -> list[Series]:
    """The target is the level of the first channel, between 100 and 300."""
    rng = np.random.default_rng(seed)
    made: list[Series] = []
    for i in range(count):
        level = rng.uniform(-1, 1)
        values = np.stack([level + rng.normal(0, 0.1, 4 + i % 4), rng.normal(size=4 + i % 4)], axis=1)
        made.append(Series(values, f"{200 + 100 * level}", f"series {i}"))
    return made


def write_ts(path: Path, of: list[Series]) -> Path:
    lines = ["@targetLabel true", "@data"]
    lines += [":".join([*(",".join(map(str, channel)) for channel in s.values.T), str(s.label)]) for s in of]
    path.write_text("\n".join(lines) + "\n")
    return path


def data(train: int = 16, test: int = 8, validate: bool = False) -> Any:
    return load_labelled(
        [write_ts(Path("train.ts"), series(train, 0)), write_ts(Path("test.ts"), series(test, 1))],
        replace(TINY, patience=int(validate)),
    )


def test_a_table_and_folders_named_by_numbers() -> None:
    made = series(8, 0)
    rows = [f"{i},{x},{y},{each.label}" for i, each in enumerate(made) for x, y in each.values]
    Path("t.csv").write_text("\n".join(["id,x,y,level", *rows]))
    for each in made:
        folder = Path("d", str(each.label))
        folder.mkdir(parents=True)
        np.save(folder / "f.npy", each.values)
    of_table = replace(TINY, id="id", label="level")
    table, folders = (load_labelled([Path(p)], settings) for p, settings in (("t.csv", of_table), ("d", TINY)))
    assert len(table.train) == len(folders.train) == 6
    assert table.facts.channel_names == ("x", "y")
    assert {s.label for s in folders.train + folders.test} == {s.label for s in made}
    y = table.facts.targets(table.train)
    np.testing.assert_allclose([y.mean(), y.std()], [0, 1], atol=1e-6)


def test_targets_with_a_decimal_comma() -> None:
    rows = [f"{i};{i},5;{t},25;{t}" for i in range(8) for t in range(4)]
    Path("t.csv").write_text("\n".join(["id;level;x;y", *rows]))
    data = load_labelled([Path("t.csv")], replace(TINY, decimal=",", id="id", label="level"))
    assert {*numbers(data.train), *numbers(data.test)} == {i + 0.5 for i in range(8)}


# ---- the trainer ----


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_match_differences(backend: Backend, cell: str) -> None:
    settings = replace(TINY, cell=cell)
    model = SeriesModel.init(settings, Numbers(3, 0.0, 1.0), backend)
    model = SeriesModel(settings, in_float64(model))
    x = backend.asarray(np.random.default_rng(1).standard_normal((4, 3, 3)))
    lengths = backend.asarray(np.array([4, 1, 3]))

    def forward() -> Array:
        return model.forward(x, lengths)

    check_gradients(model, forward)


def test_the_loss_is_the_mean_squared_error_of_scaled_targets(backend: Backend) -> None:
    every = data(4)
    trainer = SeriesTrainer(TINY, every, backend)
    y = trainer.model.outputs(trainer.inputs(every.train))[:, 0]
    expected = np.square(y - every.facts.targets(every.train)).mean()
    trainer.step()
    trainer.read_losses()
    assert trainer.losses[0] == pytest.approx(expected, rel=1e-4)
    assert trainer.shown_figures == (f"loss {trainer.losses[0]:.3f}",) * 2


@pytest.mark.parametrize("patience", [0, 5])
def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path, backend: Backend, patience: int) -> None:
    settings, every = replace(TINY, patience=patience), data(validate=patience > 0)
    trainer = SeriesTrainer(settings, every, backend)
    check_resume(REGRESSION, trainer, every, tmp_path / "c", first=6, more=1)


def test_a_step_sends_its_batch_in_one_transfer_and_waits_for_nothing() -> None:
    check_transfers(SeriesTrainer(TINY, data(), STANDIN), reads=1)


def test_r_squared() -> None:
    assert r_squared(np.array([1.0, 2, 3]), np.array([1.0, 2, 5])) == pytest.approx(1 - 4 / 2)
    assert r_squared(np.array([1.0]), np.array([2.0])) is None


# ---- bad input ----


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["1", "x", "2", "3"], "f.ts, line 4 has the target 'x': expected a number up to 1e+30; name a .ts file with"),
        (["1", "nan", "2", "3"], "has the target 'nan': expected a number"),
        (["1", "1e31", "2", "3"], "has the target '1e31': expected a number"),
        (["1", "1", "1", "1"], "f.ts has the same target 1 for all series: expected different ones"),
        (["1", "2"], "f.ts leaves 1 series to train on: expected at least two, besides those held out to test on"),
        (["1"], "f.ts leaves 1 series to train on"),
    ],
)
def test_bad_targets_get_one_line(labels: list[str], words: str) -> None:
    write_ts(Path("f.ts"), [Series(np.ones((2, 1)), label, "") for label in labels])
    with one_line(DataError, words):
        load_labelled([Path("f.ts")], TINY)


def test_series_without_a_target_get_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(Path("f.csv"), np.ones((2, 2)))
    with one_line(DataError, "f.csv has no target: expected a number up to 1e+30; name a .ts file with @target"):
        load_labelled([Path("f.csv")], TINY)
    assert main(["regress"]) == 1
    assert capsys.readouterr().err.startswith("error: got no TRAIN: expected series with a number each")
    write_ts(Path("f.ts"), series(4, 0))
    assert main(["classify", "f.ts"]) == 1
    assert "f.ts has @targetLabel, a number to predict for each series: expected labels; use `xrnn regress`" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mean": 1}, "has invalid facts (mean is 1: expected a finite number)"),
        ({"mean": float("nan")}, "has invalid facts (mean is nan: expected a finite number)"),
        ({"deviation": 0.0}, "has invalid facts (deviation is 0.0: expected a positive number)"),
        ({"channels": 0}, "has invalid facts (channels is 0: expected a whole number from 1"),
        ({"more": 0}, "has invalid facts (they have other names: expected channels, mean, deviation, channel_names)"),
    ],
)
def test_forged_facts_get_one_line(changes: dict[str, Any], words: str) -> None:
    trainer = SeriesTrainer(TINY, data(), get_backend("numpy"))
    trainer.step()
    save_forged(REGRESSION, Path("c"), trainer.snapshot(), lambda extra: extra["facts"].update(changes))
    with one_line(CheckpointError, words):
        REGRESSION.load(Path("c"))
