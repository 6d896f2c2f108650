"""`--table`: forecasts and scores in files that spreadsheets open."""

from __future__ import annotations

import csv
import importlib
import io
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pytest

from tests.commands.runs import CLASSIFY, Capture, Patch, failed
from tests.series.waves import waves, write_ts
from xrnn.commands.main import main

pytestmark = pytest.mark.usefixtures("blank_pictures", "workdir")
OPTIONS = ["--horizon", "3", "--id", "Filiale", "--overwrite"]
SHOPS = ["Köln", "=1+1", "kurz"]


def write_sales(path: str, decimal: str) -> None:
    """Daily sales of two shops, and of one that is too short to be scored."""
    rng = np.random.default_rng(0)
    separator = ";" if decimal == "," else ","
    rows = [["Datum", "Filiale", "Umsatz"]]
    for shop in SHOPS:
        for i in range(3 if shop == "kurz" else 60):
            sales = f"{1000 + 100 * (i % 7) + 10 * rng.random():.2f}".replace(".", decimal)
            rows.append([f"{datetime(2024, 1, 1) + timedelta(days=i):%d.%m.%Y}", shop, sales])
    Path(path).write_text("\n".join(map(separator.join, rows)) + "\n", encoding="utf-8")


def rows_of(path: str, separator: str) -> list[dict[str, str]]:
    return [*csv.DictReader(io.StringIO(Path(path).read_text("utf-8-sig"), newline=""), delimiter=separator)]


def printed(capsys: Capture, *words: str) -> list[dict[str, str]]:
    capsys.readouterr()
    assert main(["predict", "forecaster.safetensors", *words]) == 0
    return [*csv.DictReader(io.StringIO(capsys.readouterr().out))]


@pytest.mark.parametrize(("decimal", "separator"), [(",", ";"), (".", ",")])
def test_a_csv_file_has_the_decimals_of_the_input_and_a_byte_order_mark(
    decimal: str, separator: str, capsys: Capture
) -> None:
    write_sales("f.csv", decimal)
    assert main(["forecast", "f.csv", *OPTIONS, "--table", "may.csv"]) == 0
    assert "\ntable: may.csv, may-scores.csv\n" in capsys.readouterr().out
    assert Path("may.csv").read_bytes().startswith(b"\xef\xbb\xbfname" + separator.encode())
    rows = rows_of("may.csv", separator)
    assert [row["id"] for row in rows] == [shop for shop in SHOPS for _ in range(3)]
    expected = printed(capsys, "f.csv")
    assert [{**row, **{q: row[q].replace(decimal, ".") for q in ("0.1", "0.5", "0.9")}} for row in rows] == [
        {**row, **{q: f"{float(row[q]):.10g}" for q in ("0.1", "0.5", "0.9")}} for row in expected
    ]
    scores = rows_of("may-scores.csv", separator)
    assert {row["id"] for row in scores[:2]} == {*SHOPS[:2]}
    errors = [float(row["MASE model"].replace(decimal, ".")) for row in scores[:2]]
    assert errors == sorted(errors, reverse=True)
    assert (scores[2]["id"], scores[2]["note"]) == ("kurz", "not scored: too few rows")
    assert (
        0 < float(scores[0]["MASE model"].replace(decimal, ".")) < float(scores[0]["MASE naive"].replace(decimal, "."))
    )
    assert {scores[2][name] for name in ("MASE model", "sMAPE", "coverage", "pinball loss")} == {""}
    assert main(["predict", "forecaster.safetensors", "f.csv", "--table", "next.csv"]) == 0
    assert capsys.readouterr().out == "table: next.csv\n"
    assert rows_of("next.csv", separator) == rows


def test_files_without_decimals_get_those_of_the_training(capsys: Capture) -> None:
    write_sales("f.csv", ",")
    assert main(["forecast", "f.csv", *OPTIONS]) == 0
    Path("whole.csv").write_text("Datum;Filiale;Umsatz\n01.01.2024;a;5\n02.01.2024;a;6\n")
    assert main(["predict", "forecaster.safetensors", "whole.csv", "--table", "next.csv"]) == 0
    assert len(rows_of("next.csv", ";")) == 3
    assert "," in rows_of("next.csv", ";")[0]["0.9"]


@pytest.mark.parametrize(("separator", "decimal"), [(";", ","), (",", "."), ("\t", ".")])
def test_whole_numbers_between_semicolons_get_decimal_commas(separator: str, decimal: str) -> None:
    rows = [f"{datetime(2024, 1, 1) + timedelta(days=i):%Y-%m-%d}{separator}{i % 7 + i % 5}" for i in range(60)]
    Path("f.csv").write_text("\n".join([f"day{separator}sold", *rows, ""]))
    assert main(["forecast", "f.csv", "--horizon", "3", "--table", "next.csv"]) == 0
    assert decimal in rows_of("next.csv", ";" if decimal == "," else ",")[0]["0.9"]


