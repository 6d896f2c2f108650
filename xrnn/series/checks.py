"""One time series, and the checks of its values that all file formats share."""

from __future__ import annotations

import codecs
import contextlib
import logging
import math
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from xrnn.files import printable, quoted
from xrnn.series.errors import DataError, param
from xrnn.typing import HostArray

_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_log: Final = logging.getLogger("xrnn")
LARGEST: Final = 1e30  # its square fits float64, and after scaling it fits float32

Time = float | datetime


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    values: HostArray  # (T, D) float64, T ≥ 1; NaN for a missing value
    label: Any  # text from a file; from Python also a bool, int or float; None if there is none
    name: str  # shown in errors and predictions
    channel_names: tuple[str, ...] | None = None  # from the header of the file, if it has one
    times: tuple[Time, ...] | None = None  # of the steps, in a file with a column of times
    id: str = ""  # in the column that tells the series of a file apart; empty without one
    time_names: tuple[str, ...] = ()  # the columns of the times in a table
    unused: tuple[str, ...] = ()  # the columns of the table that are neither channels nor named by an option

    @property
    def channels(self) -> int:
        """The number of channels, D."""
        return int(self.values.shape[1])

    @property
    def target_rows(self) -> range:
        """From the first value of the first channel to its last one; empty without a value."""
        known = np.flatnonzero(~np.isnan(self.values[:, 0]))
        return range(known[0], known[-1] + 1) if known.size else range(0)

    def part(self, start: int, stop: int | None = None) -> Series:
        """The rows from `start` to before `stop`."""
        return replace(self, values=self.values[start:stop], times=self.times and self.times[start:stop])


def escaped(label: Any) -> str:
    """The text of `label`, with escapes such as \\x1b for characters that can't be shown."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(label))


def checked(values: HostArray, label: Any, name: str, channel_names: tuple[str, ...] | None = None) -> Series:
    """A Series of `values` (T, D). Final steps without any value are padding and are removed.

    Raises DataError if there is no step, no channel, a channel without any value, infinity, or a number beyond 1e30,
    and if two channels have one name.
    """
    shown = printable(name)
    if channel_names and len(set(channel_names)) < len(channel_names):
        twice = next(each for each in channel_names if channel_names.count(each) > 1)
        raise DataError(
            f"{shown} has two channels {quoted(twice)!r}: expected different names, by which `xrnn predict` finds the "
            "channels; rename one, or leave it out"
        )
    known = ~np.isnan(values)
    steps = np.flatnonzero(known.any(axis=1))
    if not steps.size:
        raise DataError(f"{shown} has no values: expected at least one step; leave the series out")
    values, known = values[: steps[-1] + 1], known[: steps[-1] + 1]
    empty = np.flatnonzero(~known.any(axis=0))
    if empty.size:
        channel = (channel_names and quoted(channel_names[empty[0]])) or empty[0] + 1
        raise DataError(
            f"{shown} has no value in channel {channel}: expected at least one; leave out the series or the channel"
        )
    check_sizes(values, name)
    return Series(values, label, name, channel_names)


def check_sizes(values: HostArray, name: str) -> None:
    """Refuse infinity and numbers beyond 1e30 in values (D,) or (T, D).   Raises DataError."""
    for *row, column in np.argwhere(np.abs(values) > LARGEST):  # NaN is not larger
        place = f"row {row[0] + 1}, column {column + 1}" if row else f"column {column + 1}"
        raise DataError(
            f"{printable(name)} holds {values[*row, column]:g} in {place}: expected numbers up to {LARGEST:g}; scale "
            "them, or leave the series out"
        )


def read_text(path: Path, encoding: str = "") -> str:
    """The text of a file, with \\n at the end of its lines.

    encoding   empty: UTF-8; if the bytes are not UTF-8, cp1252, and a line says so

    Raises DataError and OSError.
    """
    content = path.read_bytes()
    if not encoding and (content[:2] in _UTF_16 or 0 in content[:4]):
        raise DataError(f"{path} seems to be UTF-16: expected UTF-8; save it so, or give {param('encoding')} utf-16")
    names = [encoding] if encoding else ["utf-8", "cp1252"]
    for name in names:
        with contextlib.suppress(UnicodeDecodeError):
            text = content.decode(name)
            if not encoding and name == "cp1252":
                _log.warning(
                    f"{path} is not UTF-8, and is read as cp1252; if letters are wrong, name its encoding by --encoding"
                )
            return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    raise DataError(
        f"{path} can't be read as {' or '.join(names)}: expected text; save it as UTF-8, or give {param('encoding')}"
    )


def as_number(field: str) -> float | None:
    """The finite number in `field`, or None."""
    try:
        value = float(field)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in field else None  # float("1_0") is 10
