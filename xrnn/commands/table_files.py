"""Tables of results as files that spreadsheets open: .csv, .xlsx, .parquet."""

from __future__ import annotations

import csv
import importlib
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

from xrnn.commands.output import REFUSAL, check_outputs
from xrnn.files import printable, write_file
from xrnn.optional import install_hint
from xrnn.series.errors import ModelError, SettingsError, file_errors, param

Rows: TypeAlias = Sequence[Mapping[str, Any]]  # all with the same names of columns

_MOST_ROWS: Final = 2**20 - 1  # of a sheet, without the header
_DATES: Final = "yyyy-mm-dd"
_TIMES: Final = "yyyy-mm-dd hh:mm:ss"


class TableFile:
    """The file of one or two tables. Names that can't be written, and missing packages, are refused at the start.

    A .xlsx file has a sheet for each table. Of other formats, the second table is in a file of its own, whose name has
    that of the table at its end: `may.csv` and `may-scores.csv`.
    """

    def __init__(self, path: Path, names: Sequence[str], inputs: Iterable[Path], *, overwrite: bool) -> None:
        """Raises SettingsError for another ending, and ModelError.

        names   of the tables;   inputs: what the command reads
        """
        self._path = path
        self._overwrite = overwrite
        self._suffix = path.suffix.lower()
        if self._suffix not in _CONTENT:
            raise SettingsError(f"{param('table')} is {path}; the name must end in {', '.join(_CONTENT)}")
        package = _PACKAGES.get(self._suffix)
        try:
            importlib.import_module(package or "csv")
        except ImportError as error:
            raise ModelError(f"{path} needs {package}, which is not installed: {install_hint('series')}") from error
        self._files = dict.fromkeys(names, path)
        if self._suffix != ".xlsx":
            self._files |= {name: path.with_name(f"{path.stem}-{name}{path.suffix}") for name in names[1:]}
        check_outputs([*dict.fromkeys(self._files.values())], inputs, overwrite=overwrite)

    def write(self, tables: Mapping[str, Rows], decimal: str) -> list[Path]:
        """Write the tables that are not empty, by their names → the files.   Raises ModelError.

        decimal   the sign before the decimals of numbers in a .csv file; with a comma, semicolons separate the cells
        """
        of_files: dict[Path, dict[str, Rows]] = {}
        for name, rows in tables.items():
            if rows:
                of_files.setdefault(self._files[name], {})[name] = rows
        for path, its_tables in of_files.items():
            with file_errors(ModelError, "write", path, "is the disk full, or read-only?"):
                content = _CONTENT[self._suffix](its_tables, decimal, path)
                write_file(path, content, lambda _: self._overwrite, REFUSAL)
        return [*of_files]


def _csv(tables: Mapping[str, Rows], decimal: str, path: Path) -> bytes:
    """UTF-8 with a byte order mark: by it, spreadsheets see that the text is UTF-8."""
    (rows,) = tables.values()
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=";" if decimal == "," else ",")
    writer.writerow([*map(printable, rows[0])])
    for row in rows:
        writer.writerow([_in_csv(value, decimal) for value in row.values()])
    return text.getvalue().encode("utf-8-sig", "backslashreplace")


def _in_csv(value: Any, decimal: str) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.10g}".replace(".", decimal)
    return "" if value is None else printable(str(value))


def _xlsx(tables: Mapping[str, Rows], decimal: str, path: Path) -> bytes:
    """Numbers and dates have their types, so that a spreadsheet shows them in the form of its language."""
    openpyxl: Any = importlib.import_module("openpyxl")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in tables.items():
        if len(rows) > _MOST_ROWS:
            raise ModelError(f"{path} can't hold {len(rows):,} rows; name a .csv or .parquet file")
        sheet = book.create_sheet(name)
        sheet.append([*map(printable, rows[0])])
        sheet.freeze_panes = "A2"
        times = _of_clock([row.get("time") for row in rows])
        days = all(time.time() == datetime.min.time() for time in times if isinstance(time, datetime))
        for i, row in enumerate(rows, start=2):
            for j, (column, value) in enumerate(row.items(), start=1):
                cell = sheet.cell(i, j)
                typed = times[i - 2] if column == "time" else value
                cell.value = printable(typed) if isinstance(typed, str) else None if typed != typed else typed
                if isinstance(typed, str):
                    cell.data_type = "s"  # also if it begins with =
                elif isinstance(typed, datetime):
                    cell.number_format = _DATES if days else _TIMES
        for j, column in enumerate(rows[0], start=1):
            width = max(len(column), *(len(str(row[column])[:40]) for row in rows[:100]))
            sheet.column_dimensions[openpyxl.utils.get_column_letter(j)].width = width + 2
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def _parquet(tables: Mapping[str, Rows], decimal: str, path: Path) -> bytes:
    pandas: Any = importlib.import_module("pandas")
    (rows,) = tables.values()
    frame = pandas.DataFrame([dict(row) for row in rows])
    if "time" in frame:
        frame["time"] = _times(frame["time"].tolist())
    content = io.BytesIO()
    frame.to_parquet(content, index=False)
    return content.getvalue()


def _times(texts: Sequence[Any]) -> list[Any]:
    """The times that the texts show: all datetimes without an offset, or all numbers; else the texts."""
    for read in (datetime.fromisoformat, float):
        try:
            times = [read(text) for text in texts]
        except (TypeError, ValueError):
            continue
        if not any(getattr(time, "tzinfo", None) for time in times):  # a column of times has one offset at most
            return times
    return [*texts]


def _of_clock(texts: Sequence[Any]) -> list[Any]:
    """`_times`; without offsets, which a spreadsheet doesn't have, unless a clock shows two of the times alike."""
    times = _times(texts)
    try:
        with_offsets = [datetime.fromisoformat(time) for time in times]
    except (TypeError, ValueError):
        return times
    clocks = [time.replace(tzinfo=None) for time in with_offsets]
    return clocks if len({*clocks}) == len({*with_offsets}) else times


_CONTENT: Final[dict[str, Callable[[Mapping[str, Rows], str, Path], bytes]]] = {
    ".csv": _csv,
    ".xlsx": _xlsx,
    ".parquet": _parquet,
}
_PACKAGES: Final = {".xlsx": "openpyxl", ".parquet": "pyarrow"}
