"""`make mutants` puts a change into functions that are there already, and says what only a new import would show."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SOURCE = """
import functools
LIMIT = 3
def above(x, limit=LIMIT):
    return x > limit
@functools.cache
def doubled(x):
    return x * 2
def adder(n):
    def add(x):
        return x + n
    return add
add_one = adder(1)
class Box:
    size = 4
    def twice(self):
        return [part + part for part in range(self.size)]
"""


@pytest.fixture
def swap(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    yield from imported("mutation.swap", monkeypatch)


def imported(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module of the tool, from .ci/."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / ".ci")
    yield importlib.import_module(name)
    for each in [each for each in sys.modules if each.partition(".")[0] == "mutation"]:
        del sys.modules[each]


@pytest.fixture
def choice(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    yield from imported("mutation.choice", monkeypatch)


@pytest.fixture
def module(tmp_path: Path) -> ModuleType:
    path = tmp_path / "changed.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("changed", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def results(module: Any) -> list[Any]:
    return [module.above(3), module.doubled(4), module.add_one(5), module.adder(2)(5), module.Box().twice()]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("x > limit", "x >= limit", [True, 8, 6, 7, [0, 2, 4, 6]]),
        ("x * 2", "x ** 2", [False, 16, 6, 7, [0, 2, 4, 6]]),
        ("x + n", "x - n", [False, 8, 4, 3, [0, 2, 4, 6]]),  # in the closures that are there, and in new ones
        ("part + part", "part - part", [False, 8, 6, 7, [0, 0, 0, 0]]),
    ],
)
def test_a_change_in_a_function(swap: Any, module: ModuleType, before: str, after: str, expected: list[Any]) -> None:
    assert module.__file__
    swap.Functions().change(module.__file__, SOURCE, SOURCE.replace(before, after))
    assert results(module) == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [("LIMIT = 3", "LIMIT = 4"), ("size = 4", "size = 5"), ("limit=LIMIT", "limit=1"), ("@functools.cache\n", "\n")],
)
def test_a_change_of_what_runs_at_import(swap: Any, module: ModuleType, before: str, after: str) -> None:
    assert module.__file__
    with pytest.raises(swap.NotInFunctionsError):
        swap.Functions().change(module.__file__, SOURCE, SOURCE.replace(before, after))
    assert results(module) == [False, 8, 6, 7, [0, 2, 4, 6]]


@pytest.mark.needs("cosmic_ray", "mutants")
def test_a_constant_is_tried_on_tests_that_only_read_it(choice: Any, tmp_path: Path) -> None:
    (tmp_path / "xrnn").mkdir()
    (tmp_path / "xrnn" / "limits.py").write_text("LIMIT = 3\ndef above(x):\n    return x > LIMIT\n")
    reads, reaches, elsewhere = (f"tests/{name}" for name in ("far/test_a.py::b", "far/test_a.py::a", "test_c.py::c"))
    reach = choice.Reach(
        [(reads, 0.0), (reaches, 1.0), (elsewhere, 1.0)], {"xrnn/limits.py": {3: [1]}}, {"xrnn/limits.py": {1, 2}}
    )
    for line, expected in ((1, [reads, reaches]), (3, [reaches])):
        change = choice.Change("xrnn/limits.py", line, 0, "core/NumberReplacer", 0)
        assert reach.trials(tmp_path, change, (4.0, 30.0))[0].tests == expected


@pytest.mark.needs("cosmic_ray", "mutants")
def test_what_runs_only_while_tests_are_collected_is_tried(choice: Any, tmp_path: Path) -> None:
    (tmp_path / "xrnn").mkdir()
    (tmp_path / "xrnn" / "limits.py").write_text("def one():\n    return 1\ndef two():\n    return 2\n")
    reach = choice.Reach([("tests/test_limits.py::a", 1.0)], {"xrnn/limits.py": {4: [0]}}, {"xrnn/limits.py": {2}})
    change = choice.Change("xrnn/limits.py", 2, 11, "core/NumberReplacer", 0)
    first, more = reach.trials(tmp_path, change, (4.0, 30.0))
    assert first.tests == more.tests == ["tests/test_limits.py::a"]
    assert more.before_tests


@pytest.mark.needs("cosmic_ray", "mutants")
def test_an_exception_with_a_dotted_name_is_left_alone(choice: Any, tmp_path: Path) -> None:
    source = "import os\ntry:\n    pass\nexcept (ValueError, os.error):\n    pass\n"
    (tmp_path / "limits.py").write_text(source)
    changes = sys.modules["mutation.changes"].changes_of(tmp_path, "limits.py", 0)
    (change,) = [change for change in changes if change.operator.endswith("ExceptionReplacer")]
    assert "except (CosmicRayTestingException, os.error)" in change.applied(source)
