"""Series to forecast, and the windows to learn from and to test on."""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np

from xrnn.files import printable, quoted, same_file
from xrnn.series.checks import Series, Time
from xrnn.series.errors import DataError, param
from xrnn.series.forecast import calendar
from xrnn.series.forecast.linear import LinearPart, Samples, age_weights, average, effect_of
from xrnn.series.forecast.windows import (
    FAR,
    LARGEST,
    ForecastFacts,
    Windows,
    contexts,
    fill,
    joined,
    limits_of_logarithms,
)
from xrnn.series.read import check_channels, check_same, read_path
from xrnn.series.scale import Scale
from xrnn.series.tables import Columns
from xrnn.series.times import Step, show, step_named, step_of
from xrnn.typing import HostArray

_TEST_SHARE: Final = 0.2  # of the rows, for the backtest
_LEAST_WINDOWS: Final = 8  # to train on
# Shares of the rows to train on. An earlier backtest trains on the rows up to a share, and holds out those up to the
# next one, at least a horizon.
_FOLDS: Final = (0.4, 0.6, 0.8, 1.0)
LEAST_DEVIATION: Final = 1e-150  # of a series: the square of a smaller number is 0 in float64
_LEAST_SCALE: Final = 0.05  # of the series' deviation: a window without changes has no scale of its own
_FAR_KNOWN: Final = 1000  # deviations: known values ahead that are farther from the mean of training are refused
_LEAST_ROWS: Final = 4  # before the first window
_MOST_NAMES: Final = 8  # of series, in a line
TOO_FEW: Final = "too few rows, missing or equal values"  # in a series without windows
_MOST_SAMPLES: Final = 20_000  # of a series, for the linear part
_MOST_VALUES: Final = 2**23  # in the contexts of the samples of all series
_DELAY: Final = 17  # time units of the chaotic series
_SUBSTEPS: Final = 10  # Euler steps in a time unit
_UNITS: Final = 3  # time units in a row
_WARM_UP: Final = 500  # time units


def least_rows(facts: ForecastFacts) -> int:
    """The rows before the first window. Its context may begin before the series."""
    return min(max(facts.season, _LEAST_ROWS), facts.context)


class Scales(NamedTuple):
    """The deviation and the unit of a series, see `ForecastSeries`; its lowest value, and its lowest positive one."""

    deviation: float
    unit: float
    lowest: float
    positive: float


