"""Series from a file or a folder, in any of the formats."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from xrnn.files import printable, quoted
from xrnn.models.data.npy import read_npy
from xrnn.models.data.series import Series
from xrnn.models.data.tables import Columns, read_csv
from xrnn.models.data.ts import read_ts
from xrnn.models.errors import DataError, param

MOST_CHANNELS: Final = 2**20  # limits the memory that a forged checkpoint can make its reader allocate


def read_path(path: Path, columns: Columns = Columns()) -> list[Series]:  # noqa: B008 (frozen)
    """The series in a folder, or in a .ts, .csv or .npy file.   Raises DataError."""
    if os.path.isdir(path):  # unlike `Path.is_dir`, it returns False if the name is too long or access is denied
        return _read_folder(path, columns)
    if path.suffix.lower() in _READERS:
        return _read_file(path, columns)
    if path.suffix.lower() != ".ts" and os.path.exists(path):
        raise DataError(
            f"{path} is not a .ts, .csv or .npy file: expected a name with one of these endings, or a folder of labels"
        )
    _check_no_columns(path, columns)
    return read_ts(path, targets=columns.targets)


def check_channels(series: Sequence[Series]) -> int:
    """The number of channels D, which must be the same in all series.   Raises DataError."""
    first = series[0]
    if first.channels > MOST_CHANNELS:
        raise DataError(
            f"{printable(first.name)} has {first.channels:,} channels: expected at most {MOST_CHANNELS:,}; if the file "
            "is transposed, write a row for each step and a column for each channel"
        )
    for each in series:
        check_same(each, first.channels, first.channel_names, printable(first.name))
    return first.channels


def check_same(series: Series, channels: int, names: tuple[str, ...] | None, others: str) -> None:
    """Refuse a series whose channels differ from those of `others` in number or in their names.   Raises DataError."""
    if series.channels != channels:
        raise DataError(
            f"{printable(series.name)} has {series.channels} channels, but {others} has {channels}: expected the same "
            "number in all; correct it or leave it out"
        )
    if series.channel_names and names and series.channel_names != names:
        i = next(i for i in range(channels) if series.channel_names[i] != names[i])
        raise DataError(
            f"{printable(series.name)} has the channel {quoted(series.channel_names[i])}, but {others} has "
            f"{quoted(names[i])} there: expected the same names in the same order; reorder the columns"
        )


def _read_folder(folder: Path, columns: Columns) -> list[Series]:
    """The series in every subfolder, with its name as their label. Hidden files and other types are skipped."""
    series: list[Series] = []
    for label in _names(folder):
        if not _is_folder(folder / label):
            continue
        names = [name for name in _names(folder / label) if os.path.splitext(name)[1].lower() in _READERS]
        if not names:
            raise DataError(
                f"{folder / label} holds no series: expected .csv or .npy files in the folder of a label; remove it, "
                "or add some"
            )
        for name in names:
            series += _read_file(folder / label / name, columns, label)
    if not series:
        raise DataError(f"{folder} holds no series: expected a folder for each label, with .csv or .npy files in it")
    return series


def _read_file(path: Path, columns: Columns, label: str | None = None) -> list[Series]:
    try:
        if not path.is_file():
            got = "is not a file" if os.path.lexists(path) else "doesn't exist"
            raise DataError(f"{path} {got}: expected a .ts, .csv or .npy file; check the path")
        return _READERS[path.suffix.lower()](path, columns, label)
    except OSError as error:
        raise DataError(
            f"can't read {path} ({error.strerror}): expected a readable file; change its permissions"
        ) from error


def _read_array(path: Path, columns: Columns, label: str | None) -> list[Series]:
    _check_no_columns(path, columns)
    return [_only(read_npy(path, label), columns.used)]


# Formats that may also be in the folder of a label; a .ts file holds its labels.
_READERS: Final = {".csv": read_csv, ".npy": _read_array}


def _only(series: Series, used: Sequence[str]) -> Series:
    """`series` with the channels that have these numbers, from 1; all if there are none."""
    if not used:
        return series
    numbers = [int(each) for each in used if re.fullmatch("[0-9]{1,7}", each) and 1 <= int(each) <= series.channels]
    if len(numbers) < len(used):
        raise DataError(
            f"{printable(series.name)} lacks one of the columns {quoted(', '.join(used))}: expected numbers from 1 to "
            f"{series.channels}, because a .npy file has no names"
        )
    return replace(series, values=series.values[:, [number - 1 for number in numbers]])


def _check_no_columns(path: Path, columns: Columns) -> None:
    if {columns.id, columns.time, columns.label, *columns.skip} - columns.optional - {""}:
        raise DataError(
            f"{path} has no columns to choose: expected a .csv file with {param('id')}, {param('time')}, "
            f"{param('label')} and {param('skip_columns')}; leave them out"
        )


def _names(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise DataError(
            f"can't list {folder} ({error.strerror}): expected a readable folder; change its permissions"
        ) from error


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise DataError(
            f"can't examine {path} ({error.strerror}): expected a folder that can be opened; change its permissions, "
            "or remove it"
        ) from error
