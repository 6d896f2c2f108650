"""The training commands on several ranks of real MPI."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xrnn
from tests.commands.runs import (
    CLASSIFY,
    FORECAST,
    REGRESS,
    TRAIN,
    Capture,
    Run,
    growth,
    name_of,
    updates_in,
    write_data,
    write_rows,
)
from tests.models.texts import TINY_OPTIONS, write_text
from tests.parallel.launch import NEEDS_MPI, command, environment, mpiexec
from xrnn.commands.main import main

pytestmark = [NEEDS_MPI, pytest.mark.skipif(os.name != "posix", reason="needs signals")]

_SECONDS_TO_END = 10


@pytest.fixture(autouse=True)
def folder(workdir: Path) -> Path:
    """The working directory, with a text."""
    write_text(workdir / "text")
    return workdir


def start(size: int, *arguments: str) -> subprocess.Popen[str]:
    """`mpiexec -n size xrnn arguments`."""
    return subprocess.Popen(
        command(size, "-m", "xrnn", *arguments),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """The exit status, what was printed to stdout, and to stderr."""
    out, error = process.communicate()
    return process.returncode, out, error


def train(size: int, out: str, *options: str) -> None:
    if size == 1:
        assert main(["train", "text", *TINY_OPTIONS, "--out", out, *options]) == 0
        return
    status, printed, error = outcome(start(size, "train", "text", *TINY_OPTIONS, "--out", out, *options))
    assert (status, error) == (0, ""), printed


def assert_equal_runs(file: str, other: str, rtol: float) -> None:
    """The losses, weights and other arrays of two checkpoints."""
    ours, theirs = (xrnn.load_checkpoint(each, backend="numpy") for each in (file, other))
    params = [[p for layer in each.layers.values() for p in layer.params] for each in (ours, theirs)]
    for a, b in zip(*params, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
    arrays, expected = ours.extra["arrays"], theirs.extra["arrays"]
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        np.testing.assert_allclose(array, expected[name], rtol=rtol, atol=rtol)


def numbers_in(results: Any) -> list[float]:
    """The numbers in the JSON of a command, in its order."""
    if isinstance(results, dict | list):
        return [n for each in (results.values() if isinstance(results, dict) else results) for n in numbers_in(each)]
    return [results] if isinstance(results, int | float) else []


_HARD = ["--dropout", "0.3", "--noise", "0.2", "--layers", "2"]
# A start of MPI takes seconds. In `make test` the ranks of test_divided.py, which are threads, train the other kinds.
long = pytest.mark.proof


@pytest.mark.parametrize(
    ("run", "options", "sizes"),
    [
        (TRAIN, [], [1, 2]),
        pytest.param(TRAIN, [], [1, 2, 2, 3], marks=long),
        pytest.param(CLASSIFY, [*_HARD, "--patience", "30", "--balance"], [1, 3], marks=long),
        pytest.param(CLASSIFY, [*_HARD, "--patience", "30", "--one-way"], [1, 2], marks=long),
        pytest.param(REGRESS, [*_HARD, "--patience", "30"], [1, 3], marks=long),
        pytest.param(FORECAST, _HARD, [1, 2, 3], marks=long),
    ],
    ids=name_of,
)
def test_a_run_has_the_same_results_on_any_number_of_ranks(
    folder: Path, run: Run, options: list[str], sizes: list[int], capsys: Capture
) -> None:
    """To rounding, and with the same bits on the same number of ranks. Batches are ragged, the last one is small.

    A forecaster's windows have missing values; its calibration and backtest are divided too.
    """
    write_data(folder)
    values = growth(200)
    values[::7] = np.nan
    write_rows("rows.csv", values)
    results, logs = [], []
    for i, size in enumerate(sizes):
        words = run.words(*options, "--out", str(i), "--log", f"{i}.csv", "--json")
        if size == 1:
            assert main(words) == 0
            printed = capsys.readouterr().out
        else:
            status, printed, error = outcome(start(size, *words))
            assert (status, error) == (0, ""), printed
        assert printed.count("\nmodel: ") == 1  # only rank 0 prints
        results.append(numbers_in(json.loads(printed.splitlines()[-1])))
        step, _, seen, *_ = Path(f"{i}.csv").read_text().splitlines()[-1].split(",")
        logs.append((step, seen))  # the items of all ranks
        assert_equal_runs(str(i), "0", rtol=1e-3)
        assert results[i] == pytest.approx(results[0], rel=1e-3)
    assert len({*logs}) == 1
    if sizes[1:3] == [2, 2]:
        assert_equal_runs("1", "2", rtol=0)
        assert results[1] == results[2]


@long
def test_a_checkpoint_resumes_on_another_number_of_ranks() -> None:
    train(1, "straight", "--steps", "12")
    train(2, "divided", "--steps", "5")
    resumed = start(3, "train", "text", "--resume", "divided", "--steps", "12")
    assert outcome(resumed)[0] == 0
    assert_equal_runs("divided", "straight", rtol=1e-4)


_ONLY_RANK_0_WRITES = """
import sys
from xrnn.commands.main import main
from xrnn.models.checkpoint import Kind
from xrnn.commands.pictures import Picture
from xrnn.parallel import world
if world().rank:
    Kind.content = Picture.content = None
