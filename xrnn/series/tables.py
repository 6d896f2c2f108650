"""Tables of series: .csv files as pandas and spreadsheets write them, .xlsx and .parquet files, and pandas' frames.

    time,x,y,kind          an optional header: a first row without numbers and times
    2024-01-01,1.5,,walk   an empty cell or NaN is a missing value
    2024-01-02,1.7,2,walk  commas, semicolons, tabs or bars separate the cells

A table holds one series, with a row for each step, or many series in long form: a column then names the series of a
row. The first column, apart from those that options name, is an index and not a channel if it has no name or holds
times.

pandas is imported only for .xlsx and .parquet files. .csv files are read by the standard library: pandas.read_csv
silently fills up rows that are too short.
"""

from __future__ import annotations

import csv
import importlib
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from xrnn.files import printable, quoted
from xrnn.series.checks import DataError, Series, Time, as_number, checked, param, read_text
from xrnn.series.times import hold_dates, iso_time, read_times
from xrnn.typing import HostArray

TABLES: Final = (".csv", ".xlsx", ".parquet")  # the endings that `read_table` has a branch for
# What pandas, spreadsheets and C programs write for a missing value, in lower case.
_MISSING_CELLS: Final = ("", "?", "nan", "-nan", "na", "n/a", "#n/a", "<na>", "null", "none")
_YES_NO: Final = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
_TIME_NAMES: Final = ("time", "timestamp", "date", "datetime")
_INDEX_NAMES: Final = ("", "unnamed: 0", "index", *_TIME_NAMES)
_PARTS_OF_YEARS: Final = {"quarter": "Q", "month": ""}  # the letter before its number in a date
_TIMES_BY_NAME: Final = {  # columns of numbers that are times
    "year": re.compile(r"[12]\d{3}"),
    "month": re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])"),
}
_SEPARATORS: Final = "\t;|,"  # in the order of preference; a comma is last, since it may be in numbers or text
_SAMPLE: Final = 20  # number of lines in which the separator is searched

Cell = str | float  # a number is NaN if it is missing


@dataclass(frozen=True, slots=True)
class Columns:
    """How to read a table. A column is given by its name or by its number, counted from 1.

    optional   those of the columns above that may be absent from a file. If one of `channels` is, these are all columns
               that are not named otherwise
    """

    decimal: str = "."
    skip: tuple[str, ...] = ()
    id: str = ""  # the column that identifies a series; empty: the file holds one series
    time: str = ""  # the column to sort the steps of a series by; empty: they are in the order of the file
    label: str = ""
    targets: bool = False  # True: labels are numbers to predict
    channels: tuple[str, ...] = ()  # the only columns that are channels, in this order; empty: all other columns
    optional: frozenset[str] = frozenset()
    timed: bool = False  # True: the times of the steps are used. Without --time, their column is looked for
    encoding: str = ""  # of a text file; empty: UTF-8, or else cp1252


def names_in(text: str) -> tuple[str, ...]:
    """The names in a list with commas."""
    return tuple(name for name in map(str.strip, text.split(",")) if name)


def read_table(path: Path, columns: Columns, label: str | None = None) -> list[Series]:
    """The series in a file: one, or one for each value of the id column.   Raises DataError and OSError."""
    suffix = path.suffix.lower()
    table = _csv(path, columns) if suffix == ".csv" else _from_pandas(path, columns, suffix)
    if not table.rows:
        raise DataError(f"{path} has no values: expected at least one step; leave the file out")
    return table.series(label)


def _csv(path: Path, columns: Columns) -> Table:
    text = read_text(path, columns.encoding)
    separator = _separator(text, columns.decimal)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            # A blank line is skipped. In a file with one column, however, an empty cell is a missing value.
            if not row or (row == [""] and (not rows or len(rows[0]) != 1)):
                continue
            rows.append([cell.strip() for cell in row])
            lines.append(reader.line_num)
            if len(row) != len(rows[0]):
                raise DataError(
                    f"{path}, line {lines[-1]} has {len(row)} values, but the rows before have {len(rows[0])}: "
                    "expected the same number of values in every row, and the header in the first line; correct the row"
                )
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}: expected cells of numbers; is this CSV?") from error
    return Table.with_header(str(path), columns, rows, lines, "line")


