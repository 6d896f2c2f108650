"""CSV files as pandas and spreadsheets write them.

    time,x,y,kind          an optional header: a first row without numbers and times
    2024-01-01,1.5,,walk   an empty cell or NaN is a missing value
    2024-01-02,1.7,2,walk  commas, semicolons, tabs or bars separate the cells

A file holds one series, with a row for each step, or many series in long form: a column then names the series of a row.
The first column, apart from those that options name, is an index and not a channel if it has no name or holds times.
"""

from __future__ import annotations

import csv
import io
import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from xrnn.files import printable, quoted
from xrnn.models.data.dates import hold_dates, is_date, iso_time, read_times
from xrnn.models.data.series import Series, Time, as_number, checked, read_text
from xrnn.models.errors import DataError, param

# What pandas, spreadsheets and C programs write for a missing value, in lower case.
_MISSING_CELLS: Final = ("", "?", "nan", "-nan", "na", "n/a", "#n/a", "<na>", "null", "none")
_TIME_NAMES: Final = ("time", "timestamp", "date", "datetime")
_INDEX_NAMES: Final = ("", "unnamed: 0", "index", *_TIME_NAMES)
_CLOCK: Final = re.compile(r"\d{1,2}:\d{2}")
_YEAR: Final = re.compile(r"[12]\d{3}")
_SEPARATORS: Final = "\t;|,"  # in the order of preference; a comma is last, since it may be in numbers or text
_SEP_LINE: Final = re.compile(r'"?sep=(.)"?\n', re.IGNORECASE)  # the first line of a file for Excel
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
    timed: bool = False  # True: the times of the steps are used, so a column of times without --time is looked for
    used: tuple[str, ...] = ()  # the only columns that are channels, in this order; empty: see `channels`
    # Remedy if a column of numbers holds text; {} becomes the column.
    remedy: str = f"correct it, or leave the column out with {param('skip_columns')} {{}}"


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
    others = {id_at, time_at, label_at, *(_optional(table, name, columns) for name in columns.skip)}
    found_at = time_at
    if columns.timed and time_at is None:
        found_at = _time_column(table, columns, others)
    used = _channels(table, columns, others | {found_at})
    times = None if found_at is None else read_times(_cells(table, found_at), lambda i: _where(table, i))
    names = tuple(table.header[i] for i in used) if table.header else None
    series: list[Series] = []
    for key, places in _groups(table, id_at).items():
        name = str(path) if id_at is None else f"{path}, {_shown(table, id_at)} {key}"
        if times and time_at is not None:
            places = _by_time(table, places, times, time_at)
        of_series = label if label_at is None else _label(table, places, label_at, name)
        if columns.targets and label_at is not None and of_series is not None:
            of_series = _with_point(of_series, columns.decimal)
        values = [[_number(table, i, j, columns) for j in used] for i in places]
        each = checked(np.array(values), of_series, name, names)
        of_steps = tuple(times[i] for i in places[: len(each.values)]) if times else None
        series.append(replace(each, times=of_steps))
    return series


def _read(path: Path, decimal: str) -> _Table:
    text = read_text(path)
    named = _SEP_LINE.match(text)
    separator = named[1] if named else _separator(text, decimal)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    if named:
        next(reader)
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
    if in_all := [each for each in candidates if lines and all(each in line for line in lines)]:
        return in_all[0]
    if decimal == "," and '"' in "".join(lines):  # as spreadsheets write it: 2024-05-31,"1,5"
        return ","
    return max(candidates, key="".join(lines[:1]).count)


def _is_header(row: Sequence[str]) -> bool:
    """True for a row of names. The columns of an unnamed pandas frame are 0, 1, 2, …, after that of the index."""
    if len(row) > 1 and not _is_value(row[0]) and [*row[1:]] == [str(i) for i in range(len(row) - 1)]:
        return True
    return not any(map(_is_value, row)) and any(cell.lower() not in _MISSING_CELLS for cell in row)


