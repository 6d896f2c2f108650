"""The learnt parts of a forecast: the effect of known columns, a linear map of the context, a recurrent correction."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from xrnn.layers.gru import GRU
from xrnn.series.forecast.smoothing import by_errors, confidence, preference
from xrnn.typing import HostArray

FAR: Final = 1e3  # scales from the level: values are clipped here, so that one outlier does not decide the linear part
_PENALTIES: Final = 10.0 ** np.arange(-1, 5)
_SPLITS: Final = np.linspace(0.35, 1, 7)  # shares of the rows
_MOST_TESTED: Final = 2**14  # values ahead in a split, so that memory does not grow with the series
_MOST_LAGS: Final = 512
# Limit on the multiply-adds of repeating a one-step forecast. Above it, candidates are only solved directly.
_MOST_PRODUCTS: Final = 2**22
# The constants of the recurrent part were chosen on M1 and the 1st, 3rd, 5th … series of M3.
UNITS: Final = 100  # H
_MEMORY: Final = 2.8  # biases of update gates lie between 0 and this: a state keeps σ(2.8) = 0.94 of that before
_LARGEST_INPUT_WEIGHT: Final = 0.5
_OUTPUT_PENALTIES: Final = (3.0, 0.3, 0.03, 3e-3, 3e-4)
EQUAL: Final = 1.05  # errors count as equal if their ratio is smaller
_LARGEST_ERROR: Final = 4.0  # in median errors of its step ahead: larger ones are clipped
_TEST_FROM: Final = 0.8  # share of the rows: errors of the later ones test what the earlier ones gave
_BATCH: Final = 1024


def affine(x: HostArray, M: HostArray) -> HostArray:
    """[x; 1] @ M: x (N, C), M (C + 1, F) → (N, F)"""
    return x @ M[:-1] + M[-1]


def ridge(S: HostArray, B: HostArray, penalties: Sequence[float] | HostArray) -> list[HostArray]:
    """(S + λI)⁻¹ B for each penalty λ: S (C, C) is symmetric, B (C,) or (C, F)   (Hoerl & Kennard, 1970)."""
    return [np.linalg.solve(S + penalty * np.eye(len(S)), B) for penalty in penalties]


def effect_of(values: HostArray, columns: HostArray) -> HostArray:
    """The effect (K,) of columns: ridge regression of changes over a season (n,) on those of the columns (n, K).

    Differences remove the season and most of a trend, which the columns need not explain. NaN is an unknown change.
    """
    known, K = ~np.isnan(values), columns.shape[1]
    if known.sum() <= K + 1:
        return np.zeros(K)
    x, y = columns[known] - columns[known].mean(axis=0), values[known] - values[known].mean()
    return ridge(x.T @ x, x.T @ y, [1.0])[0]


def linear_part(
    z: HostArray, ahead: HostArray, at: HostArray, rows: HostArray, scale: HostArray, season: int
) -> tuple[HostArray, HostArray]:
    """W (C + 1, F), the weighted mean of the candidates; and its forecasts (N, F) of left-out windows, else NaN.

    The candidates are solved on the windows before a split of the rows, and tested on those up to the next split. The
    weight of each is 1 / error¹⁶. In a left-out window, the weights come from the windows before its split, so that no
    forecast has seen its own error. If there are too few windows to test on, W is 0, and no window is left out.

    z, ahead   (N, C), the scaled contexts, and (N, F), the scaled next values; NaN if unknown
    at, rows   (N,), the row of the first value ahead, and the number of rows of its series
    scale      (N, 1), of the contexts, in units of the series: errors count in these units
    """
    F, place = ahead.shape[1], at / rows
    complete, begun = ~np.isnan(ahead).any(axis=1), ~np.isnan(ahead[:, 0])
    # The first split after the last value ahead, or after the first one; and the last split before the window.
    all_from, begun_from = (np.searchsorted(_SPLITS[:-1], place + steps * (1 / rows)) for steps in (F, 1))
    split_of = np.searchsorted(_SPLITS, place, side="right") - 1
    of_all = of_begun = errors = np.zeros(())  # sums over the splits: of moments, and of the errors of each candidate
    forecasts = np.full(ahead.shape, np.nan)
    for split in range(len(_SPLITS)):
        new, new_begun = complete & (all_from == split), begun & (begun_from == split)
        of_all = of_all + moments(z[new], ahead[new])
        of_begun = of_begun + moments(z[new_begun], ahead[new_begun, :1])
        late = np.flatnonzero(complete & (split_of == split))
        late = late[:: 1 + len(late) * F // _MOST_TESTED]
        if not late.size or of_all[-1, -1] < 2:
            continue
        with np.errstate(over="ignore", invalid="ignore"):  # a repeated step may even grow to infinity
            maps = candidates(of_all, of_begun, season)
            y = np.stack([affine(z[late], M).astype(np.float32) for M in maps], axis=1)
        y = np.nan_to_num(y, nan=FAR, posinf=FAR, neginf=-FAR).clip(-FAR, FAR)
        if errors.ndim:  # there were tests before this split
            forecasts[late] = by_errors(errors) @ y
        size = np.abs(y - ahead[late, None].astype(np.float32)).mean(axis=2)
        errors = errors + (scale[late] * size).sum(axis=0)
    W = np.zeros((z.shape[1] + 1, F))
    if errors.ndim:
        for weight, M in zip(by_errors(errors), candidates(of_all, of_begun, season), strict=True):
            W += weight * M if weight else 0.0  # a map without weight may be infinite
    return W, forecasts


def moments(z: HostArray, ahead: HostArray) -> HostArray:
    """Σ v vᵀ over windows v = [z, ahead, 1] (C + F + 1,): all that a regression needs of them."""
    v = np.concatenate([z, ahead, np.ones((len(z), 1))], axis=1)
    return v.T @ v


def candidates(complete: HostArray, begun: HostArray, season: int) -> Iterator[HostArray]:
    """Maps (C + 1, F) from a context to the values ahead.

    Each corrects a simple forecast by ridge regression on the last c values: of all steps ahead directly, or of one
    step, which is repeated. The simple forecasts are the seasonal naive one, and the mean of all seasons in the
    context. Penalties and c vary.

    complete   the moments of windows whose F values ahead are all known
    begun      the moments of windows whose first value ahead is known, with this value only
    """
    C = len(begun) - 2
    F = len(complete) - 1 - C
    naive, mean = np.zeros((2, C + 1, 1))
    naive[C - season] = 1
    mean[C % season : C : season] = 1 / (C // season)
    steps = [naive, mean] if 2 * season <= C else [naive]
    bases = [repeated(step, F) for step in steps]
    yield from bases
    for c in sorted({season, min(C, _MOST_LAGS)}):
        yield from _corrected(complete, bases, c)
        if F * min(c + len(bases), F) * C <= _MOST_PRODUCTS:
            for step in _corrected(begun, steps, c):
                yield repeated(step, F)


def _corrected(moments: HostArray, bases: list[HostArray], c: int) -> Iterator[HostArray]:
    """Each base (C + 1, F), corrected by a regression of its errors on the last c values, for each penalty."""
    C = len(bases[0]) - 1
    own, mean = slice(C - c, C), moments[-1, :-1] / moments[-1, -1]
    S = moments[:-1, :-1] - np.outer(moments[-1, :-1], mean)  # the products of centred windows
    errors = [mean[C:] - affine(mean[:C], base) for base in bases]
    products = [S[own, C:] - S[own, :C] @ base[:C] for base in bases]
    for W in ridge(S[own, own], np.concatenate(products, axis=1), _PENALTIES):  # the corrections of all bases
        for base, error, correction in zip(bases, errors, W.T.reshape(len(bases), -1, c), strict=True):
            corrected = base.copy()
            corrected[own] += correction.T
            corrected[C] += error - correction @ mean[own]
            yield corrected


def repeated(step: HostArray, F: int) -> HostArray:
    """The map (C + 1, F) of F steps from that of one step (C + 1, 1): each forecast becomes a value of the context."""
    C, w = len(step) - 1, step[:-1, 0]
    lags = np.flatnonzero(w)
    later = np.zeros((F, C + 1))  # each forecast as a linear function of [z; 1]
    for f in range(F):
        place = lags + f  # of the last C values; those from C on are forecasts
        later[f] = w[lags[place >= C]] @ later[place[place >= C] - C]
        later[f, place[place < C]] += w[lags[place < C]]
        later[f, C] += step[C, 0]
    return later.T


def recurrent_part(n: int, recent: HostArray, errors: HostArray, places: HostArray) -> HostArray:
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
        return V
    h = states(recent)
    maps = [V, *output_layers(h[solved], early[solved], _OUTPUT_PENALTIES)]
    size = np.array([np.nanmean(np.abs(errors[tested] - affine(h[tested], each)), axis=1) for each in maps])
    before, *after = size.mean(axis=1)
    best = int(np.argmax(np.array(after) <= EQUAL * min(after)))
    gain, independent = size[0] - size[1 + best], tested.sum() / F
    share = confidence(n) * min(2 * preference(after[best], before), 1)
    if gain.mean() > 0 and independent > 1:
        share = max(share, 1 - gain.var() / (gain.mean() ** 2 * (independent - 1)))
    share = round(float(share), 2)
    return share * output_layers(h, errors, _OUTPUT_PENALTIES[best : best + 1])[0] if share else V


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
    for first in range(0, len(h), _BATCH):
        part = slice(first, first + _BATCH)
        h[part] = gru()(np.ascontiguousarray(recent[part].transpose(1, 0, 2), np.float32))[-1]
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
