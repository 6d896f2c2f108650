"""Compares two layers: kind, options, counters, and every array bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np

from xrnn import to_numpy
from xrnn.exchange.description import canonical, take_apart


def assert_alike(got: Any, want: Any) -> None:
    (got_description, got_arrays), (want_description, want_arrays) = take_apart(got), take_apart(want)
    assert canonical(got_description) == canonical(want_description)
    assert got_arrays.keys() == want_arrays.keys()
    for name, array in want_arrays.items():
        assert got_arrays[name].dtype == array.dtype, name
        np.testing.assert_array_equal(to_numpy(got_arrays[name]), to_numpy(array), err_msg=name, strict=True)
