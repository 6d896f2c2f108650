"""Series from a file or a folder, in any of the formats."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from xrnn.files import printable
from xrnn.series.errors import DataError, file_errors, param
from xrnn.series.one_series import Series, checked
from xrnn.series.reading.tables import Columns, read_by_pandas, read_csv
from xrnn.series.reading.ts import read_ts

TABLES: Final = {".csv": read_csv, ".txt": read_csv, ".xlsx": read_by_pandas, ".parquet": read_by_pandas}
_FILES: Final = f"a .ts, {', '.join(TABLES)} or .npy file"


def read_path(path: Path, columns: Columns = Columns()) -> list[Series]:  # noqa: B008 (frozen)
    """The series in a folder, or in a file of any format.   Raises DataError."""
    if os.path.isdir(path):  # unlike `Path.is_dir`, it returns False if the name is too long or access is denied
        return [
            series
            for file in files_in(path, need_labels=not columns.timed)
            for series in _of_label(file, path, columns)
        ]
    suffix = path.suffix.lower()
    with file_errors(DataError, "read", path, "check the path and its permissions"):
        if not path.is_file():
            got = "is not a file" if os.path.lexists(path) else "doesn't exist"
            raise DataError(f"{path} {got}; check the path")
        if columns.sheet and suffix in (*TABLES, ".ts", ".npy") and suffix != ".xlsx":
            raise DataError(f"{path} has no sheets, unlike .xlsx files; leave out {param('sheet')}")
        if suffix in (".ts", ".npy") and columns.named - columns.optional:
            raise DataError(f"{path} has no column names; leave out the options that name columns")
        if suffix == ".ts":
            return read_ts(path, targets=columns.targets, encoding=columns.encoding, to_forecast=columns.timed)
        if suffix == ".npy":
            return [_read_npy(path)]
        if suffix in TABLES:
            return TABLES[suffix](path, columns).series()
    raise DataError(f"{path} is not {_FILES}; convert it, or name another")


def files_in(folder: Path, *, need_labels: bool) -> list[Path]:
    """The files of series in every subfolder; without need_labels also those of a folder that has no others.

    A subfolder without files may have folders of files in turn, one for each group of series. Hidden files and other
    types are skipped. Beside files of another format, a .txt file holds notes. Raises DataError if there are none, or
    if a subfolder has none.
    """
    files = _with_series(folder.glob("[!.]*/[!.]*"))
    if not files and not need_labels and (flat := _with_series(folder.glob("[!.]*"))):
        return flat
    places = [*filter(os.path.isdir, folder.glob("[!.]*"))] or [folder]
    of_groups = {*places} - {path.parent for path in files} - {folder}
    files = sorted([*files, *(path for place in of_groups for path in _with_series(place.glob("[!.]*/[!.]*")))])
    if empty := {*places} - {place for path in files for place in path.parents}:
        for_labels = " for each label" if need_labels else ""
        remedy = f"put {', '.join(TABLES)} or .npy files into a folder{for_labels}, or check the permissions"
        raise DataError(f"{min(empty)} holds no series; {remedy}")
    return files


def _with_series(paths: Iterable[Path]) -> list[Path]:
    """The paths with the ending of a format, sorted."""
    files = [path for path in sorted(paths) if path.suffix.lower() in (*TABLES, ".npy")]
    with_others = {path.parent for path in files if path.suffix.lower() != ".txt"}
    return [path for path in files if path.suffix.lower() != ".txt" or path.parent not in with_others]


def _of_label(file: Path, folder: Path, columns: Columns) -> list[Series]:
    """The series in a file. The names of its folders are their label and their group, unless columns hold these."""
    series = read_path(file, columns)
    # An escape stands for each byte of a name that is not UTF-8.
    names = [
        each.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        for each in file.relative_to(folder).parts[:-1]
    ]
    if names and not columns.label:
        series = [replace(one, label=names[0]) for one in series]
    if len(names) > 1 and not columns.group:
        series = [replace(one, group=names[1]) for one in series]
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
