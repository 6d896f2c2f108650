"""The commands as users run them: complete runs, interrupted runs, and errors."""

from __future__ import annotations

import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import typer

import xrnn
from tests.fresh import DEFAULT_SIGNALS, NO_CUPY, run_python
from tests.models.snapshots import assert_same_arrays
from tests.models.text.forge import Forgery
from tests.models.text.texts import TINY_OPTIONS, write_text
from xrnn.backend import BackendUnavailableError
from xrnn.commands.main import app, main
from xrnn.info import config
from xrnn.models.text.model import CharLM
from xrnn.parallel import World
from xrnn.typing import HostArray

XRNN = [sys.executable, "-c", "import sys; from xrnn.commands.main import main; sys.exit(main())"]
SIGNALLED = [sys.executable, "-c", DEFAULT_SIGNALS + XRNN[-1]]

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals, FIFOs and /dev/full are POSIX's")
pytestmark = pytest.mark.usefixtures("blank_pictures")


@pytest.fixture
def text(workdir: Path) -> str:
    """The name of a small text in the working directory. The outputs are written there too."""
    return write_text(workdir / "text.txt").name


def losses(checkpoint: str) -> HostArray:
    of_updates: HostArray = xrnn.load_checkpoint(checkpoint, backend="numpy").extra["arrays"]["losses"]
    return of_updates


# ---- complete runs ----


