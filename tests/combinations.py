"""Products of parameters that are too long for `make test`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest


def thin(*axes: Sequence[Any], every: int = 0) -> list[Any]:
    """All combinations of the values of `axes`, for `pytest.mark.parametrize`.

    `make test` runs only enough of them for every value: each value of the longest axis once, with the values of the
    other axes in turn. `.ci/proof` runs the others.

    every   `make test` runs one of this number of combinations instead: each value of an axis with other values of the
            axes beside it
    """
    if not all(axes):  # such as the levels if the kernels were not built
        return []
    longest = max(axes, key=len)
    chosen = {
        tuple((i + i // len(axis)) % len(axis) if axis is not longest else i for axis in axes)
        for i in range(len(longest))
    }
    return [
        pytest.param(
            *(axis[i] for axis, i in zip(axes, places, strict=True)),
            marks=[] if (sum(places) % every == 0 if every else places in chosen) else [pytest.mark.proof],
        )
        for places in itertools.product(*(range(len(axis)) for axis in axes))
    ]
