"""`xrnn forecast`, and `xrnn predict` with its checkpoints."""

from __future__ import annotations

import csv
import io
import json
import math
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import numpy as np
import pytest

from tests.commands.runs import Capture, axes_of, failed, files, growth
from tests.commands.runs import write_rows as write
from tests.errors import one_line
from xrnn.commands.forecast import draw_forecasts, place_of, read_series
from xrnn.commands.main import main
from xrnn.commands.options import ReadingOptions
from xrnn.series import Forecaster
from xrnn.series.errors import DataError, SettingsError
from xrnn.series.forecast.fit import backtest, fit_series
from xrnn.typing import HostArray

OPTIONS = ["--horizon", "3"]
pytestmark = pytest.mark.usefixtures("blank_pictures", "workdir")


def results(capsys: Capture, *arguments: str) -> Any:
    assert main([*arguments, "--json", *["--overwrite"] * (arguments[0] == "forecast")]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def forecasts(capsys: Capture, *arguments: str) -> HostArray:
    """The quantiles of each series that `xrnn predict` prints, (n, 3, Q)."""
    return np.array([row[4:] for row in table(capsys, *arguments)[1:]], float).reshape(-1, 3, 3)


def table(capsys: Capture, *files: str) -> list[list[str]]:
    """The rows that `xrnn predict` prints, with the header."""
    capsys.readouterr()
    assert main(["predict", "forecaster.safetensors", *files]) == 0
    return [*csv.reader(io.StringIO(capsys.readouterr().out))]


def fitted(capsys: Capture, *arguments: str) -> HostArray:
    """The quantiles of each series that `xrnn forecast` prints, (n, 3, Q)."""
    steps = results(capsys, "forecast", *arguments)["forecast"]
    return np.array([[*step["quantiles"].values()] for step in steps]).reshape(-1, 3, 3)


# ---- the command ----


def test_the_scale_of_a_series_is_kept(capsys: Capture) -> None:
    """A window without changes has no scale of its own: it gets a share of the deviation of its series."""
    write("f.csv", growth())
    results(capsys, "forecast", "f.csv", *OPTIONS)
    tail = np.concatenate([growth(), np.full(8, 20.0)])
    for unit in (1, 1e-6):  # the names and the scale of the series of the training don't matter
        write("f.csv", unit * tail)
        (got,) = forecasts(capsys, "f.csv")
        if unit == 1:
            expected = got
            assert 0 < np.abs(got[:, 0] - got[:, 2]).max() < 5  # 0.05 deviations of the series are 0.6
        np.testing.assert_allclose(got, unit * expected, rtol=1e-7)


def test_series_of_one_name_keep_their_scales(capsys: Capture) -> None:
    """Files of one base name, and keys of --id that two files share. The last windows have almost no changes."""
    values = np.concatenate([growth(), 20 + 1e-4 * np.arange(10)])
    for folder, unit in (("a", 1), ("b", 1e6)):
        Path(folder).mkdir()
        write(f"{folder}/d.csv", unit * values)
        Path(folder, "ids.csv").write_text("\n".join(["id,v", *(f"k,{v}" for v in unit * values)]))
    for name, *options in (["d.csv"], ["ids.csv", "--id", "id", "--season", "4"]):
        files = [f"a/{name}", f"b/{name}"]
        trained = fitted(capsys, *files, *OPTIONS, *options)
        assert (trained[0] > 5).all()
        assert (trained[0] < 30).all()
        np.testing.assert_allclose(trained[1], 1e6 * trained[0], rtol=1e-6)
        np.testing.assert_allclose(forecasts(capsys, *files), trained, rtol=1e-9)
        Path("moved").mkdir(exist_ok=True)
        Path(files[1]).rename(Path("moved", name))  # beside a/d.csv, a file with the name of a training file
        (got,) = forecasts(capsys, f"moved/{name}")
        np.testing.assert_allclose(got, trained[1], rtol=1e-9)


def test_known_columns_help(capsys: Capture) -> None:
    """The value depends on a random covariate of the same step, which nothing else tells."""
    known = np.random.default_rng(0).normal(size=123)
    rows = [f"{i},{5 * k if i < 120 else ''},{k},text" for i, k in enumerate(known)]
    Path("f.csv").write_text("\n".join(["t,v,k,note", *rows]))
    named = ["--target", "v", "--known", "k", "--time", "t"]
    got = results(capsys, "forecast", "f.csv", *OPTIONS, *named)
    assert got["backtest"]["model"]["mase"] < 0.3
    assert [each["time"] for each in got["forecast"]] == ["120", "121", "122"]
    loaded = Forecaster.load("forecaster.safetensors")  # from Python, known columns are arrays
    medians = loaded.predict([5 * known[:120]], known=[known[:, None]])
    np.testing.assert_allclose(medians[0], [each["value"] for each in got["forecast"]], rtol=1e-6)
    again = forecasts(capsys, "f.csv")[0, :, 1]
    np.testing.assert_allclose(again, [each["value"] for each in got["forecast"]], rtol=1e-9)
    Path("short.csv").write_text("\n".join(["t,v,k,note", *rows[:121]]))
    line = failed(capsys, "predict", "forecaster.safetensors", "short.csv")
    end = "add rows with its later values, or give a lower --horizon"
    assert line == f"the known column k of short.csv ends at 120, 2 steps short of the forecast; {end}"


def test_a_known_value_ahead_that_no_row_before_resembles_is_named(capsys: Capture) -> None:
    rows = [f"{i},{i % 5 + 9 * (i % 7 == 3) if i < 40 else ''},{i % 7 == 3:d}" for i in range(43)]
    rows[41] = "41,,100"
    Path("f.csv").write_text("\n".join(["t,v,promotion", *rows]))
    line = (
        "f.csv: known column promotion is 100 in 41, and from 0 to 1 in the rows before the forecast; "
        "correct it if it is a typing error\n"
    )
    main(["forecast", "f.csv", *OPTIONS, "--target", "v", "--known", "promotion", "--time", "t"])
    assert line in capsys.readouterr().err
    main(["predict", "forecaster.safetensors", "f.csv"])
    assert line in capsys.readouterr().err


def test_series_without_a_value_in_a_column_are_named_and_the_others_are_forecast(
    capsys: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    """b has no value to forecast, and c no known one. If no series is left, that is an error."""
    rows = {
        shop: [
            f"{shop},{i},{'' if shop == 'b' or i >= 40 else i % 5},{'' if shop == 'c' else i % 3}" for i in range(43)
        ]
        for shop in "abcd"
    }
    options = [*OPTIONS, "--id", "shop", "--time", "t", "--target", "v", "--known", "promotion", "--overwrite"]
    results = []
    for shops in ("abcd", "ad"):
        Path("f.csv").write_text("\n".join(["shop,t,v,promotion", *(row for shop in shops for row in rows[shop])]))
        assert main(["forecast", "f.csv", *options, "--json"]) == 0
        results.append(json.loads(capsys.readouterr().out)["forecast"])
        line = (
            "f.csv: left out 2 of 4 series (b, c): they have no value in the column to forecast or in a known column; "
            "add values to forecast them"
        )
        assert main(["predict", "forecaster.safetensors", "f.csv"]) == 0
        assert caplog.messages == [line] * 2 * (shops == "abcd")
        caplog.clear()
        capsys.readouterr()
    assert results[0] == results[1]
    Path("f.csv").write_text("\n".join(["shop,t,v,promotion", *rows["b"], *rows["c"]]))
    assert "has no value in column v" in failed(capsys, "forecast", "f.csv", *options)


def test_files_without_values_are_named_and_the_others_are_forecast(capsys: Capture) -> None:
    """A file of a folder without rows, without values, or a .ts file with such a line. Alone, it is an error."""
    Path("shops").mkdir()
    write("shops/a.csv", growth(40))
    expected = results(capsys, "forecast", "shops", *OPTIONS)["forecast"]
    Path("shops/b.csv").write_text("v\n?\n?\n")
    Path("shops/c.csv").write_text("")
    assert main(["forecast", "shops", *OPTIONS, "--overwrite", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["forecast"] == expected
    line = (
        "left out 2 of 3 files (shops/b.csv, shops/c.csv): they have no value in the column to forecast or in a known"
    )
    assert line in err
    assert "shops/b.csv has no values" in failed(capsys, "forecast", "shops/b.csv", *OPTIONS, "--overwrite")
    rows = ",".join(map(str, growth(40)))
    Path("f.ts").write_text(f"@classLabel false\n@data\n{rows}\n?,?\n")
    assert main(["forecast", "f.ts", *OPTIONS, "--overwrite"]) == 0


def test_a_known_column_that_never_changes_is_named_in_each_output(capsys: Capture) -> None:
    rows = [
        f"{i},{i % 5 + 9 * (i % 7 == 3) if i < 40 else ''},{i % 7 == 3:d},{9.99 if i < 41 else 12.99}"
        for i in range(43)
    ]
    Path("f.csv").write_text("\n".join(["t,v,promotion,price", *rows]))
    options = [*OPTIONS, "--target", "v", "--known", "promotion,price", "--time", "t"]
    lines = [
        "f.csv: known column price is 12.99 in 41, and 9.99 in all rows before the forecast, so its effect is unknown "
        "(2 such values); correct it if it is a typing error",
        "known columns that never change in the rows before the forecast are not used: price",
    ]
    main(["forecast", "f.csv", *options])
    printed = capsys.readouterr()
    for line in lines:
        assert line in printed.err.splitlines()
        assert line in printed.out.splitlines()
    assert results(capsys, "forecast", "f.csv", *options, "--overwrite")["known"] == lines


def test_the_report_has_the_effect_of_each_known_column(capsys: Capture) -> None:
    """Of a promotion that adds 312 and of a price; in text and JSON, with the step of the times."""
    rng = np.random.default_rng(5)
    rows = []
    for i in range(150):
        promotion = int(rng.random() < 0.2)
        price = round(5 + rng.standard_normal(), 2)
        sold = 2000 + 100 * (i % 7) + 312 * promotion - 40 * price + 10 * rng.standard_normal()
        rows.append(f"{date(2024, 1, 1) + timedelta(days=i)},{f'{sold:.2f}' if i < 147 else ''},{promotion},{price}")
    Path("f.csv").write_text("\n".join(["day,sold,promotion,price", *rows]))
    options = [*OPTIONS, "--target", "sold", "--known", "promotion,price"]
    assert main(["forecast", "f.csv", *options]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("effect of ")]
    promotion, price = results(capsys, "forecast", "f.csv", *options)["effects"]
    assert [each["column"] for each in (promotion, price)] == ["promotion", "price"]
    assert (promotion["name"], promotion["factor"]) == ("f.csv", False)
    assert 306 < promotion["low"] < promotion["effect"] < promotion["high"] < 318
    assert -43 < price["low"] < price["effect"] < price["high"] < -37
    assert lines == [
        f"effect of {what}: {each['effect']:+,.4g} per day (80% interval {each['low']:,.4g} to {each['high']:,.4g})"
        for what, each in (("promotion", promotion), ("1 more in price", price))
    ]


def test_an_empty_cell_of_a_known_column_in_the_steps_ahead_is_refused(capsys: Capture) -> None:
    """Another known column has a value in its row. A cell beyond the horizon, or in the past, may be empty."""
    values = np.array([[math.nan if i > 39 else i % 5, i % 3, i % 7] for i in range(45)])
    values[[10, 43], 2] = math.nan

    def save() -> None:
        cells = (",".join("" if math.isnan(value) else str(value) for value in row) for row in values)
        Path("f.csv").write_text("\n".join(["date,v,k,n", *(f"{day(i)},{row}" for i, row in enumerate(cells))]))

    save()
    named = ["--target", "v", "--known", "k,n"]
    results(capsys, "forecast", "f.csv", *OPTIONS, *named)
    values[41, 2] = math.nan
    save()
    words = "the known column n of f.csv has no value at 2024-02-11; add it, or give a lower --horizon"
    assert words in failed(capsys, "predict", "forecaster.safetensors", "f.csv")
    assert words in failed(capsys, "forecast", "f.csv", "--overwrite", *OPTIONS, *named)


def test_the_lines_about_the_data_and_the_naive_forecasts(capsys: Capture) -> None:
    rows = [f"{day(i)},{shop},{i % 5}" for shop, count in (("K", 39), ("D", 40)) for i in range(count)]
    different = "the series end at different times: K 2024-02-08 to D 2024-02-09\n"
    years = [f"{1980 + i},x,{i % 5}" for i in range(40)]
    for lines, options, words in (
        (["Tag,Filiale,v", *rows[:39]], "", "times: Tag, steps of 1 day; columns: v; unused columns: Filiale\n"),
        (["Saison,Filiale,v", *years], "--season 1", "times: none; columns: v; unused columns: Saison, Filiale\n"),
        (["date,shop,v", *rows], "--id shop", different),
        (
            [*["date,v", *(f"{day(i)},{i % 5}" for i in range(38))], f"{day(38)},", f"{day(39)},1"],
            "",
            "40 rows, 1 missing value, ",
        ),
    ):
        Path("f.csv").write_text("\n".join(lines))
        words_ = ["forecast", "f.csv", *OPTIONS, "--target", "v", "--overwrite", *options.split()]
        assert main(words_) == 0
        out = capsys.readouterr().out
        assert words in out
        assert ("\nnaive  " in out, "seasonal naive" in out) == (True, options != "--season 1")


def test_another_step_than_that_of_the_training_is_refused(capsys: Capture) -> None:
    for name, minutes in (("days", 1440), ("hours", 60)):
        rows = [f"{datetime(2024, 1, 1) + timedelta(minutes=i * minutes)},{i % 5}" for i in range(40)]
        Path(f"{name}.csv").write_text("\n".join(["date,v", *rows]))
    options = [*OPTIONS]
    words = "days.csv has steps of 1 day, but hours.csv has steps of 1 hour; correct"
    assert words in failed(capsys, "forecast", "hours.csv", "days.csv", *options, "--season", "4")
    results(capsys, "forecast", "days.csv", *options)
    words = "hours.csv has steps of 1 hour, but the model was trained on steps of 1 day; correct"
    assert words in failed(capsys, "predict", "forecaster.safetensors", "hours.csv")
    Path("numbers.csv").write_text("\n".join([",v", *(f"{7 * i},{i % 5}" for i in range(40))]))  # without a unit
    forecasts(capsys, "numbers.csv")


def test_hours_across_a_clock_change(capsys: Capture) -> None:
    """Hours of a clock without an offset; `predict` reads them with the time zone of the training."""
    try:
        berlin = ZoneInfo("Europe/Berlin")
    except ZoneInfoNotFoundError:
        pytest.skip("this machine has no time zones")
    first = datetime(2024, 10, 24, 22, tzinfo=UTC)
    hours = [(first + i * timedelta(hours=1)).astimezone(berlin).replace(tzinfo=None) for i in range(96)]
    Path("f.csv").write_text("\n".join(["time,v", *(f"{hour},{hour.hour + i % 3}" for i, hour in enumerate(hours))]))
    assert "or --timezone for a file" in failed(capsys, "forecast", "f.csv", *OPTIONS)
    got = results(capsys, "forecast", "f.csv", *OPTIONS, "--timezone", "Europe/Berlin")
    times = [f"2024-10-{hour}:00:00+01:00" for hour in ("28 23", "29 00", "29 01")]
    assert [step["time"] for step in got["forecast"]] == times
    assert [row[3] for row in table(capsys, "f.csv")[1:]] == times


def test_no_hour_is_forecast_that_the_clock_leaves_out(capsys: Capture) -> None:
    """On 31 March 2024 in Berlin, 3 o'clock follows 1:59. The hours until then have the offset of winter."""
    if "Europe/Berlin" not in available_timezones():
        pytest.skip("this machine has no time zones")
    first = datetime(2024, 3, 27)
    hours = [first + i * timedelta(hours=1) for i in range(96 + 1)]
    Path("f.csv").write_text("\n".join(["time,v", *(f"{hour},{hour.hour + i % 3}" for i, hour in enumerate(hours))]))
    got = results(capsys, "forecast", "f.csv", *OPTIONS, "--timezone", "Europe/Berlin")
    times = [
        f"2024-03-31 {hour}:00:00{offset}" for hour, offset in (("01", "+01:00"), ("03", "+02:00"), ("04", "+02:00"))
    ]
    assert [step["time"] for step in got["forecast"]] == times
    assert [row[3] for row in table(capsys, "f.csv")[1:]] == times


def test_a_wrong_time_zone_gets_similar_ones() -> None:
    if "Europe/Berlin" not in available_timezones():
        pytest.skip("this machine has no time zones")
    for name, similar in (
        ("Berlin", "Europe/Berlin"),
        ("Europe/Berln", "Europe/Berlin"),
        ("new york", "America/New_York"),
    ):
        with one_line(SettingsError, f"which is no time zone; did you mean {similar}"):
            ReadingOptions(timezone=name).columns()
    with one_line(
        SettingsError, "timezone is 'x/../y', which is no time zone; give an area and a city, as in Europe/B"
    ):
        ReadingOptions(timezone="x/../y").columns()


def test_predict_forecasts_fewer_steps(capsys: Capture) -> None:
    rows = [f"{day(i)},{i % 5 if i < 40 else ''},{i % 7 == 3:d}" for i in range(43)]
    Path("f.csv").write_text("\n".join(["date,v,promotion", *rows]))
    results(capsys, "forecast", "f.csv", *OPTIONS, "--target", "v", "--known", "promotion")
    header, *all_rows = table(capsys, "f.csv")
    for steps in (1, 2, 3):
        assert table(capsys, "f.csv", "--horizon", str(steps)) == [header, *all_rows[:steps]]
    Path("f.csv").write_text("\n".join(["date,v,promotion", *rows[:42]]))  # the plan ends one step short
    end = "add rows with its later values, or give a lower --horizon"
    assert (
        failed(capsys, "predict", "forecaster.safetensors", "f.csv")
        == f"the known column promotion of f.csv ends at 2024-02-11, 1 step short of the forecast; {end}"
    )
    assert table(capsys, "f.csv", "--horizon", "2") == [header, *all_rows[:2]]
    for wrong in ("0", "4"):
        line = failed(capsys, "predict", "forecaster.safetensors", "f.csv", "--horizon", wrong)
        assert line.startswith(f"--horizon is {wrong}, but the model was trained for 3; give a number from 1 to that")


# ---- bad input ----


def day(i: int) -> str:
    return (datetime(2024, 1, 1) + timedelta(days=i)).date().isoformat()


COLUMN, TWO = ["v", *["1", "2"] * 20], ["v,k", *["1,2", "2,1"] * 20]


def test_bad_input_gets_one_line_and_writes_nothing(capsys: Capture) -> None:
    """Tables, times and series are tested with their modules."""
    for rows, options, words in (
        (TWO, "", "f.csv has 2 columns of numbers: v, k; name the one to forecast: --target COLUMN"),
        (COLUMN, "--known v", "f.csv has 1 columns of numbers: v; name the one to forecast: --target COLUMN"),
        (TWO, "--target v --known k", "the known column k of f.csv ends in row 40, 3 steps short of the forecast"),
        (TWO, "--target v --known k,v", "f.csv has two channels 'v'"),
        (["v", *["1"] * 40], "", "f.csv has too few rows, missing or equal values"),
    ):
        Path("f.csv").write_text("\n".join(rows))
        assert words in failed(capsys, "forecast", "f.csv", *OPTIONS, *options.split())
        assert [*files()] == ["f.csv"]


def test_a_million_columns_get_one_line(capsys: Capture) -> None:
    np.save("f.npy", np.zeros((2, 1_000_000)))
    words = "f.npy has 1000000 columns of numbers"
    line = failed(capsys, "forecast", "f.npy", *OPTIONS)
    assert (words in line, len(line) < 500) == (True, True)


def test_predict_repeats_the_last_value_of_a_short_series(capsys: Capture) -> None:
    for name, values in (("f.csv", growth()), ("short.csv", growth(1)), ("flat.csv", np.full(9, 11.0))):
        write(name, values)
    Path("empty.csv").write_text("v\n?\n?\n")
    results(capsys, "forecast", "f.csv", *OPTIONS, "--season", "6")
    assert main(["predict", "forecaster.safetensors", "short.csv"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[:2] == ["name,id,step,time,0.1,0.5,0.9", "short.csv,short.csv,1,2001-04-01,10.0,10.0,10.0"]
    assert err == "naive forecasts for 1 of 1 series (short.csv): too few rows, missing or equal values\n"
    assert main(["predict", "forecaster.safetensors", "f.csv", "empty.csv"]) == 1
    out, err = capsys.readouterr()
    assert (len(out.splitlines()), err.startswith("error: empty.csv has no values")) == (4, True)
    assert main(["predict", "forecaster.safetensors", "short.csv", "f.csv", "flat.csv"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1 + 9
    assert err.endswith(
        "naive forecasts for 2 of 3 series (short.csv, flat.csv): too few rows, missing or equal values\n"
    )


# ---- the table, the picture, the choices ----


def test_days_and_numbers_together_have_no_calendar(capsys: Capture) -> None:
    first = date(2020, 1, 1)
    days = "\n".join(f"{first + timedelta(days=i)},{i % 7 + i % 5}" for i in range(800))
    Path("days.csv").write_text(f"time,v\n{days}\n")
    Path("numbers.csv").write_text("time,v\n" + "\n".join(f"{i},{i % 7}" for i in range(40)) + "\n")
    forecast = results(capsys, "forecast", "days.csv", "numbers.csv", "--horizon", "2")["forecast"]
    assert [each["time"] for each in forecast] == ["2022-03-11", "2022-03-12", "40", "41"]


def test_the_table_has_a_row_for_each_series_and_step(capsys: Capture) -> None:
    for name, scale in (("f.csv", 1), ("g.csv", 7)):
        write(name, scale * growth())
    trained = results(capsys, "forecast", "f.csv", "g.csv", *OPTIONS, "--quantiles", "0.25,0.75")["forecast"]
    header, *rows = table(capsys, "f.csv", "g.csv")
    assert header == ["name", "id", "step", "time", "0.25", "0.5", "0.75"]
    assert [row[0] for row in rows] == [row[1] for row in rows] == ["f.csv"] * 3 + ["g.csv"] * 3
    assert [int(row[2]) for row in rows] == [1, 2, 3] * 2
    assert [row[3] for row in rows] == ["2016-01-01", "2016-04-01", "2016-07-01"] * 2
    assert [row[4:] for row in rows] == [[f"{v:.10g}" for v in each["quantiles"].values()] for each in trained]


def test_many_short_series_are_all_forecast(capsys: Capture) -> None:
    """Yearly series of trends with 16 to 40 rows, as in the first M competition, shorter ones, and a constant one."""
    rng = np.random.default_rng(0)
    rows = ["id,year,v"]
    last = {}
    for i, T in enumerate([*rng.integers(16, 41, 41), 2, 1, 8, 30]):
        values = np.exp(rng.normal(3, 1)) * (10 + np.cumsum(rng.normal(0.3, 0.3, T))) if i < 44 else np.full(T, 4.0)
        rows += [f"firm {i},{1950 + t},{v}" for t, v in enumerate(values)]
        last[f"firm {i}"] = values[-1]
    Path("f.csv").write_text("\n".join(rows))
    options = ["--id", "id", "--horizon", "6"]
    assert main(["forecast", "f.csv", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    why = "too few rows, missing or equal values"
    assert {
        f"naive forecasts for 2 of 45 series (firm 42, firm 44): {why}",
        "not scored: 3 of 45 series (firm 41, firm 42, firm 43): too few rows",
        "not scored: 1 of 45 series (firm 44): equal values",
        "f.csv, id firm 0 (1 of 45 series; `xrnn predict` prints all forecasts)",
    } <= {*lines}
    for start in ("… and 1 better ones in --table and --json", "series: 45 series, 1 to 40 rows, season 1; "):
        assert any(line.startswith(start) for line in lines)
    model, naive = (next(line for line in lines if line.startswith(name)) for name in ("model  ", "naive  "))
    assert float(model.split()[1]) < float(naive.split()[1])
    _, *rows_ahead = table(capsys, "f.csv")
    assert rows_ahead[0][:2] == ["f.csv, id firm 0", "firm 0"]
    medians = {name: [float(row[5]) for row in rows_ahead if row[1] == name] for name in last}
    assert all(len(each) == 6 for each in medians.values())
    for name in ("firm 42", "firm 44"):
        np.testing.assert_allclose(medians[name], last[name])
    for name in ("firm 41", "firm 43"):  # too short to train on, but not for the model
        assert medians[name][-1] != last[name]


def test_two_series_have_a_table_of_their_scores(capsys: Capture) -> None:
    write("f.csv", growth())
    write("g.csv", np.random.default_rng(0).random(30), start=2009)
    got = results(capsys, "forecast", "f.csv", "g.csv", *OPTIONS)
    assert [each["name"] for each in got["series"]] == ["f.csv", "g.csv"]
    assert main(["forecast", "f.csv", "g.csv", *OPTIONS, "--overwrite"]) == 0
    f, g = got["series"]
    errors = [[f"{each['mase']:.3f}" for each in one.values() if isinstance(each, dict)] for one in (f, g)]
    assert f["worse_than"] == ""
    assert min(each["mase"] for each in g.values() if isinstance(each, dict)) == g[g["worse_than"]]["mase"]
    *_, header, first, second, last, _ = [*capsys.readouterr().out.partition("\nforecasts: ")[0].splitlines(), ""]
    assert header.split()[:2] == ["MASE", "model"]
    assert first.split() == [
        "g.csv",
        *errors[1],
        "worse",
        "than",
        *g["worse_than"].split("_"),
    ]  # noise: the worst first
    assert second.split() == ["f.csv", *errors[0]]
    assert last == "worse than the best naive forecast: 1 of 2 scored series"


@pytest.mark.parametrize("count", [1, 3, 7])
def test_the_picture_has_a_panel_for_each_series_up_to_six(count: int) -> None:
    """A panel has the held-out rows and the next steps, with the names of the file."""
    matplotlib = pytest.importorskip("matplotlib.figure", reason="needs Matplotlib: pip install -e '.[series]'")
    for k in range(count):
        write(f"{k}.csv", growth(61) + np.random.default_rng(k).normal(0, k + 0.1, 61))
    params = Forecaster(horizon=5, season=4).check_params()
    files = [Path(f"{k}.csv") for k in range(count)]
    read = read_series(files, params, ReadingOptions())
    figure = matplotlib.Figure()
    series = fit_series(read, params.settings)
    tests = backtest(read, params.settings)
    draw_forecasts(figure, series, tests, "forecasts: …")
    assert figure.get_supxlabel() == "forecasts: …"
    panels = [axes for axes in figure.axes if axes.get_ylabel()]
    strips = [axes for axes in figure.axes if axes not in panels]
    titles = [axes.get_title().splitlines()[0] for axes in strips]
    if count == 7:
        errors = {each.series.name: each.scores["model"]["mase"] for each in tests}
        names = sorted(errors, key=errors.__getitem__)
        kinds = zip(("lowest", "median", "highest"), (names[0], names[3], names[6]), strict=True)
        assert titles == [f"{kind} error, {name}" for kind, name in kinds]
        chosen = axes_of(lambda figure: draw_forecasts(figure, series, tests, "", place_of("5.csv", read)))
        assert [axes.get_title().splitlines()[0] for axes in chosen if axes.get_title()] == ["5.csv"]
        with one_line(DataError, "plot is 9.csv, which is no series; give one of 0.csv, 1.csv, "):
            place_of("9.csv", read)
        return
    assert titles == [f"{k}.csv" for k in range(count)]
    drawn: dict[str, list[datetime]] = {}
    for line in panels[0].lines:
        drawn.setdefault(line.get_color(), []).extend(line.get_xdata())
    quarters = quarters_from(61 - 5 * 2, 66)
    assert (drawn["tab:blue"], drawn["tab:orange"]) == (quarters, quarters[:-5])
    naive = [line.get_ydata() for line in panels[0].lines if line.get_color() == "tab:orange"]
    values = read[0].values[:, 0]
    np.testing.assert_array_equal(naive, [values[origin - 4 + np.arange(5) % 4] for origin in (51, 56)])
    shown = panels[0].lines[0]
    values_of = strips[0].lines[0]
    np.testing.assert_array_equal(shown.get_ydata(), values[-24:])  # four horizons are fewer rows
    assert [*shown.get_xdata()] == quarters_from(61 - 24, 61)
    np.testing.assert_array_equal(values_of.get_ydata(), values)
    assert [*strips[0].lines[1].get_xdata()] == quarters_from(61, 66)
    legend = figure.legends[0]  # it lies beside the panels, and so on no value
    assert ([axes.get_legend() for axes in figure.axes], legend._outside_loc) == ([None] * len(figure.axes), "upper")
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["values", "seasonal naive", "the next 5 steps", "forecast, 0.1 to 0.9"]
    assert (panels[0].get_xlabel(), panels[0].get_ylabel()) == ("date", "v")
    figure.canvas.draw()
    assert any("201" in label.get_text() for label in panels[0].get_xticklabels())


def quarters_from(start: int, end: int) -> list[datetime]:
    return [datetime(2001 + i // 4, 3 * (i % 4) + 1, 1) for i in range(start, end)]


def test_a_panel_shows_four_horizons_and_no_strip_if_these_are_all_rows() -> None:
    pytest.importorskip("matplotlib.figure", reason="needs Matplotlib: pip install -e '.[series]'")
    params = Forecaster(horizon=10, season=4).check_params()
    for rows in (40, 80):
        write("f.csv", growth(rows))
        read = read_series([Path("f.csv")], params, ReadingOptions())
        series = fit_series(read, params.settings)
        tests = backtest(read, params.settings)
        *strips, panel = axes_of(partial(draw_forecasts, series=series, tests=tests, parts=""))
        assert (len(strips), len(panel.lines[0].get_xdata())) == (int(rows > 40), 40)


def test_midnight_has_its_time_if_the_steps_are_hours(capsys: Capture) -> None:
    rows = [f"{datetime(2024, 1, 1) + timedelta(hours=i)},{i % 24}" for i in range(48)]
    Path("f.csv").write_text("\n".join(["date,v", *rows]))
    results(capsys, "forecast", "f.csv", *OPTIONS)
    assert [row[3] for row in table(capsys, "f.csv")[1:]] == [f"2024-01-03 0{hour}:00:00" for hour in range(3)]