def _from_pandas(path: Path, columns: Columns, suffix: str) -> Table:
    """The table in an .xlsx file, on its first sheet, or in a .parquet file, by the packages that pandas uses."""
    try:
        pandas: Any = importlib.import_module("pandas")
        if suffix == ".parquet":
            frame = pandas.read_parquet(path)
            has_index = frame.index.names != [None] or not isinstance(frame.index, pandas.RangeIndex)
            return Table.of(frame.reset_index() if has_index else frame, str(path), columns)
        frame = pandas.read_excel(path, header=None, dtype=object, na_filter=False)
    except OSError:
        raise
    except Exception as error:  # of a missing package; a damaged archive raises many kinds of errors
        raise DataError(
            f"{path} can't be read ({printable(str(error))[:80]}): expected a complete {suffix} file, and pandas with "
            "openpyxl or pyarrow; install them, or use another copy"
        ) from error
    rows = [[_cell(each) for each in row] for row in frame.itertuples(index=False)]
    full = [i for i, row in enumerate(rows) if any(text_of(cell) for cell in row)]
    return Table.with_header(str(path), columns, [rows[i] for i in full], [i + 1 for i in full], "row")


def _cell(value: Any) -> Cell:
    """A value of a frame or a spreadsheet; times become text in ISO's form."""
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**1023):
        return value
    if value is None or type(value).__name__ == "NAType" or value != value:
        return ""
    value = value.to_timestamp() if hasattr(value, "to_timestamp") else value  # the start of a period
    return str(value.isoformat() if hasattr(value, "isoformat") else value).strip()


def text_of(cell: Cell) -> str:
    if isinstance(cell, str):
        return cell
    return "" if math.isnan(cell) else repr(cell).removesuffix(".0")


