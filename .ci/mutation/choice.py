"""Which tests to run on a change: those that reach its statement, of its own test file first, the quick ones first."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mutation.changes import Change
from mutation.trial import Trial

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Reach:
    """What one run of all tests has measured: the seconds of each, and by module and line those that reach it."""

    tests: list[tuple[str, float]]
    lines: dict[str, dict[int, list[int]]]
    collected: dict[str, set[int]]  # the lines that run before the first test

    @staticmethod
    def read(path: Path) -> Reach:
        kept = json.loads(path.read_text(encoding="utf-8"))
        lines = {module: {int(line): on for line, on in lines.items()} for module, lines in kept["lines"].items()}
        collected = {module: set(lines) for module, lines in kept["collected"].items()}
        return Reach([(name, seconds) for name, seconds in kept["tests"]], lines, collected)

    def trials(self, root: Path, change: Change, budgets: tuple[float, float]) -> tuple[Trial, Trial]:
        """The quick tests, and in a trial of their own more: as many as take the seconds in `budgets` together."""
        lines = self.lines.get(change.module, {})
        statement, function = _around(root / change.module, change.line)
        before_tests = not self.collected.get(change.module, set()).isdisjoint(statement or [change.line])
        numbers = {number for line in statement for number in lines.get(line, [])}
        if not numbers and (before_tests or not statement):  # it runs at import, or where that calls it
            # The tests of the function whose signature this is, or of any function; and since one that reads a
            # constant runs no line of the module, all those of their files.
            inside = function or _inside_functions(root / change.module)
            numbers = self._of_files({number for line in inside for number in lines.get(line, [])})
            numbers = numbers or self._of_folder(change.module)  # a module without functions
        own = Path(change.module).parent.name if change.module.endswith("__init__.py") else Path(change.module).stem
        near = {_folder(change.module)}
        near |= {_file(name).rpartition("/")[0] for name, _ in self.tests if f"/test_{own}.py::" in name}

        def cost(number: int) -> tuple[bool, bool, float]:
            name, seconds = self.tests[number]
            return f"/test_{own}.py::" not in name, _file(name).rpartition("/")[0] not in near, seconds

        parts: list[list[int]] = [[], []]
        spent = [0.0, 0.0]
        for number in sorted(numbers, key=cost):
            seconds = self.tests[number][1]
            part = 0 if not spent[0] or spent[0] + seconds <= budgets[0] else 1
            if part == 0 or spent[1] + seconds <= budgets[1]:
                parts[part].append(number)
                spent[part] += seconds
        quick, more = ([self.tests[number][0] for number in part] for part in parts)
        first = Trial(change, quick, spent[0], before_tests=False)
        if before_tests:  # a new import may show to the quick ones too what they did not notice in functions
            return first, Trial(change, [*quick, *more], sum(spent), before_tests=True)
        return first, Trial(change, more, spent[1], before_tests=False)

    def _of_files(self, numbers: set[int]) -> set[int]:
        files = {_file(self.tests[number][0]) for number in numbers}
        return {number for number, (name, _) in enumerate(self.tests) if _file(name) in files}

    def _of_folder(self, module: str) -> set[int]:
        folder = _folder(module)
        return {number for number, (name, _) in enumerate(self.tests) if name.startswith(f"{folder}/")}


def _file(test: str) -> str:
    return test.partition("::")[0]


def _folder(module: str) -> str:
    """Where the tests of `module` are, by the names."""
    return Path("tests", *Path(module).parent.parts[module.startswith("xrnn/") :]).as_posix()


def _around(path: Path, line: int) -> tuple[range, range]:
    """The lines of the statement at `line`, empty where it runs at import; and of the function it is the head of."""
    statement, head = range(0), range(0)
    for node, inside in _statements(path):
        lines = _lines(node)
        if line in lines:
            statement = lines if inside else range(0)
            head = _body(node) if isinstance(node, _Function) else range(0)
    return statement, head


@cache
def _statements(path: Path) -> list[tuple[ast.stmt, bool]]:
    """All statements, from the outside in, and whether each runs in a function."""
    found: list[tuple[ast.stmt, bool]] = []

    def visit(node: ast.AST, inside: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                found.append((child, inside))
            visit(child, inside or isinstance(child, _Function))

    visit(ast.parse(path.read_text(encoding="utf-8")), False)
    return found


def _lines(node: ast.stmt) -> range:
    """Those of the statement itself: of one that holds others, its head."""
    first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
    held = [*getattr(node, "body", []), *getattr(node, "handlers", [])]
    last = min(each.lineno for each in held) - 1 if held else (node.end_lineno or node.lineno)
    return range(first, max(first, last) + 1)


def _body(node: ast.FunctionDef | ast.AsyncFunctionDef) -> range:
    return range(node.body[0].lineno, (node.end_lineno or node.lineno) + 1)


@cache
def _inside_functions(path: Path) -> list[int]:
    return [line for node, inside in _statements(path) if inside for line in _lines(node)]
