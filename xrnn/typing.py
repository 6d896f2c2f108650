"""Types that all modules share."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

# An array of any backend. Type checkers take it as NumPy's, whose interface the other backends share.
Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
# An array, or None if the caller does not need it. `Any` replaces the None, so that callers that need the array
# can use it without a check.
ArrayIfNeeded: TypeAlias = Array | Any
# A NumPy array, on every backend.
HostArray: TypeAlias = np.ndarray[Any, np.dtype[Any]]