@dataclass(frozen=True, slots=True)
class Table:
    """The cells of a table. A column is given by its index, a row by its index in `rows`."""

    name: str  # the path of the file
    columns: Columns
    header: tuple[str, ...] | None
    rows: Sequence[Sequence[Cell]]
    where: Callable[[int], str]  # the start of an error about a row

    @classmethod
    def with_header(
        cls, name: str, columns: Columns, rows: Sequence[Sequence[Cell]], lines: Sequence[int], unit: str
    ) -> Self:
        """The table of these rows. The first one may be a header.

        lines   the number of each row in the file, for errors;   unit: "line" or "row"
        """
        first = tuple(map(text_of, rows[0])) if rows else ()
        start = _is_header(first)
        return cls(
            name, columns, first if start else None, rows[start:], lambda i: f"{name}, {unit} {lines[i + start]}"
        )

    @classmethod
    def of(cls, frame: Any, name: str, columns: Columns) -> Self:
        """The table of a DataFrame."""
        parts = [frame.iloc[:, i] for i in range(frame.shape[1])]
        rows = list(zip(*([_cell(each) for each in part.tolist()] for part in parts), strict=True))
        return cls(name, columns, tuple(map(str, frame.columns)), rows, lambda i: f"{name}, row {i + 1}")

    def series(self, label: str | None = None) -> list[Series]:
        """One series, or one for each value of the id column.   label: of all; None for those in a column

        Raises DataError.
        """
        columns = self.columns
        id_at, time_at, label_at, *skipped = map(self.place, (columns.id, columns.time, columns.label, *columns.skip))
        others = {id_at, time_at, label_at, *skipped}
        left = [i for i in range(len(self.rows[0])) if i not in others]
        named = [self.place(name) for name in columns.channels]
        used = [i for i in named if i is not None and None not in named]
        times_at = [] if time_at is None else [time_at]
        if columns.timed and time_at is None:
            times_at = self._times_at(left, [i for i in left if i not in used])
            left = [i for i in left if i not in times_at]
        used = used or left[self._is_index(left) :]
        if not used:
            raise DataError(
                f"{self.name} has no channel: expected a column of numbers besides an index and the columns that "
                "options name"
            )
        labels = [] if label_at is None else self.cells(label_at)
        times, made = self.times(times_at), []
        unused = tuple(self.shown(i) for i in left if i not in used)
        groups, values = self.groups(id_at, time_at, times), self.numbers(used)
        names = tuple(self.header[i] for i in used) if self.header else None
        for key, name, places in groups:
            of_series = self.label({labels[i] for i in places}, name) if labels else label
            each = checked(values[places], of_series, name, names)
            of_steps = tuple(times[i] for i in places[: len(each.values)]) if times else None
            time_names = tuple(map(self.shown, times_at))
            made.append(replace(each, times=of_steps, id=key, time_names=time_names, unused=unused))
        return made

    def place(self, column: str) -> int | None:
        """The index of a column that is given by its name or number; None for "", and for a missing optional column.

        The number of a column that the file may lack does not mean one of `channels`. Raises DataError.
        """
        names, width = self.header or (), len(self.rows[0])
        number = int(column) if re.fullmatch("[0-9]{1,9}", column) else 0
        if column and names.count(column) == 1:
            return names.index(column)
        is_optional = column in self.columns.optional and column not in names
        is_channel = is_optional and {*names[max(number - 1, 0) : number]} & {*self.columns.channels}
        if 1 <= number <= width and column not in names and not is_channel:
            return number - 1
        if not column or (is_optional and (names or not number)):
            return None
        have = f"{width} column{'s' * (width > 1)} {', '.join(names) or 'and no header'}"[:200]
        got = "has two columns" if column in names else "has no column"
        raise DataError(
            f"{self.name} {got} {quoted(column)}: expected a name, or a number from 1 to {width}; it has "
            f"{printable(have)}"
        )

    def cells(self, place: int) -> list[str]:
        """The text of a column."""
        return [text_of(row[place]) for row in self.rows]

    def shown(self, place: int) -> str:
        """The name of a column; its number if it has none."""
        return (self.header[place] if self.header else "") or str(place + 1)

    def _is_index(self, left: list[int]) -> bool:
        """Whether the first column holds the names or times of the rows instead of values."""
        if left and self.header and self.header[left[0]].lower() in _INDEX_NAMES:
            return len(left) > 1
        return bool(left) and self._holds_times(left[0])

    def _times_at(self, left: list[int], free: list[int]) -> list[int]:
        """The first column of times; if there is none, an index of numbers, or the columns of years and their parts.

        left   the columns that are none of the id, the label and the skipped ones;   free: those that may be times
        """
        for i in free if len(left) > 1 else []:
            if self._holds_times(i):
                return [i]
        has_index = free[:1] == left[:1] and self._is_index(left)
        if has_index and all(as_number(cell) is not None for cell in self.cells(left[0])):
            return left[:1]
        by_name = {self.shown(i).lower(): i for i in free}
        parts = [by_name[part] for part in _PARTS_OF_YEARS if part in by_name]
        return [by_name["year"], parts[0]] if parts and "year" in by_name else []

    def times(self, places: Sequence[int]) -> list[Time]:
        """The times in a column, or in two columns, of years and of quarters or months: 2024-Q1 or 2024-01.

        [] without a column. Raises DataError.
        """
        if not places:
            return []
        cells = self.cells(places[0])
        if len(places) == 2:
            letter = _PARTS_OF_YEARS[self.shown(places[1]).lower()]
            cells = [f"{y:g}-{letter}{p:0{2 - len(letter)}g}" for y, p in self.numbers(places)]
        return read_times(cells, self.where)

    def _holds_times(self, place: int) -> bool:
        """True for dates; in a column called year or month, also for such numbers, if none is twice in a series."""
        cells = self.cells(place)
        if self.shown(place).lower() in _TIME_NAMES or hold_dates(cells):
            return True
        form = _TIMES_BY_NAME.get(self.shown(place).lower())
        if form is None or not all(map(form.fullmatch, cells)):
            return False
        id_at = self.place(self.columns.id)
        ids = [""] * len(cells) if id_at is None else self.cells(id_at)
        return len(set(zip(cells, ids, strict=True))) == len(cells)

    def groups(self, id_at: int | None, time_at: int | None, times: Sequence[Time]) -> list[tuple[str, str, list[int]]]:
        """For each series: its identifier, its name, and its rows, sorted by the column of times if there is one.

        times   of all rows

        Raises DataError if an identifier is missing, or a time occurs twice in a series.
        """
        rows = range(len(self.rows))
        ids = [""] * len(rows) if id_at is None else self.cells(id_at)
        groups: dict[str, list[int]] = {key: [] for key in ids}
        for i in rows if time_at is None else sorted(rows, key=lambda row: times[row]):
            if id_at is not None and not ids[i]:
                raise DataError(
                    f"{self.where(i)} has no value in column {self.shown(id_at)}, which {param('id')} names: expected "
                    "the name or number of a series; fill it in, or remove the row"
                )
            places = groups[ids[i]]
            if time_at is not None and places and times[places[-1]] == times[i]:
                raise DataError(
                    f"{self.where(i)}: the time {quoted(self.cells(time_at)[i])} is also in "
                    f"{self.where(places[-1]).removeprefix(f'{self.name}, ')}: expected different times in a series; "
                    f"remove a row, or give {param('id')}"
                )
            places.append(i)
        at = "" if id_at is None else f", {self.shown(id_at)} "
        return [(key, f"{self.name}{at}{key}", places) for key, places in groups.items()]

    def label(self, labels: set[str], name: str) -> str | None:
        """The label of a series from the cells of its rows."""
        if len(labels) > 1:
            one, other, *_ = sorted(labels)
            raise DataError(
                f"{printable(name)} has the labels {quoted(one)} and {quoted(other)}: expected one for a series; "
                f"correct the column, or give {param('id')}"
            )
        label = labels.pop()
        if label.lower() in _MISSING_CELLS:
            return None
        return _with_point(label, self.columns.decimal) if self.columns.targets else label

    def numbers(self, places: Sequence[int]) -> HostArray:
        """Columns as (rows, columns) float64, NaN for a missing value.   Raises DataError."""
        return np.array([[self.number(i, j) for j in places] for i in range(len(self.rows))], dtype=np.float64)

    def number(self, row: int, place: int) -> float:
        cell = self.rows[row][place]
        value = _parsed(cell, self.columns.decimal) if isinstance(cell, str) else float(cell)
        if value is None or math.isinf(value):
            where = f"{self.where(row)}, column {quoted(self.shown(place))}"
            others = f"name the column to forecast by {param('target')}"
            if not self.columns.timed:
                others = f"leave the column out by {param('skip_columns')}"
            remedy = f"correct it, write categories as numbers, or {others}"
            raise _not_a_number(text_of(cell), self.columns.decimal, where, remedy)
        return value


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


