"""One series: its scales, its forecasts without intervals, and their errors."""

from __future__ import annotations

from typing import Final, NamedTuple, Self

import numpy as np

from xrnn.files import printable, quoted
from xrnn.series.checks import Series
from xrnn.series.errors import DataError
from xrnn.series.forecast import calendar
from xrnn.series.forecast.linear import Samples
from xrnn.series.forecast.model import LEAST_ROWS, Facts, Model
from xrnn.series.forecast.recurrent import Lessons, corrections, states
from xrnn.series.forecast.smoothing import with_errors
from xrnn.series.forecast.windows import FAR, LARGEST, ahead, contexts, fill, limits_of_logarithms
from xrnn.series.scale import Scale
from xrnn.series.times import show
from xrnn.typing import HostArray

TOO_FEW: Final = "too few rows, missing or equal values"  # the flaw of a series
_LEAST_DEVIATION: Final = 1e-150  # of a series: the square of a smaller number is 0 in float64
_LEAST_SCALE: Final = 0.05  # of the series' deviation: a context without changes has no scale of its own
_FAR_KNOWN: Final = 1000  # deviations: known values ahead that are farther from the mean of training are refused


class Scales(NamedTuple):
    """Sizes of the values in the rows to learn from.

    deviation, unit    the standard deviation, and the mean change over a season; of the logarithms if the model
                       forecasts these
    lowest, positive   the lowest value, and the lowest positive one
    """

    deviation: float
    unit: float
    lowest: float
    positive: float

    @classmethod
    def of(cls, values: HostArray, season: int, *, log: bool) -> Self:
        """Of values (T,), NaN if missing. The deviation and the unit are 0 if a forecast can't use the values."""
        seen = values[~np.isnan(values)]
        positive = seen[seen > 0]
        ends = float(seen.min(initial=np.inf)), float(positive.min(initial=np.inf))
        used = positive if log else seen
        if not used.size or used.min() == used.max():
            return cls(0.0, 0.0, *ends)
        values = np.log(np.where(values > 0, values, np.nan)) if log else values
        deviation, unit = float(np.nanstd(values)), mase_divisor(values, season)
        usable = deviation >= _LEAST_DEVIATION and not np.isnan(unit)
        return cls(deviation, unit, *ends) if usable else cls(0.0, 0.0, *ends)


