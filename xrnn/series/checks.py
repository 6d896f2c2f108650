"""One time series: the checks of its values, its scale, and the errors of users.

Each message is one line: expected, got, remedy. The parameters that it names are marked: a message names the parameters
of a function or of an estimator, "lr is 0", and the command line shows their flags instead, "--lr is 0".
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from xrnn.files import printable, quoted
from xrnn.typing import HostArray

_MARK: Final = "\x1f"  # around the name of a parameter; not in names of files and other texts, which are printable
LARGEST: Final = 1e30  # its square fits float64, and after scaling it fits float32
_ROUNDING: Final = 1e-9  # a channel is constant if its deviation is below this share of its largest value
_FAR: Final = 1e6  # values are clipped to this number of deviations, so that the model does not overflow float32

Time = float | datetime


def param(name: str) -> str:
    """The name of a parameter, for the message of a ModelError."""
    return f"{_MARK}{name}{_MARK}"


class ModelError(Exception):
    """An error that the user can correct."""

    def shown(self, show: Callable[[str], str] = str) -> str:
        """The message with `show(name)` for each parameter."""
        return re.sub(f"{_MARK}(\\w+){_MARK}", lambda found: show(found[1]), super().__str__())

    __str__ = shown


class SettingsError(ModelError, ValueError):
    """A parameter is invalid, or does not fit the others."""


class DataError(ModelError, ValueError):
    """The data can't be used."""


class DivergedError(ModelError, ValueError):
    """A loss or a weight is not finite."""


@contextlib.contextmanager
def file_errors(kind: type[ModelError], task: str, path: Path, expected: str) -> Iterator[None]:
    """Turn an OSError into an error of this kind: "can't read PATH (the reason): expected …"."""
    try:
        yield
    except OSError as error:
        # The messages of `xrnn.files` are complete.
        found = f"can't {task} {printable(str(path))} ({error.strerror}): {expected}" if error.strerror else str(error)
        raise kind(found) from error


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
        return int(self.values.shape[1])

    @property
    def target_rows(self) -> range:
        """From the first value of the first channel to its last one; empty without a value."""
        known = np.flatnonzero(~np.isnan(self.values[:, 0]))
        return range(known[0], known[-1] + 1) if known.size else range(0)

    def part(self, start: int, stop: int | None = None) -> Series:
        return replace(self, values=self.values[start:stop], times=self.times and self.times[start:stop])


def checked(series: Series) -> Series:
    """The series without its final steps that have no value, which are padding.

    Raises DataError if there is no step, no channel, a channel without any value, infinity, or a number beyond 1e30,
    and if two channels have one name.
    """
    shown, names = printable(series.name), series.channel_names or ()
    if len(set(names)) < len(names):
        twice = next(each for each in names if names.count(each) > 1)
        raise DataError(f"{shown} has two channels {quoted(twice)!r}: expected different names; rename or remove one")
    known = ~np.isnan(series.values)
    steps = np.flatnonzero(known.any(axis=1))
    if not steps.size:
        raise DataError(f"{shown} has no values: expected at least one step; leave the series out")
    for i in np.flatnonzero(~known.any(axis=0)):
        got = f"{shown} has no value in channel {(names and quoted(names[i])) or i + 1}"
        raise DataError(f"{got}: expected at least one; leave out the series or the channel")
    check_sizes(series.values, series.name)
    return series.part(0, steps[-1] + 1)


def check_sizes(values: HostArray, name: str) -> None:
    """Refuse infinity and numbers beyond 1e30 in values (D,) or (T, D).   Raises DataError."""
    for *row, column in np.argwhere(np.abs(values) > LARGEST):  # NaN is not larger
        place = f"row {row[0] + 1}, column {column + 1}" if row else f"column {column + 1}"
        got = f"{printable(name)} holds {values[*row, column]:g} in {place}"
        raise DataError(f"{got}: expected numbers up to {LARGEST:g}; scale them, or leave the series out")


def check_channels(series: Sequence[Series]) -> int:
    """The number of channels D, which must be the same in all series.   Raises DataError."""
    first = series[0]
    for each in series:
        check_same(each, first.channels, first.channel_names, printable(first.name))
    return first.channels


def check_same(series: Series, channels: int, names: tuple[str, ...] | None, others: str = "the model") -> None:
    """Raises DataError unless the channels have the number and the names of those of `others`."""
    name = printable(series.name)
    if series.channels != channels:
        got = f"{name} has {series.channels} channels, but {others} has {channels}"
        raise DataError(f"{got}: expected the same number in all; correct it or leave it out")
    if series.channel_names and names and series.channel_names != names:
        i = next(i for i in range(channels) if series.channel_names[i] != names[i])
        got = f"{name} has the channel {quoted(series.channel_names[i])}, but {others} has {quoted(names[i])} there"
        raise DataError(f"{got}: expected the same names in the same order; rename or reorder the columns")


def deviation_of(values: HostArray, axis: int | None = None) -> HostArray:
    """The standard deviation of values, without NaN.

    Squares of numbers below 1e-160 are 0 in float64. Scaling by a power of two avoids this without rounding.
    """
    _, exponent = np.frexp(np.nanmax(np.abs(values), axis=axis))
    return np.ldexp(np.nanstd(np.ldexp(values, -exponent), axis=axis), exponent)


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """y = (x - mean) / deviation by channel, with mean 0 and deviation 1 over the series to train on.

    A missing value is replaced by the last value before it, or by the mean if there is none. Later values are not used,
    so a stream gives the same result.

    mean, deviation   (D,) float64
    """

    mean: HostArray
    deviation: HostArray

    @classmethod
    def of(cls, series: Iterable[HostArray]) -> Self:
        """The scale computed from series (T, D), NaN for a missing value.

        A constant channel gets the deviation 1, and a channel without any value the mean 0 too.
        """
        steps = np.concatenate(list(series))
        steps = np.where(np.isnan(steps).all(axis=0), 0.0, steps)
        mean, deviation = np.nanmean(steps, axis=0), deviation_of(steps, axis=0)
        return cls(mean, np.where(deviation > _ROUNDING * np.nanmax(np.abs(steps), axis=0), deviation, 1.0))

    def apply(self, values: HostArray) -> HostArray:
        """values (T, D), NaN for a missing value → (T, D) float32."""
        last = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(len(values))[:, None]))
        filled = np.take_along_axis(values, last, axis=0)
        with np.errstate(over="ignore"):  # infinity is clipped
            scaled = (np.where(np.isnan(filled), self.mean, filled) - self.mean) / self.deviation
        return scaled.clip(-_FAR, _FAR).astype(np.float32)


def read_text(path: Path, encoding: str = "") -> str:
    """The text of a file, with \\n at the end of its lines.

    encoding   empty: UTF-8; if the bytes are not UTF-8, cp1252, and a line says so

    Raises DataError and OSError.
    """
    content = path.read_bytes()
    if not encoding and 0 in content:
        raise DataError(f"{path} is UTF-16 or no text: expected UTF-8; save it so, or give {param('encoding')} utf-16")
    for name in [encoding] if encoding else ["utf-8", "cp1252"]:
        with contextlib.suppress(UnicodeDecodeError):
            text = content.decode(name)
            if not encoding and name == "cp1252":
                remedy = "if letters are wrong, name its encoding by --encoding"
                logging.getLogger("xrnn").warning(f"{path} is not UTF-8, and is read as cp1252; {remedy}")
            return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    raise DataError(f"{path} is not {encoding or 'UTF-8'}: expected UTF-8; save it so, or give {param('encoding')}")
