"""The combinations of gradients that a backward pass may be asked for."""

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
    """A list to which each `recurrence_backward` of `backend` appends the gradients that were requested."""
    asked: list[frozenset[str]] = []
    run = backend.recurrence_backward

    def note(
        cell: Any, trace: Any, dstates: Any, grads: Sequence[Any] | None, needs_dx: bool = True, dadd: Any = None
    ) -> Any:
        asked.append((DX if needs_dx else NEITHER) | (NEITHER if grads is None else DWEIGHTS))
        return run(cell, trace, dstates, grads, needs_dx, dadd)

    monkeypatch.setattr(backend, "recurrence_backward", note)
    return asked
