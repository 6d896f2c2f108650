"""Series in pandas' objects, and forecasts as the same kind of object.

A Series is one series. A DataFrame is

- long, if the name of its column `id` is given: a row for each series and step;
- one series, if only the name of its column `target` is given;
- wide, if its index holds times: a column for each series.

pandas is used only if the caller's objects are pandas' own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

import numpy as np

from xrnn.models.forecast.model import Forecast
from xrnn.series.checks import Series, Time, checked
from xrnn.typing import HostArray


@dataclass(frozen=True, slots=True)
class Names:
    """Names of columns of a DataFrame; empty for none. `time` is empty if the index holds the times."""

    id: str = ""
    time: str = ""
    target: str = ""
    known: tuple[str, ...] = ()


def is_frame(X: Any, names: Names) -> bool:
    """True for a pandas Series, and for a DataFrame in one of the forms above."""
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(X, pandas.Series | pandas.DataFrame):
        return False
    is_named = bool(names.id or names.target)
    return isinstance(X, pandas.Series) or is_named or isinstance(X.index, pandas.DatetimeIndex | pandas.PeriodIndex)


@dataclass(frozen=True, slots=True)
class Form:
    """The form of a pandas object with series, for the results.

    names     of its columns
    keys      the columns of a wide frame, the values of `id` in a long one; of a single series, its name
    single    True for one series
    time      the name of the index or column of times
    zone      of the times; None if they have none
    period    the frequency of a PeriodIndex; else None
    """

    names: Names
    keys: tuple[Any, ...]
    single: bool
    time: Any
    zone: Any
    period: str | None

    def index(self, times: Sequence[Time]) -> Any:
        """The times as an index of the kind of the given one."""
        pandas: Any = sys.modules["pandas"]
        if not times or not isinstance(times[0], datetime):
            return pandas.Index(times)
        # Times with an offset may have different ones.
        index = pandas.to_datetime([*times], utc=True) if times[0].tzinfo else pandas.DatetimeIndex([*times])
        if self.period:
            return index.to_period(self.period)
        if self.zone is None:
            return index
        return index.tz_localize(self.zone) if index.tz is None else index.tz_convert(self.zone)

    def values(self, forecasts: Sequence[Forecast], level: int | None) -> Any:
        """Forecasts in this form: of the quantile with this number, or of all quantiles."""
        pandas: Any = sys.modules["pandas"]
        made = [self._one(each, level) for each in forecasts]
        if self.single:
            return made[0] if level is None else made[0].rename(self.keys[0])
        by_key = dict(zip(self.keys, made, strict=True))
        if not self.names.id:
            return pandas.concat(by_key, axis=1)
        together = pandas.concat(by_key, names=[self.names.id, self.time or "time"])
        return (together if level is None else together.rename(self.names.target or "value")).reset_index()

    def _one(self, forecast: Forecast, level: int | None) -> Any:
        pandas: Any = sys.modules["pandas"]
        index = self.index(forecast.times)
        index.name = self.time
        if level is not None:
            return pandas.Series(forecast.values[:, level], index)
        return pandas.DataFrame(forecast.values, index, pandas.Index(forecast.levels, name="quantile"))

    def extended(self, series: Sequence[Series], known: Any) -> list[Series]:
        """The series with later rows of known columns, in a DataFrame like the one of the training.

        Raises ValueError.
        """
        _check_known(known)
        if series[0].channels == 1:
            raise ValueError("got known, but `fit` had no known columns: expected None; leave it out")
        parts = [known] * len(series)
        if self.names.id:
            groups = dict(iter(_by_time(known, self.names, "known").groupby(self.names.id, observed=True)))
            if missing := [key for key in self.keys if key not in groups]:
                raise ValueError(
                    f"known has no row of {self.names.id} {missing[0]!r}: expected one for each step ahead"
                )
            parts = [groups[key] for key in self.keys]
        elif self.names.target:
            parts = [_by_time(known, self.names, "known")]
        return [self._extended(each, part) for each, part in zip(series, parts, strict=True)]

    def _extended(self, series: Series, known: Any) -> Series:
        rows = int(np.flatnonzero(~np.isnan(series.values[:, 0]))[-1]) + 1
        names, times = (series.channel_names or ("",))[1:], series.times or ()
        if missing := [name for name in names if name not in map(str, known.columns)]:
            raise ValueError(f"known has no column {missing[0]!r}: expected {', '.join(names)}")
        known = known.set_axis([str(name) for name in known.columns], axis=1)[[*names]]
        last = self.index(times[rows - 1 : rows])[0]
        later = _since(last, known).drop(last, errors="ignore").sort_index()
        columns = [np.full(len(later), np.nan), *(_numbers(later[name], f"known column {name!r}") for name in names)]
        values = np.concatenate([series.values[:rows], np.stack(columns, axis=1)])
        return replace(series, values=values, times=(*times[:rows], *_times(later.index)))


def from_frame(X: Any, known: Any, names: Names) -> tuple[list[Series], Form]:
    """The series in a pandas object, with the known columns after the target, and the form.

    known   of a Series or a wide frame: a DataFrame with an index of times, whose columns all series have; else None

    Rows with known columns after the last value of a series are kept: the target is missing there. Raises ValueError.
    """
    pandas: Any = sys.modules["pandas"]
    if known is not None:
        _check_known(known)
    single = isinstance(X, pandas.Series)
    if not len(X):
        raise ValueError("X has no rows: expected at least one series with values; add rows")
    if not single and (len(X.columns) == 0 or X.columns.has_duplicates):
        got = "no columns" if len(X.columns) == 0 else f"two columns {X.columns[X.columns.duplicated()][0]!r}"
        raise ValueError(f"X has {got}: expected columns with different names; add or rename one")
    if single or not (names.id or names.target):
        columns = [(X.name, X)] if single else [(name, X[name]) for name in X.columns]
        return _made(X.index, [(key, each, known) for key, each in columns], Names(), single=single)
    if known is not None:
        raise ValueError(
            "got known for a DataFrame with named columns: expected None; name columns by Forecaster(known=)"
        )
    used = [each for each in (names.id, names.time, names.target, *names.known) if each]
    if missing := [name for name in used if name not in X.columns]:
        raise ValueError(f"X has no column {missing[0]!r}: expected some of {', '.join(map(str, X.columns))}")
    target, others = names.target, [name for name in X.columns if name not in used]
    if not target:
        if len(others) != 1:
            raise ValueError(
                f"X has {len(others)} columns besides {', '.join(used)}: expected one to forecast; name it by "
                "Forecaster(target=)"
            )
        target = others[0]
    X = _by_time(X, names, "X")
    groups = list(X.groupby(names.id, sort=False, observed=True)) if names.id else [(target, X)]
    parts = [(key, group[target], group[[*names.known]] if names.known else None) for key, group in groups]
    return _made(X.index, parts, replace(names, target=target), single=not names.id)


def _check_known(known: Any) -> None:
    pandas: Any = sys.modules["pandas"]
    if not isinstance(known, pandas.DataFrame):
        raise ValueError(f"known is a {type(known).__name__}: expected a DataFrame with the times of X as its index")
    if known.columns.has_duplicates:
        name = known.columns[known.columns.duplicated()][0]
        raise ValueError(f"known has two columns {name!r}: expected columns with different names; rename one")


def _since(time: Any, known: Any) -> Any:
    """The rows of known columns from a time of X on.   Raises ValueError for double times, and for other kinds."""
    if known.index.has_duplicates:
        time = known.index[known.index.duplicated()][0]
        raise ValueError(f"known has the time {time} twice: expected one row for each; remove one")
    try:
        return known.loc[known.index >= time]
    except TypeError as error:
        raise ValueError(
            f"known has an index of {known.index.dtype}: expected times that compare with {time!r}, as in X"
        ) from error


def _by_time(frame: Any, names: Names, shown: str) -> Any:
    """The frame with its times as index, sorted.   Raises ValueError for a missing column or id."""
    if missing := [name for name in (names.id, names.time) if name and name not in frame.columns]:
        raise ValueError(f"{shown} has no column {missing[0]!r}: expected the id and time of Forecaster")
    if names.id and frame[names.id].isna().any():
        raise ValueError(
            f"{shown} has rows without a value of {names.id}: expected one in each, which names the series; fill it "
            "in, or leave the rows out"
        )
    return (frame.set_index(names.time) if names.time else frame).sort_index(kind="stable")


def _made(
    index: Any, parts: Sequence[tuple[Any, Any, Any]], names: Names, *, single: bool
) -> tuple[list[Series], Form]:
    """parts: for each series, its key, its values, and its known columns or None"""
    if index.hasnans:
        raise ValueError("X has a missing time: expected one in each row; fill it in, or leave the row out")
    period = index.freqstr if index.dtype.name.startswith("period") else None
    # A Series and the columns of a wide frame have the same target, since channels are compared by name.
    target = names.target or "value"
    series = [_one_series(values, known, "X" if key is None else str(key), target) for key, values, known in parts]
    keys = tuple(key for key, *_ in parts)
    return series, Form(names, keys, single, index.name, getattr(index, "tz", None), period)


def _one_series(values: Any, known: Any, name: str, target: str) -> Series:
    """Values without missing ones at their start, and known columns of the same and later times."""
    values = values.loc[values.first_valid_index() :] if values.notna().any() else values
    columns, channel_names = [values], None
    if known is not None:
        known = _since(values.index[0], known)
        index = values.index.union(known.index)
        columns = [values.reindex(index), *(known[each].reindex(index) for each in known.columns)]
        channel_names = (target, *map(str, known.columns))
    shown = [f"series {name!r}", *(f"known column {each!r}" for each in (channel_names or ())[1:])]
    numbers = np.stack([_numbers(each, what) for each, what in zip(columns, shown, strict=True)], axis=1)
    made = checked(numbers, None, name, channel_names)
    return replace(made, times=tuple(_times(columns[0].index[: len(made.values)])))


def _numbers(column: Any, shown: str) -> HostArray:
    """A pandas Series as float64, NaN for a missing value.   Raises ValueError for text and complex numbers."""
    if column.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: the {shown} is {column.dtype}; expected real numbers")
    try:
        numbers: HostArray = column.to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the {shown} has values that are no numbers ({error}): expected numbers; encode text, as by "
            "pandas.get_dummies"
        ) from error
    return numbers


def _times(index: Any) -> Iterator[Time]:
    """The times of an index, or its numbers.   Raises ValueError for other labels, which can't be continued."""
    pandas: Any = sys.modules["pandas"]
    if isinstance(index, pandas.PeriodIndex):
        index = index.to_timestamp()
    if isinstance(index, pandas.DatetimeIndex):
        for each in index.to_pydatetime():
            # A fixed offset, since datetimes of one zone are subtracted by the clock.
            yield each.astimezone(timezone(each.utcoffset())) if each.tzinfo else each
    elif index.dtype.kind in "iuf":
        yield from index.tolist()
    else:
        raise ValueError(
            f"X has times of dtype {index.dtype}: expected dates or numbers; convert them by pandas.to_datetime"
        )