class ForecastSeries:
    """One series, ready for windows.

    target      (T,), NaN for a missing value
    filled      (T,), without missing values
    covariates  (T or more, K), the known columns, standardised and filled, and the calendar columns, if the model has
                some: `series` then has the times of the steps ahead, too
    deviation   of the known values, and `unit`, their mean change over a season: scales of the series, of the
                logarithms if the model forecasts these. They are computed from the series itself, because a new file
                does not say which training series it continues
    """

    def __init__(
        self,
        series: Series,
        facts: ForecastFacts,
        known: Scale,
        train: int | None = None,
        scales: Scales | None = None,
        rows: int | None = None,
    ) -> None:
        """known: the scale of the covariates.   train: the number of rows to train on; None for all.

        scales   If `series` is only a part of a longer one: of that one; None to compute them
        rows     The number of rows before the steps to forecast; None: those up to the last known value
        """
        exists = np.flatnonzero(~np.isnan(series.values[:, 0]))
        self.name, self.id, self.times, self.facts = series.name, series.id or series.name, series.times, facts
        self.target: HostArray = series.values[: exists[-1] + 1 if rows is None else rows, 0]
        self.scales, self._no_scale = (scales, "") if scales else self._scales(train)
        self.deviation, self.unit = self.scales.deviation, self.scales.unit
        # Values that have no logarithm count as 1 % of the smallest one that has.
        self._logged: HostArray = (
            np.log(np.maximum(self.target, 0.01 * self.scales.positive)) if facts.log else self.target
        )
        self._least = 0.0 if self.scales.lowest >= 0 else -np.inf
        self.filled = fill(self.target, facts.season)
        self.covariates = known.apply(series.values[:, 1:])
        if facts.calendar:
            of_times = calendar.columns(facts.calendar, series.times or ())
            own = np.zeros((len(of_times), facts.known))
            own[: len(self.covariates)] = self.covariates
            self.covariates = np.concatenate([own, of_times], axis=1)
        self._known, self._known_scale = series.values[:, 1:], known  # (T or more, K), before they were filled
        self._target_name, *names = series.channel_names or ("",)
        self._covariate_names = names
        self._values: HostArray = self.filled
        self._linear: LinearPart  # set by `use`
        self._effect: HostArray = np.zeros(len(self.covariates))

    def _scales(self, train: int | None) -> tuple[Scales, str]:
        """The scales of the rows to train on. If there are none: a unit of 0, and why, as the words after the name."""
        values = self.target[:train]
        seen = values[~np.isnan(values)]
        positive = seen[seen > 0]
        ends = (float(seen.min(initial=np.inf)), float(positive.min(initial=np.inf)))
        used = positive if self.facts.log else seen
        values = np.log(np.where(values > 0, values, np.nan)) if self.facts.log else values
        rows = "rows" if train is None else "rows to train on"
        if self.facts.log and seen.size and not positive.size:
            got, expected = "no positive value, and the model forecasts logarithms", "positive values, as in training"
            remedy = "train a new model with this series"
        elif used.size == 0 or used.min() == used.max():
            got = f"the same value {used[0]:g}" if used.size else "no value"
            got += f" in all {'positive ' if used.size < seen.size else ''}{rows}"
            expected, remedy = "values that change", "add earlier rows, or leave the series out"
        elif (deviation := float(np.nanstd(values))) < LEAST_DEVIATION:
            got, expected = f"values with a deviation below {LEAST_DEVIATION:g}", "a larger one"
            remedy = "multiply the values by a constant"
        elif np.isnan(unit := mase_divisor(values, self.facts.season)):
            got = f"no two different values that are one row or one season apart, in the {rows}"
            expected, remedy = "some", "fill in missing values, or leave the series out"
        else:
            return Scales(deviation, unit, *ends), ""
        return Scales(0.0, 0.0, *ends), f"has {got}: expected {expected}; {remedy}"

    @property
    def flaw(self) -> str:
        """Why the model can't forecast this series, as the words after its name; empty if it can."""
        if self._no_scale or self.rows >= self.least_rows:
            return self._no_scale
        smaller = f", or train with a smaller {param('season')}" if self.least_rows > _LEAST_ROWS else ""
        return (
            f"has {self.rows} rows: expected at least {self.least_rows} before the steps to forecast; add rows{smaller}"
        )

    def use(self, linear: LinearPart) -> Self:
        """From now on, `linear` is the base of the windows."""
        self._linear = linear
        self._effect = self.unit * (self.covariates @ linear.effect)
        self._values = fill(self._logged - self._effect[: self.rows], self.facts.season)
        return self

    @property
    def value_name(self) -> str:
        """The name of the target; "value" without one."""
        return self._target_name or "value"

    @property
    def rows(self) -> int:
        """T."""
        return len(self.target)

    @property
    def least_rows(self) -> int:
        return least_rows(self.facts)

    def windows(self, origins: HostArray, *, targets: bool = True) -> Windows:
        """The windows at `origins`: the places of the first steps to forecast, (N,)."""
        C, F, m = self.facts.context, self.facts.horizon, self.facts.season
        z, level, scale = contexts(self._values, origins, self.facts, _LEAST_SCALE * self.deviation)
        change = np.zeros_like(z)
        change[:, m:] = z[:, m:] - z[:, :-m]
        before, ahead = origins[:, None] + np.arange(-C, 0), origins[:, None] + np.arange(F)
        K = self.facts.covariates
        of_steps = self.covariates[np.where(before < 0, before % m, before)]  # (N, C, K)
        x = np.concatenate([z[..., None], change[..., None], of_steps], axis=2).transpose(1, 0, 2)
        base = level + scale * self._linear(z)
        effect = self._effect[ahead] if K else np.zeros_like(base)
        if self.facts.log:
            limits = limits_of_logarithms(level + scale * z, self.unit, effect)
        else:
            limits = np.tile([self._least, np.inf], (*base.shape, 1))
        return Windows(
            np.ascontiguousarray(x, dtype=np.float32),
            (self.covariates[ahead] if K else np.zeros((len(origins), 0)))
            .reshape(len(origins), F * K)
            .astype(np.float32),
            base + effect,
            scale,
            np.full_like(scale, self.unit),
            limits,
            self.facts.log,
            self.target[ahead] if targets else None,
        )

    def changes(self, cut: int) -> tuple[HostArray, HostArray]:
        """The changes over a season up to a row: of the values in units of the series, and of the covariates."""
        m = self.facts.season
        values = self._logged[:cut] / self.unit
        return values[m:] - values[:-m], (self.covariates[m:cut] - self.covariates[: max(cut - m, 0)]).astype(
            np.float64
        )

    def sample_origins(self, cut: int) -> HostArray:
        """The origins of the windows up to a row, for the linear part."""
        return np.arange(max(self.least_rows, cut - _MOST_SAMPLES), cut)

    def samples(self, origins: HostArray, cut: int) -> Samples:
        """The windows at `origins` up to a row, for the linear part. Its scale is in units of the series."""
        z, level, scale = contexts(self._values, origins, self.facts, _LEAST_SCALE * self.deviation)
        F = self.facts.horizon
        exact = np.concatenate([self._logged[:cut] - self._effect[:cut], np.full(F, np.nan)])
        ahead = (exact[origins[:, None] + np.arange(F)] - level) / scale
        return Samples(z, ahead.clip(-FAR, FAR), origins / cut, 1 / cut, level, scale / self.unit)

    def errors(self, samples: Samples, rows: HostArray, forecast: HostArray, cut: int) -> HostArray:
        """The absolute errors of scaled forecasts (n, F) at some rows of the samples, in units of the values."""
        origins = np.rint(samples.origin[rows] * cut).astype(int)
        ahead = origins[:, None] + np.arange(self.facts.horizon)
        values = samples.level[rows] + samples.scale[rows] * self.unit * forecast + self._effect[ahead]
        values = np.exp(values.clip(-LARGEST, LARGEST)) if self.facts.log else values
        errors: HostArray = np.abs(values - self.target[ahead]) / mase_divisor(self.target[:cut], self.facts.season)
        return errors

    def next_window(self) -> Windows:
        """The window after the last value; if the series has a flaw, one whose forecast is naive.

        Raises DataError if the series lacks a known covariate.
        """
        if self.flaw:
            return self._naive_window()
        self.check_known()
        return self.windows(np.array([self.rows]), targets=False)

    def _naive_window(self) -> Windows:
        """A window that repeats the last season, or the last value if there are fewer rows; its scale is 0.

        Its intervals are as wide as those of the model, in units of the series. Without a unit, they have no width.
        """
        F, m, K = self.facts.horizon, self.facts.season, self.facts.covariates
        log = self.facts.log and self.unit > 0
        values = self._logged if log else self.target
        last = fill(values, m)[None, -m if self.rows >= m else -1 :]
        ends = [-LARGEST, LARGEST] if log else [self._least, np.inf]
        return Windows(
            np.zeros((self.facts.context, 1, 2 + K), np.float32),
            np.zeros((1, F * K), np.float32),
            last[:, np.arange(F) % last.shape[1]],
            np.zeros((1, 1)),
            np.full((1, 1), self.unit),
            np.tile(ends, (1, F, 1)),
            log,
        )

    def check_known(self) -> None:
        """Raises DataError if a known column lacks values in the steps after the last value, or has far-off ones.

        Those in the context of the forecast must not be far off either.
        """
        facts, scale = self.facts, self._known_scale
        ahead = self._known[self.rows : self.rows + facts.horizon]
        if facts.known and len(ahead) < facts.horizon:
            raise DataError(
                f"{printable(self.name)} has {len(ahead)} rows after the last value to forecast: expected "
                f"{facts.horizon} with the known columns; add the rows, or lower {param('horizon')}"
            )
        first = max(self.rows - facts.context, 0)
        values = self._known[first : self.rows + facts.horizon]
        far, missing = np.abs(values - scale.mean) > _FAR_KNOWN * scale.divisor, np.isnan(values)
        missing[: self.rows - first] = False
        for i, k in np.argwhere(missing | far):
            row = first + i
            time = f" ({show(self.times[row])})" if self.times else ""
            column = quoted(self._covariate_names[k]) if self._covariate_names else k + 1
            got, expected = "no value", f"one in each of the {facts.horizon} rows after the last value to forecast"
            if far[i, k]:
                reach = _FAR_KNOWN * scale.divisor[k]
                got, expected = f"{values[i, k]:g}", f"a number within {reach:.3g} of the mean of training"
            raise DataError(
                f"{printable(self.name)} has {got} in row {row + 1}{time} of the known column {column}: expected "
                f"{expected}; {'correct it' if far[i, k] else 'fill it in'}"
            )


