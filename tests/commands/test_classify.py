"""`xrnn classify`: tables, any labels, the baseline, the report and the picture."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.commands.runs import Capture, axes_of, failed
from tests.series.labelled.tiny import TINY_OPTIONS
from tests.series.waves import waves, write_folder, write_ts
from xrnn.commands.classify import draw_confusion, report_labels
from xrnn.commands.main import main
from xrnn.commands.output import Draw, drawn
from xrnn.series.one_series import Series

pytestmark = pytest.mark.usefixtures("workdir")


def classify(*arguments: str) -> int:
    return main(["classify", *TINY_OPTIONS, *arguments, "--out", "c", "--overwrite"])


def lines(capsys: Capture, *arguments: str, model: str = "c") -> list[list[str]]:
    """The label, its probability and the name, if there is one, of each row that `xrnn predict` prints."""
    capsys.readouterr()
    assert main(["predict", model, *arguments]) == 0
    rows = [*csv.DictReader(io.StringIO(capsys.readouterr().out))]
    return [[row[name] for name in ("label", "probability", "name") if name in row] for row in rows]


def write_long(path: Path, series: list[Series], *, labels: bool = True) -> Path:
    """One table of all series, the steps in reverse order, with decimal commas."""
    rows = [f"id;t;note;x;y{';kind' * labels}"]
    for i, each in enumerate(series):
        for t, values in reversed(list(enumerate(each.values))):
            x, y = (str(value).replace(".", ",") for value in values)
            rows.append(f"s{i};2024-01-{t + 1:02};fine;{x};{y}{f';{each.label}' * labels}")
    path.write_text("\r\n".join(rows) + "\r\n", encoding="utf-8-sig")
    return path


LONG = ["--id", "id", "--time", "t", "--label", "kind", "--skip-columns", "note", "--decimal", ","]


@pytest.mark.usefixtures("blank_pictures")
def test_predict_reads_tables_as_the_training_did(capsys: Capture) -> None:
    train = waves(10, 0)
    write_long(Path("train.csv"), train)
    assert classify("train.csv", *LONG, "--epochs", "20") == 0
    write_long(Path("new.csv"), train[:4], labels=False)
    got = lines(capsys, "new.csv")
    assert [fields[2] for fields in got] == [f"new.csv, id s{i}" for i in range(4)]
    assert [fields[0] for fields in got] == [each.label for each in train[:4]]
    # One series without an id, columns in another order, decimal points: the channels are found by their names.
    rows = ["y;more;x", *(f"{y};text;{x}" for x, y in train[0].values)]
    Path("one.csv").write_text("\n".join(rows))
    assert lines(capsys, "one.csv", "--decimal", ".") == [[*got[0][:2], "one.csv"]]
    assert main(["predict", "c", "one.csv", "--decimal", "."]) == 0
    # Without identifiers and times, several series would not be noticed.
    assert capsys.readouterr().err == "one.csv has no column id: all its rows are read as one series\n"
    np.save("one.npy", train[0].values)  # it has no columns
    assert main(["predict", "c", "one.npy"]) == 0
    assert not capsys.readouterr().err
    assert failed(capsys, "predict", "c", "one.csv", "--id", "id").startswith("one.csv has no column id")
    Path("other.csv").write_text("x;z\n1,5;2\n")
    assert failed(capsys, "predict", "c", "other.csv").startswith(
        "other.csv has the channel z, but the model has y there; rename or reorder the columns"
    )


@pytest.mark.usefixtures("blank_pictures")
def test_convolutions_are_recommended_if_they_are_better_beyond_their_scatter(capsys: Capture) -> None:
    """A model that has not learned is worse than they are; one that has learned is as good. Two are too few."""
    write_ts(Path("train.ts"), waves(20, 0))
    write_ts(Path("test.ts"), waves(6, 1))
    write_ts(Path("two.ts"), [each for each in waves(6, 1) if each.label == "quick"][:2])
    words = "baseline (ridge on convolutions): 1.000 (6 of 6)"
    unlearned = ["train.ts", "test.ts", "--lr", "1e-9", "--epochs", "1"]
    assert classify(*unlearned) == 0
    shown = capsys.readouterr().out.splitlines()
    assert words in shown
    assert shown[-1] == ("the baseline is better by 0.5 ± 0.49 in accuracy: --model convolutions trains and saves it")
    assert classify(*unlearned, "--json") == 0
    assert json.loads(capsys.readouterr().out)["baseline"] == {"accuracy": 1, "right": 6, "ahead": True}
    assert classify("train.ts", "two.ts", *unlearned[2:]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert ("accuracy: 0.000 (0 of 2), standard error 0.19" in shown, shown[-1]) == (True, "picture: c.png")
    assert classify("train.ts", "test.ts", "--epochs", "20") == 0
    shown = capsys.readouterr().out.splitlines()
    assert (words in shown, shown[-1]) == (True, "picture: c.png")
    assert main(["classify", "train.ts", "test.ts", "--model", "convolutions", "--out", "c", "--overwrite"]) == 0
    out = capsys.readouterr().out
    assert "model: ridge regression on 4,956 random convolutions of 20 series; penalty " in out
    assert "\naccuracy: 1.000 (6 of 6), standard error 0.13\nbalanced" in out
    assert [label for label, *_ in lines(capsys, "test.ts")] == ["slow", "quick"] * 3


@pytest.mark.usefixtures("blank_pictures")
def test_labels_and_names_are_printed_with_escapes(capsys: Capture) -> None:
    """Also bytes that are not UTF-8, and in errors and predictions."""
    labels = ("\udce9", "\udce8", "\x1b[2J", "\x02")
    write_folder(Path("waves"), [Series(each.values, labels[i % 4], "") for i, each in enumerate(waves(16))])
    assert main(["classify", "waves", *TINY_OPTIONS, "--epochs", "1", "--out", "c"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    table = {line.split()[0] for line in out.partition("label ")[2].splitlines()[1:5]}
    assert table == {"\\x02", "\\x1b[2J", "\\xe8", "\\xe9"}
    named = lines(capsys, *map(str, sorted(Path("waves").glob("*/*"))))
    assert {label for label, *_ in named} <= table
    assert any(name.startswith("waves/\\x1b[2J/") for *_, name in named)
    write_ts(Path("test.ts"), [replace(waves(1)[0], label="\x03")], ["\x03"])
    words = "has the label \\x03, but TRAIN has only \\x02, \\x1b[2J, "
    assert words in failed(capsys, "classify", "waves", "test.ts")
    next(Path("waves/\x1b[2J").iterdir()).write_text("x")
    failed(capsys, "classify", "waves", "--out", "d")  # and is printable


def test_groups_of_a_table_and_of_folders(capsys: Capture) -> None:
    """The column of groups is no channel, in training and in `predict`, and may be absent there."""
    rng = np.random.default_rng(0)
    values = {f"{m}{i}": (rng.normal(size=(9, 2)) + 3 * (m < "u")) for m in "rstuvw" for i in range(3)}
    rows = [
        f"{name},{name[0]},{'good' if name < 'u' else 'worn'},{x},{y}" for name, of in values.items() for x, y in of
    ]
    Path("t.csv").write_text("\n".join(["id,machine,state,x,y", *rows]) + "\n")
    named = ["--id", "id", "--label", "state", "--group", "machine", "--json"]
    assert main(["classify", "t.csv", *named, "--out", "c"]) == 0
    of_table = json.loads(capsys.readouterr().out)
    assert len({name.split()[-1][0] for name in of_table["held_out"]}) == 2
    for name, of in values.items():
        folder = Path("rec", "good" if name < "u" else "worn", name[0])
        folder.mkdir(parents=True, exist_ok=True)
        rows = [f"{x},{y}" for x, y in of]
        (folder / f"{name}.csv").write_text("\n".join(["x,y", *rows]) + "\n")
    assert main(["classify", "rec", "--out", "d"]) == 0
    out = capsys.readouterr().out
    assert (
        "series: 12 to train on, 6 to test on, held out; 4 and 2 groups, which stay together; 2 channels (x, y)" in out
    )
    assert "all series, each left out with its group in one of five parts: accuracy" in out
    predicted = lines(capsys, "t.csv")
    without = [",".join((cells := row.split(","))[:1] + cells[3:]) for row in Path("t.csv").read_text().splitlines()]
    Path("u.csv").write_text("\n".join(without) + "\n")
    assert [each[:2] for each in predicted] == [each[:2] for each in lines(capsys, "u.csv")]
    assert len(predicted) == 18
    assert len(lines(capsys, "rec", model="d")) == 18


def test_the_report_shows_a_rare_label_that_is_never_predicted() -> None:
    classifier: Any = SimpleNamespace(classes_=np.array(["quick", "slow"]))
    truth = np.array(["slow"] * 19 + ["quick"])
    test = [Series(np.zeros((1, 1)), each, "") for each in truth.tolist()]
    lines, results, _ = report_labels(classifier, test, np.array(["slow"] * 20), truth)
    assert results == {
        "accuracy": 0.95,
        "balanced_accuracy": 0.5,
        "macro_f1": pytest.approx(19 / 39),
        "right": 19,
        "baseline": {"accuracy": 1, "right": 20},
        "labels": {
            "quick": {"series": 1, "right": 0, "recall": 0, "precision": None},
            "slow": {"series": 19, "right": 19, "recall": 1, "precision": 0.95},
        },
    }
    assert "\n".join(lines).splitlines() == [
        "accuracy: 0.950 (19 of 20), standard error 0.07",
        "baseline (ridge on convolutions): 1.000 (20 of 20)",
        "balanced accuracy: 0.500",
        "macro F1: 0.487",
        "label  series  right  recall  precision",
        "quick       1      0   0.000          -",
        "slow       19     19   1.000      0.950",
    ]


# ---- the picture ----


def confusion(labels: list[str], true: list[int], predicted: list[int]) -> Draw:
    counts = np.zeros((len(labels), len(labels)), int)
    np.add.at(counts, (true, predicted), 1)
    return partial(draw_confusion, labels=labels, counts=counts)


def test_the_confusion_matrix_has_names_counts_and_a_colour_bar() -> None:
    axes, bar = axes_of(confusion(["a", "b$" + "x" * 14, "c" * 17], [0, 0, 0, 1, 1], [0, 0, 1, 1, 0]))
    assert_allclose(axes.get_images()[0].get_array(), np.array([[2 / 3, 1 / 3, 0], [0.5, 0.5, 0], [0.0, 0, 0]]))
    assert axes.get_images()[0].get_clim() == (0, 1)
    names = ["a", "b\\$" + "x" * 13, "c" * 16]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == names
    assert [tick.get_text() for tick in axes.get_yticklabels()] == names
    numbers = {text.get_position(): (text.get_text(), text.get_color()) for text in axes.texts if text.get_text()}
    assert numbers == {(0, 0): ("2", "white"), (1, 0): ("1", "black"), (0, 1): ("1", "black"), (1, 1): ("1", "black")}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert (axes.get_title(), bar.get_ylabel()) == ("accuracy 0.600 (3 of 5)", "share of the row")


@pytest.mark.parametrize(("count", "shown"), [(30, 30), (31, 0)])
def test_names_and_counts_of_up_to_30_labels(count: int, shown: int) -> None:
    labels = [f"l{i}" for i in range(count)]
    axes, _ = axes_of(confusion(labels, list(range(count)), list(range(count))))
    assert sum(bool(text.get_text()) for text in axes.texts) == shown
    assert sum(tick.get_text() in labels for tick in axes.get_yticklabels()) == shown


@pytest.mark.needs("matplotlib", "series")
def test_it_is_drawn_for_any_labels() -> None:
    for labels in (["a", "猫"], ["$x^{$", "\x1b[2J" + "y" * 100, "\\frac"]):
        content = drawn(confusion(labels, [*range(len(labels))], [*range(len(labels))][::-1]))
        assert content is not None
        assert content.startswith(b"\x89PNG")