def _is_value(cell: str) -> bool:
    """True for a number, several numbers with spaces between them, or an ISO time."""
    numbers = [as_number(part) for part in cell.replace(",", ".").split()]
    return bool(numbers and None not in numbers) or iso_time(cell) is not None


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
    skipped = others | {_index(table, columns, others)}
    used = [i for i in range(len(table.rows[0])) if i not in skipped]
    if not used:
        raise DataError(
            f"{table.name} has no channel: expected a column of numbers besides an index and the columns that options "
            "name"
        )
    return used


def _index(table: _Table, columns: Columns, others: set[int | None]) -> int | None:
    """The first column besides `others`, if it holds the names or times of the rows instead of values."""
    left = [i for i in range(len(table.rows[0])) if i not in others]
    if not left:
        return None
    is_named = table.header is not None and table.header[left[0]].lower() in _INDEX_NAMES
    is_index = len(left) > 1 if is_named else _hold_dates(table, left[0], columns)
    return left[0] if is_index else None


def _time_column(table: _Table, columns: Columns, others: set[int | None]) -> int | None:
    """The first of these: an index of times; the only other column of times; an index of numbers. None without these.

    others   columns that other options name

    Raises DataError for several columns of times, none of which is first, and for dates and times in two columns.
    """
    used = [_place(table, name) for name in columns.used]
    for i in range(len(table.rows[0])):
        if i not in others and i not in used and _is_named_time(table, i) and _CLOCK.match(table.rows[0][i]):
            raise DataError(
                f"{table.name} has times of day without a date in column {quoted(_shown(table, i))}: expected one "
                f"column of both; join them, as in 2024-05-31 12:00, or name the column of times with {param('time')}"
            )
    index = _index(table, columns, others)
    index = None if index in used else index
    if index is not None and _holds_times(table, index, columns):
        return index
    left = [i for i in range(len(table.rows[0])) if i not in others]
    found = [i for i in left if i not in used and _holds_times(table, i, columns)] if len(left) > 1 else []
    if len(found) > 1:
        names = ", ".join(_shown(table, i) for i in found)
        raise DataError(
            f"{table.name} has times in the columns {quoted(names)}: expected one; name it with {param('time')}"
        )
    numbers = index is not None and all(as_number(cell) is not None for cell in _cells(table, index))
    return found[0] if found else index if numbers else None


def _holds_times(table: _Table, place: int, columns: Columns) -> bool:
    return _is_named_time(table, place) or _hold_dates(table, place, columns)


def _is_named_time(table: _Table, place: int) -> bool:
    return table.header is not None and table.header[place].lower() in _TIME_NAMES


def _hold_dates(table: _Table, place: int, columns: Columns) -> bool:
    """Whether a column holds dates, or years: its name is `year`, and a series has each year once."""
    cells = _cells(table, place)
    if hold_dates(cells):
        return True
    if not table.header or table.header[place].lower() != "year" or not all(map(_YEAR.fullmatch, cells)):
        return False
    id_at = _optional(table, columns.id, columns)
    return len({(row[place], "" if id_at is None else row[id_at]) for row in table.rows}) == len(table.rows)


def _cells(table: _Table, place: int) -> list[str]:
    return [row[place] for row in table.rows]


def _where(table: _Table, row: int) -> str:
    return f"{table.name}, line {table.lines[row]}"


def _groups(table: _Table, id_at: int | None) -> dict[str, list[int]]:
    """By the identifier of a series: the indices of its rows, in the order of the file."""
    if id_at is None:
        return {"": list(range(len(table.rows)))}
    groups: dict[str, list[int]] = {}
    for i, row in enumerate(table.rows):
        if not row[id_at]:
            raise DataError(
                f"{table.name}, line {table.lines[i]} has no value in column {_shown(table, id_at)}, which "
                f"{param('id')} names: "
                "expected the name or number of a series; fill it in, or remove the row"
            )
        groups.setdefault(row[id_at], []).append(i)
    return groups