@dataclass(frozen=True, eq=False)
class ForecastData:
    """Each series is trained on up to its row `cuts[i]`. In the data of a backtest, the rows after it are held out.

    A series that has a flaw, or too few rows, has no windows.

    linear      the linear part of the model
    covariate_scale   from the rows to train on
    source      a description in one line
    sources     the series as they were read
    past        the same series, for the backtest; None if nothing is held out
    """

    series: list[ForecastSeries]
    cuts: list[int]
    facts: ForecastFacts
    linear: LinearPart
    covariate_scale: Scale
    fingerprint: str
    source: str
    sources: Sequence[Series]
    past: ForecastData | None = None

    def training_origins(self, i: int) -> HostArray:
        """The origins of all windows to train on."""
        return self._origins(i, self.series[i].least_rows, self.cuts[i] - self.facts.horizon)

    @property
    def left_out(self) -> str:
        """A line: which series have no complete window to train on; empty if all have one."""
        names = [each.id for each, origins in zip(self.series, self._training, strict=True) if not len(origins)]
        if not names:
            return ""
        return f"no complete window to train on in {listed(names, len(self.series))}: {TOO_FEW}"

    @property
    def unscored(self) -> str:
        """A line: which series are not scored; empty if all are."""
        scored = {*self.scored}
        names = [each.id for i, each in enumerate(self.series) if i not in scored]
        return f"not scored: {listed(names, len(self.series))}: {TOO_FEW}" if names else ""

    @cached_property
    def scored(self) -> list[int]:
        """The series that are scored: those with windows to test on, and windows before them to train on."""
        return [i for i, origins in enumerate(self._training) if len(origins) and len(self.test_origins(i))]

    def folds(self) -> list[ForecastData]:
        """Earlier backtests, which hold out later parts of the rows to train on.   [] if the series are too short."""
        folds, F = [], self.facts.horizon
        for start, stop in itertools.pairwise(_FOLDS):
            cuts = [(max(min(round(start * cut), round(stop * cut) - F), 0), round(stop * cut)) for cut in self.cuts]
            used = [
                (each, one.scales, *of)
                for each, one, of in zip(self.sources, self.series, cuts, strict=True)
                if of[0] and not one.flaw and not np.isnan(each.values[: of[0]]).all(axis=0).any()
            ]
            if not used:
                continue
            sources, own, starts, stops = (list(each) for each in zip(*used, strict=True))
            fold = _divided(sources, starts, self.facts, (stops, own))
            if fold.train_count >= _LEAST_WINDOWS and len(fold.test.ahead):
                folds.append(fold)
        return folds

    def test_origins(self, i: int) -> HostArray:
        first = max(self.cuts[i], self.series[i].least_rows)
        return self._origins(i, first, self.series[i].rows - self.facts.horizon)

    def _origins(self, i: int, first: int, last: int) -> HostArray:
        """The origins from `first` to `last` whose steps ahead have a known value; none if the series has a flaw."""
        origins = np.arange(first, first if self.series[i].flaw else last + 1)
        known = ~np.isnan(self.series[i].target[origins[:, None] + np.arange(self.facts.horizon)]).any(axis=1)
        complete: HostArray = origins[known]
        return complete

    def scored_parts(self, tested: HostArray) -> list[HostArray]:
        """The forecasts of each scored series, among those of the windows `test`."""
        ends = np.cumsum([len(self.test_origins(i)) for i in range(len(self.series))])
        parts = np.split(tested, ends[:-1])
        return [parts[i] for i in self.scored]

    @cached_property
    def test(self) -> Windows:
        """The windows of the backtest: a forecast from every row (rolling origin)."""
        return joined([each.windows(self.test_origins(i)) for i, each in enumerate(self.series)])

    def train(self, places: HostArray) -> Windows:
        """The windows at `places` among all windows to train on."""
        ends = np.cumsum([len(origins) for origins in self._training])
        of_series = np.searchsorted(ends, places, side="right")
        parts = []
        for i in np.unique(of_series):
            origins = self._training[i]
            parts.append(self.series[i].windows(origins[places[of_series == i] - (ends[i] - len(origins))]))
        return joined(parts)

    @cached_property
    def train_count(self) -> int:
        return sum(map(len, self._training))

    @cached_property
    def _training(self) -> list[HostArray]:
        return [self.training_origins(i) for i in range(len(self.series))]


