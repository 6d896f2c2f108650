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

from xrnn.series.checks import Series, Time
from xrnn.series.forecast.model import Forecast
from xrnn.series.tables import Columns, Table, names_in

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


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """A pandas object with series, and its form, for the results.

    rows      a DataFrame whose index holds the times, or the series and the times; of a wide frame, all columns besides
              the known ones are targets
    names     of its columns; `target` is empty for a wide frame
    key       the name of a Series
    named     True if the names of the columns were given: all are columns of X
    levels    True if the index of X holds the series and the times
    """

    rows: Any
    names: Names
    key: Any = None
    named: bool = True
    levels: bool = False

    @property
    def targets(self) -> list[Any]:
        return [name for name in self.rows.columns if name not in self.names.known]

    @property
    def keys(self) -> list[Any]:
        """For each series: its name, the column of a wide frame, or the value of `id` in a long one."""
        if self.rows.index.nlevels == 2:
            return [*self.rows.index.unique(0)]
        return [self.key] if self.names.target else self.targets

    def series(self) -> list[Series]:
        """The series, sorted by time, without the rows before the first value.   Raises ValueError."""
        rows, target, known = self.rows, self.names.target, self.names.known
        if not target:
            pandas: Any = sys.modules["pandas"]
            parts = {str(name): rows[[name, *known]].rename(columns={name: _VALUE}) for name in self.targets}
            rows, target = pandas.concat(parts, names=["series"]), _VALUE
        index = ["time" if name is None else str(name) for name in rows.index.names]
        index = [name + " of the index" * (name in rows.columns) for name in index]
        id_name, name = index[0] if len(index) == 2 else "", "X with known" if known and not self.named else "X"
        columns = Columns(id=id_name, time=index[-1], used=(str(target), *known))
        series = Table.of(rows.reset_index(names=index), name, columns).series()
        names = series[0].channel_names if self.named else (_VALUE, *known) if known else None
        return [replace(each.part(each.target_rows.start), channel_names=names) for each in series]

    def with_known(self, known: Any) -> Form:
        """With known columns in a DataFrame of all rows of X, and maybe later ones.   Raises ValueError."""
        if self.named:
            raise ValueError(
                "got known for a DataFrame with named columns: expected None; name the columns by "
                "Forecaster(known=), and append the rows of the steps ahead to X, with a missing target"
            )
        known = self._like(known)
        missing = self.rows.dropna(how="all").index.difference(known.index)
        if len(missing):
            raise ValueError(f"known has no row of {missing[0]}: expected one for each row of X; add it")
        names = replace(self.names, known=tuple(known.columns))
        return replace(self, rows=self.rows.join(known, how="outer"), names=names)

    def extended(self, known: Any) -> Form:
        """With the rows of a DataFrame of known columns that are later than the values.   Raises ValueError."""
        pandas: Any = sys.modules["pandas"]
        names = self.names.known
        if not names:
            raise ValueError("got known, but `fit` had no known columns: expected None; leave it out")
        if isinstance(known, pandas.DataFrame) and self.named and not self.levels:
            known = _indexed(known, replace(self.names, target=""), "known")
        known = self._like(known)
        _require(names, known, "known")
        later = known.loc[~known.index.isin(self.rows.index[self.rows[self.targets].notna().any(axis=1)]), [*names]]
        rows = pandas.concat([self.rows[~self.rows.index.isin(later.index)], later])
        return replace(self, rows=rows.rename_axis(self.rows.index.names))

    def _like(self, known: Any) -> Any:
        """A DataFrame of known columns, whose names become text, with the same kind of index.   Raises ValueError."""
        pandas: Any = sys.modules["pandas"]
        if not isinstance(known, pandas.DataFrame):
            got = type(known).__name__
            raise ValueError(f"known is a {got}: expected a DataFrame with the times of X as its index")
        known = known.set_axis([*map(str, known.columns)], axis=1)
        _check_columns(known, "known")
        types = [_times(each).dtype for each in (known, self.rows)]
        (kind, zone), of_rows = ((each.kind, getattr(each, "tz", None)) for each in types)
        if known.index.nlevels != self.rows.index.nlevels or (kind, zone) != of_rows:
            raise ValueError(
                f"known has times of {types[0]}, and X of {types[1]}: expected times that compare; give both the same "
                "kind of index"
            )
        return known

    def index(self, times: Sequence[Time]) -> Any:
        """The times as an index of the kind of the given one."""
        pandas: Any = sys.modules["pandas"]
        if not times or not isinstance(times[0], datetime):
            return pandas.Index(times)
        is_mixed = len({each.utcoffset() for each in times if isinstance(each, datetime)}) > 1
        index = pandas.to_datetime([*times], utc=True) if is_mixed else pandas.DatetimeIndex([*times])
        given = _times(self.rows)
        if isinstance(given, pandas.PeriodIndex):
            return index.to_period(given.freq)
        if (zone := getattr(given.dtype, "tz", None)) is None:
            return index
        if index.tz is not None:
            return index.tz_convert(zone)
        return index.tz_localize(zone, ambiguous=np.ones(len(index), bool), nonexistent="shift_forward")

    def values(self, forecasts: Sequence[Forecast], level: int | None) -> Any:
        """Forecasts in this form: of the quantile with this number, or of all quantiles."""
        pandas: Any = sys.modules["pandas"]
        made = [self._one(each, level) for each in forecasts]
        by_key = dict(zip(self.keys, made, strict=True))
        if not self.names.target:
            return pandas.concat(by_key, axis=1, sort=True)
        if self.rows.index.nlevels == 1:
            return made[0] if level is None else made[0].rename(self.key)
        together = pandas.concat(by_key, names=[self.names.id, made[0].index.name or "time"])
        together = together if level is None else together.rename(self.names.target)
        return together if self.levels else together.reset_index()

    def _one(self, forecast: Forecast, level: int | None) -> Any:
        pandas: Any = sys.modules["pandas"]
        index = self.index(forecast.times)
        index.name = self.rows.index.names[-1]
        if level is not None:
            return pandas.Series(forecast.values[:, level], index)
        return pandas.DataFrame(forecast.values, index, pandas.Index(forecast.levels, name="quantile"))


