"""The report of `make gpu-check` from a made-up result: no figure here was measured."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks import machine
from benchmarks.cases import Case
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import choices, report
from benchmarks.gpu.budget import Part
from benchmarks.gpu.choices import judge, measured, predicted
from benchmarks.gpu.forms import label
from xrnn.backends.cupy import choice
from xrnn.backends.cupy.cells import NAMED
from xrnn.backends.cupy.choice import DEVICES, Candidate, Request, candidates, choose

H100 = DEVICES["h100"]
COSTS = {"EXCHANGE": 1.4e-6, "ROUND_TRIP": 0.7e-6, "grid barrier, µs": 1.5}


SMALL, LARGE = Case(50, 1, 64, 64), Case(50, 16, 1024, 1024)
FORWARD = {SMALL: 20.0, LARGE: 900.0}  # microseconds of the chosen form


def request(case: Case) -> Request:
    return Request(NAMED[case.cell], False, "float32", *case.sizes)


def chosen_of(case: Case) -> Candidate:
    return choose(H100, request(case))


def made_up_cell(case: Case, operation: str, chosen_us: float, plain_us: float, torch_us: float) -> dict[str, Any]:
    found = {label(c): c for c in candidates(H100, request(case))}
    chosen = label(chosen_of(case))
    cell = {
        "case": case.name,
        **asdict(case),
        "operation": operation,
        "microseconds": {"plain": [plain_us] * 3, chosen: [chosen_us] * 3, "torch": [torch_us] * 3},
        "errors": {},
        "chosen": chosen,
        "candidates": {chosen: [asdict(found[chosen])] * 2},
        "not_used": {"group 2x2 rows=1": "its h is off by 0.5 of the plain form's largest value"},
        "wrong": {"torch tf32": "AssertionError: h is off by 0.04"},
    }
    if operation == "forward":
        cell["longer_microseconds"] = [1.5 * FORWARD[case]] * 3
    return cell


def made_up() -> dict[str, Any]:
    return {
        "made_up": True,
        "date": "2026-01-01T00:00+00:00",
        "parts": {name: {"outcome": "passed", "ran": True, "failed": False} for name in ("tests", "forms")},
        "complete": True,
        "device": {"device 0": "Made-up GPU, compute capability 9.0"},
        "costs": COSTS,
        "variants": {
            **{f"Lstm one-block forward float32 rows=1 held={held}, H=13, grid 1 × 1": "" for held in range(7)},
            "Gru group forward float32 rows=2 held=16, H=300, grid 4 × 2": "its h is off by 0.5",
        },
        "steps": {
            "lengths": {"checked": 20, "short": 200, "long": 1000},
            "cells": [
                {
                    "case": "T1000-N1-D64-H64",
                    "operation": "forward",
                    "step_microseconds": {
                        "plain": [12.0, 13.0, 11.0],
                        "one-block rows=1": [0.3],
                        "one-block rows=2": [0.4],
                        "torch": [1.1],
                    },
                    "host_microseconds": {"one-block rows=1": {"1000": 50.0}},
                    "chosen": "one-block rows=1",
                }
            ],
            "failed": {},
            "dropped": [],
        },
        "forms": {
            "dtype": "float32",
            "rounds": 3,
            "device": asdict(H100),
            "cells": [
                made_up_cell(SMALL, "forward", FORWARD[SMALL], 600, 90),
                made_up_cell(SMALL, "train", 60, 1500, 300),
                made_up_cell(LARGE, "forward", FORWARD[LARGE], 700, 400),
                made_up_cell(LARGE, "train", 1000, 2500, 2000),
            ],
            "dropped": ["T50-N256-D2048-H2048"],
            "failed": {},
        },
    }


def test_the_text() -> None:
    text = "\n".join(report.lines(made_up()))
    assert text.startswith("Made-up GPU, compute capability 9.0, 2026-01-01T00:00+00:00\n")
    assert "  tests        passed" in text
    assert "EXCHANGE                        1.4 µs           estimate 0.7" in text
    assert "T50-N1-D64-H64         one-block rows=1" in text
    assert "4.50 (4.50–4.50) ahead" in text  # 90 over 20
    assert "0.44 (0.44–0.44) behind" in text  # 400 over 900
    assert "the choice is within 1.1 times the best measured form in 3 of 4 cells" in text
    assert "cuDNN / ours: geometric mean 2.11; 3 ahead, 0 tie, 1 behind" in text
    assert "group 2x2 rows=1 was not used: its h is off by 0.5" in text
    assert "torch tf32 was not timed: AssertionError: h is off by 0.04" in text
    assert "incomplete" not in text
    assert "µs a step, float32, from 1000 steps less 200; host: µs to hand over a call of 1000" in text
    (line,) = [line for line in text.splitlines() if line.startswith("T1000-N1-D64-H64")]
    assert line.split()[1:8] == ["forward", "12.00", "-", "0.30", "-", "1.10", "-"]
    assert line.endswith(f"one-block rows=1 {50.0:>15}")
    assert "variants: 8 compared with the plain form, 1 disagree\n" in text
    assert "  Gru group forward float32 rows=2 held=16, H=300, grid 4 × 2: its h is off by 0.5" in text
    assert text.endswith("no time was left for T50-N256-D2048-H2048")


def test_a_run_without_its_forms_still_reports(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    results = made_up()
    for name in ("forms", "costs", "variants", "steps"):
        del results[name]
    results["complete"] = False
    assert report.lines(results)[-2:] == ["  forms        passed", "  incomplete: not every part has run"]
    assert report.draw(results, tmp_path, "x") == []


def test_the_pictures(tmp_path: Path) -> None:
    paths = report.draw(made_up(), tmp_path, "2026-01-01-gpu")
    assert [path.name for path in paths] == ["2026-01-01-gpu-forward.png", "2026-01-01-gpu-train.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_the_file_is_renamed_when_complete(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text("the one before")
    with pytest.raises(TypeError):
        machine.write({"not": object()}, path)
    assert path.read_text() == "the one before"
    assert machine.write({"a": 1}, path) == path
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_the_verdicts() -> None:
    cells = made_up()["forms"]["cells"]
    small, _, large, _ = judge(cells, H100, COSTS)
    assert (small.good, large.good) == (True, False)
    assert large.best == "plain"
    assert (large.time, large.best_time, large.torch_time) == (900, 700, 400)
    assert (small.step, large.step) == (10 / 50, 450 / 50)  # of the fifty steps more
    before = chosen_of(LARGE).step_seconds
    product = request(LARGE).product_seconds(H100, 16, 1024, 1024)
    assert large.floor == pytest.approx((before + product + 0.7e-6) * 1e6)  # its one exchange takes 0.7 µs longer
    assert not large.near_floor


def test_measured_costs_are_taken_for_the_block_only() -> None:
    before = chosen_of(LARGE).step_seconds
    with measured(COSTS):
        assert COSTS["EXCHANGE"] == choice.EXCHANGE
        assert chosen_of(LARGE).step_seconds > before
    assert chosen_of(LARGE).step_seconds == before


def test_the_prediction_is_a_line_a_hidden_size(capsys: pytest.CaptureFixture[str]) -> None:
    choices.main(["--device", "a100", "-T", "20", "--cell", "gru"])
    printed = capsys.readouterr().out.splitlines()
    assert printed == predicted(DEVICES["a100"], "float32", 20, "gru")
    assert printed[0] == "gru on NVIDIA A100, float32, T=20, D=H: the choice and its µs a step, predicted, not measured"
    rows = [f"H={H}" for H in (64, 128, 256, 512, 1024, 2048)]
    assert [line.split()[0] for line in printed[1:]] == ["forward", *rows, "backward", *rows]


def writing(name: str, content: dict[str, Any], out: Path, status: int = 0) -> Part:
    code = (
        "import json, pathlib\nfrom benchmarks.gpu import results\n"
        f"results.put(pathlib.Path({str(out)!r}), **{{{name!r}: json.loads({json.dumps(content)!r})}})\n"
        f"raise SystemExit({status})"
    )
    return Part(name, (sys.executable, "-c", code), 1, 1, 60)


def replace_parts(monkeypatch: pytest.MonkeyPatch, *more: Part) -> dict[str, Any]:
    """A made-up run: parts that write made-up results, then these."""
    made = made_up()

    def parts(out: Path, rehearse: bool = False) -> list[Part]:
        return [*(writing(name, made[name], out) for name in ("device", "costs", "forms")), *more]

    monkeypatch.setattr(gpu, "parts", parts)
    return made


@pytest.mark.parametrize("status", [0, 9])
def test_a_whole_run_merges_what_its_parts_wrote(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    memcheck = Part("memcheck", (sys.executable, "-c", f"raise SystemExit({status})"), 1, 1, 60)
    made = replace_parts(monkeypatch, memcheck)
    assert gpu.main(["--out", str(tmp_path / "new")]) == (status != 0)
    (path,) = (tmp_path / "new").glob("*-gpu.json")
    results = json.loads(path.read_text())
    assert path.name == f"{results['date'][:19].replace(':', '').replace('T', '-')}-gpu.json"
    assert results["complete"]
    assert [results[name] for name in ("device", "costs", "forms")] == [
        json.loads(json.dumps(made[name])) for name in ("device", "costs", "forms")
    ]
    assert results["parts"]["memcheck"]["failed"] == (status != 0)
    printed = capsys.readouterr().out
    assert f"  memcheck     {'failed with exit status 9' if status else 'passed'}\n" in printed
    assert printed.count("wrote ") == 4
    assert printed.endswith("\nfailed or not run: memcheck\n") == (status != 0)
    assert path.with_suffix(".log").read_text() == printed
    assert sorted(p.suffix for p in (tmp_path / "new").iterdir()) == [".json", ".log", ".png", ".png"]
    report.main([str(path)])
    assert "the choice is within 1.1 times" in capsys.readouterr().out


def test_a_run_of_a_few_parts_is_incomplete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_parts(monkeypatch)
    whole, some = tmp_path / "whole", tmp_path / "some"
    assert gpu.main(["--out", str(whole)]) == 0
    assert gpu.main(["--out", str(some), "--only", "costs"]) == 0
    (path,), (other,) = whole.glob("*.json"), some.glob("*.json")
    assert json.loads(path.read_text())["complete"]
    found = json.loads(other.read_text())
    assert not found["complete"]
    assert list(found["parts"]) == ["device", "costs"]


def test_what_does_not_fit_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_parts(monkeypatch, Part("tests", (sys.executable, "-c", ""), 30, 120, 600))
    assert gpu.main(["--out", str(tmp_path), "--minutes", "1.5"]) == 0  # what was never begun has not failed
    (path,) = tmp_path.glob("*.json")
    found = json.loads(path.read_text())
    assert found["parts"]["tests"]["outcome"].startswith("left out: ")
    assert (found["parts"]["tests"]["ran"], found["complete"]) == (False, False)
    printed = capsys.readouterr().out
    assert "planned for 1.5 minutes: device, costs, forms\n" in printed
    assert (
        "not planned, taken up if time is left: tests; --minutes 3 is enough for all, --only tests for these\n"
        in printed
    )
    assert "  incomplete: not every part has run\n" in printed


def test_a_part_that_is_left_out_runs_where_the_others_were_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_parts(monkeypatch, *(Part(name, (sys.executable, "-c", ""), 1, 50, 60) for name in ("steps", "tests")))
    assert gpu.main(["--out", str(tmp_path), "--minutes", "1.6"]) == 0
    (path,) = tmp_path.glob("*.json")
    found = json.loads(path.read_text())
    assert found["parts"]["tests"]["outcome"] == "passed"
    assert found["complete"]


def test_a_tool_that_is_missing_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_parts(monkeypatch, Part("memcheck", ("no-such-sanitizer",), 1, 2, 2))
    assert gpu.main(["--out", str(tmp_path)]) == 1
    (path,) = tmp_path.glob("*.json")
    results = json.loads(path.read_text())
    assert results["parts"]["memcheck"]["outcome"].startswith("not run: no-such-sanitizer is not here")
    assert capsys.readouterr().out.endswith("\nfailed or not run: memcheck\n")
    assert not results["complete"]


def test_a_folder_that_can_not_be_written_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "perform", lambda *arguments: pytest.fail("a part has run"))
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit):
        gpu.main(["--out", str(tmp_path / "file")])
    assert f"--out expected a folder that can be written, got {tmp_path / 'file'}: " in capsys.readouterr().err
