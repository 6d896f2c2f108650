"""Tables of series: .csv files as pandas and spreadsheets write them, .xlsx and .parquet files, and pandas' frames.

    Walks of 2024          title lines above the header, which fill the first cell alone, are left out
    time,x,y,kind          an optional header: a first row without numbers and times
    2024-01-01,1.5,,walk   an empty cell or NaN is a missing value
    2024-01-02,1.7,2,walk  commas, semicolons, tabs or bars separate the cells
    Source: sensors        so are comments below the table

A table holds one series, with a row for each step, or many series in long form: a column then names the series of a
row. `Table.series` has the rules for columns.

pandas is imported only for .xlsx and .parquet files. .csv files are read by the standard library: pandas.read_csv
silently fills up rows that are too short.
"""

from __future__ import annotations

import csv
import importlib
import io
import itertools
import math
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, Self
from zoneinfo import ZoneInfo

import numpy as np

from xrnn.files import printable, quoted
from xrnn.series.errors import DataError, Fault, param
from xrnn.series.one_series import Series, Time, checked_file
from xrnn.series.reading.languages import LANGUAGES, MONTHS, language_of, unit_of
from xrnn.series.reading.notes import Note, tell
from xrnn.series.reading.numbers import (
    MISSING_CELLS,
    Cell,
    as_number,
    chosen_decimal,
    decimal_in,
    is_number,
    not_a_number,
    number_in,
    refuse_thousands,
    shows,
    sign_in,
)
from xrnn.series.reading.text import read_text
from xrnn.series.reading.times import UNLIKE, WRITE_DATES, hold_dates, iso_time, read_times, unreadable, with_offsets
from xrnn.series.steps import CLOCK_CHANGE, MIDNIGHT, show
from xrnn.typing import HostArray

_INDEX_NAMES: Final = ("", "unnamed: 0", "index")
_PARTS_OF_YEARS: Final = {"month": "{:g}-{:02g}", "quarter": "{:g}-Q{:g}", "week": "{:g}-W{:02g}"}  # forms of dates
_LARGEST_PART: Final = {"month": 12, "quarter": 4, "week": 53, "day": 31}
_PART: Final = re.compile(r"[^\W\d_]{1,2}[ -]?(\d{1,2})")  # W05, KW 5, Q1, M12
_NUMBERS_OF_TIMES: Final = re.compile(r"year [12]\d{3}|month (19|20)\d\d(0[1-9]|1[0-2])")  # with the column's unit
_SEPARATORS: Final = "\t;|,"  # in the order of preference; a comma is last, since it may be in numbers or text
_QUOTED_GROUPS: Final = re.compile(r'"[-+]?[1-9]\d{0,2}([.,]\d{3})+"')  # "1.000"
_SAMPLE: Final = 20  # number of lines in which the separator is searched
_MOST_FAULTS: Final = 20  # bad lines that an error lists
_SEPARATOR_LINE: Final = re.compile(r'"?sep=(.)"?\n?', re.IGNORECASE)  # the first line of a file for Excel


@dataclass(frozen=True, slots=True)
class Columns:
    """How to read a table. A column is given by its name or by its number, counted from 1."""

    decimal: str = ""  # the sign of the decimals, "." or ","; empty: found in each file
    usual_decimal: str = ""  # the sign that the training had: for files that do not show theirs
    of_frame: bool = False  # True: the table is a frame, and options of commands do not apply
    skip: tuple[str, ...] = ()
    id: str = ""  # the column that identifies a series; empty: the file holds one series
    time: str = ""  # the column, or two or three with commas, to sort the steps by; empty: they are in order
    label: str = ""
    group: str = ""  # the column with the group of each series
    targets: bool = False  # True: labels are numbers to predict
    channels: tuple[str, ...] = ()  # the only columns that are channels, in this order; empty: all other columns
    optional: frozenset[str] = frozenset()  # columns named above that may be absent from a file
    timed: bool = False  # True: the times of the steps are used. Without --time, their column is looked for
    encoding: str = ""  # of a text file; empty: UTF-16 by its mark, UTF-8, or else cp1252
    skip_rows: int | None = None  # the number of rows above the header or the first row; None: title lines are found
    sheet: str = ""  # of .xlsx files, and then of these alone; empty: the one that has the columns named above
    usual_sheet: str = ""  # the sheet that the training read, for .xlsx files
    timezone: str = ""  # of the clock that times without an offset show; empty: they have none
    skip_bad_lines: bool = False  # True: lines that can't be used are left out. False: an error lists them

    @property
    def named(self) -> set[str]:
        """The columns that are named, also those that may be absent."""
        return {self.id, self.time, self.label, self.group, *self.skip, *self.channels} - {""}


def names_in(text: str) -> tuple[str, ...]:
    """The names in a list with commas."""
    return tuple(name for name in map(str.strip, text.split(",")) if name)


