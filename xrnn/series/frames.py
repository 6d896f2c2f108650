"""Series in pandas' objects, and forecasts as the same kind of object.

A Series is one series. A DataFrame is

- long, if the name of its column `id` is given, or if its index has two levels, series and times: a row for each series
  and step;
- one series, if only the name of its column `target` is given;
- wide, if its index holds times: a column for each series.

pandas is used only if the caller's objects are pandas' own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import numpy as np

from xrnn.series.checks import Series, Time, checked
from xrnn.series.forecast.model import Forecast
from xrnn.series.tables import Columns, Table, names_in
from xrnn.series.times import read_times, show

_REMEDY: Final = "correct it, or encode categories as numbers"
_VALUE: Final = "value"  # the name of the target in a Series and a wide frame, as channels are compared by name


@dataclass(frozen=True, slots=True)
class Names:
    """Names of columns of a DataFrame; empty for none. `time` is empty if the index holds the times."""

    id: str = ""
    time: str = ""
    target: str = ""
    known: tuple[str, ...] = ()


def names_of(known: str | Sequence[str]) -> tuple[str, ...]:
    """The names in a list, or in text with commas.   Raises ValueError for a name that such text does not hold."""
    if isinstance(known, str):
        return names_in(known)
    names = tuple(map(str, known))
    for name in names:
        if name.strip() != name or not name or any(c in ",\0" or "\ud800" <= c <= "\udfff" for c in name):
            raise ValueError(
                f"known has the name {name!a}: expected text without commas, NUL, surrogates and outer whitespace, "
                "since files hold the names as a list with commas; rename the column"
            )
    return names


def is_frame(X: Any, names: Names) -> bool:
    """True for a pandas Series, and for a DataFrame in one of the forms above."""
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(X, pandas.Series | pandas.DataFrame):
        return False
    is_named = bool(names.id or names.target) or X.index.nlevels > 1
    return isinstance(X, pandas.Series) or is_named or isinstance(X.index, pandas.DatetimeIndex | pandas.PeriodIndex)


@dataclass(frozen=True, slots=True)
class Form:
    """The form of a pandas object with series, for the results.

    names     of its columns
    keys      the columns of a wide frame, the values of `id` in a long one; of a single series, its name
    single    True for one series
    levels    True if the index holds the series and the times
    time      the name of the index or column of times
    zone      of the times; None if they have none
    clock     True if times are stored as local time, without an offset
    period    the frequency of a PeriodIndex; else None
    """

    names: Names
    keys: tuple[Any, ...]
    single: bool
    levels: bool
    time: Any
    zone: Any
    clock: bool
    period: str | None

    def index(self, times: Sequence[Time]) -> Any:
        """The times as an index of the kind of the given one."""
        pandas: Any = sys.modules["pandas"]
        if not times or not isinstance(times[0], datetime):
            return pandas.Index(times)
        is_mixed = len({each.utcoffset() for each in times if isinstance(each, datetime)}) > 1
        index = pandas.to_datetime([*times], utc=True) if is_mixed else pandas.DatetimeIndex([*times])
        if self.period:
            return index.to_period(self.period)
        if self.zone is None:
            return index
        if index.tz is not None:
            return index.tz_convert(self.zone)
        return index.tz_localize(self.zone, ambiguous=np.ones(len(index), bool), nonexistent="shift_forward")

    def values(self, forecasts: Sequence[Forecast], level: int | None) -> Any:
        """Forecasts in this form: of the quantile with this number, or of all quantiles."""
        pandas: Any = sys.modules["pandas"]
        made = [self._one(each, level) for each in forecasts]
        if self.single:
            return made[0] if level is None else made[0].rename(self.keys[0])
        by_key = dict(zip(self.keys, made, strict=True))
        if not self.names.id:
            return pandas.concat(by_key, axis=1, sort=True)
        together = pandas.concat(by_key, names=[self.names.id, self.time or "time"])
        together = together if level is None else together.rename(self.names.target or _VALUE)
        return together if self.levels else together.reset_index()

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
        if series[0].channels == 1:
            raise ValueError("got known, but `fit` had no known columns: expected None; leave it out")
        names = (series[0].channel_names or ())[1:]
        later = {each.id: each for each in self._known(known, names)}
        if missing := [each.id for each in series if each.id not in later]:
            raise ValueError(f"known has no row of {self.names.id} {missing[0]!r}: expected one for each step ahead")
        return [_with_known(each, later[each.id]) for each in series]

    def _known(self, known: Any, names: Sequence[str] = ()) -> list[Series]:
        """Series of known columns; of a Series or a wide frame, one, without an id.   names: () for all columns"""
        pandas: Any = sys.modules["pandas"]
        if not isinstance(known, pandas.DataFrame):
            got = type(known).__name__
            raise ValueError(f"known is a {got}: expected a DataFrame with the times of X as its index")
        known = known.reset_index(names=[self.names.id, self.names.time]) if self.levels else known
        have = [*map(str, known.columns)]
        if twice := [name for name in have if have.count(name) > 1]:
            raise ValueError(f"known has two columns {twice[0]!r}: expected columns with different names; rename one")
        if missing := [name for name in names if name not in have]:
            raise ValueError(f"known has no column {missing[0]!r}: expected {', '.join(names)}")
        if self.names.id or self.names.target:
            return _named(known, "known", self.names, names, clock=self.clock).series()
        table = Table.of(known, "known", Columns(time="time", remedy=_REMEDY), index="time", clock=self.clock)
        places = [1 + have.index(name) for name in names or have]
        made = checked(table.numbers(places), None, "known", tuple(names or have))
        return [replace(made, times=tuple(read_times(table.cells(0), table.where)[: len(made.values)]))]


def from_frame(X: Any, known: Any, names: Names) -> tuple[list[Series], Form]:
    """The series in a pandas object, with the known columns after the target, and the form.

    known   of a Series or a wide frame: a DataFrame with an index of times, whose columns all series have; else None

    Rows with known columns after the last value of a series are kept: the target is missing there. Raises ValueError.
    """
    pandas: Any = sys.modules["pandas"]
    single, levels = isinstance(X, pandas.Series), X.index.nlevels == 2
    if not len(X):
        raise ValueError("X has no rows: expected at least one series with values; add rows")
    if not single and (len(X.columns) == 0 or X.columns.has_duplicates):
        got = "no columns" if len(X.columns) == 0 else f"two columns {X.columns[X.columns.duplicated()][0]!r}"
        raise ValueError(f"X has {got}: expected columns with different names; add or rename one")
    if X.index.nlevels > 2:
        raise ValueError(
            f"X has an index of {X.index.nlevels} levels: expected times, or series and times; use X.reset_index()"
        )
    if levels:
        ids = [name or default for name, default in zip(X.index.names, ("id", "time"), strict=True)]
        names = replace(names, id=ids[0], time=ids[1])
        X = (X.to_frame(names.target or X.name or _VALUE) if single else X).reset_index(names=ids)
    times = X[names.time] if names.time in X and (names.id or names.target) else X.index
    period = str(times.dtype)[7:-1] if str(times.dtype).startswith("period") else None
    form = Form(names, (), single and not levels, levels, times.name, getattr(times.dtype, "tz", None), False, period)
    if form.single or not (names.id or names.target):
        keys = (X.name,) if form.single else tuple(X.columns)
        X = X.to_frame(_VALUE if X.name is None else X.name) if form.single else X
        table = Table.of(X, "X", Columns(time="time", remedy=_REMEDY), index="time")
        times = tuple(read_times(table.cells(0), table.where))
        parts = [checked(table.numbers([i]), None, "X" if key is None else str(key)) for i, key in enumerate(keys, 1)]
        series = [_from_first_value(replace(each, times=times[: len(each.values)])) for each in parts]
        form = replace(form, names=Names(), keys=keys, clock=_has_clock(form.zone, series))
        return [_with_known(each, *form._known(known)) for each in series] if known is not None else series, form
    if known is not None:
        raise ValueError(
            "got known for a DataFrame with named columns: expected None; name the columns by "
            "Forecaster(known=), and append the rows of the steps ahead to X, with a missing target"
        )
    used = [each for each in (names.id, names.time, names.target, *names.known) if each]
    if missing := [name for name in used if name not in X.columns]:
        raise ValueError(f"X has no column {missing[0]!r}: expected some of {', '.join(map(str, X.columns))}")
    if not names.target:
        others = [name for name in X.columns if name not in used]
        if len(others) != 1:
            raise ValueError(
                f"X has {len(others)} columns besides {', '.join(used)}: expected one to forecast; name it by "
                "Forecaster(target=)"
            )
        names = replace(names, target=others[0])
    table = _named(X, "X", names, [str(names.target), *names.known])
    series = [_from_first_value(each) for each in table.series()]
    by_id: dict[str, Any] = {"": names.target}
    if names.id:
        by_id = dict(zip(table.cells(table.place(names.id)), X[names.id], strict=True))
    clock, keys = _has_clock(form.zone, series), tuple(by_id[each.id] for each in series)
    return series, replace(form, names=names, keys=keys, single=not names.id, clock=clock)


def _has_clock(zone: Any, series: Sequence[Series]) -> bool:
    first = (series[0].times or (0.0,))[0]
    return zone is not None and isinstance(first, datetime) and first.tzinfo is None


def _named(frame: Any, name: str, names: Names, used: Sequence[str], *, clock: bool | None = None) -> Table:
    """The table of a DataFrame with named columns, to be sorted by time."""
    index = "" if names.time else str(frame.index.name or "time")
    while index in [*map(str, frame.columns)]:
        index += " of the index"
    columns = Columns(id=names.id, time=names.time or index, used=tuple(used), remedy=_REMEDY)
    return Table.of(frame, name, columns, index=index, clock=clock)


def _from_first_value(series: Series) -> Series:
    """The series without the rows before the first value of its first column."""
    first = int(np.argmax(~np.isnan(series.values[:, 0])))
    return replace(series, values=series.values[first:], times=(series.times or ())[first:])


def _with_known(series: Series, known: Series) -> Series:
    """The series with known columns: of all its rows, if it has none yet, and of later rows.

    Raises ValueError for double times, and for times of another kind.
    """
    times, K = series.times or (), known.channels
    rows = dict(zip(known.times or (), known.values, strict=True))
    if len(rows) < len(known.values):
        twice = next(time for i, time in enumerate(known.times or ()) if time in (known.times or ())[:i])
        raise ValueError(f"known has the time {show(twice)} twice: expected one row for each; remove one")
    end = int(np.flatnonzero(~np.isnan(series.values[:, 0]))[-1]) + 1
    try:
        last, later = times[end - 1], [time for time in rows if time > times[end - 1]]  # type: ignore[operator]
        if series.channels == 1:
            if missing := [time for time in times[:end] if time not in rows]:
                raise ValueError(f"known has no row of {show(missing[0])}: expected one for each row of X; add it")
            past = sorted({*times[:end], *(time for time in rows if times[0] <= time <= last)})  # type: ignore
            target = dict(zip(times, series.values[:, 0], strict=True))
            values = [[target.get(time, np.nan), *rows.get(time, [np.nan] * K)] for time in past]
        else:
            past, values = list(times[:end]), series.values[:end].tolist()
    except TypeError as error:
        raise ValueError(
            f"known has the time {show(next(iter(rows)))}, and X has {show(times[0])}: expected times that compare; "
            "give both the same kind of index"
        ) from error
    later.sort()
    values += [[np.nan, *rows[time]] for time in later]
    names = series.channel_names or (_VALUE, *(known.channel_names or ()))
    return replace(series, values=np.array(values), times=(*past, *later), channel_names=names)
