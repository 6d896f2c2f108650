"""What a run can't do is not collected, and one line says which command does it."""

from __future__ import annotations

import json
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

@pytest.mark.skipif(True, reason="no such machine")
def test_elsewhere(): raise AssertionError

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
    assert "2 passed, 1 skipped, 4 deselected" in done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith("left out: ")] == LINES


@pytest.mark.needs("xdist", "test")
def test_the_workers_lines_are_printed_once(project: Path) -> None:
    done = run_pytest(project, "-p", "tests.left_out", "-p", "xdist", "--numprocesses=2")
    assert "2 workers" in done.stdout
    assert "2 passed" in done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith("left out: ")] == LINES


@pytest.mark.parametrize("workers", [(), ("-p", "xdist", "--numprocesses=2")], ids=["one process", "workers"])
@pytest.mark.needs("xdist", "test")
def test_the_cache_lists_the_tests_that_another_environment_should_run(project: Path, workers: tuple[str, ...]) -> None:
    (project / "test_torch.py").write_text("import pytest\npytest.skip('no torch', allow_module_level=True)")
    run_pytest(project, "-p", "cacheprovider", "-p", "tests.left_out", *workers)
    assert json.loads((project / ".pytest_cache" / "v" / "xrnn" / "not_run").read_text()) == {
        "test_it.py::test_beside": LINES[1].removeprefix("left out: "),
        "test_it.py::test_elsewhere": "no such machine",
        "test_torch.py": "no torch",
    }


def test_where_the_proof_is_required_its_checks_run(project: Path) -> None:
    done = run_pytest(project, "-p", "tests.left_out", XRNN_PROOF="1")
    assert "3 failed, 2 passed, 1 skipped, 1 deselected" in done.stdout
    assert ".ci/proof" not in done.stdout


def test_a_file_that_imports_what_is_missing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left_out, "_left_out", {})
    tests = Path(__file__).parent

    def assert_left_out(library: str, extra: str, *names: str) -> None:
        """`names`, and not this file, are left out if `library` is missing, and the reason names the extra."""
        monkeypatch.setattr(left_out, "find_spec", lambda name: None if name == library else object())
        left_out._left_out.clear()
        assert [name for name in (*names, "test_left_out.py") if left_out.pytest_ignore_collect(tests / name)] == [
            *names
        ]
        reason = f"what needs {library} ({{}}): pip install -e '.[{extra}]'"
        assert left_out._left_out == {f"tests/{name}": reason for name in names}

    through_others = ("layers/test_recurrent.py", "ops/test_fuzz.py", "cuda/test_device.py", "test_contributing.py")
    assert_left_out("autograd", "test", *through_others)
    assert_left_out("torch", "bench", "benchmarks/test_classify.py")  # imported within a function
    assert_left_out("torch", "torch", "torch/test_modules.py", "exchange/test_torch.py")
    assert_left_out("hypothesis", "test", "test_backend.py")
    monkeypatch.setattr(left_out, "find_spec", lambda name: None)
    assert not left_out.pytest_ignore_collect(tests / "torch" / "test_missing.py")
