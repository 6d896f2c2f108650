"""Which gradients a backward pass is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pytest

from xrnn.backend import Backend

BOTH: Final = frozenset({"dx", "dweights"})
DX: Final = frozenset({"dx"})
DWEIGHTS: Final = frozenset({"dweights"})
NEITHER: Final[frozenset[str]] = frozenset()


def noted(monkeypatch: pytest.MonkeyPatch, backend: Backend) -> list[frozenset[str]]:
    """A list that grows with each `recurrence_backward` of this backend, by what it was asked for."""
    asked: list[frozenset[str]] = []
    run = backend.recurrence_backward

    def note(cell: Any, trace: Any, dstates: Any, grads: Sequence[Any] | None, needs_dx: bool = True) -> Any:
        asked.append((DX if needs_dx else NEITHER) | (NEITHER if grads is None else DWEIGHTS))
        return run(cell, trace, dstates, grads, needs_dx)

    monkeypatch.setattr(backend, "recurrence_backward", note)
    return asked
