"""Whether a backward pass is asked for dx."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from xrnn.backend import Backend


def noted(monkeypatch: pytest.MonkeyPatch, backend: Backend) -> list[bool]:
    """A list that grows with each `recurrence_backward` of this backend: whether it was asked for dx."""
    asked: list[bool] = []
    run = backend.recurrence_backward

    def note(cell: Any, trace: Any, dstates: Any, grads: Sequence[Any], needs_dx: bool = True) -> Any:
        asked.append(needs_dx)
        return run(cell, trace, dstates, grads, needs_dx)

    monkeypatch.setattr(backend, "recurrence_backward", note)
    return asked
