"""Fits a model to series: its sizes, the choice of logarithms and of a calendar, and the parts of a forecast."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np

from xrnn.files import printable, quoted
from xrnn.series.checks import Series
from xrnn.series.errors import DataError, param
from xrnn.series.forecast import calendar
from xrnn.series.forecast.linear import average, effect_of
from xrnn.series.forecast.model import LEAST_ROWS, Facts, Model
from xrnn.series.forecast.recurrent import LEAST_SERIES, UNITS, learn, most_windows
from xrnn.series.forecast.series import TOO_FEW, OneSeries, mase_divisor
from xrnn.series.forecast.smoothing import confidence, preference
from xrnn.series.read import check_same
from xrnn.series.scale import Scale
from xrnn.series.times import Step, step_of
from xrnn.typing import HostArray

_TEST_SHARE: Final = 0.2  # of the rows, for the backtest
_LEAST_WINDOWS: Final = 8  # to learn from
_EQUAL: Final = 1.05  # errors count as equal if their ratio is smaller
# Shares of the rows to learn from. An earlier backtest learns from the rows up to a share, and holds out those up to
# the next one, at least a horizon.
_FOLDS: Final = (0.4, 0.6, 0.8, 1.0)
_MOST_NAMES: Final = 8  # of series, in a line
_MOST_SAMPLES: Final = 20_000  # of a series, for the linear part
_MOST_VALUES: Final = 2**23  # in the contexts of the samples of all series


@dataclass(frozen=True, eq=False)
class Fit:
    """Series, and the model that was fitted to their rows up to the cuts.

    backtest   the same series, with the last rows of each held out; None if nothing is held out
    """

    series: list[OneSeries]
    model: Model
    backtest: Fit | None = None

    @property
    def facts(self) -> Facts:
        return self.model.facts

    @cached_property
    def scored(self) -> list[int]:
        """The series that are scored: those with windows to test on, and windows before them to learn from."""
        return [i for i, each in enumerate(self.series) if len(each.training_origins) and len(each.test_origins)]

    @property
    def left_out(self) -> str:
        """A line: which series have no complete window to learn from; empty if all have one."""
        names = [each.id for each in self.series if not len(each.training_origins)]
        return f"no complete window to train on in {listed(names, len(self.series))}: {TOO_FEW}" if names else ""

    @property
    def unscored(self) -> str:
        """A line: which series are not scored; empty if all are."""
        scored = {*self.scored}
        names = [each.id for i, each in enumerate(self.series) if i not in scored]
        return f"not scored: {listed(names, len(self.series))}: {TOO_FEW}" if names else ""

    def folds(self) -> list[Fit]:
        """Earlier backtests, which hold out later parts of the rows to learn from. [] if the series are too short.

        They keep the choices made on all these rows, and the scales of the complete series.
        """
        folds: list[Fit] = []
        for start, stop in itertools.pairwise(_FOLDS):
            parts = []
            for each in self.series:
                end = round(stop * each.cut)
                cut = max(min(round(start * each.cut), end - self.facts.horizon), 0)
                if cut and not each.flaw and not np.isnan(each.given.values[:cut]).all(axis=0).any():
                    parts.append((each, cut, end))
            if not parts:
                continue
            scale = Scale.of(each.given.values[:cut, 1:] for each, cut, _ in parts)
            fold = _solved(
                [OneSeries(each.given, self.facts, scale, cut, end, each.scales) for each, cut, end in parts]
            ).fit()
            windows = sum(len(each.training_origins) for each in fold.series)
            if windows >= _LEAST_WINDOWS and any(len(each.test_origins) for each in fold.series):
                folds.append(fold)
        return folds


def fit_series(series: Sequence[Series], p: Any, *, backtest: bool = True) -> Fit:
    """The fit to all rows, and that of a backtest, which holds out the last fifth of each series.

    p          the parameters of a Forecaster
    backtest   False: no backtest; the known columns may then end with the target

    Raises DataError.
    """
    longest = max((each for each in series if each.times), key=lambda each: len(each.times or ()), default=series[0])
    step = step_of(longest.times or (), longest.name)
    expected = (step.name if step else "", f"{printable(longest.name)} has")
    series = [_extended(each, *expected, p.horizon) for each in series]
    rows = [each.target_rows.stop for each in series]
    cuts = [max(n - max(p.horizon, round(_TEST_SHARE * n)), 0) for n in rows]
    facts = _facts(series, rows, cuts, step, p)
    has_calendar = p.calendar == "auto" and all(each.times for each in series)
    name = calendar.calendar_of(step, max(rows)) if has_calendar else ""
    fit = _chosen(series, rows, facts, name)
    if all(each.flaw for each in fit.series):
        raise DataError(f"{printable(fit.series[0].name)} {fit.series[0].flaw}")
    if not backtest:
        return fit
    for one in fit.series:
        if not one.flaw:
            one.check_known()  # raises DataError
    divisors = [mase_divisor(each.values[:cut, 0], facts.season) for each, cut in zip(series, cuts, strict=True)]
    if not np.isfinite(divisors).any():
        return fit
    held_out = _chosen(series, cuts, facts, name)
    return replace(fit, backtest=held_out if held_out.scored else None)


def _chosen(series: Sequence[Series], cuts: Sequence[int], facts: Facts, calendar_name: str) -> Fit:
    """The fit to the rows before the cuts.

    The model forecasts the logarithms of positive values without jumps if the errors of the linear part are then
    smaller, or equal within 5 %. It has calendar columns if they lower these errors by more than 5 %.
    """
    enough = min(facts.least_rows + facts.horizon, max(cuts))
    known_scale = Scale.of(each.values[:cut, 1:] for each, cut in zip(series, cuts, strict=True) if cut >= enough)

    def made_by(facts: Facts) -> list[OneSeries]:
        return [OneSeries(each, facts, known_scale, cut) for each, cut in zip(series, cuts, strict=True)]

    tries = [made_by(facts)]
    if not any(each.unit for each in tries[0]):
        raise DataError(f"{printable(tries[0][0].name)} {tries[0][0].flaw}")
    used = [values[~np.isnan(values)] for values in (each.target[: each.cut] for each in tries[0] if each.unit)]
    if all((values > 0).all() for values in used) and sum(map(_jumps, used)) <= len(used) / 2:
        logarithms = made_by(replace(facts, log=True))
        if not all(each.flaw for each in logarithms):
            tries.append(logarithms)
    # Intervals of logarithms grow with the level, as errors of most growing series do: equal errors prefer them.
    best = min(map(_solved, tries), key=lambda each: each.error / (_EQUAL if each.model.facts.log else 1))
    if calendar_name:
        other = _solved(made_by(replace(best.model.facts, calendar=calendar_name)))
        best = other if other.error * _EQUAL < best.error else best
    return _with_recurrent(best.fit())


def _with_recurrent(fit: Fit) -> Fit:
    """With the recurrent part, if there are enough series to learn from."""
    used = [each for each in fit.series if not each.flaw and each.cut > fit.facts.least_rows]
    if len(used) < LEAST_SERIES:
        return fit
    most = most_windows(len(used), fit.facts.horizon)
    model = replace(fit.model, recurrent=learn([each.lessons(most) for each in used]))
    return Fit([each.use(model) for each in fit.series], model)


def _jumps(values: HostArray) -> bool:
    """Whether neighbours differ by a factor above 100: errors of logarithms would then give intervals without sense."""
    return len(values) > 1 and float(np.abs(np.diff(np.log(values))).max()) > math.log(100)


class _Solved(NamedTuple):
    """A model without exponential smoothing, and its tests: forecasts (n, F) of a series at left-out origins (n,)."""

    series: list[OneSeries]
    model: Model
    tests: list[tuple[OneSeries, HostArray, HostArray]]

    @property
    def error(self) -> float:
        """The mean error of the linear part, in units of MASE; infinite without tests."""
        return _mean([each.mean_errors(at, forecasts) for each, at, forecasts in self.tests])

    def fit(self) -> Fit:
        """With exponential smoothing. The share of the linear part is

            w n² / (n² + 60²),   w = 1 / (1 + r¹⁶)

        for the ratio r of its mean error to that of exponential smoothing on n left-out windows.
        """
        n = sum(len(at) for _, at, _ in self.tests)
        smooth = _mean([each.mean_errors(at, each.smoothed(at)) for each, at, _ in self.tests])
        # Without tests, and for rows that do not change, whose MASE is unknown: exponential smoothing alone.
        linear = confidence(n) * preference(self.error, smooth) if np.isfinite(smooth) else 0.0
        model = replace(self.model, smoothing=round(float(1 - linear), 2))
        return Fit([each.use(model) for each in self.series], model)


def _mean(parts: Sequence[HostArray]) -> float:
    errors = np.concatenate([*parts, np.zeros(0)])
    errors = errors[~np.isnan(errors)]
    return float(errors.mean()) if errors.size else np.inf


def _solved(series: list[OneSeries]) -> _Solved:
    """The linear part from the rows before the cuts, and the effect of the columns."""
    facts = series[0].facts
    C, F, K = facts.context, facts.horizon, facts.columns
    used = [each for each in series if each.unit]
    effect = effect_of([each.changes() for each in used], K) if K else np.zeros(0)
    model = Model(facts, series[0].known_scale, effect, np.zeros((C + 1, F)), 0.0, np.zeros((UNITS + 1, F)))
    for each in series:
        each.use(model)
    origins = [np.arange(max(facts.least_rows, each.cut - _MOST_SAMPLES), each.cut) for each in used]
    if (count := sum(map(len, origins))) > (most := max(_MOST_VALUES // C, 1)):
        # A random part of each, so that it has all ages and all phases of the season.
        rng = np.random.default_rng(0)
        origins = [np.sort(rng.choice(of, -(-len(of) * most // count), replace=False)) for of in origins]
    samples = [each.samples(of) for each, of in zip(used, origins, strict=True)]
    linear, tested = average(samples, facts.season)
    tests = []
    for i, rows, scaled in tested:
        each, of = used[i], samples[i]
        at = np.rint(of.origin[rows] * each.cut).astype(int)
        tests.append((each, at, of.level[rows] + of.scale[rows] * each.unit * scaled))
    return _Solved(series, replace(model, linear=linear), tests)


# ---- sizes and times ----


def _facts(series: Sequence[Series], rows: Sequence[int], cuts: Sequence[int], step: Step | None, p: Any) -> Facts:
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
    # Series without a window, also in the final fit, do not make the context shorter.
    long = [cut for cut, n in zip(cuts, rows, strict=True) if n >= max(season, LEAST_ROWS) + F]
    context = p.context or _context(long or cuts, F, season)
    if context < season:
        raise DataError(
            f"the context of {context} is shorter than the season of {season}: expected at least a season; give a "
            f"larger {param('context')}, more rows, or another {param('season')}"
        )
    return Facts(context, F, season, series[0].channels - 1, series[0].channel_names, step=step.name if step else "")


def _context(rows: Sequence[int], horizon: int, season: int) -> int:
    """The larger of three seasons, two horizons and 24 steps; fewer if the longest series, or most of them, are short.

    At least a season, and two seasons if there are as many rows.

    rows     to learn from, of each series
    """
    wanted = max(3 * season if season > 1 else 0, 2 * horizon, 24)
    longest, typical = max(rows), int(np.median(rows))
    available = min(max(2 * (longest - horizon) // 3, min(2 * season, longest)), typical)
    return max(min(wanted, available), season)


def as_fitted(series: Series, facts: Facts) -> Series:
    """The series with its known columns in the order of the model, and with the times of the steps ahead.

    The target may have another name. Raises DataError for missing columns and another step, and if the model has a
    calendar and the series no dates.
    """
    check_same(series, 1 + facts.known, None, "the model")
    have, expected = (names[1:] if names else () for names in (series.channel_names, facts.channel_names))
    if missing := [name for name in expected if have and name not in have]:
        raise DataError(
            f"{printable(series.name)} has no known column {quoted(missing[0])}: expected {quoted(', '.join(expected))}"
            "; name the columns as in training"
        )
    if have and expected:
        values = series.values[:, [0, *(1 + have.index(name) for name in expected)]]
        series = replace(series, values=values, channel_names=((series.channel_names or ("",))[0], *expected))
    if facts.calendar and not isinstance((series.times or [0])[0], datetime):
        raise DataError(
            f"{printable(series.name)} has no dates, and the model uses the {facts.calendar}: expected dates; add a "
            "column or an index of them"
        )
    return _extended(series, facts.step, "the model was trained on", facts.horizon)


def _extended(series: Series, expected: str, other: str, horizon: int) -> Series:
    """The series with the times of the steps ahead. A single time has no step: the step is then the one expected.

    expected   the name of the step;   other: the start of a sentence about it: "the model was trained on"

    Raises DataError if the times have another step.
    """
    if not series.times:
        return series
    step = step_of(series.times, series.name, like=expected)
    if not step:
        return series
    is_unit = " " in step.name  # the unit of numbers is unknown
    if expected and step.name != expected and is_unit == (" " in expected):
        raise DataError(
            f"{printable(series.name)} has steps of {step.name}, but {other} steps of {expected}: expected the same "
            "steps; correct the times, or train a model for each"
        )
    return replace(series, times=(*series.times, *step.after(series.times[-1], horizon)))


def listed(names: Sequence[str], count: int) -> str:
    """The number and the names of some of `count` series: "2 of 9 series (a, b)"."""
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return f"{len(names):,} of {count:,} series ({', '.join(map(printable, names[:_MOST_NAMES]))}{more})"


def fingerprint(series: Sequence[Series]) -> str:
    sha = hashlib.sha256()
    for each in series:
        sha.update(repr((each.values.shape, each.channel_names)).encode())
        sha.update(np.ascontiguousarray(each.values).data)
    return sha.hexdigest()
