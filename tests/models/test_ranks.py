"""The training commands on several ranks of real MPI."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.data.waves import waves, write_ts
from tests.models.text.texts import TINY_OPTIONS, write_text
from tests.parallel.launch import NEEDS_MPI, command, environment, mpiexec
from xrnn.models.checkpoint import Kind, Snapshot
from xrnn.models.forecast.trained import FORECASTER
from xrnn.models.labelled.model import CLASSIFIER, REGRESSION
from xrnn.models.text import CHARACTER_MODEL
from xrnn.select import get_backend

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


def train(size: int, out: str, *options: str) -> str:
    status, printed, error = outcome(start(size, "train", "text", *TINY_OPTIONS, "--out", out, *options))
    assert (status, error) == (0, ""), printed
    return printed


def saved(file: str, checkpoints: Kind[Any] = CHARACTER_MODEL) -> Snapshot[Any]:
    return checkpoints.load(Path(file), get_backend("numpy"))


def assert_equal_runs(file: str, other: str, rtol: float, checkpoints: Kind[Any] = CHARACTER_MODEL) -> None:
    """The losses, weights and other arrays of two checkpoints."""
    ours, theirs = saved(file, checkpoints), saved(other, checkpoints)
    params = [[p for layer in each.layers.values() for p in layer.params] for each in (ours, theirs)]
    for a, b in zip(*params, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
    assert ours.arrays.keys() == theirs.arrays.keys()
    for name, array in ours.arrays.items():
        np.testing.assert_allclose(array, theirs.arrays[name], rtol=rtol, atol=rtol)


def test_train_on_1_2_and_3_ranks() -> None:
    """The same loss curve and state to rounding, with the same bits for the same number of ranks."""
    results = []
    for size, out in [(1, "1"), (2, "2"), (2, "again"), (3, "3")]:
        results.append(train(size, out, "--steps", "20", "--log", f"{out}.csv", "--plot", f"{out}.svg", "--json"))
    assert_equal_runs("2", "1", rtol=1e-4)
    assert_equal_runs("3", "1", rtol=1e-4)
    assert_equal_runs("2", "again", rtol=0)
    figures = [json.loads(printed.splitlines()[-1])["held_out_bits_per_character"] for printed in results]
    np.testing.assert_allclose(figures, figures[0], rtol=1e-4)
    assert figures[1] == figures[2]
    for printed, name in zip(results, ("1", "2", "again", "3"), strict=True):
        assert printed.count("held-out text") == 1  # only rank 0 prints
        rows = Path(f"{name}.csv").read_text().splitlines()
        assert rows[-1].split(",")[0] == "20"
        assert rows[-1].split(",")[2] == str(20 * 7 * 3)  # the characters of all ranks


def test_a_checkpoint_resumes_on_another_number_of_ranks() -> None:
    train(1, "straight", "--steps", "12")
    train(2, "divided", "--steps", "5")
    resumed = start(3, "train", "text", "--resume", "divided", "--steps", "12")
    assert outcome(resumed)[0] == 0
    assert_equal_runs("divided", "straight", rtol=1e-4)


_HARD = ["--dropout", "0.3", "--noise", "0.2", "--layers", "2", "--patience", "30", "--epochs", "6"]


@pytest.mark.parametrize(
    ("job", "checkpoints", "options"),
    [
        ("classify", CLASSIFIER, [*_HARD, "--balance"]),
        ("classify", CLASSIFIER, [*_HARD, "--one-way"]),
        ("regress", REGRESSION, _HARD),
    ],
)
def test_series_on_1_2_and_3_ranks(job: str, checkpoints: Kind[Any], options: list[str], folder: Path) -> None:
    """Ragged batches with dropout, noise and early stopping. The last batch of an epoch has 2 series."""
    series = [replace(each, label=str(i % 4) if job == "regress" else each.label) for i, each in enumerate(waves(24))]
    for name, some in (("train.ts", series[:18]), ("test.ts", series[18:])):
        write_ts(folder / name, some, ["0", "1", "2", "3"] if job == "regress" else None)
    if job == "regress":
        for file in ("train.ts", "test.ts"):
            text = (folder / file).read_text()
            (folder / file).write_text(re.sub("@classLabel.*", "@targetLabel true", text))
    for size in (1, 2, 3):
        arguments = [job, "train.ts", "test.ts", "--hidden", "6", "--batch", "4", *options, "--out", str(size)]
        status, printed, error = outcome(start(size, *arguments))
        assert (status, error) == (0, ""), printed
    assert_equal_runs("2", "1", 1e-3, checkpoints)
    assert_equal_runs("3", "1", 1e-3, checkpoints)


def test_forecast_on_1_2_and_3_ranks(folder: Path) -> None:
    """Windows with missing values, dropout and noise. The calibration and the backtest are divided too."""
    values = np.sin(np.arange(200)[:, None] / 5)
    values[::7] = np.nan
    np.save(folder / "series.npy", values)
    results: list[Any] = []
    for size in (1, 2, 3):
        sizes = ["--hidden", "6", "--batch", "7", "--layers", "2", "--dropout", "0.3", "--noise", "0.2"]
        arguments = ["forecast", "series.npy", "--steps", "5", *sizes, "--horizon", "4", "--out", str(size), "--json"]
        status, printed, error = outcome(start(size, *arguments))
        assert (status, error) == (0, ""), printed
        results.append(json.loads(printed.splitlines()[-1]))
    for divided in results[1:]:
        for name, scores in results[0]["backtest"].items():
            assert divided["backtest"][name] == pytest.approx(scores, rel=1e-3)
        ours, theirs = ([step["value"] for step in each["forecast"]] for each in (divided, results[0]))
        assert ours == pytest.approx(theirs, rel=1e-3)
    assert_equal_runs("2", "1", 1e-3, FORECASTER)
    assert_equal_runs("3", "1", 1e-3, FORECASTER)


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


def test_only_rank_0_makes_the_content_of_checkpoints_and_pictures() -> None:
    arguments = ["train", "text", *TINY_OPTIONS, "--steps", "6", "--save-every", "2", "--out", "out"]
    done = mpiexec(2, "-c", _ONLY_RANK_0_WRITES, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert saved("out").step == 6


def test_ctrl_c_saves_and_stops_all() -> None:
    process, _ = _started_ranks()
    process.send_signal(signal.SIGINT)
    status, printed, _ = outcome(process)
    assert status == 130
    found = re.search(r"stopped at step ([\d,]+) and saved out; continue with\n  mpiexec -n 2 xrnn train", printed)
    assert found
    assert len(saved("out").arrays["losses"]) == int(found[1].replace(",", ""))


def test_a_signal_to_one_rank_saves_and_stops_all() -> None:
    process, pids = _started_ranks()
    os.kill(pids[1], signal.SIGTERM)
    status, printed, _ = outcome(process)
    assert status == 143
    assert printed.count("stopped at step") == 1
    assert saved("out").step > 0


def test_a_killed_rank_ends_all_and_the_last_checkpoint_is_valid() -> None:
    process, pids = _started_ranks()
    killed = time.monotonic()
    os.kill(pids[1], signal.SIGKILL)
    assert outcome(process)[0] != 0
    assert time.monotonic() - killed < _SECONDS_TO_END
    assert saved("out").step % 5 == 0


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


def test_errors_are_printed_once() -> None:
    assert "nowhere doesn't exist" in refused(*[["train", "nowhere"]] * 2)
    assert "--batch is 3, and there are 4 ranks: expected at least one stream" in refused(
        *[["train", "text", *TINY_OPTIONS]] * 4
    )
    assert "--seed" in refused(["train", "--seed", "x"], ["train", "text", *TINY_OPTIONS, "--steps", "9"])


@pytest.mark.parametrize(
    ("options", "names"),
    [(["--seed", "1"], "options"), (["--steps", "9"], "options"), (["--out", "other"], "options"), ([], "data")],
)
def test_ranks_that_differ(folder: Path, options: list[str], names: str) -> None:
    write_text(folder / "text-2", seed=0 if options else 1)
    common = [*TINY_OPTIONS, "--out", "out"]
    steps = [] if "--steps" in options else ["--steps", "8"]
    line = refused(["train", "text", *common, "--steps", "8"], ["train", "text-2", *common, *steps, *options])
    assert f"the ranks differ in {names}: expected the same in all" in line
    assert not Path("out").exists()


def test_info_prints_one_table_of_ranks() -> None:
    status, printed, error = outcome(start(3, "info"))
    assert (status, error) == (0, "")
    assert printed.count("backend: numpy") == 1
    *_, count, first, second, third = printed.splitlines()
    assert count == "ranks: 3"
    for rank, line in enumerate([first, second, third]):
        assert re.fullmatch(rf"  {rank}: {re.escape(platform.node())}, numpy, threads: .*; CPUs: \d+, from .*", line)
