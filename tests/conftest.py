"""The `backend` fixture: each numerical test is written once and runs on every backend."""

from __future__ import annotations

import pytest

from xrnn.backend import Backend
from xrnn.select import get_backend


@pytest.fixture(params=["numpy"])
def backend(request: pytest.FixtureRequest) -> Backend:
    return get_backend(request.param)
