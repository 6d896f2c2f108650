"""Folders of series, `LABEL/*.csv|*.npy`, and such files by themselves: (time × channels), a row a step."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Final

import numpy as np

from xrnn.files import printable
from xrnn.jobs.errors import DataError
from xrnn.jobs.series.series import Series, checked, parsed

SUFFIXES: Final = (".csv", ".npy")


def read_folder(folder: Path) -> list[Series]:
    """The series of every subfolder, whose name is their label; what is hidden or no series is passed over.

    Raises DataError for a subfolder without a series, no subfolder at all, and what `read_file` refuses.
    """
    series: list[Series] = []
    for label in _listed(folder):
        if not _is_folder(folder / label):
            continue
        names = [name for name in _listed(folder / label) if name.lower().endswith(SUFFIXES)]
        if not names:
            raise DataError(
                f"{folder / label} holds no series: expected .csv or .npy files in the folder of a label; remove it, "
                "or fill it"
            )
        series += [read_file(folder / label / name, label) for name in names]
    if not series:
        raise DataError(f"{folder} holds no series: expected a folder for each label, with .csv or .npy files in it")
    return series


def read_file(path: Path, label: str | None = None) -> Series:
    """The series in a .csv file, without a header, or a .npy file.

    Raises DataError for what can't be read, and for what holds no numbers, or rows of different lengths.
    """
    try:
        if not path.is_file():
            got = "is no file" if os.path.lexists(path) else "doesn't exist"
            raise DataError(f"{path} {got}: expected a .ts, .csv or .npy file; check the path")
        values = _read_npy(path) if path.suffix.lower() == ".npy" else _read_csv(path)
    except OSError as error:
        raise DataError(f"can't read {path} ({error.strerror}): expected a readable file; mend its mode") from error
    return checked(values, label, str(path))


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise DataError(f"can't list {folder} ({error.strerror}): expected a readable folder; mend its mode") from error


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise DataError(
            f"can't look at {path} ({error.strerror}): expected a folder that may be entered; mend its "
            "mode, or remove it"
        ) from error


def _read_csv(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    lines = path.read_text(encoding="utf-8-sig", errors="surrogateescape").split("\n")
    rows: list[list[float]] = []
    for number, line in enumerate(lines, start=1):
        if line := line.strip():
            rows.append(parsed(line.split(","), f"{path}, line {number}"))
            if len(rows[-1]) != len(rows[0]):
                raise DataError(
                    f"{path}, line {number}: a row of {len(rows[-1])}, after rows of {len(rows[0])}: expected as many "
                    "values, one a channel, in every row; mend it"
                )
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1 if rows else 0)


def _read_npy(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    try:
        # Mapped: what its header asks for is compared with the file's size before anything is allocated.
        # NumPy warns of a shape whose size 64 bits don't hold, which then fails, and of a header by Python 2.
        with np.errstate(over="ignore"), warnings.catch_warnings(action="ignore"):
            array = np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # the header is Python, and the parsers raise errors of many kinds for what is none
        raise DataError(
            f"{path} is no whole .npy file of numbers ({printable(str(error))[:80]}): expected one that needs no "
            "pickle; write it with numpy.save from an array of floats"
        ) from error
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise DataError(
            f"{path} holds {array.dtype} {array.shape}: expected numbers, (time, channels); use "
            "array.reshape(time, channels)"
        )
    values = np.array(array, dtype=np.float64)
    if np.isnan(values).any():
        step, channel = np.argwhere(np.isnan(values))[0]
        raise DataError(
            f"{path} holds NaN at step {step + 1} of channel {channel + 1}: expected finite numbers; fill it in, or "
            "write the series as .csv with ? for it"
        )
    return values