def read_csv(path: Path, columns: Columns) -> Table:
    """The table in a text file.   Raises DataError and OSError."""
    text, notes = read_text(path, columns.encoding)
    lines = [*io.StringIO(text, newline="")]
    skipped = columns.skip_rows or 0
    named = _SEPARATOR_LINE.fullmatch(lines[skipped]) if skipped < len(lines) else None
    if named:
        skipped += 1
    separator = named[1] if named else separator_of(lines[skipped:], columns.decimal)
    reader = csv.reader(lines[skipped:], delimiter=separator, skipinitialspace=True)
    points_may_group = separator != "," or bool(_QUOTED_GROUPS.search(text))
    read: dict[int, Sequence[Cell]] = {}
    try:
        for row in reader:
            if row and (read or row != [""]):  # blank lines are skipped
                read[skipped + reader.line_num] = [*map(str.strip, row)]
    except csv.Error as error:
        raise DataError(f"{path}, line {skipped + reader.line_num}: {error}; is this a table in CSV?") from error
    rows, more = _of_table(read, columns)
    width = len(next(iter(rows.values()), ()))
    if width != 1:  # with one column, an empty cell is a missing value
        rows = {i: cells for i, cells in rows.items() if cells != [""]}
    faults = {}
    for i, cells in rows.items():
        if len(cells) != width:
            got = f"{path}, line {i} has {len(cells)} values, but the rows before have {width}"
            faults[i] = Fault(got, f"correct the row, or skip lines above the header by {param('skip_rows')}")
    if 2 * len(faults) > len(rows):  # then the first row is bad
        raise next(iter(faults.values())).error()
    of_other_width = {i: rows.pop(i) for i in faults}
    if columns.decimal == "," and width == 1:
        _check_commas(rows, path)
    table = Table.of_rows(rows, str(path), columns, "line", [*notes, *more], points_may_group=points_may_group)
    return replace(table, faults=faults, of_other_width=of_other_width, semicolons=separator == ";")


def _check_commas(rows: Mapping[int, Sequence[Cell]], path: Path) -> None:
    """Raise DataError if commas separate cells, though they are to begin decimals: the rows then have one cell each."""
    for i, (cell,) in itertools.islice(rows.items(), 1, None):  # the first may be a header
        text = text_of(cell)
        if "," in text and number_in(text, ",") is None:
            remedy = f"give {param('decimal')} . or put numbers with commas in quotes"
            raise DataError(f"{path}, line {i}: commas separate the cells, so they can't begin decimals; {remedy}")


def read_by_pandas(path: Path, columns: Columns) -> Table:
    """The table in a .parquet file, or on a sheet of an .xlsx file.   Raises DataError."""
    suffix = path.suffix.lower()
    try:
        pandas: Any = importlib.import_module("pandas")
        if suffix == ".parquet":
            frame = pandas.read_parquet(path)
            has_index = frame.index.names != [None] or not isinstance(frame.index, pandas.RangeIndex)
            return Table.of(frame.reset_index() if has_index else frame, str(path), columns)
        sheets = pandas.read_excel(path, sheet_name=None, header=None, dtype=object, na_filter=False)
    except Exception as error:  # of a missing package; a damaged archive raises many kinds of errors
        got = f"{path} can't be read ({printable(str(error))[:80]})"
        packages = "pandas and openpyxl" if suffix == ".xlsx" else "pandas and pyarrow"
        raise DataError(f"{got}; install {packages}, or use another copy of the file") from error
    sheet = columns.sheet or columns.usual_sheet
    if sheet and sheet not in sheets:
        names = quoted(", ".join(sheets))
        raise DataError(f"{path} has no sheet {quoted(sheet)}; give one of its sheets by {param('sheet')}: {names}")
    chosen = {sheet: sheets[sheet]} if sheet else sheets
    return _chosen({name: _table_on(frame, name, path, columns, len(sheets)) for name, frame in chosen.items()}, path)


def _table_on(frame: Any, sheet: str, path: Path, columns: Columns, sheets: int) -> Table:
    """The table on a sheet of a file with this number of sheets."""
    unit = "row" if sheets == 1 else f"sheet {quoted(sheet)}, row"
    cells = ((i, [*map(cell_of, row)]) for i, row in enumerate(frame.itertuples(index=False), start=1))
    rows, notes = _of_table({i: row for i, row in cells if i > (columns.skip_rows or 0) and _filled(row)}, columns)
    return Table.of_rows(rows, str(path), columns, unit, notes)


def _chosen(tables: Mapping[str, Table], path: Path) -> Table:
    """The table on the first sheet that has all named columns; without names, on the first one that looks like a table.

    Raises DataError if no sheet has the columns.
    """
    first, *others = tables.values()
    if not others:
        return first
    columns = first.columns
    needed = columns.named - columns.optional
    with_all, with_needed = (
        [name for name, table in tables.items() if wanted and all(map(table.has, wanted))]
        for wanted in (columns.named, needed)
    )
    if needed and not with_needed:
        names, sheets = quoted(", ".join(sorted(needed))), quoted(", ".join(tables))
        raise DataError(f"{path} has no sheet with the columns {names}; name them as on one of its sheets: {sheets}")
    with_numbers = [name for name, table in tables.items() if table.holds_numbers()]
    name = next(iter(with_all or with_needed or with_numbers or tables))
    unread = printable(", ".join(other for other in tables if other != name))[:200]
    note = Note(f"the sheet {printable(name)} is read, and not {unread}", "give --sheet NAME")
    return replace(tables[name], notes=[note, *tables[name].notes])


def _of_table(rows: dict[int, Sequence[Cell]], columns: Columns) -> tuple[dict[int, Sequence[Cell]], list[Note]]:
    """The rows of a file, by their numbers, without titles and comments, and notes about these.

    If the number of rows above the table is given, no other titles are looked for.
    """
    notes: list[Note] = []
    if columns.skip_rows is None:
        rows, notes = _without_titles(rows)
    rows, more = _without_comments(rows)
    return rows, [*notes, *more]


