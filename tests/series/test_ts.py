"""`.ts` files: the format is read, and errors name the line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.errors import one_line
from xrnn.series.checks import Series
from xrnn.series.errors import DataError
from xrnn.series.ts import read_ts

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


def test_missing_values_are_nan_and_padding_is_left_out() -> None:
    first, second = read(HEADER + "1,?,3,?:?,2,2,?:a\n1,2,?:1,2,3:b\n")
    assert_values(first, [1, np.nan, 3], [np.nan, 2, 2])
    assert_values(second, [1, 2, np.nan], [1, 2, 3])


def test_time_stamps_are_not_read() -> None:
    text = "@timeStamps true\n@classLabel true a b\n@data\n"
    text += (
        "(2007-01-01 00:00:00,1.5),(2007-01-01 00:01:00,?),(x,2):(0,7),(1,8),(2,9):a\n(0,1) , (1,2) : (0,3),(1,4) : b\n"
    )
    first, second = read(text)
    assert_values(first, [1.5, np.nan, 2], [7, 8, 9])
    assert_values(second, [1, 2], [3, 4])
    assert (first.label, second.label) == ("a", "b")


def test_without_labels_every_part_is_a_channel() -> None:
    (series,) = read("@classLabel false\n@data\n1,2:3,4\n")
    assert_values(series, [1, 2], [3, 4])
    assert series.label is None
    (series,) = read("@timeStamps true\n@classLabel false\n@data\n(0,1),(1,2):(0,3),(1,4)\n")
    assert_values(series, [1, 2], [3, 4])


def test_a_last_part_that_is_text_or_declared_is_a_label() -> None:
    assert [each.label for each in read("@data\n1,2:3,4:a\n5:b,c\n")] == ["a", "b,c"]
    assert [each.label for each in read("@classLabel true\n@data\n1,2:3\n")] == ["3"]
    assert [each.label for each in read("@classLabel true 3,4\n@data\n1,2:3,4\n")] == ["3,4"]
    assert [each.label for each in read("@timeStamps true\n@data\n(0,1):3\n")] == ["3"]


def test_a_byte_order_mark_and_other_encodings_harm_nothing() -> None:
    assert_values(read(HEADER + "1:a\n", "utf-8-sig")[0], [1])
    assert_values(read("#é\n" + HEADER + "1:a\n", "latin-1")[0], [1])
    assert read("@classLabel true é\n@data\n1:é\n", "latin-1")[0].label == "é"


def test_labels_are_the_declared_ones_in_any_case() -> None:
    assert [each.label for each in read("@classLabel true walk\n@data\n1:Walk\n2:walk\n")] == ["walk", "walk"]
    assert [each.label for each in read("@classLabel true a A\n@data\n1:A\n2:a\n")] == ["A", "a"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "f.ts ends before its data: expected a line @data, then a line for each series; use a complete file"),
        ("@classLabel true a b\n", "f.ts ends before its data"),
        (HEADER, "f.ts has no series after @data: expected one in each line; use another copy"),
        ("1,2,3\n", "f.ts, line 1: expected a tag such as @data before the data, got '1,2,3'; is this a .ts file?"),
        ("@timeStamps\n@data\n", "f.ts, line 1: @timestamps is '': expected true or false; correct the line"),
        ("@classLabel maybe\n@data\n", "f.ts, line 1: @classlabel is 'maybe': expected true or false"),
        ("@targetLabel true\n@data\n1:2.5\n", "f.ts has @targetLabel, a number to predict for each series: expected"),
        (
            HEADER + "1,2:a\n1,2",
            "f.ts, line 5: '1,2' is not a label: expected one of a, b after the values and a colon; is",
        ),
        (HEADER + "1,2:3,4:a\n1,2:3,", "f.ts, line 5: '3,' is not a label"),
        (HEADER + "1,2:3,4:", "f.ts, line 4: '' is not a label"),
        (HEADER + "a", "f.ts, line 4: 'a' is not a label"),
        (
            HEADER + "1,2:3:a",
            "f.ts, line 4: the channels have 1 to 2 steps: expected one length in a series; correct the",
        ),
        (HEADER + ":a", "f.ts, line 4 has no values: expected at least one step; leave the series out"),
        (HEADER + "?,?:?,?:a", "f.ts, line 4 has no values: expected at least one step"),
        (HEADER + "1,2:?,?:a", "f.ts, line 4 has no value in channel 2: expected at least one; leave out the series"),
        (
            HEADER + "1,NaN:a",
            "f.ts, line 4, channel 1: 'NaN' is not a finite number: expected numbers, or ? for a missing",
        ),
        (HEADER + "1,2:1,inf:a", "f.ts, line 4, channel 2: 'inf' is not a finite number"),
        (HEADER + "1,fast:a", "f.ts, line 4, channel 1: 'fast' is not a finite number"),
        (HEADER + "1,:a", "f.ts, line 4, channel 1: '' is not a finite number"),
        (HEADER + "1_0:a", "f.ts, line 4, channel 1: '1_0' is not a finite number"),
        (HEADER + "1e200:a", "f.ts, line 4 holds 1e+200: expected numbers up to 1e+30; scale them, or leave"),
        (HEADER + "1,\x1b[2J:a", "f.ts, line 4, channel 1: '�[2J' is not a finite number"),
        ("@timeStamps true\n@data\n1,2:a\n", "f.ts, line 3: '1,2:a' is not a label"),
        (
            "@timeStamps true\n@data\n(0,1),2):a\n",
            "f.ts, line 3, channel 1: expected pairs such as (0,1.5),(1,1.7), got",
        ),
        ("@timeStamps true\n@data\n(0,x):a\n", "f.ts, line 3, channel 1: 'x' is not a finite number"),
        *(
            (f"@timeStamps true\n@classLabel {labels}\n@data\n{text}{end}", f"f.ts, line 4{words}")
            for labels, end, words in (("true a", ":a\n", ""), ("false", "\n", ", channel 1: expected pairs such as"))
            for text in (
                "(1,2,3)",
                "(0,1),,(2,3)",
                "(,1)",
                "( ,1)",
                "(0,1),(1)",
                "(0,1),(1,2),",
                "((0,1)",
                "(0,1)x",
                "0,1",
            )
        ),
        ("@timeStamps true\n@classLabel false\n@data\n(0,1),(1,2", "f.ts, line 4, channel 1: expected pairs"),
        ("@timeStamps true\n@classLabel true\n@data\n(0,1):(0,1),(1,2", "f.ts, line 4: '(0,1),(1,2' is not a label"),
        ("@timeStamps true\n@classLabel true\n@data\n(0,1):(0,2)", "f.ts, line 4: '(0,2)' is not a label"),
        (
            "@timeStamps true\n@data\n(0,1):(0,2)",
            "f.ts, line 3: '(0,2)' could be a channel or a label: expected @class",
        ),
        ("@data\n1,2:3,4\n", "f.ts, line 2: '3,4' could be a channel or a label: expected @classLabel true or"),
        ("@data\n1:3\n", "f.ts, line 2: '3' could be a channel or a label"),
        ("@data\n1,2:?,4\n", "f.ts, line 2: '?,4' could be a channel or a label"),
        ("@classLabel true\n@data\n1,2:3,4\n", "f.ts, line 3: '3,4' is not a label: expected a label after the values"),
        ("@classLabel true a \x1b\n@data\n1:b\n", "'b' is not a label: expected one of a, \\x1b after the values"),
    ],
)
def test_bad_lines_get_one_line(text: str, words: str) -> None:
    with one_line(DataError, words):
        read(text)
