"""`xrnn forecast`, and `xrnn predict` with its checkpoints."""

from __future__ import annotations

import calendar
import io
import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from tests.commands.runs import files, growth
from tests.commands.runs import write_rows as write
from tests.errors import one_line
from tests.models.checks import check_gradients, in_float64
from xrnn.backend import Backend
from xrnn.cells import CELLS
from xrnn.commands.main import main
from xrnn.models.data.dates import show, step_of
from xrnn.models.data.series import Series
from xrnn.models.errors import DataError, SettingsError
from xrnn.models.forecast.data import (
    ForecastScores,
    check_target,
    drift,
    load_series,
    mase_divisor,
    prepare,
    seasonal_naive,
    with_quantiles,
)
from xrnn.models.forecast.model import ForecastModel
from xrnn.models.forecast.settings import ForecastFacts, ForecastSettings, parse_quantiles
from xrnn.models.forecast.trainer import ForecastTrainer
from xrnn.models.forecast.windows import fill, pack, unpack
from xrnn.select import get_backend
from xrnn.typing import Array, HostArray

TINY = ForecastSettings(
    hidden=4, batch=4, lr=0.02, horizon=3, context=6, season=4, dropout=0.0, noise=0.0, base="naive"
)
NUMPY = get_backend("numpy")
OPTIONS = ["--hidden", "4", "--batch", "4", "--lr", "0.02", "--horizon", "3", "--context", "6", "--base", "naive"]
pytestmark = pytest.mark.usefixtures("blank_pictures", "workdir")


def series(values: HostArray, **more: Any) -> Series:
    return Series(values[:, None] if values.ndim == 1 else values, None, "s", **more)