def _without_titles(rows: dict[int, Sequence[Cell]]) -> tuple[dict[int, Sequence[Cell]], list[Note]]:
    """The rows without titles above the header, which are empty or fill their first cell alone; a note names them.

    The header is the first row with several filled cells. The row below it must have values: else it may be no header.
    """
    numbers = [*rows]
    place = next((i for i, number in enumerate(numbers) if len(_filled(rows[number])) > 1), 0)
    titles = numbers[:place]
    names = [[*map(text_of, rows[number])] for number in numbers[place : place + 2]]
    are_titles = all(_filled(rows[number]) in ([], [0]) for number in titles)
    if not titles or not are_titles or len(names) < 2 or not is_header(names[0]) or is_header(names[1]):
        return rows, []
    texts = [text for number in titles if (text := text_of(rows[number][0]))]
    return {i: rows[i] for i in numbers[place:]}, _left_out(texts, "above the header", "give --skip-rows 0")


def _without_comments(rows: dict[int, Sequence[Cell]]) -> tuple[dict[int, Sequence[Cell]], list[Note]]:
    """The rows without comments below the table, which fill their first cell alone; a note names them.

    Empty rows there are left out, too. If the first column holds text in the table, too, such as names of shops, a row
    is a comment only if it has no other cells.
    """
    numbers = [*rows]
    width = len(rows[numbers[0]]) if numbers else 0
    if width < 2 or len(numbers) < 3:
        return rows, []
    first = text_of(rows[numbers[1]][0])
    holds_text = not _is_value(first) and not hold_dates([first])
    end = len(numbers)
    texts: list[str] = []
    while end > 2:
        row = rows[numbers[end - 1]]
        filled = _filled(row)
        text = text_of(row[0])
        if filled and (filled != [0] or not _is_comment(text) or (holds_text and len(row) == width)):
            break
        end, texts = end - 1, [text] * len(filled) + texts
    return {i: rows[i] for i in numbers[:end]}, _left_out(texts, "below the table", "fill in other cells of the row")


def _filled(row: Sequence[Cell]) -> list[int]:
    """The places of the cells that are not empty."""
    return [i for i, cell in enumerate(row) if text_of(cell)]


def _is_comment(text: str) -> bool:
    """Whether a text is neither a number nor a time. One that begins with a digit may be a time that is cut off."""
    if text[0].isdecimal() or _is_value(text):
        return False
    try:
        read_times([text], lambda i: "")
    except DataError:
        return True
    return False


def _left_out(texts: Sequence[str], where: str, remedy: str) -> list[Note]:
    """A note about rows with these texts; none without texts."""
    if not texts:
        return []
    first = f"{quoted(texts[0])!r}"
    more = len(texts) - 1
    if not more:
        return [Note(f"{first} {where} is left out", remedy)]
    return [Note(f"{first} and {more} more row{'' if more == 1 else 's'} {where} are left out", remedy)]


def cell_of(value: Any) -> Cell:
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


class Roles(NamedTuple):
    """What the columns of a table are, by their indices."""

    id: int | None
    label: int | None
    group: int | None
    times: list[int]
    times_are_named: bool  # True if an option names the columns of times
    channels: list[int]
    unused: list[int]  # neither named by an option nor one of the others


