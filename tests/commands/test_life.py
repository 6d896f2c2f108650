"""The life of a run: it is stopped, killed, resumed, and loses its output. What a run has learnt is never lost."""

from __future__ import annotations

import errno
import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import xrnn
from tests.commands.runs import (
    CLASSIFY,
    FORECAST,
    REGRESS,
    RUNS,
    UPDATES,
    Capture,
    Patch,
    Run,
    at_update,
    continuation,
    files,
    growth,
    name_of,
    raising,
    updates_in,
    write_rows,
)
from tests.fresh import DEFAULT_SIGNALS, XRNN
from tests.models.snapshots import assert_same_arrays
from tests.thin import thin
from xrnn.commands.main import main
from xrnn.models.forecast.model import FORECASTER
from xrnn.models.forecast.trainer import ForecastTrainer

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals, terminals and /dev/full are POSIX's")
SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"]
every_signal = pytest.mark.parametrize("name", SIGNALS)
pytestmark = pytest.mark.usefixtures("blank_pictures")


@pytest.fixture
def received() -> Iterator[list[int]]:
    """The signals that reach the handlers from before the run. The test's own handlers are restored at the end."""
    came: list[int] = []
    names = {"SIGINT", "SIGTERM", "SIGHUP"} & {*dir(signal)}
    before = {name: signal.signal(getattr(signal, name), lambda n, _: came.append(n)) for name in names}
    yield came
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)


# ---- resumed ----


@pytest.mark.parametrize(
    ("run", "options"),
    [
        (CLASSIFY, ["--patience", "9", "--balance"]),
        (REGRESS, ["--patience", "50"]),
        (REGRESS, ["--mask", "--one-way"]),
        (FORECAST, ["--layers", "2"]),
    ],
    ids=name_of,
)
def test_a_resumed_run_ends_as_an_uninterrupted_one(folder: Path, run: Run, options: list[str]) -> None:
    half = 1 if run.unit == "epochs" else 2
    assert run(*options, "--out", "whole") == run(*options, "--out", "half", units=half) == 0
    assert run("--resume", "half") == 0
    assert_same_arrays("half", "whole")


def test_resuming_at_the_last_update_only_reports(run: Run, capsys: Capture) -> None:
    assert run("--out", "c") == 0
    before = xrnn.load_checkpoint("c", backend="numpy")
    capsys.readouterr()
    assert run(*run.options, "--resume", "c", "--out", "d") == 0
    assert f"; resumed at step {UPDATES}\n" in capsys.readouterr().out
    assert_same_arrays("d", "c")
    assert before.optimizer.steps == xrnn.load_checkpoint("d", backend="numpy").optimizer.steps == UPDATES


def test_a_run_saves_at_the_given_interval_and_at_the_end(folder: Path, monkeypatch: Patch) -> None:
    before, saved = files().keys(), []
    monkeypatch.setattr("xrnn.commands.run.SAVE_EVERY", 2)
    at_update(monkeypatch, 5, lambda _: saved.append(updates_in("c")))
    assert REGRESS("--out", "c") == 0
    assert [*saved, updates_in("c")] == [4, UPDATES]
    assert files().keys() - before == {"c", "c.png"}


def test_a_run_can_stop_after_a_time(run: Run) -> None:
    started = time.monotonic()
    assert run("--minutes", "0.005", "--out", "c") == 0
    assert time.monotonic() - started >= 0.3
    assert updates_in("c") > 1


@pytest.mark.parametrize(
    ("run", "given", "kept"),
    [
        (CLASSIFY, [], []),  # the default depends on the number of series
        (FORECAST, [], []),
        (FORECAST, ["--steps", "1000000000000"], ["--steps", "1000000000000"]),
        (REGRESS, ["--minutes", "3"], ["--minutes", "3"]),
        (CLASSIFY, ["--backend", "numpy", "--quiet", "--json"], ["--quiet", "--json", "--backend", "numpy"]),
        (FORECAST, ["--plot", "p.svg", "--log", "l.csv", "--overwrite"], ["--plot", "p.svg", "--log", "l.csv"]),
    ],
    ids=name_of,
)
def test_a_stopped_run_continues_to_the_same_end(
    folder: Path, received: list[int], run: Run, given: list[str], kept: list[str], capsys: Capture, monkeypatch: Patch
) -> None:
    """Also to the default one."""
    at_update(monkeypatch, 1, lambda _: signal.raise_signal(signal.SIGINT))
    assert main([run.command, *run.data, *run.options, *given, "--out", "c"]) == 130
    assert continuation(capsys.readouterr().out)[1] == [run.command, *run.data, "--resume", "c", *kept]


