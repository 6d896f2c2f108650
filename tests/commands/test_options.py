"""The options that all commands share: help, version, quiet, JSON, backend, log and completion."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import xrnn
from tests.models.data.waves import waves, write_ts
from tests.models.labelled.tiny import TINY_OPTIONS as SERIES_OPTIONS
from tests.models.text.texts import TINY_OPTIONS, write_text
from xrnn.commands.main import main

COMMANDS = ("train", "generate", "classify", "predict", "info")
pytestmark = pytest.mark.usefixtures("blank_pictures")


@pytest.fixture(autouse=True)
def folder(workdir: Path) -> Path:
    """A working directory with a text and series."""
    pytest.importorskip("matplotlib", reason="needs Matplotlib: pip install -e '.[plot]'")
    write_text(workdir / "text.txt")
    write_ts(workdir / "train.ts", waves(10, 0))
    write_ts(workdir / "test.ts", waves(6, 1))
    return workdir


def train(*options: str, steps: int = 2) -> int:
    return main(["train", "text.txt", *TINY_OPTIONS, "--steps", str(steps), *options])


def classify(*options: str) -> int:
    return main(["classify", "train.ts", "test.ts", *SERIES_OPTIONS, "--epochs", "2", *options])


# ---- help and version ----


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_without_a_command_the_help_is_printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert all(f"\n  {command} " in out for command in COMMANDS)
    assert "--install-completion" in out


def test_python_runs_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("-V", "--version"):
        done = subprocess.run([sys.executable, "-m", "xrnn", option], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"xrnn {xrnn.__version__}\n", "")
    done = subprocess.run([sys.executable, "-m", "xrnn", "fly"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "No such command 'fly'" in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_shows_plain_defaults(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    long = capsys.readouterr().out
    assert main([command, "-h"]) == 0
    assert capsys.readouterr().out == long
    assert "<bool>" not in long
    assert "default: (" not in long
    assert "<int>" not in long
    assert "--backend auto|cupy|numpy" in long


def test_the_help_has_the_default_of_each_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "-h"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for words in [
        "--cell rnn|lstm|gru Type of the recurrent layers. [default: gru]",
        "[default: 64]",
        "[default: 0.3]",
    ]:
        assert words in out
    assert "--one-way Run forward only" in out


# ---- values ----


def test_option_values_and_suffixes_ignore_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--cell", "GRU", "--backend", "NumPy", "--plot", "loss.PNG", "--out", "c") == 0
    out = capsys.readouterr().out
    assert "backend: numpy (decided by --backend numpy)\n" in out
    assert "2 GRU layers of 12" in out
    assert Path("loss.PNG").read_bytes().startswith(b"\x89PNG")
    Path("test.ts").rename("TEST.TS")
    assert main(["classify", "train.ts", "TEST.TS", *SERIES_OPTIONS, "--epochs", "2", "--out", "s"]) == 0
    assert main(["info", "--explain", "4", "3", "2", "5", "--device", "H100"]) == 0


def test_the_backend_can_be_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--out", "c") == classify("--out", "s") == 0
    monkeypatch.setenv("XRNN_BACKEND", "abacus")
    for command in [
        ["generate", "c", "--length", "1"],
        ["predict", "s", "test.ts"],
        ["info"],
        ["info", "--explain", "4", "3", "2", "5"],
        ["train", "text.txt", "--resume", "c", "--steps", "2"],
        ["classify", "train.ts", "test.ts", "--resume", "s", "--epochs", "2"],
    ]:
        assert main(command) == 1
        assert "unknown backend 'abacus' (XRNN_BACKEND=abacus)" in capsys.readouterr().err
        assert main([*command, "--backend", "numpy"]) == 0
        capsys.readouterr()
        assert main([*command, "--backend", "slide-rule"]) == 1
        assert capsys.readouterr().err == (
            "error: unknown backend 'slide-rule' (--backend slide-rule): expected one of auto, cupy, numpy\n"
        )


@pytest.mark.parametrize(
    "options",
    [
        ["--hidden", "0"],
        ["--minutes", "-1"],
        ["--minutes", "1", "--steps", "1"],
        ["--save-every", "0"],
        ["--plot", "loss.gif"],
        ["--out", "."],
        ["--log", "text.txt"],
        ["--resume", "c", "--hidden", "13"],
        ["--resume", "c", "--steps", "1"],
        ["--resume", "missing"],
        ["--batch", "500"],
        ["--backend", "abacus"],
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_printed(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--out", "c") == 0
    capsys.readouterr()
    assert main(["train", "text.txt", *options]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1


def test_classify_counts_the_epochs_before_anything_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert classify("--out", "s") == 0
    capsys.readouterr()
    assert main(["classify", "train.ts", "test.ts", "--resume", "s", "--epochs", "1"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: --epochs is 1, which end at step 3, but s is at step 6: expected the total number")


# ---- results ----


def test_quiet_prints_the_results_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--quiet", "--out", "c") == 0
    starts = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert starts == ["held out", "checkpoint", "loss curve"]
    assert classify("-q", "--out", "s") == 0
    out = capsys.readouterr().out.splitlines()
    assert [out[0][:9], out[-2][:11], out[-1][:8]] == ["accuracy:", "checkpoint:", "picture:"]


def test_train_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--json", "--out", "c") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("backend: ")
    assert not any(line.startswith("held out:") for line in lines)
    results = json.loads(lines[-1])
    assert results.keys() == {
        "held_out_bits_per_character",
        "zlib_bits_per_character",
        "steps",
        "checkpoint",
        "picture",
    }
    assert 4 < results["held_out_bits_per_character"] < 9
    assert (results["steps"], results["checkpoint"], results["picture"]) == (2, "c", "c.png")


def test_classify_prints_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert classify("--json", "--quiet", "--out", "s") == 0
    (line,) = capsys.readouterr().out.splitlines()
    results = json.loads(line)
    assert results["accuracy"] == results["right"] / results["series"]
    assert results["series"] == 6
    assert results["picture"] is None
    assert results["labels"].keys() == {"slow", "quick"}
    assert sum(label["right"] for label in results["labels"].values()) == results["right"]
    assert {label["series"] for label in results["labels"].values()} == {3}


def test_info_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["version"], result["backend"], result["decided_by"]) == (
        xrnn.__version__,
        "numpy",
        "XRNN_BACKEND=numpy",
    )
    assert result["sizes"] == {"T": 50, "N": 16, "D": 64, "H": 256}
    assert main(["info", "--json", "--explain", "4", "3", "2", "5"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["sizes"] == {"T": 4, "N": 3, "D": 2, "H": 5}
    form = result["forms"]["float64"]["recurrence_forward"]
    assert form.keys() == {"form", "why"}


# ---- the log ----


def rows(log: str) -> list[dict[str, float]]:
    with open(log, newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_the_log_has_a_row_for_each_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xrnn.commands.run._SECONDS_BETWEEN_READS", 0.0)
    assert train("--log", "run.csv", "--out", "c", steps=5) == 0
    log = rows("run.csv")
    assert [row["step"] for row in log] == [1, 2, 3, 4, 5, 5]
    assert log[-1].keys() == {"step", "seconds", "characters", "bits_per_character"}
    assert [row["characters"] for row in log] == [21 * row["step"] for row in log]
    assert all(4 < row["bits_per_character"] < 9 for row in log)
    seconds = [row["seconds"] for row in log]
    assert seconds == sorted(seconds)
    assert classify("--log", "s.csv", "--out", "s") == 0
    assert rows("s.csv")[-1].keys() == {"step", "seconds", "series", "loss", "accuracy"}


def test_a_resumed_run_appends_to_its_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--log", "run.csv", "--out", "c") == 0
    assert main(["train", "text.txt", "--resume", "c", "--steps", "4", "--log", "run.csv"]) == 0
    assert [row["step"] for row in rows("run.csv")] == [2, 4]
    capsys.readouterr()
    assert train("--log", "run.csv", "--out", "d") == 1
    assert capsys.readouterr().err == (
        "error: run.csv exists: expected a new name; name another with --log, or replace it with --overwrite\n"
    )
    assert main(["train", "text.txt", "--resume", "c", "--steps", "4", "--log", "text.txt"]) == 1
    assert "text.txt exists and is no log of such a run: expected a new name" in capsys.readouterr().err
    assert train("--log", "run.csv", "--out", "d", "--overwrite", steps=3) == 0
    assert [row["step"] for row in rows("run.csv")] == [3]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_log_that_can_not_be_written_does_not_stop_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    from xrnn.commands.log import Log

    said: list[str] = []
    with Log(Path("/dev/full"), ["step"], said.append, append=True) as log:
        log.row([1])
        log.row([2])
    assert said == ["can't write /dev/full (No space left on device): the run continues without a log"]


# ---- completion ----


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("xrnn tr", {"train"}),
        ("xrnn train --cell ", {"rnn", "lstm", "gru"}),
        ("xrnn info --backend n", {"numpy"}),
        ("xrnn classify --one", {"--one-way"}),
    ],
)
def test_the_shell_completes(words: str, completed: set[str]) -> None:
    environment = {"_XRNN_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    command = [sys.executable, "-c", "from xrnn.commands.main import main; main([])"]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    assert done.stderr == ""
    assert set(done.stdout.split()) == completed
