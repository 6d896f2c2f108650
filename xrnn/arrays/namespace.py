"""`xrnn.xp`, the array namespace of the selected backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xrnn.arrays.select import get_backend

if TYPE_CHECKING:
    xp = np  # type checkers and editors see NumPy's names
else:

    class _Namespace:
        """The array namespace of the selected backend, looked up at each use."""

        def __getattr__(self, name: str) -> Any:
            return getattr(get_backend().xp, name)

        def __dir__(self) -> list[str]:
            return dir(get_backend().xp)

        def __repr__(self) -> str:
            return "<xrnn.xp: the array namespace of the selected backend>"

    xp = _Namespace()
