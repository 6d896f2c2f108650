"""Putting a changed module in the place of the one that is imported already: function by function."""

from __future__ import annotations

import gc
import inspect
import os
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from types import CodeType, FunctionType

_Place = tuple[str, str, int]  # file, qualified name, line


class NotInFunctionsError(Exception):
    """The change is in what runs at import: only a new import shows it."""


class Functions:
    """All functions that exist now, by where their code stands."""

    def __init__(self) -> None:
        self._functions: dict[_Place, list[FunctionType]] = defaultdict(list)
        for found in gc.get_objects():
            if type(found) is FunctionType:  # isinstance would ask proxies, which may warn
                self._functions[_place(found.__code__)].append(found)

    def change(self, path: str, before: str, after: str) -> None:
        """Make the functions of the file `path` run the code `after` instead of `before`."""
        pairs = list(_changed(compile(before, path, "exec"), compile(after, path, "exec")))
        for old, new in pairs:
            functions = self._functions[_place(old)]
            if not functions and "<locals>" not in old.co_qualname:
                raise NotInFunctionsError
            for function in functions:
                try:
                    function.__code__ = new
                except ValueError:  # another number of variables from outside
                    raise NotInFunctionsError from None


def _changed(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """The functions that differ, from the outside in: one inside another may exist already."""
    if not old.co_flags & inspect.CO_OPTIMIZED and _own(old) != _own(new):
        raise NotInFunctionsError  # of a module or a class
    if [each.co_qualname for each in _inner(old)] != [each.co_qualname for each in _inner(new)]:
        return  # of a function, which has lost one inside it
    for inner, other in zip(_inner(old), _inner(new), strict=True):
        if inner.co_flags & inspect.CO_OPTIMIZED:
            if inner != other:
                yield inner, other
                yield from _changed(inner, other)
        else:
            yield from _changed(inner, other)


def _own(code: CodeType) -> tuple[object, ...]:
    """What a body does, without what its functions do."""
    constants = [(type(each), each) for each in code.co_consts if not isinstance(each, CodeType)]
    names = [each.co_qualname for each in _inner(code)]
    return code.co_code, repr(constants), names, code.co_names, code.co_varnames, code.co_freevars


def _inner(code: CodeType) -> list[CodeType]:
    return [each for each in code.co_consts if isinstance(each, CodeType)]


def _place(code: CodeType) -> _Place:
    return _real(code.co_filename), code.co_qualname, code.co_firstlineno


@cache
def _real(path: str) -> str:
    return os.path.realpath(path)