@dataclass(frozen=True, slots=True)
class Table:
    """The cells of a table. A column is given by its index, a row by its index in `rows`."""

    name: str  # the path of the file; X for a frame
    columns: Columns
    header: tuple[str, ...]  # empty without one
    rows: Sequence[Sequence[Cell]]
    unit: str  # of its rows in the file, such as "line"
    numbers_of_rows: Sequence[int]  # in the file
    notes: Sequence[Note] = ()  # how the cells were read
    faults: Mapping[int, Fault] = field(default_factory=dict)  # of lines without the right number of cells
    of_other_width: Mapping[int, Sequence[Cell]] = field(default_factory=dict)  # the cells of these lines
    points_may_group: bool = True  # a number that is text, such as 1.000, may be 1000
    semicolons: bool = False  # they separate the cells

    @classmethod
    def of(cls, frame: Any, name: str, columns: Columns) -> Self:
        """The table of a DataFrame."""
        rows = [*zip(*(map(cell_of, frame.iloc[:, i].tolist()) for i in range(frame.shape[1])), strict=True)]
        return cls(name, columns, tuple(map(str, frame.columns)), rows, "row", range(1, len(rows) + 1))

    @classmethod
    def of_rows(
        cls,
        rows: Mapping[int, Sequence[Cell]],
        name: str,
        columns: Columns,
        unit: str,
        notes: Sequence[Note] = (),
        *,
        points_may_group: bool = True,
    ) -> Self:
        """The table of rows by their numbers in a file. If the first row is one of names, it is the header."""
        header = tuple(map(text_of, next(iter(rows.values()), ())))
        header = header if is_header(header) else ()
        numbers = [*rows][bool(header) :]
        cells = [rows[i] for i in numbers]
        return cls(name, columns, header, cells, unit, numbers, notes, points_may_group=points_may_group)

    def where(self, row: int) -> str:
        """The start of an error about a row."""
        return f"{self.name}, {self.unit} {self.numbers_of_rows[row]}"

    def series(self) -> list[Series]:
        """One series, or one for each value of the id column.   Raises DataError, which lists all bad lines."""
        if not self.rows:
            skipped = self.columns.skip_rows
            remedy = f"give a lower {param('skip_rows')} than {skipped}, or leave" if skipped else "leave"
            got = f"{self.name} has no values{' below the skipped rows' if skipped else ''}"
            raise DataError(f"{got}; {remedy} the file out", no_value=True)
        roles = self.roles()
        numbers = list(roles.channels)
        if self.columns.targets and roles.label is not None:
            numbers.append(roles.label)
        decimal, notes = self.decimal(numbers)
        text = [cell for row in self.rows for i in numbers if isinstance(cell := row[i], str)]
        has_sign = any("." in cell or "," in cell for cell in text)
        columns = [self._numbers(place, decimal) for place in roles.channels]
        bad_numbers = self._bad_numbers(roles.channels, decimal, columns)
        bad_rows = self._bad_ids(roles.id)
        times: list[Time] = []
        try:
            times = self.times(roles.times)
        except DataError:
            bad_times = self._bad_times(roles.times)
            if not bad_times:
                raise
            bad_rows |= bad_times
        zone = None
        if self.columns.timezone:
            of_clock = times
            times = self._with_offsets(times, roles.id)
            zone = ZoneInfo(self.columns.timezone) if times != of_clock else None
        if bad_rows or bad_numbers or self.faults:
            numbers_of = dict(zip(roles.channels, columns, strict=True))
            return self._skipping(bad_rows, bad_numbers, numbers_of, roles).series()
        values = np.array([*zip(*columns, strict=True)], dtype=np.float64)
        # only now: an error in the numbers could contradict a note about their decimals
        tell(self.name, [*self.notes, *notes, *self._unnoticed_times(roles)])
        made = []
        for id, name, rows in self.groups(roles.id, times, is_named=roles.times_are_named):
            one = Series(
                values[rows],
                label=None if roles.label is None else self.label(roles.label, rows, name, decimal),
                group=None if roles.group is None else self.group(roles.group, rows, name),
                name=name,
                channel_names=tuple(self.header[i] for i in roles.channels) if self.header else None,
                times=tuple(times[i] for i in rows) if times else None,
                id=id,
                time_names=tuple(map(self.shown, roles.times)),
                unused=tuple(map(self.shown, roles.unused)),
                decimal=decimal if has_sign else "",
                semicolons=self.semicolons,
                zone=zone,
            )
            made.append(one)
        return checked_file(self.name, made, to_forecast=self.columns.timed)

    def _with_offsets(self, times: list[Time], id_at: int | None) -> list[Time]:
        """The times; those of dates without an offset as the clock of the time zone shows them, for each series."""
        clocks = [time for time in times if isinstance(time, datetime) and time.tzinfo is None]
        if len(clocks) < len(times):
            return times
        ids = [""] * len(times) if id_at is None else self.texts(id_at)
        rows: dict[str, list[int]] = {}
        for i, key in enumerate(ids):
            rows.setdefault(key, []).append(i)
        found: list[Time] = [*times]
        for of_series in rows.values():
            its_times = with_offsets([clocks[i] for i in of_series], self.columns.timezone)
            for i, time in zip(of_series, its_times, strict=True):
                found[i] = time
        return found

    def _bad_ids(self, place: int | None) -> dict[int, Fault]:
        """The rows without an identifier."""
        if place is None:
            return {}
        got = f"has no value in column {self.shown(place)}, which {param('id')} names"
        rows = (i for i, cell in enumerate(self.texts(place)) if not cell)
        return {i: Fault(f"{self.where(i)} {got}", "fill it in, or remove the row") for i in rows}

    def _bad_numbers(
        self, places: Sequence[int], decimal: str, columns: Sequence[Sequence[float | None]]
    ) -> dict[int, Fault]:
        """The rows with text in place of numbers.

        columns   the numbers at these places; None for text

        Raises DataError if most cells of a column are text: then not the lines are bad, but the column is no channel.
        """
        faults: dict[int, Fault] = {}
        for place, values in zip(places, columns, strict=True):
            if None not in values:
                continue
            bad = [i for i, value in enumerate(values) if value is None]
            others = self._cell_with(decimal, places)
            if 2 * len(bad) > len(values):
                raise self._not_a_number(bad[0], place, decimal, others).error()
            faults |= {i: self._not_a_number(i, place, decimal, others) for i in bad if i not in faults}
        return faults

    def _not_a_number(self, row: int, place: int, decimal: str, others: str) -> Fault:
        where = f"{self.where(row)}, column {quoted(self.shown(place))}"
        chosen = f"leave the column out by {param('skip_columns')}"
        if self.columns.timed:
            chosen = f"name the column of the series by {param('id')}, the one to forecast by {param('target')}"
        remedy = f"correct it, write categories as numbers, or {chosen}"
        of_frame = self.columns.of_frame
        return not_a_number(self.rows[row][place], decimal, where, remedy, of_frame=of_frame, others=others)

    def _bad_times(self, places: Sequence[int]) -> dict[int, Fault]:
        """The rows without a time that can be read as the others; {} if these are most rows."""
        cells, faults = self._cells_of_times(places)
        rows = [i for i in range(len(cells)) if i not in faults]
        for place in unreadable([cells[i] for i in rows]):
            i = rows[place]
            faults[i] = Fault(f"{self.where(i)}: {quoted(cells[i])!r} {UNLIKE}", f"{WRITE_DATES}, or remove the row")
        return faults if 2 * len(faults) <= len(cells) else {}

    def _skipping(
        self,
        bad_rows: Mapping[int, Fault],
        bad_numbers: Mapping[int, Fault],
        columns: Mapping[int, Sequence[float | None]],
        roles: Roles,
    ) -> Table:
        """The table without its bad lines, if they are to be skipped.   Raises DataError, which lists them, if not.

        If the rows have times, steps stay equal: the bad cells of `bad_numbers` become empty in place of their rows. Of
        a line with a cell too many or too few, all become empty but the time and the identifier, if these can be read.

        columns   the numbers of channels, by their places; None for text
        """
        rows = dict(bad_numbers) | dict(bad_rows)
        by_number = {self.numbers_of_rows[i]: fault for i, fault in rows.items()} | dict(self.faults)
        faults = [by_number[number] for number in sorted(by_number)]
        name = printable(self.name)
        if not self.columns.skip_bad_lines:
            if len(faults) == 1:
                raise faults[0].error()
            texts = [fault.text.removeprefix(f"{name}, ") for fault in faults[:_MOST_FAULTS]]
            if len(faults) > _MOST_FAULTS:
                texts.append(f"and {len(faults) - _MOST_FAULTS:,} more")
            got = f"{name} has {len(faults):,} bad lines: {'; '.join(texts)}"
            raise DataError(f"{got}; correct them, or give {param('skip_bad_lines')}")
        lines = "1 bad line is" if len(faults) == 1 else f"{len(faults):,} bad lines are"
        first = faults[0].text.removeprefix(f"{name}, ")
        note = Note(f"{lines} skipped, the first: {first}", "leave out --skip-bad-lines")
        kept = [i for i in range(len(self.rows)) if i not in (bad_rows if self.columns.timed else rows)]
        cells = [
            [
                "" if i in bad_numbers and place in columns and columns[place][i] is None else cell
                for place, cell in enumerate(self.rows[i])
            ]
            for i in kept
        ]
        used: dict[int, Sequence[Cell]] = dict(zip((self.numbers_of_rows[i] for i in kept), cells, strict=True))
        used = dict(sorted((used | self._missing_rows(roles, bad_rows)).items()))
        return replace(self, rows=[*used.values()], numbers_of_rows=[*used], faults={}, notes=[*self.notes, note])

    def _missing_rows(self, roles: Roles, bad_rows: Container[int]) -> dict[int, Sequence[Cell]]:
        """The lines with a cell too many or too few as rows that have only a time, and the identifier of another row.

        Lines without a time that can be read as the others are left out, and those with a time that another row has.

        bad_rows   other rows whose time or identifier can't be used
        """
        if not roles.times:
            return {}
        keys = [*roles.times, *([] if roles.id is None else [roles.id])]
        rows = [row for i, row in enumerate(self.rows) if i not in bad_rows]
        seen = {tuple(text_of(row[place]) for place in keys) for row in rows}
        ids = {key[len(roles.times) :] for key in seen}
        found: dict[int, Sequence[Cell]] = {}
        for number, cells in self.of_other_width.items():
            key = tuple(text_of(cells[place]) for place in keys if place < len(cells))
            if len(key) == len(keys) and key not in seen and key[len(roles.times) :] in ids:
                seen.add(key)
                found[number] = [cells[place] if place in keys else "" for place in range(len(rows[0]))]
        together = replace(self, rows=[*rows, *found.values()], numbers_of_rows=range(len(rows) + len(found)))
        unreadable = together._bad_times(roles.times)
        return {number: row for i, (number, row) in enumerate(found.items(), start=len(rows)) if i not in unreadable}

    def roles(self) -> Roles:
        """The roles of the columns. Each step takes columns from those that are left.   Raises DataError."""
        columns = self.columns
        # 1. those that options name
        id, label, group = map(self.place, (columns.id, columns.label, columns.group))
        named_times = self._named_times()
        skipped = [self.place(column) for column in columns.skip]
        named = [i for i in map(self.place, columns.channels) if i is not None]
        channels = named if len(named) == len(columns.channels) else []  # all of them, or none
        left = [i for i in range(len(self.rows[0])) if i not in (id, label, group, *named_times, *skipped)]
        # 2. times, which may be several columns, such as years and months
        if named_times:
            times = named_times
        elif columns.timed and len(left) > 1:
            times = self.columns_of_times(left, channels, id)
        else:
            times = []
        left = [i for i in left if i not in times]
        # 3. channels: without names, all that are left, but for an index before them
        if not channels:
            channels = left[1:] if self._begins_with_index(left, id) else left
        if not channels:
            raise DataError(f"{self.name} has no column left for values: all are the index, or named by options")
        unused = [i for i in left if i not in channels]
        return Roles(id, label, group, times, bool(named_times), channels, unused)

    def _named_times(self) -> list[int]:
        """The columns of times that the option names: up to three, [] if they may be absent.   Raises DataError."""
        given = self.columns.time
        names = names_in(given)
        if len(names) not in (2, 3) or given in self.header:
            names = (given,)
        elif given in self.columns.optional and any(name not in self.header and not name.isdecimal() for name in names):
            return []
        return [place for name in names if (place := self.place(name)) is not None]

    def _unnoticed_times(self, roles: Roles) -> list[Note]:
        """A note about the first unused column that looks like times, if times are needed and were not found."""
        if not self.columns.timed or roles.times:
            return []
        for i in roles.unused:
            if unit_of(self.shown(i)) not in ("", "day") or self._ascends(i, roles.id):
                column = printable(self.shown(i))
                return [Note(f"no times were found, though column {column} looks like them", f"give --time {column}")]
        return []

    def _ascends(self, place: int, id_at: int | None) -> bool:
        """Whether the numbers in a column ascend in each series."""
        last: dict[str, float] = {}
        for row in self.rows:
            number = as_number(text_of(row[place]))
            key = "" if id_at is None else text_of(row[id_at])
            if number is None or number <= last.get(key, -math.inf):
                return False
            last[key] = number
        return True

    def place(self, column: str) -> int | None:
        """The index of a column that is given by its name or number; None for "", and for a missing optional column.

        If an optional column is given by its number, a column there that is one of `channels` is not it. In a file
        without a header, the next column has the number of an absent one: so none is optional there. Raises DataError.
        """
        width = len(self.rows[0])
        is_optional = column in self.columns.optional and bool(self.header or not column.isdecimal())
        found = [i for i, name in enumerate(self.header) if name == column]
        if not found:
            channels = [i for i, name in enumerate(self.header) if is_optional and name in self.columns.channels]
            found = [i for i in range(width) if str(i + 1) == column and i not in channels]
        if not column or (is_optional and not found):
            return None
        if len(found) == 1:
            return found[0]
        got = f"{self.name} has {'two columns' if found else 'no column'} {quoted(column)}"
        names = printable(", ".join(self.header))[:200] or "no names"
        raise DataError(f"{got}; give a name, or a number from 1 to {width}: it has {names}")

    def has(self, column: str) -> bool:
        """Whether a column has this name or number, or two columns those in "A,B"."""
        width = len(self.rows[0]) if self.rows else 0
        if column in self.header or (column.isdecimal() and 1 <= int(column) <= width):
            return True
        return "," in column and all(map(self.has, names_in(column)))

    def holds_numbers(self) -> bool:
        """Whether at least two rows, and half of all, hold a number, as those of a cover sheet do not."""
        count = sum(any(number_in(cell, ".") is not None for cell in row if text_of(cell)) for row in self.rows)
        return count > 1 and 2 * count >= len(self.rows)

    def texts(self, place: int) -> list[str]:
        """The text of a column."""
        return [text_of(row[place]) for row in self.rows]

    def shown(self, place: int) -> str:
        """The name of a column; its number if it has none."""
        return (self.header[place] if self.header else "") or str(place + 1)

    def columns_of_times(self, left: Sequence[int], channels: Sequence[int], id_at: int | None) -> list[int]:
        """The first column of times, else columns of years and their parts, else an index of numbers; [] without any.

        left       the columns without a role so far
        channels   those of them that options name
        id_at      the column of identifiers
        """
        free = [i for i in left if i not in channels]
        parts = self._years_and_parts(free)  # years that all differ are no column of times beside their months
        for i in free:
            if i not in parts and self._holds_times(i, id_at):
                return [i]
        if parts:
            return parts
        if left[0] in free and self._begins_with_index(left, id_at) and None not in map(as_number, self.texts(left[0])):
            return [left[0]]
        return []

    def _years_and_parts(self, places: Sequence[int]) -> list[int]:
        """The columns of years and of months, quarters or weeks, by their names; days after months; [] without them."""
        by_unit = {unit_of(self.shown(i)): i for i in places}
        for unit in _PARTS_OF_YEARS:
            if "year" in by_unit and unit in by_unit and self._holds_parts(by_unit[unit], unit):
                found = [by_unit["year"], by_unit[unit]]
                if unit == "month" and "day" in by_unit and self._holds_parts(by_unit["day"], "day"):
                    found.append(by_unit["day"])
                return found
        return []

    def _holds_parts(self, place: int, unit: str) -> bool:
        """Whether most cells are valid numbers of this unit, or names of months; of weeks, all: kW may hold values."""
        cells = self.texts(place)
        count = sum(_part(cell, unit) is not None for cell in cells)
        return count == len(cells) if unit == "week" else 2 * count > len(cells)

    def _begins_with_index(self, left: Sequence[int], id_at: int | None) -> bool:
        """Whether the first of these columns holds the names or times of the rows instead of values."""
        if not left:
            return False
        if self.header:
            name = self.header[left[0]].lower()
            if name in _INDEX_NAMES or unit_of(name) == "time":
                return len(left) > 1
        return self._holds_times(left[0], id_at)

    def _holds_times(self, place: int, id_at: int | None) -> bool:
        """True for dates, in a column called time or date, and for different years or months in one of that name."""
        cells = self.texts(place)
        unit = unit_of(self.shown(place))
        if unit == "time" or hold_dates(cells):
            return True
        if not all(_NUMBERS_OF_TIMES.fullmatch(f"{unit} {cell}") for cell in cells):
            return False
        ids = cells if id_at is None else self.texts(id_at)
        return len({*zip(cells, ids, strict=True)}) == len(cells)

    def times(self, places: Sequence[int]) -> list[Time]:
        """The times in one to three columns; [] without one.   Raises DataError.

        Several columns hold years and their quarters, weeks, or months and days, if they are called so; else the parts
        of a date in their order, such as a day and the time of day.
        """
        cells, faults = self._cells_of_times(places)
        for fault in faults.values():
            raise fault.error()
        return read_times(cells, self.where) if places else []

    def _cells_of_times(self, places: Sequence[int]) -> tuple[list[str], dict[int, Fault]]:
        """A text with the time of each row; what is wrong with the rows that have none."""
        if len(places) < 2:
            return (self.texts(places[0]) if places else []), {}
        by_unit = {unit_of(self.shown(place)): place for place in places}
        for unit, form in _PARTS_OF_YEARS.items():
            units = ["year", unit, "day"][: len(places)]
            if by_unit.keys() == {*units} and (unit == "month" or len(places) == 2):
                return self._joined([by_unit[each] for each in units], units, form)
        return [*map(" ".join, zip(*map(self.texts, places), strict=True))], {}

    def _joined(self, places: Sequence[int], units: Sequence[str], form: str) -> tuple[list[str], dict[int, Fault]]:
        """`_cells_of_times` of columns with years, months, …   form: of the dates, without days"""
        form += "-{:02g}" if len(units) == 3 else ""
        cells = []
        faults = {}
        for i, row in enumerate(self.rows):
            texts = [text_of(row[place]) for place in places]
            parts = [_part(text, unit) for text, unit in zip(texts, units, strict=True)]
            if None in parts:
                bad = parts.index(None)
                where = f"{self.where(i)}, column {quoted(self.shown(places[bad]))}"
                faults[i] = Fault(
                    f"{where}: {quoted(texts[bad])!r} is not a {units[bad]}", "correct it, or remove the row"
                )
                cells.append("")
            else:
                cells.append(form.format(*parts))
        return cells, faults

    def groups(self, id_at: int | None, times: Sequence[Time], *, is_named: bool) -> list[tuple[str, str, list[int]]]:
        """For each series: its identifier, its name, and its rows, sorted by their times.

        times      of all rows; none if the rows have none
        is_named   True if an option names the column of times. A column of numbers that was found without an option
                   may be something else than times, so rows are not sorted by it

        Raises DataError if an identifier is missing, a time occurs twice in a series, or other times are not sorted.
        """
        ids = [""] * len(self.rows) if id_at is None else self.texts(id_at)
        for fault in self._bad_ids(id_at).values():
            raise fault.error()
        groups: dict[str, list[int]] = {key: [] for key in ids}
        for i, key in enumerate(ids):
            groups[key].append(i)
        for steps in groups.values() if times else []:
            if is_named or isinstance(times[0], datetime):
                steps.sort(key=lambda row: times[row])
            for a, b in itertools.pairwise(steps):
                if not times[a] < times[b]:  # type: ignore[operator]
                    other = self.where(a).removeprefix(f"{self.name}, ")
                    first, second = times[a], times[b]
                    if first == second:
                        got, remedy = f"is also in {other}", f"correct or remove one of both, or give {param('id')}"
                    else:
                        got = f"is before that in {other}"
                        remedy = f"correct the time, sort the rows, or give {param('time')} and {param('id')}"
                    got = f"the time {show(second)} {got}"
                    if isinstance(second, datetime) and second.time() != MIDNIGHT:
                        remedy += CLOCK_CHANGE
                    raise DataError(f"{self.where(b)}: {got}; {remedy}")
        at = "" if id_at is None else f", {self.shown(id_at)} "
        return [(key, f"{self.name}{at}{key}", steps) for key, steps in groups.items()]

    def label(self, label_at: int, steps: Sequence[int], name: str, decimal: str) -> str | None:
        """The label of a series from the cells of its rows; a number to predict in Python's form."""
        label = self._only_text(label_at, steps, f"{printable(name)} has the labels")
        if label.lower() in MISSING_CELLS:
            return None
        target = number_in(label, decimal) if self.columns.targets and is_number(label) else None
        return label if target is None else repr(target)

    def group(self, group_at: int, steps: Sequence[int], name: str) -> str | None:
        """The group of a series from the cells of its rows."""
        group = self._only_text(group_at, steps, f"{printable(name)} has the groups")
        return None if group.lower() in MISSING_CELLS else group

    def _only_text(self, place: int, steps: Sequence[int], got: str) -> str:
        """The text that all these rows have in a column.   Raises DataError, which begins with `got`."""
        text, *others = sorted({text_of(self.rows[i][place]) for i in steps})
        if others:
            got = f"{got} {quoted(text)} and {quoted(others[0])}"
            raise DataError(f"{got}; correct the column, or give {param('id')}")
        return text

    def decimal(self, places: Sequence[int]) -> tuple[str, list[Note]]:
        """The sign of the decimals in these columns, and how they are read: the given one, or that of their cells.

        Raises DataError if they do not show it.
        """
        if self.columns.decimal:
            return self.columns.decimal, []
        usual = self.columns.usual_decimal
        of = "the training"
        words = (cell for row in self.rows for cell in row if isinstance(cell, str))
        if not usual and (language := language_of(self.header, words)):
            usual = LANGUAGES[language].decimal
            of = language
        cells = {self.shown(place): [row[place] for row in self.rows] for place in places}
        # where points may group, a line tells how such numbers are read
        if not self.points_may_group and not self.columns.usual_decimal:
            refuse_thousands(cells, self.name)
        return chosen_decimal(
            cells,
            self.name,
            usual=usual,
            of=of,
            points_may_group=self.points_may_group,
            of_frame=self.columns.of_frame,
        )

    def numbers(self, places: Sequence[int], decimal: str) -> HostArray:
        """Columns as (rows, columns) float64, NaN for a missing value.   Raises DataError.

        decimal   the sign of the decimals
        """
        columns = [self._numbers(place, decimal) for place in places]
        for fault in self._bad_numbers(places, decimal, columns).values():
            raise fault.error()
        return np.array([*zip(*columns, strict=True)], dtype=np.float64)

    def _numbers(self, place: int, decimal: str) -> list[float | None]:
        """The number in each cell of a column; None for other text.

        In a table to forecast, a column whose cells are all x or empty, with both of them, holds 1 and 0. Elsewhere
        this would depend on the file: one series alone could have only empty cells, which are missing values.
        """
        cells = [row[place] for row in self.rows]
        if self.columns.timed and {text_of(cell).lower() for cell in cells} == {"x", ""}:
            return [float(text_of(cell) != "") for cell in cells]
        return [number_in(cell, decimal) for cell in cells]

    def _cell_with(self, decimal: str, places: Sequence[int]) -> str:
        """The start of a sentence: the first cell in these columns that shows this sign has; empty without one.

        If none shows it, a cell that contains it, such as 1,000: this may be read with the sign.
        """
        cells = [(i, place) for i in range(len(self.rows)) for place in places]
        showing = ((i, place) for i, place in cells if shows(self.rows[i][place], decimal))
        containing = (
            (i, place)
            for i, place in cells
            if decimal in str(self.rows[i][place]) and number_in(self.rows[i][place], decimal) is not None
        )
        for i, place in itertools.chain(showing, containing):
            where = self.where(i).removeprefix(f"{self.name}, ")
            return f"{str(self.rows[i][place])!r} ({where}, column {quoted(self.shown(place))}) has"
        return ""


