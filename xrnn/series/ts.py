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

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xrnn.files import printable, quoted
from xrnn.models.errors import DataError
from xrnn.series.checks import MISSING, Series, as_number, checked, escaped, parse_numbers, read_text


@dataclass(slots=True)
class Header:
    time_stamps: bool = False
    labelled: bool | None = None  # None: the header has no @classLabel
    labels: tuple[str, ...] = ()  # the declared labels; empty: any label is allowed

    def declared(self, label: str) -> str | None:
        """The declared spelling of `label`, or None. Case is ignored unless `label` itself is declared."""
        if not self.labels or label in self.labels:
            return label
        return next((each for each in self.labels if each.lower() == label.lower()), None)


def read_ts(path: Path, *, targets: bool = False) -> list[Series]:
    """The series in a text file. With `targets`, @targetLabel is allowed: labels are then numbers to predict.

    Raises DataError, with the number of the line, and OSError.
    """
    lines = _lines(read_text(path))
    header = _header(path, lines, targets)
    series = [_series(header, line, f"{path}, line {number}") for number, line in lines]
    if not series:
        raise DataError(f"{path} has no series after @data: expected one in each line; use another copy")
    return series


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not empty and not comments, with their numbers."""
    for number, line in enumerate(text.split("\n"), start=1):
        if (line := line.strip()) and line[0] not in "#%":
            yield number, line


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
        tag = tag.lower()
        if tag == "@data":
            return header
        if tag in ("@timestamps", "@classlabel", "@targetlabel"):
            value = _boolean(f"{path}, line {number}", tag, words)
            if tag == "@timestamps":
                header.time_stamps = value
            elif tag == "@classlabel":
                header.labelled, header.labels = value, tuple(words[1:])
            elif value and not targets:
                raise DataError(
                    f"{path} has @targetLabel, a number to predict for each series: expected labels; use `xrnn "
                    "regress`, or name a file with @classLabel"
                )
            elif value:
                header.labelled = True
    raise DataError(
        f"{path} ends before its data: expected a line @data, then a line for each series; use a complete file"
    )


def _boolean(where: str, tag: str, words: list[str]) -> bool:
    word = words[0].lower() if words else ""
    if word not in ("true", "false"):
        raise DataError(f"{where}: {tag} is {quoted(word)!r}: expected true or false; correct the line")
    return word == "true"


def _series(header: Header, line: str, where: str) -> Series:
    # A time may contain colons, but a channel of pairs ends with a parenthesis, so only the colon after that separates.
    channels = re.split(r"(?<=\))\s*:", line) if header.time_stamps else line.split(":")
    label = None if header.labelled is False else _label(channels.pop().strip(), header, len(channels), where)
    columns = [_column(channel.strip(), header, f"{where}, channel {i}") for i, channel in enumerate(channels, start=1)]
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        raise DataError(
            f"{where}: the channels have {min(lengths)} to {max(lengths)} steps: expected one length in a series; "
            "correct the line, or write ? for missing values"
        )
    return checked(np.array(columns, dtype=np.float64).reshape(len(columns), -1).T, label, where)


def _label(label: str, header: Header, channels: int, where: str) -> str:
    declared = header.declared(label)
    could_be_channel = not header.labels and _could_be_channel(label, header.time_stamps)
    if not channels or not declared or (could_be_channel and header.labelled and ("," in label or "(" in label)):
        among = f" one of {printable(', '.join(map(escaped, header.labels)))[:200]}" if header.labels else " a label"
        raise DataError(
            f"{where}: {quoted(label)!r} is not a label: expected{among} after the values and a colon; is the line cut "
            "off?"
        )
    if could_be_channel and header.labelled is None:
        raise DataError(
            f"{where}: {quoted(label)!r} could be a channel or a label: expected @classLabel true or @classLabel false "
            "in the header; add that line"
        )
    return declared


def _could_be_channel(text: str, time_stamps: bool) -> bool:
    """True if the last part of a line could be a channel as well as a label."""
    if time_stamps:
        return text.startswith("(")
    return all(field.strip() in ("", MISSING) or as_number(field) is not None for field in text.split(","))


def _column(channel: str, header: Header, where: str) -> list[float]:
    if not channel:
        return []
    values = _untimed(channel, where) if header.time_stamps else channel.split(",")
    return parse_numbers(values, where)


def _untimed(channel: str, where: str) -> list[str]:
    """(0,1.5),(1,1.7) → 1.5, 1.7"""
    values: list[str] = []
    if channel.startswith("(") and channel.endswith(")"):
        for pair in re.split(r"\)\s*,\s*\(", channel[1:-1]):
            time, comma, value = pair.partition(",")
            if not time.strip() or not comma or re.search("[(),]", time + value):
                break
            values.append(value)
        else:
            return values
    raise DataError(f"{printable(where)}: expected pairs such as (0,1.5),(1,1.7), got {quoted(channel)!r}; correct it")
