"""The checks of the soak on made-up reports; and real lives."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.soak import SAVE_EVERY, Record


def reports(text: str) -> list[tuple[Any, ...]]:
    """What a life reports, from "from 0, 1 aa, saved 2 1000"."""
    words = (report.split() for report in text.split(", "))
    return [(w[0], *map(int, w[1:])) if w[0].isalpha() else ("step", int(w[0]), w[1]) for w in words]


def test_a_repeated_update_must_give_the_same_weights() -> None:
    record = Record("rnn")
    record.add(reports("from 0, 1 aa, 2 bb, saved 2 1000, 3 cc, 4 dd"))
    record.add(reports("from 2, 3 cc, 4 dd, 5 ee, saved 5 1000"))
    assert (len(record.digests), record.saved, record.lives, record.repeated, record.failures) == (5, 5, 2, 2, [])
    record.add(reports("from 5, 6 ff"))
    record.add(reports("from 5, 6 00"))
    assert record.failures == ["step 6: its weights were ff at first, and 00 when it was repeated"]


@pytest.mark.parametrize(("at", "lost"), [(10, 0), (10 + SAVE_EVERY, 0), (5, 1), (0, 1)])
def test_a_reported_checkpoint_must_exist(at: int, lost: int) -> None:
    record = Record("rnn", saved=10)
    record.add(reports(f"from {at}"))
    assert len(record.failures) == lost


def test_memory_must_not_grow_after_the_first_checkpoints() -> None:
    warming, flat, rising = [1e6] * 5, [60e6] * 30, [60e6 + i * 1e6 for i in range(30)]
    for after, failures in ((flat, []), (rising, ["memory grew by 25.0 MB in one life"])):
        record = Record("lstm")
        record.add([("saved", i, at) for i, at in enumerate([*warming, *after])])
        assert record.failures == failures
