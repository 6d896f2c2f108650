"""Series from a file or a folder, in any of the formats."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from xrnn.files import printable
from xrnn.series.errors import DataError, file_errors
from xrnn.series.one_series import Series, checked
from xrnn.series.reading.tables import Columns, read_by_pandas, read_csv
from xrnn.series.reading.ts import read_ts

TABLES: Final = {".csv": read_csv, ".txt": read_csv, ".xlsx": read_by_pandas, ".parquet": read_by_pandas}
_FILES: Final = f"a .ts, {', '.join(TABLES)} or .npy file"


def read_path(path: Path, columns: Columns = Columns()) -> list[Series]:  # noqa: B008 (frozen)
    """The series in a folder, or in a file of any format.   Raises DataError."""
    if os.path.isdir(path):  # unlike `Path.is_dir`, it returns False if the name is too long or access is denied
        return _read_folder(path, columns)
    suffix = path.suffix.lower()
    with file_errors(DataError, "read", path, "check the path and its permissions"):
        if not path.is_file():
            got = "is not a file" if os.path.lexists(path) else "doesn't exist"
            raise DataError(f"{path} {got}; check the path")
        if suffix in (".ts", ".npy") and columns.named - columns.optional:
            raise DataError(f"{path} has no column names; leave out the options that name columns")
        if suffix == ".ts":
            return read_ts(path, targets=columns.targets, encoding=columns.encoding)
        if suffix == ".npy":
            return [_read_npy(path)]
        if suffix in TABLES:
            return TABLES[suffix](path, columns).series()
    raise DataError(f"{path} is not {_FILES}; convert it, or name another")


def _read_folder(folder: Path, columns: Columns) -> list[Series]:
    """The series in every subfolder, with its name as their label. Hidden files and other types are skipped.

    Beside files of another format, a .txt file holds notes.
    """
    files = [path for path in sorted(folder.glob("[!.]*/[!.]*")) if path.suffix.lower() in (*TABLES, ".npy")]
    with_others = {path.parent for path in files if path.suffix.lower() != ".txt"}
    files = [path for path in files if path.suffix.lower() != ".txt" or path.parent not in with_others]
    places = [*filter(os.path.isdir, folder.glob("[!.]*"))] or [folder]
    if empty := {*places} - {path.parent for path in files}:
        remedy = f"put {', '.join(TABLES)} or .npy files into a folder for each label, or check the permissions"
        raise DataError(f"{min(empty)} holds no series; {remedy}")
    series: list[Series] = []
    for path in files:
        # An escape stands for each byte of the name that is not UTF-8.
        label = path.parent.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        found = read_path(path, columns)
        series += found if columns.label else (replace(each, label=label) for each in found)
    return series


def _read_npy(path: Path) -> Series:
    """The series in a file written by `numpy.save`, an array (time, channels). NaN is a missing value."""
    try:
        # open_memmap compares the size in the header with the size of the file before it allocates memory.
        with np.errstate(over="raise"):  # for a size beyond 64 bits
            array = np.lib.format.open_memmap(path, mode="r")
        if array.ndim != 2 or array.dtype.kind not in "fiu" or array.itemsize > 8:
            raise ValueError(f"it holds {array.dtype} {array.shape}")
    except Exception as error:  # the header is a Python literal: its parser raises many kinds of errors
        got = f"{path} can't be used ({printable(str(error))[:80]})"
        remedy = "save the numbers of each series, (time, channels), in a file of its own by numpy.save"
        raise DataError(f"{got}; {remedy}") from error
    return checked(Series(np.array(array, dtype=np.float64), None, str(path)))
