"""Fixtures: `kind`; `fallbacks`, the calls that ran in PyTorch; one thread and one seed for all tests."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.needs_kernels import NEEDS_KERNELS

KINDS: Final = ("RNN", "LSTM", "GRU")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Fallbacks(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.reasons: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.reasons.append(record.getMessage())

    def take(self) -> list[str]:
        taken = self.reasons
        self.reasons = []
        return taken


@pytest.fixture(autouse=True)
def fallbacks() -> Iterator[Fallbacks]:
    """The test fails if a call ran in PyTorch, unless it takes the reason: it would compare PyTorch with itself."""
    handler = Fallbacks()
    logger = logging.getLogger("xrnn.torch")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)
    assert handler.reasons == []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(NEEDS_KERNELS)


@pytest.fixture(autouse=True)
def one_thread_and_seed() -> Iterator[None]:
    """With small sizes on a busy machine, several threads would wait for each other. Each test has its own numbers."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
