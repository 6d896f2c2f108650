"""One time series: its values, checked, as every format gives them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from xrnn.files import printable, quoted
from xrnn.jobs.errors import DataError
from xrnn.typing import HostArray

MISSING: Final = "?"
_MOST: Final = 1e30  # squares of it fit float64, and what standardising makes of it fits float32


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """values (T, D) float64, T ≥ 1, NaN where one is missing; name: how an error and a prediction call it."""

    values: HostArray
    label: str | None
    name: str

    @property
    def channels(self) -> int:
        """D."""
        return int(self.values.shape[1])


def checked(values: HostArray, label: str | None, name: str) -> Series:
    """A Series of `values` (T, D), without the steps at its end of which every value is missing: they are padding.

    Raises DataError for no step, no channel, a channel without a value, infinity or numbers beyond 1e30.
    """
    shown = printable(name)
    known = ~np.isnan(values)
    steps = np.flatnonzero(known.any(axis=1))
    if not steps.size:
        raise DataError(f"{shown} has no values: expected at least one step; leave the series out")
    values, known = values[: steps[-1] + 1], known[: steps[-1] + 1]
    lacking = np.flatnonzero(~known.any(axis=0))
    if lacking.size:
        raise DataError(
            f"{shown} lacks every value of channel {lacking[0] + 1}: expected at least one; leave the series or the "
            "channel out"
        )
    check_sizes(values, name)
    return Series(values, label, name)


def check_sizes(values: HostArray, name: str) -> None:
    """Refuse infinity and numbers beyond 1e30.   Raises DataError."""
    sizes = np.abs(values)
    if (sizes > _MOST).any():  # which NaN is not
        raise DataError(
            f"{printable(name)} holds {np.nanmax(sizes):g}: expected numbers up to {_MOST:g}; scale them, or leave it "
            "out"
        )


def parsed(fields: Sequence[str], where: str) -> list[float]:
    """The numbers in `fields`, NaN for `?`; `where` is what an error begins with.   Raises DataError."""
    return [_number(field.strip(), where) for field in fields]


def _number(field: str, where: str) -> float:
    if field == MISSING:
        return math.nan
    try:
        value = float(field)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in field:  # Python's own literals may hold underscores
        raise DataError(
            f"{printable(where)}: {quoted(field)!r} is no finite number: expected numbers, or {MISSING} for a missing "
            "one; mend it, or remove what is no data"
        )
    return value
