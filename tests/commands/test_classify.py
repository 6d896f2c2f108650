"""`xrnn classify` as its users run it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from tests.fresh import STANDIN_AS_CUPY
from tests.models.data.waves import LABELS, waves, write_folder, write_ts
from tests.models.labelled.tiny import TINY_OPTIONS
from tests.models.snapshots import assert_same_arrays
from tests.models.text.forge import Forgery
from xrnn.commands.main import main
from xrnn.commands.picture import is_own_picture
from xrnn.models.data.series import Series
from xrnn.models.labelled.classifier_checkpoint import CLASSIFIER_CHECKPOINTS, Facts

XRNN = [sys.executable, "-c", "import sys; from xrnn.commands.main import main; sys.exit(main())"]
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
pytestmark = pytest.mark.usefixtures("blank_pictures")


@pytest.fixture(autouse=True)
def folder(workdir: Path) -> None:
    """A working directory with two sets of series."""
    write_ts(workdir / "train.ts", waves(10, 0))
    write_ts(workdir / "test.ts", waves(6, 1))


def run(*options: str) -> int:
    return main(["classify", "train.ts", "test.ts", *TINY_OPTIONS, *options])


def test_the_log_of_early_stopping_has_the_validation_loss() -> None:
    assert run("--epochs", "3", "--patience", "2", "--log", "log.csv") == 0
    header, *rows = Path("log.csv").read_text().splitlines()
    assert header == "step,seconds,series,loss,accuracy,validation_loss"
    loaded = CLASSIFIER_CHECKPOINTS.load(Path("classifier.safetensors"))
    assert float(rows[-1].split(",")[-1]) == pytest.approx(loaded.arrays["validation"][-1])


def test_a_run_shows_its_figures_and_leaves_a_checkpoint_and_a_picture(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="needs Matplotlib: pip install -e '.[plot]'")
    assert run("--epochs", "20") == 0
    out, err = capsys.readouterr()
    assert err == ""
    for line in [
        r"backend: numpy \(decided by XRNN_BACKEND=numpy\)",
        r"series: 10 to train on, 6 to test on; 2 labels, 2 channels, \d to \d steps",
        r"model: 1 bidirectional GRU layer of 6, 362 weights; batches of 4; dropout 0.3, noise 0.3, lr 0.02; seed 0",
        r"epoch 20: loss \d\.\d{3}, accuracy \d\.\d{3}, [\d,]+ series/s, took 0:\d\d",
        r"accuracy: 1.000 \(6 of 6\)",
        r"balanced accuracy: 1.000",
        r"macro F1: 1.000",
        r"label +series +right +recall +precision *",
        r"quick +3 +3 +1.000 +1.000 *",
        r"slow +3 +3 +1.000 +1.000 *",
        r"checkpoint: classifier.safetensors \(xrnn predict classifier.safetensors FILE...\)",
        r"picture: classifier.png",
    ]:
        assert re.search(f"^{line}$", out, re.MULTILINE), line
    assert "\x1b" not in out
    assert is_own_picture(Path("classifier.png").read_bytes())


def test_a_folder_and_a_share_held_out(capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(Path("waves"), waves(16, 0))
    options = ["--one-way", "--cell", "lstm", "--layers", "2", "--dropout", "0", "--noise", "0"]
    assert main(["classify", "waves", *TINY_OPTIONS, *options, "--epochs", "1"]) == 0
    out = capsys.readouterr().out
    assert "series: 12 to train on, 4 to test on, held out; 2 labels" in out
    assert "model: 2 LSTM layers of 6, " in out
    assert re.search(r"^accuracy: \d\.\d{3} \(\d of 4\)$", out, re.MULTILINE)


def test_the_epochs_follow_from_the_count_of_series(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xrnn.commands.series_job.default_epochs", lambda count: count // 2)
    assert run() == 0
    assert "epoch 5: loss " in capsys.readouterr().out


def test_a_run_can_stop_after_a_time() -> None:
    started = time.monotonic()
    assert run("--minutes", "0.005") == 0
    assert time.monotonic() - started >= 0.3


def test_it_runs_on_another_backend() -> None:
    code = STANDIN_AS_CUPY + "from xrnn.commands.main import main\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "classify", *("train.ts", "test.ts"), *TINY_OPTIONS, "--epochs", "3"]
    environment = os.environ | {"XRNN_BACKEND": "cupy", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "accuracy: " in done.stdout
    assert run("--epochs", "3", "--out", "numpy") == 0
    on_device, on_numpy = (safetensors.numpy.load_file(c) for c in ("classifier.safetensors", "numpy"))
    for name, array in on_numpy.items():
        np.testing.assert_allclose(on_device[name], array, rtol=1e-3, atol=1e-5, err_msg=name)


# ---- stopping and resuming ----


def test_a_resumed_run_ends_as_an_uninterrupted_one() -> None:
    assert run("--epochs", "6", "--out", "whole") == run("--epochs", "2", "--out", "half") == 0
    assert main(["classify", "train.ts", "test.ts", "--resume", "half", "--epochs", "6"]) == 0
    assert_same_arrays("half", "whole")


def test_a_checkpoint_whose_labels_were_altered_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--epochs", "1", "--out", "c") == 0
    snapshot = CLASSIFIER_CHECKPOINTS.load(Path("c"))
    for labels in (snapshot.facts.labels[::-1], ("quick", "others")):
        CLASSIFIER_CHECKPOINTS.save(Path("c"), replace(snapshot, facts=Facts(snapshot.facts.channels, labels)))
        capsys.readouterr()
        assert main(["classify", "train.ts", "test.ts", "--resume", "c", "--epochs", "2"]) == 1
        assert capsys.readouterr().err == (
            "error: c was trained on other series: expected the same TRAIN with the same content; name that, or start "
            "a new run without --resume\n"
        )


@POSIX
def test_a_signal_saves_and_prints_the_command_to_continue() -> None:
    """In the middle of an epoch of three steps."""
    signalled = f"""
