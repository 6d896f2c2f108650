"""`.ts` files: the format of the UEA and UCR archives, aeon and sktime.

    # a comment; a line that begins with % is one too
    @problemName Gestures
    @timeStamps false
    @classLabel true walk run
    @data
    1.2,1.4,?,1.9:0.1,0.1,0.2,0.2:walk
    1.1,1.0:0.3,0.2:run

Each line after @data is one series: its channels and its label, separated by colons. A channel is a list of values,
separated by commas; ? is a missing value. With @timeStamps true, a value is a pair (time,value). The times are
ignored: steps are taken in the order of the file. Other header lines contain nothing that the data does not show, and
are skipped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from xrnn.files import printable, quoted
from xrnn.series.checks import Series, as_number, checked, escaped, read_text
from xrnn.series.errors import DataError

_MISSING: Final = "?"


@dataclass(slots=True)
class Header:
    time_stamps: bool = False
    labelled: bool | None = None  # None: no @classLabel or @targetLabel yet
    labels: tuple[str, ...] = ()  # the declared labels; empty: any label is allowed


def read_ts(path: Path, *, targets: bool = False, encoding: str = "") -> list[Series]:
    """The series in a text file. With `targets`, @targetLabel is allowed: labels are then numbers to predict.

    Raises DataError, with the number of the line, and OSError.
    """
    lines = (
        (number, line)
        for number, line in enumerate(map(str.strip, read_text(path, encoding).split("\n")), start=1)
        if line and line[0] not in "#%"
    )
    header = _header(path, lines, targets)
    series = [_series(header, line, f"{path}, line {number}") for number, line in lines]
    if not series:
        raise DataError(f"{path} has no series after @data: expected one in each line; use another copy")
    return series


def _header(path: Path, lines: Iterator[tuple[int, str]], targets: bool) -> Header:
    """Read the header: the lines up to @data."""
    header = Header()
    for number, line in lines:
        if not line.startswith("@"):
            raise DataError(
                f"{path}, line {number}: expected a tag such as @data before the data, got {quoted(line)!r}; is this a "
                ".ts file?"
            )
        tag, *words = line.split()
        if (tag := tag.lower()) == "@data" and header.labelled is not None:
            return header
        if tag == "@data":
            raise DataError(f"{path} has no @classLabel before @data: expected true or false; add that line")
        if tag not in ("@timestamps", "@classlabel", "@targetlabel"):
            continue
        word = words[0].lower() if words else ""
        if word not in ("true", "false"):
            raise DataError(
                f"{path}, line {number}: {tag} is {quoted(word)!r}: expected true or false; correct the line"
            )
        value = word == "true"
        if tag == "@timestamps":
            header.time_stamps = value
        elif tag == "@classlabel":
            header.labelled, header.labels = value, tuple(words[1:])
        elif value and not targets:
            raise DataError(
                f"{path} has @targetLabel, a number to predict for each series: expected labels; use `xrnn regress`, "
                "or name a file with @classLabel"
            )
        else:
            header.labelled = header.labelled or value
    raise DataError(
        f"{path} ends before its data: expected a line @data, then a line for each series; use a complete file"
    )


def _series(header: Header, line: str, where: str) -> Series:
    # A time may contain colons, but a channel of pairs ends with a parenthesis, so only the colon after that separates.
    channels = re.split(r"(?<=\))\s*:", line) if header.time_stamps else line.split(":")
    label = None if not header.labelled else _label(channels.pop().strip(), header, len(channels), where)
    values = [_channel(channel.strip(), header, f"{where}, channel {i}") for i, channel in enumerate(channels, start=1)]
    lengths = {len(channel) for channel in values}
    if len(lengths) > 1:
        raise DataError(
            f"{where}: the channels have {min(lengths)} to {max(lengths)} steps: expected one length in a series; "
            "correct the line, or write ? for missing values"
        )
    return checked(np.array(values, dtype=np.float64).reshape(len(values), -1).T, label, where)


def _label(label: str, header: Header, channels: int, where: str) -> str:
    """The declared spelling of a label. Case is ignored unless the label itself is declared."""
    spellings = [each for each in (label, *header.labels) if each.lower() == label.lower()]
    declared = next((each for each in spellings if each in header.labels or not header.labels), None)
    if not channels or not declared or (not header.labels and ("," in label or "(" in label)):
        among = f" one of {printable(', '.join(map(escaped, header.labels)))[:200]}" if header.labels else " a label"
        raise DataError(
            f"{where}: {quoted(label)!r} is not a label: expected{among} after the values and a colon; is the line cut "
            "off?"
        )
    return declared


def _channel(channel: str, header: Header, where: str) -> list[float]:
    """The numbers 1.5,?,1.7 or (0,1.5),(1,?),(2,1.7), NaN for a missing one."""
    cells = channel.split(",") if channel else []
    if header.time_stamps and channel:
        pairs = re.split(r"\)\s*,\s*\(", channel[1:-1])
        if channel[0] + channel[-1] != "()" or not all(
            re.fullmatch(r"\s*[^(),\s][^(),]*,[^(),]*", each) for each in pairs
        ):
            raise DataError(
                f"{printable(where)}: expected pairs such as (0,1.5),(1,1.7), got {quoted(channel)!r}; correct it"
            )
        cells = [each.partition(",")[2] for each in pairs]
    values = [math.nan if cell == _MISSING else as_number(cell) for cell in map(str.strip, cells)]
    for cell, value in zip(cells, values, strict=True):
        if value is None:
            raise DataError(
                f"{printable(where)}: {quoted(cell.strip())!r} is not a finite number: expected numbers, or ? for a "
                "missing value; correct or remove it"
            )
    return [value for value in values if value is not None]