@pytest.mark.needs("openpyxl", "series")
def test_a_sheet_has_numbers_and_dates(capsys: Capture) -> None:
    write_sales("f.csv", ",")
    assert main(["forecast", "f.csv", *OPTIONS, "--table", "may.xlsx"]) == 0
    book: Any = importlib.import_module("openpyxl").load_workbook("may.xlsx")
    assert book.sheetnames == ["forecasts", "scores"]
    header, first, *others = book["forecasts"].iter_rows()
    assert [cell.value for cell in header] == ["name", "id", "step", "time", "0.1", "0.5", "0.9"]
    expected = printed(capsys, "f.csv")
    values = [cell.value for cell in first]
    assert values[:4] == ["f.csv, Filiale Köln", "Köln", 1, datetime(2024, 3, 1)]
    assert first[3].number_format == "yyyy-mm-dd"
    assert [f"{value:.10g}" for value in values[4:]] == [expected[0][q] for q in ("0.1", "0.5", "0.9")]
    name = others[2][1]
    assert (name.value, name.data_type) == ("=1+1", "s")  # text, not a formula
    scores = [[cell.value for cell in row] for row in book["scores"].iter_rows()]
    assert scores[0][:3] == ["name", "id", "MASE model"]
    assert scores[3][1:3] == ["kurz", None]


@pytest.mark.needs("openpyxl", "series")
@pytest.mark.parametrize("count", [97, 24 * 214 + 1])
def test_a_sheet_has_the_times_of_the_clock_unless_it_shows_two_alike(count: int) -> None:
    if "Europe/Berlin" not in available_timezones():
        pytest.skip("this machine has no time zones")
    start = datetime(2024, 3, 26, 23, tzinfo=UTC)
    clock = [(start + timedelta(hours=i)).astimezone(ZoneInfo("Europe/Berlin")) for i in range(count)][-96:]
    rows = [f"{time.replace(tzinfo=None)};{time.hour + i % 5}" for i, time in enumerate(clock)]
    Path("f.csv").write_text("\n".join(["date;v", *rows]) + "\n")
    options = ["--horizon", "3", "--timezone", "Europe/Berlin", "--table", "f.xlsx"]
    assert main(["forecast", "f.csv", *options]) == 0
    book: Any = importlib.import_module("openpyxl").load_workbook("f.xlsx")
    times = [row[3].value for row in [*book["forecasts"].iter_rows()][1:]]
    if count == 97:  # the clock goes forward
        assert times == [datetime(2024, 3, 31, hour) for hour in (1, 3, 4)]
    else:
        assert times == [f"2024-10-27 {each}" for each in ("02:00:00+02:00", "02:00:00+01:00", "03:00:00+01:00")]


@pytest.mark.needs("pyarrow", "test")
def test_a_parquet_file_has_types() -> None:
    rows = [f"{datetime(2024, 1, 1) + timedelta(hours=i)},{i % 24 + i % 5}" for i in range(96)]
    Path("f.csv").write_text("\n".join(["date,v", *rows]) + "\n")
    assert main(["forecast", "f.csv", "--horizon", "3", "--table", "f.parquet"]) == 0
    frame: Any = importlib.import_module("pandas").read_parquet("f.parquet")
    assert [*frame.time] == [datetime(2024, 1, 5, hour) for hour in range(3)]
    assert frame["0.5"].dtype == float
    assert Path("f-scores.parquet").exists()


def test_labels_are_written_too(folder: Path, capsys: Capture) -> None:
    assert CLASSIFY("--out", "c") == 0
    write_ts(Path("new.ts"), waves(4, 2))
    capsys.readouterr()
    assert main(["predict", "c", "new.ts"]) == 0
    expected = [*csv.DictReader(io.StringIO(capsys.readouterr().out))]
    assert main(["predict", "c", "new.ts", "--table", "new.csv"]) == 0
    got = rows_of("new.csv", ",")
    assert [{**row, "probability": f"{float(row['probability']):g}"} for row in expected] == got


def test_a_table_that_can_not_be_written_is_refused_at_the_start(capsys: Capture, monkeypatch: Patch) -> None:
    Path("f.csv").write_text("v\n" + "1\n2\n" * 20)
    Path("old.csv").write_text("mine\n")
    Path("new-scores.csv").write_text("mine\n")
    words = ["forecast", "f.csv", "--horizon", "2"]
    for name, message in {
        "f.csv": "f.csv already exists; choose another name, or --overwrite",
        "new.csv": "new-scores.csv already exists; choose another name, or --overwrite",
        "f.txt": "--table is f.txt; the name must end in .csv, .xlsx, .parquet",
        "no/f.csv": "can't write no",
    }.items():
        assert failed(capsys, *words, "--table", name).startswith(message)
    assert failed(capsys, *words, "--overwrite", "--table", "f.csv").startswith("f.csv is among the files to read")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    assert failed(capsys, *words, "--table", "f.xlsx").startswith("f.xlsx needs openpyxl, which is not installed: `pip")
    assert not Path("forecaster.safetensors").exists()
    assert main(words) == 0
    predict = ["predict", "forecaster.safetensors"]
    assert failed(capsys, *predict, "f.csv", "--table", "old.csv").startswith("old.csv already exists; choose another")
    assert "got --table with --stream" in failed(capsys, *predict, "--stream", "--table", "t.csv")
    assert main([*predict, "f.csv", "--table", "old.csv", "--overwrite"]) == 0
    assert len(rows_of("old.csv", ",")) == 2
