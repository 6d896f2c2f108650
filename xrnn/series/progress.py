"""The progress of the parts of a fit. They are silent, unless a command shows them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import TypeAlias, TypeVar

Advance: TypeAlias = Callable[[], None]  # called after each piece of a part
Show: TypeAlias = Callable[[str, int], AbstractContextManager[Advance]]  # shows a part, from its name and its pieces

T = TypeVar("T")
R = TypeVar("R")

_show: ContextVar[Show | None] = ContextVar("show", default=None)


@contextlib.contextmanager
def shown_by(show: Show | None) -> Iterator[None]:
    """Within the block, `show` shows the progress of parts. None: nothing does."""
    token = _show.set(show)
    try:
        yield
    finally:
        _show.reset(token)


@contextlib.contextmanager
def progress_of(what: str, count: int) -> Iterator[Advance]:
    """A part of `count` pieces that take about equal times. Parts within a part are not shown."""
    show = _show.get()
    if show is None:
        yield lambda: None
        return
    with shown_by(None), show(what, count) as advance:
        yield advance


def each_of(items: Sequence[T], what: str, function: Callable[[T], R]) -> list[R]:
    """The results of a function of each item, as a part of the fit."""
    results = []
    with progress_of(what, len(items)) as advance:
        for item in items:
            results.append(function(item))
            advance()
    return results
