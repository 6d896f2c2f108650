"""`.ts` files: the format is read, and errors name the line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.errors import one_line
from xrnn.series.errors import DataError
from xrnn.series.one_series import Series
from xrnn.series.reading.ts import read_ts

n = np.nan
HEADER = "@problemName Some\n@classLabel true a b\n@data\n"


pytestmark = pytest.mark.usefixtures("workdir")


def read(text: str, encoding: str = "utf-8") -> list[Series]:
    Path("f.ts").write_bytes(text.encode(encoding))
    return read_ts(Path("f.ts"))


def assert_values(series: Series, *channels: list[float]) -> None:
    np.testing.assert_array_equal(series.values, np.array(channels).T)


def test_channels_labels_comments_and_lengths() -> None:
    text = (
        "#by somebody\n%# of old\n\n@ProblemName  Some\n@timestamps FALSE\n@univariate false\n@dimensions 2\n"
        "@equalLength false\n@CLASSLABEL true a b\n@Data\n# in between\n1,2.5,-3e-2:4,5,6:a\n\n  7 , 8 :9,1 : b \r\n"
    )
    first, second = read(text)
    assert_values(first, [1, 2.5, -0.03], [4, 5, 6])
    assert_values(second, [7, 8], [9, 1])
    assert (first.label, second.label) == ("a", "b")
    assert (first.name, second.name) == ("f.ts, line 12", "f.ts, line 14")


@pytest.mark.parametrize(
    ("text", "encoding", "labels", "values"),
    [
        (
            HEADER + "1,NaN,3,?:?,2,2,?:a\n1,2,?:1,2,3:b\n",
            "utf-8",
            "ab",
            [[[1, n, 3], [n, 2, 2]], [[1, 2, n], [1, 2, 3]]],
        ),
        ("@classLabel false\n@data\n1,2:3,4\n", "utf-8", [None], [[[1, 2], [3, 4]]]),
        ("@classLabel true\n@data\n1,2:3\n", "utf-8", ["3"], [[[1, 2]]]),
        ("@classLabel true 3,4\n@data\n1,2:3,4\n", "utf-8", ["3,4"], [[[1, 2]]]),
        (HEADER + "1:a\n", "utf-8-sig", "a", [[[1]]]),
        ("#é\n@classLabel true é\n@data\n1:é\n", "latin-1", "é", [[[1]]]),
        ("@classLabel true a A\n@data\n1:A\n2:a\n", "utf-8", "Aa", [[[1]], [[2]]]),  # labels differ in case
    ],
)
def test_missing_values_labels_and_encodings(text: str, encoding: str, labels: Any, values: Any) -> None:
    series = read(text, encoding)
    assert [each.label for each in series] == [*labels]
    for each, channels in zip(series, values, strict=True):
        assert_values(each, *channels)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        *(
            (text, "f.ts has no @data, no @classLabel or no series; is the file complete?")
            for text in ("", "@classLabel true a b\n", "@data\n1,2:3,4\n", "1,2,3\n", HEADER)
        ),
        (HEADER + "(0,1),(1,2):a", "f.ts, line 4, channel 1: '(0' is not a number"),  # time stamps
        (
            "@targetLabel true\n@data\n1:2.5\n",
            "f.ts has @targetLabel, numbers to predict in place of labels; use `xrnn regress`",
        ),
        (
            HEADER + "1,2:a\n1,2",
            "f.ts, line 5: '1,2' is not a label of @classLabel; is the line cut off?",
        ),
        (HEADER + "1,2:3,4:a\n1,2:3,", "f.ts, line 5: '3,' is not a label"),
        (HEADER + "1,2:3,4:", "f.ts, line 4: '' is not a label"),
        (HEADER + "a", "f.ts, line 4: 'a' is not a label"),
        (HEADER + "1:A", "f.ts, line 4: 'A' is not a label"),
        (HEADER + "1,2:3:a", "f.ts, line 4: the channels have different lengths"),
        (HEADER + ":a", "f.ts, line 4 has no values; leave the series out"),
        (HEADER + "?,?:?,?:a", "f.ts, line 4 has no values"),
        (HEADER + "1,2:?,?:a", "f.ts, line 4 has no value in channel 2"),
        (HEADER + "1,2:1,inf:a", "f.ts, line 4, channel 2: 'inf' is not a number"),
        *(
            (HEADER + f"1,{cell}:a", f"f.ts, line 4, channel 1: '{cell}' is not a number; correct or remove it")
            for cell in ("fast", "1_0")
        ),
        (HEADER + "1e200:a", "f.ts, line 4 holds 1e+200 in row 1, column 1; scale the numbers to at most 1e+30"),
        (HEADER + "1,\x1b[2J:a", "f.ts, line 4, channel 1: '�[2J' is not a number"),
        ("@classLabel true\n@data\n1,2:3,4\n", "f.ts, line 3: '3,4' is not a label"),
    ],
)
def test_bad_lines_get_one_line(text: str, words: str) -> None:
    with one_line(DataError, words):
        read(text)
