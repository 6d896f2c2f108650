"""Series in pandas' objects, and forecasts as the same kind of object.

A Series is one series. A DataFrame is

- long, if the name of its column `id` is given, or if its index has two levels, series and times: a row for each series
  and step;
- one series, if other names of columns are given;
- wide, if none are given and its index holds times: a column for each series.

pandas is used only if the caller's objects are pandas' own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import numpy as np

from xrnn.series.checks import Series, Time, checked
from xrnn.series.errors import SettingsError, param
from xrnn.series.forecast.forecasts import Forecast
from xrnn.series.tables import Columns, Table, names_in

_VALUE: Final = "value"  # the name of a target without one


@dataclass(frozen=True, slots=True)
class Names:
    """Names of columns of a DataFrame; empty for none. `time` is empty if the index holds the times."""

    id: str = ""
    time: str = ""
    target: str = ""
    known: tuple[str, ...] = ()

    @property
    def given(self) -> list[str]:
        return [each for each in (self.id, self.time, self.target, *self.known) if each]


def names_of(known: str | Sequence[str]) -> tuple[str, ...]:
    """The names in a list, or in text with commas.   Raises ValueError for a name that such text does not hold."""
    if isinstance(known, str):
        return names_in(known)
    if not isinstance(known, Iterable):
        raise SettingsError(f"{param('known')} is {known!r}: expected text or a list of text")
    names = tuple(map(str, known))
    if names_in(",".join(names)) != names:
        raise ValueError(
            f"known is {names}: expected names without commas and outer whitespace, since files hold them as a list "
            "with commas; rename the columns"
        )
    return names


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """A pandas object with series, and its form, for the results.

    rows      a DataFrame whose index holds the times, or the series and the times. Its columns are the targets, then
              the known columns: they have numbers, since the names in X need not be text
    targets   the names of the targets in X: an index of all series of a wide frame, else one name
    names     the parameters that name columns of X; empty for a Series and a wide frame
    wide      True for a column for each series
    levels    True if the index of X holds the series and the times
    """

    rows: Any
    targets: Any
    names: Names = Names()
    wide: bool = False
    levels: bool = False

    @property
    def keys(self) -> list[Any]:
        """For each series: its name, the column of a wide frame, or the value of `id` in a long one."""
        if self.rows.index.nlevels == 1:
            return [*self.targets]
        return [*{str(each).strip(): each for each in self.rows.index.unique(0)}.values()]

    def series(self) -> list[Series]:
        """The series, sorted by time, without the rows before the first value.   Raises ValueError."""
        if np.any(np.asarray(getattr(_times(self.rows), "nanosecond", 0)) > 0):  # NaN of a missing time
            raise ValueError("X has times of nanoseconds: expected whole microseconds; round them, or number the rows")
        levels = self.rows.index.nlevels
        header = ["time" if each is None else str(each) for each in self.rows.index.names]
        header += [*(_VALUE if each is None else str(each) for each in self.targets), *self.names.known]
        frame = self.rows.reset_index(names=[-1 - i for i in range(levels)])
        times = frame[-levels]
        if getattr(times.dtype, "tz", None) and times.dt.time.nunique() == 1:  # a day later is the same time of day
            frame[-levels] = times.dt.tz_localize(None)
        table = Table.of(frame.set_axis(header, axis=1), "X", Columns())
        times, values = table.times([levels - 1]), table.numbers(range(levels, len(header)))
        made = []
        for group, of_group, places in table.groups(0 if levels == 2 else None, levels - 1, times):
            parts: list[tuple[str, str, Any]] = [(group, of_group, slice(None))]
            if self.wide:
                parts = [(str(each), f"X, series {each}", [i]) for i, each in enumerate(self.targets)]
            for key, name, at in parts:
                each = checked(values[places][:, at], None, name, None if self.wide else tuple(header[levels:]))
                of_steps = tuple(times[place] for place in places[: len(each.values)])
                each = replace(each, times=of_steps, id=key, time_names=(header[levels - 1],))
                made.append(each.part(each.target_rows.start))
        return made

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
        together, (id_name, time) = pandas.concat(made), self.rows.index.names
        ids = [key for key, each in zip(self.keys, made, strict=True) for _ in range(len(each))]
        index = pandas.MultiIndex.from_arrays([ids, together.index], names=[id_name, "time" if time is None else time])
        together = together.set_axis(index)
        return together if self.levels else together.reset_index(allow_duplicates=True)

    def _one(self, forecast: Forecast, level: int | None) -> Any:
        pandas: Any = sys.modules["pandas"]
        index = self.index(forecast.times)
        index.name = self.rows.index.names[-1]
        if level is not None:
            return pandas.Series(forecast.values[:, level], index, name=self.targets[0])
        return pandas.DataFrame(forecast.values, index, pandas.Index(forecast.levels, name="quantile"))


def form_of(X: Any, names: Names) -> Form | None:
    """The form of a pandas object.   None for other X, and for a DataFrame without names and times.

    Raises ValueError.
    """
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(X, pandas.Series | pandas.DataFrame):
        return None
    is_series, levels, given = isinstance(X, pandas.Series), X.index.nlevels, names.given
    is_wide = not (is_series or given) and levels == 1
    if is_wide and not isinstance(X.index, pandas.DatetimeIndex | pandas.PeriodIndex):
        return None
    if not len(X):
        raise ValueError("X has no rows: expected at least one series with values; add rows")
    if levels > 2:
        raise ValueError(f"X has an index of {levels} levels: expected times, or series and times; use X.reset_index()")
    frame = X.to_frame() if is_series else X
    _check_columns(frame)
    if is_wide or (is_series and levels == 1):
        return Form(_by_number(frame), frame.columns if is_wide else [X.name], wide=is_wide)
    if len({*given}) < len(given):
        raise ValueError(f"id, time, target and known are {', '.join(given)}: expected different columns; name others")
    if levels == 2:
        ids = zip(X.index.names, ("id", "time"), strict=True)
        frame = frame.rename_axis([default if name is None else name for name, default in ids])
    else:
        _require([each for each in (names.id, names.time) if each], frame.columns)
        frame = frame.set_index(names.time) if names.time else frame
        frame = frame.set_index(names.id, append=True).swaplevel() if names.id else frame
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
    _require(used, columns)
    return Form(_by_number(frame.iloc[:, [columns.index(each) for each in used]]), targets, names, levels=levels == 2)


def _by_number(frame: Any) -> Any:
    return frame.set_axis(range(frame.shape[1]), axis=1)


def _times(frame: Any) -> Any:
    return frame.index.get_level_values(-1)


def _check_columns(frame: Any) -> None:
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice) or not len(frame.columns):
        got = f"two columns {twice[0]!r}" if len(twice) else "no columns"
        raise ValueError(f"X has {got}: expected columns with different names; add or rename one")


def _require(names: Sequence[Any], columns: Any) -> None:
    have = [*columns]  # tuples if the columns have levels: an index also holds the first part of each
    if missing := [each for each in names if each not in have]:
        expected, got = (", ".join(map(str, each)) for each in (names, have))
        raise ValueError(f"X has no column {missing[0]!r}: expected {expected}; it has {got}")
