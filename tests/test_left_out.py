"""What a run can't do is not collected, and one line says which command does it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests import left_out
from tests.test_require_gpu import run_pytest

TESTS = """
import pytest

@pytest.mark.proof
@pytest.mark.parametrize("i", range(3))
def test_long(i): raise AssertionError

@pytest.mark.needs("json", "bench")
@pytest.mark.needs("no_such_library", "bench")
@pytest.mark.needs("json", "bench")
def test_beside(): raise AssertionError

@pytest.mark.needs("json", "bench")
def test_there(): pass

def test_it(): pass
"""

LINES = [
    "left out: the long checks (3): .ci/proof runs them",
    "left out: what needs no_such_library (1): pip install -e '.[bench]'",
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    proof\n    needs\n")
    (tmp_path / "test_it.py").write_text(TESTS)
    return tmp_path


def test_one_line_in_place_of_a_skip_for_each(project: Path) -> None:
    done = run_pytest(project, "-p", "tests.left_out")
    assert done.returncode == 0, done.stdout
    assert "2 passed, 4 deselected" in done.stdout
    assert "SKIPPED" not in done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith("left out: ")] == LINES


@pytest.mark.needs("xdist", "test")
def test_the_workers_lines_are_printed_once(project: Path) -> None:
    done = run_pytest(project, "-p", "tests.left_out", "-p", "xdist", "--numprocesses=2")
    assert "2 workers" in done.stdout
    assert "2 passed" in done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith("left out: ")] == LINES


def test_where_the_proof_is_required_its_checks_run(project: Path) -> None:
    done = run_pytest(project, "-p", "tests.left_out", XRNN_PROOF="1")
    assert "3 failed, 2 passed, 1 deselected" in done.stdout
    assert ".ci/proof" not in done.stdout


def test_a_file_that_imports_what_is_missing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found: Counter[str] = Counter()
    monkeypatch.setattr(left_out, "_left_out", found)
    tests = Path(__file__).parent
    monkeypatch.setattr(left_out, "find_spec", lambda name: None if name == "autograd" else object())
    by_way_of_others = ("layers/test_recurrent.py", "ops/test_fuzz.py", "cuda/test_device.py", "test_contributing.py")
    for name in by_way_of_others:
        assert left_out.pytest_ignore_collect(tests / name)
    assert not left_out.pytest_ignore_collect(tests / "test_backend.py")
    assert found == Counter({"what needs autograd ({}): pip install -e '.[test]'": len(by_way_of_others)})
    monkeypatch.setattr(left_out, "find_spec", lambda name: None if name == "torch" else object())
    for job in ("char_lm", "classify"):  # imported within a function
        assert left_out.pytest_ignore_collect(tests / "benchmarks" / f"test_{job}.py")
    assert found.pop("what needs torch ({}): pip install -e '.[bench]'") == 2
    assert left_out.pytest_ignore_collect(tests / "torch" / "test_modules.py")
    assert not left_out.pytest_ignore_collect(tests / "torch" / "test_missing.py")
    assert found.pop("what needs torch ({}): pip install -e '.[torch]'") == 1
    monkeypatch.setattr(left_out, "find_spec", lambda name: None if name == "hypothesis" else object())
    assert left_out.pytest_ignore_collect(tests / "test_backend.py")
    found.clear()
    monkeypatch.setattr(left_out, "find_spec", lambda name: None if name == "torch" else object())
    assert left_out.pytest_ignore_collect(tests / "exchange" / "test_torch.py")
    assert found == {"what needs torch ({}): pip install -e '.[torch]'": 1}
    assert not left_out.pytest_ignore_collect(tests / "test_left_out.py")
