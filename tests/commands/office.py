"""Files as an office keeps them, with German conventions: the tables of the tests of a month end."""

from __future__ import annotations

import importlib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

SHOPS: Final = ("Köln", "Düsseldorf", "Münster")
LEVELS: Final = (6000, 4500, 3000)  # of their sales on Mondays
HOLIDAYS: Final = {  # of Nordrhein-Westfalen, without Sundays
    date(2023, 10, 3), date(2023, 11, 1), date(2023, 12, 25), date(2023, 12, 26), date(2024, 1, 1), date(2024, 3, 29),
    date(2024, 4, 1), date(2024, 5, 1), date(2024, 5, 9), date(2024, 5, 20), date(2024, 5, 30), date(2024, 10, 3),
}  # fmt: skip
PROMOTION: Final = 1500.0  # what a promotion adds to the sales of a day, on average over the shops
MONTHS: Final = ("Jan", "Feb", "Mrz", "Apr", "Mai", "Jun", "Jul", "Aug", "Sep", "Okt", "Nov", "Dez")
FIRST: Final = date(2023, 9, 4)
LAST: Final = date(2024, 5, 31)  # with sales
PLANNED: Final = date(2024, 6, 29)  # the last promotion that is known


def number(value: float) -> str:
    """ "6.451,22"."""
    return f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


def sales(last: date = LAST) -> list[tuple[date, str, float | None, str]]:
    """Each day from Monday to Saturday but holidays: sales of three shops, and a promotion with x; then the plan."""
    rng = np.random.default_rng(0)
    rows = []
    weeks = np.random.default_rng(1).random(60) < 0.25
    for i in range((PLANNED - FIRST).days + 1):
        day = FIRST + timedelta(days=i)
        if day.weekday() == 6 or day in HOLIDAYS:
            continue
        promotion = bool(weeks[i // 7]) and day.weekday() in (3, 4, 5)
        for k, shop in enumerate(SHOPS):
            level = LEVELS[k]
            value = level * (1 + 0.1 * day.weekday()) * (1 + 0.05 * rng.standard_normal())
            value += promotion * PROMOTION * level / LEVELS[1]
            rows.append((day, shop, value if day <= last else None, "x" if promotion else ""))
    return rows


def write_sales(path: Path) -> None:
    """`Datum;Filiale;Umsatz;Aktion` in cp1252, with thousands."""
    lines = [
        f"{day:%d.%m.%Y};{shop};{'' if value is None else number(value)};{promotion}"
        for day, shop, value, promotion in sales()
    ]
    path.write_text("\r\n".join(["Datum;Filiale;Umsatz;Aktion", *lines, ""]), "cp1252", newline="")


def write_workbook(path: Path, last: date = LAST) -> None:
    """The same with a cover sheet, and a title above the table."""
    book: Any = importlib.import_module("openpyxl").Workbook()
    cover = book.active
    cover.title = "Deckblatt"
    cover.append(["Umsatz der Filialen"])
    cover.append(["Stand", datetime(2024, 6, 3)])
    sheet = book.create_sheet("Umsatz")
    sheet.append(["Umsatz je Tag und Filiale"])
    sheet.append(["Datum", "Filiale", "Umsatz", "Aktion"])
    for day, shop, value, promotion in sales(last):
        sheet.append([datetime.combine(day, datetime.min.time()), shop, value, promotion or None])
    book.save(path)


def _months(count: int) -> list[tuple[int, int, float]]:
    rng = np.random.default_rng(2)
    t = np.arange(count)
    values = 1000 + 8 * t + 200 * np.sin(2 * np.pi * t / 12) + 30 * rng.standard_normal(count)
    return [(2019 + i // 12, i % 12 + 1, float(value)) for i, value in enumerate(values)]


def write_months(path: Path) -> None:
    """`Jahr;Monat;Umsatz`, the months in digits."""
    path.write_text("\n".join(["Jahr;Monat;Umsatz", *(f"{y};{m};{number(v)}" for y, m, v in _months(64)), ""]))


def write_named_months(path: Path) -> None:
    """`Monat;Umsatz` with "Mrz 24"."""
    rows = [f"{MONTHS[m - 1]} {y % 100};{number(v)}" for y, m, v in _months(64)]
    path.write_text("\n".join(["Monat;Umsatz", *rows, ""]))


def write_meter(path: Path) -> None:
    """Quarter hours across the end of summer time, as Excel's "Unicode text", with a title above."""
    rng = np.random.default_rng(3)
    start = datetime(2024, 10, 22, 22, tzinfo=UTC)
    lines = ["Lastgang Werk 2", "Zeitpunkt\tkWh"]
    for i in range(4 * 24 * 7):
        time = (start + timedelta(minutes=15 * i)).astimezone(ZoneInfo("Europe/Berlin"))
        value = 40 + 25 * (7 <= time.hour < 19) * (time.weekday() < 5) + 2 * rng.standard_normal()
        lines.append(f"{time:%d.%m.%Y %H:%M}\t{number(value)}")
    path.write_text("\r\n".join([*lines, ""]), "utf-16", newline="")


def write_products(path: Path, count: int) -> None:
    """`Woche;Artikel;Menge` of some products for a year and a half; one of fifty is new."""
    rng = np.random.default_rng(4)
    lines = ["Woche;Artikel;Menge"]
    for k in range(count):
        level = rng.uniform(20, 200)
        weeks = 6 if k % 50 == 7 else 78
        for i in range(78 - weeks, 78):
            value = max(round(level * (1 + 0.3 * np.sin(i / 8)) * (1 + 0.2 * rng.standard_normal())), 0)
            lines.append(f"{date(2023, 1, 2) + timedelta(weeks=i):%d.%m.%Y};A{k:03};{value}")
    path.write_text("\n".join([*lines, ""]))
