"""A fitted model, and one series: what the parts of a model read of it, and its forecasts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

import numpy as np

from xrnn.files import printable, quoted
from xrnn.series.errors import DataError, param
from xrnn.series.forecast.known import explained_by_known, find_errors
from xrnn.series.forecast.linear import BLOCKS, FAR, affine, effect_or_factor
from xrnn.series.forecast.outliers import (
    LeftOut,
    constant_rows,
    find_outliers,
    find_suspects,
    in_old_unit,
    outliers_at_end,
    rows_of_new_level,
    unit_change,
)
from xrnn.series.forecast.recurrent import states
from xrnn.series.forecast.smoothing import exponential, with_errors
from xrnn.series.one_series import Series, Time
from xrnn.series.scale import Scale
from xrnn.series.steps import calendar_columns, show
from xrnn.typing import HostArray

LEAST_ROWS: Final = 4  # before the first window
_LEAST_DEVIATION: Final = 1e-150  # of a series: the square of a smaller number is 0 in float64
_LEAST_SCALE: Final = 0.05  # of the series' deviation: a context without changes has no scale of its own
_FAR_KNOWN: Final = 1000  # deviations: known values ahead that are farther from the mean of training are refused
_ROUNDING: Final = 1e-6
_UNSURE: Final = 4  # rows after a possible outlier, in which they may show that it is none
_AMOUNTS: Final = 1.3  # see `PreparedSeries._grows_by_amounts`
_REACH: Final = 3.0  # usual changes in a horizon, by which a forecast of logarithms may leave the past range
TOO_FEW: Final = "too few rows, missing or equal values"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The parameters of a fit: the steps to forecast, those in a season, 0 if the times tell, and the quantiles."""

    horizon: int
    season: int = 0
    levels: tuple[float, ...] = (0.1, 0.5, 0.9)


@dataclass(frozen=True, kw_only=True, eq=False)
class Setup:
    """The sizes of a model, and what it does to the values before its parts read them.

    horizon F, season m, context C   steps
    channel_names   the target, then the K known columns
    step            the name of the step of the times; empty without times
    log             True if the model forecasts logarithms
    calendar        the name of its calendar columns, see `calendar_columns`; empty for none
    known_scale     of the known columns, from the rows to learn from
    effect          of the known and calendar columns, in units of a series, see `PreparedSeries`: it is removed from
                    the values
    """

    horizon: int
    season: int
    context: int
    channel_names: tuple[str, ...] | None
    step: str
    log: bool = False
    calendar: str = ""
    known_scale: Scale = field(repr=False)
    effect: HostArray = field(repr=False)

    @property
    def known(self) -> int:
        """K"""
        return len(self.known_scale.mean)

    @property
    def least_rows(self) -> int:
        """The rows before the first window. Its context may begin before the series."""
        return max(self.season, LEAST_ROWS)


@dataclass(frozen=True, kw_only=True, eq=False)
class Model(Setup):
    """forecast = smoothing · smoothed + (1 - smoothing) · (level + scale · [z; 1] @ linear)
                + unit · ([h; 1] @ recurrent + columns @ effect)

    `smoothed` is the forecast of exponential smoothing, z (C,) the context scaled by its own level and scale, and h
    (H,) the last state of a GRU that read the recent errors of exponential smoothing. They are computed without the
    effect of the columns, of logarithms if `log`. A quantile is the forecast + width · offset, with the width
    unit · (1 + spread · reach) · widening.

    linear          (C + 1, F), 0 if there is no linear part
    smoothing       the share of exponential smoothing
    recurrent       (H + 1, F), the output layer of the recurrent part, 0 if there is none
    levels          the Q quantiles, with the median
    offsets         (2, F, Q), the distances of the quantiles from the forecast, in units of a series; 0 for the median.
                    The second ones are those of series that seldom change: their errors are mostly far below a unit
    spread          how much an interval widens for a reach of 1: the reach is the size of the effect of known columns
    widening        (C,), by the number of rows of a series that has fewer than the context; otherwise 1
    """

    linear: HostArray = field(repr=False)
    smoothing: float
    recurrent: HostArray = field(repr=False)
    levels: tuple[float, ...]
    offsets: HostArray = field(repr=False)
    spread: float
    widening: HostArray = field(repr=False)


