"""`.ts` files of the UEA and UCR archives, the format of aeon and sktime.

    # a comment, as is a line that begins with %
    @problemName Gestures
    @timeStamps false
    @classLabel true walk run
    @data
    1.2,1.4,?,1.9:0.1,0.1,0.2,0.2:walk
    1.1,1.0:0.3,0.2:run

A line of data is a series: its channels, parted by colons, then its label; a channel is its values, parted by commas, ?
for a missing one. With time stamps a value is a pair, (time,value); the times are passed over, and so the order counts.
The other lines of the header say what the data say again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from xrnn.files import printable, quoted
from xrnn.jobs.errors import DataError
from xrnn.jobs.series.series import Series, checked, parsed

_PAIR: Final = re.compile(r"\(([^()]*),([^(),]*)\)")


@dataclass(slots=True)
class Header:
    time_stamps: bool = False
    labelled: bool = True
    labels: tuple[str, ...] = ()  # those that are declared; none: any

    def declared(self, label: str) -> str | None:
        """The label as it is declared: upper and lower case count only between declared ones."""
        if not self.labels or label in self.labels:
            return label
        return next((each for each in self.labels if each.lower() == label.lower()), None)


def read_ts(path: Path) -> list[Series]:
    """The series in the file, which is text.

    Raises DataError, with the number of the line, for what can't be read or is not in this format.
    """
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise DataError(f"can't read {path} ({error.strerror}): expected a .ts file; check the path") from error
    lines = _lines(text)
    header = _header(path, lines)
    series = [_series(header, line, f"{path}, line {number}") for number, line in lines]
    if not series:
        raise DataError(f"{path} has no series after @data: expected a line for each; use another copy")
    return series


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are neither empty nor a comment, with their numbers."""
    for number, line in enumerate(text.split("\n"), start=1):
        if (line := line.strip()) and line[0] not in "#%":
            yield number, line


def _header(path: Path, lines: Iterator[tuple[int, str]]) -> Header:
    """What stands up to @data."""
    header = Header()
    for number, line in lines:
        if not line.startswith("@"):
            raise DataError(
                f"{path}, line {number}: expected a tag, as @data, before the data, got {quoted(line)!r}; is this a "
                ".ts file?"
            )
        tag, *words = line.split()
        tag = tag.lower()
        if tag == "@data":
            return header
        if tag in ("@timestamps", "@classlabel", "@targetlabel"):
            wanted = _boolean(f"{path}, line {number}", tag, words)
            if tag == "@timestamps":
                header.time_stamps = wanted
            elif tag == "@classlabel":
                header.labelled, header.labels = wanted, tuple(words[1:])
            elif wanted:
                raise DataError(
                    f"{path} has @targetLabel, a number to predict for each series: expected labels; name a file with "
                    "@classLabel"
                )
    raise DataError(
        f"{path} ends before its data: expected a line @data, then a line for each series; use a whole file"
    )


def _boolean(where: str, tag: str, words: list[str]) -> bool:
    word = words[0].lower() if words else ""
    if word not in ("true", "false"):
        raise DataError(f"{where}: {tag} is {quoted(word)!r}: expected true or false; mend the line")
    return word == "true"


def _series(header: Header, line: str, where: str) -> Series:
    channels = re.split(r"\)\s*:", line) if header.time_stamps else line.split(":")
    label = _label(channels.pop().strip(), header, len(channels), where) if header.labelled else None
    columns = [_column(channel.strip(), header, f"{where}, channel {i}") for i, channel in enumerate(channels, start=1)]
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        raise DataError(
            f"{where}: the channels have {min(lengths)} to {max(lengths)} steps: expected one length in a series; mend "
            "the line, or mark what is missing with ?"
        )
    return checked(np.array(columns, dtype=np.float64).reshape(len(columns), -1).T, label, where)


def _label(label: str, header: Header, channels: int, where: str) -> str:
    declared = header.declared(label)
    if not channels or not declared:
        among = f" one of {printable(', '.join(header.labels))[:200]}," if header.labels else ""
        raise DataError(
            f"{where}: {quoted(label)!r} is no label:{among} expected values, a colon and a label; is the line cut off?"
        )
    return declared


def _column(channel: str, header: Header, where: str) -> list[float]:
    if not channel:
        return []
    if not header.time_stamps:
        return parsed(channel.split(","), where)
    # The line was split at each "):", which took the parenthesis with it.
    channel = channel if channel.endswith(")") else f"{channel})"
    pairs = list(_PAIR.finditer(channel))
    if re.sub(r"[\s,]", "", _PAIR.sub("", channel)) or not pairs:
        raise DataError(f"{printable(where)}: expected pairs, as (0,1.5),(1,1.7), got {quoted(channel)!r}; mend it")
    return parsed([pair[2] for pair in pairs], where)
