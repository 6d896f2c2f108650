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
skipped. Values with time stamps, such as (0,1.2), are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xrnn.files import quoted
from xrnn.series.errors import DataError
from xrnn.series.one_series import Series, checked_file
from xrnn.series.reading.notes import tell
from xrnn.series.reading.tables import numbers_in
from xrnn.series.reading.text import read_text


def read_ts(path: Path, *, targets: bool = False, encoding: str = "", to_forecast: bool = False) -> list[Series]:
    """The series in a text file. With `targets`, @targetLabel is allowed: labels are then numbers to predict.

    to_forecast   see `checked_file`

    Raises DataError, with the number of the line, and OSError.
    """
    text, notes = read_text(path, encoding)
    tell(str(path), notes)
    tags: dict[str, list[str]] = {}
    data: list[tuple[str, str]] = []
    for number, line in enumerate(map(str.strip, text.split("\n")), start=1):
        if line.startswith("@"):
            tag, *words = line.split()
            tags[tag.lower()] = words
        elif line and line[0] not in "#%":
            data.append((f"{path}, line {number}", line))
    flags = {tag for tag, words in tags.items() if words and words[0].lower() == "true"}
    labels = {"@classlabel", "@targetlabel"}
    if "@data" not in tags or not labels & tags.keys() or not data:
        raise DataError(f"{path} has no @data, no @classLabel or no series; is the file complete?")
    if "@targetlabel" in flags and not targets:
        raise DataError(f"{path} has @targetLabel, numbers to predict in place of labels; use `xrnn regress`")
    has_label = bool(labels & flags)
    declared = tags.get("@classlabel", [])[1:]
    series = [_series(has_label, declared, line, where) for where, line in data]
    return checked_file(str(path), series, to_forecast=to_forecast)


def _series(has_label: bool, declared: Sequence[str], line: str, where: str) -> Series:
    """declared: the labels in the header; if there are none, each label is allowed"""
    channels = line.split(":")
    label = channels.pop().strip() if has_label else ""
    is_valid = label in declared if declared else label and "," not in label
    if has_label and not (channels and is_valid):
        raise DataError(f"{where}: {quoted(label)!r} is not a label of @classLabel; is the line cut off?")
    values = [numbers_in(each.split(","), ".", f"{where}, channel {i}") for i, each in enumerate(channels, start=1)]
    if len({*map(len, values)}) > 1:
        raise DataError(f"{where}: the channels have different lengths; write ? for missing values")
    return Series(np.array(values, dtype=np.float64).T, label or None, where)