# ---- stopped by a signal ----


@pytest.mark.parametrize(("run", "name"), thin(RUNS, SIGNALS), ids=name_of)
def test_a_signal_saves_and_prints_the_command_to_continue(
    folder: Path, run: Run, name: str, received: list[int], capsys: Capture, monkeypatch: Patch
) -> None:
    """Also in the middle of an epoch, which has three updates."""
    number = signal.Signals[name]
    with monkeypatch.context() as patch:
        at_update(patch, 4, lambda _: signal.raise_signal(number))
        assert run("--out", "c", "--plot", "p.svg", "--log", "l.csv") == 128 + number
    out, err = capsys.readouterr()
    assert (err, received) == ("", [])
    updates, words = continuation(out)
    assert updates == str(updates_in("c")) == "4"
    options = ["--resume", "c", f"--{run.unit}", str(UPDATES // run.per_unit)]
    assert words == [run.command, *run.data, *options, "--plot", "p.svg", "--log", "l.csv"]
    assert main(words) == run("--out", "whole") == 0
    assert_same_arrays("c", "whole")
    signal.raise_signal(number)  # after a run, signals have their normal effect
    assert received == [number]


@every_signal
def test_a_second_signal_has_its_normal_effect(
    folder: Path, name: str, received: list[int], monkeypatch: Patch
) -> None:
    number = signal.Signals[name]

    def twice(_: object) -> None:
        signal.raise_signal(number)
        signal.raise_signal(number)

    at_update(monkeypatch, 2, twice)
    assert REGRESS("--out", "c") == 128 + number
    assert (received, updates_in("c")) == ([number], 2)


@every_signal
def test_an_ignored_signal_does_not_stop_a_run(
    folder: Path, name: str, received: list[int], monkeypatch: Patch
) -> None:
    """As under `nohup`, or in the background of a script."""
    number = signal.Signals[name]
    signal.signal(number, signal.SIG_IGN)
    at_update(monkeypatch, 2, lambda _: signal.raise_signal(number))
    assert REGRESS("--out", "c") == 0
    assert (received, updates_in("c"), signal.getsignal(number)) == ([], UPDATES, signal.SIG_IGN)


@pytest.mark.parametrize(("run", "name"), thin(RUNS, SIGNALS), ids=name_of)
def test_a_signal_after_training_names_the_checkpoint(
    folder: Path, run: Run, name: str, received: list[int], capsys: Capture, monkeypatch: Patch
) -> None:
    """The checkpoint still records the picture, which the next run replaces."""
    assert run("--out", "c", units=1) == 0
    number = signal.Signals[name]
    with monkeypatch.context() as patch:
        patch.setattr("xrnn.commands.terminal.Terminal.result", lambda *_: signal.raise_signal(number))
        assert run("--resume", "c") == 128 + number
    assert received == []
    out, err = capsys.readouterr()
    said = f"interrupted after training; c holds step {UPDATES}"
    if run is FORECAST:
        said += ", but the intervals of its forecasts are not calibrated; finish with\n"
        said += f"  xrnn forecast rows.csv --resume c --steps {UPDATES}"
        assert FORECASTER.load(Path("c")).unfinished  # as a run that is killed there leaves it
    assert out.endswith(f"{said}\n")
    assert (err, updates_in("c")) == ("", UPDATES)
    assert run("--resume", "c") == 0
    assert run is not FORECAST or not FORECASTER.load(Path("c")).unfinished


@pytest.mark.parametrize("name", ["SIGINT", *(pytest.param(name, marks=pytest.mark.proof) for name in SIGNALS[1:])])
def test_a_signal_during_the_calibration_names_a_command_that_keeps_the_choice(
    name: str, received: list[int], capsys: Capture, monkeypatch: Patch, workdir: Path
) -> None:
    """Of few rows, the chosen number of updates is 0, which `--steps` refuses."""
    write_rows("f.csv", growth(30))
    small = ["--hidden", "4", "--horizon", "3", "--season", "4"]
    number = signal.Signals[name]
    with monkeypatch.context() as patch:
        patch.setattr(ForecastTrainer, "calibrate", lambda _: signal.raise_signal(number))
        assert main(["forecast", "f.csv", *small, "--out", "c"]) == 128 + number
    assert capsys.readouterr().out.endswith("finish with\n  xrnn forecast f.csv --resume c\n")
    assert main(["forecast", "f.csv", "--resume", "c"]) == 0
    assert not FORECASTER.load(Path("c")).unfinished
    assert received == []


def test_an_interrupt_before_training_gets_one_line(run: Run, capsys: Capture, monkeypatch: Patch) -> None:
    before = files()
    monkeypatch.setattr("xrnn.init.glorot_uniform", raising(KeyboardInterrupt()))
    assert run() == 130
    assert capsys.readouterr().err == "error: interrupted\n"
    assert files() == before


# ---- without its output ----


class Losing(io.StringIO):
    """A stream that fails from the first progress line on."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.failed = number, 0

    def write(self, text: str) -> int:
        if self.failed or text.startswith(("step ", "epoch ")):
            self.failed += 1
            raise OSError(self.number, os.strerror(self.number))
        return super().write(text)


@pytest.mark.parametrize(("run", "number"), thin(RUNS, [errno.EPIPE, errno.ENOSPC, errno.EIO]), ids=name_of)
def test_a_lost_output_saves_and_prints_the_command_to_stderr(
    folder: Path, run: Run, number: int, capsys: Capture, monkeypatch: Patch
) -> None:
    """A closed pipe, a full device, a closed terminal. Later output is dropped, not tried again."""
    status = 141 if number == errno.EPIPE else 1
    with monkeypatch.context() as patch:
        patch.setattr("xrnn.commands.run._SECONDS_BETWEEN_READS", 0.0)
        patch.setattr("xrnn.commands.progress._SECONDS_BETWEEN_LINES", 0.0)
        patch.setattr(sys, "stdout", lost := Losing(number))
        assert run("--out", "c") == status
    assert lost.failed == 1
    updates, words = continuation(said := capsys.readouterr().err)
    assert updates == str(updates_in("c"))
    assert int(updates) < UPDATES
    words_of_error = f"error: can't write the output ({os.strerror(number)}): expected free space; saved files are com"
    assert (words_of_error in said) == (status == 1)
    assert said.count("\n") == (3 if status == 1 else 2)
    assert main(words) == run("--out", "whole") == 0
    assert_same_arrays("c", "whole")


def test_an_output_that_fails_when_it_is_flushed_is_lost(capsys: Capture, monkeypatch: Patch) -> None:
    monkeypatch.setattr(sys, "stdout", stream := io.StringIO())
    monkeypatch.setattr(stream, "flush", raising(OSError(errno.ENOSPC, "No space left on device")))
    assert main(["-V"]) == 1
    assert "can't write the output (No space left on device)" in capsys.readouterr().err


# ---- without a finite loss or memory ----


@pytest.mark.parametrize(
    ("run", "saves", "weight"), [(REGRESS, True, 3e38), *((run, False, np.nan) for run in RUNS)], ids=name_of
)
def test_a_loss_that_is_not_finite_ends_the_run(
    folder: Path, run: Run, saves: bool, weight: float, capsys: Capture, monkeypatch: Patch
) -> None:
    """The last good checkpoint is kept, and NumPy prints no warning."""

    def spoil(optimizer: xrnn.Adam) -> None:
        for param in optimizer.layers[-1].params:
            param[...] = weight

    with monkeypatch.context() as patch:
        at_update(patch, 4, spoil)
        patch.setattr("xrnn.commands.run.SAVE_EVERY", 3 if saves else 250)
        assert run("--out", "c") == 1
    err = capsys.readouterr().err
    kept = "c holds step 3" if saves else "no checkpoint was written"
    assert err.startswith("error: ")
    assert err.endswith(f": expected a finite number; lower --lr; {kept}\n")
    assert err.count("\n") == 1
    assert Path("c").exists() == saves
    assert not saves or updates_in("c") == 3


def test_too_little_memory_gets_one_line_after_the_size_of_the_model(
    run: Run, capsys: Capture, monkeypatch: Patch
) -> None:
    before = files()
    monkeypatch.setattr("xrnn.init.glorot_uniform", raising(MemoryError("8 TiB")))
    assert run("--hidden", "1000000", "--batch", "1") == 1
    out, err = capsys.readouterr()
    assert "1000000, " in out.partition("\nmodel: ")[2].partition(" weights; ")[0]
    assert err == "error: out of memory (8 TiB): lower --hidden or --batch\n"
    assert files() == before


def test_loaded_weights_are_not_drawn_first(run: Run, monkeypatch: Patch) -> None:
    """A checkpoint is used without the time and memory of new weights."""
    assert run("--out", "c", units=1) == 0
    draws: list[int] = []

    def draw(rng: object, *shape: int) -> object:
        draws.append(max(shape))
        return xrnn.xp.zeros((shape[0], shape[-1]))

    monkeypatch.setattr("xrnn.init.orthogonal", draw)
    monkeypatch.setattr("xrnn.init.glorot_uniform", draw)
    assert main([word.format("c") for word in run.use]) == 0
    if run is not FORECAST:  # its report trains other models, on parts of the rows
        assert run("--resume", "c") == 0
    assert max(draws, default=0) <= 3  # the layers that those in a checkpoint are compared with


# ---- processes ----

# About a millisecond an update. In a process of `started`, a checkpoint every 20.
_LONG = ["regress", *REGRESS.data, "--hidden", "16", "--batch", "4", "--out", "c"]
_SAVES = "import xrnn.commands.run; xrnn.commands.run.SAVE_EVERY = 20; "


def started(*arguments: str, prefix: str = "") -> subprocess.Popen[str]:
    """A run in its own process, which has written a checkpoint."""
    before = os.stat("c").st_mtime_ns if os.path.exists("c") else 0
    command = [sys.executable, "-c", DEFAULT_SIGNALS + _SAVES + prefix + XRNN, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and (not os.path.exists("c") or os.stat("c").st_mtime_ns == before):
        time.sleep(0.001)
    return process


def test_a_killed_and_resumed_run_equals_one_that_was_not_interrupted(folder: Path) -> None:
    rng, kills, resume = random.Random(0), 0, ["--epochs", "130"]
    for _ in range(2):
        process = started(*_LONG, *resume)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        out, err = process.communicate()
        assert err == ""
        kills += process.returncode == -signal.SIGKILL if os.name == "posix" else "checkpoint:" not in out
        resume = ["--resume", "c", "--epochs", "130"]
    assert kills
    assert main([*_LONG, *resume]) == main([*_LONG, "--out", "whole", "--epochs", "130"]) == 0
    assert_same_arrays("c", "whole")


@POSIX
def test_a_process_ends_with_the_status_of_the_signal(folder: Path) -> None:
    process = started(*_LONG, "--epochs", "1000000")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate()
    assert (process.returncode, err) == (143, "")
    assert continuation(out)[0] == str(updates_in("c"))


@POSIX
def test_a_closed_pipe_ends_the_process(folder: Path) -> None:
    process = started(
        *_LONG, "--epochs", "1000000", prefix="import xrnn.commands.progress as p; p._SECONDS_BETWEEN_LINES = 0.0; "
    )
    assert process.stdout
    assert process.stderr
    with process:
        process.stdout.close()  # as `| head -1` does
        err = process.stderr.read()
    assert process.returncode == 128 + signal.SIGPIPE
    assert continuation(err)[0] == str(updates_in("c"))


@POSIX
def test_a_closed_terminal_saves_and_stops(folder: Path) -> None:
    """Neither a line nor the bar can be printed any more."""
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", DEFAULT_SIGNALS + _SAVES + XRNN, *_LONG, "--epochs", "1000000"]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"})
    os.close(theirs)
    while not Path("c").exists():
        os.read(ours, 4096)
    os.close(ours)
    assert process.wait() == 1
    assert updates_in("c") >= 20


@POSIX
def test_a_pipe_that_is_closed_before_training_ends_the_run(folder: Path) -> None:
    """Nothing was trained, so nothing is written."""
    before = files()
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", XRNN, *_LONG]
    process = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (process.returncode, process.stderr) == (128 + signal.SIGPIPE, "")
    assert files() == before


@POSIX
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["info"], ["--help"], ["--version"], _LONG], ids=lambda words: words[0])
def test_a_full_device_gets_one_line(folder: Path, arguments: list[str]) -> None:
    before = files()
    # As from a shell: Python flushes the buffer again when it exits.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", XRNN, *arguments]
    with open("/dev/full", "w") as full:
        process = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=buffered)
        assert (process.returncode, process.stderr) == (
            1,
            "error: can't write the output (No space left on device): expected free space; saved files are complete\n",
        )
        if arguments == ["info"]:
            assert subprocess.run([*command[:3], "fly"], stdout=full, stderr=full, env=buffered).returncode == 2
    assert files() == before