class OneSeries:
    """A series, ready to learn from and to forecast.

    given       as it was read
    target      (T,), NaN for a missing value;   filled (T,), without missing values
    cut         the number of rows to learn from
    columns     (T or more, K), the known columns, standardised and filled, and the calendar columns, if the model has
                some: `given` then has the times of the steps ahead, too
    scales      computed from the series itself, because a new file does not say which training series it continues
    """

    def __init__(
        self,
        given: Series,
        facts: Facts,
        known_scale: Scale,
        cut: int | None = None,
        rows: int | None = None,
        scales: Scales | None = None,
    ) -> None:
        """cut: None for all rows.   rows: T; None for those up to the last known value.

        scales   those of a longer series, if this one is the beginning of it; None: they are computed
        """
        self.given, self.facts, self.known_scale = given, facts, known_scale
        self.name, self.id = given.name, given.id or given.name
        self.target: HostArray = given.values[: given.target_rows.stop if rows is None else rows, 0]
        self.rows = len(self.target)
        self.cut = self.rows if cut is None else cut
        self.scales = scales or Scales.of(self.target[: self.cut], facts.season, log=facts.log)
        self.unit = self.scales.unit
        self._log = facts.log and self.unit > 0
        # Values that have no logarithm count as 1 % of the smallest one that has.
        self._logged: HostArray = np.log(np.maximum(self.target, self._smallest)) if self._log else self.target
        self.filled = fill(self.target, facts.season)
        self.columns = known_scale.apply(given.values[:, 1:])
        if facts.calendar:
            known = np.zeros((len(given.times or ()), facts.known))
            known[: len(self.columns)] = self.columns
            of_times = calendar.columns(facts.calendar, given.times or (), known)
            self.columns = np.concatenate([known, of_times], axis=1)

    @property
    def _smallest(self) -> float:
        return 0.01 * self.scales.positive

    @property
    def flaw(self) -> str:
        """Why the model can't forecast this series, as the words after its name; empty if it can."""
        least = max(min(LEAST_ROWS, self.facts.least_rows), 2)  # one row does not change
        if self.unit and self.rows >= least:
            return ""
        seen = self.target[: self.cut][~np.isnan(self.target[: self.cut])]
        if seen.size >= least and not self.facts.log and seen.min() < seen.max() and seen.std() < _LEAST_DEVIATION:
            return f"has a standard deviation below {_LEAST_DEVIATION:g}: expected a larger one; multiply the values"
        values = "positive values" if self.facts.log else "values"
        return f"has {TOO_FEW}: expected at least {least} rows with {values} that change; add rows, or leave it out"

    # ---- windows ----

    @property
    def training_origins(self) -> HostArray:
        """The places of the first steps ahead of the complete windows to learn from, (N,)."""
        return self._origins(self.facts.least_rows, self.cut)

    @property
    def test_origins(self) -> HostArray:
        """Those of the held-out windows: one from every row (rolling origin)."""
        return self._origins(max(self.cut, self.facts.least_rows), self.rows)

    def _origins(self, first: int, end: int) -> HostArray:
        """The origins of windows whose steps ahead are known, and before the row `end`; none if there is a flaw."""
        origins = np.arange(first, first if self.flaw else end - self.facts.horizon + 1)
        return origins[~np.isnan(self.actual(origins)).any(axis=1)]

    def actual(self, origins: HostArray) -> HostArray:
        """The values (N, F) of the steps ahead; NaN if unknown."""
        return ahead(self.target, origins, self.facts.horizon, np.nan)

    # ---- forecasts ----

    def use(self, model: Model) -> Self:
        """From now on, forecasts are those of this model."""
        self._model = model
        self._effect = self.unit * (self.columns @ model.effect)
        known = slice(self.facts.known)
        self._reach = np.abs(self.columns[:, known] @ model.effect[known])
        self._values = fill(self._logged - self._effect[: self.rows], self.facts.season)
        return self

    def reach(self, origins: HostArray, end: int | None = None) -> HostArray:
        """The size of the effect of the known columns, (N, F), in units of the series; 0 from row `end` on."""
        return ahead(self._reach[:end], origins, self.facts.horizon)

    def smoothed(self, origins: HostArray) -> HostArray:
        """The forecasts (N, F) of exponential smoothing, without the effect of the columns."""
        return self._smoothed(origins)[0]

    def _smoothed(self, origins: HostArray) -> tuple[HostArray, HostArray]:
        """The forecasts of `smoothed`, and its recent errors, see `smoothing.with_errors`."""
        F, m, logs = self.facts.horizon, self.facts.season, None
        if self._log:
            values = np.exp(self._values.clip(-LARGEST, LARGEST))
            forecasts, recent = with_errors(values, self._values, origins, F, m)
            return np.log(forecasts), recent
        if self.scales.lowest > 0 and not self.facts.columns:
            logs = np.log(np.maximum(self._values, self._smallest))
        return with_errors(self._values, logs, origins, F, m)

    def plain(self, origins: HostArray) -> HostArray:
        """The forecasts (N, F) without the effect of the columns."""
        forecasts, recent = self._base(origins)
        if self._model.recurrent.any():
            forecasts = forecasts + self.unit * corrections(self._model.recurrent, states(recent))
        return forecasts

    def _base(self, origins: HostArray) -> tuple[HostArray, HostArray]:
        """The forecasts without the recurrent part, and the recent errors that it reads.

        If a series has fewer rows than the first window needs, there is no linear part either.
        """
        (smooth, recent), facts, model = self._smoothed(origins), self.facts, self._model
        if origins[0] < facts.least_rows:
            return smooth, recent
        z, level, scale = self._contexts(origins)
        linear = level + scale * (z @ model.linear[:-1] + model.linear[-1])
        return model.smoothing * smooth + (1 - model.smoothing) * linear, recent

    def forecast(self, origins: HostArray, distances: HostArray) -> HostArray:
        """The forecasts at distances (F, Q) or (N, F, Q) from the median: (N, F, Q) float64.

        If the series has a flaw, the median repeats its last season, or its last value if there are fewer rows.
        """
        facts, effect = self.facts, ahead(self._effect, origins, self.facts.horizon)
        ends = (-LARGEST, LARGEST) if self._log else (0.0 if self.scales.lowest >= 0 else -np.inf, np.inf)
        lowest, highest = (np.full(effect.shape, end) for end in ends)
        if self.flaw:
            last = fill(self._logged, facts.season)[-facts.season if facts.season <= self.rows else -1 :]
            median = np.resize(last, effect.shape)
        else:
            median = self.plain(origins) + effect
            if self._log and origins[0] >= facts.least_rows:
                z, level, scale = self._contexts(origins)
                lowest, highest = limits_of_logarithms(level + scale * z, self.unit, effect)
        values: HostArray = (median[..., None] + distances).clip(lowest[..., None], highest[..., None])
        return np.exp(values) if self._log else values

    def _contexts(self, origins: HostArray) -> tuple[HostArray, ...]:
        facts, least = self.facts, _LEAST_SCALE * self.scales.deviation
        return contexts(self._values, origins, facts.context, facts.season, least)

    def check_known(self) -> None:
        """Raises DataError if a known column lacks values in the steps after the last value, or has far-off ones.

        Values in the context of the forecast must not be far off either.
        """
        F, scale, first = self.facts.horizon, self.known_scale, max(self.rows - self.facts.context, 0)
        values = self.given.values[first : self.rows + F, 1:]
        values = np.pad(values, ((0, self.rows + F - first - len(values)), (0, 0)), constant_values=np.nan)
        far, missing = np.abs(values - scale.mean) > _FAR_KNOWN * scale.deviation, np.isnan(values)
        missing[: self.rows - first] = False
        for i, k in np.argwhere(missing | far):
            row, names = first + i, self.given.channel_names
            time = "".join(f" ({show(each)})" for each in (self.given.times or ())[row : row + 1])
            got = f"{values[i, k]:g}" if far[i, k] else "no value"
            column = quoted(names[1 + k]) if names else k + 1
            reach = _FAR_KNOWN * scale.deviation[k]
            raise DataError(
                f"{printable(self.name)} has {got} in row {row + 1}{time} of the known column {column}: expected a "
                f"number in each of the {F} rows after the last value to forecast, within {reach:.3g} of the mean of "
                "training; correct or add it"
            )

    # ---- to learn from, up to the cut ----

    @property
    def last_half(self) -> HostArray:
        """The origins in the last half of the rows to learn from.

        The first two and a half seasons are left out, if four rows remain: a season is not known yet there.
        """
        known_season = min(5 * self.facts.season // 2, self.cut - LEAST_ROWS)
        return np.arange(max(self.cut // 2, known_season, 1), self.cut)

    def lessons(self, most: int) -> Lessons:
        """At most that number of windows from the last half, for the recurrent part."""
        origins = self.last_half[self.last_half >= self.facts.least_rows]
        origins = np.sort(origins[:: -max(-(-len(origins) // most), 1)])
        forecasts, recent = self._base(origins)
        places = (origins[:, None] + np.arange(self.facts.horizon)) / self.cut
        return Lessons(recent, self.distances(origins, forecasts, self.cut), places)

    def changes(self) -> tuple[HostArray, HostArray]:
        """The changes over a season: of the values in units of the series (n,), and of the columns (n, K)."""
        m, values = self.facts.season, self._logged[: self.cut] / self.unit
        changes = self.columns[m : self.cut] - self.columns[: max(self.cut - m, 0)]
        return values[m:] - values[:-m], changes.astype(np.float64)

    def samples(self, origins: HostArray) -> Samples:
        """The windows at `origins`. Their scale is in units of the series."""
        z, level, scale = self._contexts(origins)
        exact = self._logged[: self.cut] - self._effect[: self.cut]
        scaled = (ahead(exact, origins, self.facts.horizon, np.nan) - level) / scale
        return Samples(z, scaled.clip(-FAR, FAR), origins / self.cut, 1 / self.cut, level, scale / self.unit)

    def mean_errors(self, origins: HostArray, forecasts: HostArray) -> HostArray:
        """The mean absolute errors (N,), in units of MASE, of forecasts (N, F) without the effect of the columns."""
        F = self.facts.horizon
        values = forecasts + ahead(self._effect[: self.cut], origins, F)
        values = np.exp(values.clip(-LARGEST, LARGEST)) if self._log else values
        errors = np.abs(values - ahead(self.target[: self.cut], origins, F, np.nan))
        exists = ~np.isnan(errors)
        mean: HostArray = np.where(exists, errors, 0).sum(axis=1) / np.maximum(exists.sum(axis=1), 1)
        return mean / mase_divisor(self.target[: self.cut], self.facts.season)

    def distances(self, origins: HostArray, forecasts: HostArray, end: int) -> HostArray:
        """The values minus forecasts (N, F) without the effect of the columns, in units of the series.

        NaN for a value that is unknown, or not before row `end`.
        """
        values = ahead(self._logged[:end] - self._effect[:end], origins, self.facts.horizon, np.nan)
        distances: HostArray = (values - forecasts) / self.unit
        return distances


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
