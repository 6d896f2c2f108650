"""The intervals of forecasts, from the errors of forecasts of left-out rows."""

from __future__ import annotations

from statistics import NormalDist
from typing import Final

import numpy as np

from xrnn.typing import HostArray

_LEAST_WIDTH: Final = 0.3  # of a step ahead, as a share of the mean width
_INDEPENDENT: Final = 1.25  # errors in a window that count as independent: those of overlapping windows are alike
_SYMMETRIC: Final = 5  # independent windows that count for offsets of equal size above and below


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

    The width of a step ahead grows linearly with its number, as the mean errors do, or is constant if they fall. The
    quantiles are those of all errors divided by their widths   (conformalized quantile regression: Romano et al.,
    2019). They are widened as Student's t is beside the normal distribution, by 1 + (z² + 1) / 4n, for n independent
    windows. Each is a mean of two quantiles: that of the errors, with the weight n, and that of the absolute errors,
    with the weight 5. An offset of a quantile below 0.5 is never above 0, nor one of a higher quantile below 0.

    errors   (N, F): the values minus the forecasts; NaN if unknown
    """
    F, size = errors.shape[1], np.abs(errors)
    offsets = np.zeros((F, len(levels)))
    count = (~np.isnan(size)).sum(axis=0)
    step, known = np.arange(F), count > 0
    if not known.any():
        return offsets
    mean = np.nansum(size, axis=0)[known] / count[known]
    fit = np.polyfit(step[known], mean, 1, w=count[known] ** 0.5) if known.sum() > 1 else [0.0]
    # If the mean errors fall with the step, this is due to chance in few windows.
    line = np.polyval(fit, step) if fit[0] > 0 else np.average(mean, weights=count[known])
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
