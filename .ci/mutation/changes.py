"""The changes: cosmic-ray's operators, one drawn by a seed where several would change the same token."""

from __future__ import annotations

import ast
import builtins
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cosmic_ray.plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.exceptions import CosmicRayTestingException
from cosmic_ray.mutating import mutate_code

# In place of the exception that a handler names: cosmic-ray expects it where it is not imported.
setattr(builtins, CosmicRayTestingException.__name__, CosmicRayTestingException)

# Operators of one family put one token in the place of another: `a + b` has eleven of them.
# And a `not` in front of a condition that begins with one does what taking that one away does.
_FAMILY = re.compile(r"Replace(Binary|Comparison|Unary)Operator|(AddNot)")
_DOTTED = re.compile(r"\w+\.")


@dataclass(frozen=True)
class Change:
    """One change of `module`, a path in the checkout, at `line` and `column`; both count from where ast counts them."""

    module: str
    line: int
    column: int
    operator: str
    occurrence: int

    @property
    def key(self) -> str:
        return f"{self.module}:{self.line}:{self.column} {self.operator}"

    def applied(self, source: str) -> str:
        changed = mutate_code(source, cosmic_ray.plugins.get_operator(self.operator)(), self.occurrence)
        assert changed is not None, f"{self.key}: cosmic-ray found nothing to change there"
        return str(changed)


def changes_of(root: Path, module: str, seed: int) -> list[Change]:
    source = (root / module).read_text(encoding="utf-8")
    left_out = [*_annotations(source), *_marks(source)]
    by_token = defaultdict(list)
    for change in _all(source, module):
        if not any(start <= (change.line, change.column) < end for start, end in left_out):
            family = _FAMILY.search(change.operator)
            by_token[change.line, change.column, (family[1] or "Unary") if family else change.operator].append(change)
    drawn = [random.Random(f"{seed} {module} {place}").choice(several) for place, several in by_token.items()]
    return sorted(drawn, key=lambda change: (change.line, change.column, change.operator))


def _all(source: str, module: str) -> Iterator[Change]:
    nodes, lines = list(ast_nodes(get_ast(source))), source.splitlines()
    for name, operator in _operators():
        positions = (start for node in nodes for start, _ in operator.mutation_positions(node))
        for occurrence, (line, column) in enumerate(positions):
            if name.endswith("ExceptionReplacer") and _DOTTED.match(lines[line - 1], column):
                continue  # it finds the place, and fails there
            yield Change(module, line, column, name, occurrence)


@cache
def _operators() -> list[tuple[str, Any]]:
    """Those that take no arguments, by name."""
    classes = {name: cosmic_ray.plugins.get_operator(name) for name in cosmic_ray.plugins.operator_names()}
    return [(name, operator()) for name, operator in classes.items() if not operator.arguments()]


def _annotations(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where annotations stand: nothing runs them."""
    found: list[ast.expr | None] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.arg | ast.AnnAssign):
            found.append(node.annotation)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(node.returns)
    return [
        ((at.lineno, at.col_offset), (at.end_lineno or at.lineno, at.end_col_offset or at.col_offset))
        for at in found
        if at
    ]


def _marks(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where a lone * or / stands among parameters, which cosmic-ray takes for an operator."""
    return [
        ((number, mark.start()), (number, mark.end()))
        for number, line in enumerate(source.splitlines(), 1)
        for mark in re.finditer(r"(?<=[(\s])[*/](?=,)", line)
    ]
