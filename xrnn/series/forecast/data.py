"""Series to forecast, and the windows to learn from and to test on."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from xrnn.files import printable, quoted
from xrnn.series.checks import Series
from xrnn.series.errors import DataError, param
from xrnn.series.forecast import calendar
from xrnn.series.forecast.linear import Base, average, effect_of
from xrnn.series.forecast.series import LEAST_ROWS, TOO_FEW, ForecastSeries, Scales, least_rows, mase_divisor
from xrnn.series.forecast.smoothing import confidence, preference
from xrnn.series.forecast.windows import ForecastFacts, Windows, joined
from xrnn.series.read import check_channels, check_same, read_path
from xrnn.series.scale import Scale
from xrnn.series.tables import Columns
from xrnn.series.times import Step, step_named, step_of
from xrnn.typing import HostArray

_TEST_SHARE: Final = 0.2  # of the rows, for the backtest
_LEAST_WINDOWS: Final = 8  # to train on
_EQUAL: Final = 1.05  # errors count as equal if their ratio is smaller
# Shares of the rows to train on. An earlier backtest trains on the rows up to a share, and holds out those up to the
# next one, at least a horizon.
_FOLDS: Final = (0.4, 0.6, 0.8, 1.0)
_MOST_NAMES: Final = 8  # of series, in a line
_MOST_VALUES: Final = 2**23  # in the contexts of the samples of all series


@dataclass(frozen=True, eq=False)
class ForecastData:
    """Each series is trained on up to its row `cut`. In the data of a backtest, the rows after it are held out.

    A series that has a flaw, or too few rows, has no windows.

    base          of the windows
    known_scale   of the known columns, from the rows to train on
    backtest      the same series, for the backtest; None if nothing is held out
    """

    series: list[ForecastSeries]
    base: Base
    known_scale: Scale
    backtest: ForecastData | None = None

    @property
    def facts(self) -> ForecastFacts:
        return self.series[0].facts

    @property
    def fingerprint(self) -> str:
        return fingerprint([each.given for each in self.series])

    @property
    def description(self) -> str:
        """Lines: the series, their sizes and missing cells, and the channels."""
        rows = [each.rows for each in self.series]
        span = f"{min(rows):,}" if min(rows) == max(rows) else f"{min(rows):,} to {max(rows):,}"
        name, of_each = (f"{len(rows):,} series", " each") if len(rows) > 1 else (self.series[0].name, "")
        missing = sum(int(np.isnan(each.given.values[: each.rows]).sum()) for each in self.series)
        gaps = f", {missing:,} missing value{'s' * (missing > 1)}" if missing else ""
        names, horizon = self.facts.channel_names, self.facts.horizon
        channels = f"\nchannels: {printable(', '.join(names))}" if names else ""
        return (
            f"{printable(name)}, {span} rows{of_each}{gaps}, season {self.facts.season}; {horizon} "
            f"step{'s' * (horizon > 1)} ahead from {self.facts.context}{channels}"
        )

    def training_origins(self, i: int) -> HostArray:
        """The origins of the windows of a series to train on."""
        return self.training[_of_series(self.training, i), 1]

    def test_origins(self, i: int) -> HostArray:
        """The origins of the backtest: a forecast from every row (rolling origin)."""
        return self.tested[_of_series(self.tested, i), 1]

    @cached_property
    def training(self) -> HostArray:
        """All windows to train on: the number of the series, and the place of the first step to forecast, (N, 2)."""
        return self._places([(each.least_rows, each.cut) for each in self.series])

    @cached_property
    def tested(self) -> HostArray:
        """The windows of the backtest."""
        return self._places([(max(each.cut, each.least_rows), each.rows) for each in self.series])

    def _places(self, ends: Sequence[tuple[int, int]]) -> HostArray:
        """The places between the ends of each series whose steps ahead all have values; none with a flaw."""
        F, found = self.facts.horizon, [np.zeros((0, 2), int)]
        for i, (each, (first, last)) in enumerate(zip(self.series, ends, strict=True)):
            origins = np.arange(first, first if each.flaw else last - F + 1)
            origins = origins[~np.isnan(each.target[origins[:, None] + np.arange(F)]).any(axis=1)]
            found.append(np.stack([np.full(len(origins), i), origins], axis=1))
        return np.concatenate(found)

    def windows(self, places: HostArray) -> Windows:
        """The windows at places (N, 2), grouped by series."""
        return joined([self.series[i].windows(places[places[:, 0] == i, 1]) for i in np.unique(places[:, 0])])

    @cached_property
    def test(self) -> Windows:
        return self.windows(self.tested)

    @property
    def left_out(self) -> str:
        """A line: which series have no complete window to train on; empty if all have one."""
        trained = {*self.training[:, 0].tolist()}
        names = [each.id for i, each in enumerate(self.series) if i not in trained]
        return f"no complete window to train on in {listed(names, len(self.series))}: {TOO_FEW}" if names else ""

    @property
    def unscored(self) -> str:
        """A line: which series are not scored; empty if all are."""
        scored = {*self.scored}
        names = [each.id for i, each in enumerate(self.series) if i not in scored]
        return f"not scored: {listed(names, len(self.series))}: {TOO_FEW}" if names else ""

    @cached_property
    def scored(self) -> list[int]:
        """The series that are scored: those with windows to test on, and windows before them to train on."""
        scored: list[int] = np.intersect1d(self.training[:, 0], self.tested[:, 0]).tolist()
        return scored

    def folds(self) -> list[ForecastData]:
        """Earlier backtests, which hold out later parts of the rows to train on.   [] if the series are too short."""
        folds: list[ForecastData] = []
        F = self.facts.horizon
        for start, stop in itertools.pairwise(_FOLDS):
            parts = []
            for each in self.series:
                end = round(stop * each.cut)
                cut = max(min(round(start * each.cut), end - F), 0)
                if cut and not each.flaw and not np.isnan(each.given.values[:cut]).all(axis=0).any():
                    parts.append(Part(each.given, cut, each.scales, end))
            fold = _divided(parts, self.facts) if parts else None
            if fold and len(fold.training) >= _LEAST_WINDOWS and len(fold.tested):
                folds.append(fold)
        return folds

    def early_errors(self) -> tuple[HostArray, HostArray]:
        """The errors of exponential smoothing in the rows to train on, and their reach: each (N, F)."""
        parts = [each.early_errors() for each in self.series if not each.flaw]
        errors, reach = (np.concatenate(each) for each in zip(*parts, strict=True))
        return errors, reach

    def scored_parts(self, forecasts: HostArray) -> list[HostArray]:
        """The forecasts of each scored series, among those of the windows `test`."""
        return [forecasts[_of_series(self.tested, i)] for i in self.scored]


def _of_series(places: HostArray, i: int) -> slice:
    """The part of places (N, 2) of the series i."""
    return slice(*np.searchsorted(places[:, 0], [i, i + 1]).tolist())


def load_series(paths: Sequence[Path], p: Any, columns: Columns) -> list[Series]:
    """The series in the files, the target first.   Raises DataError."""
    series = [each for path in paths for each in read_path(path, columns)]
    check_target(series, p)
    return series


def check_target(series: Sequence[Series], p: Any) -> None:
    """Raises DataError if the series do not have the target and the known covariates as their channels."""
    channels = check_channels(series)
    if (channels > 1 or p.known) and not p.target:
        names = series[0].channel_names
        have = f": {', '.join(map(printable, names))}"[:200] if names else ""
        raise DataError(
            f"{printable(series[0].name)} has {channels} columns of numbers{have}: expected the one to forecast; add "
            f"{param('target')} COLUMN"
        )


def aligned(series: Series, facts: ForecastFacts) -> Series:
    """The series with its known columns in the order of the model; the target may have another name.

    Raises DataError if it lacks one.
    """
    check_same(series, 1 + facts.known, None, "the model")
    have, expected = (names[1:] if names else () for names in (series.channel_names, facts.channel_names))
    if missing := [name for name in expected if have and name not in have]:
        raise DataError(
            f"{printable(series.name)} has no known column {quoted(missing[0])}: expected {quoted(', '.join(expected))}"
            "; name the columns as in training"
        )
    if not have or not expected:
        return series
    values = series.values[:, [0, *(1 + have.index(name) for name in expected)]]
    return replace(series, values=values, channel_names=((series.channel_names or ("",))[0], *expected))


def prepare(series: Sequence[Series], p: Any, *, backtest: bool = True) -> ForecastData:
    """The data of a run, and those of a backtest, which holds out the last fifth of each series.

    The final model is trained on all rows. Without a backtest, the known columns may end with the target.

    Raises DataError.
    """
    series, step = _with_later_times(series, p.horizon)
    rows = [each.target_rows.stop for each in series]
    cuts = [_cut(n, p.horizon) for n in rows]
    facts = _facts(series, rows, cuts, step, p)
    has_calendar = p.calendar == "auto" and all(each.times for each in series)
    name = calendar.calendar_of(step, max(rows)) if has_calendar else ""
    data = _divided([*map(Part, series, rows)], facts, name)
    if all(each.flaw for each in data.series):
        raise DataError(f"{printable(data.series[0].name)} {data.series[0].flaw}")
    if not backtest:
        return data
    for one in data.series:
        if not one.flaw:
            one.check_known()  # raises DataError
    if not any(
        np.isfinite(mase_divisor(each.values[:cut, 0], facts.season)) for each, cut in zip(series, cuts, strict=True)
    ):
        return data
    held_out = _divided([*map(Part, series, cuts)], facts, name)
    return replace(data, backtest=held_out if held_out.scored else None)


def _facts(
    series: Sequence[Series], rows: Sequence[int], cuts: Sequence[int], step: Step | None, p: Any
) -> ForecastFacts:
    """The sizes of a window, before the choice of logarithms and of a calendar.   Raises DataError."""
    if 0 in rows:
        raise DataError(
            f"{printable(series[rows.index(0)].name)} has no value to forecast: expected some; leave it out"
        )
    F, longest = p.horizon, max(rows)
    if longest < F:
        raise DataError(
            f"{printable(series[rows.index(longest)].name)} has {longest} row{'s' * (longest > 1)}: expected at least "
            f"{F}, the horizon; add rows, or lower {param('horizon')}"
        )
    season = p.season or (step.season if step and 2 * step.season <= longest else 1)
    # Series without a window, also in the final training, do not make the context shorter.
    long = [cut for cut, n in zip(cuts, rows, strict=True) if n >= max(season, LEAST_ROWS) + F]
    context = p.context or _context(long or cuts, F, season)
    if context < season:
        raise DataError(
            f"the context of {context} is shorter than the season of {season}: expected at least a season; give a "
            f"larger {param('context')}, more rows, or another {param('season')}"
        )
    return ForecastFacts(
        context, F, season, series[0].channels - 1, series[0].channel_names, step=step.name if step else ""
    )


def listed(names: Sequence[str], count: int) -> str:
    """The number and the names of some of `count` series: "2 of 9 series (a, b)"."""
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return f"{len(names):,} of {count:,} series ({', '.join(map(printable, names[:_MOST_NAMES]))}{more})"


def timed(series: Series, facts: ForecastFacts) -> Series:
    """The series with the times of the steps ahead.

    Raises DataError for another step than that of the model, and if the model has a calendar and the series no dates.
    """
    if facts.calendar and not isinstance((series.times or [0])[0], datetime):
        raise DataError(
            f"{printable(series.name)} has no dates, and the model uses the {facts.calendar}: expected dates; add a "
            "column or an index of them"
        )
    return _extended(series, facts.step, "the model was trained on", facts.horizon)


def _cut(rows: int, horizon: int) -> int:
    """The number of rows before those that the backtest holds out."""
    return max(rows - max(horizon, round(_TEST_SHARE * rows)), 0)


def _with_later_times(series: Sequence[Series], horizon: int) -> tuple[list[Series], Step | None]:
    """The series with the times of the steps ahead, and their step.   Raises DataError for different steps."""
    longest = max((each for each in series if each.times), key=lambda each: len(each.times or ()), default=series[0])
    step = step_of(longest.times or (), longest.name)
    name, other = step.name if step else "", f"{printable(longest.name)} has"
    return [_extended(each, name, other, horizon) for each in series], step


def _extended(series: Series, expected: str, other: str, horizon: int) -> Series:
    """The series with the times of the steps ahead. A single time has no step: the step is then the one expected.

    expected   the name of the step;   other: the start of a sentence about it: "the model was trained on"

    Raises DataError if the times have another step.
    """
    if not series.times:
        return series
    step = step_of(series.times, series.name, like=expected) or step_named(expected, series.times[0])
    if step and step.contradicts(expected):
        raise DataError(
            f"{printable(series.name)} has steps of {step.name}, but {other} steps of {expected}: expected the same "
            "steps; correct the times, or train a model for each"
        )
    return replace(series, times=step.extended(series.times, horizon)) if step else series


class Part(NamedTuple):
    """A series, and the number of rows to train on.

    scales, rows   only of a fold, which is the beginning of a series: the scales of the complete series, and the number
                   of rows of the fold
    """

    series: Series
    cut: int
    scales: Scales | None = None
    rows: int | None = None


def _divided(parts: Sequence[Part], facts: ForecastFacts, calendar_name: str = "") -> ForecastData:
    """The data with the rows after the cuts held out.

    The model forecasts the logarithms of positive values without jumps if the errors of the linear part are then
    smaller, or equal within 5 %. It has calendar columns if they lower these errors by more than 5 %. A fold keeps the
    choices made on all training rows.
    """
    is_fold = parts[0].scales is not None
    enough = 0 if is_fold else min(least_rows(facts) + facts.horizon, max(each.cut for each in parts))
    known_scale = Scale.of(each.series.values[: each.cut, 1:] for each in parts if each.cut >= enough)

    def made_by(facts: ForecastFacts) -> list[ForecastSeries]:
        return [ForecastSeries(each.series, facts, known_scale, each.cut, each.scales, each.rows) for each in parts]

    tries = [made_by(facts)]
    if not any(each.unit for each in tries[0]):
        raise DataError(f"{printable(tries[0][0].name)} {tries[0][0].flaw}")
    used = [values[~np.isnan(values)] for values in (each.target[: each.cut] for each in tries[0] if each.unit)]
    if not is_fold and all((values > 0).all() for values in used) and sum(map(_jumps, used)) <= len(used) / 2:
        logarithms = made_by(replace(facts, log=True))
        if not all(each.flaw for each in logarithms):
            tries.append(logarithms)
    # Intervals of logarithms grow with the level, as errors of most growing series do: equal errors prefer them.
    linear = min(map(solve, tries), key=lambda each: each.error / (_EQUAL if each.log else 1))
    if calendar_name:
        with_calendar = solve(made_by(replace(linear.series[0].facts, calendar=calendar_name)))
        linear = min(linear, with_calendar, key=lambda each: each.error * (_EQUAL if each is with_calendar else 1))
    return ForecastData(linear.series, linear.with_smoothing(), known_scale)


def _jumps(values: HostArray) -> bool:
    """Whether neighbours differ by a factor above 100: errors of logarithms would then give intervals without sense."""
    return len(values) > 1 and float(np.abs(np.diff(np.log(values))).max()) > math.log(100)


class Tested(NamedTuple):
    """Forecasts (n, F) of the linear part of a series at left-out origins (n,) before its cut."""

    series: ForecastSeries
    origins: HostArray
    forecasts: HostArray


class Solved(NamedTuple):
    """Series, a base without exponential smoothing, and its tests on later windows; [] if they are too few."""

    series: list[ForecastSeries]
    base: Base
    tests: list[Tested]

    def error_of(self, forecasts: Sequence[HostArray]) -> float:
        """The mean error of forecasts at the origins of the tests, in units of MASE; infinite without tests."""
        parts = [each.errors(at, of) for (each, at, _), of in zip(self.tests, forecasts, strict=True)]
        errors = np.concatenate([*parts, np.zeros(0)])
        errors = errors[~np.isnan(errors)]
        return float(errors.mean()) if errors.size else np.inf

    @property
    def log(self) -> bool:
        return self.series[0].facts.log

    @property
    def error(self) -> float:
        """The mean error of the linear part, in units of MASE."""
        return self.error_of([each.forecasts for each in self.tests])

    def with_smoothing(self) -> Base:
        """The base, which the series use from now on. The share of its linear part is

            w n² / (n² + 60²),   w = 1 / (1 + r¹⁶)

        for the ratio r of its mean error to that of exponential smoothing on n left-out windows.
        """
        n = sum(len(each.origins) for each in self.tests)
        smooth = self.error_of([each.series.smoothed(each.origins) for each in self.tests])
        share = 1 - confidence(n) * preference(self.error, smooth) if n else 1.0
        base = replace(self.base, share=round(float(share), 2))
        for each in self.series:
            each.use(base)
        return base


def solve(series: list[ForecastSeries]) -> Solved:
    """The linear part from the rows before the cuts, and the effect of known columns."""
    facts = series[0].facts
    C, F, K = facts.context, facts.horizon, facts.covariates
    used = [each for each in series if each.unit]
    effect = effect_of([each.changes() for each in used], K) if K else np.zeros(0)
    for each in series:
        each.use(Base(np.zeros((C + 1, F)), effect))
    origins = [each.sample_origins() for each in used]
    if (count := sum(map(len, origins))) > (most := max(_MOST_VALUES // C, 1)):
        # A random part of each, so that it has all ages and all phases of the season.
        rng = np.random.default_rng(0)
        origins = [np.sort(rng.choice(of, -(-len(of) * most // count), replace=False)) for of in origins]
    samples = [each.samples(of) for each, of in zip(used, origins, strict=True)]
    W, tested = average(samples, facts.season)
    tests = []
    for i, rows, scaled in tested:
        each, of = used[i], samples[i]
        forecasts = of.level[rows] + of.scale[rows] * each.unit * scaled
        at = np.rint(of.origin[rows] * each.cut).astype(int)
        tests.append(Tested(each, at, forecasts))
    return Solved(series, Base(W, effect), tests)


def _context(rows: Sequence[int], horizon: int, season: int) -> int:
    """The larger of three seasons, two horizons and 24 steps; fewer if the longest series, or most of them, are short.

    At least a season, and two seasons if there are as many rows.

    rows     to train on, of each series
    """
    wanted = max(3 * season if season > 1 else 0, 2 * horizon, 24)
    longest, typical = max(rows), int(np.median(rows))
    available = min(max(2 * (longest - horizon) // 3, min(2 * season, longest)), typical)
    return max(min(wanted, available), season)


def fingerprint(series: Sequence[Series]) -> str:
    sha = hashlib.sha256()
    for each in series:
        sha.update(repr((each.values.shape, each.channel_names)).encode())
        sha.update(np.ascontiguousarray(each.values).data)
    return sha.hexdigest()
