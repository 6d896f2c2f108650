"""Errors of this project have one line: what was expected, what came, and the remedy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest


@contextlib.contextmanager
def one_line(kind: type[Exception], *words: str) -> Iterator[None]:
    """Expect an error of exactly this type, with one line that contains all of `words`."""
    with pytest.raises(kind) as caught:
        yield
    message = str(caught.value)
    assert caught.type is kind
    assert "\n" not in message
    for word in words:
        assert word in message, f"{word!r} is not in {message!r}"


def refused(*rows: tuple[type[Exception], Callable[[], object], *tuple[str, ...]]) -> None:
    """Expect `one_line` of each row: the type of the error, the call, and the words that the message contains."""
    for kind, call, *words in rows:
        with one_line(kind, *words):
            call()
