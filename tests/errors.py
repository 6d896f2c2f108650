"""Errors of this project have one line: what was expected, what came, and the remedy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

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
        assert word in message
