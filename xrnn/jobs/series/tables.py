"""CSV files as pandas and spreadsheets write them.

    time,x,y,kind          an optional header: a first row without numbers and times
    2024-01-01,1.5,,walk   an empty cell or NaN is a missing value
    2024-01-02,1.7,2,walk  commas, semicolons, tabs or bars separate the cells

A file holds one series, with a row for each step, or many series in long form: a column then names the series of a row.
The first column is an index, not a channel, if it has no name or holds times.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from xrnn.files import printable, quoted
from xrnn.jobs.errors import DataError
from xrnn.jobs.series.series import Series, Time, as_number, checked

MISSING: Final = ("", "?", "nan", "na", "n/a", "<na>", "null", "none")  # what pandas writes or reads, in lower case
_FORMATS: Final = (
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%d.%m.%Y",
    "%d %b %Y",
    "%d-%b-%Y",
    "%b %d, %Y",
    "%b-%d-%Y",
    "%Y %b",
    "%b %Y",
    "%b-%Y",
)
_INDEX_NAMES: Final = ("", "unnamed: 0", "index", "time", "timestamp", "date", "datetime")
_SEPARATORS: Final = "\t;|,"  # in the order of preference; a comma is last, since it may be in numbers or text
_SAMPLE: Final = 20  # number of lines in which the separator is searched


@dataclass(frozen=True, slots=True)
class Columns:
    """How to read a CSV file. A column is given by its name or by its number, counted from 1.

    optional   columns named in id, time, label and skip that may be absent from a file
    """

    decimal: str = "."
    skip: tuple[str, ...] = ()
    id: str = ""  # the column that identifies a series; empty: the file holds one series
    time: str = ""  # the column to sort the steps of a series by; empty: they are in the order of the file
    label: str = ""
    targets: bool = False  # True: labels are numbers to predict
    channels: tuple[str, ...] | None = None  # the names of the channels to use; None: all other columns
    optional: frozenset[str] = frozenset()
    used: tuple[str, ...] = ()  # the only columns that are channels, in this order; empty: see `channels`
    remedy: str = "correct it, or leave the column out with --skip-columns {}"  # for text in a column of numbers


def names_in(text: str) -> tuple[str, ...]:
    """The names in a list with commas."""
    return tuple(name for name in map(str.strip, text.split(",")) if name)


@dataclass(frozen=True, slots=True)
class _Table:
    name: str  # the path of the file
    header: tuple[str, ...] | None
    rows: list[list[str]]
    lines: list[int]  # the line number of each row


def read_csv(path: Path, columns: Columns, label: str | None = None) -> list[Series]:
    """The series in a file: one, or one for each value of the id column.   Raises DataError and OSError."""
    table = _read(path, columns.decimal)
    if not table.rows:
        raise DataError(f"{path} has no values: expected at least one step; leave the file out")
    id_at, time_at, label_at = (_optional(table, name, columns) for name in (columns.id, columns.time, columns.label))
    used = _channels(table, columns, {id_at, time_at, label_at})
    names = tuple(table.header[i] for i in used) if table.header else None
    series: list[Series] = []
    for key, places in _groups(table, id_at).items():
        name = str(path) if id_at is None else f"{path}, {_shown(table, id_at)} {key}"
        if time_at is not None:
            places = _by_time(table, places, time_at)
        of_series = label if label_at is None else _label(table, places, label_at, name)
        if columns.targets and label_at is not None and of_series is not None:
            of_series = _with_point(of_series, columns.decimal)
        values = [[_number(table, i, j, columns) for j in used] for i in places]
        each = checked(np.array(values), of_series, name, names)
        times = _times(table, places[: len(each.values)], time_at)
        series.append(replace(each, times=times))
    return series


def _read(path: Path, decimal: str) -> _Table:
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text, decimal), skipinitialspace=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            # A blank line is skipped. In a file with one column, however, an empty cell is a missing value.
            is_blank = not row or (row == [""] and (not rows or len(rows[0]) != 1))
            if not is_blank:
                rows.append([cell.strip() for cell in row])
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}: expected cells of numbers; is this CSV?") from error
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(rows[0]):
            raise DataError(
                f"{path}, line {line} has {len(row)} values, but the rows before have {len(rows[0])}: expected the "
                "same number of values in every row; correct the row"
            )
    if rows and _is_header(rows[0]):
        return _Table(str(path), tuple(rows[0]), rows[1:], lines[1:])
    return _Table(str(path), None, rows, lines)


def _separator(text: str, decimal: str) -> str:
    """The first of _SEPARATORS that is in every line; if there is none, the most frequent one in the first line."""
    lines = [line for line in text[: 2**20].splitlines()[:_SAMPLE] if line.strip()]
    candidates = _SEPARATORS.replace(decimal, "")
    in_all = (each for each in candidates if lines and all(each in line for line in lines))
    return next(in_all, max(candidates, key="".join(lines[:1]).count))


def _is_header(row: Sequence[str]) -> bool:
    """True for a row of names. The columns of an unnamed pandas frame are 0, 1, 2, …, after that of the index."""
    if len(row) > 1 and not _is_value(row[0]) and [*row[1:]] == [str(i) for i in range(len(row) - 1)]:
        return True
    return not any(map(_is_value, row)) and any(cell.lower() not in MISSING for cell in row)


def _is_value(cell: str) -> bool:
    return as_number(cell.replace(",", ".")) is not None or _iso_time(cell) is not None


def _iso_time(cell: str) -> datetime | None:
    """The time in an ISO date or time stamp, which may lack the day, as in 2024-05. None for other text."""
    cell = f"{cell}-01" if re.fullmatch(r"\d{4}-\d{2}", cell) else cell
    try:
        time = datetime.fromisoformat(cell) if re.match(r"\d{4}-", cell) else None
    except ValueError:
        return None
    return time if time is None or time.tzinfo else time.replace(tzinfo=UTC)


def _time(cell: str) -> datetime | None:
    """The time in an ISO time stamp, a date in one of _FORMATS, or a quarter as 2024Q1.

    None for other text, such as 3/4/2024, which is a day in March or in April.
    """
    if quarter := re.fullmatch(r"(\d{4})[ -]?Q([1-4])", cell):
        return datetime(int(quarter[1]), 3 * int(quarter[2]) - 2, 1, tzinfo=UTC)
    time = _iso_time(cell)
    for form in _FORMATS if time is None and re.search(r"\d{4}", cell) else ():
        with contextlib.suppress(ValueError):
            return datetime.strptime(cell, form).replace(tzinfo=UTC)
    return time


def _optional(table: _Table, column: str, columns: Columns) -> int | None:
    """The index of a column that an option names; None without the option, or if the file may lack the column."""
    if not column or (column in columns.optional and table.header and column not in table.header):
        return None
    return _place(table, column)


def _place(table: _Table, column: str) -> int:
    """The index of a column that is given by its name or number.   Raises DataError."""
    names, width = table.header or (), len(table.rows[0])
    if names.count(column) == 1:
        return names.index(column)
    if column not in names and re.fullmatch("[0-9]{1,9}", column) and 1 <= int(column) <= width:
        return int(column) - 1
    have = f"{len(names)} columns {', '.join(names)}"[:200] if names else f"{width} columns and no header"
    got = "has two columns" if column in names else "has no column"
    raise DataError(
        f"{table.name} {got} {quoted(column)}: expected a name, or a number from 1 to {width}; it has {printable(have)}"
    )


def _channels(table: _Table, columns: Columns, others: set[int | None]) -> list[int]:
    """The indices of the columns that are channels."""
    if columns.used:
        return [_place(table, name) for name in columns.used]
    if columns.channels is not None and table.header:
        return [_place(table, name) for name in columns.channels]
    skipped = others | {_optional(table, name, columns) for name in columns.skip}
    if _is_index(table):
        skipped.add(0)
    used = [i for i in range(len(table.rows[0])) if i not in skipped]
    if not used:
        raise DataError(
            f"{table.name} has no channel: expected a column of numbers besides an index and the columns that options "
            "name"
        )
    return used


def _is_index(table: _Table) -> bool:
    """True if the first column holds the names or times of the rows instead of values."""
    if table.header and table.header[0].lower() in _INDEX_NAMES:
        return len(table.header) > 1
    return _time(table.rows[0][0]) is not None


def _groups(table: _Table, id_at: int | None) -> dict[str, list[int]]:
    """By the identifier of a series: the indices of its rows, in the order of the file."""
    if id_at is None:
        return {"": list(range(len(table.rows)))}
    groups: dict[str, list[int]] = {}
    for i, row in enumerate(table.rows):
        if not row[id_at]:
            raise DataError(
                f"{table.name}, line {table.lines[i]} has no value in column {_shown(table, id_at)}, which --id names: "
                "expected the name or number of a series; fill it in, or remove the row"
            )
        groups.setdefault(row[id_at], []).append(i)
    return groups


def _by_time(table: _Table, places: list[int], time_at: int) -> list[int]:
    """The row indices `places`, sorted by time.   Raises DataError if a time is unreadable or occurs twice."""
    times: dict[Time, int] = {}
    for i in places:
        cell = table.rows[i][time_at]
        time: Time | None = as_number(cell)
        time = _time(cell) if time is None else time
        where = f"{table.name}, line {table.lines[i]}"
        first = next(iter(times), time)
        if time is None or isinstance(time, float) != isinstance(first, float):
            raise DataError(
                f"{where}: {quoted(cell)!r} is not a time like the others: expected all numbers or all ISO times such "
                "as 2024-05-31 12:00; correct it"
            )
        if time in times:
            raise DataError(
                f"{where}: the time {quoted(cell)} is also in line {table.lines[times[time]]}: expected different "
                "times in a series; remove a row, or give --id"
            )
        times[time] = i
    return [times[time] for time in sorted(times)]


def _times(table: _Table, places: list[int], time_at: int | None) -> tuple[Time, ...] | None:
    """The times in the time column, or in an index of dates; None without such a column."""
    if time_at is None:
        time_at = 0 if _is_index(table) else None
    cells = [] if time_at is None else [table.rows[i][time_at] for i in places]
    numbers: list[Time | None] = [as_number(cell) for cell in cells]
    dates: list[Time | None] = [_time(cell) for cell in cells]
    of_all = next((tuple(t for t in times if t is not None) for times in (numbers, dates) if None not in times), ())
    return of_all or None


def _label(table: _Table, places: list[int], label_at: int, name: str) -> str | None:
    labels = {table.rows[i][label_at] for i in places}
    if len(labels) > 1:
        one, other, *_ = sorted(labels)
        raise DataError(
            f"{printable(name)} has the labels {quoted(one)} and {quoted(other)}: expected one for a series; correct "
            "the column, or give --id"
        )
    label = labels.pop()
    return None if label.lower() in MISSING else label


def _number(table: _Table, row: int, place: int, columns: Columns) -> float:
    cell = table.rows[row][place]
    value = _parsed(cell, columns.decimal)
    if value is None:
        column = quoted(_shown(table, place))
        where = f"{table.name}, line {table.lines[row]}, column {column}"
        raise _not_a_number(cell, columns.decimal, where, columns.remedy.format(shlex.quote(column)))
    return value


def read_row(line: str, decimal: str, where: str) -> list[float]:
    """The numbers in one row, NaN for a missing value. Errors begin with `where`.   Raises DataError."""
    cells = [cell.strip() for cell in line.split(_separator(line, decimal))]
    values = [_parsed(cell, decimal) for cell in cells]
    if None in values:
        raise _not_a_number(cells[values.index(None)], decimal, where, "correct or remove it")
    return [value for value in values if value is not None]


def _parsed(cell: str, decimal: str) -> float | None:
    """The number in a cell, NaN for a missing value, None for text."""
    if cell.lower() in MISSING:
        return math.nan
    return as_number(_with_point(cell, decimal))


def _with_point(number: str, decimal: str) -> str:
    """The text of a number with `decimal` as its decimal point, with a point instead."""
    return number if decimal == "." else number.translate({ord(","): ".", ord("."): ","})


def _not_a_number(cell: str, decimal: str, where: str, remedy: str) -> DataError:
    if decimal == "." and as_number(cell.replace(",", ".")) is not None:
        remedy = "give --decimal ,"
    return DataError(
        f"{printable(where)}: {quoted(cell)!r} is not a finite number: expected numbers, or an empty cell for a "
        f"missing value; {remedy}"
    )


def _shown(table: _Table, place: int) -> str:
    return table.header[place] if table.header else str(place + 1)
