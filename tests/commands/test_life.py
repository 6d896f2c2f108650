"""The life of a run: it is stopped, killed, and loses its output. A file is complete or is not written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import xrnn
from tests.commands.runs import (
    CLASSIFY,
    FORECAST,
    REGRESS,
    UPDATES,
    Capture,
    Patch,
    Run,
    at_update,
    files,
    raising,
    updates_in,
)
from tests.fresh import DEFAULT_SIGNALS, XRNN
from xrnn.commands.main import main

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals, terminals and /dev/full are POSIX's")
SIGNALS = ["SIGINT", "SIGTERM"]
every_signal = pytest.mark.parametrize("name", SIGNALS)
pytestmark = pytest.mark.usefixtures("blank_pictures")


@pytest.fixture
def received() -> Iterator[list[int]]:
    """The signals that reach the handlers from before the run. The test's own handlers are restored at the end."""
    came: list[int] = []
    before = {name: signal.signal(getattr(signal, name), lambda n, _: came.append(n)) for name in SIGNALS}
    yield came
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)


# ---- stopped by a signal ----


@every_signal
def test_a_signal_saves_the_model_so_far(
    folder: Path, name: str, received: list[int], capsys: Capture, monkeypatch: Patch
) -> None:
    """Also in the middle of an epoch, which has three updates."""
    number = signal.Signals[name]
    before = files()
    with monkeypatch.context() as patch:
        at_update(patch, 4, lambda _: signal.raise_signal(number))
        assert CLASSIFY("--out", "c") == 128 + number
    assert (capsys.readouterr().err, received) == ("stopped: c holds the model so far\n", [])
    assert files().keys() - before.keys() == {"c"}
    assert updates_in("c") == 4
    assert main(["predict", "c", "test.ts"]) == 0
    signal.raise_signal(number)  # after a run, signals have their normal effect
    assert received == [number]


@every_signal
def test_a_second_signal_has_its_normal_effect_and_an_ignored_one_none(
    folder: Path, name: str, received: list[int], monkeypatch: Patch
) -> None:
    number = signal.Signals[name]

    def twice(_: object) -> None:
        signal.raise_signal(number)
        signal.raise_signal(number)

    with monkeypatch.context() as patch:
        at_update(patch, 2, twice)
        assert REGRESS("--out", "c") == 128 + number
    assert (received, updates_in("c")) == ([number], 2)
    signal.signal(number, signal.SIG_IGN)
    at_update(monkeypatch, 2, lambda _: signal.raise_signal(number))
    assert REGRESS("--out", "c", "--overwrite") == 0
    assert (received, updates_in("c"), signal.getsignal(number)) == ([number], UPDATES, signal.SIG_IGN)


def test_an_interrupt_in_a_fit_writes_nothing_and_one_after_it_keeps_the_checkpoint(
    run: Run, capsys: Capture, monkeypatch: Patch
) -> None:
    before = files()
    with monkeypatch.context() as patch:
        place = "series.forecast.fit.linear_part" if run is FORECAST else "init.glorot_uniform"
        patch.setattr(f"xrnn.{place}", raising(KeyboardInterrupt()))
        assert run("--out", "c") == 130
    assert capsys.readouterr().err == "error: interrupted\n"
    assert files() == before
    monkeypatch.setattr("xrnn.commands.output.drawn", raising(KeyboardInterrupt()))
    assert run("--out", "c") == 130
    out, err = capsys.readouterr()
    assert "\ncheckpoint: c (xrnn predict c FILE...)\n" in out
    assert err == "error: interrupted\n"
    assert files().keys() - before.keys() == {"c"}


# ---- without a finite loss or memory ----


def test_a_loss_that_is_not_finite_ends_the_run(folder: Path, capsys: Capture, monkeypatch: Patch) -> None:
    def spoil(optimizer: xrnn.Adam) -> None:
        for param in optimizer.layers[-1].params:
            param[...] = np.nan

    before = files()
    at_update(monkeypatch, 4, spoil)
    assert CLASSIFY("--out", "c") == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.endswith("; lower --lr\n")
    assert err.count("\n") == 1
    assert files() == before


def test_too_little_memory_gets_one_line(folder: Path, capsys: Capture, monkeypatch: Patch) -> None:
    before = files()
    monkeypatch.setattr("xrnn.init.glorot_uniform", raising(MemoryError("8 TiB")))
    assert CLASSIFY("--hidden", "1000000", "--batch", "1") == 1
    assert capsys.readouterr().err.startswith("error: out of memory (8 TiB)")
    assert files() == before


# ---- processes ----

# About a millisecond an update.
_LONG = ["regress", *REGRESS.data, "--hidden", "16", "--batch", "4", "--out", "c", "--epochs", "1000000"]


@POSIX
def test_a_terminal_shows_a_bar_and_ctrl_c_saves(folder: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    own = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "  # so that Ctrl-C sends SIGINT
    command = [sys.executable, "-c", own + DEFAULT_SIGNALS + XRNN, *_LONG]
    environment = os.environ | {"TERM": "xterm"}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    printed = b""
    while "━".encode() not in printed:
        printed += os.read(ours, 4096)
    os.write(ours, b"\x03")
    while b"stopped: c holds the model so far" not in printed:
        printed += os.read(ours, 4096)
    assert process.wait() == 130
    os.close(ours)
    assert updates_in("c") >= 1


@POSIX
def test_a_pipe_that_is_closed_before_training_ends_the_run(folder: Path) -> None:
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
@pytest.mark.parametrize("arguments", [["info"], ["--help"], _LONG], ids=lambda words: words[0])
def test_a_full_device_gets_one_line(folder: Path, arguments: list[str]) -> None:
    before = files()
    # As from a shell: Python flushes the buffer again when it exits.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", XRNN, *arguments]
    with open("/dev/full", "w") as full:
        process = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=buffered)
        reason = "No space left on device"
        said = f"error: can't write the output ({reason}); is the disk full? Files already saved are complete\n"
        assert (process.returncode, process.stderr) == (1, said)
        if arguments == ["info"]:
            assert subprocess.run([*command[:3], "fly"], stdout=full, stderr=full, env=buffered).returncode == 2
    assert files() == before