def load_series(paths: Sequence[Path], p: Any, columns: Columns) -> list[Series]:
    """The series in the files, the target first; without a file, a chaotic one.   Raises DataError."""
    for one, other in itertools.combinations(paths, 2):
        if same_file(one, other):
            raise DataError(f"got {other} twice: expected different files; name it once")
    names = columns.used
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(
            f"got the column {quoted(twice)} twice in {param('target')} and {param('known')}: expected different "
            "columns; leave one out"
        )
    series = [each for path in paths for each in read_path(path, columns)] if paths else [mackey_glass()]
    check_target(series, p)
    return series


def check_target(series: Sequence[Series], p: Any) -> None:
    """Raises DataError if the series do not have the target and the known covariates as their channels."""
    channels = check_channels(series)
    if p.known and not p.target:
        raise DataError(
            f"got {param('known')} without {param('target')}: expected the column to forecast too; add "
            f"{param('target')} COLUMN"
        )
    if channels > 1 and not p.target:
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
    for each in series:
        if np.isnan(each.values[:, 0]).all():
            raise DataError(f"{printable(each.name)} has no value to forecast: expected some; leave it out")
    step = _step(series)
    K, F = series[0].channels - 1, p.horizon
    rows = [int(np.flatnonzero(~np.isnan(each.values[:, 0]))[-1]) + 1 for each in series]
    season = p.season or (step.season if step and 2 * step.season <= max(rows) else 1)
    cuts = [_cut(n, F) for n in rows]
    # Series without a window, also in the final training, do not make the context shorter.
    long = [cut for cut, n in zip(cuts, rows, strict=True) if n >= max(season, _LEAST_ROWS) + F]
    context = p.context or _context(long or cuts, F, season)
    cuts = cuts if backtest else rows
    if context < season:
        raise DataError(
            f"the context of {context} is shorter than the season of {season}: expected at least a season; give a "
            f"larger {param('context')}, more rows, or another {param('season')}"
        )
    facts = ForecastFacts(context, F, season, K, series[0].channel_names, step=step.name if step else "")
    least = least_rows(facts)
    if sum(max(cut - least - F + 1, 0) for cut in cuts) < _LEAST_WINDOWS:
        longest = int(np.argmax(rows))
        raise DataError(
            f"{printable(series[longest].name)} has {rows[longest]} rows: {_needed(p, facts, backtest=backtest)}"
        )
    name = calendar.calendar_of(step, max(rows)) if p.calendar == "auto" else ""
    if name and step and all(each.times for each in series):
        series = [with_later_times(each, step, F) for each in series]
    else:
        name = ""
    past = _divided(series, cuts, facts, calendar_name=name)
    if not past.train_count or (backtest and not past.scored):
        raise DataError("too many values are missing: expected windows whose steps ahead are all known; fill some in")
    if not backtest:
        return past
    data = _divided(series, rows, facts, calendar_name=name)
    for one in data.series:
        if not one.flaw:
            one.check_known()  # raises DataError
    return replace(data, past=past)


