"""The types that every module shares."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

# An array of any backend. For type checkers it is NumPy's: the backends share the part of its interface used here.
Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
# An array, or None where the caller said that it isn't needed. `Any` stands for the None: for type checkers, whoever
# needs the array has one.
ArrayIfNeeded: TypeAlias = Array | Any
# An array that is NumPy's on every backend.
HostArray: TypeAlias = np.ndarray[Any, np.dtype[Any]]
