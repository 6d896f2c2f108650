"""An error of the project is one line and names what was expected, what came, and the remedy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def one_line(kind: type[Exception], *words: str) -> Iterator[None]:
    """Expect an error of exactly this kind, on one line that holds all of the words."""
    with pytest.raises(kind) as caught:
        yield
    message = str(caught.value)
    assert caught.type is kind
    assert "\n" not in message
    for word in words:
        assert word in message
