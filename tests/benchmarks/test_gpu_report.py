"""The run of `make gpu-check` and its report, with made-up parts and results: no figure here was measured."""

from __future__ import annotations

import itertools
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
from benchmarks.gpu.part import Log, Part
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


def test_the_report_compares_the_choice_with_the_best_form_and_with_cudnn() -> None:
    parts = {"forms": {"state": "agrees", "outcome": "passed"}}
    text = "\n".join(report.lines({**MADE_UP, "date": "today", "parts": parts, "complete": True}))
    assert "the choice is within 1.1 times the best measured form in 1 of 2 cells" in text
    assert "cuDNN / ours: geometric mean 1.41; 1 ahead, 0 tie, 1 behind" in text  # 0.9 / 0.2 and 4 / 9


@pytest.mark.parametrize(
    ("code", "seconds", "outcome", "state"),
    [
        ("", 60, "passed", "agrees"),
        ("raise SystemExit(1)", 60, "failed with exit status 1", "disagrees"),
        ("raise SystemExit(2)", 60, "not all of it: the log says why", "incomplete"),
        ("import time; time.sleep(1000)", 0.2, "stopped after 0 s, its limit", "incomplete"),
    ],
)
def test_what_came_of_a_part(tmp_path: Path, code: str, seconds: float, outcome: str, state: str) -> None:
    log = Log(tmp_path / "log")
    found = gpu.perform(Part("it", (sys.executable, "-c", code), 10, 60), seconds, log, {})
    log.close()
    assert (found["outcome"], found["state"]) == (outcome, state)


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
