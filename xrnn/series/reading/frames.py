"""Series in pandas' objects, and forecasts as the same kind of object.

A Series is one series. A DataFrame is

long         if a column `id` is named, or the index has two levels, series and times: a row for each series and step
one series   if other columns are named
wide         if no column is named and its index holds times: a column for each series

pandas is used only if the caller's objects are pandas' own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from xrnn.series.one_series import Series, Time, checked, is_complete
from xrnn.series.reading.notes import tell
from xrnn.series.reading.tables import Columns, Table, cell_of, names_in, text_of
from xrnn.series.steps import WEEKEND, open_days

if TYPE_CHECKING:
    from xrnn.series.forecast.series import OneSeries

_TIMES: Final = Columns(timed=True, of_frame=True)


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """A pandas object with series, and its form, for the results.

    frame     columns with their names as text: the identifiers of the series if there are several, the times, the
              targets, the known columns
    keys      the names in X of identifiers and times, or of times
    targets   the names in X of the targets: an index of all series of a wide frame, else one name
    wide      True for a column for each series
    in_index  True if the index of X has two levels, the series and the times
    dtype     of the times in X: forecasts have times of the same dtype
    holidays  of the frequency of the times, such as pandas' CustomBusinessDay has them
    step      the name of the step that this frequency has; empty if it leaves out no weekdays
    """

    frame: Any
    keys: Sequence[Any]
    targets: Any
    wide: bool
    in_index: bool
    dtype: Any
    holidays: frozenset[date] = frozenset()
    step: str = ""

    @property
    def ids(self) -> list[Any]:
        """The identifier of each series: its value of `id` in a long frame, else the name of its column."""
        if len(self.keys) == 1:
            return [*self.targets]
        by_text: dict[str, Any] = {}
        for each in self.frame.iloc[:, 0].unique():
            by_text.setdefault(text_of(cell_of(each)), each)
        return [*by_text.values()]

    @property
    def times(self) -> Any:
        return sys.modules["pandas"].Index(self.frame.iloc[:, len(self.keys) - 1])

    def series(self) -> list[Series]:
        """The series, sorted by time, without the rows before the first value; also those that are not complete.

        Raises ValueError.
        """
        frame = self.frame.copy(deep=False)
        first = len(self.keys)
        index = self.times
        if np.any(np.asarray(getattr(index, "nanosecond", 0)) > 0):  # NaN of a missing time
            raise ValueError("X has times of nanoseconds; round them to microseconds, or number the rows")
        zone = getattr(index.dtype, "tz", None)
        if zone and len({*index.time}) == 1:  # a day later is the same time of day
            frame.isetitem(first - 1, index.tz_localize(None))
            zone = None
        table = Table.of(frame, "X", _TIMES)
        places = range(first, len(table.header))
        decimal, notes = table.decimal(places)
        times = table.times([first - 1])
        values = table.numbers(places, decimal)
        tell(table.name, notes)
        made = []
        for key, name, rows in table.groups(0 if first == 2 else None, times, is_named=True):
            of_steps = tuple(times[row] for row in rows)
            of_rows = values[rows]
            if self.wide:
                ids = enumerate(map(str, self.targets))
                made += [
                    Series(of_rows[:, [i]], None, f"X, series {each}", None, of_steps, each, zone=zone)
                    for i, each in ids
                ]
            else:
                made.append(Series(of_rows, None, name, table.header[first:], of_steps, key, zone=zone))
        made = [replace(one, holidays=self.holidays, step=self.step) for one in made]
        series = [checked(one, to_forecast=True) if is_complete(one) else one for one in made]
        return [one.part(one.target_rows.start) for one in series]

    def only(self, places: Sequence[int]) -> Form:
        """This form with the series at these places alone."""
        if len(places) == len(self.ids):
            return self
        if self.wide:
            return replace(self, targets=self.targets[[*places]])
        ids = {text_of(cell_of(self.ids[i])) for i in places}
        rows = [text_of(cell_of(each)) in ids for each in self.frame.iloc[:, 0]]
        return replace(self, frame=self.frame[rows])

    def index(self, times: Sequence[Time]) -> Any:
        """The times as an index of the kind of the given one."""
        pandas: Any = sys.modules["pandas"]
        if not times or not isinstance(times[0], datetime):
            return pandas.Index(times, name=self.keys[-1])
        index = pandas.to_datetime([*times], utc=times[0].tzinfo is not None)
        given = self.times
        index = index.rename(self.keys[-1])
        zone = getattr(given.dtype, "tz", None)
        if isinstance(given, pandas.PeriodIndex):
            return index.to_period(given.freq)
        if index.tz is not None:
            index = index.tz_convert(zone or times[0].tzinfo)
        else:
            index = index.tz_localize(zone, ambiguous=np.ones(len(index), bool), nonexistent="shift_forward")
        return index.astype(self.dtype) if _is_arrow_time(self.dtype) else index

    def values(self, series: Sequence[OneSeries], place: int | None) -> Any:
        """The forecasts of series in this form: of the quantile at this place, or of all quantiles."""
        pandas: Any = sys.modules["pandas"]
        quantiles = pandas.Index(series[0].model.levels, name="quantile")
        made = [pandas.DataFrame(one.forecast, self.index(one.times_ahead), quantiles) for one in series]
        if place is not None:
            made = [each.iloc[:, place].rename(self.targets[0]) for each in made]
        if self.wide:
            columns = self.targets
            if place is None:
                columns = columns.repeat(len(quantiles))
                parts = [columns.get_level_values(i) for i in range(columns.nlevels)]
                names = [*columns.names, quantiles.name]
                columns = pandas.MultiIndex.from_arrays([*parts, [*quantiles] * len(made)], names=names)
            return pandas.concat(made, axis=1, sort=True).set_axis(columns, axis=1)
        if len(self.keys) == 1:
            return made[0]
        together = pandas.concat(made)
        ids = [key for key, each in zip(self.ids, made, strict=True) for _ in range(len(each))]
        together = together.set_axis(pandas.MultiIndex.from_arrays([ids, together.index], names=self.keys))
        return together if self.in_index else together.reset_index(allow_duplicates=True)


def form_of(X: Any, id_name: str, time: str, target: str, known: tuple[str, ...]) -> Form | None:
    """The form of a pandas object.   None for other X, and for a DataFrame without names and times.

    id_name, time, target, known   the names of its columns; empty for none, and for times in the index

    Raises ValueError.
    """
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(X, pandas.Series | pandas.DataFrame):
        return None
    levels = X.index.nlevels
    index = _own_times(X.index)
    if X.ndim == 1:  # it has no columns to name
        id_name = ""
        time = ""
        target = ""
        known = ()
    elif levels == 2:  # the index has both
        id_name, time = "", ""
    times = [time] if time != "" else []
    if X.ndim == 2 and levels == 1:
        times = _columns_named(X, time) if times else _columns_of_times(X, index, id_name, (target, *known))
    is_wide = X.ndim == 2 and levels == 1 and not (id_name or times or target or known)
    if is_wide and not isinstance(index, pandas.DatetimeIndex | pandas.PeriodIndex):
        return None
    frame = X if X.ndim == 2 else X.to_frame(X.name)
    if not frame.size:
        raise ValueError(f"X has the shape {frame.shape}; add rows and columns of values")
    if levels > 2:
        raise ValueError(
            f"X has an index of {levels} levels; keep times in it, or series and times: use X.reset_index()"
        )
    if len(twice := frame.columns[frame.columns.duplicated()]):
        raise ValueError(f"X has two columns {twice[0]!r}; rename one")
    if not is_wide:
        id_name, target = (_column(frame, each) for each in (id_name, target))
        known = tuple(_column(frame, column) for column in known)
    keys = [each for each in (id_name, *times) if each != ""]
    used = frame if is_wide else _used(frame, keys, target, known)
    parts = [frame[key] for key in keys]
    if len(times) > 1:
        keys = [*keys[: -len(times)], "time"]
        read = Table.of(frame[times], "X", _TIMES).times(range(len(times)))
        parts = [*parts[: -len(times)], pandas.Series(read)]
    if not times:  # they are in the index; a column may be called 0
        keys = [*keys, *X.index.names]
        parts = [*parts, *map(X.index.get_level_values, range(levels))]
    if len(keys) == 2:
        keys = [default if key is None else key for key, default in zip(keys, ("id", "time"), strict=True)]
    dtype = parts[-1].dtype
    parts[-1] = _own_times(parts[-1])
    if len(parts) == 2:
        parts[0] = _without_equal_ids(parts[0])
    parts += [used.iloc[:, i] for i in range(used.shape[1])]
    table = pandas.DataFrame({i: part.array for i, part in enumerate(parts)})
    table.columns = [*map(str, keys), *("value" if column is None else str(column) for column in used.columns)]
    frequency = getattr(X.index, "freq", None)
    holidays = np.array(getattr(frequency, "holidays", None) or (), "datetime64[D]")
    targets = used.columns if is_wide else [*used.columns][:1]
    return Form(
        table, keys, targets, is_wide, levels == 2, dtype, frozenset(holidays.tolist()), _step_of_open_days(frequency)
    )


def _step_of_open_days(frequency: Any) -> str:
    """The name of the step of pandas' BusinessDay or CustomBusinessDay; empty for another frequency."""
    if getattr(frequency, "n", 0) != 1:
        return ""
    if frequency.rule_code == "B":
        return open_days(WEEKEND).name
    if frequency.rule_code != "C":
        return ""
    return open_days(frozenset(np.flatnonzero(~frequency.calendar.weekmask).tolist())).name


