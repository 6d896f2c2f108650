"""`xrnn predict`: labels for new series, from files and from a stream."""

from __future__ import annotations

import errno
import io
import itertools
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import xrnn
from tests.models.data.waves import waves, write_csv, write_ts
from tests.models.labelled.tiny import TINY_OPTIONS
from xrnn.commands.main import main
from xrnn.commands.terminal import CLOSED_PIPE, Terminal, status_of
from xrnn.models.labelled.classifier_predict import LabelPredictor
from xrnn.models.labelled.predict import PredictOptions
from xrnn.select import get_backend
from xrnn.typing import HostArray

XRNN = [sys.executable, "-c", "import sys; from xrnn.commands.main import main; sys.exit(main())"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoints `both` and `forward`."""
    folder = tmp_path_factory.mktemp("trained")
    train, test = write_ts(folder / "train.ts", waves(10, 0)), write_ts(folder / "test.ts", waves(6, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XRNN_BACKEND", "numpy")
        for name, options in {"both": [], "forward": ["--one-way"]}.items():
            out = ["--out", str(folder / name), "--epochs", "20"]
            assert main(["classify", str(train), str(test), *TINY_OPTIONS, *options, *out]) == 0
    return folder


@pytest.fixture(autouse=True)
def folder(trained: Path, workdir: Path) -> None:
    for name in ("both", "forward"):
        Path(name).symlink_to(trained / name)


def predictions(out: str) -> list[list[str]]:
    return [line.split("\t") for line in out.splitlines()]


def stream(rows: str, monkeypatch: pytest.MonkeyPatch, checkpoint: str = "forward") -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(rows))
    return main(["predict", checkpoint, "--stream"])


def rows(values: HostArray) -> str:
    return "".join(",".join("?" if np.isnan(v) else str(v) for v in row) + "\n" for row in values)


def test_each_series_gets_its_label_and_probability(capsys: pytest.CaptureFixture[str]) -> None:
    new = waves(6, 2)
    write_ts(Path("new.ts"), new)
    write_csv(Path("new.csv"), new[0].values)
    np.save("new.npy", new[1].values)
    assert main(["predict", "both", "new.ts", "new.csv", "new.npy"]) == 0
    got = predictions(capsys.readouterr().out)
    assert [line[0] for line in got] == [*("slow", "quick") * 3, "slow", "quick"]
    assert all(0.5 < float(line[1]) <= 1 for line in got)
    assert [line[2] for line in got] == [*(f"new.ts, line {i}" for i in range(5, 11)), "new.csv", "new.npy"]
    assert [line[1] for line in got[-2:]] == [line[1] for line in got[:2]]


def test_the_truth_need_not_be_known(capsys: pytest.CaptureFixture[str]) -> None:
    Path("new.ts").write_text("@classLabel false\n@data\n5,5.1:5.9,5.8\n")
    Path("other.ts").write_text("@classLabel true walk\n@data\n5,5.1:5.9,5.8:walk\n")
    Path("number.ts").write_text("@targetLabel true\n@data\n5,5.1:5.9,5.8:1.5\n")
    Path("d/walk").mkdir(parents=True)
    Path("d/walk/1.csv").write_text("5,5.9\n5.1,5.8\n")
    assert main(["predict", "both", "new.ts", "other.ts", "number.ts", "d"]) == 0
    first, *others = predictions(capsys.readouterr().out)
    assert len(others) == 3
    for each in others:
        assert each[:2] == first[:2]


def test_a_stream_is_predicted_row_by_row_and_ends_as_the_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = waves(1, 3)[0].values.copy()
    values[0, 0] = values[2, 1] = np.nan  # the mean, and the value before
    T = len(values)
    for part in (1, 3, T):
        write_csv(Path(f"{part}.csv"), values[:part])
        Path(f"{part}.csv").write_text(rows(values[:part]))
    Path("1.csv").unlink()  # of which a channel lacks every value
    assert stream(rows(values).replace("\n", "\n\n"), monkeypatch) == 0
    running = predictions(capsys.readouterr().out)
    assert len(running) == T
    assert main(["predict", "forward", "3.csv", f"{T}.csv"]) == 0
    whole = predictions(capsys.readouterr().out)
    assert [running[2], running[-1]] == [line[:2] for line in whole]


def test_a_stream_ends_when_its_output_is_closed() -> None:
    """As by `predict --stream | head -1`."""
    read: list[int] = []

    def endless() -> Iterator[str]:
        for i in itertools.count():
            assert i < 10, "the stream is still read"
            read.append(i)
            yield "5,5.8\n"

    output = io.StringIO()
    terminal = Terminal(output)
    written = output.write

    def closed_after_a_line(text: str) -> int:
        if output.getvalue():
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        return written(text)

    output.write = closed_after_a_line  # type: ignore[method-assign]
    predictor = LabelPredictor.load(Path("forward"), get_backend("numpy"))
    predictor.stream(endless(), ".", PredictOptions(), terminal)
    assert read == [0, 1]
    assert output.getvalue().count("\n") == 1
    assert status_of(terminal.lost) == CLOSED_PIPE


@pytest.mark.skipif(os.name != "posix", reason="pipes are read as they fill there")
def test_a_stream_is_answered_at_once() -> None:
    """Each answer is read before the next row is written."""
    command = [*XRNN, "predict", "forward", "--stream"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        for row in ("5,5.8", "5.3,6", "5.6,5.9"):
            process.stdin.write(f"{row}\n")
            process.stdin.flush()
            label, probability = process.stdout.readline().split()
            assert label in ("slow", "quick")
            assert 0.5 <= float(probability) <= 1
        process.stdin.close()
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("1,2\n1,2,3\n", "row 2 has 3 values: expected 2, one for each channel, separated by commas"),
        (
            "1,2\n\n1,x\n",
            "row 3: 'x' is not a finite number: expected numbers, or an empty cell for a missing value; correct or",
        ),
        ("1,\x1b[2J\n", "row 1: '�[2J' is not a finite number"),
        ("1,1e300\n", "row 1 holds 1e+300: expected numbers up to 1e+30; scale them"),
        (
            "1,2\n" + "1" * (2**20 + 1),
            "a line of standard input is longer than 1,048,576 characters: expected a row of values per line; pipe",
        ),
    ],
)
def test_bad_rows_get_one_line(
    lines: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stream(lines, monkeypatch) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a model with the channels x and y."""
    folder = tmp_path_factory.mktemp("named")
    for i, each in enumerate(waves(10)):
        (folder / "train" / str(each.label)).mkdir(parents=True, exist_ok=True)
        (folder / "train" / str(each.label) / f"{i}.csv").write_text("x,y\n" + rows(each.values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XRNN_BACKEND", "numpy")
        options = [*TINY_OPTIONS, "--one-way", "--epochs", "2", "--out", str(folder / "c")]
        assert main(["classify", str(folder / "train"), *options]) == 0
    return folder / "c"


@pytest.mark.parametrize("header", ["x,y\n", "x;y\n", '\n "x", "y" \r\n', "x\ty\n"])
def test_a_stream_may_begin_with_a_header(
    header: str, named: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stream("5,5.8\n5.3,6\n", monkeypatch, str(named)) == 0
    expected = capsys.readouterr().out
    assert stream(f"{header}5,5.8\n5.3,6\n", monkeypatch, str(named)) == 0
    assert capsys.readouterr().out == expected
    assert stream("a,b\n5,5.8\n", monkeypatch) == 0  # the channels of this model have no names


@pytest.mark.parametrize("options", [[], ["--skip-bad"]])
@pytest.mark.parametrize(
    ("header", "checkpoint", "message"),
    [
        (
            "y,x",
            "named",
            "the header is y, x: expected x, y, the channels of the model in their order; reorder the col",
        ),
        ("x,y,z", "named", "the header is x, y, z: expected x, y, the channels of the model in their order"),
        ("a,b,c", "forward", "the header a, b, c has 3 names: expected 2, one for each channel"),
    ],
)
def test_the_header_of_a_stream_is_checked(
    header: str,
    checkpoint: str,
    message: str,
    options: list[str],
    named: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{header}\n5,5.8\n"))
    assert main(["predict", str(named) if checkpoint == "named" else checkpoint, "--stream", *options]) == 1
    out, err = capsys.readouterr()
    assert err.startswith(f"error: {message}")
    assert (out, err.count("\n")) == ("", 1)


def test_only_the_first_row_is_a_header(
    named: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stream("5,5.8\nx,y\n", monkeypatch, str(named)) == 1
    assert "row 2: 'x' is not a finite number" in capsys.readouterr().err
    assert stream("?,?\n5,6\n", monkeypatch, str(named)) == 0  # missing values
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_line_may_be_as_long_as_the_help_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stream("1,2".ljust(2**20) + "\n" + "1,2".ljust(2**20), monkeypatch) == 0


def test_bytes_that_are_not_text_get_one_line() -> None:
    done = subprocess.run([*XRNN, "predict", "forward", "--stream"], input=b"\xff\xfe,1\n", capture_output=True)
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: row 1: ")
    assert done.stderr.count(b"\n") == 1


def test_a_byte_order_mark_is_skipped() -> None:
    done = subprocess.run([*XRNN, "predict", "forward", "--stream"], input=b"\xef\xbb\xbf5,6\r\n", capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(os.name != "posix", reason="descriptors are POSIX's")
@pytest.mark.parametrize(
    ("redirected", "message"),
    [
        ("<&-", "standard input is closed: expected a row of values per line; pipe them in, or name a file with <"),
        ("0>written", "can't read standard input (Bad file descriptor): expected a row of values per line"),
    ],
)
def test_an_input_that_can_not_be_read_gets_one_line(redirected: str, message: str) -> None:
    command = shlex.join([*XRNN, "predict", "forward", "--stream"])
    done = subprocess.run(f"{command} {redirected}", shell=True, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1


def test_a_bidirectional_model_has_no_stream(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stream("1,2\n", monkeypatch, "both") == 1
    assert capsys.readouterr().err == (
        "error: --stream needs a model that runs forward only, and this one runs in both directions: train one with "
        "`xrnn classify --one-way`\n"
    )


def test_too_little_memory_gets_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise MemoryError("80 TiB")

    monkeypatch.setattr("xrnn.models.labelled.model.SeriesModel.outputs", fail)
    write_ts(Path("new.ts"), waves(1))
    assert main(["predict", "both", "new.ts"]) == 1
    assert (
        capsys.readouterr().err
        == "error: out of memory (80 TiB): expected series that fit; name fewer or shorter ones\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("predict both", "got neither a file nor --stream: expected one of them; name files, or give --stream"),
        ("predict both f.csv --stream", "got both --stream and files: expected one of them; name files, or give"),
        (
            "predict f.csv f.csv",
            "f.csv is not a safetensors file: expected a checkpoint; name a file that `xrnn classify`, "
            "`xrnn regress` or `xrnn forecast` wrote",
        ),
        (
            "predict missing f.csv",
            "can't read missing (No such file or directory): expected a checkpoint; name a file that `xrnn classify`, "
            "`xrnn regress` or `xrnn forecast` wrote",
        ),
        (
            "predict weights f.csv",
            "weights has format xrnn layer: expected a checkpoint; name a file that `xrnn classify`, ",
        ),
        ("predict both f.csv", "f.csv has 3 channels, but the model has 2: expected the same number in all; correct"),
        ("predict both .", ". holds no series: expected a folder for each label, with .csv or .npy files in it"),
        ("predict both missing.npy", "missing.npy doesn't exist: expected a .ts, .csv or .npy file; check the path"),
        ("predict both f.txt", "f.txt is not a .ts, .csv or .npy file: expected a name with one of these"),
    ],
)
def test_bad_input_gets_one_line(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(Path("f.csv"), np.ones((2, 3)))
    Path("f.txt").touch()
    xrnn.save("weights", xrnn.Linear.init(2, 3, backend="numpy"))
    assert main(arguments.split()) == 1
    out, err = capsys.readouterr()
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
    assert out == ""