def cells_in(line: str, decimal: str) -> tuple[str, ...]:
    """The cells of a line of a stream, without their quotes."""
    return tuple(cell.strip(' \t\r\n"') for cell in line.split(_separator(line, decimal)))


def are_names(cells: Sequence[str], known: Sequence[str]) -> bool:
    """Whether each cell is one of these known names, or text with a letter before its first digit, but no number."""
    return all(_is_name(cell) or (cell in known and as_number(cell) is None) for cell in cells)


def _is_name(cell: str) -> bool:
    letter_first = re.match(r"(?![-+]?inf(inity)?$)[\W_]*[^\W\d_]", cell.lower())
    return bool(letter_first) and _parsed(cell, ".") is None


def numbers_in(cells: Sequence[str], decimal: str, where: str) -> list[float]:
    """The numbers, NaN for a missing value. Errors begin with `where`.   Raises DataError."""
    values = [_parsed(cell, decimal) for cell in cells]
    if None in values:
        raise _not_a_number(cells[values.index(None)], decimal, where, "correct or remove it")
    return [value for value in values if value is not None]


def _parsed(cell: str, decimal: str) -> float | None:
    """The number in a cell, NaN for a missing value, 1 for yes and true, 0 for no and false, None for other text."""
    if cell.lower() in _MISSING_CELLS:
        return math.nan
    return _YES_NO.get(cell.lower(), as_number(_with_point(cell, decimal)))


def _with_point(number: str, decimal: str) -> str:
    """The text of a number with `decimal` as its decimal point, with a point instead."""
    return number if decimal == "." else number.translate({ord(","): ".", ord("."): ","})


def _not_a_number(cell: str, decimal: str, where: str, remedy: str) -> DataError:
    other = "," if decimal == "." else "."
    if other in cell and as_number(_with_point(cell.replace(other, ""), decimal)) is not None:
        remedy = (
            f"if {other} begins the decimals, give {param('decimal')} {other}; if it separates thousands, remove it"
        )
    return DataError(
        f"{printable(where)}: {quoted(cell)!r} is not a finite number: expected numbers, or an empty cell for a "
        f"missing value; {remedy}"
    )
