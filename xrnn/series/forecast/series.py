"""One series to forecast: its scales, its windows, and their base forecasts."""

from __future__ import annotations

from typing import Final, NamedTuple, Self

import numpy as np

from xrnn.files import printable, quoted
from xrnn.series.checks import Series
from xrnn.series.errors import DataError
from xrnn.series.forecast import calendar
from xrnn.series.forecast.linear import Base, Samples
from xrnn.series.forecast.smoothing import smoothed
from xrnn.series.forecast.windows import FAR, LARGEST, ForecastFacts, Windows, contexts, fill, limits_of_logarithms
from xrnn.series.scale import Scale
from xrnn.series.times import show
from xrnn.typing import HostArray

LEAST_DEVIATION: Final = 1e-150  # of a series: the square of a smaller number is 0 in float64
LEAST_ROWS: Final = 4  # of a series, so that its forecast is not naive; and before the first window
TOO_FEW: Final = "too few rows, missing or equal values"  # the flaw of a series
_LEAST_SCALE: Final = 0.05  # of the series' deviation: a window without changes has no scale of its own
_FAR_KNOWN: Final = 1000  # deviations: known values ahead that are farther from the mean of training are refused
_MOST_SAMPLES: Final = 20_000  # of a series, for the linear part


def least_rows(facts: ForecastFacts) -> int:
    """The rows before the first window. Its context may begin before the series."""
    return min(max(facts.season, LEAST_ROWS), facts.context)


class Scales(NamedTuple):
    """The deviation and the unit of a series, see `ForecastSeries`; its lowest value, and its lowest positive one."""

    deviation: float
    unit: float
    lowest: float
    positive: float


