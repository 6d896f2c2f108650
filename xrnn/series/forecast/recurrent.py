"""The recurrent part of a forecast: the next errors of a series, predicted from its last ones by a fixed GRU."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final

import numpy as np

from xrnn.layers.gru import GRU
from xrnn.series.forecast.linear import affine, ridge
from xrnn.series.forecast.smoothing import confidence, preference
from xrnn.series.progress import each_of
from xrnn.typing import HostArray

# The constants were chosen on M1 and the 1st, 3rd, 5th … series of M3.
UNITS: Final = 100  # H
_MEMORY: Final = 2.8  # biases of update gates lie between 0 and this: a state keeps σ(2.8) = 0.94 of that before
_LARGEST_INPUT_WEIGHT: Final = 0.5
_PENALTIES: Final = (3.0, 0.3, 0.03, 3e-3, 3e-4)
EQUAL: Final = 1.05  # errors count as equal if their ratio is smaller
_LARGEST_ERROR: Final = 4.0  # in median errors of its step ahead: larger ones are clipped
_SPLITS: Final = (0.65, 0.8)  # shares of the rows: forecasts of the later ones are corrected by the earlier ones
_TEST_FROM: Final = 0.8  # share of the rows: errors of the later ones test what the earlier ones gave
_BATCH: Final = 1024


def recurrent_part(
    n: int, recent: HostArray, errors: HostArray, places: HostArray
) -> tuple[HostArray, dict[float, HostArray]]:
    """s · V (H + 1, F), with V from all windows of n series, and the share s in steps of 0.01:

        s = max(1 - v / (g² (k / F - 1)), min(2 w, 1) n² / (n² + 60²)),   w = 1 / (1 + r¹⁶)

    A V that is solved on the first 80 % of the rows is tested on the k windows after them: r is the ratio of the mean
    |error| with V to that without V; g and v are the mean and the variance of the gain in a window's mean |error|.
    k / F windows count as independent, so v / (g² (k / F - 1)) is the part of g² that is chance   (after James & Stein,
    1961).
    The first term is 0 if g is not positive, or if k ≤ F. Many series often cover the same period, and a test of one
    period alone should not decide: so with many series, the second term is large even if the test shows no gain.

    λ is the largest penalty whose error in the test is within 5 % of the least. V is 0 if there are no errors to solve
    or to test it.

    Also, for each split of the rows, s · V with V solved on the windows before the split only; none if V is 0.

    recent   (N, 48, 2): see `smoothing.with_errors`
    errors   (N, F), of the forecasts without the recurrent part, in units of the series; NaN if unknown
    places   (N, F), of the steps ahead, as shares of the rows
    """
    F = errors.shape[1]
    early = np.where(places < _TEST_FROM, errors, np.nan)
    solved, tested = (~np.isnan(each).all(axis=1) for each in (early, errors))
    tested &= places[:, 0] >= _TEST_FROM
    V = np.zeros((UNITS + 1, F))
    if not solved.any() or not tested.any():
        return V, {}
    h = states(recent)
    maps = [V, *output_layers(h[solved], early[solved], _PENALTIES)]
    size = np.array([np.nanmean(np.abs(errors[tested] - affine(h[tested], each)), axis=1) for each in maps])
    without_part, *with_part = size.mean(axis=1)
    best = int(np.argmax(np.array(with_part) <= EQUAL * min(with_part)))
    gain, independent = size[0] - size[1 + best], tested.sum() / F
    share = confidence(n) * min(2 * preference(with_part[best], without_part), 1)
    if gain.mean() > 0 and independent > 1:
        share = max(share, 1 - gain.var() / (gain.mean() ** 2 * (independent - 1)))
    share = round(float(share), 2)
    if not share:
        return V, {}
    penalty = _PENALTIES[best : best + 1]
    of_earlier_rows = {}
    for split in _SPLITS:
        earlier = np.where(places < split, errors, np.nan)
        known = ~np.isnan(earlier).all(axis=1)
        if known.any():
            of_earlier_rows[split] = share * output_layers(h[known], earlier[known], penalty)[0]
    return share * output_layers(h, errors, penalty)[0], of_earlier_rows


def output_layers(h: HostArray, errors: HostArray, penalties: Sequence[float]) -> HostArray:
    """V (P, H + 1, F) by ridge regression of the known errors (N, F) on [h; 1]: (Aᵀ D A + λI)⁻¹ Aᵀ D errors for each λ.

    A window has the weight D = 1 / (1 + its mean |error| / the median |error|), so that large errors count less.
    """
    known = ~np.isnan(errors)
    e = np.where(known, errors, 0.0)
    median = np.array([np.median(np.abs(e[of, f])) if of.any() else 0.0 for f, of in enumerate(known.T)])
    e = e.clip(-_LARGEST_ERROR * median, _LARGEST_ERROR * median)
    mean = np.abs(e).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    A = np.append(h, np.ones((len(h), 1)), axis=1)
    weighted = A / (1 + mean / max(float(median.mean()), 1e-300))[:, None]
    V = [ridge(weighted[of].T @ A[of], weighted[of].T @ e[of, f], penalties) for f, of in enumerate(known.T)]
    return np.stack(V, axis=2)


def states(recent: HostArray) -> HostArray:
    """The last states h (N, H) float64 of the GRU, from recent errors (N, 48, 2)."""
    h = np.empty((len(recent), UNITS))

    def run(first: int) -> None:
        part = slice(first, first + _BATCH)
        h[part] = gru()(np.ascontiguousarray(recent[part].transpose(1, 0, 2), np.float32))[-1]

    each_of(range(0, len(h), _BATCH), "recurrent part", run)
    return h


@functools.cache
def gru() -> GRU:
    """Its weights are made from the bits of a generator, which are the same in each version of NumPy.

    No biases but those of the update gates: h stays 0 while the errors are 0, as they are before a short series.
    """
    H = UNITS
    bits = np.random.PCG64(0).random_raw((2 + H) * 3 * H)
    uniform = (bits / 2.0**63 - 1).reshape(2 + H, 3 * H)
    b = np.zeros(4 * H, np.float32)
    b[H : 2 * H] = np.linspace(0, _MEMORY, H)
    Wx, Wh = uniform[:2] * _LARGEST_INPUT_WEIGHT, uniform[2:] * (3 / H) ** 0.5  # the variance of Wh is 1 / H
    return GRU(Wx.astype(np.float32), Wh.astype(np.float32), b)