def separator_of(lines: Sequence[str], decimal: str) -> str:
    """The first of _SEPARATORS that is in every line; if there is none, that of a header below titles.

    Else the most frequent one in the first line. Looks at the first lines that are not blank.
    """
    lines = [*itertools.islice((line[: 2**20] for line in lines if line.strip()), _SAMPLE)] or [""]
    candidates = _SEPARATORS
    if decimal == "," and '"' not in "".join(lines):  # unlike 2024-05-31,"1,5"
        candidates = _SEPARATORS.replace(",", "")
    in_all = [candidate for candidate in candidates if all(candidate in line for line in lines)]
    if in_all:
        return in_all[0]
    of_header = {candidate: _lines_like_header(lines, candidate) for candidate in candidates}
    best = max(candidates, key=of_header.__getitem__)
    return best if 2 * of_header[best] > len(lines) else max(candidates, key=lines[0].count)


def _lines_like_header(lines: Sequence[str], separator: str) -> int:
    """The number of lines with this separator, if the first of them is a header; else 0."""
    having = [line for line in lines if separator in line]
    cells = [cell.strip() for cell in having[0].split(separator)] if having else []
    return len(having) if len(_filled(cells)) > 1 and is_header(cells) else 0


def is_header(row: Sequence[str]) -> bool:
    """True for a row of names. So is ",0,1,2", which pandas writes for columns without names, after that of its index.

    A row that begins with a date is none: "1.3.2024;0" holds a value.
    """
    first = row[0] if row else ""
    others = [*row[1:]]
    if hold_dates([first]) and all(_is_value(cell) or cell.lower() in MISSING_CELLS for cell in others):
        return False
    are_counted = bool(others) and others == [str(i) for i in range(len(others))]
    is_index = first.lower() in _INDEX_NAMES or bool(unit_of(first)) or len(others) > 1
    if are_counted and is_index and not _is_value(first):
        return True
    return not any(map(_is_value, row)) and any(cell.lower() not in MISSING_CELLS for cell in row)


