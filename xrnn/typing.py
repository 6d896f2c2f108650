"""Types that all modules share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

# An array of any backend. Type checkers take it as NumPy's, whose interface the other backends share.
Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
# An array, or None if the caller does not need it. `Any` replaces the None, so that callers that need the array
# can use it without a check.
ArrayIfNeeded: TypeAlias = Array | Any
# An array, or a tuple of arrays if the cell has several states. `Any` replaces the tuple, for the same reason.
Results: TypeAlias = Array | Any
# A NumPy array, on every backend.
HostArray: TypeAlias = np.ndarray[Any, np.dtype[Any]]
# The lengths of the rows of a batch, (N,) integers.
Lengths: TypeAlias = Sequence[int] | Array
# A dtype, its name or its scalar type: "float32", np.float32.
DType: TypeAlias = str | type[Any] | np.dtype[Any]


class SupportsDLPack(Protocol):
    """An array of another library, such as PyTorch or JAX, that can share its memory."""

    def __dlpack__(self, *args: Any, **options: Any) -> Any: ...


# Numbers in nested lists, or an array of any library.
Numbers: TypeAlias = ArrayLike | SupportsDLPack
# The shape of an array.
Shape: TypeAlias = tuple[int, ...]
# The state of one recurrent layer: (N, H), or a tuple of such arrays if its cell has several states.
StreamState: TypeAlias = Array | tuple[Array, ...]
