"""`xrnn predict`: new series from files, and row by row from a stream, for each kind of model."""

from __future__ import annotations

import csv
import errno
import io
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands.runs import (
    CLASSIFY,
    FORECAST,
    REGRESS,
    Capture,
    Patch,
    growth,
    raising,
    write_data,
    write_levels,
)
from tests.fresh import XRNN
from tests.series.waves import waves, write_csv, write_ts
from xrnn.commands.main import main
from xrnn.series import Classifier, Regressor
from xrnn.typing import HostArray

STREAMING = ["classify", "regress"]
KINDS = [*STREAMING, "forecast"]
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of each kind that runs forward only; those in `named` have channels with names."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "named").mkdir()
    write_data(folder)
    with Patch.context() as patch:
        patch.setenv("XRNN_BACKEND", "numpy")
        patch.setitem(sys.modules, "matplotlib.figure", None)  # no pictures
        patch.chdir(folder)
        write_levels(Path("levels.ts"), 40, 0)
        quiet = ["--dropout", "0", "--noise", "0"]
        assert CLASSIFY("--one-way", "--out", "classify", epochs=20) == 0
        assert REGRESS("--one-way", *quiet, "--out", "regress", epochs=60) == 0
        assert FORECAST("--out", "forecast") == 0
        rows = [f"{i},{x},{y},{label}" for i, s in enumerate(waves(10)) for label in (i % 2,) for x, y in s.values]
        Path("t.csv").write_text("\n".join(["id,x,y,kind", *rows]))
        for run in (CLASSIFY, REGRESS):
            words = [run.command, "t.csv", *run.options, "--id", "id", "--label", "kind", "--one-way", "--epochs", "1"]
            assert main([*words, "--out", f"named/{run.command}"]) == 0
        Path("sales.csv").write_text("sales\n" + "".join(f"{v}\n" for v in growth()))
        assert main(["forecast", "sales.csv", *FORECAST.options, "--out", "named/forecast"]) == 0
    return folder


@pytest.fixture(autouse=True)
def here(models: Path, workdir: Path) -> None:
    for name in (*KINDS, "named"):
        Path(name).symlink_to(models / name)


def series_for(kind: str) -> HostArray:
    return growth(12)[:, None] if kind == "forecast" else waves(1, 3)[0].values.copy()


def write(name: str, kind: str, values: HostArray) -> None:
    Path(name).write_text("v\n" * (kind == "forecast") + text(values))


def text(values: HostArray) -> str:
    return "".join(",".join("?" if np.isnan(v) else str(v) for v in row) + "\n" for row in values)


def predicted(capsys: Capture, *arguments: str) -> list[dict[str, str]]:
    """The rows of the table that `xrnn predict` prints."""
    capsys.readouterr()
    assert main(["predict", *arguments]) == 0
    return [*csv.DictReader(io.StringIO(capsys.readouterr().out))]


def in_json(capsys: Capture, *arguments: str) -> list[Any]:
    capsys.readouterr()
    assert main(["predict", *arguments, "--json"]) == 0
    return [*map(json.loads, capsys.readouterr().out.splitlines())]


def streamed(capsys: Capture, rows: str | bytes | Any, *arguments: str, status: int = 0) -> tuple[list[str], str]:
    """The lines that a stream prints, without the header of the table, and its errors."""
    stdin = io.StringIO(rows) if isinstance(rows, str) else rows
    stdin = io.TextIOWrapper(io.BytesIO(stdin)) if isinstance(stdin, bytes) else stdin
    capsys.readouterr()
    with Patch.context() as patch:
        patch.setattr("sys.stdin", stdin)
        assert main(["predict", *arguments, "--stream"]) == status
    out, err = capsys.readouterr()
    return out.splitlines()["--json" not in arguments :], err


# ---- files ----


def test_each_series_gets_its_label_and_probability(capsys: Capture) -> None:
    new = waves(6, 2)
    write_ts(Path("new.ts"), new)
    write_csv(Path("new.csv"), new[0].values)
    np.save("new.npy", new[1].values)
    got = predicted(capsys, "classify", "new.ts", "new.csv", "new.npy")
    assert [*got[0]] == ["name", "label", "probability"]
    assert [row["label"] for row in got] == [*("slow", "quick") * 3, "slow", "quick"]
    assert all(0.5 < float(row["probability"]) <= 1 for row in got)
    assert [row["name"] for row in got] == [*(f"new.ts, line {i}" for i in range(5, 11)), "new.csv", "new.npy"]
    assert [row["probability"] for row in got[-2:]] == [row["probability"] for row in got[:2]]