def _needed(p: Any, facts: ForecastFacts, *, backtest: bool) -> str:
    """The end of an error: the number of rows that a single series needs, and the remedy."""
    F, m = facts.horizon, facts.season

    def used(rows: int) -> tuple[int, int]:
        """The rows to train on, and those before the first window."""
        cut = _cut(rows, F)
        context = p.context or _context([cut], F, m)
        return cut if backtest else rows, least_rows(replace(facts, context=context))

    enough = range(10 * (F + m + p.context + _LEAST_WINDOWS))
    n = bisect.bisect_left(enough, F + _LEAST_WINDOWS - 1, key=lambda rows: used(rows)[0] - used(rows)[1])
    cut, least = used(n)
    seasonal = least > _LEAST_ROWS
    first = f"a season of {m}" if seasonal else f"{least} rows before the first window"
    held = f" and {n - cut} held out" if backtest else ""
    limits = [param("horizon"), *([param("season")] if seasonal else [])]
    return f"expected at least {n} for {first}, a horizon of {F}{held}; lower {' or '.join(limits)}, or add rows"


def listed(names: Sequence[str], count: int) -> str:
    """The number and the names of some of `count` series: "2 of 9 series (a, b)"."""
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return f"{len(names):,} of {count:,} series ({', '.join(map(printable, names[:_MOST_NAMES]))}{more})"


