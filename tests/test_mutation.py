"""`make mutants` puts a change into functions that are there already, and says what only a new import would show."""

from __future__ import annotations

import importlib.util
import sys
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
def swap(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / ".ci")
    module = importlib.import_module("mutation.swap")
    yield module
    for name in [name for name in sys.modules if name.partition(".")[0] == "mutation"]:
        del sys.modules[name]


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
