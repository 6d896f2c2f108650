"""`.ts` files: the format of the UEA and UCR archives, aeon and sktime.

    # a comment; a line that begins with % is one too
    @problemName Gestures
    @timeStamps false
    @classLabel true walk run
    @data
    1.2,1.4,?,1.9:0.1,0.1,0.2,0.2:walk
    1.1,1.0:0.3,0.2:run

Each line after @data is one series: its channels and its label, separated by colons. A channel is a list of values,
separated by commas; ? is a missing value. Other header lines contain nothing that the data does not show, and are
skipped. Files with time stamps are refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from xrnn.files import printable, quoted
from xrnn.series.checks import Series, as_number, checked, escaped, read_text
from xrnn.series.errors import DataError

_MISSING: Final = "?"


class Labels(NamedTuple):
    """Whether each series has a label, and the declared labels; without any, each label is allowed."""

    given: bool
    declared: tuple[str, ...] = ()


def read_ts(path: Path, *, targets: bool = False, encoding: str = "") -> list[Series]:
    """The series in a text file. With `targets`, @targetLabel is allowed: labels are then numbers to predict.

    Raises DataError, with the number of the line, and OSError.
    """
    lines = (
        (f"{path}, line {number}", line)
        for number, line in enumerate(map(str.strip, read_text(path, encoding).split("\n")), start=1)
        if line and line[0] not in "#%"
    )
    labels = _header(path, lines, targets)
    series = [_series(labels, line, where) for where, line in lines]
    if not series:
        raise DataError(f"{path} has no series after @data: expected one in each line; use another copy")
    return series


def _header(path: Path, lines: Iterator[tuple[str, str]], targets: bool) -> Labels:
    """Read the header: the lines up to @data."""
    labels: Labels | None = None
    for where, line in lines:
        if not line.startswith("@"):
            raise DataError(
                f"{where}: expected a tag such as @data before the data, got {quoted(line)!r}; is this a .ts file?"
            )
        tag, word, *words = [*line.split(), ""]
        if (tag := tag.lower()) == "@data":
            if labels is None:
                raise DataError(f"{path} has no @classLabel before @data: expected true or false; add that line")
            return labels
        if tag not in ("@timestamps", "@classlabel", "@targetlabel"):
            continue
        if (word := word.lower()) not in ("true", "false"):
            raise DataError(f"{where}: {tag} is {quoted(word)!r}: expected true or false; correct the line")
        if tag == "@timestamps" and word == "true":
            raise DataError(f"{where}: the values have time stamps: expected plain values; remove the times")
        if tag == "@targetlabel" and word == "true" and not targets:
            raise DataError(
                f"{path} has @targetLabel, a number to predict for each series: expected labels; use `xrnn regress`, "
                "or name a file with @classLabel"
            )
        if tag == "@classlabel" or (tag == "@targetlabel" and not (labels and labels.given)):
            labels = Labels(word == "true", tuple(words[:-1]) if tag == "@classlabel" else ())
    raise DataError(
        f"{path} ends before its data: expected a line @data, then a line for each series; use a complete file"
    )


def _series(labels: Labels, line: str, where: str) -> Series:
    channels = line.split(":")
    label = _label(channels.pop().strip(), labels, len(channels), where) if labels.given else None
    values = [_channel(channel, f"{where}, channel {i}") for i, channel in enumerate(channels, start=1)]
    lengths = {len(channel) for channel in values}
    if len(lengths) > 1:
        raise DataError(
            f"{where}: the channels have {min(lengths)} to {max(lengths)} steps: expected one length in a series; "
            "correct the line, or write ? for missing values"
        )
    return checked(np.array(values, dtype=np.float64).reshape(len(values), -1).T, label, where)


def _label(label: str, labels: Labels, channels: int, where: str) -> str:
    """The declared spelling of a label. Case is ignored unless the label itself is declared."""
    spellings = [each for each in (label, *labels.declared) if each.lower() == label.lower()]
    declared = next((each for each in spellings if each in labels.declared or not labels.declared), None)
    if not channels or not declared or (not labels.declared and "," in label):
        among = (
            f" one of {printable(', '.join(map(escaped, labels.declared)))[:200]}" if labels.declared else " a label"
        )
        raise DataError(
            f"{where}: {quoted(label)!r} is not a label: expected{among} after the values and a colon; is the line cut "
            "off?"
        )
    return declared


def _channel(channel: str, where: str) -> list[float]:
    """The numbers 1.5,?,1.7, NaN for a missing one."""
    values: list[float] = []
    for cell in map(str.strip, channel.split(",") if channel.strip() else []):
        value = math.nan if cell == _MISSING else as_number(cell)
        if value is None:
            raise DataError(
                f"{printable(where)}: {quoted(cell)!r} is not a finite number: expected numbers, or ? for a missing "
                "value; correct or remove it"
            )
        values.append(value)
    return values