def form_of(X: Any, names: Names) -> Form:
    """The form of a pandas object.   Raises ValueError."""
    pandas: Any = sys.modules["pandas"]
    is_series, levels = isinstance(X, pandas.Series), X.index.nlevels
    if not len(X):
        raise ValueError("X has no rows: expected at least one series with values; add rows")
    if levels > 2:
        raise ValueError(f"X has an index of {levels} levels: expected times, or series and times; use X.reset_index()")
    if is_series and levels == 1:
        name = _VALUE if X.name is None else X.name
        return Form(X.to_frame(name), Names(target=name), X.name, named=False)
    X = X.to_frame(names.target or X.name or _VALUE) if is_series else X
    _check_columns(X, "X")
    if levels == 1 and not (names.id or names.target):
        return Form(X, Names(), named=False)
    if levels == 2:
        ids = [name or default for name, default in zip(X.index.names, ("id", "time"), strict=True)]
        X, names = X.rename_axis(ids), replace(names, id=ids[0], time="")
    else:
        X = _indexed(X, names, "X")
    if not names.target:
        others = [name for name in X.columns if name not in names.known]
        if len(others) != 1:
            given = ", ".join(filter(None, (names.id, names.time, *names.known)))
            raise ValueError(
                f"X has {len(others)} columns besides {given}: expected one to forecast; name it by Forecaster(target=)"
            )
        names = replace(names, target=others[0])
    used = [names.target, *names.known]
    _require(used, X, "X")
    return Form(X[used], names, names.target, levels=levels == 2)


def _indexed(frame: Any, names: Names, name: str) -> Any:
    """The frame with an index of times, or of series and times, in place of its columns."""
    _require([each for each in (names.id, names.time) if each], frame, name)
    frame = frame.set_index(names.time) if names.time else frame
    return frame.set_index(names.id, append=True).swaplevel() if names.id else frame


def _times(frame: Any) -> Any:
    return frame.index if frame.index.nlevels == 1 else frame.index.levels[-1]


def _check_columns(frame: Any, name: str) -> None:
    names = [*map(str, frame.columns)]
    twice = [name for name in names if names.count(name) > 1] if len({*names}) < len(names) else []
    if twice or not names:
        got = f"two columns {twice[0]!r}" if twice else "no columns"
        raise ValueError(f"{name} has {got}: expected columns with different names; add or rename one")


def _require(names: Sequence[Any], frame: Any, name: str) -> None:
    if missing := [each for each in names if each not in frame.columns]:
        have = ", ".join(map(str, frame.columns))
        raise ValueError(f"{name} has no column {missing[0]!r}: expected {', '.join(map(str, names))}; it has {have}")
