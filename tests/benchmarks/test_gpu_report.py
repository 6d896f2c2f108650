"""The report of `make gpu-check` from a made-up result: no figure here was measured."""

from __future__ import annotations

import itertools
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cases import Case
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import choices, report
from benchmarks.gpu.choices import predicted
from benchmarks.gpu.forms import label
from benchmarks.gpu.part import Part
from xrnn.backends.cupy.cells import NAMED
from xrnn.backends.cupy.choice import DEVICES, Candidate, Request, choose

H100 = DEVICES["h100"]
SMALL, LARGE = Case(1000, 1, 64, 64), Case(1000, 16, 1024, 1024)


def chosen_of(case: Case) -> Candidate:
    return choose(H100, Request(NAMED[case.cell], False, "float32", *case.sizes))


def made_up_cell(case: Case, operation: str, chosen_us: float, plain_us: float, torch_us: float) -> dict[str, Any]:
    """A call of 200 steps takes 200 times as long as a step."""
    chosen = label(chosen_of(case))
    steps = {"plain": [plain_us] * 3, chosen: [chosen_us] * 3, "torch": [torch_us] * 3}
    return {
        "case": case.name,
        **asdict(case),
        "operation": operation,
        "step_microseconds": steps,
        "microseconds": {name: [200 * time for time in times] for name, times in steps.items()},
        "host_microseconds": {chosen: {"1000": 50.0}},
        "errors": {},
        "chosen": chosen,
        "candidates": {chosen: [asdict(chosen_of(case))] * 2},
        "not_used": {"group 2x2 rows=1": "its h is off by 0.5 of the plain form's largest value"},
        "wrong": {"torch tf32": "AssertionError: h is off by 0.04"},
    }


def made_up() -> dict[str, Any]:
    return {
        "made_up": True,
        "date": "2026-01-01T00:00+00:00",
        "parts": {name: {"outcome": "passed", "state": "agrees"} for name in ("tests", "forms")},
        "complete": True,
        "device": {"device 0": "Made-up GPU, compute capability 9.0", "watchdog": "no"},
        "costs": {"EXCHANGE": 1.4e-6, "ROUND_TRIP": 0.7e-6},
        "variants": {
            **{f"Lstm one-block forward float32 rows=1 held={held}, H=13, grid 1 × 1": "" for held in range(7)},
            "Gru group forward float32 rows=2 held=16, H=300, grid 4 × 2": "its h is off by 0.5",
        },
        "forms": {
            "lengths": {"checked": 20, "short": 200, "long": 1000},
            "rounds": 3,
            "device": asdict(H100),
            "cells": [
                made_up_cell(SMALL, "forward", 0.2, 6, 0.9),
                made_up_cell(SMALL, "train", 0.6, 15, 3),
                made_up_cell(LARGE, "forward", 9, 7, 4),
                made_up_cell(LARGE, "train", 10, 25, 20),
            ],
            "dropped": ["T1000-N256-D2048-H2048"],
            "failed": {},
        },
    }


@pytest.mark.proof
def test_the_predictions_of_all_devices_and_cells(capsys: pytest.CaptureFixture[str]) -> None:
    choices.main(["--device", "a100", "-T", "20", "--cell", "gru"])
    assert capsys.readouterr().out.splitlines() == predicted(DEVICES["a100"], "float32", 20, "gru")
    choices.main(["--all"])
    printed = capsys.readouterr().out
    for each, cell in itertools.product(DEVICES.values(), NAMED):
        assert f"{cell} on {each.name}, float32, T=50, D=H: the choice and its µs a step, predicted" in printed
    takes = [line for line in printed.splitlines() if " takes " in line]
    assert "\n".join(takes) in (gpu.ROOT / "docs" / "internals" / "cuda.md").read_text()
    sizes = 2 * 6 * 5 * (1 + sum(kernel.fed > 0 for kernel in NAMED.values()))  # and LSTM with heads
    assert {sum(int(number) for number in re.findall(r"(\d+) times", line)) for line in takes} == {sizes}


WRITE = "import json, pathlib, sys; from benchmarks.gpu import results\n"
WRITE += "results.put(pathlib.Path(sys.argv[1]), **json.loads(sys.argv[2]))"


def replace_parts(monkeypatch: pytest.MonkeyPatch, *more: Part) -> dict[str, Any]:
    """A made-up run: parts that write made-up results, then these."""
    made: dict[str, Any] = json.loads(json.dumps(made_up()))

    def parts(out: Path, rehearse: bool = False) -> list[Part]:
        write = (sys.executable, "-c", WRITE, str(out))
        names = ("device", "costs", "forms")
        return [*(Part(name, (*write, json.dumps({name: made[name]})), 1, 60) for name in names), *more]

    monkeypatch.setattr(gpu, "parts", parts)
    return made


@pytest.mark.parametrize(
    ("at_least", "command", "outcome", "status"),
    [
        (1, (sys.executable, "-c", ""), "passed", 0),
        (1, (sys.executable, "-c", "raise SystemExit(9)"), "failed with exit status 9", 1),
        (1, ("no-such-sanitizer",), "left out: no-such-sanitizer is not here; it comes with the CUDA toolkit", 2),
        (600, (sys.executable, "-c", ""), r"left out: \d+ s were left", 2),
    ],
)
def test_a_whole_run_merges_what_its_parts_wrote(
    at_least: float,
    command: tuple[str, ...],
    outcome: str,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = replace_parts(monkeypatch, Part("memcheck", command, at_least, 60))
    assert gpu.main(["--out", str(tmp_path / "new"), "--minutes", "8"]) == status
    (path,) = (tmp_path / "new").glob("*-gpu.json")
    results = json.loads(path.read_text())
    assert path.name == f"{results['date'][:19].replace(':', '').replace('T', '-')}-gpu.json"
    assert results["complete"] == (status != 2)
    assert all(results[name] == made[name] for name in ("device", "costs", "forms"))
    state = ("agrees", "disagrees", "incomplete")[status]
    assert results["parts"]["memcheck"]["state"] == state
    printed = capsys.readouterr().out
    assert re.search(f"  memcheck     {outcome}\n", printed)
    assert printed.count("wrote ") == 3
    assert printed.endswith(f"\n{state}\n")
    assert ("\nfailed: memcheck\n" in printed) == (status == 1)
    assert ("give more --minutes with --only memcheck\n" in printed) == (status == 2)
    assert ("  incomplete: not every part has run\n" in printed) == (status == 2)
    assert path.with_suffix(".log").read_text() == printed
    assert sorted(p.suffix for p in (tmp_path / "new").iterdir()) == [".json", ".log", ".md"]
    page = path.with_suffix(".md").read_text()
    title = f"# gpu-check on {results['date']}{', incomplete' * (status == 2)}"
    assert page.startswith(f"{title}\n\n```text\nMade-up GPU, ")
    assert "\n".join(report.lines(results)) in page


def test_a_run_of_a_few_parts_is_incomplete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_parts(monkeypatch)
    assert gpu.main(["--out", str(tmp_path), "--only", "costs"]) == 0
    (path,) = tmp_path.glob("*.json")
    found = json.loads(path.read_text())
    assert not found["complete"]
    assert list(found["parts"]) == ["device", "costs"]


def test_a_folder_that_can_not_be_written_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "perform", lambda *arguments: pytest.fail("a part has run"))
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit):
        gpu.main(["--out", str(tmp_path / "file")])
    assert f"--out expected a folder that can be written, got {tmp_path / 'file'}: " in capsys.readouterr().err
