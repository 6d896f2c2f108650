"""Comparing, copying and forging snapshots, for the tests of several kinds."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xrnn.exchange.checkpoint import checkpoint_content, describe_all
from xrnn.exchange.description import canonical
from xrnn.models.checkpoint import Kind, S, Snapshot
from xrnn.select import to_numpy
from xrnn.typing import HostArray


def content(snapshot: Snapshot[Any]) -> tuple[str, dict[str, HostArray]]:
    """A snapshot as text and arrays."""
    arrays: dict[str, Any] = {}
    described = canonical(describe_all(snapshot.layers, snapshot.optimizer, arrays))
    text = f"{snapshot.settings} {snapshot.facts} {snapshot.fingerprint} {described}"
    return text, {name: to_numpy(array) for name, array in (arrays | snapshot.arrays).items()}


def assert_equal(got: Snapshot[Any], expected: Snapshot[Any]) -> None:
    (text, arrays), (expected_text, expected_arrays) = content(got), content(expected)
    assert text == expected_text
    assert arrays.keys() == expected_arrays.keys()
    for name, array in expected_arrays.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name, strict=True)


def copied(snapshot: Snapshot[S]) -> Snapshot[S]:
    """A copy that the next step does not change."""
    layers, optimizer, arrays = copy.deepcopy((snapshot.layers, snapshot.optimizer, snapshot.arrays))
    return replace(snapshot, layers=layers, optimizer=optimizer, arrays=arrays)


def save_forged(
    checkpoints: Kind[S], path: Path, snapshot: Snapshot[S], change: Callable[[dict[str, Any]], object]
) -> None:
    """Save `snapshot` after a change of the `extra` in its file."""

    def forged(layers: Any, optimizer: Any, extra: dict[str, Any]) -> bytes:
        change(extra)
        return checkpoint_content(layers, optimizer, extra)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xrnn.models.checkpoint.checkpoint_content", forged)
        path.write_bytes(checkpoints.content(snapshot))
