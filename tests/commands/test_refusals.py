"""What a command can't do is refused before anything is printed or written: one line on stderr, with the remedy.

Refusals of data and of checkpoints are tested with their modules, those of outputs in test_output.py. The rows here
show that such an error reaches the user with the name of its option.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import xrnn
from tests.commands.runs import REGRESS, RUNS, Capture, Patch, failed, raising, write_data
from tests.safetensors_bytes import Forgery
from tests.series.waves import write_csv
from xrnn.arrays import registry
from xrnn.backend import BackendUnavailableError
from xrnn.commands.main import main

SIZE = "expected a whole number from 1 to 1048576"
ANY = "expected a checkpoint; name a file that `xrnn classify`, `xrnn regress` or `xrnn forecast` wrote"
GONE = "No such file or directory"
MEMORY = "use fewer or shorter series, or train with a lower --hidden or --batch"
FIFO = "fifo is not a regular file: "
pytestmark = pytest.mark.usefixtures("blank_pictures")


@pytest.fixture(scope="module")
def refusing(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data, a checkpoint of each command, and what is none of these."""
    folder = tmp_path_factory.mktemp("refusing")
    write_data(folder)
    for run in RUNS:
        (folder / run.command).symlink_to(trained / run.command)
    titled = Forgery.of((trained / "regress").read_bytes())
    titled.metadata["version"] = "\x1b]0;title\x07"
    titled.write(folder / "titled")
    write_csv(folder / "wide.csv", np.ones((2, 3)))
    (folder / "one.ts").write_text("@classLabel true a\n@data\n1,2:a\n3,4:a\n")
    xrnn.save(folder / "layer", xrnn.Linear.init(2, 3, backend="numpy"))
    if os.name == "posix":
        os.mkfifo(folder / "fifo")
    return folder


def contents() -> dict[str, float]:
    return {name: os.lstat(name).st_mtime_ns for name in os.listdir()}


def refusal(capsys: Capture, words: list[str], status: int = 1) -> str:
    """The one line that a command prints. It leaves all files as they are."""
    before = contents()
    line = failed(capsys, *words, status=status)
    assert contents() == before
    return line


@pytest.fixture
def here(refusing: Path, monkeypatch: Patch) -> None:
    monkeypatch.chdir(refusing)
    monkeypatch.setenv("XRNN_BACKEND", "numpy")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        # the length of a training
        ("classify --epochs 0", "--epochs is 0: expected a whole number from 1"),
        # settings: their bounds are those of the models
        *((f"{r.command} {r.data[0]} --hidden 0", f"--hidden is 0: {SIZE}") for r in RUNS[:2]),
        ("regress levels.ts --lr nan", "--lr is nan: expected a positive number up to 1000"),
        ("forecast rows.csv --quantiles 1", "--quantiles is '1': expected numbers between 0 and 1 that differ in"),
        ("regress levels.ts --seed -1", "--seed is -1: expected a whole number of at least 0"),
        # data
        ("classify gone", "gone doesn't exist; check"),
        ("classify levels.ts", "levels.ts has @targetLabel, numbers to predict in place of labels; use `xrnn regress`"),
        # a checkpoint to use
        ("predict fifo wide.csv", FIFO + ANY),
        ("predict gone wide.csv", f"can't read gone ({GONE}): {ANY}"),
        ("predict layer wide.csv", f"layer has format xrnn layer: {ANY}"),
        ("predict titled wide.csv", "titled has version �]0;title�: expected 1; use the xrnn that wrote it"),
        ("predict classify", "got neither a file nor --stream; name files, or give --stream"),
        ("predict classify wide.csv --stream", "got both --stream and files"),
        ("predict classify wide.csv", "wide.csv has 3 channels, but the model has 2"),
        ("predict regress others.ts --proba", "got --proba for a model that predicts numbers"),
        (
            "predict forecast rows.csv --proba",
            "got --proba for a forecaster, which takes --decimal, --encoding, --skip-rows, --sheet, --timezone",
        ),
        ("predict forecast --stream", "got --stream for a forecaster, which takes --decimal, --encoding, --skip"),
        ("predict classify wide.csv --skip-rows one", "--skip-rows is 'one': expected a whole number of at least 0"),
        (
            "forecast rows.csv --timezone Mars",
            "--timezone is 'Mars', which is no time zone; ",
        ),
        ("forecast rows.csv --sheet May", "rows.csv has no sheets, unlike .xlsx files; leave out --sheet"),
        ("predict classify wide.csv --horizon 3", "got --horizon for a model without forecasts; leave it out"),
        ("predict classify --stream --last 0", "--last is 0: expected a whole number from 1"),
        ("predict classify wide.csv --last 3", "got --last without --stream; add --stream, or leave it out"),
        # names that would control the terminal
        ("predict \x1b[2J wide.csv", "can't read �[2J ("),
        ("regress levels.ts --out \x1b[2J/c", "can't write �[2J/c ("),
    ],
)
def test_a_refusal_is_one_line_and_changes_nothing(words: str, message: str, capsys: Capture) -> None:
    if "fifo" in words and os.name != "posix":
        pytest.skip("FIFOs are POSIX's")
    assert refusal(capsys, words.split()).startswith(message)


