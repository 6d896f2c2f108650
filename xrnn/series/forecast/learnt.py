"""The learnt parts of a forecast: a linear map of the context, and a recurrent correction."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from xrnn.layers.gru import GRU
from xrnn.series.forecast.smoothing import by_errors, confidence, preference
from xrnn.typing import HostArray

FAR: Final = 1e3  # scales from the level: values are clipped here, so that one outlier does not decide the linear part
_PENALTIES: Final = 10.0 ** np.arange(-1, 5)
# Shares of the rows. Candidates are solved on the rows before a split and tested on those up to the next.
_SPLITS: Final = np.linspace(0.35, 1, 7)
_MOST_TESTED: Final = 2**14  # values ahead in a split, so that memory does not grow with the series
_MOST_LAGS: Final = 512
# Limit on the multiply-adds of repeating a one-step forecast. Above it, candidates are only solved directly.
_MOST_PRODUCTS: Final = 2**22


def contexts(values: HostArray, origins: HostArray, C: int, season: int, least: float) -> tuple[HostArray, ...]:
    """The contexts that forecasts are made from, scaled by their own values, as z (N, C); their level and scale (N, 1).

    z = (v - level) / scale,   level = mean of the last season,   scale = standard deviation of the context

    origins   (N,), the places of the first steps to forecast. A context that begins before the series is padded: its
              first season is repeated
    least     the smallest scale
    """
    places = origins[:, None] + np.arange(-C, 0)
    context = values[np.where(places < 0, places % season, places)]
    level = context[:, -season:].mean(axis=1, keepdims=True)
    scale = np.maximum(context.std(axis=1, keepdims=True), least)
    return ((context - level) / scale).clip(-FAR, FAR), level, scale


class Samples(NamedTuple):
    """n windows of a series up to a row, as scaled values.

    z        (n, C), the contexts
    ahead    (n, F), the next values; NaN if missing, or after the row
    origin   (n,): the place of the first value ahead, as a share of the rows; stride: the share of one row
    level, scale   (n, 1): a value is level + scale · z
    """

    z: HostArray
    ahead: HostArray
    origin: HostArray
    stride: float
    level: HostArray
    scale: HostArray


def ridge(S: HostArray, penalties: Iterable[float]) -> Callable[[HostArray], Iterator[HostArray]]:
    """A function B → (S + λI)⁻¹ B for each penalty λ and a symmetric S (C, C)   (Hoerl & Kennard, 1970)."""
    eigenvalues, V = np.linalg.eigh(S)

    def solve(B: HostArray) -> Iterator[HostArray]:
        projected = V.T @ B
        for penalty in penalties:
            yield V @ (projected / (eigenvalues.clip(0) + penalty)[:, None])

    return solve


class Moments(NamedTuple):
    """All that a regression needs of windows v = [z, ahead] (C + F,): their number, mean, and centred products.

    products   Σ (v - mean) (v - mean)ᵀ
    """

    number: int
    mean: HostArray
    products: HostArray

    @classmethod
    def of(cls, z: HostArray, ahead: HostArray) -> Moments:
        """z (n, C), ahead (n, F)"""
        v = np.concatenate([z, ahead], axis=1)
        mean = v.mean(axis=0) if len(v) else np.zeros(v.shape[1])
        v -= mean
        return cls(len(v), mean, v.T @ v)

    def plus(self, other: Moments) -> Moments:
        """The moments of both sets of windows   (Chan et al., 1979)."""
        number = self.number + other.number
        share, apart = other.number / max(number, 1), other.mean - self.mean
        products = self.products + other.products + np.outer(apart, apart) * (self.number * share)
        return Moments(number, self.mean + apart * share, products)


def effect_of(changes: Sequence[tuple[HostArray, HostArray]], K: int) -> HostArray:
    """The effect (K,) of known columns: ridge regression of changes over a season on the changes of the columns.

    Differences remove the season and most of a trend, which the columns need not explain.

    changes   for each series: of the values (n,), in units of the series, and of the columns (n, K)
    """
    values = np.concatenate([each for each, _ in changes])
    columns = np.concatenate([each for _, each in changes])
    known = ~np.isnan(values)
    if known.sum() <= K + 1:
        return np.zeros(K)
    x, y = columns[known] - columns[known].mean(axis=0), values[known, None] - values[known].mean()
    (effect,) = ridge(x.T @ x, [1.0])(x.T @ y)
    return effect[:, 0]


def repeated(w: HostArray, b: float, F: int) -> HostArray:
    """The map (C + 1, F) of F steps from that of one step, z @ w + b: each forecast becomes a value of the context."""
    C, lags = len(w), np.flatnonzero(w)
    later = np.zeros((F, C + 1))  # each forecast as a linear function of [z; 1]
    for f in range(F):
        place = lags + f  # of the last C values; those from C on are forecasts
        later[f] = w[lags[place >= C]] @ later[place[place >= C] - C]
        later[f, place[place < C]] += w[lags[place < C]]
        later[f, C] += b
    return later.T


def _bases(C: int, season: int) -> list[HostArray]:
    """One step of the seasonal naive forecast, and the mean of all seasons in the context: each (C,)."""
    naive, mean = np.zeros(C), np.zeros(C)
    naive[C - season] = 1
    mean[C % season :: season] = 1 / (C // season)
    return [naive, mean] if 2 * season <= C else [naive]


def candidates(complete: Moments, first: Moments, season: int) -> Iterator[HostArray]:
    """Maps (C + 1, F) from a context to the values ahead.

    Each corrects a simple forecast by ridge regression on the last c values: of all steps ahead directly, or of one
    step, which is repeated. Penalties and c vary.

    complete   of windows whose F values ahead are all known
    first      of windows whose first value ahead is known, with this value only
    """
    C = len(first.mean) - 1
    F = len(complete.mean) - C
    steps = _bases(C, season)
    bases = [repeated(step, 0.0, F) for step in steps]
    yield from bases
    for c in sorted({season, min(C, _MOST_LAGS)}):
        for base, W, b in _corrections(complete, bases, c):
            direct = base.copy()
            direct[C - c : C] += W
            direct[C] += b
            yield direct
        if F * min(c + len(bases), F) * C > _MOST_PRODUCTS:
            continue
        for base, W, b in _corrections(first, [np.append(step, 0.0)[:, None] for step in steps], c):
            w = base[:C, 0].copy()
            w[C - c :] += W[:, 0]
            yield repeated(w, float(b[0]), F)


def _corrections(moments: Moments, bases: list[HostArray], c: int) -> Iterator[tuple[HostArray, HostArray, HostArray]]:
    """For each base (C + 1, F) and penalty: the base; W (c, F) and b (F,), which correct it by the last c values."""
    C = len(bases[0]) - 1
    own, mean, S = slice(C - c, C), moments.mean, moments.products
    solve = ridge(S[own, own], _PENALTIES)
    for base in bases:
        error = mean[C:] - mean[:C] @ base[:C]
        for W in solve(S[own, C:] - S[own, :C] @ base[:C]):
            yield base, W, error - mean[own] @ W


class Tested(NamedTuple):
    """Windows that candidates were tested on: their places (n,) among all windows.

    forecasts   (n, k, F), scaled; errors (n, k): mean absolute ones
    """

    places: HostArray
    forecasts: HostArray
    errors: HostArray


def average(samples: Sequence[Samples], season: int) -> tuple[HostArray, list[tuple[int, HostArray, HostArray]]]:
    """W (C + 1, F): the weighted mean of the candidates.

    Each candidate's weight is 1 / error¹⁶, measured on windows later than those it was solved on.
    Also returns forecasts of the mean on these windows: (series, indices of its samples (n,), scaled (n, F)). There,
    the weights come from the windows before the split, so that no forecast has seen its own error.
    If there are too few windows to test on, W is 0, and no forecasts are returned.
    """
    z, ahead, origin, scale = (
        np.concatenate([getattr(each, name) for each in samples]) for name in ("z", "ahead", "origin", "scale")
    )
    stride = np.concatenate([np.full(len(each.z), each.stride) for each in samples])
    tested, complete, first = _test(z, ahead, origin, stride, season)
    if tested is None:
        return np.zeros((z.shape[1] + 1, ahead.shape[1])), []
    places, later = tested.places, np.searchsorted(_SPLITS, origin[tested.places], side="right")
    errors = scale[places] * tested.errors
    weights = by_errors(errors.sum(axis=0)[None])[0]
    W = sum(weights[k] * M for k, M in enumerate(candidates(complete, first, season)) if weights[k])
    mean = np.full((len(places), ahead.shape[1]), np.nan)
    for split in np.unique(later)[1:]:
        earlier = by_errors(errors[later < split].sum(axis=0)[None])[0]
        mean[later == split] = np.einsum("k,nkf->nf", earlier, tested.forecasts[later == split])
    places, mean = (each[later > later.min()] for each in (places, mean))
    ends = np.cumsum([len(each.z) for each in samples])
    of_series = np.searchsorted(ends, places, side="right")
    return np.asarray(W), [
        (i, places[of_series == i] - (ends[i] - len(samples[i].z)), mean[of_series == i]) for i in np.unique(of_series)
    ]


def _test(
    z: HostArray, ahead: HostArray, origin: HostArray, stride: HostArray, season: int
) -> tuple[Tested | None, Moments, Moments]:
    """The tests of candidates on windows later than those they were solved on, and the moments of all windows.

    The tests are None if there are too few windows. The moments of the windows between two splits are added to those
    before, so that each is computed once.
    """
    F, last = ahead.shape[1], len(_SPLITS) - 1
    known = ~np.isnan(ahead)
    complete, first = known.all(axis=1), known[:, 0]
    # The number of the first split at which all values ahead of a window are known, or the first of them.
    all_from, first_from = (np.searchsorted(_SPLITS, origin + stride * steps).clip(max=last) for steps in (F, 1))
    of_all, of_first, parts = Moments.of(z[:0], ahead[:0]), Moments.of(z[:0], ahead[:0, :1]), []
    for split in range(last + 1):
        new, new_first = complete & (all_from == split), first & (first_from == split)
        of_all = of_all.plus(Moments.of(z[new], ahead[new]))
        of_first = of_first.plus(Moments.of(z[new_first], ahead[new_first, :1]))
        if split == last or of_all.number < 2:
            continue
        late = np.flatnonzero((origin >= _SPLITS[split]) & (origin < _SPLITS[split + 1]) & complete)
        late = late[:: 1 + len(late) * F // _MOST_TESTED]
        if len(late):
            with np.errstate(over="ignore", invalid="ignore"):  # a repeated step may even grow to infinity
                maps = candidates(of_all, of_first, season)
                y = np.stack([(z[late] @ M[:-1] + M[-1]).astype(np.float32) for M in maps], axis=1)
            y = np.nan_to_num(y, nan=FAR, posinf=FAR, neginf=-FAR).clip(-FAR, FAR)
            parts.append(Tested(late, y, np.abs(y - ahead[late, None].astype(np.float32)).mean(axis=2)))
    return Tested(*map(np.concatenate, zip(*parts, strict=True))) if parts else None, of_all, of_first


# The constants were chosen on M1 and the 1st, 3rd, 5th … series of M3.
UNITS: Final = 100  # H
_MEMORY: Final = 2.8  # biases of update gates lie between 0 and this: a state keeps σ(2.8) = 0.94 of that before
_LARGEST_INPUT_WEIGHT: Final = 0.5
_OUTPUT_PENALTIES: Final = (3.0, 0.3, 0.03, 3e-3, 3e-4)
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


def solve(h: HostArray, errors: HostArray, penalties: Sequence[float] = _OUTPUT_PENALTIES) -> HostArray:
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
    return share * solve(h, errors, _OUTPUT_PENALTIES[best : best + 1])[0] if share else V