class ForecastSeries:
    """One series, ready for windows.

    given       as it was read
    target      (T,), NaN for a missing value
    cut         the number of rows to train on
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
        known_scale: Scale,
        cut: int | None = None,
        scales: Scales | None = None,
        rows: int | None = None,
    ) -> None:
        """known_scale: the scale of the covariates.   cut: see above; None for all rows

        scales   those of a longer series, if `series` is a part of it; None: they are computed
        rows     the number of rows before the steps to forecast; None: those up to the last known value
        """
        self.given, self.facts, self.times = series, facts, series.times
        self.name, self.id = series.name, series.id or series.name
        self.time_name = " ".join(series.time_names) or "time"
        self.target: HostArray = series.values[: series.target_rows.stop if rows is None else rows, 0]
        self.cut = self.rows if cut is None else cut
        self.scales = scales or self._scales()
        self.deviation, self.unit = self.scales.deviation, self.scales.unit
        # Values that have no logarithm count as 1 % of the smallest one that has.
        self._logged: HostArray = (
            np.log(np.maximum(self.target, 0.01 * self.scales.positive)) if facts.log else self.target
        )
        self._least = 0.0 if self.scales.lowest >= 0 else -np.inf
        self.filled = fill(self.target, facts.season)
        self.covariates = known_scale.apply(series.values[:, 1:])
        if facts.calendar:
            own = np.zeros((len(series.times or ()), facts.known))
            own[: len(self.covariates)] = self.covariates
            of_times = calendar.columns(facts.calendar, series.times or (), own)
            self.covariates = np.concatenate([own, of_times], axis=1)
        self._known_scale = known_scale
        self._base: Base  # set by `use`, and `_values`, those without the effect of the covariates
        self._values: HostArray

    def _scales(self) -> Scales:
        """The scales of the rows to train on; a deviation and a unit of 0 if there are none."""
        values = self.target[: self.cut]
        seen = values[~np.isnan(values)]
        positive = seen[seen > 0]
        ends = (float(seen.min(initial=np.inf)), float(positive.min(initial=np.inf)))
        used = positive if self.facts.log else seen
        if not used.size or used.min() == used.max():
            return Scales(0.0, 0.0, *ends)
        values = np.log(np.where(values > 0, values, np.nan)) if self.facts.log else values
        deviation, unit = float(np.nanstd(values)), mase_divisor(values, self.facts.season)
        is_usable = deviation >= LEAST_DEVIATION and not np.isnan(unit)
        return Scales(deviation, unit, *ends) if is_usable else Scales(0.0, 0.0, *ends)

    @property
    def flaw(self) -> str:
        """Why the model can't forecast this series, as the words after its name; empty if it can."""
        least = max(min(LEAST_ROWS, self.least_rows), 2)  # one row does not change
        if self.unit and self.rows >= least:
            return ""
        seen = self.target[: self.cut][~np.isnan(self.target[: self.cut])]
        if seen.size >= least and not self.facts.log and seen.min() < seen.max() and seen.std() < LEAST_DEVIATION:
            return f"has a standard deviation below {LEAST_DEVIATION:g}: expected a larger one; multiply the values"
        values = "positive values" if self.facts.log else "values"
        return f"has {TOO_FEW}: expected at least {least} rows with {values} that change; add rows, or leave it out"

    def use(self, base: Base) -> Self:
        """From now on, `base` is that of the windows."""
        self._base, K = base, self.facts.known
        self._effect = self.unit * (self.covariates @ base.effect)
        self._reach = np.abs(self.covariates[:, :K] @ base.effect[:K])
        values = fill(self._logged - self._effect[: self.rows], self.facts.season)
        if not hasattr(self, "_values") or not np.array_equal(values, self._values):
            self._values, self._smoothed = values, np.full((self.rows + 1, self.facts.horizon), np.nan)
        return self

    def smoothed(self, origins: HostArray) -> HostArray:
        """The forecasts (N, F) of exponential smoothing, without the effect of the covariates."""
        new = np.unique(origins[np.isnan(self._smoothed[origins, 0])])
        if len(new):
            y = smoothed(*self._lines(), new, self.facts.horizon, self.facts.season)
            self._smoothed[new] = np.log(y) if self.facts.log else y
        return self._smoothed[origins]

    def _lines(self) -> tuple[HostArray, HostArray | None]:
        """What exponential smoothing reads: the values, and their logarithms if all values to train on are positive."""
        if self.facts.log:
            return np.exp(self._values.clip(-LARGEST, LARGEST)), self._values
        positive = self.scales.lowest > 0 and not self.facts.covariates
        return self._values, np.log(np.maximum(self._values, 0.01 * self.scales.positive)) if positive else None

    @property
    def value_name(self) -> str:
        """The name of the target; "value" without one."""
        return (self.given.channel_names or ("",))[0] or "value"

    @property
    def rows(self) -> int:
        """T."""
        return len(self.target)

    @property
    def least_rows(self) -> int:
        return least_rows(self.facts)

    def windows(self, origins: HostArray, *, targets: bool = True) -> Windows:
        """The windows at `origins`: the places of the first steps to forecast, (N,)."""
        z, level, scale = contexts(self._values, origins, self.facts, _LEAST_SCALE * self.deviation)
        ahead, K = origins[:, None] + np.arange(self.facts.horizon), self.facts.covariates
        base, share = level + scale * self._base(z), self._base.share
        base = share * self.smoothed(origins) + (1 - share) * base if share else base
        effect = self._effect[ahead] if K else np.zeros_like(base)
        if self.facts.log:
            limits = limits_of_logarithms(level + scale * z, self.unit, effect)
        else:
            limits = np.tile([self._least, np.inf], (*base.shape, 1))
        return Windows(
            base + effect,
            np.full_like(scale, self.unit),
            self._reach[ahead] if K else np.zeros_like(base),
            limits,
            self.facts.log,
            self.target[ahead] if targets else None,
        )

    def changes(self) -> tuple[HostArray, HostArray]:
        """The changes over a season up to the cut: of the values in units of the series, and of the covariates."""
        m = self.facts.season
        values = self._logged[: self.cut] / self.unit
        return values[m:] - values[:-m], (
            self.covariates[m : self.cut] - self.covariates[: max(self.cut - m, 0)]
        ).astype(np.float64)

    def sample_origins(self) -> HostArray:
        """The origins of the windows up to the cut, for the linear part."""
        return np.arange(max(self.least_rows, self.cut - _MOST_SAMPLES), self.cut)

    def samples(self, origins: HostArray) -> Samples:
        """The windows at `origins` up to the cut, for the linear part. Its scale is in units of the series."""
        z, level, scale = contexts(self._values, origins, self.facts, _LEAST_SCALE * self.deviation)
        F = self.facts.horizon
        exact = np.concatenate([self._logged[: self.cut] - self._effect[: self.cut], np.full(F, np.nan)])
        ahead = (exact[origins[:, None] + np.arange(F)] - level) / scale
        return Samples(z, ahead.clip(-FAR, FAR), origins / self.cut, 1 / self.cut, level, scale / self.unit)

    def errors(self, origins: HostArray, forecasts: HostArray) -> HostArray:
        """The absolute errors (n,) of forecasts (n, F) without the effect, up to the cut, in units of MASE."""
        ahead = (origins[:, None] + np.arange(self.facts.horizon)).clip(max=self.cut)
        values = forecasts + np.append(self._effect[: self.cut], 0)[ahead]
        values = np.exp(values.clip(-LARGEST, LARGEST)) if self.facts.log else values
        errors = np.abs(values - np.append(self.target[: self.cut], np.nan)[ahead])
        exists = ~np.isnan(errors)
        mean: HostArray = np.where(exists, errors, 0).sum(axis=1) / np.maximum(exists.sum(axis=1), 1)
        return mean / mase_divisor(self.target[: self.cut], self.facts.season)

    def early_errors(self) -> tuple[HostArray, HostArray]:
        """The errors of exponential smoothing in the last half of the rows before `cut`, and their reach: each (N, F).

        In units of the series; NaN if the value is missing, or not before `cut`. The first two and a half seasons are
        left out, if four rows remain: a season is not known yet there.
        """
        known_season = min(5 * self.facts.season // 2, self.cut - LEAST_ROWS)
        origins = np.arange(max(self.cut // 2, known_season, 1), self.cut)
        ahead = (origins[:, None] + np.arange(self.facts.horizon)).clip(max=self.cut)
        values = np.append(self._logged[: self.cut] - self._effect[: self.cut], np.nan)
        return (values[ahead] - self.smoothed(origins)) / self.unit, np.append(self._reach[: self.cut], 0)[ahead]

    def next_window(self) -> Windows:
        """The window after the last value.   Raises DataError if the series lacks a known covariate."""
        if not self.flaw:
            self.check_known()
        if self.flaw or self.rows < self.least_rows:
            return self._short_window()
        return self.windows(np.array([self.rows]), targets=False)

    def _short_window(self) -> Windows:
        """A window of a series that is too short for the linear part.

        Its base is exponential smoothing. If the series has a flaw, it repeats the last season, or the last value if
        there are fewer rows. Its intervals are as wide as those of the model, in units of the series. Without a unit,
        they have no width.
        """
        F, m, K, T = self.facts.horizon, self.facts.season, self.facts.covariates, self.rows
        log = self.facts.log and self.unit > 0
        last = fill(self._logged if log else self.target, m)[None, -m if m <= T else -1 :]
        naive = last[:, np.arange(F) % last.shape[1]]
        effect = self._effect[T : T + F] if K else np.zeros(F)
        base = naive if self.flaw else self.smoothed(np.array([T])) + effect
        ends = [-LARGEST, LARGEST] if log else [self._least, np.inf]
        return Windows(
            base,
            np.full((1, 1), self.unit),
            self._reach[None, T : T + F] if K and not self.flaw else np.zeros((1, F)),
            np.tile(ends, (1, F, 1)),
            log,
        )

    def check_known(self) -> None:
        """Raises DataError if a known column lacks values in the steps after the last value, or has far-off ones.

        Those in the context of the forecast must not be far off either.
        """
        F, scale, first = self.facts.horizon, self._known_scale, max(self.rows - self.facts.context, 0)
        values = self.given.values[first : self.rows + F, 1:]
        values = np.pad(values, ((0, self.rows + F - first - len(values)), (0, 0)), constant_values=np.nan)
        far, missing = np.abs(values - scale.mean) > _FAR_KNOWN * scale.divisor, np.isnan(values)
        missing[: self.rows - first] = False
        for i, k in np.argwhere(missing | far):
            row, names = first + i, self.given.channel_names
            time = "".join(f" ({show(each)})" for each in (self.times or ())[row : row + 1])
            got = f"{values[i, k]:g}" if far[i, k] else "no value"
            column = quoted(names[1 + k]) if names else k + 1
            reach = _FAR_KNOWN * scale.divisor[k]
            raise DataError(
                f"{printable(self.name)} has {got} in row {row + 1}{time} of the known column {column}: expected a "
                f"number in each of the {F} rows after the last value to forecast, within {reach:.3g} of the mean of "
                "training; correct or add it"
            )


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
