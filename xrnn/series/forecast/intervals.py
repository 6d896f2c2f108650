"""The intervals of forecasts, from the errors of forecasts of left-out rows."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, Self

import numpy as np

from xrnn.series.forecast.fit import Fit
from xrnn.series.forecast.series import OneSeries
from xrnn.typing import HostArray

_FEW: Final = 40  # with fewer left-out windows than this, the errors are those of exponential smoothing
_LEAST_WIDTH: Final = 0.3  # of a step ahead, as a share of the mean width
_INDEPENDENT: Final = 1.25  # errors in a window that count as independent: those of overlapping windows are alike
_SYMMETRIC: Final = 5  # independent windows that count for offsets of equal size above and below


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """The quantiles beside the forecast: its distances from them, in units of a series.

    levels    the quantiles, with the median
    offsets   (F, Q), added to the forecast of each step ahead; 0 for the median
    spread    the factor 1 + spread · reach widens the intervals: errors are larger if known columns have a large effect
    """

    levels: tuple[float, ...]
    offsets: HostArray
    spread: float

    @classmethod
    def of(cls, fit: Fit, levels: tuple[float, ...]) -> Self:
        """From earlier backtests: a model learns from the first part of the rows, and forecasts the next ones.

        If these have too few windows, the errors are those of exponential smoothing in the rows to learn from. It
        learns nothing, so it has not seen the values that it forecasts.
        """
        folds = [each for fold in reversed(fit.folds()) for each in fold.series]
        tests = [(each, at, each.plain(at), each.rows) for each in folds if len(at := each.test_origins)]
        if sum(len(at) for _, at, *_ in tests) < _FEW:
            used = [(each, each.last_half) for each in fit.series if not each.flaw]
            tests = [(each, at, each.smoothed(at), each.cut) for each, at in used]
        errors = np.concatenate([each.distances(at, forecasts, end) for each, at, forecasts, end in tests])
        reach = np.concatenate([each.reach(at, end) for each, at, _, end in tests])
        spread = spread_of(errors, reach)
        return cls(levels, quantile_offsets(errors / (1 + spread * reach), levels), spread)

    def around(self, series: OneSeries, origins: HostArray) -> HostArray:
        """The quantiles of forecasts (N, F, Q) float64. Higher ones are never below lower ones."""
        reach = np.zeros(len(self.offsets)) if series.flaw else series.reach(origins)
        y = (series.unit * (1 + self.spread * reach))[..., None] * self.offsets
        m = self.levels.index(0.5)
        y[..., :m], y[..., m + 1 :] = np.minimum(y[..., :m], 0), np.maximum(y[..., m + 1 :], 0)
        return series.forecast(origins, np.sort(y, axis=-1))


def spread_of(errors: HostArray, reach: HostArray) -> float:
    """b / a, for the regression |error| = a + b · reach: by how much a reach of 1 widens the intervals; 0 if b < 0.

    Both (N, F); NaN for an unknown error.
    """
    known = ~np.isnan(errors)
    size, r = np.abs(errors[known]), reach[known]
    if not r.size or r.min() == r.max():
        return 0.0
    b, a = np.polyfit(r, size, 1)
    return float(np.clip(b / max(a, 1e-3 * size.mean(), 1e-300), 0, 1e6))


def quantile_offsets(errors: HostArray, levels: tuple[float, ...]) -> HostArray:
    """Offsets (F, Q) with which the right share of left-out values falls below each quantile; 0 for the median.

    The width of a step ahead grows linearly with its number, as the mean errors do; the quantiles are those of all
    errors divided by their widths   (conformalized quantile regression: Romano et al., 2019). They are widened as
    Student's t is beside the normal distribution, by 1 + (z² + 1) / 4n, for n independent windows. Each is a mean
    of two quantiles: that of the errors, with the weight n, and that of the absolute errors, with the weight 5. An
    offset of a quantile below 0.5 is never above 0, nor one of a higher quantile below 0.

    errors   (N, F): the values minus the forecasts; NaN if unknown
    """
    F, size = errors.shape[1], np.abs(errors)
    offsets = np.zeros((F, len(levels)))
    count = (~np.isnan(size)).sum(axis=0)
    step, known = np.arange(F), count > 0
    if not known.any():
        return offsets
    mean = np.nansum(size, axis=0)[known] / count[known]
    line = np.polyval(np.polyfit(step[known], mean, 1, w=count[known] ** 0.5), step) if known.sum() > 1 else mean.mean()
    width = np.maximum(line, max(_LEAST_WIDTH * float(mean.mean()), 1e-30)) * np.ones(F)
    ratios, n = errors / width, max(count.sum() / F**2, 1.0)
    for i, q in enumerate(levels):
        if q != 0.5:
            side, z = (1 if q > 0.5 else -1), NormalDist().inv_cdf(q)
            own = max(side * float(np.nanquantile(ratios, q)), 0.0)
            both = float(np.nanquantile(np.abs(ratios), abs(2 * q - 1)))
            offset = (n * own + _SYMMETRIC * both) / (n + _SYMMETRIC)
            offsets[:, i] = width * side * offset * (1 + (z * z + 1) / (4 * _INDEPENDENT * n))
    return offsets
