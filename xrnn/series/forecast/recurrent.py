"""The recurrent part: a correction of forecasts from their recent errors.

A GRU with fixed random weights reads the errors of exponential smoothing, one step ahead. Only its output layer is
learnt. It is solved exactly, by ridge regression, as in an echo state network   (Jaeger, 2001).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from xrnn.layers.gru import GRU
from xrnn.series.forecast.smoothing import confidence, preference
from xrnn.typing import HostArray

# The constants were chosen on M1 and the 1st, 3rd, 5th … series of M3.
UNITS: Final = 100  # H
_MEMORY: Final = 2.8  # biases of update gates lie between 0 and this: a state keeps σ(2.8) = 0.94 of that before
_LARGEST_INPUT_WEIGHT: Final = 0.5
_PENALTIES: Final = (3.0, 0.3, 0.03, 3e-3, 3e-4)
EQUAL: Final = 1.05  # errors count as equal if their ratio is smaller
_LARGEST_ERROR: Final = 4.0  # in median errors of its step ahead: larger ones are clipped
_TEST_FROM: Final = 0.8  # share of the rows: errors of the later ones test what the earlier ones gave
_MOST_WINDOWS: Final = 20_000
_LEAST_SERIES: Final = 20  # of fewer series, no more windows of each are used
_MOST_VALUES: Final = 200_000  # ahead of all windows
_BATCH: Final = 1024


def most_windows(series: int, horizon: int) -> int:
    """The most windows of each series to learn from: fewer if there are more series, to bound memory and time."""
    return max(min(_MOST_WINDOWS, _MOST_VALUES // horizon) // max(series, _LEAST_SERIES), 1)


class Lessons(NamedTuple):
    """Windows of a series to learn from.

    recent   (N, 48, 2): see `smoothing.with_errors`
    errors   (N, F), of the forecasts without the recurrent part, in units of the series; NaN if unknown
    places   (N, F), of the steps ahead, as shares of the rows
    """

    recent: HostArray
    errors: HostArray
    places: HostArray


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


def states(recent: HostArray) -> HostArray:
    """The last states h (N, H) float64 of the GRU, from recent errors (N, 48, 2)."""
    h = np.empty((len(recent), UNITS))
    for first in range(0, len(h), _BATCH):
        part = slice(first, first + _BATCH)
        h[part] = gru()(np.ascontiguousarray(recent[part].transpose(1, 0, 2), np.float32))[-1]
    return h


def corrections(V: HostArray, h: HostArray) -> HostArray:
    """[h; 1] @ V, in units of a series: V (H + 1, F), h (N, H) → (N, F)"""
    y: HostArray = h @ V[:-1] + V[-1]
    return y


def solve(h: HostArray, errors: HostArray, penalties: Sequence[float] = _PENALTIES) -> HostArray:
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
    V = np.zeros((len(penalties), A.shape[1], errors.shape[1]))
    diagonals = np.multiply.outer(penalties, np.eye(A.shape[1]))
    for f, of in enumerate(known.T):
        V[:, :, f] = np.linalg.solve(weighted[of].T @ A[of] + diagonals, weighted[of].T @ e[of, f, None])[..., 0]
    return V


def learn(lessons: Sequence[Lessons]) -> HostArray:
    """s · V (H + 1, F), with V from all windows, and the share s in steps of 0.01; for n series and k windows:

        s = max(1 - v / (g² (k / F - 1)), min(2 w, 1) n² / (n² + 60²)),   w = 1 / (1 + r¹⁶)

    Windows in the last fifth of the rows test a V from the rows before: r is the ratio of their mean |error| with it
    to that without it; g and v are the mean and the variance of the gain in the mean |error| of a window. k / F windows
    count as independent, so that v / (g² (k / F - 1)) is the part of g² that is chance   (after James & Stein, 1961).
    The first term is 0 if g is not positive, or if k ≤ F. Many series often cover the same period, and a test of one
    period alone should not decide: so with many series, the second term is large even if the test shows no gain.

    λ is the largest penalty whose error in the test is within 5 % of the least. V is 0 if there are no errors to solve
    or to test it.
    """
    recent, errors, places = (np.concatenate(each) for each in zip(*lessons, strict=True))
    F = errors.shape[1]
    early = np.where(places < _TEST_FROM, errors, np.nan)
    solved, tested = (~np.isnan(each).all(axis=1) for each in (early, errors))
    tested &= places[:, 0] >= _TEST_FROM
    V = np.zeros((UNITS + 1, F))
    if not solved.any() or not tested.any():
        return V
    h = states(recent)
    maps = [V, *solve(h[solved], early[solved])]
    size = np.array([np.nanmean(np.abs(errors[tested] - corrections(each, h[tested])), axis=1) for each in maps])
    before, *after = size.mean(axis=1)
    best = int(np.argmax(np.array(after) <= EQUAL * min(after)))
    gain, independent = size[0] - size[1 + best], tested.sum() / F
    share = confidence(len(lessons)) * min(2 * preference(after[best], before), 1)
    if gain.mean() > 0 and independent > 1:
        share = max(share, 1 - gain.var() / (gain.mean() ** 2 * (independent - 1)))
    share = round(float(share), 2)
    return share * solve(h, errors, _PENALTIES[best : best + 1])[0] if share else V