sys.exit(main())
"""


@long
def test_only_rank_0_makes_the_content_of_checkpoints_and_pictures() -> None:
    arguments = ["train", "text", *TINY_OPTIONS, "--steps", "6", "--save-every", "2", "--out", "out"]
    done = mpiexec(2, "-c", _ONLY_RANK_0_WRITES, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert updates_in("out") == 6


def test_ctrl_c_saves_and_stops_all() -> None:
    process, _ = _started_ranks()
    process.send_signal(signal.SIGINT)
    status, printed, _ = outcome(process)
    assert status == 130
    found = re.search(r"stopped at step ([\d,]+) and saved out; continue with\n  mpiexec -n 2 xrnn train", printed)
    assert found
    assert updates_in("out") == int(found[1].replace(",", ""))


@long
def test_a_signal_to_one_rank_saves_and_stops_all() -> None:
    process, pids = _started_ranks()
    os.kill(pids[1], signal.SIGTERM)
    status, printed, _ = outcome(process)
    assert status == 143
    assert printed.count("stopped at step") == 1
    assert updates_in("out") > 0


@long
def test_a_killed_rank_ends_all_and_the_last_checkpoint_is_valid() -> None:
    process, pids = _started_ranks()
    killed = time.monotonic()
    os.kill(pids[1], signal.SIGKILL)
    assert outcome(process)[0] != 0
    assert time.monotonic() - killed < _SECONDS_TO_END
    assert updates_in("out") % 5 == 0


def _started_ranks() -> tuple[subprocess.Popen[str], list[int]]:
    """A run of two ranks that has saved a checkpoint, and the processes of its ranks."""
    process = start(2, "train", "text", *TINY_OPTIONS, "--minutes", "10", "--save-every", "5", "--out", "out")
    while not Path("out").exists():
        assert process.poll() is None
        time.sleep(0.01)
    pids = [pid for proxy in _children(process.pid) for pid in _children(proxy)]
    assert len(pids) == 2
    return process, pids


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def refused(*commands: list[str]) -> str:
    """The only line of error that the ranks print. Each command is that of one rank."""
    words: list[str] = []
    for each in commands:
        words += [":"] * bool(words) + command(1, "-m", "xrnn", *each)[bool(words) :]
    process = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=300)
    assert process.returncode in (1, 2)
    (line,) = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ([["train", "nowhere"]] * 2, "nowhere doesn't exist"),
        pytest.param(
            [["train", "text", *TINY_OPTIONS]] * 4,
            "--batch is 3, and there are 4 ranks: expected at least one stream",
            marks=long,
        ),
        pytest.param(
            [["train", "--seed", "x"], ["train", "text", *TINY_OPTIONS, "--steps", "9"]], "--seed", marks=long
        ),
    ],
    ids=["data", "batch", "arguments"],
)
def test_errors_are_printed_once(commands: list[list[str]], expected: str) -> None:
    assert expected in refused(*commands)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        pytest.param(["--seed", "1"], "options", marks=long),
        pytest.param(["--steps", "9"], "options", marks=long),
        pytest.param(["--out", "other"], "options", marks=long),
        ([], "data"),
    ],
)
def test_ranks_that_differ(folder: Path, options: list[str], names: str) -> None:
    write_text(folder / "text-2", seed=0 if options else 1)
    common = [*TINY_OPTIONS, "--out", "out"]
    steps = [] if "--steps" in options else ["--steps", "8"]
    line = refused(["train", "text", *common, "--steps", "8"], ["train", "text-2", *common, *steps, *options])
    assert f"the ranks differ in {names}: expected the same in all" in line
    assert not Path("out").exists()


@long
def test_info_prints_one_table_of_ranks() -> None:
    status, printed, error = outcome(start(3, "info"))
    assert (status, error) == (0, "")
    assert printed.count("backend: numpy") == 1
    *_, count, first, second, third = printed.splitlines()
    assert count == "ranks: 3"
    for rank, line in enumerate([first, second, third]):
        assert re.fullmatch(rf"  {rank}: {re.escape(platform.node())}, numpy, threads: .*; CPUs: \d+, from .*", line)