@pytest.mark.usefixtures("here")
def test_labels_that_can_not_be_learnt_are_refused_after_the_line_about_the_series(capsys: Capture) -> None:
    before = contents()
    assert main(["classify", "one.ts"]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].startswith("series: ")
    assert err.startswith("error: got 1 class(es), ['a']; add series with other labels")
    assert (err.count("\n"), contents()) == (1, before)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "message", "command"),
    [
        ("regress --hidden", "", "xrnn regress"),
        ("regress --hidden x", "Invalid value for '--hidden'", "xrnn regress"),
        ("regress --hiden 3", "o such option: --hiden", "xrnn regress"),
        ("--hidden 3 regress", "", "xrnn"),
        ("--proba", "", "xrnn"),
        ("predict", "issing argument", "xrnn predict"),
        ("regress", "issing argument 'TRAIN'", "xrnn regress"),
        ("info --explain 1 2", "", "xrnn info"),
        ("fly", "o such command 'fly'", "xrnn"),
        ("--fly", "", "xrnn"),
        # An unset shell variable gives an empty path, which would mean the working directory.
        ("regress ''", ": the path is empty", "xrnn regress"),
        ("regress x --out ''", ": the path is empty", "xrnn regress"),
    ],
)
def test_a_wrong_command_line_names_the_help_that_explains_it(
    words: str, message: str, command: str, capsys: Capture
) -> None:
    line = refusal(capsys, ["" if word == "''" else word for word in words.split()], status=2)
    assert message in line
    assert line.endswith(f"; see `{command} --help`")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("words", [REGRESS.words(), ["predict", "classify", "test.ts"], ["info"]], ids=" ".join)
def test_a_backend_is_named_or_refused(words: list[str], capsys: Capture, monkeypatch: Patch) -> None:
    unknown = "unknown backend {0} ({1}): expected one of auto, cupy, numpy"
    monkeypatch.setenv("XRNN_BACKEND", "abacus")
    assert refusal(capsys, words) == unknown.format("'abacus'", "XRNN_BACKEND=abacus")
    assert refusal(capsys, [*words, "--backend", "slide-rule"]) == unknown.format(
        "'slide-rule'", "--backend slide-rule"
    )
    error = BackendUnavailableError("CuPy is not installed:\n`pip install …`")
    monkeypatch.setitem(registry.loaders, "cupy", raising(error))
    monkeypatch.delitem(registry.loaded, "cupy", raising=False)  # the backend on this machine
    monkeypatch.setenv("XRNN_BACKEND", "cupy")
    assert refusal(capsys, words).endswith("CuPy is not installed: `pip install …`")
    if words[0] != "regress":
        assert main([*words, "--backend", "NumPy"]) == 0


@pytest.mark.usefixtures("here")
def test_a_failure_of_a_prediction_gets_one_line(capsys: Capture, monkeypatch: Patch) -> None:
    words = ["predict", "classify", "test.ts"]
    monkeypatch.setattr("xrnn.series.Classifier.predict_proba", raising(MemoryError("80 TiB")))
    assert refusal(capsys, words) == f"out of memory (80 TiB); {MEMORY}"
    monkeypatch.setattr("xrnn.Linear.__call__", raising(KeyboardInterrupt()))
    assert refusal(capsys, words, 130) == "interrupted"
