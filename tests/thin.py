"""Products of parameters that are too long for `make test`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest


def thin(*axes: Sequence[Any]) -> list[Any]:
    """All combinations of the values of `axes`, for `pytest.mark.parametrize`.

    `make test` runs only enough of them for every value: each value of the longest axis once, with the values of the
    other axes in turn. `.ci/proof` runs the others.
    """
    longest = max(axes, key=len)
    chosen = {
        tuple((i + i // len(axis)) % len(axis) if axis is not longest else i for axis in axes)
        for i in range(len(longest))
    }
    return [
        pytest.param(
            *(axis[i] for axis, i in zip(axes, combination, strict=True)),
            marks=[] if combination in chosen else [pytest.mark.proof],
        )
        for combination in itertools.product(*(range(len(axis)) for axis in axes))
    ]