def test_a_run_shows_its_figures_and_leaves_a_checkpoint_and_a_picture(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="needs Matplotlib: pip install -e '.[plot]'")
    assert main(["train", text, *TINY_OPTIONS, "--steps", "60"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for line in [
        r"backend: numpy \(decided by XRNN_BACKEND=numpy\)",
        r"text: 1 file, 4,000 bytes; held out: the last 200 bytes \(5 %, since there are few files\)",
        r"model: 2 RNN layers of 12, 20,936 weights; 3 streams × 7 steps; lr 0.01; seed 0",
        r"step 60: \d\.\d{3} bits per character, [\d,]+ characters/s, took 0:\d\d",
        r"held out: \d\.\d{3} bits per character \(zlib level 9: \d\.\d{3}\)",
        r"checkpoint: char-lm.safetensors \(xrnn generate char-lm.safetensors --prompt 'def '\)",
        r"loss curve: char-lm.png",
    ]:
        assert re.search(f"^{line}$", out, re.MULTILINE), line
    assert "\x1b" not in out  # no bar where there is no terminal
    assert len(losses("char-lm.safetensors")) == 60
    assert Path("char-lm.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_a_run_draws_no_picture(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["train", text, *TINY_OPTIONS, "--steps", "2"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "loss curve: not drawn, Matplotlib is not installed (`pip install -e '.[plot]'`)"
    assert not Path("char-lm.png").exists()


def test_a_run_can_stop_after_a_time(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    assert main(["train", text, *TINY_OPTIONS, "--minutes", "0.01"]) == 0
    assert time.monotonic() - started >= 0.6
    assert len(losses("char-lm.safetensors")) > 1


def test_generate_prints_the_prompt_and_its_continuation(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", text, *TINY_OPTIONS, "--steps", "150", "--out", "c"])
    capsys.readouterr()
    options = ["generate", "c", "--prompt", "def ", "--length", "20"]
    assert main([*options, "--seed", "1"]) == main([*options, "--seed", "1"]) == main([*options, "--seed", "2"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("def ")
    main(["generate", "c", "--prompt", "def ", "--length", "0"])
    assert capsys.readouterr().out == "def \n"
    main(["generate", "c", "--length", "30", "--temperature", "0"])
    assert len(capsys.readouterr().out) == 31


def test_info_prints_the_configuration(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    assert capsys.readouterr().out == config() + "\n"


def test_info_explains_the_choice_on_an_absent_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--explain", "100", "32", "1024", "1024", "--device", "h100"]) == 0
    out = capsys.readouterr().out
    tail = "T=100 N=32 D=1024 H=1024, on NVIDIA H100; times are predicted, not measured"
    heads = [line for line in out.splitlines() if line.endswith(tail)]
    ways = [f"rnn {way}, {dtype}" for dtype in ("float32", "float64") for way in ("forward", "backward")]
    assert heads == [f"{way}, {tail}" for way in ways]
    assert [line.split()[1] for line in out.splitlines() if line.startswith("→")] == ["group"] * 4


@pytest.mark.parametrize("cell", ["rnn", "leak", "lstm", "gru"])
def test_info_explains_each_cell(cell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--explain", "100", "16", "512", "512", "--device", "h100", "--cell", cell]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines if "predicted" in line] == [f"{cell} forward", f"{cell} backward"] * 2
    chosen = [line.split()[1] for line in lines if line.startswith("→")]
    assert chosen[:2] == ["group", "group" if cell in ("rnn", "leak") else "group-partial"]
    assert main(["info", "--explain", "4", "3", "2", "5", "--cell", cell]) == 0


def test_info_explains_the_choice_of_the_selected_backend(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--explain", "4", "3", "2", "5"]) == 0
    assert "forms at T=4, N=3, D=2, H=5, float32:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "needs_it"),
    [
        ([], True),
        (["--explain", "4", "3", "2", "5"], True),
        (["--explain", "4", "3", "2", "5", "--device", "h100"], False),
    ],
)
def test_info_needs_a_backend_unless_it_explains_an_absent_gpu(
    options: list[str], needs_it: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XRNN_BACKEND", "abacus")
    status = main(["info", *options])
    printed = capsys.readouterr()
    assert (status, bool(printed.out)) == ((1, False) if needs_it else (0, True))
    assert printed.err.startswith("error: unknown backend 'abacus' (XRNN_BACKEND=abacus)") is needs_it


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "h100"], "got --device without --explain: expected both; add --explain T N D H"),
        (
            ["--explain", "1", "1", "1", "1", "--device", "abacus"],
            "--device: unknown device 'abacus': expected one of t4, l4, 4060, 4090, 5090, a100, h100, h200, b200",
        ),
        (
            ["--explain", "1", "1", "1", "1", "--cell", "x"],
            "--cell: unknown cell 'x': expected one of rnn, leak, lstm, gru",
        ),
        (["--cell", "lstm"], "got --cell without --explain, or with --json: expected --explain T N D H --cell NAME"),
        (["--explain", "0", "1", "1", "1"], "--explain got 0 1 1 1: expected T N D H, each from 1 to 10^18"),
        (
            ["--device", "h100", "--explain", "1", "1", "1", "1", "--json"],
            "got both --device and --json: expected one",
        ),
        (["--explain", "1", "-1", "1", "1"], "--explain got 1 -1 1 1: expected T N D H, each from 1 to 10^18"),
        (
            ["--explain", "1", "1", "1", str(10**18 + 1)],
            f"--explain got 1 1 1 {10**18 + 1}: expected T N D H, each from 1",
        ),
        (["--explain", "1", str(2**70), "1", "1"], f"--explain got 1 {2**70} 1 1: expected T N D H, each from 1 to"),
    ],
)
def test_info_refuses(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", *options]) != 0
    assert message in capsys.readouterr().err


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"xrnn {xrnn.__version__}\n"
    assert main(["train", "--help"]) == 0
    help_text = capsys.readouterr().out
    options = ("hidden", "layers", "seq-len", "batch", "lr", "minutes", "steps", "seed", "out", "plot", "resume")
    assert all(f"--{option}" in help_text for option in options)


def test_the_defaults_of_the_commands(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[Any] = []

    def see(job: Any, *_: Any) -> int:
        jobs.append(job)
        return 0

    monkeypatch.setattr("xrnn.commands.main.run", see)
    for given in ([], ["--steps", "7"], ["--steps", str(10**12)], ["--minutes", "3"]):
        assert main(["train", text, *given]) == 0
    assert [(job.options.minutes, job.upto) for job in jobs] == [(1.0, None), (None, 7), (None, 10**12), (3.0, None)]
    assert not any(job.options.overwrite for job in jobs)
    commands = cast(Any, typer.main.get_command(app)).commands
    defaults = {name: {p.name: p.default for p in command.params} for name, command in commands.items()}
    said = {name: defaults["generate"][name] for name in ("length", "temperature", "seed")}
    assert said == {"length": 400, "temperature": 0.8, "seed": 0}
    assert defaults["classify"]["overwrite"] is False


# ---- interrupted and resumed runs ----

# About a millisecond a step, and a checkpoint every 20.
_RUN = ["--hidden", "32", "--seq-len", "16", "--batch", "8", "--save-every", "20", "--steps", "800"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The checkpoint of a run that was not interrupted, on the text of the fixture `text`."""
    folder = tmp_path_factory.mktemp("whole")
    text = write_text(folder / "text.txt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XRNN_BACKEND", "numpy")
        assert main(["train", str(text), *_RUN, "--out", str(folder / "whole")]) == 0
    return str(folder / "whole")


def start(arguments: list[str], checkpoint: Path, command: list[str] = XRNN) -> subprocess.Popen[str]:
    """A run in its own process, which has written a checkpoint."""
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before):
        time.sleep(0.001)
    return process


def test_a_killed_and_resumed_run_equals_one_that_was_not_interrupted(text: str, whole: str) -> None:
    rng = random.Random(0)
    checkpoint = Path("killed")
    resume: list[str] = []
    kills = 0
    for _ in range(4):
        process = start(["train", text, *_RUN, "--out", "killed", *resume], checkpoint)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        out, err = process.communicate()
        assert err == ""
        kills += process.returncode == -signal.SIGKILL if os.name == "posix" else "held out:" not in out
        resume = ["--resume", "killed"]
    assert kills >= 2
    assert main(["train", text, *_RUN, *resume]) == 0
    assert_same_arrays("killed", whole)


@POSIX
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_saves_and_prints_the_command_to_continue(text: str, whole: str, name: str) -> None:
    number = signal.Signals[name]
    process = start(["train", text, *_RUN, "--out", "stopped"], Path("stopped"), SIGNALLED)
    process.send_signal(number)
    out, err = process.communicate()
    assert (process.returncode, err) == (128 + number, "")
    said = re.search(r"^stopped at step ([\d,]+) and saved stopped; continue with\n  (.*)$", out, re.MULTILINE)
    assert said
    assert len(losses("stopped")) == int(said[1].replace(",", "")) < 800
    program, *arguments = shlex.split(said[2])
    assert program == "xrnn"
    assert main(arguments) == 0
    assert_same_arrays("stopped", whole)


@POSIX
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_an_ignored_signal_does_not_stop_a_run(text: str, number: signal.Signals) -> None:
    """As under `nohup`, or in the background of a script."""
    ignore = f"import signal; signal.signal({number:d}, signal.SIG_IGN); "
    command = [sys.executable, "-c", ignore + XRNN[-1], "train", text, *_RUN, "--out", "c"]
    process = start([], Path("c"), command)
    process.send_signal(number)
    _, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert len(losses("c")) == 800


@POSIX
def test_a_closed_pipe_saves_and_prints_the_command_to_stderr(text: str, whole: str) -> None:
    often = "import xrnn.commands.progress as p; p._SECONDS_BETWEEN_LINES = 0.0; "
    command = [sys.executable, "-c", often + XRNN[-1], "train", text, *_RUN, "--out", "stopped"]
    process = start([], Path("stopped"), command)
    assert process.stdout
    assert process.stderr
    with process:
        process.stdout.close()  # as `| head -1` does
        err = process.stderr.read()
    assert process.returncode == 128 + signal.SIGPIPE
    said = re.fullmatch(r"stopped at step ([\d,]+) and saved stopped; continue with\n  (.*)\n", err)
    assert said, err
    assert len(losses("stopped")) == int(said[1].replace(",", "")) < 800
    assert main(shlex.split(said[2])[1:]) == 0
    assert_same_arrays("stopped", whole)


@POSIX
def test_a_closed_terminal_saves_and_stops(text: str) -> None:
    """Neither a line nor the bar can be printed any more."""
    import pty

    ours, theirs = pty.openpty()
    command = [*SIGNALLED, "train", text, *_RUN, "--out", "c", "--steps", "1000000"]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"})
    os.close(theirs)
    while not Path("c").exists():
        os.read(ours, 4096)
    os.close(ours)
    assert process.wait() == 1
    assert len(losses("c")) >= 20


@POSIX
def test_a_pipe_that_is_closed_before_training_ends_the_run(text: str) -> None:
    """Nothing was trained, so nothing is written."""
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run([*XRNN, "train", text, *_RUN], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (process.returncode, process.stderr) == (128 + signal.SIGPIPE, "")
    assert os.listdir() == ["text.txt"]


def test_an_interrupt_after_training_names_the_checkpoint(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(model: CharLM, text: HostArray, comm: World) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr("xrnn.commands.train.bits_per_character", interrupt)
    assert main(["train", text, *TINY_OPTIONS, "--steps", "3"]) == 130
    out, err = capsys.readouterr()
    assert out.endswith("interrupted after training; char-lm.safetensors holds step 3\n")
    assert err == ""
    assert len(losses("char-lm.safetensors")) == 3


@pytest.mark.parametrize("command", [["train", "text.txt", *TINY_OPTIONS], ["generate", "c"], ["info"]])
def test_an_interrupt_before_training_gets_one_line(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    checkpoint()
    capsys.readouterr()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("xrnn.commands.main.select", interrupt)
    assert main(command) == 130
    assert capsys.readouterr().err == "error: interrupted\n"


def test_resuming_at_the_last_step_only_reports(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", text, *TINY_OPTIONS, "--steps", "5", "--out", "c"])
    shutil.copy("c", "before")
    assert main(["train", text, *TINY_OPTIONS, "--steps", "5", "--resume", "c"]) == 0
    assert "resumed at step 5" in capsys.readouterr().out
    assert_same_arrays("c", "before")


def test_a_resumed_shorter_run_equals_the_longer_one(text: str) -> None:
    main(["train", text, *TINY_OPTIONS, "--steps", "8", "--out", "long"])
    main(["train", text, *TINY_OPTIONS, "--steps", "3", "--out", "short"])
    main(["train", text, "--steps", "8", "--resume", "short"])
    assert_same_arrays("short", "long")


# ---- bad input ----


def truncated_checkpoint() -> None:
    main(["train", "text.txt", *TINY_OPTIONS, "--steps", "1", "--out", "c"])
    Path("c").write_bytes(Path("c").read_bytes()[:-9])


def checkpoint() -> None:
    main(["train", "text.txt", *TINY_OPTIONS, "--steps", "2", "--out", "c"])


def changed_text() -> None:
    checkpoint()
    write_text(Path("text.txt"), seed=1)


def binary_file() -> None:
    Path("binary").write_bytes(b"\x7fELF\0\0")


def empty_file() -> None:
    Path("empty").touch()


def notes() -> None:
    Path("notes").write_text("mine")


def nothing() -> None:
    pass


@pytest.mark.parametrize(
    ("prepare", "arguments", "message"),
    [
        (nothing, "train missing", "missing doesn't exist: expected a text file or a folder of them; check the path"),
        (binary_file, "train binary", "binary is binary (it has a NUL byte): expected text; name a text file"),
        (
            empty_file,
            "train empty",
            "found no text in empty (1 empty files, 0 binary): expected text files; name others, or none for "
            "Python's standard library",
        ),
        (
            nothing,
            "train text.txt --batch 500",
            "the text to train on has 3,800 bytes: expected at least 32,500 for one chunk (--batch 500 × "
            "(--seq-len 64 + 1)); give more text, or lower one of them",
        ),
        (nothing, "train text.txt --hidden 0", "--hidden is 0: expected a whole number from 1 to 1048576"),
        (nothing, "train text.txt --layers -1", "--layers is -1: expected a whole number from 1 to 100"),
        (nothing, "train text.txt --layers 1048576", "--layers is 1048576: expected a whole number from 1 to 100"),
        (nothing, "train text.txt --seq-len 0", "--seq-len is 0: expected a whole number from 1 to 1048576"),
        (nothing, "train text.txt --batch 0", "--batch is 0: expected a whole number from 1 to 1048576"),
        (nothing, "train text.txt --lr nan", "--lr is nan: expected a positive number up to 1000, such as 0.003"),
        (nothing, "train text.txt --seed -1", "--seed is -1: expected a whole number of at least 0"),
        (nothing, "train text.txt --steps 0", "--steps is 0: expected a whole number from 1 to 1000000000000"),
        (
            nothing,
            "train text.txt --minutes 0",
            "--minutes is 0.0: expected a positive number up to 525600, which is a year",
        ),
        (
            nothing,
            "train text.txt --minutes 1e307",
            "--minutes is 1e+307: expected a positive number up to 525600, which is a year",
        ),
        (
            nothing,
            "train text.txt --minutes nan",
            "--minutes is nan: expected a positive number up to 525600, which is a year",
        ),
        (nothing, "train text.txt --save-every 0", "--save-every is 0: expected a whole number of at least 1"),
        (
            nothing,
            "train text.txt --steps 1 --minutes 1",
            "got both --minutes and --steps: expected one of them; leave one out",
        ),
        (
            nothing,
            "train text.txt --out nowhere/c",
            "can't write nowhere/c (No such file or directory): expected an existing folder with write "
            "permission; make it or name another",
        ),
        (
            nothing,
            "train text.txt --out .",
            "can't write .: expected the name of a file, but it is a folder; name a file in it",
        ),
        (
            notes,
            "train text.txt --out notes",
            "notes exists and is no checkpoint: expected a new name, or a checkpoint to replace; name another with "
            "--out",
        ),
        (
            nothing,
            "train text.txt --plot nowhere/p.png",
            "can't write nowhere/p.png (No such file or directory): expected an existing folder with write "
            "permission; make it or name another",
        ),
        (
            nothing,
            "train text.txt --plot loss.gif",
            "--plot is loss.gif: expected a name that ends in .png, .svg, .pdf; add one of them",
        ),
        (
            nothing,
            "train text.txt --resume c --out d",
            "can't read c (No such file or directory): expected a checkpoint; name a file that `xrnn train` wrote",
        ),
        (
            truncated_checkpoint,
            "train text.txt --resume c --out d",
            "c is truncated or damaged (Error while deserializing header: incomplete metadata, file not fully "
            "covered): expected a complete file; use another copy",
        ),
        (
            truncated_checkpoint,
            "train text.txt --resume c",
            "c is truncated or damaged (Error while deserializing header: incomplete metadata, file not fully "
            "covered): expected a complete file; use another copy",
        ),
        (
            notes,
            "train text.txt --resume notes",
            "notes is not a safetensors file: expected a checkpoint; name a file that `xrnn train` wrote",
        ),
        (
            checkpoint,
            "train text.txt --resume c --hidden 13",
            "--hidden is 13, but c was trained with 12: leave the option out, or start a new run without --resume",
        ),
        (
            checkpoint,
            "train text.txt --resume c --lr 0.02",
            "--lr is 0.02, but c was trained with 0.01: leave the option out, or start a new run without --resume",
        ),
        (
            checkpoint,
            "train text.txt --resume c --steps 1",
            "--steps is 1, but c is at step 2: expected the total number of steps, with earlier ones; give more",
        ),
        (
            changed_text,
            "train text.txt --resume c",
            "c was trained on other text: expected the same PATHs with the same content; name that, or start a new "
            "run without --resume",
        ),
        (
            nothing,
            "generate text.txt",
            "text.txt is not a safetensors file: expected a checkpoint; name a file that `xrnn train` wrote",
        ),
        (
            checkpoint,
            "generate c --temperature -1",
            "--temperature is -1.0: expected a finite number of at least 0, such as 0.8",
        ),
        (checkpoint, "generate c --length -1", "--length is -1: expected a whole number from 0 to 1048576"),
        (checkpoint, "generate c --seed -1", "--seed is -1: expected a whole number of at least 0"),
    ],
)
def test_bad_input_gets_one_line(
    text: str, capsys: pytest.CaptureFixture[str], prepare: Callable[[], None], arguments: str, message: str
) -> None:
    prepare()
    capsys.readouterr()
    assert main(arguments.split()) != 0
    assert capsys.readouterr().err == f"error: {message}\n"


@pytest.mark.parametrize(
    "arguments",
    [["train", ""], *(["train", option, ""] for option in ("--out", "--plot", "--resume")), ["generate", ""]],
)
def test_an_empty_path_gets_one_line(text: str, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """An unset shell variable gives an empty path, which would mean the working directory."""
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert re.fullmatch(
        rf"error: Invalid value for '.*': it is empty: expected a path; see `xrnn {arguments[0]} --help`\n", err
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --hidden x", "Invalid value for '--hidden'"),
        ("train --hiden 3", "o such option: --hiden"),
        ("generate", "issing argument"),
        ("fly", "o such command 'fly'; see `xrnn --help`"),
    ],
)
def test_a_wrong_command_line_gets_one_line(capsys: pytest.CaptureFixture[str], arguments: str, message: str) -> None:
    assert main(arguments.split()) == 2
    err = capsys.readouterr().err
    assert re.fullmatch(r"error: .*; see `xrnn.* --help`\n", err)
    assert message in err


def test_too_little_memory_gets_one_line(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def allocate(*args: object, **kwargs: object) -> None:
        raise MemoryError("Unable to allocate 7 TiB")

    monkeypatch.setattr(CharLM, "init", allocate)
    assert main(["train", text, *TINY_OPTIONS]) == 1
    assert capsys.readouterr().err == ("error: out of memory (Unable to allocate 7 TiB): lower --hidden or --batch\n")


def test_generate_without_memory_names_a_remedy_that_it_has(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def allocate(*_: object) -> None:
        raise MemoryError("7 TiB")

    checkpoint()
    capsys.readouterr()
    monkeypatch.setattr("xrnn.commands.main.draw", allocate)
    assert main(["generate", "c"]) == 1
    assert capsys.readouterr().err == "error: out of memory (7 TiB): give less text or fewer bytes\n"


def test_an_unknown_backend_gets_one_line(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XRNN_BACKEND", "abacus")
    assert main(["train", text]) == 1
    assert capsys.readouterr().err == (
        "error: unknown backend 'abacus' (XRNN_BACKEND=abacus): expected one of auto, cupy, numpy\n"
    )


def test_a_backend_that_can_not_run_gets_one_line(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise BackendUnavailableError("XRNN_BACKEND=cupy asked for cupy, but CuPy is not installed:\n`pip install …`")

    monkeypatch.setattr("xrnn.commands.main.select", refuse)
    for command in (["train", text], ["generate", "c"], ["info"]):
        assert main(command) == 1
        assert capsys.readouterr().err == (
            "error: XRNN_BACKEND=cupy asked for cupy, but CuPy is not installed: `pip install …`\n"
        )


def test_nan_in_the_loss_stops_the_run_and_keeps_the_last_good_checkpoint(text: str) -> None:
    """In its own process, where NumPy's warnings would be printed."""
    program = "import xrnn.models.text.trainer as t; t.learning_rate = lambda *_: 1e38; " + XRNN[-1]
    command = [
        sys.executable,
        "-c",
        program,
        "train",
        text,
        "--hidden",
        "8",
        "--seq-len",
        "8",
        "--batch",
        "2",
        "--steps",
        "50",
    ]
    process = subprocess.run([*command, "--save-every", "1"], capture_output=True, text=True)
    assert process.returncode == 1
    said = re.fullmatch(
        r"error: .* at step (\d+): expected a finite number; lower --lr; char-lm.safetensors holds step (\d+)\n",
        process.stderr,
    )
    assert said, process.stderr
    saved = losses("char-lm.safetensors")
    assert len(saved) == int(said[2]) == int(said[1]) - 1
    assert np.isfinite(saved).all()
    process = subprocess.run([*command, "--out", "other"], capture_output=True, text=True)
    assert process.stderr.endswith(": expected a finite number; lower --lr; no checkpoint was written\n")
    assert not Path("other").exists()


def test_an_output_that_can_not_be_written_is_found_before_training(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", text, "--out", "nowhere/c"]) == 1
    assert "bits per character" not in capsys.readouterr().out


# ---- the environment ----


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ("train --hidden", "xrnn train"),
        ("train --hidden x", "xrnn train"),
        ("train --hiden 3", "xrnn train"),
        ("--hidden 3 train", "xrnn train"),
        ("--seed 3 generate c", "xrnn generate"),
        ("--seed 3", "xrnn"),  # an option of two commands
        ("--prompt x", "xrnn generate"),
        ("generate c --length", "xrnn generate"),
        ("info --explain 1 2", "xrnn info"),
        ("--fly", "xrnn"),
    ],
)
def test_the_help_that_is_named_explains_the_option(
    capsys: pytest.CaptureFixture[str], arguments: str, command: str
) -> None:
    assert main(arguments.split()) == 2
    assert capsys.readouterr().err.endswith(f"; see `{command} --help`\n")


def test_generate_says_nothing_about_a_fallback(text: str) -> None:
    main(["train", text, *TINY_OPTIONS, "--steps", "2", "--out", "c"])
    code = NO_CUPY + "from xrnn.commands.main import main\nsys.exit(main(sys.argv[1:]))"
    environment = {name: value for name, value in os.environ.items() if name != "XRNN_BACKEND"}
    command = [sys.executable, "-c", code, "generate", "c", "--prompt", "def ", "--length", "0"]
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (process.returncode, process.stdout, process.stderr) == (0, "def \n", "")


@POSIX
@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_a_prompt_may_hold_any_bytes_in_any_locale(text: str, locale: dict[str, str]) -> None:
    main(["train", text, *TINY_OPTIONS, "--steps", "2", "--out", "c"])
    command = [*XRNN, "generate", "c", "--length", "0", "--prompt"]
    seen = {"def": b"def\n", "é": "é\n".encode() if not locale else b"?\n"}
    for prompt, output in [*((word.encode(), out) for word, out in seen.items()), (b"\xff", None)]:
        process = subprocess.run([*command, prompt], env=os.environ | locale, capture_output=True)
        assert (process.returncode, process.stderr) == (0, b"")
        assert process.stdout == output or (output is None and process.stdout in ("�\n".encode(), b"?\n"))


def test_half_a_surrogate_pair_is_no_prompt(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "c", "--prompt", "\ud800"]) == 1
    assert capsys.readouterr().err == "error: --prompt holds half a surrogate pair: expected text; leave it out\n"


@POSIX
@pytest.mark.parametrize("command", [["info"], ["--help"], ["--version"], ["train", "text.txt", *_RUN]])
def test_a_full_device_gets_one_line(text: str, command: list[str]) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:
        # As from a shell: Python flushes the buffer again when it exits.
        buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        process = subprocess.run([*XRNN, *command], stdout=full, stderr=subprocess.PIPE, text=True, env=buffered)
        assert process.returncode == 1
        assert process.stderr == (
            "error: can't write the output (No space left on device): expected free space; saved files are complete\n"
        )
        assert subprocess.run([*XRNN, "fly"], stdout=full, stderr=full, env=buffered).returncode == 2
    assert os.listdir() == ["text.txt"]


@POSIX
def test_a_full_device_in_the_middle_of_a_run_saves_and_stops(text: str) -> None:
    """The device is full from the first progress line on."""
    code = """
import sys
import xrnn.commands.progress as progress
progress._SECONDS_BETWEEN_LINES = 0.0
say = progress.Terminal.say
def fill(terminal, text):
    if text.startswith("step "):
        terminal.file._lose(OSError(28, "No space left on device"))
    say(terminal, text)
progress.Terminal.say = fill
from xrnn.commands.main import main
sys.exit(main())
"""
    command = [sys.executable, "-c", code, "train", text, *_RUN, "--out", "c"]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 1
    first, second, last = process.stderr.splitlines()
    steps = len(losses("c"))
    assert first == f"stopped at step {steps:,} and saved c; continue with"
    assert second.startswith("  xrnn train text.txt --resume c")
    assert last.startswith("error: can't write the output (No space left on device): ")


@POSIX
@pytest.mark.parametrize("stream", [1, 2])
def test_a_run_needs_no_open_output(text: str, stream: int) -> None:
    command = shlex.join([*XRNN, "train", text, *TINY_OPTIONS, "--steps", "2"])
    process = subprocess.run(["sh", "-c", f"{command} {stream}>&-"], capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (0, "")
    assert len(losses("char-lm.safetensors")) == 2


@POSIX
def test_an_error_is_never_printed_to_stdout(text: str) -> None:
    process = subprocess.run(["sh", "-c", f"{shlex.join([*XRNN, 'generate', text])} 2>&-"], capture_output=True)
    assert (process.returncode, process.stdout) == (1, b"")


@POSIX
def test_a_fifo_is_no_checkpoint(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo("fifo")
    for command in (["generate", "fifo"], ["train", text, "--resume", "fifo", "--out", "c"]):
        assert main(command) == 1
        assert capsys.readouterr().err == (
            "error: fifo is not a regular file: expected a checkpoint; name a file that `xrnn train` wrote\n"
        )


def test_an_error_prints_no_control_characters(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Forgery(metadata={"version": "\x1b]0;title\x07"}).write(Path("c"))
    assert main(["generate", "c"]) == 1
    assert capsys.readouterr().err == ("error: c has version �]0;title�: expected 1; use the xrnn that wrote it\n")
    for command in (["generate", "\x1b[2J"], ["train", "\x1b[2J"], ["train", text, "--out", "\x1b[2J/c"]):
        assert main(command) == 1
        assert "�[2J" in (err := capsys.readouterr().err)
        assert err[:-1].isprintable()
    assert main(["train", text, *TINY_OPTIONS, "--steps", "1", "--out", "\x1b[2J"]) == 0
    assert "\x1b" not in capsys.readouterr().out


@POSIX
@pytest.mark.parametrize("module", ["numpy", "xrnn.backend", "typer", "rich.console", "xrnn.commands.train"])
def test_an_interrupt_of_the_imports_gets_one_line(module: str) -> None:
    code = f"""
import os, sys
{DEFAULT_SIGNALS}
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
from xrnn_command import main
sys.exit(main())
"""
    process = run_python(code)
    assert (process.returncode, process.stdout, process.stderr) == (130, "", "error: interrupted\n")


def test_the_installed_command_runs_main(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    scripts = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]
    module, name = scripts["xrnn"].split(":")
    code = f"import sys; from {module} import {name}; sys.argv[1:] = ['--version']; sys.exit({name}())"
    assert run_python(code).stdout == f"xrnn {xrnn.__version__}\n"


def test_an_invalid_environment_variable_gets_one_line() -> None:
    for name, value in {"XRNN_FUSED": "2", "XRNN_ISA": "abacus"}.items():
        environment = {**os.environ, "XRNN_BACKEND": "numpy", name: value}
        done = subprocess.run([*XRNN, "info"], env=environment, capture_output=True, text=True)
        assert done.returncode == 1
        assert re.fullmatch(rf"error: {name}\b.*\b{value}\b.*: expected .*\n", done.stderr), done.stderr


def test_info_explains_sizes_beyond_64_bits_when_multiplied(capsys: pytest.CaptureFixture[str]) -> None:
    for size in ("3000000000", str(10**18)):
        assert main(["info", "--explain", *[size] * 4]) == 0
        assert main(["info", "--explain", *[size] * 4, "--device", "h100"]) == 0
        assert f"T={int(size)}" in capsys.readouterr().out


def test_importing_the_package_does_not_import_the_command_line() -> None:
    code = "import sys, xrnn; sys.exit(bool({'typer', 'rich', 'safetensors', 'matplotlib', 'cupy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