@every_kind
def test_json_is_one_line_for_each_row_of_the_table(kind: str, capsys: Capture) -> None:
    for name in ("a.csv", "b.csv"):
        write(name, kind, series_for(kind))
    plain = predicted(capsys, kind, "a.csv", "b.csv")
    lines = in_json(capsys, kind, "a.csv", "b.csv")
    assert [each["name"] for each in lines] == ["a.csv"] * (len(lines) // 2) + ["b.csv"] * (len(lines) // 2)
    assert [{name: str(value) for name, value in line.items()} for line in lines] == plain


def test_proba_adds_every_probability(capsys: Capture) -> None:
    write_ts(Path("new.ts"), waves(2, 3))
    plain = predicted(capsys, "classify", "new.ts", "--proba")
    assert [*plain[0]] == ["name", "label", "probability", "p(quick)", "p(slow)"]
    for row in plain:
        shares = [float(row["p(quick)"]), float(row["p(slow)"])]
        assert float(row[f"p({row['label']})"]) == float(row["probability"]) == max(shares)
        assert sum(shares) == pytest.approx(1, abs=2e-6)


def test_the_truth_need_not_be_known(capsys: Capture) -> None:
    Path("new.ts").write_text("@classLabel false\n@data\n5,5.1:5.9,5.8\n")
    Path("other.ts").write_text("@classLabel true walk\n@data\n5,5.1:5.9,5.8:walk\n")
    Path("number.ts").write_text("@targetLabel true\n@data\n5,5.1:5.9,5.8:1.5\n")
    Path("d/walk").mkdir(parents=True)
    Path("d/walk/1.csv").write_text("5,5.9\n5.1,5.8\n")
    first, *others = predicted(capsys, "classify", "new.ts", "other.ts", "number.ts", "d")
    assert [each | {"name": ""} for each in others] == [first | {"name": ""}] * 3
    Path("t.csv").write_text("id,x,y\n1,5,5.9\n1,5.1,5.8\n")
    unlabelled = predicted(capsys, "named/classify", "t.csv")
    Path("t.csv").write_text("id,x,y,kind\n1,5,5.9,0\n1,5.1,5.8,1\n")  # a label that changes
    assert predicted(capsys, "named/classify", "t.csv") == unlabelled


def test_loaded_weights_are_not_drawn_first(monkeypatch: Patch) -> None:
    """A checkpoint is used without the time and memory of new weights."""
    write_ts(Path("new.ts"), waves(2, 3))
    for name in ("orthogonal", "glorot_uniform"):
        monkeypatch.setattr(f"xrnn.init.{name}", raising(AssertionError(f"{name} has drawn weights")))
    assert main(["predict", "classify", "new.ts"]) == 0


@every_kind
def test_predict_continues_after_a_file_that_can_not_be_used(kind: str, capsys: Capture) -> None:
    Path("new").mkdir()
    Path("new/a.csv").write_text("1,abc\n2,abc\n")
    for name in ("new/b.csv", "good.csv"):
        write(name, kind, series_for(kind))
    np.save("wide.npy", np.ones((9, 3)))
    expected = predicted(capsys, kind, "new/b.csv", "good.csv")
    capsys.readouterr()
    assert main(["predict", kind, "wide.npy", "new", "gone.csv", "good.csv"]) == 1
    out, err = capsys.readouterr()
    assert [*csv.DictReader(io.StringIO(out))] == expected
    starts = ["error: wide.npy has 3 ", f"error: {Path('new/a.csv')}, line 1, ", "error: gone.csv doesn't exist; "]
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert [line.startswith(start) for line, start in zip(errors, starts, strict=True)] == [True] * 3


def test_bad_lines_of_files_are_skipped(capsys: Capture, caplog: pytest.LogCaptureFixture) -> None:
    rows = text(series_for("classify")).splitlines()
    Path("good.csv").write_text("\n".join(rows))
    Path("bad.csv").write_text("\n".join([rows[0], "5,x", "5,6,7", *rows[1:]]))
    expected = predicted(capsys, "classify", "good.csv")
    (row,) = predicted(capsys, "classify", "bad.csv", "--skip-bad-lines")
    assert [*row.values()][1:] == [*expected[0].values()][1:]
    assert caplog.messages[0].startswith(
        "bad.csv: 2 bad lines are skipped, the first: line 2, column 2: 'x' is not a number; "
    )
    assert main(["predict", "classify", "bad.csv"]) == 1
    err = capsys.readouterr().err
    assert err.startswith(
        "error: bad.csv has 2 bad lines: line 2, column 2: 'x' is not a number; line 3 has 3 values, but "
    )
    assert err.endswith("; correct them, or give --skip-bad-lines\n")


# ---- streams ----


ABOUT = "each prediction is about the last {}, as many as a series of the training has; --last changes this\n"


@pytest.mark.parametrize("kind", STREAMING)
@pytest.mark.parametrize("last", [None, 3])
def test_a_line_of_a_stream_is_the_prediction_for_a_file_of_the_last_rows(
    kind: str, last: int | None, capsys: Capture
) -> None:
    values = np.concatenate([series_for(kind), series_for(kind) + 0.3])
    values[[0, 2], 0] = np.nan  # replaced by the mean, and by the value before
    options = [] if last is None else ["--last", str(last)]
    running, err = streamed(capsys, text(values).replace("\n", "\n\n"), kind, *options)
    estimator = (Classifier if kind == "classify" else Regressor).load(kind)
    size = last or estimator.steps_
    about = ABOUT.format(f"{size} rows") if last is None else "each prediction is about the last 3 rows\n"
    assert err == about
    assert len(running) == len(values)
    for T in (2, 3, 6, len(values)):
        write(f"{T}.csv", kind, values[max(0, T - size) : T])
        *label, number = running[T - 1].split(",")
        *expected, expected_number = [*predicted(capsys, kind, f"{T}.csv")[0].values()][1:]
        assert label == expected
        assert float(number) == pytest.approx(float(expected_number), rel=1e-5)
    as_json, _ = streamed(capsys, text(values), kind, "--json", *options)
    assert len(as_json) == len(running)
    keys = {"classify": {"label", "probability"}, "regress": {"value"}}
    assert {*map(frozenset, map(json.loads, as_json))} == {frozenset(keys[kind])}


def test_a_stream_names_a_channel_without_values(capsys: Capture) -> None:
    rows = "5,6\n" * 2 + "?,6\n" * 5 + "5,6\n" + "?,6\n" * 3
    lines, err = streamed(capsys, rows, "named/classify", "--last", "3")
    mean = ": predictions use its mean over the training series"
    lost = f"no value in channel x in the last 3 rows, up to {{}}{mean}"
    assert err.splitlines()[1:] == [lost.format(5), lost.format(11)]
    assert len(lines) == 11
    _, err = streamed(capsys, "?,6\n", "classify", "--last", "1")
    assert "no value in channel 1 in the first 1 row:" in err
    # without a value from the start: a line after 10 rows, not only after as many as a prediction is about
    rows = "?,6\n" * 25 + "5,6\n" + "?,6\n" * 20
    _, err = streamed(capsys, rows, "named/classify", "--last", "20")
    assert err.splitlines()[1:] == [
        f"no value in channel x in the first 10 rows{mean}",
        f"no value in channel x in the last 20 rows, up to 46{mean}",
    ]
    _, err = streamed(capsys, "?,6\n" * 9 + "5,6\n" * 5, "named/classify", "--last", "20")
    assert len(err.splitlines()) == 1


def test_a_stream_names_the_windows_that_it_is_about(capsys: Capture) -> None:
    X, y = [each.values for each in waves(12)], [each.label for each in waves(12)]
    classifier = Classifier(model="features", window=3).fit(X, y)
    classifier.save("windows")
    values = np.concatenate(X[:3])
    running, err = streamed(capsys, text(values), "windows")
    assert err == ABOUT.format("6 rows, the mean over 2 windows")
    p = np.array([*classifier.stream(values)]).max(axis=1)
    assert [float(line.split(",")[1]) for line in running] == pytest.approx(p, abs=1e-5)
    _, err = streamed(capsys, "5,6\n" * 4 + "?,6\n" * 4, "windows", "--last", "10")
    assert err.splitlines() == [
        "each prediction is about the last 9 rows, the mean over 3 windows",
        "no value in channel 1 in the last 3 rows, up to 7: predictions use its mean over the training series",
    ]
    _, err = streamed(capsys, "5,6\n", "windows", "--last", "2")
    assert err == "each prediction is about the last 2 rows\n"


def test_the_help_of_last_says_what_it_costs(capsys: Capture) -> None:
    main(["predict", "--help"])
    assert "its cost grows with their number" in " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_quoted_numbers_with_decimal_commas(capsys: Capture) -> None:
    want = streamed(capsys, "5.5,6\n5,6.25\n", "classify")
    for rows in ('"5,5",6\n5,"6,25"\n', '"5,5","6"\n"5","6,25"\n', "5,5;6\n5;6,25\n", "5,5\t6\n5\t6,25\n"):
        assert streamed(capsys, rows, "classify", "--decimal", ",") == want
        assert streamed(capsys, rows, "classify") == want  # a sign that can be read only so is found
    # only cells with a comma have quotes, as Python's csv writes them
    want = streamed(capsys, "5,6\n5.5,6\n5,6\n", "classify")
    for rows in ('5,6\n"5,5",6\n5,6\n', "5;6\n5,5;6\n5;6\n"):
        assert streamed(capsys, rows, "classify", "--decimal", ",") == want
    want = streamed(capsys, "x,y\n5.5,6\n5,6\n", "named/classify")
    for rows in ('x,y\n"5,5",6\n5,6\n', 't,y,x\n"0,5",6,"5,5"\n1,6,5\n', "x;y\n5,5;6\n5;6\n"):
        assert streamed(capsys, rows, "named/classify", "--decimal", ",") == want
    want = streamed(capsys, "x,y\n5,6\n5.5,6\n", "named/classify")
    for rows in ('t,x,y\n1,5,6\n2,"5,5",6\n', "x,y\n5;6\n5,5;6\n"):
        assert streamed(capsys, rows, "named/classify", "--decimal", ",") == want


def test_the_sign_of_decimals_is_that_of_the_whole_stream(capsys: Capture) -> None:
    """A later row, such as 1.234, could have either sign by itself."""
    rows = "5,5;6\n1.234;2\n"
    want = streamed(capsys, rows, "classify", "--decimal", ",")
    assert streamed(capsys, rows, "classify") == want
    assert streamed(capsys, "5.5;6\n1.234;2\n", "classify")[0][1] != want[0][1]
    lines, err = streamed(capsys, "1.234;2\n5,5;6\n", "classify", status=1)
    assert len(lines) == 1
    assert "row 2 has , before the decimals, but row 1 was read with .; give --decimal ," in err
    lines, err = streamed(capsys, "1.5;2\n5,5;6\n", "classify", status=1)
    assert len(lines) == 1
    got = "row 2: '5,5' has , before the decimals, but the rows before have ."
    assert f"{got}; write all numbers with the same sign" in err


SIGNS = {".": "5.5;6\n1.25;2\n", ",": "5,5;6\n1,25;2\n"}


@pytest.mark.parametrize("sign", ".,")
def test_predict_reads_with_the_sign_of_the_training(
    sign: str, capsys: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    """It decides about numbers that could have either sign, in files and streams, and a line tells so."""
    rows = [f"{i};{x:.2f};{y:.2f};{i % 2}" for i, s in enumerate(waves(10)) for x, y in s.values]
    Path("t.csv").write_text("id;x;y;kind\n" + "\n".join(rows).replace(".", sign))
    run = ["classify", "t.csv", *CLASSIFY.options, "--id", "id", "--label", "kind", "--epochs", "1", "--out", "m"]
    assert main(run) == 0
    Path("new.csv").write_text("x;y\n1.250;2.500\n3.750;1.125\n")
    Path("other.csv").write_text("x,y\n1.250,2.500\n3.750,1.125\n")  # commas separate cells: points begin decimals

    def answer(*words: str) -> str:
        capsys.readouterr()
        caplog.clear()
        assert main(["predict", "m", *words]) == 0
        return capsys.readouterr().out.replace(words[0], "")

    found = answer("new.csv")
    (line,) = caplog.messages
    other = ".,"[sign == "."]
    value = "1250" if sign == "," else "1.25"
    how = f"is read as {value}, as in the training; if this is wrong, give --decimal {other}"
    assert line == f"new.csv: 1.250 in columns x, y {how}"
    assert found == answer("new.csv", "--decimal", sign)
    assert found != answer("new.csv", "--decimal", other)
    want = answer("new.csv", "--decimal", ".")
    assert answer("other.csv") == want
    assert caplog.messages == []
    first, _ = streamed(capsys, "1.250;2.500\n3.750;1.125\n", "m")
    assert caplog.messages == [f"row 1: 1.250 {how}"]
    assert first == streamed(capsys, "1.250;2.500\n3.750;1.125\n", "m", "--decimal", sign)[0]
    lines, err = streamed(capsys, "1.250;2.500\n" + SIGNS[other], "m", status=1)
    assert len(lines) == 1
    assert f"row 2 has {other} before the decimals, but row 1 was read with {sign}; give --decimal {other}" in err
    Path("new.csv").write_text(SIGNS[other])  # the cells of a file show its sign
    assert answer("new.csv") == answer("new.csv", "--decimal", other)


def test_cells_that_are_no_csv_get_one_line(capsys: Capture) -> None:
    for row in ("5,6\r7\n", f"{'5' * 200_000},6\n", '"5,6\n'):
        with Patch.context() as patch:
            patch.setattr("sys.stdin", iter([row]))
            assert main(["predict", "classify", "--stream"]) == 1
        err = capsys.readouterr().err.splitlines()
        assert err[0].startswith("error: row 1")
        assert len(err) == 1


BAD_ROWS = [
    ("1,2\n1,2,3\n", "row 2 has 3 values, but the first row has 2; correct it"),
    ("1,2,3\n", "row 1 has 3 values, but the model has 2 channels; pipe in the channels alone"),
    ("1,2\n\n1,x\n", "row 3: 'x' is not a number; correct or remove it"),
    ("1,2\n1,\x1b[2J\n", "row 2: '�[2J' is not a number"),
    ("1,1e300\n", "row 1 holds 1e+300 in column 2; scale the numbers to at most 1e+30"),
]


@pytest.mark.parametrize("kind", STREAMING)
def test_bad_rows_get_one_line(kind: str, capsys: Capture) -> None:
    for rows, message in BAD_ROWS:
        _, err = streamed(capsys, rows, kind, status=1)
        *notes, error, _ = err.split("\n")
        assert error.startswith(f"error: {message}")
        assert len(notes) == (message[4] > "1")


@pytest.mark.parametrize("kind", STREAMING)
def test_bad_rows_are_skipped_and_counted(kind: str, capsys: Capture) -> None:
    good = text(series_for(kind)).splitlines(keepends=True)
    bad = [rows.splitlines()[-1] + "\n" for rows, _ in BAD_ROWS]
    lines, err = streamed(capsys, "".join([*good[:1], *bad, *good[1:]]), kind, "--skip-bad-lines")
    assert lines == streamed(capsys, "".join(good), kind)[0]  # they leave no trace
    *_, last, count = [line for line in err.splitlines() if line.startswith("skipped")]
    assert last.startswith("skipped: row 6 holds 1e+300 in column 2")
    assert count == "skipped 5 bad rows"
    _, err = streamed(capsys, good[0] + "x,y\n" * 25, kind, "--skip-bad-lines")
    assert [line.startswith("skipped") for line in err.splitlines()] == [False] + [True] * 21
    assert err.endswith("skipped 25 bad rows\n")
    _, err = streamed(capsys, "1,2,3\n1,2\n", kind, "--skip-bad-lines", status=1)  # the layout of the stream
    assert "error: row 1 has 3 values, but the model has 2 channels" in err


@pytest.mark.parametrize("kind", STREAMING)
def test_a_stream_may_begin_with_a_header(kind: str, capsys: Capture) -> None:
    rows = text(series_for(kind))
    expected = streamed(capsys, rows, f"named/{kind}")
    for header in ("x,y\n", "x;y\n", "x\ty\n", '\n "x", "y" \r\n'):
        assert streamed(capsys, header + rows, f"named/{kind}") == expected
    for values in ("?,?", ",0", "yes,no"):  # values, not a header
        assert len(streamed(capsys, f"{values}\n{rows}", kind)[0]) == rows.count("\n") + 1
        assert len(streamed(capsys, f"{values}\n{rows}", f"named/{kind}")[0]) == rows.count("\n") + 1
    _, err = streamed(capsys, f"{text(series_for(kind)[:1])}x,y\n", f"named/{kind}", status=1)
    assert "row 2: 'x' is not a number" in err  # only the first row is a header


def test_a_header_names_the_channels_among_other_columns(capsys: Capture) -> None:
    values = series_for("classify")
    expected = streamed(capsys, text(values), "named/classify")
    other = [f"{i},{y},2024-01-01 00:00:{i:02},{x}\n" for i, (x, y) in enumerate(values.tolist())]
    assert streamed(capsys, "t_s,y,when,x\n" + "".join(other), "named/classify") == expected
    assert streamed(capsys, "y;x\n" + text(values[:, ::-1]).replace(",", ";"), "named/classify") == expected
    _, err = streamed(capsys, "".join(other), "named/classify", status=1)
    assert "error: row 1 has 4 values, but the model has 2 channels; put a header with x, y before the rows" in err


def test_columns_that_the_training_skipped_by_number_are_skipped_in_a_stream(capsys: Capture) -> None:
    rows = [f"{t},{i},{x},{y},{i % 2}" for i, s in enumerate(waves(10)) for t, (x, y) in enumerate(s.values)]
    Path("t.csv").write_text("\n".join(rows) + "\n")
    options = ["--skip-columns", "1", "--id", "2", "--label", "5", "--epochs", "1", "--hidden", "4", "--out", "c"]
    assert main(["classify", "t.csv", *options]) == 0
    values = series_for("classify")
    more = "".join(f"{t},a,{x},{y},?\n" for t, (x, y) in enumerate(values.tolist()))
    assert streamed(capsys, more, "c") == streamed(capsys, text(values), "c")


def test_the_header_of_a_stream_is_checked(capsys: Capture) -> None:
    for header, model, message in (
        (
            "y,z",
            "named/classify",
            "the header 'y, z' lacks the channel x; it must name x, y, the channels of the model",
        ),
        ("x,y,x", "named/regress", "the header 'x, y, x' names twice the channel x; it must name x, y, the channels"),
        ("1,2x", "named/classify", "row 1: '2x' is not a number"),  # a header has no number
        ("1,500;2", "classify", "row 1: '1,500' may be 1.5 or 1500; give --decimal , or --decimal ."),
        *((row, "classify", "row 1: ") for row in ("a,b", "1.2;abc", "1.2x;abc", "x,0", "a,?", "inf,a", "$5,$6")),
    ):
        lines, err = streamed(capsys, f"{header}\n5,5.8\n", model, status=1)
        assert err.startswith(f"error: {message}")
        assert (lines, err.count("\n")) == ([], 1)


def test_what_standard_input_may_hold(capsys: Capture) -> None:
    assert len(streamed(capsys, b"\xef\xbb\xbf5,6\r\n", "classify")[0]) == 1  # a byte order mark is skipped
    _, err = streamed(capsys, b"\xff\xfe,1\n", "classify", status=1)
    assert err.startswith("error: row 1: ")
    assert err.count("\n") == 1


def test_an_input_that_can_not_be_read_gets_one_line(capsys: Capture, monkeypatch: Patch) -> None:
    expected = "pipe rows of values in, or name a file with <\n"
    assert streamed(capsys, None, "classify", status=1) == ([], f"error: standard input is closed; {expected}")  # <&-
    stdin = io.TextIOWrapper(raw := io.BytesIO())
    monkeypatch.setattr(raw, "read1", raising(OSError(errno.EBADF, "Bad file descriptor")))  # 0>file
    message = f"error: can't read standard input (Bad file descriptor): {expected}"
    assert streamed(capsys, stdin, "classify", status=1) == ([], message)


def test_a_stream_ends_when_its_output_is_closed(monkeypatch: Patch) -> None:
    """As by `predict --stream | head -1`: the endless input is not read on."""
    output = io.StringIO()
    written: Callable[[str], int] = output.write

    def closed_after_a_line(line: str) -> int:
        if output.getvalue().count("\n") == 2:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        return written(line)

    monkeypatch.setattr(output, "write", closed_after_a_line)
    monkeypatch.setattr("sys.stdin", itertools.repeat("5,5.8\n"))
    monkeypatch.setattr("sys.stdout", output)
    assert main(["predict", "classify", "--stream"]) == 141
    assert output.getvalue().count("\n") == 2  # the header, and a row


@pytest.mark.skipif(os.name != "posix", reason="pipes are read as they fill there")
def test_a_stream_is_answered_at_once(monkeypatch: Patch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    command = [sys.executable, "-c", XRNN, "predict", "classify", "--stream"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        for i, row in enumerate(("5,5.8", "5.3,6", "5.6,5.9")):
            process.stdin.write(f"{row}\n")
            process.stdin.flush()
            if i == 0:
                assert process.stdout.readline() == "label,probability\n"
            label, probability = process.stdout.readline().strip().split(",")
            assert label in ("slow", "quick")
            assert 0.5 <= float(probability) <= 1
        process.stdin.close()
    assert process.returncode == 0
