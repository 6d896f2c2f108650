"""Errors of forecasts of daily sales of three shops, which are closed on Sundays and holidays.

python -m benchmarks.closed_days            the errors of five made sets
python -m benchmarks.closed_days --file F   writes the first set as a table in German: Datum;Filiale;Umsatz;Aktion
"""

from __future__ import annotations

import argparse
import importlib
import warnings
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from xrnn.series import Forecaster
from xrnn.typing import HostArray

HORIZON: Final = 24  # four weeks
WINDOWS: Final = 4
_SETS: Final = 5
_LEVELS: Final = {"Köln": 6000.0, "Bonn": 3500.0, "Düren": 1800.0}
_WEEK: Final = np.array([0.85, 0.8, 0.9, 1.0, 1.2, 1.45])  # from Monday to Saturday
_EASTER: Final = {2022: (4, 17), 2023: (4, 9), 2024: (3, 31)}
_AFTER_EASTER: Final = (-2, 1, 39, 50)  # days with holidays
_HOLIDAYS: Final = ((1, 1), (5, 1), (10, 3), (12, 25), (12, 26))
_FIRST: Final = datetime(2022, 1, 3)
_DAYS: Final = 909  # to the end of June 2024


class Shop(NamedTuple):
    """The sales (T,) of a shop on its open days, and 1 on days with a promotion."""

    name: str
    days: list[datetime]
    sold: HostArray
    promotion: HostArray


def holidays() -> set[datetime]:
    found = {datetime(year, *day) for year in _EASTER for day in _HOLIDAYS}
    return found | {datetime(year, *day) + timedelta(n) for year, day in _EASTER.items() for n in _AFTER_EASTER}


def shops(seed: int) -> list[Shop]:
    rng = np.random.default_rng(seed)
    closed = holidays()
    days = [day for i in range(_DAYS) if (day := _FIRST + timedelta(i)).weekday() < 6 and day not in closed]
    weekday = np.array([day.weekday() for day in days])
    of_year = 2 * np.pi * np.array([day.timetuple().tm_yday for day in days]) / 365.25
    made = []
    for name, level in _LEVELS.items():
        week = np.log(_WEEK * rng.uniform(0.9, 1.1, 6))
        promotion = np.zeros(len(days))
        for start in rng.choice(len(days) - 3, len(days) // 30, replace=False):
            promotion[start : start + 3] = 1
        slow = np.zeros(len(days))
        for t in range(1, len(days)):
            slow[t] = 0.8 * slow[t - 1] + 0.04 * rng.standard_normal()
        noise = 0.06 * rng.standard_normal(len(days))
        logs = np.log(level) + week[weekday] + 0.1 * np.sin(of_year - 1.7) + 0.25 * promotion + slow + noise
        made.append(Shop(name, days, np.exp(logs).round(2), promotion))
    return made


def write(made: Sequence[Shop], path: Path) -> None:
    """A table as a German spreadsheet writes it, in cp1252, with thousands such as 6.451,22."""
    lines = ["Datum;Filiale;Umsatz;Aktion"]
    for shop in made:
        for day, sold, promotion in zip(shop.days, shop.sold, shop.promotion, strict=True):
            text = "" if np.isnan(sold) else f"{sold:,.2f}".translate(str.maketrans(",.", ".,"))
            lines.append(f"{day:%d.%m.%Y};{shop.name};{text};{'x' if promotion else ''}")
    path.write_text("\n".join([*lines, ""]), encoding="cp1252")


def errors(made: Sequence[Shop], *, with_known: bool, with_days: bool) -> HostArray:
    """The mean absolute error of each shop, as a share of its mean sales: of a forecaster, and of the naive forecast.

    Each model is trained on the rows before one of four cutoffs, 24 open days apart. The naive forecast of a day is the
    last value of its weekday.
    """
    pandas: Any = importlib.import_module("pandas")

    parts = [
        pandas.DataFrame(
            {
                "id": shop.name,
                "day": shop.days if with_days else range(len(shop.days)),
                "sold": shop.sold,
                "promotion": shop.promotion,
            }
        )
        for shop in made
    ]
    forecaster = Forecaster(
        horizon=HORIZON,
        season=0 if with_days else 6,
        id="id",
        time="day",
        target="sold",
        known="promotion" if with_known else "",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = forecaster.cross_validation(pandas.concat(parts), windows=WINDOWS)
    shares = []
    for shop in made:
        rows = table[table.series == shop.name]
        values = np.array(rows.value)
        ends = np.repeat(len(shop.days) - HORIZON * np.arange(WINDOWS, 0, -1), HORIZON)
        steps = zip(ends.tolist(), rows.step, strict=True)
        naive = [_last_of_weekday(shop, end, end + step - 1) for end, step in steps]
        of_methods = [np.abs(np.array(forecast) - values).mean() for forecast in (rows["0.5"], naive)]
        shares.append(np.array(of_methods) / values.mean())
    return np.array(shares)


def _last_of_weekday(shop: Shop, end: int, row: int) -> float:
    """The last value before the row `end` of the weekday of another row."""
    weekday = shop.days[row].weekday()
    return float(next(shop.sold[i] for i in reversed(range(end)) if shop.days[i].weekday() == weekday))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, help="write the first set, and measure nothing")
    arguments = parser.parse_args()
    if arguments.file:
        write(shops(0), arguments.file)
        return
    print("mean error of each shop, in percent of its sales\n")
    print("set  forecast            with promotion      without days        last of the weekday")
    for seed in range(_SETS):
        made = shops(seed)
        plain = errors(made, with_known=False, with_days=True)
        known = errors(made, with_known=True, with_days=True)
        without = errors(made, with_known=False, with_days=False)
        columns = (plain[:, 0], known[:, 0], without[:, 0], plain[:, 1])
        texts = ["  ".join(f"{100 * share:4.1f}" for share in column) for column in columns]
        print(f"{seed:3}  " + "".join(f"{text:20}" for text in texts).rstrip(), flush=True)


if __name__ == "__main__":
    main()
