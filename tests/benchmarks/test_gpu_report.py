"""The run of `make gpu-check` and its report, with made-up parts and results: no figure here was measured."""

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
from xrnn.backends.cupy.choice import DEVICES, Request, choose

CASE = Case(1000, 1, 64, 64)
CHOSEN = choose(DEVICES["h100"], Request(NAMED[CASE.cell], False, "float32", *CASE.sizes))


def cell(operation: str, chosen: float, torch: float) -> dict[str, Any]:
    """Microseconds of a step in the chosen form and with PyTorch. A call has 200 steps."""
    name = label(CHOSEN)
    steps = {"plain": [6.0] * 3, name: [chosen] * 3, "torch": [torch] * 3}
    return {
        "case": CASE.name,
        **asdict(CASE),
        "operation": operation,
        "step_microseconds": steps,
        "microseconds": {form: [200 * time for time in times] for form, times in steps.items()},
        "host_microseconds": {name: {"1000": 50.0}},
        "errors": {},
        "chosen": name,
        "candidates": {name: [asdict(CHOSEN)] * 2},
        "not_used": {"group 2x2 rows=1": "its h is off by 0.5 of the plain form's largest value"},
        "wrong": {},
    }


MADE_UP: dict[str, Any] = {
    "device": {"device 0": "Made-up GPU, compute capability 9.0"},
    "costs": {"EXCHANGE": 1.4e-6},
    "forms": {
        "lengths": {"checked": 20, "short": 200, "long": 1000},
        "rounds": 3,
        "cells": [cell("forward", 0.2, 0.9), cell("train", 9, 4)],
        "dropped": ["T1000-N256-D2048-H2048"],
        "failed": {},
    },
}
WRITE = "import json, pathlib, sys; from benchmarks.gpu import results\n"
WRITE += "results.put(pathlib.Path(sys.argv[1]), **json.loads(sys.argv[2]))"


def replace_parts(monkeypatch: pytest.MonkeyPatch, *more: Part) -> None:
    """Parts that write made-up results, then these."""

    def parts(out: Path, rehearse: bool = False) -> list[Part]:
        write = (sys.executable, "-c", WRITE, str(out))
        made = [Part(name, (*write, json.dumps({name: result})), 1, 60) for name, result in MADE_UP.items()]
        return [*made, *more]

    monkeypatch.setattr(gpu, "parts", parts)


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
    replace_parts(monkeypatch, Part("memcheck", command, at_least, 60))
    assert gpu.main(["--out", str(tmp_path / "new"), "--minutes", "8"]) == status
    (path,) = (tmp_path / "new").glob("*-gpu.json")
    results = json.loads(path.read_text())
    assert results["complete"] == (status != 2)
    assert json.loads(json.dumps(MADE_UP)).items() <= results.items()
    state = ("agrees", "disagrees", "incomplete")[status]
    assert results["parts"]["memcheck"]["state"] == state
    printed = capsys.readouterr().out
    assert re.search(f"  memcheck     {outcome}\n", printed)
    assert printed.endswith(f"\n{state}\n")
    assert path.with_suffix(".log").read_text() == printed
    text = "\n".join(report.lines(results))
    assert text in path.with_suffix(".md").read_text()
    assert "the choice is within 1.1 times the best measured form in 1 of 2 cells" in text
    assert "cuDNN / ours: geometric mean 1.41; 1 ahead, 0 tie, 1 behind" in text  # 0.9 / 0.2 and 4 / 9


@pytest.mark.proof
def test_the_predictions_of_all_devices_and_cells(capsys: pytest.CaptureFixture[str]) -> None:
    choices.main(["--device", "a100", "-T", "20", "--cell", "gru"])
    assert capsys.readouterr().out.splitlines() == predicted(DEVICES["a100"], "float32", 20, "gru")
    choices.main(["--all"])
    printed = capsys.readouterr().out
    for each, name in itertools.product(DEVICES.values(), NAMED):
        assert f"{name} on {each.name}, float32, T=50, D=H: the choice and its µs a step, predicted" in printed
    takes = [line for line in printed.splitlines() if " takes " in line]
    assert "\n".join(takes) in (gpu.ROOT / "docs" / "internals" / "cuda.md").read_text()
    sizes = 2 * 6 * 5 * (1 + sum(kernel.fed > 0 for kernel in NAMED.values()))  # and LSTM with heads
    assert {sum(int(number) for number in re.findall(r"(\d+) times", line)) for line in takes} == {sizes}