def results(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def forecasts(capsys: pytest.CaptureFixture[str], *arguments: str) -> HostArray:
    """The quantiles of each series that a command prints, (n, 3, Q)."""
    assert main([*arguments, "--json"]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    return np.concatenate([quantiles_in(each).reshape(-1, 3, 3) for each in printed])


def quantiles_in(printed: Any) -> HostArray:
    return np.array([[*step["quantiles"].values()] for step in printed["forecast"]])


# ---- the command ----


def test_the_scale_of_a_series_is_kept(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A window without changes has no scale of its own: it gets a share of the deviation of its series."""
    write("f.csv", growth())
    results(capsys, "forecast", "f.csv", *OPTIONS, "--steps", "20")
    tail = np.concatenate([growth(), np.full(8, 20.0)])
    for unit in (1, 1e-6):  # the names and the scale of the series of the training don't matter
        write("f.csv", unit * tail)
        (got,) = forecasts(capsys, "predict", "forecaster.safetensors", "f.csv")
        if unit == 1:
            expected = got
            assert 0 < np.abs(got[:, 0] - got[:, 2]).max() < 3  # 0.05 deviations of the series are 0.6
        np.testing.assert_allclose(got, unit * expected, rtol=1e-9)
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{v}\n" for v in unit * tail)))
        assert main(["predict", "forecaster.safetensors", "--stream", "--json"]) == 0
        last = json.loads(capsys.readouterr().out.splitlines()[-1])
        np.testing.assert_allclose(quantiles_in(last), got, rtol=1e-9)
    write("g.csv", np.full(8, 2e-5))
    assert main(["predict", "forecaster.safetensors", "g.csv"]) == 1
    err = capsys.readouterr().err
    assert "g.csv has the same value 2e-05 in all rows: expected values that change; add earlier rows, or" in err
    monkeypatch.setattr("sys.stdin", io.StringIO("2e-5\n" * 8 + "3e-5\n" * 2))
    assert main(["predict", "forecaster.safetensors", "--stream"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2  # a scale is known from the ninth row on


def test_series_of_one_name_keep_their_scales(capsys: pytest.CaptureFixture[str]) -> None:
    """Files of one base name, and keys of --id that two files share. The last windows have almost no changes."""
    values = np.concatenate([growth(), 20 + 1e-4 * np.arange(10)])
    for folder, unit in (("a", 1), ("b", 1e6)):
        Path(folder).mkdir()
        write(f"{folder}/d.csv", unit * values)
        Path(folder, "ids.csv").write_text("\n".join(["id,v", *(f"k,{v}" for v in unit * values)]))
    for name, *options in (["d.csv"], ["ids.csv", "--id", "id", "--season", "4"]):
        files = [f"a/{name}", f"b/{name}"]
        trained = forecasts(capsys, "forecast", *files, *OPTIONS, *options, "--steps", "5", "--overwrite")
        assert (trained[0] > 10).all()
        assert (trained[0] < 30).all()
        np.testing.assert_allclose(trained[1], 1e6 * trained[0], rtol=1e-6)
        np.testing.assert_array_equal(forecasts(capsys, "predict", "forecaster.safetensors", *files), trained)
        Path("moved").mkdir(exist_ok=True)
        Path(files[1]).rename(Path("moved", name))  # beside a/d.csv, a file with the name of a training file
        (got,) = forecasts(capsys, "predict", "forecaster.safetensors", f"moved/{name}")
        np.testing.assert_array_equal(got, trained[1])


def test_a_stream_fills_missing_values_as_a_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("f.csv", growth())
    results(capsys, "forecast", "f.csv", *OPTIONS, "--steps", "5")
    rows = ["?"] * 7 + ["5", "?", "?", "7", "?", "?", "8", "6"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(rows)))
    assert main(["predict", "forecaster.safetensors", "--stream", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["row"] for each in lines] == [*range(11, 16)]
    Path("g.csv").write_text("\n".join(["v", *rows]))
    (got,) = forecasts(capsys, "predict", "forecaster.safetensors", "g.csv")
    np.testing.assert_allclose(quantiles_in(lines[-1]), got, rtol=1e-9)


def test_known_columns_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The value depends on a random covariate of the same step, which nothing else tells."""
    known = np.random.default_rng(0).normal(size=123)
    rows = [f"{i},{5 * k if i < 120 else ''},{k},text" for i, k in enumerate(known)]
    Path("f.csv").write_text("\n".join(["t,v,k,note", *rows]))
    named = ["--target", "v", "--known", "k", "--time", "t"]
    quiet = ["--dropout", "0", "--noise", "0", "--steps", "300"]
    got = results(capsys, "forecast", "f.csv", *OPTIONS, *named, *quiet)
    assert got["backtest"]["model"]["mase"] < 0.3
    assert [each["time"] for each in got["forecast"]] == ["120", "121", "122"]
    again = results(capsys, "predict", "forecaster.safetensors", "f.csv")
    assert [each["value"] for each in again["forecast"]] == [each["value"] for each in got["forecast"]]
    Path("short.csv").write_text("\n".join(["t,v,k,note", *rows[:121]]))
    assert main(["predict", "forecaster.safetensors", "short.csv"]) == 1
    assert "short.csv has 1 rows after the last value to forecast: expected 3" in capsys.readouterr().err
    assert main(["predict", "forecaster.safetensors", "--stream"]) == 1
    assert "--stream has no known columns of the steps ahead" in capsys.readouterr().err


def test_an_empty_cell_of_a_known_column_in_the_steps_ahead_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Another known column has a value in its row. A cell beyond the horizon, or in the past, may be empty."""
    rows = [[day(i), "" if i > 39 else f"{i % 5}", f"{i % 3}", f"{i % 7}"] for i in range(45)]
    rows[10][3] = rows[43][3] = ""
    named = ["--target", "v", "--known", "k,n", "--context", "8"]

    def save() -> None:
        Path("f.csv").write_text("\n".join(["date,v,k,n", *map(",".join, rows)]))

    save()
    results(capsys, "forecast", "f.csv", *OPTIONS, *named, "--steps", "1")
    np.save("f.npy", [[math.nan if not each else float(each) for each in row[1:]] for row in rows])
    rows[41][3] = ""
    save()
    words = "f.csv has no value in row 42 (2024-02-11) of the known column n: expected one in each of the 3 rows after"
    for command in (["predict", "forecaster.safetensors", "f.csv"], ["forecast", "f.csv", *OPTIONS, *named]):
        assert main(command) == 1
        assert words in capsys.readouterr().err
    values = np.load("f.npy")
    values[40, 2] = np.nan
    np.save("f.npy", values)
    assert main(["forecast", "f.npy", *OPTIONS, "--target", "1", "--known", "2,3", "--context", "8"]) == 1
    assert "f.npy has no value in row 41 of the known column 2: expected one" in capsys.readouterr().err


def test_many_series_in_one_file(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{name},{v * scale}" for name, scale in (("a", 1), ("b", 100)) for v in growth()]
    Path("f.csv").write_text("\n".join(["id,v", *rows]))
    got = results(capsys, "forecast", "f.csv", *OPTIONS, "--id", "id", "--steps", "20", "--season", "4")
    assert [each["name"] for each in got["forecast"]] == ["f.csv, id a"] * 3 + ["f.csv, id b"] * 3
    a, b = ([each["value"] for each in got["forecast"][i : i + 3]] for i in (0, 3))
    np.testing.assert_allclose(np.array(b) / a, 100, rtol=1e-4)  # the scale of a window is its own


# ---- the model and its trainer ----


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_match_differences(backend: Backend, cell: str) -> None:
    settings, facts = replace(TINY, cell=cell, layers=2), ForecastFacts(4, 2, 1, 1)
    model = ForecastModel.init(settings, facts, backend)
    rng = np.random.default_rng(1)
    model = ForecastModel(settings, facts, in_float64(model))
    for param in model.params:
        param[...] = backend.asarray(rng.normal(0, 0.5, param.shape))
    x, known = backend.asarray(rng.standard_normal((4, 3, 3))), backend.asarray(rng.standard_normal((3, 2)))

    def forward() -> Array:
        return model.forward(x, known)

    check_gradients(model, forward)


def test_the_loss_is_the_mean_pinball_loss(backend: Backend) -> None:
    data = prepare([series(growth())], TINY)
    model = ForecastModel.init(TINY, data.facts, backend)
    windows = data.train(np.arange(5))
    target = windows.scaled_target.astype(np.float64)
    assert windows.target is not None
    windows.target[0, 1] = target[0, 1] = np.nan
    loss = model.train_step(*unpack(backend.asarray(pack(windows)), data.facts, 5))
    expected = np.mean([np.nanmean(np.maximum(q * target, (q - 1) * target)) for q in (0.1, 0.5, 0.9)])  # y is 0
    assert float(backend.to_numpy(loss)) == pytest.approx(expected, rel=1e-5)


def test_the_first_forecast_is_the_seasonal_naive_one(backend: Backend) -> None:
    data = prepare([series(growth())], TINY).past
    assert data is not None
    forecast = ForecastModel.init(TINY, data.facts, backend).forecast(data.test)
    for n, origin in enumerate(data.test_origins(0)):
        np.testing.assert_allclose(forecast[n, :, 1], growth()[origin - 4 : origin - 1])


def test_the_model_of_the_backtest_sees_no_row_of_it_and_the_final_one_sees_all() -> None:
    values = growth()
    data = prepare([series(values)], TINY)
    one = data.past
    assert one is not None
    assert (one.cuts, data.cuts) == ([48], [60])
    values[48:] = 1e6
    other = prepare([series(values)], TINY).past
    assert other is not None
    places = np.arange(one.train_count)
    assert one.train_count == other.train_count == 48 - 6 - 3 + 1
    assert data.train_count == one.train_count + 12
    np.testing.assert_array_equal(pack(one.train(places)), pack(other.train(places)))


def test_each_fold_holds_out_the_rows_after_those_it_is_trained_on() -> None:
    data = prepare([series(growth()), series(growth(40))], TINY)
    folds = data.folds()
    assert [fold.cuts for fold in folds] == [[24, 16], [36, 24], [48, 32]]
    assert [[each.rows for each in fold.series] for fold in folds] == [[36, 24], [48, 32], [60, 40]]
    for fold in folds:
        for i, cut in enumerate(fold.cuts):
            assert fold.training_origins(i)[-1] + TINY.horizon == cut == fold.test_origins(i)[0]
    assert [fold.cuts for fold in prepare([series(growth(20))], TINY).folds()] == [[16]]  # of fewer, too few windows


def test_calibration_gives_quantiles_their_shares_of_unseen_values() -> None:
    """The noise of a random walk can't be learnt: the errors of training are smaller than those of forecasts."""
    walk = series(np.random.default_rng(0).normal(size=150).cumsum())
    settings = replace(TINY, season=1, context=20, hidden=16, batch=32)
    data = prepare([walk], settings).past
    assert data is not None
    trainer = ForecastTrainer(settings, data, NUMPY)
    trainer.run(lambda: trainer.steps >= 150)
    target: Any = data.test.target
    before = trainer.model.forecast(data.test)
    trainer.calibrate()
    after = trainer.model.forecast(data.test)
    np.testing.assert_array_equal(after[..., 1], before[..., 1])
    assert (np.diff(after) >= 0).all()
    shares = [((q[..., 0] <= target) & (target <= q[..., 2])).mean() for q in (before, after)]
    assert shares[0] < 0.6
    assert 0.7 < shares[1] < 0.95


def test_offsets_move_quantiles_but_not_the_median() -> None:
    data = prepare([series(growth())], TINY)
    model = ForecastModel.init(TINY, data.facts, NUMPY)
    windows = data.train(np.arange(3))
    model.offsets = np.array([-1.0, 0.0, 0.5])
    forecast = model.forecast(windows)
    np.testing.assert_allclose(forecast, windows.base[..., None] + windows.scale[..., None] * model.offsets)
    model.offsets = np.array([1.0, 0.0, 0.5])  # a quantile stays on its side of the median
    np.testing.assert_allclose(model.forecast(windows)[..., 0], windows.base)


# ---- the parts ----


def test_scores() -> None:
    target = np.array([[1.0, 2, np.nan]])
    forecast = np.stack([target - 1, target + 1, target + 2], axis=-1)
    forecast[0, 1] = [3, 3, 3]
    scores = ForecastScores.of(target, forecast, (0.1, 0.5, 0.9), np.array([[2.0]]))
    assert scores[:3] == pytest.approx((0.5, (200 / 3 + 200 / 5) / 2, 0.5))
    assert scores.pinball == pytest.approx(((0.1 + 0.5 + 0.2) / 3 + (0.9 + 0.5 + 0.1) / 3) / 2 / 2)
    assert (scores.width, scores.steps[:2]) == (3 / 2 / 2, (0.5, 0.5))
    assert mase_divisor(np.array([1.0, 2, 4, np.nan, 9]), 2) == 4
    assert mase_divisor(np.array([1.0, 4, 1, 4]), 2) == 3  # strictly periodic
    assert mase_divisor(np.ones(4), 2) == 1


def test_the_naive_forecast_repeats_the_last_season() -> None:
    values, past = np.arange(10.0), np.array([4, 5, 6])
    errors = values[past[:, None] + np.arange(3)] - seasonal_naive(values, past, 3, 2)
    errors[0] = np.nan
    quantiles = with_quantiles(seasonal_naive(values, np.array([8]), 3, 2), errors, (0.1, 0.5, 0.9))
    np.testing.assert_array_equal(quantiles[0, :, 1], [6, 7, 6])
    np.testing.assert_allclose(quantiles[0, :, 0], [8, 9, 10])  # all errors were 2, 2 and 4


def test_the_drift_continues_the_line_from_the_first_to_the_last_value() -> None:
    values = np.array([1.0, 9, 9, 7, 0])
    np.testing.assert_allclose(drift(values, np.array([4, 1]), 2), [[9, 11], [1, 1]])


def test_a_series_shorter_than_two_natural_seasons_has_none() -> None:
    start = datetime(2024, 1, 1)
    for rows, season in ((95, 1), (96, 48)):
        times = tuple(start + timedelta(minutes=30 * i) for i in range(rows))
        data = prepare([series(growth(rows), times=times)], replace(TINY, season=0, context=0, base="linear"))
        assert data.facts.season == season


def test_naive_forecasts_without_a_season_are_one_row(capsys: pytest.CaptureFixture[str]) -> None:
    write("f.csv", growth())
    assert main(["forecast", "f.csv", *OPTIONS, "--season", "1", "--steps", "1"]) == 0
    names = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert "naive = seasonal" in names
    assert "seasonal naive" not in names


def test_missing_values_are_filled_from_the_past() -> None:
    nan = np.nan
    np.testing.assert_array_equal(fill(np.array([nan, 1, 2, nan, 4, nan]), 2), [1, 1, 2, 1, 4, 1])
    values = growth()
    values[20:22] = nan
    data = prepare([series(values)], TINY)
    assert not {18, 19, 20, 21} & {*data.training_origins(0).tolist()}


@pytest.mark.parametrize("form", ["%m/%d/%Y", "%d/%m/%Y", "%Y%m%d", "%d.%m.%Y 00:00"])
def test_days_have_a_season_of_7_in_every_form(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{datetime(2024, 1, 1) + timedelta(days=i):{form}},{i % 7}" for i in range(40)]
    Path("f.csv").write_text("\n".join(["date,v", *rows]))
    options = ["--hidden", "4", "--horizon", "3", "--context", "8", "--steps", "1"]
    assert main(["forecast", "f.csv", *options, "--json"]) == 0
    out = capsys.readouterr().out
    assert "f.csv, 40 rows, season 7" in out
    assert json.loads(out.splitlines()[-1])["forecast"][0]["time"] == "2024-02-10"
    Path("f.csv").write_text("\n".join(["date,v", *rows[::2], *rows[1::2]]))
    assert main(["forecast", "f.csv", *options]) == 1
    assert "f.csv has the time 2024-01-02 after 2024-02-08: expected rows in the order" in capsys.readouterr().err
    Path("f.csv").write_text("\n".join(["date,v", *rows, *rows[-1:]]))
    assert main(["forecast", "f.csv", *options]) == 1
    assert "f.csv has the time 2024-02-09 twice" in capsys.readouterr().err


def test_the_long_form_of_stocks_needs_no_more_than_the_id(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{symbol},{row}" for symbol in ("a", "b") for row in DAYS]
    Path("f.csv").write_text("\n".join(["symbol,date,close", *rows]))
    got = results(capsys, "forecast", "f.csv", *OPTIONS, "--context", "8", "--steps", "1", "--id", "symbol")
    assert [each["time"] for each in got["forecast"]] == [day(i) for i in (40, 41, 42)] * 2


@pytest.mark.parametrize(
    ("times", "season", "after"),
    [
        (["2020-01-31", "2020-02-29", "2020-03-31"], 12, ["2020-04-30", "2020-05-31"]),
        (["2020-10-01", "2021-01-01", "2021-04-01"], 4, ["2021-07-01", "2021-10-01"]),
        (["2024-02-27", "2024-02-28", "2024-02-29"], 7, ["2024-03-01", "2024-03-02"]),
        (["2024-05-02", "2024-05-03", "2024-05-06"], 5, ["2024-05-07", "2024-05-08"]),
        (["2024-05-01 22:00", "2024-05-01 23:00"], 24, ["2024-05-02", "2024-05-02 01:00:00"]),
        (["2024-05-01 23:50", "2024-05-01 23:55"], 288, ["2024-05-02", "2024-05-02 00:05:00"]),
        (["2024-05-01 12:00", "2024-05-01 18:00"], 4, ["2024-05-02", "2024-05-02 06:00:00"]),
        (["2020-01-01", "2021-01-01", "2022-01-01"], 1, ["2023-01-01", "2024-01-01"]),
        ([1.0, 3.0, 5.0], 1, ["7", "9"]),
        ([1.7e9, 1.7e9 + 3600], 1, ["1700007200", "1700010800"]),
        (["2022-12-28", "2023-01-28", "2023-02-28"], 12, ["2023-03-28", "2023-04-28"]),
        (["2022-12-29", "2023-01-29", "2023-02-28"], 12, ["2023-03-29", "2023-04-29"]),
        (["2022-12-30", "2023-01-30", "2023-02-28"], 12, ["2023-03-30", "2023-04-30"]),
        (["2022-12-31", "2023-01-31", "2023-02-28"], 12, ["2023-03-31", "2023-04-30"]),
        (["2023-03-30", "2023-04-30"], 12, ["2023-05-30", "2023-06-30"]),
        (["2023-02-28", "2023-03-28", "2023-04-28"], 12, ["2023-05-28", "2023-06-28"]),
        (["2023-02-28", "2023-03-30", "2023-04-30"], 12, ["2023-05-30", "2023-06-30"]),
        (["2023-02-28", "2023-03-31"], 12, ["2023-04-30", "2023-05-31"]),
        (["2023-07-01", "2023-08-01", "2023-09-01"], 12, ["2023-10-01", "2023-11-01"]),  # 31 days each
        (
            ["2024-03-31 00:00+01:00", "2024-03-31 01:00+01:00", "2024-03-31 03:00+02:00"],
            24,
            ["2024-03-31 04:00:00+02:00", "2024-03-31 05:00:00+02:00"],
        ),
        (
            ["2024-03-30 00:00+01:00", "2024-03-31 00:00+01:00", "2024-04-01 00:00+02:00"],
            7,
            ["2024-04-02", "2024-04-03"],
        ),
        (
            ["2024-02-29 00:00+01:00", "2024-03-31 00:00+01:00", "2024-04-30 00:00+02:00"],
            12,
            ["2024-05-31", "2024-06-30"],
        ),
        (["2024-01-01 06:00Z", "2024-01-02 06:00Z"], 7, ["2024-01-03 06:00:00+00:00", "2024-01-04 06:00:00+00:00"]),
    ],
)
def test_times_continue(times: list[Any], season: int, after: list[str]) -> None:
    parsed = [t if isinstance(t, float) else datetime.fromisoformat(t) for t in times]
    step = step_of(parsed, "f")
    assert step is not None
    assert (step.season, [show(t) for t in step.after(parsed[-1], 2)]) == (season, after)


@pytest.mark.parametrize("day", range(1, 32))
@pytest.mark.parametrize("months", [1, 3, 12])
def test_the_day_of_monthly_dates_follows_from_the_series(day: int, months: int) -> None:
    """Whatever the first and the last date are. A series that has only last days of months continues with them."""
    for first in range(12):
        dates = [datetime(2019 + i // 12, i % 12 + 1, 1) for i in range(first, first + 28 * months, months)]
        last_days = [calendar.monthrange(each.year, each.month)[1] for each in dates]
        dates = [each.replace(day=min(day, last)) for each, last in zip(dates, last_days, strict=True)]
        for count in (13, 14, 15, 16):
            if day < 31 and all(each.day == last for each, last in zip(dates[:count], last_days, strict=False)):
                continue
            step = step_of(dates[:count], "f")
            assert step is not None
            assert step.after(dates[count - 1], 12) == dates[count : count + 12]


def test_times_end_with_the_year_9999() -> None:
    for size in (timedelta(days=1), timedelta(days=365)):
        times = [datetime(9999, 12, 30) - size, datetime(9999, 12, 30)]
        step = step_of(times, "f")
        assert step is not None
        with one_line(DataError, "the steps after 9999-12-30 pass the year 9999: expected earlier ones; correct the"):
            step.after(times[-1], 2)


def test_a_preferred_step_is_taken_if_several_fit() -> None:
    week = [datetime(2024, 5, 6) + timedelta(days=i) for i in range(5)]
    for like, after in (("", 11), ("1 working day", 13)):
        step = step_of(week, "f", like)
        assert step is not None
        assert step.after(week[-1], 1) == [datetime(2024, 5, after)]


def hours(zone: str, start: datetime, count: int, minutes: int = 60) -> list[datetime]:
    """Local times without their offset."""
    step = timedelta(minutes=minutes)
    return [(start + i * step).astimezone(ZoneInfo(zone)).replace(tzinfo=None) for i in range(count)]


WORKING_DAYS = [each for i in range(60) if (each := datetime(2024, 1, 1) + timedelta(days=i)).weekday() < 5]


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (
            [each for each in WORKING_DAYS if each != datetime(2024, 1, 15)],
            "f has a gap in its times between 2024-01-12 and 2024-01-16: expected steps of 1 working day; add rows",
        ),
        (
            [datetime(2024, 1, 1), datetime(2024, 1, 3), datetime(2024, 1, 4), datetime(2024, 1, 5)],
            "f has a gap in its times between 2024-01-01 and 2024-01-03: expected steps of 1 day",
        ),
        (
            [datetime(2024, 1, 1), datetime(2024, 1, 2), datetime(2024, 1, 2, 12), datetime(2024, 1, 3, 12)],
            "f has unequal steps between 2024-01-02 and 2024-01-02 12:00:00: expected steps of 1 day; correct them, or",
        ),
        (
            [datetime(2019, 12, 15), *(datetime(2020, month, 1) for month in range(1, 8))],
            "f has unequal steps between 2019-12-15 and 2020-01-01: expected steps of 1 month; correct them",
        ),
        (
            hours("Europe/Berlin", datetime(2024, 3, 30, tzinfo=UTC), 40),
            "between 2024-03-31 01:00:00 and 2024-03-31 03:00:00: expected steps of 1 hour; add rows with empty cells, "
            "or if the clock changed there, give times with their offset, as in 2024-03-31 03:00+02:00",
        ),
        (
            hours("Europe/Berlin", datetime(2024, 10, 26, tzinfo=UTC), 40),
            "f has the time 2024-10-27 02:00:00 twice: expected one row for each; if the clock changed there, give",
        ),
        (
            hours("America/New_York", datetime(2024, 11, 2, tzinfo=UTC), 240, minutes=15),
            "f has the time 2024-11-03 01:00:00 after 2024-11-03 01:45:00: expected rows in the order of time; if",
        ),
        (
            [datetime(2024, 3, day, 23 - (day > 30), tzinfo=UTC) for day in range(20, 32)],
            "expected steps of 1 day; correct them, or if the clock changed there, give dates without a time of day",
        ),
    ],
)
def test_unequal_steps_are_named(times: list[datetime], words: str) -> None:
    with one_line(DataError, words):
        step_of(times, "f")


def test_another_step_than_that_of_the_training_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for name, minutes in (("days", 1440), ("hours", 60)):
        rows = [f"{datetime(2024, 1, 1) + timedelta(minutes=i * minutes)},{i % 5}" for i in range(40)]
        Path(f"{name}.csv").write_text("\n".join(["date,v", *rows]))
    options = [*OPTIONS, "--context", "8"]
    assert main(["forecast", "hours.csv", "days.csv", *options, "--season", "4"]) == 1
    assert "days.csv has steps of 1 day, but hours.csv has steps of 1 hour: expected" in capsys.readouterr().err
    results(capsys, "forecast", "days.csv", *options, "--steps", "1")
    assert main(["predict", "forecaster.safetensors", "hours.csv"]) == 1
    words = (
        "hours.csv has steps of 1 hour, but the model was trained on steps of 1 day: expected the same steps; correct"
    )
    assert words in capsys.readouterr().err
    assert main(["predict", "forecaster.safetensors", "hours.csv", "days.csv", "--skip-bad"]) == 0
    Path("numbers.csv").write_text("\n".join([",v", *(f"{7 * i},{i % 5}" for i in range(40))]))  # without a unit
    results(capsys, "predict", "forecaster.safetensors", "numbers.csv")


def test_the_offset_of_hours_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    start = datetime(2024, 3, 30, tzinfo=UTC)
    for zone, last in (("Asia/Kolkata", "2024-03-31 21:30:00+05:30"), ("Europe/Berlin", "2024-03-31 18:00:00+02:00")):
        times = [(start + timedelta(hours=i)).astimezone(ZoneInfo(zone)) for i in range(40)]
        Path("f.csv").write_text("\n".join(["date,v", *(f"{each},{i % 5}" for i, each in enumerate(times))]))
        got = results(capsys, "forecast", "f.csv", *OPTIONS, "--season", "4", "--steps", "1")
        assert got["forecast"][0]["time"] == last


def test_quantiles() -> None:
    assert parse_quantiles("0.9, 0.05") == (0.05, 0.5, 0.9)
    assert parse_quantiles("0.5") == (0.5,)


# ---- bad input ----


@pytest.mark.parametrize(
    "quantiles",
    ["0,0.9", "1", "0.1;0.9", "", "x", "nan", "-0.1", "0.1,0.1", ",".join(f"0.{i}" for i in range(1001, 1102))],
)
def test_quantiles_outside_of_0_and_1_get_one_line(quantiles: str) -> None:
    with one_line(SettingsError, "quantiles is ", ": expected different numbers between 0 and 1"):
        ForecastSettings(quantiles=quantiles)


def day(i: int) -> str:
    return (datetime(2024, 1, 1) + timedelta(days=i)).date().isoformat()


DAYS = [f"{day(i)},{i % 5}" for i in range(40)]


COLUMN, TWO = ["v", *["1", "2"] * 20], ["v,k", *["1,2", "2,1"] * 20]


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ([], "", "f.csv has no values: expected at least one step"),
        (["v", "1", "x"], "", "; correct it, or name the column to forecast with --target"),
        (TWO, "", "f.csv has 2 columns of numbers: v, k: expected the one to forecast; add --"),
        (COLUMN, "--target u", "f.csv has no column u: expected a name, or a number from 1 to 1"),
        (COLUMN, "--known v", "got --known without --target"),
        (TWO, "--target v --known k", "has 0 rows after the last value to forecast"),
        (TWO, "--target v --known k,v", "got the column v twice in --target and --known: expected different columns;"),
        (COLUMN, "--horizon 50", "f.csv has 40 rows: expected at least"),
        (COLUMN, "--context 50", "f.csv has 40 rows: expected at least"),
        (COLUMN, "--season 7", "the context of 6 is shorter than the season of 7"),
        (
            ["date,v", *DAYS],
            "--horizon 500 --context 0",
            f"f.csv has {len(DAYS)} rows: expected at least 1014 for a context of 7, a horizon of 500 and 500 held out",
        ),
        (["v", *["1"] * 40], "", "f.csv has the same value 1 in all rows to train on: expected values that change"),
        (["date,v", *DAYS[:9], *DAYS[10:]], "", "f.csv has a gap in its times between 2024-01-09 and 2024-01-11"),
    ],
)
def test_bad_input_gets_one_line_and_writes_nothing(
    rows: list[str], options: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("f.csv").write_text("\n".join(rows))
    assert main(["forecast", "f.csv", *OPTIONS, *options.split()]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert words in err
    assert [*files()] == ["f.csv"]


def test_a_million_columns_get_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    np.save("f.npy", np.zeros((2, 1_000_000)))
    assert main(["forecast", "f.npy", *OPTIONS]) == 1
    err = capsys.readouterr().err
    assert "f.npy has 1000000 columns of numbers: expected the one to forecast" in err
    assert len(err) < 500


def test_the_columns_of_a_npy_file_have_numbers() -> None:
    values = np.stack([np.arange(40) % 5, growth(40), growth(40) ** 2], axis=1)
    np.save("f.npy", values)
    settings = replace(TINY, target="2", known="1")
    (got,) = load_series([Path("f.npy")], settings)
    np.testing.assert_array_equal(got.values, values[:, [1, 0]])
    with one_line(DataError, "f.npy lacks one of the columns 4, 1: expected numbers from 1 to 3"):
        load_series([Path("f.npy")], replace(settings, target="4"))


def test_unsorted_times_are_sorted_by_an_option() -> None:
    Path("f.csv").write_text("\n".join(["date,v", *DAYS[5:], *DAYS[:5]]))
    data = prepare(load_series([Path("f.csv")], replace(TINY, time="date")), replace(TINY, time="date"))
    np.testing.assert_array_equal(data.series[0].target, np.arange(40) % 5)


def test_the_times_of_every_series_are_checked() -> None:
    one, other = (series(growth(), times=tuple(np.delete(np.arange(61.0), i))) for i in (60, 9))
    with one_line(DataError, "s has a gap in its times between 8 and 10"):
        prepare([one, other], TINY)


def test_a_series_with_a_backtest_but_no_window_to_train_on_gets_one_line() -> None:
    values = growth()
    values[1:48:2] = np.nan
    with one_line(DataError, "s has no 3 known values in a row after a context of 6 in its first 48 rows"):
        prepare([series(growth()), series(values)], TINY)
    values[-4:] = np.nan  # the later rows are tested only in windows whose steps ahead are all known
    values[40:] = np.where(np.arange(20) % 2, np.nan, 1.0)
    values[-2] = 2.0
    backtest = prepare([series(growth()), series(values)], TINY).past
    assert backtest is not None
    assert len(backtest.test_origins(1)) == 0


def test_predict_refuses_what_it_cannot_use(capsys: pytest.CaptureFixture[str]) -> None:
    write("f.csv", growth())
    write("short.csv", growth()[:4])
    results(capsys, "forecast", "f.csv", *OPTIONS, "--steps", "1")
    assert main(["predict", "forecaster.safetensors", "short.csv"]) == 1
    assert "short.csv has 4 rows: expected at least 6 before the steps to forecast; add rows" in capsys.readouterr().err
    assert main(["predict", "forecaster.safetensors", "short.csv", "f.csv", "--skip-bad"]) == 0
    out, err = capsys.readouterr()
    assert (len(out.splitlines()), err.count("skipped: short.csv")) == (3, 1)


def test_a_series_without_a_value_gets_one_line() -> None:
    with one_line(DataError, "s has no value to forecast"):
        check_target([series(np.array([[np.nan, 1.0]] * 9))], replace(TINY, target="v", known="k"))