def _counts_rows(index: Any) -> bool:
    """Whether an index has no name and no times, but whole numbers, as pandas numbers rows."""
    return index.name is None and index.dtype.kind == "i"


def _columns_of_times(frame: Any, index: Any, id_name: str, channels: Sequence[str]) -> list[Any]:
    """The names of the columns of times, one to three, as the commands find them in a file; [] if the index holds them.

    index     that of the frame, see `_own_times`
    id_name, channels   names of other columns; empty for none
    """
    pandas: Any = sys.modules["pandas"]
    if isinstance(index, pandas.DatetimeIndex | pandas.PeriodIndex):
        return []
    if not (id_name or any(channels)) and all(dtype.kind in "biuf" for dtype in frame.dtypes):
        return []  # X (n, T)
    if not _counts_rows(index):  # as in a file, it is the first column
        frame = pandas.concat([index.to_series(frame.index, name=""), frame], axis=1)
    names = [*frame.columns]
    used = [_column(frame, each) for each in (id_name, *channels) if each != ""]
    if any(name not in names for name in used):
        return []  # `_used` refuses missing columns
    places = [names.index(name) for name in used]
    id_at = places.pop(0) if id_name != "" else None
    left = [i for i in range(len(names)) if i != id_at]
    found = Table.of(frame, "X", _TIMES).columns_of_times(left, places, id_at) if len(left) > 1 else []
    return [names[i] for i in found if _counts_rows(index) or i > 0]