def fill(values: HostArray, season: int) -> HostArray:
    """values (T,) without NaN: a missing value gets that a season before, else the last one, else the first one."""
    filled = values.copy()
    first = np.flatnonzero(~np.isnan(values))[0]
    filled[:first] = values[first]
    for t in np.flatnonzero(np.isnan(filled)):
        filled[t] = filled[t - season] if t >= season else filled[t - 1]
    return filled


def first_row(given: Series, rows: int | None = None) -> tuple[int, float | None]:
    """The first row that a forecast reads, and the value of a constant part before it; None without one.

    rows   the number of rows that a forecast knows; None for all
    """
    start = given.target_rows.start
    constant = constant_rows(given.values[start:rows, 0])
    return start + constant, float(given.values[start, 0]) if constant else None


def in_one_unit(given: Series, season: int) -> Series:
    """The series with all rows in the unit of its first ones."""
    change = unit_change(given.values[: given.target_rows.stop, 0], season)
    if not change:
        return given
    values = given.values.copy()
    values[:, 0] = in_old_unit(values[:, 0], *change)
    return replace(given, values=values)


def _without(values: HostArray, rows: Iterable[int]) -> HostArray:
    """values (T,) with NaN in these rows."""
    values = values.copy()
    values[[*rows]] = np.nan
    return values


def mase_divisor(values: HostArray, season: int) -> float:
    """The mean |v[t] - v[t - season]| of values (T,); NaN for a missing value.

    If it is 0 up to rounding, because the series is strictly periodic, or if no two known values are a season apart:
    the mean |v[t] - v[t - 1]|. NaN if this is 0 or unknown too: the MASE is then undefined. Below 1e-6
    of the mean |v[t] - v[t - 1]|, it is rounding: that of float32 is 1e-7.
    """
    of_rows, of_season = (_mean_change(values, distance) for distance in (1, season))
    if of_season > _ROUNDING * np.nan_to_num(of_rows):
        return of_season
    return of_rows if of_rows > 0 else np.nan


def _mean_change(values: HostArray, distance: int) -> float:
    """The mean |v[t] - v[t - distance]|; NaN if all are unknown."""
    changes = np.abs(values[distance:] - values[:-distance])
    changes = changes[~np.isnan(changes)]
    return float(changes.mean()) if changes.size else np.nan


