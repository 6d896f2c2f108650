"""`xrnn classify` and `xrnn predict` with tables, any labels, missing values, and early stopping."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.commands.runs import Capture, Patch
from tests.series.labelled.tiny import TINY_OPTIONS
from tests.series.waves import waves, write_folder, write_ts
from xrnn.commands.main import main
from xrnn.series import Classifier
from xrnn.series.checks import Series

pytestmark = pytest.mark.usefixtures("blank_pictures", "workdir")


def classify(*arguments: str) -> int:
    return main(["classify", *TINY_OPTIONS, *arguments, "--out", "c", "--overwrite"])


def lines(capsys: Capture, *arguments: str) -> list[list[str]]:
    """The label, its probability and the name, if there is one, of each row that `xrnn predict` prints."""
    capsys.readouterr()
    assert main(["predict", "c", *arguments]) == 0
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
    assert main(["predict", "c", "one.csv", "--id", "id"]) == 1
    assert "one.csv has no column id: expected a name, or a number from 1 to 3" in capsys.readouterr().err
    Path("other.csv").write_text("x;z\n1,5;2\n")
    assert main(["predict", "c", "other.csv"]) == 1
    assert "other.csv has no column y: expected a name, or a number from 1 to 2; it has" in capsys.readouterr().err


def test_convolutions_are_recommended_if_they_are_better_beyond_their_scatter(capsys: Capture) -> None:
    """A model that has not learned is worse than they are; one that has learned is as good."""
    write_ts(Path("train.ts"), waves(20, 0))
    write_ts(Path("test.ts"), waves(6, 1))
    words = "baseline (ridge on convolutions): 1.000 (6 of 6)"
    unlearned = ["train.ts", "test.ts", "--lr", "1e-9", "--epochs", "1"]
    assert classify(*unlearned) == 0
    shown = capsys.readouterr().out.splitlines()
    assert words in shown
    assert shown[-1] == ("the baseline is better by 0.5 ± 0.41 in accuracy: --model convolutions trains and saves it")
    assert classify(*unlearned, "--json") == 0
    baseline = {"accuracy": 1, "right": 6, "ahead": True}
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["baseline"] == baseline
    assert classify("train.ts", "test.ts", "--epochs", "20") == 0
    shown = capsys.readouterr().out.splitlines()
    assert (words in shown, shown[-1]) == (True, "picture: c.png")


def test_convolutions_are_trained_saved_and_used(capsys: Capture) -> None:
    test = waves(6, 1)
    write_ts(Path("train.ts"), waves(20, 0))
    write_ts(Path("test.ts"), test)
    assert main(["classify", "train.ts", "test.ts", "--model", "convolutions", "--out", "c"]) == 0
    out = capsys.readouterr().out
    assert "model: ridge regression on 4,956 random convolutions of 20 series; penalty " in out
    assert "\naccuracy: 1.000 (6 of 6)\nbalanced" in out
    assert [label for label, *_ in lines(capsys, "test.ts")] == [each.label for each in test]
    assert main(["info", "c"]) == 0
    assert "\nmodel: convolutions\n" in capsys.readouterr().out
    for target in ("c.onnx", "c.pt"):
        assert main(["convert", "c", target]) == 1
        assert (
            "c holds random convolutions, which no other format has: expected a model trained with --model recurr"
            in (capsys.readouterr().err)
        )


def test_patches_are_chosen_and_streamed(monkeypatch: Patch, capsys: Capture) -> None:
    """A stream ends in the prediction for the file, within a patch too, and with missing values."""
    rng = np.random.default_rng(0)
    series = [Series(rng.standard_normal((66 + i, 2)), str(i % 2), f"{i}") for i in range(10)]
    write_ts(Path("train.ts"), series, ["0", "1"])
    monkeypatch.setattr("xrnn.series.labelled.choice._error", lambda *_: 1.0)
    options = ["train.ts", "--one-way", "--mask"]
    assert classify(*options, "--epochs", "2") == 0
    printed = capsys.readouterr().out
    assert "\n  --patch 4 --scaling shared: error 1.000\n  --patch 1 --scaling shared: error 1.000\nmodel: " in printed
    assert "; patches of 4 steps; batches of 4" in printed
    values = series[1].values.copy()
    values[20:25, 0] = values[30:31] = np.nan
    for T in (1, 2, 33, 66):
        np.savetxt("new.csv", values[:T], delimiter=",")
        ((label, probability, _),) = lines(capsys, "new.csv")
        monkeypatch.setattr("sys.stdin", io.StringIO(Path("new.csv").read_text()))
        assert lines(capsys, "--stream")[-1] == [label, probability]


# ---- early stopping ----


def test_a_run_stops_after_its_patience_and_keeps_the_best_epoch(capsys: Capture) -> None:
    write_ts(Path("train.ts"), waves(20, 0))
    write_ts(Path("test.ts"), waves(6, 1))
    assert classify("train.ts", "test.ts", "--patience", "3", "--epochs", "500", "--lr", "0.3", "--head-rate", "1") == 0
    out = capsys.readouterr().out
    assert "series: 20 to train on, 6 to test on; 2 labels" in out
    assert ", lr 0.3, patience 3 on 4 series; seed 0" in out
    assert re.search(r", validation loss \d\.\d{3}, [\d,]+ series/s, took", out)
    best = re.search(r"^best epoch: (\d+) \(validation loss (\d\.\d{3})\)$", out, re.MULTILINE)
    assert best
    losses = Classifier.load("c").validation_losses_
    assert len(losses) == int(best[1]) + 3
    assert (int(np.argmin(losses)) + 1, f"{min(losses):.3f}") == (int(best[1]), best[2])


# ---- missing values ----


# ---- labels ----


def test_labels_that_differ_in_unprintable_characters_are_told_apart(capsys: Capture) -> None:
    """Also bytes that are not UTF-8, and in errors and predictions."""
    series = [Series(each.values, ("\udce9", "\udce8", "\x1b", "\x02")[i % 4], "") for i, each in enumerate(waves(16))]
    write_folder(Path("waves"), series)
    assert main(["classify", "waves", *TINY_OPTIONS, "--epochs", "1", "--out", "c"]) == 0
    table = capsys.readouterr().out.partition("label ")[2].splitlines()[1:5]
    assert sorted(line.split()[0] for line in table) == ["\\x02", "\\x1b", "\\xe8", "\\xe9"]
    named = lines(capsys, *(str(path) for path in sorted(Path("waves").glob("*/*"))))
    assert {label for label, *_ in named} <= {line.split()[0] for line in table}
    write_ts(Path("test.ts"), [replace(waves(1)[0], label="\x03")], ["\x03"])
    assert main(["classify", "waves", "test.ts"]) == 1
    assert "has the label \\x03: expected one that TRAIN has, \\x02, \\x1b, " in capsys.readouterr().err


def test_labels_and_names_print_no_control_characters(capsys: Capture) -> None:
    write_folder(Path("waves"), [Series(each.values, f"\x1b[2J{each.label}", "") for each in waves(8)])
    assert main(["classify", "waves", *TINY_OPTIONS, "--epochs", "1", "--out", "c"]) == 0
    out = capsys.readouterr().out
    assert "\\x1b[2Jslow" in out
    assert "\x1b" not in out
    name = next(name for name in sorted(os.listdir("waves/\x1b[2Jslow")) if name.endswith(".csv"))
    assert main(["predict", "c", f"waves/\x1b[2Jslow/{name}"]) == 0
    out = capsys.readouterr().out
    assert f"\nwaves/�[2Jslow/{name},\\x1b[2J" in out
    assert "\x1b" not in out
    Path(f"waves/\x1b[2Jslow/{name}").write_text("x")
    assert main(["classify", "waves", "--out", "d"]) == 1
    err = capsys.readouterr().err
    assert "�[2Jslow" in err
    assert err[:-1].isprintable()
