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

    rows      a DataFrame whose index holds the times, or the series and the times. Its columns are the targets, then
              the known columns: they have numbers, since names in X may be equal to those of known columns
    targets   the names of the targets in X: an index of all series of a wide frame, else one name
    known     the names of the known columns
    names     of the parameters
    wide      True for a column for each series
    named     True if the names of the columns were given: all are columns of X
    levels    True if the index of X holds the series and the times
    """

    rows: Any
    targets: Any
    known: tuple[str, ...] = ()
    names: Names = Names()
    wide: bool = False
    named: bool = False
    levels: bool = False

    @property
    def keys(self) -> list[Any]:
        """For each series: its name, the column of a wide frame, or the value of `id` in a long one."""
        if self.rows.index.nlevels == 1:
            return [*self.targets]
        return [*{str(each).strip(): each for each in self.rows.index.unique(0)}.values()]

    def series(self) -> list[Series]:
        """The series, sorted by time, without the rows before the first value.   Raises ValueError."""
        name = "X with known" if self.known and not self.named else "X"
        if np.any(np.asarray(getattr(_times(self.rows), "nanosecond", 0)) > 0):  # NaN of a missing time
            raise ValueError(
                f"{name} has times of nanoseconds: expected whole microseconds; round them, or number the rows"
            )
        time_at, n = self.rows.index.nlevels - 1, len(self.targets)
        header = ["time" if each is None else str(each) for each in self.rows.index.names]
        header += [*(_VALUE if each is None else str(each) for each in self.targets), *self.known]
        frame = self.rows.reset_index(names=[-1 - i for i in range(time_at + 1)])
        table = Table.of(frame.set_axis(header, axis=1), name, Columns())
        times, values = table.times((time_at,)), table.numbers(range(time_at + 1, len(header)))
        target = (self.named and str(self.targets[0])) or _VALUE
        while target in self.known:
            target += "_"
        names = (target, *self.known) if self.named or self.known else None
        made = []
        for group, places in table.groups(0 if time_at else None).items():
            places = table.by_time(places, times, time_at)
            for i in range(n):
                key = str(self.targets[i]) if self.wide else group
                of_series = f"{name}, {'series' if self.wide else header[0]} {key}" if self.wide or time_at else name
                each = checked(values[places][:, [i, *range(n, values.shape[1])]], None, of_series, names)
                of_steps = tuple(times[place] for place in places[: len(each.values)])
                each = replace(each, times=of_steps, id=key, time_names=(header[time_at],))
                made.append(each.part(each.target_rows.start))
        return made

    def with_known(self, known: Any) -> Form:
        """With known columns in a DataFrame of all rows of X, and maybe later ones.   Raises ValueError."""
        if self.named:
            raise ValueError(
                "got known= for a DataFrame with named columns: expected a Series or a wide DataFrame; name the known "
                "columns by Forecaster(known=), and append the rows of the steps ahead to X, with a missing target"
            )
        known = self._like(known)
        missing = self.rows.dropna(how="all").index.difference(known.index)
        if len(missing):
            raise ValueError(f"known has no row of {missing[0]}: expected one for each row of X; add it")
        form = replace(self, known=tuple(known.columns))
        rows = self.rows.join(form._numbered(known), how="outer").rename_axis(self.rows.index.names)
        return replace(form, rows=rows)

    def extended(self, known: Any) -> Form:
        """With the rows of a DataFrame of known columns that are later than the values.   Raises ValueError."""
        pandas: Any = sys.modules["pandas"]
        if not self.known:
            raise ValueError("got known, but `fit` had no known columns: expected None; leave it out")
        if isinstance(known, pandas.DataFrame) and self.named and not self.levels:
            known = _indexed(known, self.names, "known")
        known = self._like(known)
        _require(self.known, known.columns, "known")
        has_value = self.rows.iloc[:, : len(self.targets)].notna().any(axis=1)
        later = self._numbered(known[~known.index.isin(self.rows.index[has_value])])
        rows = pandas.concat([self.rows[~self.rows.index.isin(later.index)], later])
        return replace(self, rows=rows.rename_axis(self.rows.index.names))

    def _numbered(self, known: Any) -> Any:
        """The known columns by their numbers in `rows`."""
        first = len(self.targets)
        return known[[*self.known]].set_axis(range(first, first + len(self.known)), axis=1)

    def _like(self, known: Any) -> Any:
        """A DataFrame of known columns, whose names become text, with the same kind of index.   Raises ValueError."""
        pandas: Any = sys.modules["pandas"]
        if not isinstance(known, pandas.DataFrame):
            got = type(known).__name__
            raise ValueError(f"known is a {got}: expected a DataFrame with the times of X as its index")
        known = known.set_axis([*map(str, known.columns)], axis=1)
        _check_columns(known, "known")
        have, expected = known.index.nlevels, self.rows.index.nlevels
        if have != expected:
            raise ValueError(
                f"the index of known has {have} levels: expected {expected}, as in X; set them as the index"
            )
        types = [_times(each).dtype for each in (known, self.rows)]
        (kind, zone), of_rows = ((each.kind, getattr(each, "tz", None)) for each in types)
        if (kind, zone) != of_rows:
            raise ValueError(
                f"the index of known is {types[0]}, and that of X {types[1]}: expected the same type; convert one"
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
        if self.wide:
            columns, levels = self.targets, forecasts[0].levels
            if level is None:
                columns = columns.repeat(len(levels))
                parts = [columns.get_level_values(i) for i in range(columns.nlevels)]
                names = [*columns.names, "quantile"]
                columns = pandas.MultiIndex.from_arrays([*parts, [*levels] * len(made)], names=names)
            return pandas.concat(made, axis=1, sort=True).set_axis(columns, axis=1)
        if self.rows.index.nlevels == 1:
            return made[0]
        id_name, time = self.rows.index.names
        together = pandas.concat(made, keys=self.keys, names=[id_name, "time" if time is None else time])
        return together if self.levels else together.reset_index(allow_duplicates=True)

    def _one(self, forecast: Forecast, level: int | None) -> Any:
        pandas: Any = sys.modules["pandas"]
        index = self.index(forecast.times)
        index.name = self.rows.index.names[-1]
        if level is not None:
            return pandas.Series(forecast.values[:, level], index, name=self.targets[0])
        return pandas.DataFrame(forecast.values, index, pandas.Index(forecast.levels, name="quantile"))


def form_of(X: Any, names: Names) -> Form:
    """The form of a pandas object.   Raises ValueError."""
    pandas: Any = sys.modules["pandas"]
    is_series, levels = isinstance(X, pandas.Series), X.index.nlevels
    if not len(X):
        raise ValueError("X has no rows: expected at least one series with values; add rows")
    if levels > 2:
        raise ValueError(f"X has an index of {levels} levels: expected times, or series and times; use X.reset_index()")
    frame = X.to_frame() if is_series else X
    _check_columns(frame, "X")
    if is_series and levels == 1:
        return Form(_by_number(frame), [X.name])
    given = [each for each in (names.id, names.time, names.target, *names.known) if each]
    if len({*given}) < len(given):
        raise ValueError(f"id, time, target and known are {', '.join(given)}: expected different columns; name others")
    if levels == 1 and not (names.id or names.target):
        return Form(_by_number(frame), frame.columns, wide=True)
    if levels == 2:
        ids = zip(X.index.names, ("id", "time"), strict=True)
        frame = frame.rename_axis([default if name is None else name for name, default in ids])
    else:
        frame = _indexed(frame, names, "X")
    columns = [*frame.columns]
    if is_series:
        columns = [names.target or (_VALUE if X.name is None else X.name)]
    targets = [names.target] if names.target else [each for each in columns if each not in names.known]
    if len(targets) != 1:
        raise ValueError(
            f"X has {len(targets)} columns besides {', '.join(given) or 'the index'}: expected one to forecast; name "
            "it by Forecaster(target=)"
        )
    used = [*targets, *names.known]
    _require(used, columns, "X")
    rows = _by_number(frame.iloc[:, [columns.index(each) for each in used]])
    return Form(rows, targets, names.known, names, named=True, levels=levels == 2)


def _by_number(frame: Any) -> Any:
    return frame.set_axis(range(frame.shape[1]), axis=1)


def _indexed(frame: Any, names: Names, name: str) -> Any:
    """The frame with an index of times, or of series and times, in place of its columns."""
    _require([each for each in (names.id, names.time) if each], frame.columns, name)
    frame = frame.set_index(names.time) if names.time else frame
    return frame.set_index(names.id, append=True).swaplevel() if names.id else frame


def _times(frame: Any) -> Any:
    return frame.index.get_level_values(-1)


def _check_columns(frame: Any, name: str) -> None:
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice) or not len(frame.columns):
        got = f"two columns {twice[0]!r}" if len(twice) else "no columns"
        raise ValueError(f"{name} has {got}: expected columns with different names; add or rename one")


def _require(names: Sequence[Any], columns: Any, name: str) -> None:
    have = [*columns]  # tuples if the columns have levels: an index also holds the first part of each
    if missing := [each for each in names if each not in have]:
        expected, got = (", ".join(map(str, each)) for each in (names, have))
        raise ValueError(f"{name} has no column {missing[0]!r}: expected {expected}; it has {got}")