class PreparedSeries:
    """A series as the parts of a model read it.

    given       as it was read; with the times of the steps ahead, if it has times
    target      (T,), NaN for a missing value
    same_unit   (T,), the target; after a change of unit, in the unit of the rows before it
    cut         the number of rows to learn from; by default, all up to the last known value. Forecasts are made from
                this row, or from later ones for a backtest
    deviation   the standard deviation in the rows to learn from; of the logarithms if the model forecasts these
    seldom_changes   whether most values there are equal to those before them, as in a series that is mostly 0
    unit        the mean change over a season there. Both come from the series itself, because a new file does not say
                which training series it continues
    flawed      whether there are too few rows, missing or equal values: the unit is 0, and the forecast naive
    left_out    the outliers before the cut, the last rows that may be errors or a new level, or in another unit, and
                the rows whose known values are wrong
    known       (R, K), the known values of all rows that were given, NaN for wrong ones before the cut
    seen        the known values before the cut, in one unit, without the rows that are left out of the fit
    values      (T,): those of `same_unit`, or their logarithms; NaN if missing or left out
    effect_without_blocks   (B, K), the effects of the columns that are found without each block of rows; None without
                known columns, and after the fit
    """

    effect_without_blocks: HostArray | None = None

    def __init__(self, given: Series, setup: Setup, cut: int | None = None, left_out: LeftOut | None = None) -> None:
        """left_out: None to find these rows"""
        self.given, self.setup = given, setup
        self.name = given.name
        self.id = given.id or given.name
        self.target: HostArray = given.values[: given.target_rows.stop, 0]
        self.cut = len(self.target) if cut is None else cut
        self.left_out = self._left_out_before(self.cut) if left_out is None else left_out
        self.known: HostArray = given.values[:, 1:].copy()
        for row, k in self.left_out.known:
            self.known[row, k] = np.nan
        new_level, factor = self.left_out.new_level, self.left_out.factor
        self.same_unit = in_old_unit(self.target, min(new_level), factor) if factor != 1 else self.target
        target = _without(self.same_unit, self.left_out.rows)
        past = target[: self.cut]
        self.seen: HostArray = past[~np.isnan(past)]
        if factor == 1 and new_level and np.ptp(self.seen) == 0:  # only the new level tells how large changes are
            past = self.target[: self.cut]
        past = _without(past, self._closed_rows(len(past)))
        # Values that have no logarithm count as 1 % of the smallest one that has.
        self._smallest = 0.01 * float(self.seen[self.seen > 0].min(initial=np.inf))
        self.seldom_changes = 2 * int((np.diff(self.seen) == 0).sum()) > len(self.seen)
        self.mase_divisor = mase_divisor(past, setup.season) * factor
        takes_logs = setup.log and not self.has_no_logs and not self._grows_by_amounts(past)
        if takes_logs:
            past = np.log(np.where(past > 0, past, np.nan))
        known = past[~np.isnan(past)]
        self.deviation = float(known.std()) if known.size else 0.0
        usable = self.deviation >= _LEAST_DEVIATION
        self.unit = float(np.nan_to_num(mase_divisor(past, setup.season))) if usable else 0.0
        self.flawed = self.unit == 0
        self.log = takes_logs and not self.flawed
        self.values: HostArray = self.scaled(target)

    def _closed_rows(self, stop: int) -> list[int]:
        """The rows before this one of closed days, which hold copies of other rows."""
        return [row for row, is_closed in enumerate(self.given.closed[:stop]) if is_closed]

    @property
    def open_target(self) -> HostArray:
        """The target (T,), NaN for a closed day."""
        return _without(self.target, self._closed_rows(len(self.target)))

    @property
    def has_no_logs(self) -> bool:
        """Whether a value is negative, or four are 0: a forecast of logarithms could not follow them."""
        return bool((self.seen < 0).any() or (self.seen == 0).sum() >= LEAST_ROWS)

    def _grows_by_amounts(self, past: HostArray) -> bool:
        """Whether its changes do not grow with its level, so that a forecast of its logarithms would grow too fast.

        A change d over a season is L · |change of the logarithm|, with the logarithmic mean L of both values. So the
        mean change of the logarithms, times the mean L, is the mean d if a change is a share of the level. It is larger
        if changes are as large at a low level as at a high one.
        """
        distance = self.setup.season if len(past) > self.setup.season else 1
        before, after = past[:-distance], past[distance:]
        used = (before > 0) & (after > 0)
        d = np.abs(after - before)[used]
        of_logs = np.abs(np.log(after[used] / before[used]))
        changed = of_logs > 0
        d = d[changed]
        of_logs = of_logs[changed]
        return bool(d.size) and bool(of_logs.mean() * (d / of_logs).mean() > _AMOUNTS * d.mean())

    def scaled(self, target: HostArray) -> HostArray:
        """These values of the target, or their logarithms."""
        return np.log(np.maximum(target, self._smallest)) if self.log else target

    def _left_out_before(self, row: int) -> LeftOut:
        """The rows to leave out among those before this one, on which they depend alone."""
        season = self.setup.season
        target = self.target[:row]
        known = self.given.values[:row, 1:].copy()
        change = unit_change(target, season)
        target = in_old_unit(target, *change) if change else target
        amounts = np.zeros(len(target))
        factors = np.ones(len(target))
        wrong_known = find_errors(known)
        for place, k in wrong_known:
            known[place, k] = np.nan
        # The effect of a wrong known value is unknown, so its row doesn't show whether the value of the target is far.
        values = _without(target, (place for place, _ in wrong_known))
        if self.setup.known:
            amounts, factors = effect_or_factor(values, known, season)
        values = (values - amounts) / factors
        effect = target - values
        # A new level is no outlier, but outliers may hide it.
        last_rows = rows_of_new_level(values, season) if not change else []
        found_first = {} if last_rows else find_outliers(values, season)
        if found_first and not change:
            last_rows = rows_of_new_level(_without(values, found_first), season)
        new_level = dict.fromkeys(last_rows, 0.0)
        outliers = find_outliers(_without(values, new_level), season) if new_level else found_first
        last = [*new_level] or outliers_at_end(values, outliers)
        if last:
            # No row after the last ones says what the level is: exponential smoothing forecasts them.
            for outlier, expected in outliers.items():
                values[outlier] = expected
            past = fill(values[: last[0]], season)
            logs = np.log(past) if (past > 0).all() else None
            steps = last[-1] - last[0] + 1
            ahead = with_errors(past, logs, np.array([len(past)]), steps, season)[0][0]
            for place in last:
                (new_level if new_level else outliers)[place] = float(ahead[place - last[0]])
        if new_level and explained_by_known(values, effect, known, new_level):
            outliers = outliers | new_level
            new_level = {}
        outliers, new_level = (
            {place: value * factors[place] + amounts[place] for place, value in of_kind.items()}
            for of_kind in (outliers, new_level)
        )
        if not change:
            return LeftOut(outliers, new_level, 1.0, wrong_known)
        first, factor = change
        in_new_unit = {int(place): float(target[place]) for place in first + np.flatnonzero(~np.isnan(target[first:]))}
        return LeftOut(outliers, in_new_unit, factor, wrong_known)

    def with_setup(self, setup: Setup) -> PreparedSeries:
        """The same rows for another setup with the same season."""
        return PreparedSeries(self.given, setup, self.cut, self.left_out)

    def with_effect(self, effect: HostArray, without_blocks: HostArray | None) -> PreparedSeries:
        """The same series without this effect (K,) of the columns.   without_blocks: see `effect_without_blocks`"""
        prepared = self.with_setup(replace(self.setup, effect=effect))
        prepared.effect_without_blocks = without_blocks
        prepared.columns = self.columns  # calendar columns take long to make
        return prepared

    @cached_property
    def columns(self) -> HostArray:
        """The known columns, standardised and filled, and the calendar columns, of the rows and F more."""
        known = self.setup.known_scale.apply(self.known)
        known = np.pad(known, ((0, self.setup.horizon), (0, 0)))
        if not self.setup.calendar:
            return known
        return np.concatenate([known, calendar_columns(self.setup.calendar, self.given.times or (), known)], axis=1)

    @cached_property
    def effect(self) -> HostArray:
        """The effect (T + F,) of the columns on the values."""
        return self.columns @ self.setup.effect * self.unit

    @cached_property
    def filled(self) -> HostArray:
        """The values (T,) without the effect of the columns, missing values and outliers."""
        values = self.values.copy()
        if expected := self.left_out.expected:
            values[[*expected]] = self.scaled(np.array([*expected.values()]))
        return fill(values - self.effect[: len(values)], self.setup.season)

    def ahead(self, values: HostArray, origins: HostArray) -> HostArray:
        """The values (N, F) of the steps from each origin; NaN after the last one."""
        places = (origins[:, None] + np.arange(self.setup.horizon)).clip(max=len(values))
        return np.append(values, np.nan).take(places)

    def smoothed(self, origins: HostArray) -> tuple[HostArray, HostArray]:
        """The forecasts (N, F) of exponential smoothing, and its recent errors, see `smoothing.with_errors`."""
        values = self.filled
        logs = None
        if self.log:
            values, logs = exponential(values), values
        elif (self.seen > 0).all() and not self.columns.size:
            logs = np.log(np.maximum(values, self._smallest))
        forecasts, recent = with_errors(values, logs, origins, self.setup.horizon, self.setup.season)
        return np.log(forecasts) if self.log else forecasts, recent

    def contexts(self, origins: HostArray) -> tuple[HostArray, ...]:
        """The contexts before the origins, scaled by their own values, as z (N, C); their level and scale (N, 1).

        z = (v - level) / scale,   level = mean of the last season,   scale = standard deviation of the context

        A context that begins before the series is padded: its first season is repeated.
        """
        places = origins[:, None] + np.arange(-self.setup.context, 0)
        season = self.setup.season
        context = self.filled[np.where(places < 0, places % season, places)]
        level = context[:, -season:].mean(axis=1, keepdims=True)
        scale = np.maximum(context.std(axis=1, keepdims=True), _LEAST_SCALE * self.deviation)
        return ((context - level) / scale).clip(-FAR, FAR), level, scale

    def averaged(self, origins: HostArray, linear: HostArray, share: float) -> tuple[HostArray, HostArray]:
        """The averages (N, F) of exponential smoothing, with this share, and the linear part; see `smoothed`."""
        forecasts, recent = self.smoothed(origins)
        if origins[0] >= self.setup.least_rows:
            z, level, scale = self.contexts(origins)
            forecasts = share * forecasts + (1 - share) * (level + scale * affine(z, linear))
        return forecasts, recent

    def reach(self, origins: HostArray) -> HostArray:
        """The size of the effect of the known columns, (N, F), in units of the series."""
        K = self.setup.known
        return self.ahead(np.abs(self.columns[:, :K] @ self.setup.effect[:K]), origins)

    # ---- to learn from, up to the cut ----

    @property
    def last_half(self) -> HostArray:
        """The origins in the last half of the rows to learn from, and after at least 2.5 seasons.

        After 2 seasons if fewer than four rows remain otherwise. A series that is shorter still is forecast without
        its season, so that its origins need no whole season.
        """
        season = self.setup.season
        most = self.cut - LEAST_ROWS
        least = next((rows for rows in (5 * season // 2, 2 * season) if rows <= most), 1)
        return np.arange(max(self.cut // 2, least, 1), self.cut)

    @cached_property
    def blocks(self) -> HostArray:
        """The block of each row of `columns`: equal shares of the rows to learn from; the last one for later rows."""
        return (np.arange(len(self.columns)) * BLOCKS // max(self.cut, 1)).clip(max=BLOCKS - 1)

    def changes(self) -> tuple[HostArray, ...]:
        """The changes over a season: of the values in units of the series (n,), and of the columns (n, K).

        Also the blocks (n, 2) of the later and the earlier row of each.
        """
        m = self.setup.season
        values = self.values[: self.cut] / self.unit
        columns = self.columns[: self.cut]
        blocks = np.stack([self.blocks[m : self.cut], self.blocks[: max(self.cut - m, 0)]], axis=1)
        return values[m:] - values[:-m], (columns[m:] - columns[:-m]).astype(np.float64), blocks

    def _hidden_errors(self, origins: HostArray) -> HostArray:
        """The part (N, F) of the errors ahead that the effect b of the columns has removed, as it was found there too.

        (x - x̄) · (b - b₋), for the columns x of a step, their mean x̄ in the season before the origin, and the effect
        b₋ without the block of the step. What b₋ changes in all these rows alike is no error: forecasts continue it.
        """
        F = self.setup.horizon
        if self.effect_without_blocks is None:
            return np.zeros((len(origins), F))
        difference = self.setup.effect - self.effect_without_blocks
        X = self.columns.astype(np.float64)
        places = (origins[:, None] + np.arange(F)).clip(max=len(X) - 1)
        first = np.maximum(origins - self.setup.season, 0)
        sums = np.append(np.zeros((1, X.shape[1])), X.cumsum(axis=0), axis=0)
        mean = (sums[origins] - sums[first]) / np.maximum(origins - first, 1)[:, None]
        of_steps = (X * difference[self.blocks]).sum(axis=1)[places]
        return self.unit * (of_steps - np.take_along_axis(mean @ difference.T, self.blocks[places], axis=1))

    def actual(self, origins: HostArray) -> HostArray:
        """The values (N, F) of the steps ahead up to the cut, without the effect of the columns; NaN if unknown.

        Each as if the effect of known columns had been found without its block.
        """
        values = self.ahead(self.values[: self.cut] - self.effect[: self.cut], origins)
        return values + self._hidden_errors(origins)

    def mean_errors(self, origins: HostArray, forecasts: HostArray) -> HostArray:
        """The mean absolute errors (N,), in units of MASE, of forecasts (N, F) without the effect of the columns."""
        values = forecasts + self.ahead(self.effect, origins) - self._hidden_errors(origins)
        values = exponential(values) if self.log else values
        target = _without(self.same_unit, self.left_out.rows)
        errors = np.abs(values - self.ahead(target, origins)).mean(axis=1)
        return errors * self.left_out.factor / self.mase_divisor


class OneSeries(PreparedSeries):
    """A series and its forecasts by a model.

    skipped    the number of rows before the first value, or of a constant part, which are not in `given`
    constant   the value of these rows; None if they have no value
    steps      the number of steps to forecast, F' ≤ F
    """

    skipped = 0
    constant: float | None = None

    def __init__(self, given: Series, model: Model, cut: int | None = None, left_out: LeftOut | None = None) -> None:
        super().__init__(given, model, cut, left_out)
        self.model = model
        self.steps = model.horizon

    @property
    def is_short(self) -> bool:
        """Whether it has fewer rows than the model reads, so that its intervals are wider."""
        return self.cut < self.model.context

    @cached_property
    def forecast(self) -> HostArray:
        """The quantiles (F', Q) of the open steps from the cut on.

        Closed days among them delay the last ones. Those later than the horizon are forecast from the forecast.
        """
        rows = self.rows_ahead - self.cut
        model = self.model
        quantiles = self.quantiles(np.array([self.cut])).squeeze(axis=0)
        while (more := min(int(rows[-1]) + 1 - len(quantiles), model.horizon)) > 0:
            origin = self.cut + len(quantiles) + more - model.horizon
            values = self.given.values.copy()
            values = np.pad(values, ((0, max(origin - len(values), 0)), (0, 0)), constant_values=np.nan)
            values[self.cut : origin, 0] = quantiles[: origin - self.cut, model.levels.index(0.5)]
            later = OneSeries(replace(self.given, values=values), model, origin, self.left_out)
            of_later = later.quantiles(np.array([origin])).squeeze(axis=0)
            quantiles = np.append(quantiles, of_later[model.horizon - more :], axis=0)
        return quantiles[rows]

    @property
    def rows_ahead(self) -> HostArray:
        """The rows (F',) of the open steps from the cut on."""
        closed = self.given.closed[self.cut :]
        places = np.arange(self.steps + sum(closed))
        return self.cut + places[~np.isin(places, np.flatnonzero(closed))][: self.steps]

    @property
    def median(self) -> HostArray:
        """The median of the forecast, (F',)."""
        return self.forecast[:, self.model.levels.index(0.5)]

    @property
    def times_ahead(self) -> Sequence[Time]:
        """The times of the steps from the cut on; their numbers 1, 2, … if the series has no times there."""
        times = self.given.times or ()
        rows = self.rows_ahead.tolist()
        return [times[row] for row in rows] if rows[-1] < len(times) else range(1, self.steps + 1)

    def quantiles(self, origins: HostArray) -> HostArray:
        """The forecasts (N, F, Q) of the steps from the origins (N,).

        If the last rows may be errors or a new level, the median follows them: it is the forecast from the rows before,
        moved by the median of their differences from the expected values, or of the ratios if the model forecasts
        logarithms. The quantiles are the outer ones of the forecasts before and after the move. If the last rows are in
        another unit, so are all quantiles.
        """
        before = self._quantiles(origins)
        new_level, factor = self.left_out.new_level, self.left_out.factor
        if not new_level or factor != 1:
            return before * factor
        values = self.target[[*new_level]]
        expected = np.array([*new_level.values()])
        if self.log and (values > 0).all():
            moved = before * np.median(values / expected)
        else:
            moved = before + np.median(values - expected)
            moved = moved.clip(0) if (self.seen >= 0).all() and (values >= 0).all() else moved
        levels = np.array(self.model.levels)
        low = np.minimum(before, moved)
        high = np.maximum(before, moved)
        return np.where(levels < 0.5, low, np.where(levels > 0.5, high, moved))

    def _quantiles(self, origins: HostArray) -> HostArray:
        """The forecasts (N, F, Q) without the new level."""
        model = self.model
        effect = self.ahead(self.effect, origins)
        if self.flawed:  # the last season, or the last value if there are fewer rows
            season = model.season if model.season <= self.cut else 1
            plain = np.resize(fill(self.values[: self.cut], season)[-season:], effect.shape)
        else:
            plain = self.plain(origins)
        least, most = ((limit + effect)[..., None] for limit in self._limits(origins))
        forecast = (plain + effect)[..., None]
        above = self.width(origins)[..., None] * model.offsets[int(self.seldom_changes)]
        if self.log:
            return exponential((forecast + above).clip(least, most))
        forecast = forecast.clip(least, most)
        if (self.seen >= 0).all():
            # The offsets are added to the limited forecast: otherwise, the interval of a falling series would be empty.
            return (forecast.clip(0) + above).clip(0)
        return forecast + above

    def width(self, origins: HostArray) -> HostArray:
        """The widths (N, F) of the intervals, see `Model`."""
        width = self.unit * (1 + self.model.spread * self.reach(origins))
        return width * self.model.widening[self.cut] if self.is_short else width

    def _limits(self, origins: HostArray) -> tuple[HostArray, HostArray]:
        """The range (N, 1) of the values so far, widened by three times their usual change over a horizon.

        If the model forecasts no logarithms, it is widened at least by the range itself. Without limits, a last value
        that is an error, such as 1e30, could be continued as a trend, to infinity.
        """
        least = np.minimum.accumulate(self.filled)[origins - 1, None]
        most = np.maximum.accumulate(self.filled)[origins - 1, None]
        margin = _REACH * self.unit * max(self.model.horizon / self.model.season, 1)
        margin = margin if self.log else np.maximum(margin, most - least)
        return least - margin, most + margin

    def quantiles_held_out(self, origins: HostArray) -> HostArray:
        """The forecasts (N, F, Q) from the cut or later rows. Each sees only the rows before its origin.

        An outlier is found by the rows beside it, too. So until four more rows are known, those that count as outliers
        may change from origin to origin.
        """
        # Rows after the cut show whether the last ones before it are a new level.
        suspects = [*self.left_out.new_level, *find_suspects(self.target, self.model.season, self.cut)]
        suspects += [row for row, _ in find_errors(self.given.values[: len(self.target), 1:]) if row >= self.cut]
        rows = np.flatnonzero(~np.isnan(self.target))
        changes = {int(row) + 1 for suspect in suspects for row in rows[rows >= suspect][:_UNSURE]}
        points = np.array(sorted({self.cut, *(row for row in changes if self.cut <= row <= origins[-1])}))
        left_out = [self._left_out_before(point) for point in points]
        of_origins = np.searchsorted(points, origins, side="right") - 1
        quantiles = np.empty((len(origins), self.model.horizon, len(self.model.levels)))
        first = 0
        for end in (*(np.flatnonzero(np.diff(of_origins)) + 1), len(origins)):
            before = left_out[of_origins[first]]
            view = self if before == self.left_out else OneSeries(self.given, self.model, self.cut, before)
            quantiles[first:end] = view.quantiles(origins[first:end])
            first = end
        return quantiles

    def plain(self, origins: HostArray) -> HostArray:
        """The forecasts (N, F) without the effect of the columns."""
        forecasts, recent = self.averaged(origins, self.model.linear, self.model.smoothing)
        if self.model.recurrent.any():
            forecasts = forecasts + self.unit * affine(states(recent), self.model.recurrent)
        return forecasts

    def check_known(self) -> None:
        """Raises DataError if a known column has no value in a step ahead, or a value that is far from its mean.

        Far values are refused in the steps ahead and in the rows that the model reads.
        """
        if self.flawed:  # a naive forecast needs none
            return
        end = int(self.rows_ahead[-1]) + 1
        scale = self.model.known_scale
        values = self.known[:end]
        values = np.pad(values, ((0, end - len(values)), (0, 0)), constant_values=np.nan)
        far = np.abs(values - scale.mean) > _FAR_KNOWN * scale.deviation
        far[: max(self.cut - self.model.context, 0)] = False
        missing = np.isnan(values)
        missing[: self.cut] = False
        wrong = np.argwhere(missing | far)
        if not len(wrong):
            return
        row, k = wrong[0]
        names = self.given.channel_names
        column, of = f"the known column {quoted(names[1 + k]) if names else k + 1}", f"of {printable(self.name)}"
        last = int(np.flatnonzero(~missing[:, k])[-1])
        if far[row, k]:
            got = f"{column} {of} is {values[row, k]:g} {self.at(row)}, far from its mean in the training"
            raise DataError(f"{got}, {scale.mean[k]:.6g}; correct it")
        if row > last:
            short = f"{end - 1 - last:,} step{'' if end - 1 - last == 1 else 's'} short of the forecast"
            remedy = f"add rows with its later values, or give a lower {param('horizon')}"
            raise DataError(f"{column} {of} ends {self.at(last)}, {short}; {remedy}")
        raise DataError(f"{column} {of} has no value {self.at(row)}; add it, or give a lower {param('horizon')}")

    def at(self, row: int) -> str:
        """The time of a row, or its number without times, for a sentence."""
        times = self.given.times or ()
        return f"at {show(times[row])}" if row < len(times) else f"in row {row + 1 + self.skipped}"

    def new_known(self) -> list[tuple[int, int, float, float]]:
        """The known values ahead that are far outside those of the rows before: row, column, least and greatest before.

        Far is farther from them than these are from each other. No row has shown the effect of such a value. If a
        column never changed, and so has no effect, each other value is far. A column that changed is not used if its
        effect is 0: then no value is far.
        """
        found = []
        for k, column in enumerate(self.known[: self.rows_ahead[-1] + 1].T):
            before = column[: self.cut][~np.isnan(column[: self.cut])]
            if not len(before):
                continue
            least, greatest = float(before.min()), float(before.max())
            far = np.maximum(least - column, column - greatest) > greatest - least
            far[: self.cut] = False
            if (least < greatest) == (self.setup.effect[k] != 0):
                found += [(int(row), k, least, greatest) for row in np.flatnonzero(far)]
        return found

    def held_out(self) -> tuple[HostArray, HostArray]:
        """The origins (N,) from the cut on whose steps ahead are all known (rolling origin), and these steps (N, F).

        A step is NaN on a closed day, or if its value is an outlier among all rows: no forecast can know it.
        """
        origins = np.arange(max(self.cut, self.model.least_rows), len(self.target) - self.model.horizon + 1)
        actual = self.ahead(self.target, origins)
        known = ~np.isnan(actual).any(axis=1)
        return origins[known], self.ahead(self.without_outliers, origins[known])

    @cached_property
    def without_outliers(self) -> HostArray:
        """The target (T,), NaN for a closed day, and for a row to leave out among all, also those after the cut.

        No forecast may use it.
        """
        rows = [*self._left_out_before(len(self.target)).rows, *self._closed_rows(len(self.target))]
        return _without(self.target, rows)