def with_later_times(series: Series, step: Step, count: int) -> Series:
    """The series with the times of its rows and of the `count` steps after them."""
    return replace(series, times=step.extended(series.times or (), count))


def timed(series: Series, facts: ForecastFacts) -> Series:
    """The series with the times of the steps ahead, if the model has a calendar.   Raises DataError."""
    if not facts.calendar:
        return series
    step = check_step(series.times or (), series.name, facts.step, "the model was trained on")
    if step is None or not isinstance((series.times or [0])[0], datetime):
        raise DataError(
            f"{printable(series.name)} has no dates, and the model uses the {facts.calendar}: expected dates; add a "
            "column or an index of them"
        )
    return with_later_times(series, step, facts.horizon)


def _cut(rows: int, horizon: int) -> int:
    """The number of rows before those that the backtest holds out."""
    return max(rows - max(horizon, round(_TEST_SHARE * rows)), 0)


def _step(series: Sequence[Series]) -> Step | None:
    """The step of all series with times.   Raises DataError for different steps."""
    timed = sorted((each for each in series if each.times), key=lambda each: -len(each.times or ()))  # stable
    first = step_of(timed[0].times or (), timed[0].name) if timed else None
    for each in timed[1:]:
        check_step(each.times or (), each.name, first.name if first else "", f"{printable(timed[0].name)} has")
    return first


def check_step(times: Sequence[Time], name: str, expected: str, other: str) -> Step | None:
    """The step of `times`. A single time has none: the step is then the one called `expected`.

    Raises DataError if `times` have another step than `expected`.

    other   the start of a sentence about the expected step: "the model was trained on"
    """
    step = step_of(times, name, like=expected)
    if step is None and times:
        return step_named(expected, times[0])
    if step and step.contradicts(expected):
        raise DataError(
            f"{printable(name)} has steps of {step.name}, but {other} steps of {expected}: expected the same steps; "
            "correct the times, or train a model for each"
        )
    return step


def _divided(
    series: Sequence[Series],
    cuts: list[int],
    facts: ForecastFacts,
    fold: tuple[list[int], list[Scales]] | None = None,
    calendar_name: str = "",
) -> ForecastData:
    """The data with the rows after `cuts` held out.

    The model forecasts the logarithms of positive values, and has calendar columns, if the linear part has smaller
    errors with them. A fold keeps the choices made on all training rows.

    fold   the number of used rows, and the scales, of each series
    """
    enough = 0 if fold else least_rows(facts) + facts.horizon
    known = Scale.of(_training_covariates(each, cut) for each, cut in zip(series, cuts, strict=True) if cut >= enough)

    def made_by(facts: ForecastFacts) -> list[ForecastSeries]:
        return [
            ForecastSeries(each, facts, known, cut, scales, rows)
            for each, cut, rows, scales in zip(series, cuts, *(fold or ([None] * len(cuts),) * 2), strict=True)
        ]

    tries = [made_by(facts)]
    if not any(each.unit for each in tries[0]):
        raise DataError(f"{printable(tries[0][0].name)} {tries[0][0].flaw}")
    used = [each.target[:cut] for each, cut in zip(tries[0], cuts, strict=True) if each.unit]
    if not fold and all((values[~np.isnan(values)] > 0).all() for values in used):
        tries += [made for made in [made_by(replace(facts, log=True))] if any(each.unit for each in made)]
    made, part, least = min(((made, *solve(made, cuts)) for made in tries), key=lambda each: each[2])
    if calendar_name and not fold:
        other = made_by(replace(made[0].facts, calendar=calendar_name))
        part_of_other, error = solve(other, cuts)
        made, part = (other, part_of_other) if error < least else (made, part)
    return ForecastData(
        made, cuts, made[0].facts, part, known, fingerprint(series), _describe(series, made, facts), series
    )


