"""A backend of its own for each test here: the stand-in as a small GPU, with the emulator behind its RawModule."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import cuda_emulator
from tests import standin as cp
from tests.conftest import STANDIN
from xrnn.backends.cupy import CupyBackend
from xrnn.select import register


@pytest.fixture
def few_multiprocessors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU so small that a group has few blocks: the emulator has that many threads to run."""
    monkeypatch.setitem(cp.cuda.Device.attributes, "MultiProcessorCount", 5)


@pytest.fixture
def backend(few_multiprocessors: None) -> Iterator[CupyBackend]:
    if cuda_emulator.MISSING:
        pytest.skip(cuda_emulator.MISSING)
    backend = CupyBackend(cp)
    register(backend)
    yield backend
    register(STANDIN)