def _columns_named(frame: Any, time: str) -> list[Any]:
    """The name of the column of times, or of two or three, such as "year,month"."""
    column = _column(frame, time)
    parts = [_column(frame, each) for each in names_in(time)]
    return parts if column not in frame.columns and len(parts) in (2, 3) else [column]


def _is_arrow_time(dtype: Any) -> bool:
    """Whether this is the dtype of Arrow's dates or time stamps, in pandas' ArrowDtype."""
    return str(getattr(dtype, "pyarrow_dtype", "")).startswith(("timestamp", "date"))


def _own_times(values: Any) -> Any:
    """A column or an index; with pandas' own dtype, which has the zone, if it holds Arrow's times."""
    if not _is_arrow_time(values.dtype):
        return values
    arrow = values.dtype.pyarrow_dtype
    unit, zone = getattr(arrow, "unit", "s"), getattr(arrow, "tz", None)
    return values.astype(f"datetime64[{unit}, {zone}]" if zone else f"datetime64[{unit}]")


def _without_equal_ids(ids: Any) -> Any:
    """The identifiers; those that are equal to an earlier one, such as 0.0 and -0.0 or 1 and True, are that one."""
    pandas: Any = sys.modules["pandas"]
    places, different = pandas.factorize(ids, use_na_sentinel=False)
    return different.take(places)


def _column(frame: Any, name: str) -> Any:
    """The column with this name, or the one whose name has this text, such as 1.   The name itself if there is none."""
    if name in frame.columns:
        return name
    return next((column for column in frame.columns if str(column) == name), name)


def _used(frame: Any, keys: Sequence[Any], target: Any, known: Sequence[Any]) -> Any:
    """The columns to forecast and the known ones of a frame that is not wide.   keys: those of identifiers and times

    The default target is the only column that is neither a key nor known. Raises ValueError if there is none or
    several, and if a column is missing or named twice.
    """
    given = [each for each in (*keys, target, *known) if each != ""]
    columns = [*frame.columns]
    shown = ", ".join(map(str, given))
    if len({*given}) < len(given):
        raise ValueError(f"id, time, target and known are {shown}; name different columns")
    if missing := [name for name in given if name not in columns]:
        raise ValueError(f"X has no column {missing[0]!r}; it has {', '.join(map(str, columns))}")
    targets = [target] if target != "" else [column for column in columns if column not in given]
    if len(targets) != 1:
        besides = shown or "the index"
        raise ValueError(
            f"X has {len(targets)} columns besides {besides}; name the one to forecast by Forecaster(target=)"
        )
    return frame.iloc[:, [columns.index(each) for each in (*targets, *known)]]