import os, xrnn.models.labelled.classifier_trainer as t
step = t.ClassifierTrainer.step
def stopping(trainer):
    step(trainer)
    if trainer.steps == 7:
        os.kill(os.getpid(), {signal.SIGTERM:d})
t.ClassifierTrainer.step = stopping
"""
    command = [sys.executable, "-c", signalled + XRNN[-1], "classify", "train.ts", "test.ts", *TINY_OPTIONS]
    done = subprocess.run([*command, "--epochs", "6", "--out", "c", "--plot", "p.svg"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, "")
    last = "xrnn classify train.ts test.ts --resume c --epochs 6 --plot p.svg"
    assert done.stdout.endswith(f"stopped at step 7 and saved c; continue with\n  {last}\n")
    assert main(shlex.split(last)[1:]) == 0
    assert run("--epochs", "6", "--out", "whole") == 0
    assert_same_arrays("c", "whole")


def test_an_interrupt_after_training_tells_what_is_saved(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("xrnn.models.labelled.model.SeriesModel.outputs", interrupt)
    assert run("--epochs", "1") == 130
    assert capsys.readouterr().out.endswith("interrupted after training; classifier.safetensors holds step 3\n")


def test_a_resumed_run_may_be_tested_on_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--epochs", "2", "--out", "c") == 0
    write_ts(Path("others.ts"), waves(4, 5))
    assert main(["classify", "train.ts", "others.ts", "--resume", "c", "--epochs", "2"]) == 0
    out = capsys.readouterr().out
    assert "resumed at step 6" in out
    assert " of 4)" in out


# ---- bad input ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("classify train.ts --epochs 0", "--epochs is 0: expected a whole number from 1 to 1000000000000"),
        ("classify train.ts --minutes 0", "--minutes is 0.0: expected a positive number up to 525600, which is a year"),
        (
            "classify train.ts --minutes 1 --epochs 1",
            "got both --minutes and --epochs: expected one of them; leave one out",
        ),
        ("classify train.ts --dropout 1", "--dropout is 1.0: expected a probability in [0, 1), such as 0.3"),
        (
            "classify train.ts --out train.ts",
            "train.ts exists and is no checkpoint: expected a new name, or a checkpoint",
        ),
        ("classify train.ts --out text", "text exists and is no checkpoint: expected a new name, or a checkpoint to"),
        (
            "classify train.ts --resume text --out d",
            "text has format xrnn character model: expected a checkpoint; name a",
        ),
        ("classify train.ts --resume text", "text has format xrnn character model: expected a checkpoint; name a"),
        (
            "classify train.ts --resume c --out d",
            "c was trained on other series: expected the same TRAIN with the same",
        ),
        (
            "classify train.ts test.ts --resume c --epochs 1",
            "--epochs is 1, which end at step 3, but c is at step 6: expected the total number of epochs",
        ),
        (
            "classify train.ts test.ts --resume c --one-way",
            "--one-way is True, but c was trained with False: leave the",
        ),
        ("classify train.ts --plot p.gif", "--plot is p.gif: expected a name that ends in .png, .svg, .pdf; add one"),
        ("classify empty", "empty holds no series: expected a folder for each label, with .csv or .npy files in it"),
        ("classify one.ts", "one.ts has one label, slow: expected at least two to tell apart; add series"),
        (
            "classify single.ts",
            "single.ts has a single series of the label slow, single.ts, line 7: expected at least two",
        ),
        (
            "classify train.ts wide.ts",
            "wide.ts, line 5 has 3 channels, but TRAIN has 2: expected the same number in",
        ),
        (
            "classify wide.ts",
            "wide.ts, line 6 has 2 channels, but wide.ts, line 5 has 3: expected the same number in",
        ),
        (
            "classify cut.ts",
            "cut.ts, line 14: '5.",
        ),
        ("classify missing", "can't read missing (No such file or directory): expected a .ts file; check the path"),
    ],
)
def test_bad_input_gets_one_line_before_training(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--epochs", "2", "--out", "c")
    Forgery().write(Path("text"))
    Path("empty").mkdir()
    slow, quick = waves(2)
    write_ts(Path("one.ts"), [slow, slow], LABELS)
    write_ts(Path("single.ts"), [quick, quick, slow], LABELS)
    write_ts(Path("wide.ts"), [Series(np.ones((2, 3)), "slow", ""), quick])
    Path("cut.ts").write_text(Path("train.ts").read_text().rpartition(":")[0])
    before = sorted(os.listdir())
    capsys.readouterr()
    assert main(arguments.split()) == 1
    out, err = capsys.readouterr()
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
    assert "epoch" not in out
    assert sorted(os.listdir()) == before


def test_labels_that_differ_in_unprintable_characters_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """Also bytes that are not UTF-8, and in errors and predictions."""
    series = [Series(each.values, ("\udce9", "\udce8", "\x1b", "\x02")[i % 4], "") for i, each in enumerate(waves(16))]
    write_folder(Path("waves"), series)
    assert main(["classify", "waves", *TINY_OPTIONS, "--epochs", "1", "--out", "c"]) == 0
    table = capsys.readouterr().out.partition("label ")[2].splitlines()[1:5]
    assert sorted(line.split()[0] for line in table) == ["\\udce8", "\\udce9", "\\x02", "\\x1b"]
    assert main(["predict", "c", *(str(path) for path in sorted(Path("waves").glob("*/*")))]) == 0
    assert {line.split("\t")[0] for line in capsys.readouterr().out.splitlines()} <= {line.split()[0] for line in table}
    write_ts(Path("test.ts"), [replace(waves(1)[0], label="\x03")], ["\x03"])
    assert main(["classify", "waves", "test.ts"]) == 1
    assert "has the label \\x03: expected one that TRAIN has, \\x02, \\x1b, " in capsys.readouterr().err


def test_labels_and_names_print_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(Path("waves"), [Series(each.values, f"\x1b[2J{each.label}", "") for each in waves(8)])
    assert main(["classify", "waves", *TINY_OPTIONS, "--epochs", "1", "--out", "c"]) == 0
    out = capsys.readouterr().out
    assert "\\x1b[2Jslow" in out
    assert "\x1b" not in out
    name = next(name for name in sorted(os.listdir("waves/\x1b[2Jslow")) if name.endswith(".csv"))
    assert main(["predict", "c", f"waves/\x1b[2Jslow/{name}"]) == 0
    out = capsys.readouterr().out
    assert out.endswith(f"\twaves/�[2Jslow/{name}\n")
    assert "\x1b" not in out
    Path(f"waves/\x1b[2Jslow/{name}").write_text("x")
    assert main(["classify", "waves"]) == 1
    err = capsys.readouterr().err
    assert "�[2Jslow" in err
    assert err[:-1].isprintable()
