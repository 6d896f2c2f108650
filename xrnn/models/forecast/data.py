"""Series to forecast, and the windows to learn from and to test on."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from xrnn.files import printable, quoted, same_file
from xrnn.models.data.dates import Step, show, step_of
from xrnn.models.data.read import check_channels, read_path
from xrnn.models.data.scale import Scale
from xrnn.models.data.series import Series, Time
from xrnn.models.errors import DataError, param
from xrnn.models.forecast.settings import MOST_STEPS, ForecastFacts, ForecastSettings
from xrnn.models.forecast.windows import Windows, fill, joined, make_windows
from xrnn.typing import HostArray

_TEST_SHARE: Final = 0.2  # of the rows, for the backtest
_LEAST_WINDOWS: Final = 8  # to train on
_FOLDS: Final = 3  # parts of the training windows that are held out in turn
_DELAY: Final = 17  # time units of the chaotic series
_SUBSTEPS: Final = 10  # Euler steps in a time unit
_UNITS: Final = 3  # time units in a row
_WARM_UP: Final = 500  # time units


class ForecastSeries:
    """One series, ready for windows.

    target      (T,), NaN for a missing value
    filled      (T,), without missing values
    covariates  (T or more, K), standardised and filled
    deviation   of the target's known values: the scale of the series. It is computed from the series itself, because
                a new file does not say which training series it continues
    """

    def __init__(
        self,
        series: Series,
        season: int,
        known: Scale,
        train: int | None = None,
        deviation: float | None = None,
        rows: int | None = None,
    ) -> None:
        """known: the scale of the covariates.   train: the number of rows to train on; None for all.

        deviation   The deviation to use if `series` is only the end of a longer one; None to compute it
        rows        The number of rows before the steps to forecast; None: those up to the last known value

        Raises DataError for values that are all equal, unless `deviation` is given.
        """
        exists = np.flatnonzero(~np.isnan(series.values[:, 0]))
        self.name, self.times = series.name, series.times
        self.target: HostArray = series.values[: exists[-1] + 1 if rows is None else rows, 0]
        seen = self.target[:train][~np.isnan(self.target[:train])]
        if seen.size == 0 or (seen.min() == seen.max() and deviation is None):
            got = "no value" if seen.size == 0 else f"the same value {seen[0]:g}"
            raise DataError(
                f"{printable(self.name)} has {got} in all rows{' to train on' if train else ''}: expected values that "
                "change; add earlier rows, or leave the series out"
            )
        self.deviation = float(seen.std()) if deviation is None else deviation
        self.filled = fill(self.target, season)
        self.covariates = known.apply(series.values[:, 1:])
        self._missing = np.isnan(series.values[:, 1:])  # (T or more, K), before they were filled
        self._covariate_names = series.channel_names and series.channel_names[1:]

    @property
    def rows(self) -> int:
        """T."""
        return len(self.target)

    def windows(self, origins: HostArray, facts: ForecastFacts, *, targets: bool = True) -> Windows:
        of_windows = self.target if targets else None
        return make_windows(self.filled, origins, facts, self.deviation, self.covariates, of_windows)

    def next_window(self, facts: ForecastFacts) -> Windows:
        """The window after the last value.   Raises DataError if the series is too short or lacks a known covariate."""
        self.check_length(facts)
        future = len(self.covariates) - self.rows
        if facts.known and future < facts.horizon:
            raise DataError(
                f"{printable(self.name)} has {future} rows after the last value to forecast: expected {facts.horizon} "
                f"with the known columns; add the rows, or lower {param('horizon')}"
            )
        for i, k in np.argwhere(self._missing[self.rows : self.rows + facts.horizon]):
            row = self.rows + i
            time = f" ({show(self.times[row])})" if self.times else ""
            column = quoted(self._covariate_names[k]) if self._covariate_names else k + 1
            raise DataError(
                f"{printable(self.name)} has no value in row {row + 1}{time} of the known column {column}: expected "
                f"one in each of the {facts.horizon} rows after the last value to forecast; fill it in"
            )
        return self.windows(np.array([self.rows]), facts, targets=False)

    def check_length(self, facts: ForecastFacts) -> None:
        if self.rows < facts.context:
            raise DataError(
                f"{printable(self.name)} has {self.rows} rows: expected at least the context of {facts.context}; add "
                f"rows, or train with a smaller {param('context')}"
            )


@dataclass(frozen=True, eq=False)
class ForecastData:
    """Each series is trained on up to its row `cuts[i]`. In the data of a backtest, the rows after it are held out.

    covariate_scale   from the rows to train on
    source      a description in one line
    past        the same series, for the backtest; None if nothing is held out
    gaps        origins (first, last) of windows that are held out of the training, for each series
    """

    series: list[ForecastSeries]
    cuts: list[int]
    facts: ForecastFacts
    covariate_scale: Scale
    fingerprint: str
    source: str
    past: ForecastData | None = None
    gaps: list[tuple[int, int]] | None = None

    def training_origins(self, i: int) -> HostArray:
        """The origins of all windows to train on, except those whose steps ahead overlap a gap."""
        F = self.facts.horizon
        origins = self._origins(i, self.facts.context, self.cuts[i] - F)
        if self.gaps is None:
            return origins
        first, last = self.gaps[i]
        apart: HostArray = origins[(origins <= first - F) | (origins >= last + F)]
        return apart

    def folds(self) -> list[tuple[ForecastData, Windows]]:
        """For each third of every series: the data without it, and its windows.   [] if the series are too short."""
        thirds = [np.array_split(origins, _FOLDS) for origins in self._training]
        # The few windows of short series are divided among the folds.
        thirds = [of[-i % _FOLDS :] + of[: -i % _FOLDS] if len(of[-1]) == 0 else of for i, of in enumerate(thirds)]
        folds = []
        for k in range(_FOLDS):
            held = [(i, of_series[k]) for i, of_series in enumerate(thirds) if len(of_series[k])]
            if not held:
                continue
            gaps = [(int(of[k][0]), int(of[k][-1])) if len(of[k]) else (MOST_STEPS**2, 0) for of in thirds]
            part = replace(self, gaps=gaps)
            if part.train_count < _LEAST_WINDOWS:
                return []
            folds.append((part, joined([self.series[i].windows(origins, self.facts) for i, origins in held])))
        return folds

    def test_origins(self, i: int) -> HostArray:
        return self._origins(i, self.cuts[i], self.series[i].rows - self.facts.horizon)

    def _origins(self, i: int, first: int, last: int) -> HostArray:
        """The origins from `first` to `last` whose steps ahead have a known value."""
        origins = np.arange(first, last + 1)
        known = ~np.isnan(self.series[i].target[origins[:, None] + np.arange(self.facts.horizon)]).any(axis=1)
        complete: HostArray = origins[known]
        return complete

    @cached_property
    def test(self) -> Windows:
        """The windows of the backtest: a forecast from every row (rolling origin)."""
        return joined([each.windows(self.test_origins(i), self.facts) for i, each in enumerate(self.series)])

    def train(self, places: HostArray) -> Windows:
        """The windows at `places` among all windows to train on."""
        ends = np.cumsum([len(origins) for origins in self._training])
        of_series = np.searchsorted(ends, places, side="right")
        parts = []
        for i in np.unique(of_series):
            origins = self._training[i]
            parts.append(self.series[i].windows(origins[places[of_series == i] - (ends[i] - len(origins))], self.facts))
        return joined(parts)

    @cached_property
    def train_count(self) -> int:
        return sum(map(len, self._training))

    @cached_property
    def _training(self) -> list[HostArray]:
        return [self.training_origins(i) for i in range(len(self.series))]


def load_series(paths: Sequence[Path], settings: ForecastSettings) -> list[Series]:
    """The series in the files, the target first; without a file, a chaotic one.   Raises DataError."""
    for one, other in itertools.combinations(paths, 2):
        if same_file(one, other):
            raise DataError(f"got {other} twice: expected different files; name it once")
    names = settings.columns.used
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(
            f"got the column {quoted(twice)} twice in {param('target')} and {param('known')}: expected different "
            "columns; leave one out"
        )
    series = [each for path in paths for each in read_path(path, settings.columns)] if paths else [mackey_glass()]
    check_target(series, settings)
    return series


def check_target(series: Sequence[Series], settings: ForecastSettings) -> None:
    """Raises DataError if the series do not have the target and the known covariates as their channels."""
    channels = check_channels(series)
    if settings.known and not settings.target:
        raise DataError(
            f"got {param('known')} without {param('target')}: expected the column to forecast too; add "
            f"{param('target')} COLUMN"
        )
    if channels > 1 and not settings.target:
        names = series[0].channel_names
        have = f": {', '.join(map(printable, names))}"[:200] if names else ""
        raise DataError(
            f"{printable(series[0].name)} has {channels} columns of numbers{have}: expected the one to forecast; add "
            f"{param('target')} COLUMN"
        )
    for each in series:
        if np.isnan(each.values[:, 0]).all():
            raise DataError(f"{printable(each.name)} has no value to forecast: expected some; leave it out")


def prepare(series: Sequence[Series], settings: ForecastSettings, *, backtest: bool = True) -> ForecastData:
    """The data of a run, and those of a backtest, which holds out the last fifth of each series.

    The final model is trained on all rows.   Raises DataError.
    """
    step = _step(series)
    season = settings.season or (step.season if step else 1)
    K, F = series[0].channels - 1, settings.horizon
    rows = [int(np.flatnonzero(~np.isnan(each.values[:, 0]))[-1]) + 1 for each in series]
    cuts = [n - max(F, round(_TEST_SHARE * n)) for n in rows]
    context = settings.context or _context(max(cuts), F, season)
    cuts = cuts if backtest else rows
    if context < season:
        raise DataError(
            f"the context of {context} is shorter than the season of {season}: expected at least a season; give a "
            f"larger {param('context')}, more rows, or another {param('season')}"
        )
    facts = ForecastFacts(context, F, season, K, series[0].channel_names, step=step.name if step else "")
    fits = [cut - context - F >= 0 for cut in cuts]
    if sum(max(cut - context - F + 1, 0) for cut in cuts) < _LEAST_WINDOWS:
        longest = int(np.argmax(rows))
        held = rows[longest] - cuts[longest]
        raise DataError(
            f"{printable(series[longest].name)} has {rows[longest]} rows: expected at least "
            f"{context + F + held + _LEAST_WINDOWS - 1} for a context of {context}, a horizon of {F}"
            f"{f' and {held} held out' if held else ''}; lower {param('horizon')} or {param('context')}, or add rows"
        )
    for each, fit, n in zip(series, fits, rows, strict=True):
        if not fit:
            raise DataError(
                f"{printable(each.name)} has {n} rows, fewer than a context of {context} and a horizon of {F} take: "
                f"leave the series out, or lower {param('context')} or {param('horizon')}"
            )
    past = _divided(series, cuts, facts)
    if not past.train_count or (backtest and not len(past.test.ahead)):
        raise DataError("too many values are missing: expected windows whose steps ahead are all known; fill some in")
    for i, one in enumerate(past.series if backtest else ()):
        if len(past.test_origins(i)) and not len(past.training_origins(i)):
            raise DataError(
                f"{printable(one.name)} has no {F} known values in a row after a context of {context} in its first "
                f"{cuts[i]} rows, which are trained on: expected some; fill in missing ones, or leave the series out"
            )
    return replace(_divided(series, rows, facts), past=past) if backtest else past


def _step(series: Sequence[Series]) -> Step | None:
    """The step of all series with times.   Raises DataError for different steps."""
    timed = sorted((each for each in series if each.times), key=lambda each: -len(each.times or ()))  # stable
    first = step_of(timed[0].times or (), timed[0].name) if timed else None
    for each in timed[1:]:
        check_step(each.times or (), each.name, first.name if first else "", f"{printable(timed[0].name)} has")
    return first


def check_step(times: Sequence[Time], name: str, expected: str, other: str) -> Step | None:
    """The step of `times`, which should be called `expected`.   Raises DataError for another one.

    other   the start of a sentence about the expected step: "the model was trained on"
    """
    step = step_of(times, name, like=expected)
    if step and step.contradicts(expected):
        raise DataError(
            f"{printable(name)} has steps of {step.name}, but {other} steps of {expected}: expected the same steps; "
            "correct the times, or train a model for each"
        )
    return step


def _divided(series: Sequence[Series], cuts: list[int], facts: ForecastFacts) -> ForecastData:
    known = Scale.of(_training_covariates(each, cut) for each, cut in zip(series, cuts, strict=True))
    made = [ForecastSeries(each, facts.season, known, cut) for each, cut in zip(series, cuts, strict=True)]
    for one in made:
        one.next_window(facts)  # raises DataError
    return ForecastData(made, cuts, facts, known, _fingerprint(series), _describe(series, made, facts))


def _training_covariates(series: Series, cut: int) -> HostArray:
    covariates = series.values[:cut, 1:]
    if np.isnan(covariates).all(axis=0).any():
        raise DataError(
            f"{printable(series.name)} has a known column without a value in its first {cut} rows, which are trained "
            f"on: expected some; leave the column out of {param('known')}"
        )
    return covariates


def _context(rows: int, horizon: int, season: int) -> int:
    """Three seasons or two horizons, at least 24 steps; less in a short series, a season if no row is left to train."""
    if rows < 1:  # the horizon that is held out is longer than the series, which `prepare` refuses
        return season
    wanted = max(3 * season if season > 1 else 0, 2 * horizon, 24)
    return max(min(wanted, (rows - horizon) // 2), min(season, rows))


def _fingerprint(series: Sequence[Series]) -> str:
    sha = hashlib.sha256()
    for each in series:
        sha.update(repr((each.values.shape, each.channel_names)).encode())
        sha.update(np.ascontiguousarray(each.values).data)
    return sha.hexdigest()


def _describe(series: Sequence[Series], made: Sequence[ForecastSeries], facts: ForecastFacts) -> str:
    rows = [each.rows for each in made]
    span = f"{min(rows):,}" if min(rows) == max(rows) else f"{min(rows):,} to {max(rows):,}"
    name = series[0].name if len(series) == 1 else f"{len(series):,} series"
    names = series[0].channel_names
    channels = f"\nchannels: {', '.join(names)}" if names else ""
    return (
        f"{printable(name)}, {span} rows, season {facts.season}; {facts.horizon} steps ahead from {facts.context}"
        f"{printable(channels, keep=chr(10))}"
    )


# ---- the scores of forecasts, and the naive forecasts to compare with ----


class ForecastScores(NamedTuple):
    """Means over all forecast values that are known (Hyndman & Koehler, 2006).

    mase       |error| / the mean |v[t] - v[t - season]| of the training rows
    smape      200 |error| / (|value| + |forecast|), in percent
    coverage   the share of values between the lowest and the highest quantile
    """

    mase: float
    smape: float
    coverage: float

    @classmethod
    def of(cls, target: HostArray, forecast: HostArray, median: int, unit: HostArray) -> ForecastScores:
        """target (N, F), NaN for a missing value; forecast (N, F, Q); unit (N, 1): the divisor of the MASE."""
        exists = ~np.isnan(target)
        error, size = np.abs(target - forecast[..., median]), np.abs(target) + np.abs(forecast[..., median])
        relative = np.divide(200 * error, size, out=np.zeros_like(error), where=size > 0)
        inside = (forecast[..., 0] <= target) & (target <= forecast[..., -1])
        return cls(*(float(each[exists].mean()) for each in (error / unit, relative, inside)))


def mase_divisor(values: HostArray, season: int) -> float:
    """The mean |v[t] - v[t - season]| of values (T,); NaN for a missing value.

    If it is 0, because the series is strictly periodic: the mean |v[t] - v[t - 1]|, and 1 if this is 0 too.
    """
    return _mean_change(values, season) or _mean_change(values, 1) or 1.0


def _mean_change(values: HostArray, distance: int) -> float:
    changes = np.abs(values[distance:] - values[:-distance])
    changes = changes[~np.isnan(changes)]
    return float(changes.mean()) if changes.size else 0.0


def naive_quantiles(
    values: HostArray, origins: HostArray, past: HostArray, horizon: int, season: int, levels: tuple[float, ...]
) -> HostArray:
    """The forecast that repeats the last `season` steps, with the quantiles of its errors at `past` → (N, F, Q).

    values   (T,), filled; origins, past: places of first steps to forecast
    """

    def repeat(at: HostArray) -> HostArray:
        repeated: HostArray = values[at[:, None] - season + np.arange(horizon) % season]
        return repeated

    errors = values[past[:, None] + np.arange(horizon)] - repeat(past)
    spread = np.quantile(errors, levels, axis=0).T  # (F, Q)
    spread[:, levels.index(0.5)] = 0  # the forecast itself
    forecast: HostArray = repeat(origins)[..., None] + spread
    return forecast


def score(data: ForecastData, tested: HostArray, levels: tuple[float, ...]) -> dict[str, ForecastScores]:
    """The scores of the model's forecasts `tested` of the windows `data.test`, and of the naive forecasts."""
    facts, median = data.facts, levels.index(0.5)
    unit = np.concatenate(
        [
            np.full((len(data.test_origins(i)), 1), mase_divisor(each.target[: data.cuts[i]], facts.season))
            for i, each in enumerate(data.series)
        ]
    )

    def naive(season: int) -> HostArray:
        return np.concatenate(
            [
                naive_quantiles(
                    each.filled, data.test_origins(i), data.training_origins(i), facts.horizon, season, levels
                )
                for i, each in enumerate(data.series)
                if len(data.test_origins(i))
            ]
        )

    forecasts = {"model": tested, "naive": naive(1), "seasonal_naive": naive(facts.season)}
    target: Any = data.test.target
    return {name: ForecastScores.of(target, each, median, unit) for name, each in forecasts.items()}


def mackey_glass() -> Series:
    """A chaotic series to try a forecaster with:

    v' = 0.2 v(t - 17) / (1 + v(t - 17)¹⁰) - 0.1 v   (Mackey & Glass, 1977), 800 rows
    """
    delay, total = _DELAY * _SUBSTEPS, (_WARM_UP + _UNITS * 800) * _SUBSTEPS
    v = np.full(total + delay, 1.2)
    for t in range(delay, total + delay - 1):
        late = v[t - delay]
        v[t + 1] = v[t] + (0.2 * late / (1 + late**10) - 0.1 * v[t]) / _SUBSTEPS
    rows = v[delay + _WARM_UP * _SUBSTEPS :: _UNITS * _SUBSTEPS][:800, None]
    return Series(rows, None, "a chaotic series")
