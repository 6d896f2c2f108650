"""The parts of `make gpu-check`, and its predictions."""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import choices
from benchmarks.gpu.choices import predicted
from benchmarks.gpu.part import Log, Part
from xrnn.backends.cupy.cells import NAMED
from xrnn.backends.cupy.choice import DEVICES


@pytest.mark.parametrize(
    ("code", "seconds", "outcome", "state"),
    [
        ("", 60, "passed", "agrees"),
        ("raise SystemExit(1)", 60, "failed with exit status 1", "disagrees"),
        ("raise SystemExit(2)", 60, "not all of it: the log says why", "incomplete"),
        ("import time; time.sleep(1000)", 0.2, "stopped after", "incomplete"),
    ],
)
def test_what_came_of_a_part(tmp_path: Path, code: str, seconds: float, outcome: str, state: str) -> None:
    log = Log(tmp_path / "log")
    found = gpu.perform(Part("it", (sys.executable, "-c", code), 10, 60), seconds, log, {})
    log.close()
    assert found["outcome"].startswith(outcome)
    assert found["state"] == state


def test_all_candidates_for_one_size(capsys: pytest.CaptureFixture[str]) -> None:
    choices.main(["--device", "h100", "--cell", "lstm", "--size", "16", "1500", "1500"])
    forward, _ = capsys.readouterr().out.split("lstm backward")
    assert forward in (gpu.ROOT / "docs" / "internals" / "cuda.md").read_text()


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
