"""A month end in an office, from files to files: the tasks of an analyst, with few options."""

from __future__ import annotations

import csv
import importlib
import json
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands import office
from tests.commands.runs import Capture
from xrnn.commands.main import main
from xrnn.series import Forecaster

pytestmark = [pytest.mark.usefixtures("workdir"), pytest.mark.needs("openpyxl", "series")]
SALES = ["--id", "Filiale", "--target", "Umsatz", "--known", "Aktion", "--horizon", "12"]


def table_in(path: str) -> list[dict[str, Any]]:
    """The rows of a CSV file as a German spreadsheet reads it, or of the first sheet of a workbook."""
    if path.endswith(".xlsx"):
        book: Any = importlib.import_module("openpyxl").load_workbook(path)
        header, *rows = book.worksheets[0].iter_rows(values_only=True)
        return [dict(zip(header, row, strict=True)) for row in rows]
    text = Path(path).read_text("utf-8-sig")
    return [*csv.DictReader(text.splitlines(), delimiter=";")]


def run(capsys: Capture, *words: str) -> str:
    """What a command prints, which must succeed."""
    capsys.readouterr()
    assert main([*words]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("write", "name", "options", "times"),
    [
        (office.write_months, "monate.csv", [], ["2024-05-01", "2024-06-01"]),
        (office.write_named_months, "monate.csv", [], ["2024-05-01", "2024-06-01"]),
        (
            office.write_meter,
            "lastgang.txt",
            ["--horizon", "4", "--timezone", "Europe/Berlin"],
            ["2024-10-29 23:00:00+01:00", "2024-10-29 23:15:00+01:00"],
        ),
    ],
    ids=["Jahr and Monat", "short names", "quarter hours"],
)
def test_a_file_is_forecast_and_goes_back_to_a_spreadsheet(
    write: Callable[[Path], None], name: str, options: list[str], times: list[str], capsys: Capture
) -> None:
    """Ahead of the seasonal naive forecast, or equal to it, with a picture and a table with decimal commas."""
    write(Path(name))
    printed = run(capsys, "forecast", name, *options, "--table", "neu.csv")
    assert "picture: forecaster.png" in printed
    rows = table_in("neu.csv")
    assert [row["time"] for row in rows[:2]] == times
    assert "," in rows[0]["0.5"]
    (model,), (naive,) = (
        [line.split()[i] for line in printed.splitlines() if line.startswith(start)]
        for start, i in (("model ", 1), ("seasonal naive ", 2))
    )
    assert float(model) < 1.1 * float(naive)


@pytest.mark.parametrize("name", ["umsatz.csv", "umsatz.xlsx"])
def test_sales_of_shops_with_a_promotion(name: str, capsys: Capture) -> None:
    """Closed days are not forecast; the forecast is better than the naive ones, and follows the planned promotion."""
    (office.write_sales if name == "umsatz.csv" else office.write_workbook)(Path(name))
    got = json.loads(run(capsys, "forecast", name, *SALES, "--json").splitlines()[-1])
    errors = {method: scores["mase"] for method, scores in got["backtest"].items()}
    assert errors["model"] < 0.7 * min(value for method, value in errors.items() if method != "model")
    assert Path("forecaster.png").read_bytes().startswith(b"\x89PNG")
    planned = {(day, shop): x for day, shop, value, x in office.sales() if value is None}
    days = [*dict.fromkeys(day for day, _ in planned)][:12]
    assert [step["time"] for step in got["forecast"]] == [str(day) for day in days] * 3
    medians = np.array([step["value"] for step in got["forecast"]]).reshape(3, 12)
    promoted = np.array([planned[day, office.SHOPS[0]] == "x" for day in days])
    assert 0 < promoted.sum() < 12
    levels = np.array([office.LEVELS]).T * (1 + 0.1 * np.array([day.weekday() for day in days]))
    expected = levels + promoted * office.PROMOTION * np.array([office.LEVELS]).T / office.LEVELS[1]
    np.testing.assert_allclose(medians, expected, rtol=0.06)
    effect = got["effects"][0]
    assert (effect["column"], effect["factor"]) == ("Aktion", True)
    assert effect["effect"] == pytest.approx(1.24, abs=0.03)  # a third of the level, which is 1.4 on these days


