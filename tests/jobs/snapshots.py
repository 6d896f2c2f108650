"""Comparing and copying snapshots, for the tests of several jobs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from xrnn.jobs.checkpoint import S, Snapshot


def assert_equal(got: Snapshot[Any], expected: Snapshot[Any]) -> None:
    for part in ("settings", "facts", "fingerprint", "step"):
        assert getattr(got, part) == getattr(expected, part)
    assert got.arrays.keys() == expected.arrays.keys()
    for name, array in expected.arrays.items():
        assert array.dtype == got.arrays[name].dtype
        np.testing.assert_array_equal(got.arrays[name], array, err_msg=name)


def copied(snapshot: Snapshot[S]) -> Snapshot[S]:
    """A copy that the next step does not overwrite."""
    arrays = {name: array.copy() for name, array in snapshot.arrays.items()}
    return replace(snapshot, arrays=arrays)
