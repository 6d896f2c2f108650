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
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from xrnn.series.checks import Series, Time, checked
from xrnn.series.tables import Columns, Table

if TYPE_CHECKING:
    from xrnn.series.forecast.estimator import Forecast

_VALUE: Final = "value"  # the name of a target without one


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """A pandas object with series, and its form, for the results.

    frame     the identifiers of the series if there are several, the times, the targets, the known columns. The names
              of its columns are numbers, since the names in X need not be text
    keys      the names of the columns before the targets: of times, or of series and times
    targets   the names of the targets in X: an index of all series of a wide frame, else one name
    known     the names of the known columns
    named     False for a Series and a wide frame: parameters name none of its columns
    wide      True for a column for each series
    levels    True if the index of X holds the series and the times
    """

    frame: Any
    keys: Sequence[Any]
    targets: Any
    known: tuple[str, ...] = ()
    named: bool = False
    wide: bool = False
    levels: bool = False

    @property
    def ids(self) -> list[Any]:
        """For each series: its name, the column of a wide frame, or the value of `id` in a long one."""
        if len(self.keys) == 1:
            return [*self.targets]
        return [*{str(each).strip(): each for each in self.frame[0].unique()}.values()]

    @property
    def times(self) -> Any:
        return sys.modules["pandas"].Index(self.frame[len(self.keys) - 1])

    def series(self) -> list[Series]:
        """The series, sorted by time, without the rows before the first value.   Raises ValueError."""
        times, first = self.times, len(self.keys)
        if np.any(np.asarray(getattr(times, "nanosecond", 0)) > 0):  # NaN of a missing time
            raise ValueError("X has times of nanoseconds: expected whole microseconds; round them, or number the rows")
        frame = self.frame.copy(deep=False)
        if getattr(times.dtype, "tz", None) and len({*times.time}) == 1:  # a day later is the same time of day
            frame[first - 1] = times.tz_localize(None)
        header = ["time" if each is None else str(each) for each in self.keys]
        header += [*(_VALUE if each is None else str(each) for each in self.targets), *self.known]
        table = Table.of(frame.set_axis(header, axis=1), "X", Columns())
        times, values = table.times([first - 1]), table.numbers(range(first, len(header)))
        made = []
        for group, of_group, places in table.groups(0 if first == 2 else None, first - 1, times):
            parts: list[tuple[str, str, Any]] = [(group, of_group, slice(None))]
            if self.wide:
                parts = [(str(each), f"X, series {each}", [i]) for i, each in enumerate(self.targets)]
            for key, name, at in parts:
                each = checked(values[places][:, at], None, name, None if self.wide else tuple(header[first:]))
                of_steps = tuple(times[place] for place in places[: len(each.values)])
                each = replace(each, times=of_steps, id=key, time_names=(header[first - 1],))
                made.append(each.part(each.target_rows.start))
        return made

    def index(self, times: Sequence[Time]) -> Any:
        """The times as an index of the kind of the given one."""
        pandas: Any = sys.modules["pandas"]
        if not times or not isinstance(times[0], datetime):
            return pandas.Index(times)
        is_mixed = len({each.utcoffset() for each in times if isinstance(each, datetime)}) > 1
        index = pandas.to_datetime([*times], utc=is_mixed)
        given = self.times
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
        if len(self.keys) == 1:
            return made[0]
        together, (id_name, time) = pandas.concat(made), self.keys
        ids = [key for key, each in zip(self.ids, made, strict=True) for _ in range(len(each))]
        index = pandas.MultiIndex.from_arrays([ids, together.index], names=[id_name, "time" if time is None else time])
        together = together.set_axis(index)
        return together if self.levels else together.reset_index(allow_duplicates=True)

    def _one(self, forecast: Forecast, level: int | None) -> Any:
        pandas: Any = sys.modules["pandas"]
        index = self.index(forecast.times)
        index.name = self.keys[-1]
        if level is not None:
            return pandas.Series(forecast.values[:, level], index, name=self.targets[0])
        return pandas.DataFrame(forecast.values, index, pandas.Index(forecast.levels, name="quantile"))


def form_of(X: Any, id_name: str, time: str, target: str, known: tuple[str, ...]) -> Form | None:
    """The form of a pandas object.   None for other X, and for a DataFrame without names and times.

    id_name, time, target, known   the names of its columns; empty for none, and for times in the index

    Raises ValueError.
    """
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(X, pandas.Series | pandas.DataFrame):
        return None
    is_series, levels = isinstance(X, pandas.Series), X.index.nlevels
    given = [each for each in (id_name, time, target, *known) if each]
    is_wide = not (is_series or given) and levels == 1
    if is_wide and not isinstance(X.index, pandas.DatetimeIndex | pandas.PeriodIndex):
        return None
    if not len(X):
        raise ValueError("X has no rows: expected at least one series with values; add rows")
    if levels > 2:
        raise ValueError(f"X has an index of {levels} levels: expected times, or series and times; use X.reset_index()")
    frame = X.to_frame() if is_series else X
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice) or not len(frame.columns):
        got = f"two columns {twice[0]!r}" if len(twice) else "no columns"
        raise ValueError(f"X has {got}: expected columns with different names; add or rename one")
    parts, keys = [X.index.get_level_values(i) for i in range(levels)], [*X.index.names]
    columns: list[Any] = [X.name] if is_series else [*frame.columns]
    if is_wide or (is_series and levels == 1):
        return Form(_by_number(parts, frame), keys, frame.columns if is_wide else columns, wide=is_wide)
    if len({*given}) < len(given):
        raise ValueError(f"id, time, target and known are {', '.join(given)}: expected different columns; name others")
    if is_series:
        columns = [target or (_VALUE if X.name is None else X.name)]
    required = [each for each in given if levels == 1 or each not in (id_name, time)]
    if missing := [each for each in required if each not in columns]:
        expected, got = (", ".join(map(str, each)) for each in (required, columns))
        raise ValueError(f"X has no column {missing[0]!r}: expected {expected}; it has {got}")
    targets = [target] if target else [each for each in columns if each not in required]
    if len(targets) != 1:
        raise ValueError(
            f"X has {len(targets)} columns besides {', '.join(given) or 'the index'}: expected one to forecast; name "
            "it by Forecaster(target=)"
        )
    if levels == 2:
        keys = [default if key is None else key for key, default in zip(keys, ("id", "time"), strict=True)]
    if time and levels == 1:
        parts, keys = [frame[time]], [time]
    if id_name and levels == 1:
        parts, keys = [frame[id_name], *parts], [id_name, *keys]
    values = frame.iloc[:, [columns.index(each) for each in (*targets, *known)]]
    return Form(_by_number(parts, values), keys, targets, known, bool(given), levels=levels == 2)


def _by_number(parts: Sequence[Any], frame: Any) -> Any:
    """A DataFrame of these columns and of those of a frame, with numbers as names."""
    columns = [*parts, *(frame.iloc[:, i] for i in range(frame.shape[1]))]
    return sys.modules["pandas"].DataFrame({i: column.array for i, column in enumerate(columns)})
