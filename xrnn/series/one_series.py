"""One time series: its values, names and times, and the checks of these."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, tzinfo
from typing import Any, Final

import numpy as np

from xrnn.files import printable, quoted
from xrnn.series.errors import DataError, param
from xrnn.typing import HostArray

LARGEST: Final = 1e30  # its square fits float64, and after scaling it fits float32

Time = float | datetime


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    values: HostArray  # (T, D) float64, T ≥ 1; NaN for a missing value
    label: Any  # text from a file; from Python also a bool, int or float; None if there is none
    name: str  # shown in errors and predictions
    channel_names: tuple[str, ...] | None = None  # from the header of the file, if it has one
    times: tuple[Time, ...] | None = None  # of the steps, in a file with a column of times
    id: str = ""  # in the column that tells the series of a file apart; empty without one
    time_names: tuple[str, ...] = ()  # the columns of the times in a table
    unused: tuple[str, ...] = ()  # the columns of the table that are neither channels nor named by an option
    weight: float = 1.0  # in the loss of a training, beside the other series
    group: Any = None  # series of one group stay together where some are left out; None: it has no group
    decimal: str = ""  # the sign before the decimals of the numbers in its file; empty if none of them is text with one
    semicolons: bool = False  # whether they separate the cells of its file
    closed: tuple[bool, ...] = ()  # for each time: True for a day without a row in the table, such as a holiday
    holidays: frozenset[date] = frozenset()  # known ones, of days ahead, too
    step: str = ""  # its name, see `Step.name`, if the index of a frame tells which weekdays are closed
    idle_rows: int = 0  # that were left out, since a shop was closed there
    rare_rows: tuple[Time, ...] = ()  # left out: the open days on weekdays on which a shop is otherwise closed
    zone: tzinfo | None = None  # of the clock that showed the times, if they got their offsets from it

    @property
    def channels(self) -> int:
        return int(self.values.shape[1])

    @property
    def target_rows(self) -> range:
        """From the first value of the first channel to its last one; empty without a value."""
        known = np.flatnonzero(~np.isnan(self.values[:, 0]))
        return range(known[0], known[-1] + 1) if known.size else range(0)

    def part(self, start: int, stop: int | None = None) -> Series:
        times = self.times and self.times[start:stop]
        closed = self.closed[start:stop]
        return replace(self, values=self.values[start:stop], times=times, closed=closed)


def checked(series: Series, *, to_forecast: bool = False) -> Series:
    """The series without its final steps that have no value, which are padding.

    to_forecast   its columns are a target and known columns, as errors then say, and no channels

    Raises DataError if there is no step, no channel, a channel without any value, infinity, or a number beyond 1e30,
    and if two channels have one name.
    """
    shown = printable(series.name)
    names = series.channel_names or ()
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{shown} has two channels {quoted(twice)!r}; rename or remove one")
    known = ~np.isnan(series.values)
    steps = np.flatnonzero(known.any(axis=1))
    if not steps.size:
        raise DataError(f"{shown} has no values; leave the series out", no_value=True)
    empty = np.flatnonzero(~known.any(axis=0))
    if empty.size:
        column = (quoted(names[empty[0]]) if names else "") or empty[0] + 1
        got = f"{shown} has no value in {'column' if to_forecast else 'channel'} {column}"
        if not to_forecast:
            remedy = "leave out the series or the channel"
        elif empty[0] == 0:
            got += ", which is to be forecast"
            remedy = f"leave the series out, or name another column by {param('target')}"
        else:
            others = f"{param('target')} and {param('known')}"
            remedy = f"write its values, such as 0 for no, or name only other columns by {others}"
        raise DataError(f"{got}; {remedy}", no_value=True)
    check_sizes(series.values, series.name)
    return series.part(0, steps[-1] + 1)


def checked_file(name: str, series: Sequence[Series], *, to_forecast: bool) -> list[Series]:
    """The series in a file, see `checked`. A line in the log names those to forecast that are not complete: left out.

    name   of the file
    """
    if to_forecast and (line := left_out_line(series)):
        logging.getLogger("xrnn").warning(f"{printable(name)}: {line}")
        series = [one for one in series if is_complete(one)]
    return [checked(one, to_forecast=to_forecast) for one in series]


def is_complete(series: Series) -> bool:
    """Whether each column has a value."""
    return not np.isnan(series.values).all(axis=0).any()


def left_out_line(series: Sequence[Series]) -> str:
    """A line: which of these series to forecast are left out, since they are not complete; empty if none is, or all."""
    left_out = [one for one in series if not is_complete(one)]
    if len(left_out) in (0, len(series)):
        return ""
    names = quoted(", ".join(each.id or each.name for each in left_out))
    return (
        f"left out {len(left_out):,} of {len(series):,} series ({names}): they have no value in the column to forecast "
        "or in a known column; add values to forecast them"
    )


def check_sizes(values: HostArray, name: str) -> None:
    """Refuse infinity and numbers beyond 1e30 in values (D,) or (T, D).   Raises DataError."""
    too_large = np.argwhere(np.abs(values) > LARGEST)  # NaN is not larger
    if len(too_large):
        *row, column = too_large[0]
        place = f"row {row[0] + 1}, column {column + 1}" if row else f"column {column + 1}"
        got = f"{printable(name)} holds {values[*row, column]:g} in {place}"
        raise DataError(f"{got}; scale the numbers to at most {LARGEST:g}, or leave the series out")


def check_channels(series: Sequence[Series]) -> int:
    """The number of channels D, which must be the same in all series.   Raises DataError."""
    first = series[0]
    for one in series:
        check_same(one, first.channels, first.channel_names, printable(first.name))
    return first.channels


def check_same(series: Series, channels: int, names: tuple[str, ...] | None, others: str = "the model") -> None:
    """Raises DataError unless the channels have the number and the names of those of `others`."""
    name = printable(series.name)
    if series.channels != channels:
        got = f"{name} has {series.channels} channels, but {others} has {channels}"
        raise DataError(f"{got}; correct the series, or leave it out")
    if series.channel_names and names and series.channel_names != names:
        i = next(i for i in range(channels) if series.channel_names[i] != names[i])
        got = f"{name} has the channel {quoted(series.channel_names[i])}, but {others} has {quoted(names[i])} there"
        raise DataError(f"{got}; rename or reorder the columns")
