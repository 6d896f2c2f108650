"""Windows: parts of long series with the same number of rows. A model learns from them, and answers about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np

from xrnn.series.labelled.splits import units_of
from xrnn.series.one_series import Series
from xrnn.typing import HostArray

# Windows are tried if the series are few and long.
_FEW: Final = 100  # units, see `units_of`
_LONG: Final = 1024  # rows, the median
_SHARE: Final = 8  # rows of a series for one row of a window


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows of series, in the order of the series.

    rows      in a window; 0 if each series is one window
    series    the windows, m
    owners    (m,): for each window, the index of its series
    count     number of series, n
    """

    rows: int
    series: list[Series]
    owners: HostArray
    count: int

    @classmethod
    def of(cls, series: Sequence[Series], rows: int) -> Self:
        """Cut series into windows of `rows` rows, from the last row backwards; 0: each series is one window.

        Rows before the first complete window are left out. A series with fewer rows is one window. The windows of a
        series share its weight, and are in one group.
        """
        if not rows:
            return cls(0, [*series], np.arange(len(series)), len(series))
        unit_of = {i: k for k, unit in enumerate(units_of(series)) for i in unit}
        windows, owners = [], []
        for i, each in enumerate(series):
            T = len(each.values)
            count = max(1, T // rows)
            whole = replace(each, weight=each.weight / count, group=unit_of[i])
            windows += [whole.part(max(0, T - k * rows), T - (k - 1) * rows) for k in range(count, 0, -1)]
            owners += [i] * count
        return cls(rows, windows, np.array(owners, np.intp), len(series))

    def describe(self, tell: Callable[[str], None]) -> None:
        """Tell a line about the windows, if the series are cut."""
        if self.rows:
            tell(f"windows: {len(self.series):,} of {self.rows:,} rows, from {self.count:,} series")

    def mean(self, values: HostArray) -> HostArray:
        """For each series, the mean over its windows that have values: (m, …) → (n, …); NaN for a series without any.

        A row that holds NaN is no value.
        """
        flat = values.reshape(len(values), -1)
        known = ~np.isnan(flat).any(axis=1)
        sums = np.zeros((self.count, flat.shape[1]))
        np.add.at(sums, self.owners[known], flat[known])
        counts = np.bincount(self.owners[known], minlength=self.count)
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
            means = sums / counts[:, None]
        return means.reshape(self.count, *values.shape[1:])


def rows_to_try(series: Sequence[Series]) -> list[int]:
    """The numbers of rows in a window that are compared: 0, and for few long series a power of two near an eighth."""
    median = float(np.median([len(one.values) for one in series]))
    if median < _LONG or len(units_of(series)) > _FEW:
        return [0]
    return [0, int(2 ** round(np.log2(median / _SHARE)))]
