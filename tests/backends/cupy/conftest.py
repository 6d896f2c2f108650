"""A backend of its own for each test here: the stand-in as a small GPU, with the emulator behind its RawModule."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import standin_backend
from xrnn.backends.cupy import CupyBackend


@pytest.fixture
def backend() -> Iterator[CupyBackend]:
    with standin_backend.small() as backend:
        yield backend
