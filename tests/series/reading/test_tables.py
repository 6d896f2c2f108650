"""CSV files as pandas and spreadsheets write them."""

from __future__ import annotations

import codecs
import importlib
import itertools
import sys
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pytest

from tests.errors import one_line
from xrnn.series.errors import DataError
from xrnn.series.one_series import Series
from xrnn.series.reading.files import read_path
from xrnn.series.reading.tables import Columns

n = np.nan
TIMED = Columns(timed=True)
QUOTED = [("", None), ("x,y\n", "xy"), ('"x","y"\n', "xy")]


pytestmark = pytest.mark.usefixtures("workdir")


def read(content: str | bytes, columns: Columns = Columns()) -> list[Series]:  # noqa: B008
    Path("f.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    return read_path(Path("f.csv"), columns)


@pytest.mark.parametrize(
    ("content", "names", "values"),
    [
        ("1,2\n3,4\n", None, [[1, 2], [3, 4]]),
        ("x,y\n1,2\n3,4\n", ["x", "y"], [[1, 2], [3, 4]]),
        (",x,y\n0,1.5,\n1,,4\n", ["x", "y"], [[1.5, n], [n, 4]]),  # df.to_csv(path)
        (",0,1\n0,1.5,2\n1,3,4\n", ["0", "1"], [[1.5, 2], [3, 4]]),  # unnamed columns
        ("Unnamed: 0,x\n0,1\n1,2\n", ["x"], [[1], [2]]),  # read back and written again
        ("time,x\n0.5,1\n0.7,2\n", ["x"], [[1], [2]]),
        ("date,x\n2024-01-01,1\n2024-01-02,2\n", ["x"], [[1], [2]]),
        ("day,x\n2024-01-01 12:30:00+00:00,1\n2024-01-02 12:30:00+00:00,2\n", ["x"], [[1], [2]]),
        ("2024-05,1\n2024-06,2\n", None, [[1], [2]]),
        ("31.12.2024,1\n01.01.2025,2\n", None, [[1], [2]]),
        ("when,x\n1948 Jan,1\n1948 Feb,2\n", ["x"], [[1], [2]]),
        ("2024-05-01,0,1\n2024-06-02,2,3\n", None, [[0, 1], [2, 3]]),  # not the names 0 and 1
        ("x;y\n1;2\n3;4\n", ["x", "y"], [[1, 2], [3, 4]]),
        ("x\ty\n1\t2\n3\t4\n", ["x", "y"], [[1, 2], [3, 4]]),
        ("x|y\n1|2\n3|4\n", ["x", "y"], [[1, 2], [3, 4]]),
        ("x\n1\n2\n", ["x"], [[1], [2]]),
        ("time\n1\n2\n", ["time"], [[1], [2]]),  # the only column
        ("volt,b\n,0\n0.1992,1\n0.1999,2\n", ["volt", "b"], [[n, 0], [0.1992, 1], [0.1999, 2]]),
        ('x\n1\n""\n3\n', ["x"], [[1], [n], [3]]),  # pandas writes "" for a missing value in a single column
        ('"a, b","c ""d"""\n"1","2"\n', ["a, b", 'c "d"'], [[1, 2]]),
        ("x,y\n1,NaN\nN/A,nan\n<NA>,2\nNULL,?\n5,none\n", ["x", "y"], [[1, n], [n, n], [n, 2], [n, n], [5, n]]),
        ("x, y\n 1, 2\n\n3 ,4 \n\n", ["x", "y"], [[1, 2], [3, 4]]),
        (b"\xef\xbb\xbfx,y\r\n1,2\r\n3,4\r\n", ["x", "y"], [[1, 2], [3, 4]]),
        (b"\xef\xbb\xbf1;2\r3;4", None, [[1, 2], [3, 4]]),
        *[("x;ü\r\n1;2\r\n3;4\r\n".encode(name), ["x", "ü"], [[1, 2], [3, 4]]) for name in ("utf-16", "utf-8-sig")],
        (codecs.BOM_UTF16_BE + "x\tü\n1\t2\n".encode("utf-16-be"), ["x", "ü"], [[1, 2]]),
        ("sep=;\nx;y\n1;2\n", ["x", "y"], [[1, 2]]),
        ("SEP=|\r\n1|2\r\n", None, [[1, 2]]),
        ('"sep=,"\nx,y\n1,2\n', ["x", "y"], [[1, 2]]),
        (codecs.BOM_UTF16_LE + "sep=\t\nx\ty\n1\t2\n".encode("utf-16-le"), ["x", "y"], [[1, 2]]),
        ("?,x\n1,2\n", ["?", "x"], [[1, 2]]),
        ("x,y\n-nan,1\n2,#N/A\n", ["x", "y"], [[n, 1], [2, n]]),  # C's printf, Excel
        ("year,x\n2023,1\n2024,2\n", ["x"], [[1], [2]]),
        ("year,month,x\n2024,1,1\n2024,2,2\n", ["year", "month", "x"], [[2024, 1, 1], [2024, 2, 2]]),
        ("year,x\n88,1\n89,2\n", ["year", "x"], [[88, 1], [89, 2]]),
        ("?,2\n1,2\n", None, [[n, 2], [1, 2]]),
        ("1.3.2024;0\n2.3.2024;4\n", None, [[0], [4]]),  # no header with the name 0
        ("1.3.2024;0;1\n2.3.2024;4;5\n", None, [[0, 1], [4, 5]]),
        ("1.3.2024;\n2.3.2024;4\n", None, [[n], [4]]),
        ("Datum;0\n1.3.2024;3\n2.3.2024;4\n", ["0"], [[3], [4]]),
        ("Titel\nDatum;Umsatz\n1.3.2024;0\n2.3.2024;4\n", ["Umsatz"], [[0], [4]]),
        ("a,b\nyes,TRUE\nNo,false\n,True\n", ["a", "b"], [[1, 1], [0, 0], [n, 1]]),
    ],
)
def test_what_pandas_and_spreadsheets_write(
    content: str | bytes, names: list[str] | None, values: list[list[float]]
) -> None:
    (series,) = read(content)
    assert series.channel_names == (tuple(names) if names else None)
    np.testing.assert_array_equal(series.values, values)
    assert series.label is None


COMMA: dict[str, Any] = {"decimal": ","}
OF_MODEL: dict[str, Any] = {"channels": ("x", "y"), "optional": frozenset("xy")}


@pytest.mark.parametrize(
    ("content", "columns", "names", "values"),
    [
        *(
            (f"x{sep}y\n1,5{sep}2\n-3{sep}4\n1e3{sep}0,25\n", COMMA, "xy", [[1.5, 2], [-3, 4], [1000, 0.25]])
            for sep in ";\t"
        ),
        *((f'{header}"1,5",2\n3,"-4,25"\n', COMMA, names, [[1.5, 2], [3, -4.25]]) for header, names in QUOTED),
        ('"1,5"\n2\n', COMMA, None, [[1.5], [2]]),
        ("x,y,z\n1,2,3\n", {"skip": ("x",)}, "yz", [[2, 3]]),
        ("x,y,z\n1,2,3\n", {"skip": ("z", "2")}, "x", [[1]]),
        ("x,y,z\n1,2,3\n", {"skip": ("1", "2")}, "z", [[3]]),
        ("x,note\n1,fine\n2,broken\n", {"skip": ("note",)}, "x", [[1], [2]]),
        ("y,note,x\n1,some,2\n", OF_MODEL, "xy", [[2, 1]]),
        ("1,2\n", OF_MODEL, None, [[1, 2]]),  # without a header, they are taken in order
        ("x,w\n1,2\n", OF_MODEL, "xw", [[1, 2]]),  # also if one has another name
        ("2024-03-01,1\n2024-02,2\n2024-02-01T01:00:00,3\n", {"time": "1"}, None, [[2], [3], [1]]),
        ("3/4/2024,1\n", {}, None, [[1]]),
        ("20240131,1\n20240132,2\n", {"timed": True}, None, [[20240131, 1], [20240132, 2]]),  # all are dates, or none
    ],
)
def test_columns_are_read_as_the_options_say(
    content: str, columns: dict[str, Any], names: str | None, values: list[list[float]]
) -> None:
    (series,) = read(content, Columns(**columns))
    assert series.channel_names == (tuple(names) if names else None)
    np.testing.assert_array_equal(series.values, values)


LONG = "sensor,t,x,y,kind\nb,2,5,6,run\na,1,1,2,walk\nb,1,3,4,run\na,2,,8,walk\n"


TYPED = [["when", "x", "n"], [datetime(2024, 5, 31), 1.5, 7], [datetime(2024, 6, 30), None, 8]]


DAYS = "2024-05-01;1\n2024-05-02;2\n"


@pytest.mark.parametrize(
    ("content", "notes"),
    [
        (f"Sales\n\nday;v\n{DAYS}", "'Sales' above the header is left out; if this is wrong, give --skip-rows 0"),
        (f"Sales;\n;\nday;v\n{DAYS}", "'Sales' above the header is left out; if this is wrong, give --skip-rows 0"),
        (
            f"Sales, all shops\nMay: 3 days\nday;v\n{DAYS}",
            "'Sales, all shops' and 1 more row above the header are left out; if this is wrong, give --skip-rows 0",
        ),
        (
            f"day;v\n{DAYS}\nSource: till\n",
            "'Source: till' below the table is left out; if this is wrong, fill in other cells of the row",
        ),
        (
            f"day;v\n{DAYS};\n* preliminary;\nMay 2024 was closed;\n;\n",
            "'* preliminary' and 1 more row below the table are left out; if this is wrong, fill in other cells",
        ),
        (
            f"Sales\nday;v\n{DAYS}Source: till;\n",
            "'Sales' above the header is left out; 'Source: till' below the table is left out; if this is wrong, give "
            "--skip-rows 0, or fill in other cells of the row",
        ),
    ],
)
def test_titles_and_comments_are_left_out(content: str, notes: str, caplog: pytest.LogCaptureFixture) -> None:
    (series,) = read(content, TIMED)
    assert (series.channel_names, series.time_names, series.values.tolist()) == (("v",), ("day",), [[1], [2]])
    (line,) = caplog.messages
    assert line.startswith(f"f.csv: {notes}")


def test_one_line_lists_the_options_before_other_remedies(caplog: pytest.LogCaptureFixture) -> None:
    read("Verkäufe\nday;v\n2024-05-01;1,5\n2024-05-02;2\nQuelle: Kasse\n".encode("cp1252"), TIMED)
    (line,) = caplog.messages
    end = "give --encoding NAME or --skip-rows 0 or --decimal ., or fill in other cells of the row"
    assert line.endswith(f"; if this is wrong, {end}")


@pytest.mark.parametrize(
    ("content", "values"),
    [
        (",v\nJan,?\nFeb,2\n", [[n], [2]]),  # a header without a first name
        ("id,\na,yes\nb,no\n", [[1], [0]]),  # words in each row
        ("shop;v\nA;1\nB;2\nC;\n", [[1], [2]]),  # a shop without a value
        ("x\n1,5\n2,5\n", [[1.5], [2.5]]),  # one column
    ],
)
def test_rows_like_titles_and_comments_are_kept(
    content: str, values: list[list[float]], caplog: pytest.LogCaptureFixture
) -> None:
    skip = ("1",) if content[0] in ",is" else ()
    (series,) = read(content, Columns(skip=skip))
    np.testing.assert_array_equal(series.values, values)
    assert not any("left out" in message for message in caplog.messages)


def test_the_rows_above_a_table_may_be_counted() -> None:
    for content, count in (
        (f"Sales;2024\nday;v\n{DAYS}", 1),
        (f"a,b\n1,2\nsep=;\nday;v\n{DAYS}", 2),
        (f"day;v\n{DAYS}", 0),
    ):
        (series,) = read(content, replace(TIMED, skip_rows=count))
        assert (series.channel_names, series.values.tolist()) == (("v",), [[1], [2]])
    with one_line(DataError, "f.csv, line 4, column v: 'x' is not a number"):
        read("a\nday;v\n2024-05-01;1\n2024-05-02;x\n", Columns(skip=("1",), skip_rows=1))
    with one_line(DataError, "f.csv has no values below the skipped rows; give a lower skip_rows than 5, or leave th"):
        read("v\n1\n", Columns(skip_rows=5))


def test_the_first_row_of_series_with_identifiers_is_kept() -> None:
    a, b = read("a;0\na;3\nb;0\n", Columns(id="1"))
    assert (a.values.tolist(), b.values.tolist()) == ([[0], [3]], [[0]])


def book(**sheets: list[list[Any]]) -> None:
    """Write f.xlsx."""
    made: Any = importlib.import_module("openpyxl").Workbook()
    made.remove(made.active)
    for name, rows in sheets.items():
        sheet = made.create_sheet(name)
        for row in rows:
            sheet.append(row)
    made.save("f.xlsx")


COVER: list[list[Any]] = [["Report"], ["made on", datetime(2024, 6, 1)], ["year", 2024], ["by", "till"]]
SALES: list[list[Any]] = [
    ["Sales"],
    [],
    ["day", "sales"],
    [datetime(2024, 5, 1), 1],
    [datetime(2024, 5, 2), 2],
    ["Source: till"],
]
STOCK: list[list[Any]] = [["day", "stock"], [datetime(2024, 5, 1), 5], [datetime(2024, 5, 2), 6]]


@pytest.mark.needs("openpyxl", "series")
@pytest.mark.parametrize(
    ("columns", "name", "others"),
    [
        ({}, "sales", "Cover, Stock"),
        ({"channels": ("sales",)}, "sales", "Cover, Stock"),
        ({"channels": ("stock",)}, "stock", "Cover, Sales"),
        ({"time": "1", "channels": ("stock",)}, "stock", "Cover, Sales"),
        ({"channels": ("stock",), "optional": frozenset(["stock"])}, "stock", "Cover, Sales"),
        ({"sheet": "Stock"}, "stock", ""),
        ({"usual_sheet": "Stock"}, "stock", ""),
    ],
)
def test_the_sheet_that_has_the_named_columns_is_read(
    columns: dict[str, Any], name: str, others: str, caplog: pytest.LogCaptureFixture
) -> None:
    book(Cover=COVER, Sales=SALES, Stock=STOCK)
    (series,) = read_path(Path("f.xlsx"), replace(TIMED, **columns))
    assert (series.channel_names, series.values.tolist()) == ((name,), [[1], [2]] if name == "sales" else [[5], [6]])
    assert series.times == (datetime(2024, 5, 1), datetime(2024, 5, 2))
    start = f"f.xlsx: the sheet {name.capitalize()} is read, and not {others}; "
    assert [line.startswith(start) for line in caplog.messages] == [True] * bool(others)


@pytest.mark.needs("openpyxl", "series")
def test_a_sheet_that_can_not_be_used_gets_one_line() -> None:
    book(Cover=COVER, Sales=[*SALES[2:4], [datetime(2024, 5, 2), "x"]])
    with one_line(
        DataError, "f.xlsx has no sheet with the columns price; name them as on one of its sheets: Cover, Sales"
    ):
        read_path(Path("f.xlsx"), replace(TIMED, channels=("price",)))
    with one_line(DataError, "f.xlsx has no sheet May; give one of its sheets by sheet: Cover, Sales"):
        read_path(Path("f.xlsx"), replace(TIMED, sheet="May"))
    with one_line(DataError, "f.xlsx, sheet Sales, row 3, column sales: 'x' is not a number"):
        read_path(Path("f.xlsx"), replace(TIMED, channels=("sales",)))


@pytest.mark.needs("openpyxl", "series")
def test_an_excel_sheet_is_read_as_its_cells_are_shown() -> None:
    sheet: Any = importlib.import_module("openpyxl").Workbook()
    for row in [*TYPED, [None, None, None]]:
        sheet.active.append(row)
    sheet.save("f.xlsx")
    for columns, channels in ((TIMED, ("x", "n")), (Columns(skip=("n",)), ("x",)), (Columns(decimal=","), ("x", "n"))):
        (series,) = read_path(Path("f.xlsx"), columns)
        assert series.channel_names == channels
        np.testing.assert_array_equal(series.values, np.array([[1.5, 7], [n, 8]])[: len(channels), : len(channels)])
        assert series.times == ((datetime(2024, 5, 31), datetime(2024, 6, 30)) if columns.timed else None)
    with one_line(DataError, "f.xlsx, row 2, column when: '2024-05-31T00:00:00' is not a number"):
        read_path(Path("f.xlsx"), Columns(channels=("when",)))
    sheet.create_sheet("Köln")
    sheet.save("f.xlsx")
    assert len(read_path(Path("f.xlsx"), Columns(skip=("when",)))) == 1  # the first sheet
    Path("f.xlsx").write_bytes(b"PK\x03\x04")
    with one_line(
        DataError, "f.xlsx can't be read (", "); install pandas and openpyxl, or use another copy of the file"
    ):
        read_path(Path("f.xlsx"))


@pytest.mark.needs("pyarrow", "test")
def test_a_parquet_file_keeps_its_types() -> None:
    pandas: Any = importlib.import_module("pandas")
    frame = pandas.DataFrame(TYPED[1:], columns=TYPED[0]).assign(id=["b", "a"])
    for each in (frame, frame.set_index("when"), frame.set_index(frame.when.rename(None)).drop(columns="when")):
        each.to_parquet("f.parquet")
        b, a = read_path(Path("f.parquet"), replace(TIMED, id="id", channels=("n",)))
        assert (b.id, b.values.tolist(), a.times) == ("b", [[7]], (datetime(2024, 6, 30),))
    frame.to_parquet("f.parquet")
    with one_line(DataError, "f.parquet, row 1, column id: 'b' is not a number"):
        read_path(Path("f.parquet"), Columns(channels=("id",)))
    Path("f.parquet").write_bytes(b"PAR1")
    with one_line(
        DataError, "f.parquet can't be read (", "); install pandas and pyarrow, or use another copy of the file"
    ):
        read_path(Path("f.parquet"))


@pytest.mark.needs("pandas", "series")
@pytest.mark.parametrize(("suffix", "package"), [(".xlsx", "pandas"), (".parquet", "pandas"), (".xlsx", "openpyxl")])
def test_without_its_package_a_file_gets_one_line(suffix: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(f"f{suffix}", "w") as archive:
        archive.writestr("xl/workbook.xml", "")
    monkeypatch.setitem(sys.modules, package, None)
    with one_line(DataError, f"f{suffix} can't be read (", package, "; install pandas and "):
        read_path(Path(f"f{suffix}"))


def test_text_that_is_not_utf_8_is_read_as_excel_writes_it(caplog: pytest.LogCaptureFixture) -> None:
    content = "Stadt;Wert\nKöln;1\n".encode("cp1252")
    (series,) = read(content, Columns(id="Stadt"))
    assert series.id == "Köln"
    (line,) = caplog.messages
    assert line == "f.csv: it is not UTF-8, and is read as cp1252; if this is wrong, give --encoding NAME"
    caplog.clear()
    for name in ("cp437", "utf-8", "utf-16-le"):
        (series,) = read("\ufeffx;ü\n1;2\n".encode(name, "ignore"), Columns(encoding=name))
        assert series.channel_names == ("x", "ü")
    with one_line(DataError, "f.csv is not utf-8; save it as UTF-8, or give encoding"):
        read(content.replace(b"\xf6", b"\xff"), Columns(encoding="utf-8"))
    with one_line(DataError, "f.csv is not UTF-8; save it as UTF-8, or give encoding"):
        read(b"x\n1\n\x81\n")


@pytest.mark.parametrize(
    ("content", "values", "line"),
    [
        ("x;y\n6.451,22;1\n1.234,56;2\n1,5;3\n", [[6451.22, 1], [1234.56, 2], [1.5, 3]], "6.451,22 is read as 6451.22"),
        (
            "x;y\n1.000;1,5\n1.100;2\n",
            [[1000, 1.5], [1100, 2]],
            "1.000 in column x is read as 1000; if this is wrong, write all numbers with the same sign before the",
        ),  # by another column
        ("x;y\n1.5;1,000\n", [[1.5, 1000]], "1,000 in column y is read as 1000; if this is wrong, write all numbers"),
        ("x\ty\n-1.234.567,5\t1\n", [[-1234567.5, 1]], "-1.234.567,5 is read as -1234567.5"),
        ('x,y\n"1,234.56",1\n"1,000",2\n', [[1234.56, 1], [1000, 2]], "1,234.56 is read as 1234.56"),
        ('x,y\n"5,000,000",1\n', [[5e6, 1]], "5,000,000 is read as 5000000"),
        ("x\n1,5\n2,5\n", [[1.5], [2.5]], "1,5 is read as 1.5"),  # one column
        ('x,y\n"1,5",1\n', [[1.5, 1]], "1,5 is read as 1.5"),
        ("x;y\n5,0000;1\n", [[5, 1]], "5,0000 is read as 5"),
        ("6.451,22;1\n1.234,56;2\n", [[6451.22, 1], [1234.56, 2]], "6.451,22 is read as 6451.22"),  # no header
        # thousands apart by blanks or apostrophes
        ("x;y\n1 828,8;1\n-12 345 678;2\n", [[1828.8, 1], [-12345678, 2]], "1 828,8 is read as 1828.8"),
        ("x;y\n1\u202f828,8;1\n1\xa0000;2\n", [[1828.8, 1], [1000, 2]], "1 828,8 is read as 1828.8"),
        ("x;y\n1'234.50;1\n1\u2019000;2\n", [[1234.5, 1], [1000, 2]], ""),
        # three digits after each point, beside numbers from 500 without one
        (
            "x;y\n850;1\n1.000;2\n1.100;3\n",
            [[850, 1], [1, 2], [1.1, 3]],
            "1.000 in column x is read as 1; if this is wrong, give --",
        ),
        ("x\ty\n1.000\t1\n1.100\t2\n", [[1, 1], [1.1, 2]], "1.000 in column x is read as 1; "),
        ("x,y\n1.000,1\n1.100,2\n", [[1, 1], [1.1, 2]], ""),  # where commas separate cells, points begin decimals
        ('x,y\n"1.000",1\n"1.100",2\n', [[1, 1], [1.1, 2]], "1.000 in column x is read as 1; if"),
        ('"x","y"\n"1.000","1"\n"2.5","2"\n', [[1, 1], [2.5, 2]], ""),
        ("x|y\n1.000|1\n", [[1, 1]], "1.000 in column x is read as 1; "),
        ("1.000;a;1.000\n1.100;b;1.200\n", [[1, 1], [1.1, 1.2]], "1.000 in columns 1, 3 is read as 1; if"),
        ("x;y\n1.000;1\n1.25;2\n", [[1, 1], [1.25, 2]], ""),
        ("x;y\n0.125;1\n0.250;2\n", [[0.125, 1], [0.25, 2]], ""),
        ("x;y\n1.5;1\n", [[1.5, 1]], ""),
    ],
)
def test_the_signs_of_decimals_and_thousands_are_found(
    content: str, values: list[list[float]], line: str, caplog: pytest.LogCaptureFixture
) -> None:
    (series,) = read(content, Columns(skip=("2",) if ";a;" in content else ()))
    np.testing.assert_array_equal(series.values, values)
    assert len(caplog.messages) == bool(line)
    assert all(each.startswith(f"f.csv: {line}") for each in caplog.messages)


@pytest.mark.needs("openpyxl", "series")
def test_the_signs_of_text_in_a_sheet_are_found(caplog: pytest.LogCaptureFixture) -> None:
    book: Any = importlib.import_module("openpyxl").Workbook()
    for row in [["x", "y"], ["1.000", 1.234], ["1.100", 2]]:
        book.active.append(row)
    book.save("f.xlsx")
    (series,) = read_path(Path("f.xlsx"))
    np.testing.assert_array_equal(series.values, [[1, 1.234], [1.1, 2]])
    assert caplog.messages == ["f.xlsx: 1.000 in column x is read as 1; if this is wrong, give --decimal ,"]
    caplog.clear()
    (series,) = read_path(Path("f.xlsx"), Columns(usual_decimal=","))
    np.testing.assert_array_equal(series.values, [[1000, 1.234], [1100, 2]])
    said = "f.xlsx: 1.000 in column x is read as 1000, as in the training; if this is wrong, give --decimal ."
    assert caplog.messages == [said]


def test_the_sign_of_the_training_is_for_files_that_show_none(caplog: pytest.LogCaptureFixture) -> None:
    for usual, content, value, line in (
        (
            ",",
            "x;y\n1.000;2\n",
            1000,
            "1.000 in column x is read as 1000, as in the training; if this is wrong, give --decimal .",
        ),
        (
            ".",
            "x;y\n1,000;2\n",
            1000,
            "1,000 in column x is read as 1000, as in the training; if this is wrong, give --decimal ,",
        ),
        (".", "x;y\n1.000;2\n", 1, "1.000 in column x is read as 1, as in the training"),
        (",", "x;y\n1.5;1.000\n", 1.5, ""),
        (".", "x;y\n1,5;1.000\n", 1.5, "1.000 in column y is read as 1000; if"),
        (",", "x,y\n1.000,2\n", 1, ""),
        (",", "x;y\n5;2\n", 5, ""),
    ):
        caplog.clear()
        (series,) = read(content, Columns(usual_decimal=usual))
        assert series.values[0, 0] == value
        assert len(caplog.messages) == bool(line)
        assert all(each.startswith(f"f.csv: {line}") for each in caplog.messages)


def test_an_option_decides_about_decimals_and_thousands(caplog: pytest.LogCaptureFixture) -> None:
    for decimal, content, value in (
        (",", "x;y\n1.000;2\n", 1000),
        (",", "x;y\n5.000,5;2\n", 5000.5),
        (",", "x;y\n5,000;2\n", 5),
        (".", "x;y\n5,000;2\n", 5000),
        (".", "x;y\n1.000;2\n", 1),
        (".", "x;y\n5,000,000.25;2\n", 5000000.25),
    ):
        (series,) = read(content, Columns(decimal=decimal))
        assert series.values[0, 0] == value
    assert not caplog.messages


@pytest.mark.parametrize("decimal", ["", ",", "."])
def test_a_file_with_both_signs_gets_the_same_advice_with_each_option(decimal: str) -> None:
    """An error that advised another value of the option would lead back to itself."""
    with one_line(DataError, " before the decimals, but '", "; write all numbers with the same sign"):
        read("x;y\n1,5;2.5\n3,5;7\n", Columns(decimal=decimal))


def test_one_line_says_how_a_file_was_read(caplog: pytest.LogCaptureFixture) -> None:
    (series,) = read("Größe;y\n6.451,22;1\n1,5;2\n".encode("cp1252"))
    assert series.channel_names == ("Größe", "y")
    assert caplog.messages == [
        "f.csv: it is not UTF-8, and is read as cp1252; 6.451,22 is read as 6451.22; if this is wrong, give "
        "--encoding NAME or --decimal ."
    ]


@pytest.mark.parametrize(
    ("content", "options", "values"),
    [
        ("x,y\n998,1\n1.002,2\n", {"decimal": "."}, [998, 1.002]),
        ("x,y\n998,1\n1.002,2\n", {"usual_decimal": "."}, [998, 1.002]),  # as in the training
        ("x,y\n998,1\n1.002,2\n1.25,2\n", {}, [998, 1.002, 1.25]),
        ("x,y\n998,1\n1.002,2\n1003,2\n", {}, [998, 1.002, 1003]),
        ("x,y\n998,1.5\n1.002,2\n", {}, [998, 1.002]),  # the other column shows the sign
        ("x,y\n2,1\n1.002,2\n", {}, [2, 1.002]),
        ("x,y\n1.002,998\n1.003,999\n", {}, [1.002, 1.003]),
        ("x,y\n0.125,1\n998,2\n", {}, [0.125, 998]),
    ],
)
def test_points_between_commas_begin_decimals(content: str, options: dict[str, Any], values: list[float]) -> None:
    (series,) = read(content, Columns(**options))
    np.testing.assert_array_equal(series.values[:, 0], values)


def test_points_between_commas_that_may_separate_thousands_are_refused() -> None:
    with one_line(
        DataError, "'1.002' in column x may be 1002, since '998' has no decimals; write 1002, or give decimal ."
    ):
        read("x,y\n998,1\n1.002,2\n1.010,2\n", Columns())


def test_an_error_in_the_numbers_comes_without_a_note_about_them(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DataError):
        read("x;y\n6.451,22;1\n1.234,56;2\n1.2.3;2\n", Columns(channels=("x", "y")))
    assert not caplog.messages


def test_the_signs_of_targets() -> None:
    a, b = read("id;x;y\na;1;1.234,5\nb;2;7\n", Columns(id="id", label="y", targets=True))
    assert (a.label, b.label) == ("1234.5", "7.0")
    a, b = read("id;x;y\na;1;1.234,5\nb;2;7\n", Columns(id="id", label="y"))
    assert (a.label, b.label) == ("1.234,5", "7")


def test_the_long_form_is_split_by_the_id_and_sorted_by_time() -> None:
    b, a = read(LONG, Columns(id="sensor", time="t", label="kind"))
    assert (a.label, b.label, a.name, b.name) == ("walk", "run", "f.csv, sensor a", "f.csv, sensor b")
    assert a.channel_names == b.channel_names == ("x", "y")
    np.testing.assert_array_equal(a.values, [[1, 2], [n, 8]])
    np.testing.assert_array_equal(b.values, [[3, 4], [5, 6]])
    b, _ = read(LONG.replace("b,1", " b ,1"), Columns(id="1", label="5", skip=("t",)))  # by number, in the file's order
    np.testing.assert_array_equal(b.values, [[5, 6], [3, 4]])


def test_the_columns_of_times_and_the_unused_ones_are_named() -> None:
    content = ",Tag,note,v,k\n0,01.07.2020,some,1,2\n1,01.08.2020,,3,4\n"
    (series,) = read(content, replace(TIMED, channels=("v",)))
    assert (series.time_names, series.unused) == (("Tag",), ("1", "note", "k"))
    (series,) = read("Year,quarter,season,v\n2020,1,9,2\n2020,2,9,2\n", replace(TIMED, channels=("v",)))
    assert (series.time_names, series.unused) == (("Year", "quarter"), ("season",))


@pytest.mark.parametrize(
    ("content", "columns", "years"),
    [
        ("id,date,v\na,2020-01-01,1\na,2021-01-01,2\n", {"id": "id"}, [2020, 2021]),
        ("v,when\n1,2020-01-01\n2,2021-01-01\n", {}, [2020, 2021]),
        ("v,when\n2,2021-01-01\n1,2020-01-01\n", {}, [2020, 2021]),  # the newest first
        ("v,w,when\n1,7,2020-01-01\n2,7,2021-01-01\n", {"channels": ("v",)}, [2020, 2021]),
        (",date,v\n0,2020-01-01,1\n1,2021-01-01,2\n", {}, [2020, 2021]),
        (",v\n0,1\n1,2\n", {}, [0, 1]),
        ("index,v\na,1\nb,2\n", {}, None),
        ("Year,v\n2020,1\n2021,2\n", {}, [2020, 2021]),
        ("v,a,b\n1,2020-01-01,2019-01-01\n2,2021-01-01,2020-01-01\n", {"channels": ("v",)}, [2020, 2021]),
        ("season,v\n2020,1\n2021,2\n", {"channels": ("v",)}, None),  # named to the user as unused
        ("v,year\n1,2020\n2,2021\n", {"channels": ("v",)}, [2020, 2021]),
        ("Jahr;Monat;v\n2020;x;1\n2021;y;2\n", {"channels": ("v",)}, [2020, 2021]),
        ("year,month,v\n2020,1,1\n2020,2,2\n", {}, [2020, 2020]),
        ("Monat;v\n12.2020;1\n01.2021;2\n", {}, [2020, 2021]),
        ("month,v\n202012,1\n202101,2\n", {"channels": ("v",)}, [2020, 2021]),
        ("v,Month\n1,202012\n2,202101\n", {}, [2020, 2021]),
        ("v,Year,Quarter\n1,2020.0,4.0\n2,2021.0,1.0\n", {}, [2020, 2021]),
        ("year,quarter,month,v\n2020,4,12,1\n2021,1,1,2\n", {"channels": ("v",)}, [2020, 2021]),
        ("year,month,v\n2020,1,1\n2020,2,2\n", {"channels": ("v",), "timed": False}, None),
        ("t,v\n20240131,1\n20240132,2\n", {"time": "t"}, [20240131, 20240132]),  # all are dates, or none
    ],
)
def test_a_column_of_times_is_found(content: str, columns: dict[str, Any], years: list[float] | None) -> None:
    (series,) = read(content, replace(TIMED, **columns))
    np.testing.assert_array_equal(series.values, [[1], [2]])
    times = series.times and [time.year if isinstance(time, datetime) else time for time in series.times]
    assert times == years


@pytest.mark.parametrize(
    ("content", "columns", "times"),
    [
        ("Jahr;Monat;v\n2020;11;1\n2020;12;2\n", {}, [(2020, 11, 1), (2020, 12, 1)]),
        ("Monat;Jahr;v\nNovember;2020;1\nDez;2020;2\n", {}, [(2020, 11, 1), (2020, 12, 1)]),
        ("Jahr;Monat;v\n2020;Jan;1\n2020;Mrz;2\n", {}, [(2020, 1, 1), (2020, 3, 1)]),
        ("année;mois;v\n2020;1;1\n2020;2;2\n", {}, [(2020, 1, 1), (2020, 2, 1)]),
        ("año;trimestre;v\n2020;1;1\n2020;2;2\n", {}, [(2020, 1, 1), (2020, 4, 1)]),
        ("anno;mese;v\n2020;gen;1\n2020;feb;2\n", {}, [(2020, 1, 1), (2020, 2, 1)]),
        ("jaar;week;v\n2020;1;1\n2020;2;2\n", {}, [(2019, 12, 30), (2020, 1, 6)]),
        ("Jahr;KW;v\n2024;51;1\n2024;52;2\n", {}, [(2024, 12, 16), (2024, 12, 23)]),
        ("day;clock;v\n2020-01-01;10:00;1\n2020-01-02;10:00;2\n", {"time": "day,clock"}, [(2020, 1, 1), (2020, 1, 2)]),
        ("m;y;v\nmai;2020;1\njuin;2020;2\n", {"time": "m,y"}, [(2020, 5, 1), (2020, 6, 1)]),
        ("month;year;v\n1;2020;1\n2;2020;2\n", {"time": "month,year"}, [(2020, 1, 1), (2020, 2, 1)]),
        # years that all differ
        ("Jahr;Monat;v\n2020;12;1\n2021;1;2\n", {}, [(2020, 12, 1), (2021, 1, 1)]),
        ("Jahr;Monat;v\n2020;Dez;1\n2021;Jan.;2\n", {}, [(2020, 12, 1), (2021, 1, 1)]),
        (",year,month,v\n0,2020,12,1\n1,2021,1,2\n", {}, [(2020, 12, 1), (2021, 1, 1)]),
        ("Jahr;KW;v\n2024;W05;1\n2024;KW 6;2\n", {}, [(2024, 1, 29), (2024, 2, 5)]),
        ("year,quarter,v\n2024,Q1,1\n2024,Q2,2\n", {}, [(2024, 1, 1), (2024, 4, 1)]),
        ("year,month,day,v\n2020,1,31,1\n2020,2,1,2\n", {}, [(2020, 1, 31), (2020, 2, 1)]),
        ("Tag;Monat;Jahr;v\n31;Jan;2020;1\n1;Feb;2020;2\n", {}, [(2020, 1, 31), (2020, 2, 1)]),
        ("année;mois;jour;v\n2020;1;31;1\n2020;2;1;2\n", {}, [(2020, 1, 31), (2020, 2, 1)]),
        ("d;m;y;v\n31;Jan;2020;1\n1;Feb;2020;2\n", {"time": "d,m,y"}, [(2020, 1, 31), (2020, 2, 1)]),
        (
            "date;year;month;v\n2020-01-31;2020;1;1\n2020-02-01;2020;2;2\n",
            {"channels": ("v",)},
            [(2020, 1, 31), (2020, 2, 1)],
        ),
    ],
)
def test_times_in_several_languages_and_in_two_columns(
    content: str, columns: dict[str, Any], times: list[tuple[int, int, int]]
) -> None:
    (series,) = read(content, replace(TIMED, **columns))
    np.testing.assert_array_equal(series.values, [[1], [2]])
    assert series.times is not None
    assert [(time.year, time.month, time.day) for time in series.times if isinstance(time, datetime)] == times


def test_two_optional_columns_of_times_may_be_absent() -> None:
    columns = replace(TIMED, time="day,clock", optional=frozenset(["day,clock"]), channels=("v",))
    (series,) = read("v,day\n1,2020-01-01\n2,2020-01-02\n", columns)
    assert series.time_names == ("day",)
    with one_line(DataError, "f.csv has no column clock"):
        read("v,day\n1,2020-01-01\n2,2020-01-02\n", replace(columns, optional=frozenset()))


def test_words_that_name_values_in_another_language_name_no_times(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("data", "tag", "kW", "week"):
        (series,) = read(f"{name},v\n5,1\n3,2\n", TIMED)
        assert (series.channel_names, series.times) == ((name, "v"), None)
    for name in ("kW", "week"):  # the numbers are no weeks
        (series,) = read(f"year,{name},v\n2020,5.5,1\n2020,50,2\n", TIMED)
        assert (series.channel_names, series.times) == (("year", name, "v"), None)
    assert not caplog.messages
    (series,) = read("data;v\n31/01/2020;1\n01/02/2020;2\n", TIMED)  # its cells are dates
    assert series.time_names == ("data",)


def test_a_column_that_looks_like_times_and_was_not_found_is_named(caplog: pytest.LogCaptureFixture) -> None:
    named = replace(TIMED, channels=("v",))
    for column, cells in [("season", "2020 2021"), ("Monat", "1 2")]:
        a, b = cells.split()
        (series,) = read(f"v,{column}\n1,{a}\n2,{b}\n", named)
        assert series.times is None
        got = f"f.csv: no times were found, though column {column} looks like them"
        assert caplog.messages == [f"{got}; if this is wrong, give --time {column}"]
        caplog.clear()
    read("v,w\n1,5\n2,3\n", named)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("yes", "no"), [("ja", "nein"), ("Wahr", "Falsch"), ("oui", "non"), ("sí", "no"), ("ja", "nee")]
)
def test_yes_and_no_in_several_languages(yes: str, no: str) -> None:
    (series,) = read(f"x;v\n{yes};1\n{no};2\n")
    np.testing.assert_array_equal(series.values, [[1, 1], [0, 2]])


def test_a_column_of_x_and_empty_cells_is_yes_and_no_in_a_table_to_forecast() -> None:
    content = "date;k;v\n2020-01-01;x;1\n2020-01-02;;2\n"
    (series,) = read(content, TIMED)
    np.testing.assert_array_equal(series.values, [[1, 1], [0, 2]])
    with one_line(DataError, "'x' is not a number"):
        read(content)


def test_the_language_of_a_header_decides_about_thousands(caplog: pytest.LogCaptureFixture) -> None:
    (series,) = read("Datum;v\n2020-01-01;1.000\n2020-01-02;2.000\n", TIMED)
    np.testing.assert_array_equal(series.values, [[1000], [2000]])
    assert caplog.messages == [
        "f.csv: 1.000 in column v is read as 1000, as in German; if this is wrong, give --decimal ."
    ]


def test_words_for_yes_and_no_decide_about_thousands_too(caplog: pytest.LogCaptureFixture) -> None:
    (series,) = read("Week;v;k\n2026-W01;1.000;ja\n2026-W02;2.000;nee\n", TIMED)
    np.testing.assert_array_equal(series.values, [[1000, 1], [2000, 0]])
    (line,) = caplog.messages
    assert "1.000 in column v is read as 1000, as in " in line
    (series,) = read("week;v;k\n2026-W01;1.000;yes\n2026-W02;2.000;no\n", TIMED)
    np.testing.assert_array_equal(series.values, [[1, 1], [2, 0]])


def test_years_of_several_series_are_times() -> None:
    for series in read("year,id,v\n2020,a,1\n2020,b,2\n2021,a,3\n2021,b,4\n", replace(TIMED, id="id")):
        assert (series.times, series.channel_names) == ((2020, 2021), ("v",))


def test_optional_columns_may_be_absent() -> None:
    optional = frozenset(["sensor", "t", "kind", "note"])
    columns = Columns(id="sensor", time="t", label="kind", skip=("note",), optional=optional)
    assert len(read(LONG, columns)) == len(read("x,t\n1,2\n", columns)) + 1 == 2
    (series,) = read("x,y\n1,2\n", columns)
    np.testing.assert_array_equal(series.values, [[1, 2]])
    with one_line(DataError, "f.csv has no column 3"):  # without a header, the next column would have its number
        read("1,2\n", Columns(label="3", optional=frozenset("3")))
    np.save("f.npy", np.ones((2, 1)))
    assert len(read_path(Path("f.npy"), columns)) == 1
    with one_line(DataError, "f.csv has two columns sensor"):
        read("sensor,sensor,x\n1,2,3\n", columns)


def test_the_number_of_an_optional_column_does_not_mean_a_channel() -> None:
    columns = Columns(id="1", time="2", channels=("x",), optional=frozenset("12x"))
    assert [[*each.values[:, 0]] for each in read("id,t,x\na,2,1\nb,1,2\na,1,3\n", columns)] == [[3, 1], [2]]
    (series,) = read("x,n\n2,5\n1,4\n", columns)
    assert [*series.values[:, 0]] == [1, 2]  # column 2 is still the time
    (series,) = read("x\n2\n1\n", columns)
    assert [*series.values[:, 0]] == [2, 1]


@pytest.mark.parametrize(
    ("content", "columns", "words"),
    [
        ("", {}, "f.csv has no values; leave the file out"),
        ("x,y\n", {}, "f.csv has no values"),
        ("x,y\n1,2\n3,x\n", {}, "f.csv, line 3, column y: 'x' is not a number; correct it, write"),
        ("x,y\n1,2\n3,x\n", {}, "; correct it, write categories as numbers, or leave the column out by skip_columns"),
        (
            "x,y\n1,2\n3,x\n",
            {"timed": True},
            "as numbers, or name the column of the series by id, the one to forecast by target",
        ),
        ("x,\n1,\n", {}, "f.csv has no value in channel 2"),  # a separator at the end
        ("x,y\n1,yes\n3,maybe\n", {}, "f.csv, line 3, column y: 'maybe' is not a number"),
        ("x,y\n\n1,inf\n", {}, "f.csv, line 3, column y: 'inf' is not a number"),
        ("x,y\n1,1_0\n", {}, "f.csv, line 2, column y: '1_0' is not a number"),
        ("x;y\n5,000;2\n", {}, "f.csv, column x: '5,000' may be 5 or 5000; give decimal , or decimal ."),
        (
            "x;y\n1,5;2.5\n",
            {},
            "f.csv, line 2, column x: '1,5' has , before the decimals, but '2.5' (line 2, column y) has .; write all",
        ),
        (
            "x;y\n1.5;2\n",
            COMMA,
            "f.csv, line 2, column x: '1.5' has . before the decimals, but the numbers are read wi",
        ),
        (
            "x;y\n1.5;1,000\n",
            COMMA,
            "column x: '1.5' has . before the decimals, but '1,000' (line 2, column y) has ,; write all numbers",
        ),
        (
            "date,v\n2024-01-01,5\n",
            COMMA,
            "f.csv, line 2: commas separate the cells, so they can't begin decimals; give",
        ),
        ("year,month,v\n2024,1,1\n2024,2,1\n2024,13,1\n", {"timed": True}, "line 4, column month: '13' is not a month"),
        ("x;y\n1,5;2\n", {"decimal": "."}, "but the numbers are read with .; correct it, or give decimal ,"),
        ("x;y\n1,00.5;2\n", {}, "f.csv, line 2, column x: '1,00.5' is not a number; correct it, write categories as"),
        ("x,y,x\n1,2,3\n", {}, "f.csv has two channels 'x'; rename or remove one"),
        ("a,,\n1,2,3\n", {}, "f.csv has two channels ''"),
        ("sep=;\nx;y\n1;a\n", {}, "f.csv, line 3, column y: 'a' is not a number"),
        *(
            (
                "x;ü\n1;2\n".encode(name),
                {},
                "f.csv is UTF-16 without a byte order mark, or no text; save it as UTF-8, or give encodi",
            )
            for name in ("utf-16-le", "utf-16-be", "utf-32")
        ),
        (b"1\0\n", {}, "f.csv is UTF-16 without a byte order mark, or no text"),
        (codecs.BOM_UTF16_LE + b"1\0\n", {}, "f.csv is not UTF-16; save it as UTF-8, or give encoding"),  # cut off
        ("1,x\n2,3\n", {}, "f.csv, line 1, column 2: 'x' is not a number"),  # no header: it holds a number
        ("x,\x1b[2J\n1,z\n", {}, "f.csv, line 2, column �[2J: 'z' is not a number"),
        ("x,y\n1,2\n1\n", {}, "f.csv, line 3 has 1 values, but the rows before have 2"),
        (",x,y\n0,,1\n", {}, "f.csv has no value in channel x"),
        ("1,nan\n", {}, "f.csv has no value in channel 2"),
        (
            "date;v;promo\n2024-05-01;1;\n2024-05-02;2;\n",
            {"timed": True, "channels": ("v", "promo")},
            "f.csv has no value in column promo; write its values, such as 0 for no, or name only other columns by tar",
        ),
        (
            "date;v;promo\n2024-05-01;;1\n2024-05-02;;0\n",
            {"timed": True, "channels": ("v", "promo")},
            "f.csv has no value in column v, which is to be forecast; leave the series out, or name another column by",
        ),
        ("x\n1\n", {"sheet": "May"}, "f.csv has no sheets, unlike .xlsx files; leave out sheet"),
        ("?,1\n?,2\n", {}, "f.csv has no value in channel 1"),
        (b"1\n\x80\x04\0\xff", {}, "f.csv is UTF-16 without a byte order mark, or no text"),
        (b"1\n\x80\x04\xff", {}, "f.csv, line 2, column 1: '"),
        ("2024-01-01\n2024-01-02\n", {}, "f.csv has no column left for values: all are the index, or named by opt"),
        ("x\n1\n", {"skip": ("x",)}, "f.csv has no column left for values"),
        (
            "x,y\n1,2\n",
            {"channels": ("x", "z")},
            "f.csv has no column z; give a name, or a number from 1",
        ),
        ("3/4/2024,1\n5/6/2024,2\n", {"timed": True}, "f.csv, line 1: '3/4/2024' may be 2024-03-04 or 2024-04-03"),
        ("when,v\n2024_05_31,1\n", {"timed": True}, "f.csv, line 2: '2024_05_31' is not a time like the others"),
        ("x,y\n1,2\n", {"skip": ("z",)}, "f.csv has no column z; give a name, or a number from 1 to 2: it has"),
        ("1,2\n", {"skip": ("3",)}, "f.csv has no column 3; give a name, or a number from 1 to 2: it has no names"),
        ("x\n1\n", {"skip": ("z",)}, "give a name, or a number from 1 to 1: it has x"),
        ("x,x\n1,2\n", {"skip": ("x",)}, "f.csv has two columns x; give a name, or a number from 1 to 2"),
        ("i,x\n1,2\n,3\n", {"id": "i"}, "f.csv, line 3 has no value in column i, which id names"),
        (
            LONG,
            {"id": "t", "label": "kind", "skip": ("sensor",)},
            "f.csv, t 2 has the labels run and walk",
        ),
        (LONG, {"time": "t", "skip": ("sensor", "kind")}, "f.csv, line 4: the time 1 is also in line 3"),
        (
            "when,v\n2024-10-27 01:00,1\n2024-10-27 02:00,2\n2024-10-27 02:00,3\n",
            {"timed": True},
            "also in line 3; correct or remove one of both, or give id; "
            "if the clock changed there, give times with their offset, as in 2024-03-31 03:00+02:00, or --timezone",
        ),
        # the column that `time` names is absent: another one was looked for
        ("index,v\n2,1\n1,2\n", {"timed": True, "time": "t", "optional": frozenset("t")}, "the time 1 is before that"),
        # the first rows of a file whose rows were turned round are the last ones of its index
        (
            ",v\n2,1\n1,2\n0,3\n",
            {"timed": True},
            "f.csv, line 3: the time 1 is before that in line 2",
        ),
        (
            "date,v\n1. Quartal,1\n",
            {"timed": True, "channels": ("v",)},
            "f.csv, line 2: '1. Quartal' is not a time like",
        ),
        (
            "t,v\nJan 2021,1\nTammi 2021,1\n",
            {"timed": True, "channels": ("v",)},
            "f.csv, line 3: 'Tammi 2021' is not a time",
        ),
        ("v,when\n1,2024-01-01\n", {}, "column when: '2024-01-01' is not a number"),
        ("t,x\n2024-01-01,2\n,3\n", {"time": "t"}, "f.csv, line 3: '' is not a time like the others"),
        # a title in two cells, a comment that begins as a time does, and no header
        ("Sales;2024\nday;v\n1;2\n", {}, "f.csv, line 1, column 1: 'Sales' is not a number"),
        ("day;v\n2024-05-01;1\n2024-05", {}, "f.csv, line 3 has 1 values, but the rows before have 2; correct"),
        ("Sales\n2024-05-01;1,5\n", {}, "f.csv has no column left for values: all are the index, or"),
        (
            "a;b\nSales\n1;2\n",
            {},
            "f.csv, line 2 has 1 values, but the rows before have 2; correct the row, or skip",
        ),
        ("a;b\nd;v;w\n1;2;3\n4;5;6\n", {}, "f.csv, line 2 has 3 values, but the rows before have 2; correct the row"),
        ("x" * 200_000, {}, "f.csv, line 1: field larger than field limit (131072); is this a table"),
    ],
)
def test_bad_files_get_one_line(content: str | bytes, columns: dict[str, Any], words: str) -> None:
    with one_line(DataError, words):
        read(content, Columns(**columns))


def quarter_hours(count: int) -> list[datetime]:
    """What a clock in Berlin shows each quarter of an hour, across the end of summer time in 2024."""
    berlin = zone()
    first = datetime(2024, 10, 26, 22, tzinfo=UTC)  # midnight
    return [(first + i * timedelta(minutes=15)).astimezone(berlin).replace(tzinfo=None) for i in range(count)]


def zone() -> ZoneInfo:
    try:
        return ZoneInfo("Europe/Berlin")
    except ZoneInfoNotFoundError:
        pytest.skip("this machine has no time zones")


@pytest.mark.parametrize("order", [1, -1])
def test_the_hour_that_occurs_twice_in_a_time_zone(order: int) -> None:
    clocks = quarter_hours(16)
    assert len({*clocks}) == 12  # one hour occurs twice
    rows = [f"{time:%d.%m.%Y %H:%M}\t{meter}\t{i}" for i, time in enumerate(clocks) for meter in "ab"][::order]
    content = "\n".join(["Energie der Z\u00e4hler", "", "Zeit\tmeter\tkWh", *rows]).encode("utf-16")
    columns = replace(TIMED, id="meter", timezone="Europe/Berlin")
    for series in read(content, columns):
        assert series.times is not None
        found = [time.astimezone(UTC) for time in series.times if isinstance(time, datetime)]
        assert {b - a for a, b in itertools.pairwise(found)} == {timedelta(minutes=15)}
        assert found[0] == datetime(2024, 10, 26, 22, tzinfo=UTC)
        assert series.values[:, 0].tolist() == [*range(16)]
    with one_line(DataError, "the time 2024-10-27 02:00:00 is also in line", "or --timezone for a file"):
        read(content, replace(columns, timezone=""))


def test_a_time_zone_does_not_change_days_and_times_with_offsets() -> None:
    zone()
    berlin = replace(TIMED, timezone="Europe/Berlin")
    (series,) = read("day,v\n2024-10-26,1\n2024-10-27,2\n2024-10-28,3\n", berlin)
    assert series.times == tuple(datetime(2024, 10, day) for day in (26, 27, 28))
    content = "time,v\n2024-10-27 01:00+02:00,1\n2024-10-27 02:00+02:00,2\n2024-10-27 02:00+01:00,3\n"
    assert read(content, berlin)[0].times == read(content, TIMED)[0].times
    (series,) = read("t,v\n1,1\n2,2\n", replace(berlin, time="t"))
    assert series.times == (1, 2)


BAD_LINES = (
    "id;day;v\na;2024-05-01;1\na;2024-05-02;x\n;2024-05-03;3\na;31.02.2024;4\na;2024-05-05;5\na;6\na;2024-05-07;7\n"
)
FAULTS = [
    "line 3, column v: 'x' is not a number",
    "line 4 has no value in column id, which id names",
    "line 5: '31.02.2024' is not a time like the others, which are numbers, or dates in one form",
    "line 7 has 2 values, but the rows before have 3",
]


def test_all_bad_lines_are_in_one_error() -> None:
    columns = replace(TIMED, id="id")
    with one_line(DataError, f"f.csv has 4 bad lines: {'; '.join(FAULTS)}; correct them, or give skip_bad_lines"):
        read(BAD_LINES, columns)
    rows = [f"{i};{'x' if i % 3 == 0 else i}" for i in range(150)]
    with one_line(
        DataError, "f.csv has 50 bad lines: line 2, column v: 'x' is not a n", "; line 59, col", "; and 30 more;"
    ):
        read("\n".join(["k;v", *rows]))
    with one_line(DataError, "f.csv, line 2, column v: 'x' is not a number; correct it, write categories as numbers"):
        read("k;v\n1;x\n2;y\n3;3\n", Columns(skip_bad_lines=True))  # most cells: a column of text


def test_bad_lines_are_skipped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    (series,) = read(BAD_LINES, replace(TIMED, id="id", skip_bad_lines=True))
    # Steps stay equal: the bad number is a missing value. The line without a third cell has no time.
    np.testing.assert_array_equal(series.values, [[1], [n], [5], [7]])
    assert series.times == tuple(datetime(2024, 5, day) for day in (1, 2, 5, 7))
    assert caplog.messages == [
        f"f.csv: 4 bad lines are skipped, the first: {FAULTS[0]}; if this is wrong, leave out --skip-bad-lines"
    ]
    caplog.clear()
    (series,) = read("x;y\n1;2\n3;a\n5;6\n", Columns(skip_bad_lines=True))  # without times
    np.testing.assert_array_equal(series.values, [[1, 2], [5, 6]])
    assert caplog.messages[0].startswith(
        "f.csv: 1 bad line is skipped, the first: line 3, column y: 'a' is not a number; "
    )
    (series,) = read("year;month;v\n2024;1;1\n2024;13;2\n2024;3;3\n", replace(TIMED, skip_bad_lines=True))
    assert series.times == (datetime(2024, 1, 1), datetime(2024, 3, 1))


def test_lines_with_too_many_or_few_cells_are_missing_values_if_their_times_can_be_read() -> None:
    lines = ["day;id;v", "2024-05-01;a;1", "2024-05-02;a", "2024-05-03;a;3;x", "2024-05-04;a;4", "2024-05-05"]
    lines += ["2024-05-01;b;5", "2024-05-02;c", "2024-05-02;b;6", "2024-05-02;b", "31.02.2024;b", "2024-05-03;b;7"]
    a, b = read("\n".join(lines), replace(TIMED, id="id", skip_bad_lines=True))
    np.testing.assert_array_equal(a.values, [[1], [n], [n], [4]])
    np.testing.assert_array_equal(b.values, [[5], [6], [7]])  # no row with the time of another, and no series c
    assert a.times == tuple(datetime(2024, 5, day) for day in (1, 2, 3, 4))
    (series,) = read("year;month;v\n2024;1;1\n2024;2\n2024;13\n2024;3;3\n", replace(TIMED, skip_bad_lines=True))
    np.testing.assert_array_equal(series.values, [[1], [n], [3]])
    (series,) = read("v;day\n1;2024-05-01\n2024-05-02\n3;2024-05-03\n", replace(TIMED, skip_bad_lines=True))
    assert series.values.tolist() == [[1], [3]]  # the time is not in its column


def test_files_without_named_columns_get_one_line() -> None:
    Path("f.ts").write_text("@classLabel true\n@data\n1:a\n")
    np.save("f.npy", np.ones((2, 1)))
    for name in ("f.ts", "f.npy"):
        for columns in (Columns(id="x"), Columns(channels=("1",))):
            with one_line(DataError, f"{name} has "):
                read_path(Path(name), columns)
