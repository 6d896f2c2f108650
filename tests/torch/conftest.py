"""The calls that ran in PyTorch, and one thread for all tests."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import pytest


class Fallbacks(logging.Handler):
    """The reasons, one for each call that ran in PyTorch."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.reasons: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.reasons.append(record.getMessage())

    def take(self) -> list[str]:
        taken, self.reasons = self.reasons, []
        return taken


@pytest.fixture(autouse=True)
def fallbacks() -> Iterator[Fallbacks]:
    """A test fails if calls ran in PyTorch and it did not take the reasons: it would compare PyTorch with itself."""
    handler, logger = Fallbacks(), logging.getLogger("xrnn.torch")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)
    assert handler.reasons == []


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The sizes are small, and on a busy machine threads would wait for each other."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