def _part(cell: str, unit: str) -> float | None:
    """The year in a cell, or the number of a month, quarter, week or day, as in 5, W05 and May. None for others."""
    if unit == "month" and (month := MONTHS.get(cell.lower().removesuffix("."))):
        return float(month)
    letters = _PART.fullmatch(cell)
    number = as_number(letters[1] if letters else cell)
    if unit == "year" or number is None:
        return number
    return number if number.is_integer() and 1 <= number <= _LARGEST_PART[unit] else None


def _is_value(cell: str) -> bool:
    """True for a number, several numbers with spaces between them, or an ISO time."""
    parts = cell.split()
    return (bool(parts) and all(map(is_number, parts))) or iso_time(cell) is not None


def cells_in(line: str, separator: str, where: str) -> tuple[str, ...]:
    """The cells of a line of a stream, without their quotes. Errors begin with `where`.   Raises DataError."""
    reader = csv.reader([line.strip("\r\n")], delimiter=separator, skipinitialspace=True)
    try:
        return tuple(cell.strip() for row in reader for cell in row)
    except csv.Error as error:
        raise DataError(f"{where}: {error}; correct or remove it") from error


def may_group(line: str, separator: str) -> bool:
    """Whether a number such as 1.000 in a line of a stream may be 1000: commas that separate cells leave no doubt."""
    return separator != "," or bool(_QUOTED_GROUPS.search(line))


def are_numbers(cells: Sequence[str], decimal: str) -> bool:
    """Whether `numbers_in` can read the cells."""
    sign = decimal or decimal_in(cells) or "."
    return all(number_in(cell, sign) is not None for cell in cells)


def numbers_in(cells: Sequence[str], decimal: str, where: str, others: str = "") -> list[float]:
    """The numbers, NaN for a missing value. Errors begin with `where`.   Raises DataError.

    decimal   the sign of the decimals; empty: the one that the cells show
    others    the rows before that show this sign; empty if there are none
    """
    sign = decimal or sign_in(cells, where)
    values = []
    for cell in cells:
        value = number_in(cell, sign)
        if value is None:
            raise not_a_number(cell, sign, where, "correct or remove it", others=others).error()
        values.append(value)
    return values
