"""Labels and numbers: how targets are read, the loss, and scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.commands.runs import write_levels
from tests.errors import one_line
from tests.models.kinds import NUMBERS
from tests.series.waves import write_csv
from xrnn.backend import Backend
from xrnn.models.errors import DataError
from xrnn.models.labelled.data import load_labelled
from xrnn.models.labelled.head import Classes, Confusion, numbers, r_squared

pytestmark = pytest.mark.usefixtures("workdir")


def test_a_table_and_folders_named_by_numbers() -> None:
    data = load_labelled([write_levels(Path("levels.ts"), 8, 0)], NUMBERS.settings)
    made = [*data.train, *data.test]
    rows = [f"{i},{x},{y},{each.label}" for i, each in enumerate(made) for x, y in each.values]
    Path("t.csv").write_text("\n".join(["id,x,y,level", *rows]))
    for each in made:
        folder = Path("d", str(each.label))
        folder.mkdir(parents=True)
        np.save(folder / "f.npy", each.values)
    of_table = replace(NUMBERS.settings, id="id", label="level")
    table, folders = load_labelled([Path("t.csv")], of_table), load_labelled([Path("d")], NUMBERS.settings)
    assert len(table.train) == len(folders.train) == 6
    assert table.facts.channel_names == ("x", "y")
    assert {s.label for s in folders.train + folders.test} == {s.label for s in made}
    y = table.facts.targets(table.train)
    np.testing.assert_allclose([y.mean(), y.std()], [0, 1], atol=1e-6)


def test_targets_with_a_decimal_comma() -> None:
    rows = [f"{i};{i},5;{t},25;{t}" for i in range(8) for t in range(4)]
    Path("t.csv").write_text("\n".join(["id;level;x;y", *rows]))
    data = load_labelled([Path("t.csv")], replace(NUMBERS.settings, decimal=",", id="id", label="level"))
    assert {*numbers(data.train), *numbers(data.test)} == {i + 0.5 for i in range(8)}


def test_the_loss_is_the_mean_squared_error_of_scaled_targets(backend: Backend) -> None:
    trainer = NUMBERS.train(Path(), backend, batch=10, dropout=0.0, noise=0.0)
    series = trainer.data.train
    y = trainer.model.outputs(trainer.inputs(series))[:, 0]
    trainer.step()
    trainer.read_losses()
    assert trainer.losses[0] == pytest.approx(np.square(y - trainer.facts.targets(series)).mean(), rel=1e-4)
    assert trainer.shown_figures == (f"loss {trainer.losses[0]:.3f}",) * 2


def test_r_squared() -> None:
    assert r_squared(np.array([1.0, 2, 3]), np.array([1.0, 2, 5])) == pytest.approx(1 - 4 / 2)
    assert r_squared(np.array([1.0]), np.array([2.0])) is None


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
    Path("f.ts").write_text("\n".join(["@targetLabel true", "@data", *(f"1,1:{label}" for label in labels)]))
    with one_line(DataError, words):
        load_labelled([Path("f.ts")], NUMBERS.settings)


def test_series_without_a_target_get_one_line() -> None:
    write_csv(Path("f.csv"), np.ones((2, 2)))
    with one_line(DataError, "f.csv has no target: expected a number up to 1e+30; name a .ts file with @target"):
        load_labelled([Path("f.csv")], NUMBERS.settings)


def test_softmax_is_in_float64_and_never_overflows() -> None:
    p = Classes(1, ()).decoded(np.array([[1e4, 1e4], [-1e4, 0]], np.float32))
    np.testing.assert_array_equal(p, [[0.5, 0.5], [0, 1]])
    assert p.dtype == np.float64


def test_the_confusion_matrix_and_its_figures() -> None:
    confusion = Confusion.of(np.array([0, 0, 0, 1, 2]), np.array([0, 0, 1, 1, 0]), 4)
    np.testing.assert_array_equal(confusion.counts, [[2, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(confusion.correct, [2, 1, 0, 0])
    np.testing.assert_array_equal(confusion.support, [3, 1, 1, 0])
    np.testing.assert_array_equal(confusion.predicted, [3, 2, 0, 0])
    assert str(confusion) == "0.600 (3 of 5)"
    assert confusion.accuracy == 0.6
    assert confusion.balanced_accuracy == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert confusion.macro_f1 == pytest.approx(
        (4 / 6 + 2 / 3 + 0) / 3
    )  # the last label neither occurs nor is predicted
    assert confusion.never_predicted == [2]
    assert confusion.most_confused(5) == [(0, 1, 1), (2, 0, 1)]
    assert confusion.most_confused(1) == [(0, 1, 1)]
