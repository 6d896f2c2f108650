"""Series from a file or a folder, in any of the formats."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from xrnn.files import printable
from xrnn.jobs.errors import DataError
from xrnn.jobs.series.folders import SUFFIXES, read_file, read_folder
from xrnn.jobs.series.series import Series
from xrnn.jobs.series.ts import read_ts


def read_path(path: Path) -> list[Series]:
    """The series in a folder, or in a .ts, .csv or .npy file.   Raises DataError."""
    if os.path.isdir(path):  # `Path.is_dir` raises for a name that is too long, or lies where nobody may look
        return read_folder(path)
    if path.suffix.lower() in SUFFIXES:
        return [read_file(path)]
    if path.suffix.lower() != ".ts" and os.path.exists(path):
        raise DataError(f"{path} is no .ts, .csv or .npy file: expected one, by its name, or a folder of labels")
    return read_ts(path)


def check_channels(series: Sequence[Series]) -> int:
    """The number of channels D, which all series must have.   Raises DataError."""
    channels = series[0].channels
    for each in series:
        check_same(each, channels, printable(series[0].name))
    return channels


def check_same(series: Series, channels: int, others: str) -> None:
    """Refuse a series whose number of channels differs from that of `others`.   Raises DataError."""
    if series.channels != channels:
        raise DataError(
            f"{printable(series.name)} has {series.channels} channels, but {others} has {channels}: expected as "
            "many in all; mend or leave it out"
        )
