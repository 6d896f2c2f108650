"""The checks of the soak on made-up reports; and two real lives."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from benchmarks import soak
from benchmarks.soak import Record
from benchmarks.soak_training import CELLS, SAVE_EVERY, Run


def reports(text: str) -> list[tuple[Any, ...]]:
    """What a life reports, from "from 0, 1 aa, saved 2 1000"."""
    words = (report.split() for report in text.split(", "))
    return [(w[0], *map(int, w[1:])) if w[0].isalpha() else ("step", int(w[0]), w[1]) for w in words]


def reported(record: Record) -> tuple[bool, str]:
    console = Console(file=io.StringIO(), width=120)
    sound = soak.report([record], [], console)
    return sound, console.file.getvalue()  # type: ignore[attr-defined]


def test_a_repeated_step_must_give_the_same_weights() -> None:
    record = Record("rnn")
    record.add(reports("from 0, 1 aa, 2 bb, saved 2 1000, 3 cc, 4 dd"))
    record.add(reports("from 2, 3 cc, 4 dd, 5 ee, saved 5 1000"))
    assert (record.steps, record.saved, record.lives, record.again, record.lost) == (5, 5, 2, 2, [])
    assert reported(record)[0]
    record.add(reports("from 5, 6 ff"))
    record.add(reports("from 5, 6 00"))
    sound, text = reported(record)
    assert not sound
    assert "lost: rnn: step 6: its weights were ff before the kill and 00 after it\ngrew: nothing" in text


@pytest.mark.parametrize(("at", "lost"), [(10, 0), (10 + SAVE_EVERY, 0), (5, 1), (0, 1)])
def test_a_reported_checkpoint_must_exist(at: int, lost: int) -> None:
    record = Record("rnn", saved=10)
    record.add(reports(f"from {at}"))
    assert len(record.lost) == lost


def test_memory_must_not_grow_after_the_first_checkpoints() -> None:
    def after(*resident: float) -> Record:
        record = Record("lstm")
        record.add([("saved", i, at) for i, at in enumerate(resident)])
        return record

    warming, flat, rising = [1e6] * 5, [60e6] * 30, [60e6 + i * 1e6 for i in range(30)]
    assert reported(after(*warming, *flat))[0]
    sound, text = reported(after(*warming, *rising))
    assert not sound
    assert "grew: lstm: 25.0 MB of memory in one life" in text


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, half = Run("lstm", tmp_path / "none"), Run("lstm", tmp_path / "c")
    for _ in range(2):
        whole.step()
        half.step()
    half.save()
    resumed = Run("lstm", tmp_path / "c")
    for run in (whole, resumed):
        run.step()
    assert resumed.digest() == whole.digest() != half.digest()
    assert all(np.isfinite(array).all() for array in resumed.optimizer.params)


@pytest.mark.parametrize("cell", CELLS)
def test_the_first_steps_are_repeated_without_a_kill(tmp_path: Path, cell: str) -> None:
    record, run = Record(cell), Run(cell, tmp_path / "none")
    for _ in range(3):
        run.step()
        record.add([("step", run.optimizer.steps, run.digest())])
    soak.replay(record, tmp_path)
    assert not record.lost
    record.first[2] = "00"
    soak.replay(record, tmp_path)
    assert len(record.lost) == 1
    assert record.lost[0].startswith("step 2: its weights were 00, and without a kill ")


def test_a_run_that_ends_by_itself_is_lost_and_the_others_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def live(record: Record, folder: Path, seconds: float) -> None:
        record.lives += 1
        if record.cell == "gru":
            raise RuntimeError("it ended")

    monkeypatch.setattr(soak, "live", live)
    monkeypatch.setattr(soak, "busy", contextlib.nullcontext)
    records = {record.cell: record for record in soak.soak(0.001, tmp_path, 0)}
    assert (records["gru"].lives, records["gru"].lost) == (1, ["it ended"])
    assert not records["lstm"].lost
    assert records["lstm"].lives > 1


def test_it_ends_when_all_runs_are_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def live(record: Record, *_: object) -> None:
        raise RuntimeError(f"{record.cell} ended")

    monkeypatch.setattr(soak, "live", live)
    monkeypatch.setattr(soak, "busy", contextlib.nullcontext)
    assert [record.lost for record in soak.soak(10**6, tmp_path, 0)] == [[f"{cell} ended"] for cell in CELLS]


def test_files_of_killed_runs_must_not_accumulate(tmp_path: Path) -> None:
    for i in range(len(CELLS)):
        (tmp_path / f"left{i}").touch()
    for cell in CELLS:
        (tmp_path / cell).touch()
    assert soak.left_behind(tmp_path) == []
    (tmp_path / "another").touch()
    assert soak.left_behind(tmp_path) == [f"the folder, by {len(CELLS) + 1} files: another, left0, left1, …"]
    console = Console(file=io.StringIO())
    assert not soak.report([], soak.left_behind(tmp_path), console)


linux = pytest.mark.skipif(sys.platform != "linux", reason="the soak reads Linux's /proc")


@linux
def test_two_real_lives(tmp_path: Path) -> None:
    record = Record("rnn")
    for life in range(8):
        soak.live(record, tmp_path, 0.1 * 2**life)
        if record.saved and life:  # on a busy machine a short life makes no update
            break
    assert record.steps > record.again >= 0
    assert record.saved > 0
    assert record.resident > 1e6
    assert not record.lost


@linux
def test_a_run_that_ends_by_itself_is_an_error(tmp_path: Path) -> None:
    message = "the run of no-such-cell ended by itself: status 1"
    with pytest.raises(RuntimeError, match=message):
        soak.live(Record("no-such-cell"), tmp_path, 1)