def test_a_month_end_from_workbook_to_workbook(capsys: Capture) -> None:
    """The model of the end of April continues the file of May, for a shorter horizon, too."""
    office.write_workbook(Path("mai.xlsx"))
    office.write_workbook(Path("april.xlsx"), last=date(2024, 4, 30))
    run(capsys, "forecast", "april.xlsx", *SALES, "--table", "plan-mai.xlsx")
    assert [row["time"] for row in table_in("plan-mai.xlsx")[:3]] == [datetime(2024, 5, day) for day in (2, 3, 4)]
    run(capsys, "predict", "forecaster.safetensors", "mai.xlsx", "--table", "plan-juni.xlsx")
    rows = table_in("plan-juni.xlsx")
    assert [row["id"] for row in rows] == [shop for shop in office.SHOPS for _ in range(12)]
    assert [row["time"] for row in rows[:3]] == [datetime(2024, 6, day) for day in (1, 3, 4)]
    run(capsys, "predict", "forecaster.safetensors", "mai.xlsx", "--horizon", "2", "--table", "kurz.xlsx")
    assert table_in("kurz.xlsx") == [rows[i] for i in (0, 1, 12, 13, 24, 25)]


def test_bad_products_are_named_worst_first(capsys: Capture) -> None:
    """Of weekly products, some of them new."""
    office.write_products(Path("artikel.csv"), 12)
    printed = run(capsys, "forecast", "artikel.csv", "--id", "Artikel", "--horizon", "4", "--table", "neu.csv")
    scores = table_in("neu-scores.csv")
    errors = [float(row["MASE model"].replace(",", ".")) for row in scores if row["MASE model"]]
    assert errors == sorted(errors, reverse=True)
    assert len(table_in("neu.csv")) == 12 * 4
    worse = [row["id"] for row in scores if row["note"].startswith("worse than")]
    assert f"worse than the best naive forecast: {len(worse)} of {len(errors)} scored series" in printed or not worse
    assert [row["id"] for row in scores if row["note"].startswith("not scored")] == ["A007"]
    assert "not scored: 1 of 12 series (A007): too few rows" in printed


@pytest.mark.proof
def test_200_weekly_products(capsys: Capture) -> None:
    office.write_products(Path("artikel.csv"), 200)
    run(capsys, "forecast", "artikel.csv", "--id", "Artikel", "--horizon", "4", "--table", "neu.xlsx")
    assert len(table_in("neu.xlsx")) == 200 * 4


def test_the_next_month_with_the_saved_model(capsys: Capture) -> None:
    """The file has a month more; then fewer steps, whose medians are those of the longer forecast."""
    office.write_months(Path("monate.csv"))
    lines = Path("monate.csv").read_text().splitlines()
    Path("april.csv").write_text("\n".join([*lines[:-1], ""]))
    run(capsys, "forecast", "april.csv", "--horizon", "6")
    run(capsys, "predict", "forecaster.safetensors", "monate.csv", "--table", "mai.xlsx")
    rows = table_in("mai.xlsx")
    assert [row["time"] for row in rows] == [datetime(2024, month, 1) for month in range(5, 11)]
    run(capsys, "predict", "forecaster.safetensors", "monate.csv", "--horizon", "2", "--table", "kurz.xlsx")
    assert table_in("kurz.xlsx") == rows[:2]


def test_the_same_in_pandas(capsys: Capture) -> None:
    pandas: Any = pytest.importorskip("pandas")
    office.write_months(Path("monate.csv"))
    got = json.loads(run(capsys, "forecast", "monate.csv", "--horizon", "6", "--json").splitlines()[-1])
    frame = pandas.read_csv("monate.csv", sep=";", decimal=",", thousands=".")
    frame.index = pandas.to_datetime({"year": frame.Jahr, "month": frame.Monat, "day": 1})
    forecast = Forecaster(horizon=6).fit(frame.Umsatz).predict()
    np.testing.assert_allclose(forecast, [step["value"] for step in got["forecast"]], rtol=1e-9)
    assert [str(day.date()) for day in forecast.index] == [step["time"] for step in got["forecast"]]