def _by_time(table: _Table, places: list[int], times: Sequence[Time], time_at: int) -> list[int]:
    """The row indices `places`, sorted by time.   times: of all rows.   Raises DataError if a time occurs twice."""
    rows: dict[Time, int] = {}
    for i in places:
        if (time := times[i]) in rows:
            raise DataError(
                f"{_where(table, i)}: the time {quoted(table.rows[i][time_at])} is also in line "
                f"{table.lines[rows[time]]}: expected different times in a series; remove a row, or give {param('id')}"
            )
        rows[time] = i
    return [rows[time] for time in sorted(rows)]


def _label(table: _Table, places: list[int], label_at: int, name: str) -> str | None:
    labels = {table.rows[i][label_at] for i in places}
    if len(labels) > 1:
        one, other, *_ = sorted(labels)
        raise DataError(
            f"{printable(name)} has the labels {quoted(one)} and {quoted(other)}: expected one for a series; correct "
            f"the column, or give {param('id')}"
        )
    label = labels.pop()
    return None if label.lower() in _MISSING_CELLS else label


def _number(table: _Table, row: int, place: int, columns: Columns) -> float:
    cell = table.rows[row][place]
    value = _parsed(cell, columns.decimal)
    if value is None:
        column = quoted(_shown(table, place))
        where = f"{_where(table, row)}, column {column}"
        remedy = f"name the column of times with {param('time')} {{}}" if is_date(cell) else columns.remedy
        raise _not_a_number(cell, columns.decimal, where, remedy.format(shlex.quote(column)))
    return value


def header_in(line: str, decimal: str) -> tuple[str, ...] | None:
    """The names in a row without numbers and dates; None for another row."""
    try:
        cells = next(csv.reader([line.strip()], delimiter=_separator(line, decimal), skipinitialspace=True), [])
    except csv.Error:  # a very long cell
        return None
    names = tuple(cell.strip() for cell in cells)
    return None if any(map(_is_value, names)) or all(name.lower() in _MISSING_CELLS for name in names) else names


def read_row(line: str, decimal: str, where: str) -> list[float]:
    """The numbers in one row, NaN for a missing value. Errors begin with `where`.   Raises DataError."""
    cells = [cell.strip() for cell in line.split(_separator(line, decimal))]
    values = [_parsed(cell, decimal) for cell in cells]
    if None in values:
        raise _not_a_number(cells[values.index(None)], decimal, where, "correct or remove it")
    return [value for value in values if value is not None]


def _parsed(cell: str, decimal: str) -> float | None:
    """The number in a cell, NaN for a missing value, None for text."""
    if cell.lower() in _MISSING_CELLS:
        return math.nan
    return as_number(_with_point(cell, decimal))


def _with_point(number: str, decimal: str) -> str:
    """The text of a number with `decimal` as its decimal point, with a point instead."""
    return number if decimal == "." else number.translate({ord(","): ".", ord("."): ","})


def _not_a_number(cell: str, decimal: str, where: str, remedy: str) -> DataError:
    other = "," if decimal == "." else "."
    is_decimal = as_number(_with_point(cell, other)) is not None
    is_thousands = re.fullmatch(rf"[+-]?\d{{1,3}}([{other}]\d{{3}})+([{decimal}]\d*)?", cell) is not None
    if is_decimal and is_thousands:
        remedy = (
            f"if {other} begins the decimals, give {param('decimal')} {other}; if it separates thousands, remove it"
        )
    elif is_decimal:
        remedy = f"give {param('decimal')} {other}"
    elif is_thousands:
        remedy = f"remove the {other} that separates thousands"
    return DataError(
        f"{printable(where)}: {quoted(cell)!r} is not a finite number: expected numbers, or an empty cell for a "
        f"missing value; {remedy}"
    )


def _shown(table: _Table, place: int) -> str:
    return table.header[place] if table.header else str(place + 1)