def solve(series: list[ForecastSeries], cuts: list[int]) -> tuple[LinearPart, float]:
    """The linear part from the rows before the cuts; the series use it from now on. Also its mean error.

    The error is that of forecasts of later windows, in units of MASE; infinite if there are too few.
    """
    facts = series[0].facts
    C, F, K = facts.context, facts.horizon, facts.covariates
    both = [(each, cut) for each, cut in zip(series, cuts, strict=True) if each.unit]
    effect = effect_of([each.changes(cut) for each, cut in both], K) if K else np.zeros(0)
    for each in series:
        each.use(LinearPart(np.zeros((C + 1, F)), effect))
    origins = [each.sample_origins(cut) for each, cut in both]
    if (count := sum(map(len, origins))) > (most := max(_MOST_VALUES // C, 1)):
        # A random part of each, so that it has all ages and all phases of the season.
        rng = np.random.default_rng(0)
        origins = [np.sort(rng.choice(of, -(-len(of) * most // count), replace=False)) for of in origins]
    samples = [each.samples(of, cut) for (each, cut), of in zip(both, origins, strict=True)]
    W, tested = average(samples, facts.season)
    errors = [both[i][0].errors(samples[i], rows, of, both[i][1]).mean(axis=1) for i, rows, of in tested]
    weights = [age_weights(samples[i].origin[rows]) for i, rows, _ in tested]
    linear = LinearPart(W, effect)
    for each in series:
        each.use(linear)
    return linear, float(np.average(np.concatenate(errors), weights=np.concatenate(weights))) if errors else np.inf


def _training_covariates(series: Series, cut: int) -> HostArray:
    covariates = series.values[:cut, 1:]
    if np.isnan(covariates).all(axis=0).any():
        raise DataError(
            f"{printable(series.name)} has a known column without a value in its first {cut} rows, which are trained "
            f"on: expected some; leave the column out of {param('known')}"
        )
    return covariates


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
    """Means over the known values of a series; errors in units of the mean |v[t] - v[t - season]| in training.

    mase       |error| of the median   (Hyndman & Koehler, 2006)
    smape      200 |error| / (|value| + |forecast|), in percent
    coverage   the share of values between the lowest and the highest quantile
    pinball    the loss of the quantiles: q · e for a value that is e above the quantile q, (1 - q) · e for one below
    width      from the lowest to the highest quantile
    steps      the MASE of each step ahead; NaN if no value of the step is known
    """

    mase: float
    smape: float
    coverage: float
    pinball: float
    width: float
    steps: tuple[float, ...]

    @classmethod
    def of(cls, target: HostArray, forecast: HostArray, levels: tuple[float, ...], unit: float) -> ForecastScores:
        """target (N, F), NaN for a missing value; forecast (N, F, Q)."""
        exists, median = ~np.isnan(target), forecast[..., levels.index(0.5)]
        error, size = np.abs(target - median), np.abs(target) + np.abs(median)
        relative = np.divide(200 * error, size, out=np.zeros_like(error), where=size > 0)
        inside = (forecast[..., 0] <= target) & (target <= forecast[..., -1])
        above, q = target[..., None] - forecast, np.array(levels)
        pinball = np.maximum(q * above, (q - 1) * above).mean(axis=-1)
        width = forecast[..., -1] - forecast[..., 0]
        of_all = (error / unit, relative, inside, pinball / unit, width / unit)
        count = exists.sum(axis=0)
        steps = tuple((np.nansum(error / unit, axis=0) / np.where(count, count, np.nan)).tolist())
        mase, smape, coverage, of_pinball, of_width = (float(each[exists].mean()) for each in of_all)
        return cls(mase, smape, coverage, of_pinball, of_width, steps)

    @classmethod
    def mean(cls, scores: Sequence[ForecastScores]) -> ForecastScores:
        """The means over series: each series has the same weight."""
        mase, smape, coverage, pinball, width = np.mean([each[:-1] for each in scores], axis=0).tolist()
        steps = tuple(np.mean([each.steps for each in scores], axis=0).tolist())
        return cls(mase, smape, coverage, pinball, width, steps)


def mase_divisor(values: HostArray, season: int) -> float:
    """The mean |v[t] - v[t - season]| of values (T,); NaN for a missing value.

    If it is 0, because the series is strictly periodic, or if no two known values are a season apart: the mean
    |v[t] - v[t - 1]|. NaN if this is 0 or unknown too: the MASE is then undefined.
    """
    return _mean_change(values, season) or _mean_change(values, 1) or np.nan


def _mean_change(values: HostArray, distance: int) -> float:
    changes = np.abs(values[distance:] - values[:-distance])
    changes = changes[~np.isnan(changes)]
    return float(changes.mean()) if changes.size else 0.0


def seasonal_naive(values: HostArray, origins: HostArray, horizon: int, season: int) -> HostArray:
    """The last `season` of values (T,), repeated: (N, F)."""
    repeated: HostArray = values[origins[:, None] - season + np.arange(horizon) % season]
    return repeated


def drift(values: HostArray, origins: HostArray, horizon: int) -> HostArray:
    """The line from the first value to the last one before each origin, continued: (N, F)."""
    slope = (values[origins - 1] - values[0]) / np.maximum(origins - 1, 1)
    line: HostArray = values[origins - 1, None] + slope[:, None] * np.arange(1, horizon + 1)
    return line


def with_quantiles(forecast: HostArray, errors: HostArray, levels: tuple[float, ...]) -> HostArray:
    """A forecast (N, F) with the quantiles of its errors in training (n, F), NaN if missing → (N, F, Q)."""
    spread = np.nanquantile(errors, levels, axis=0).T  # (F, Q)
    spread[:, levels.index(0.5)] = 0  # the forecast itself
    quantiles: HostArray = forecast[..., None] + spread
    return quantiles


def score(data: ForecastData, tested: HostArray, levels: tuple[float, ...]) -> dict[str, dict[str, ForecastScores]]:
    """The scores of the model's forecasts `tested` of the windows `data.test`, and of simpler forecasts.

    By the name of each scored series, and by method.
    """
    F, m = data.facts.horizon, data.facts.season
    simpler: dict[str, Callable[[ForecastSeries, HostArray], HostArray]] = {
        "naive": lambda series, at: seasonal_naive(series.filled, at, F, 1),
        "seasonal_naive": lambda series, at: seasonal_naive(series.filled, at, F, m),
        "drift": lambda series, at: drift(series.filled, at, F),
        "linear": lambda series, at: series.windows(at).forecast(np.zeros((len(at), F, 1)))[..., 0],
    }
    scores: dict[str, dict[str, ForecastScores]] = {}
    for i, of_model in zip(data.scored, data.scored_parts(tested), strict=True):
        each, at, past = data.series[i], data.test_origins(i), data.training_origins(i)
        forecasts = {"model": of_model}
        for name, forecast in simpler.items():
            errors = each.target[past[:, None] + np.arange(F)] - forecast(each, past)
            forecasts[name] = with_quantiles(forecast(each, at), errors, levels)
        target, unit = each.target[at[:, None] + np.arange(F)], mase_divisor(each.target[: data.cuts[i]], m)
        of_series = {name: ForecastScores.of(target, values, levels, unit) for name, values in forecasts.items()}
        scores[_unused(each.name, scores)] = of_series
    return scores


def mean_scores(scores: dict[str, dict[str, ForecastScores]]) -> dict[str, ForecastScores]:
    """By method: the means over series."""
    by_method = zip(*(of.items() for of in scores.values()), strict=True)
    return {each[0][0]: ForecastScores.mean([of for _, of in each]) for each in by_method}


def _unused(name: str, used: Container[str]) -> str:
    """`name`, with a number if it is used: files may have equal names."""
    names = itertools.chain([name], (f"{name} ({i})" for i in itertools.count(2)))
    return next(each for each in names if each not in used)


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
