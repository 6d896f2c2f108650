"""A table of named columns, in place of pandas."""

from __future__ import annotations

from typing import Any

import numpy as np

from xrnn.typing import HostArray


class Frame:
    """The part of a DataFrame that the estimators use."""

    def __init__(self, values: Any, columns: Any) -> None:
        self.values, self.columns = np.asarray(values), columns

    def __array__(self, dtype: Any = None, copy: Any = None) -> HostArray:
        return self.values

    def __len__(self) -> int:
        return len(self.values)
