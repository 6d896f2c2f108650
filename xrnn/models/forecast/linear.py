"""The linear part of a forecaster: an average of linear forecasts, solved exactly and weighted by later windows."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from xrnn.typing import HostArray

_PENALTIES: Final = 10.0 ** np.arange(-1, 5)
# Shares of the rows. Candidates are solved on the rows before a split and tested on those up to the next.
_SPLITS: Final = np.linspace(0.35, 1, 7)
_POWER: Final = 10
_WORST: Final = 2.0  # candidates with a larger error, relative to the best one, are left out
_AGE: Final = 0.2  # of the rows: errors that are older by this share have 1/e of the weight
_MOST_TESTED: Final = 2**14  # values ahead in a split, so that memory does not grow with the series
_MOST_LAGS: Final = 512
# Limit on the multiply-adds of repeating a one-step forecast. Above it, candidates are only solved directly.
_MOST_PRODUCTS: Final = 2**27


@dataclass(frozen=True, slots=True, eq=False)
class LinearPart:
    """y = [z; 1] @ W, the scaled values of the steps ahead from a scaled context z; k @ effect is added to the values.

    W        (C + 1, F)
    effect   (K,), of the known columns, in units of a series: see `ForecastSeries`
    """

    W: HostArray
    effect: HostArray

    def __call__(self, z: HostArray) -> HostArray:
        """z (N, C) → y (N, F)"""
        y: HostArray = z @ self.W[:-1] + self.W[-1]
        return y


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


def ridge(A: HostArray, B: HostArray, penalties: Iterable[float]) -> Iterator[tuple[HostArray, HostArray]]:
    """W = (AᵀA + λI)⁻¹ Aᵀ B and b for each penalty λ, with A and B centred   (Hoerl & Kennard, 1970).

    A (n, C), B (n, F) → W (C, F), b (F,)
    """
    a, b = A.mean(axis=0), B.mean(axis=0)
    eigenvalues, V = np.linalg.eigh((A - a).T @ (A - a))
    projected = V.T @ ((A - a).T @ (B - b))
    for penalty in penalties:
        W = V @ (projected / (eigenvalues.clip(0) + penalty)[:, None])
        yield W, b - a @ W


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
    ((W, _),) = ridge(columns[known], values[known, None], [1.0])
    effect: HostArray = W[:, 0]
    return effect


def repeated(w: HostArray, b: float, F: int) -> HostArray:
    """The map (C + 1, F) of F steps from that of one step, z @ w + b: each forecast becomes a value of the context."""
    C = len(w)
    later = np.zeros((F, C + 1))  # each forecast as a linear function of [z; 1]
    for f in range(F):
        own = max(C - f, 0)  # the rest of the last C values are forecasts
        later[f] = w[own:] @ later[f - (C - own) : f]
        later[f, C - own : C] += w[:own]
        later[f, C] += b
    return later.T


def _bases(C: int, season: int) -> list[HostArray]:
    """One step of the seasonal naive forecast, and the mean of all seasons in the context: each (C,)."""
    naive, mean = np.zeros(C), np.zeros(C)
    naive[C - season] = 1
    mean[C % season :: season] = 1 / (C // season)
    return [naive, mean] if 2 * season <= C else [naive]


def candidates(z: HostArray, ahead: HostArray, season: int) -> Iterator[HostArray]:
    """Maps (C + 1, F) from a context to the values ahead, solved on windows z (n, C) and ahead (n, F), NaN if unknown.

    Each corrects a simple forecast by ridge regression on the last c values: of all steps ahead directly, or of one
    step, which is repeated. Penalties and c vary.
    """
    C, F = z.shape[1], ahead.shape[1]
    complete, first = ~np.isnan(ahead).any(axis=1), ~np.isnan(ahead[:, 0])
    z_complete, z_first, ahead, next_one = z[complete], z[first], ahead[complete], ahead[first, :1]
    lags = sorted({c for c in (1, 2, season, season + 1, 2 * season, C // 2, C) if 1 <= c <= min(C, _MOST_LAGS)})
    for step in _bases(C, season):
        base = repeated(step, 0.0, F)
        yield base
        error = ahead - z_complete @ base[:C]
        shifted = base.copy()
        shifted[C] += error.mean(axis=0)
        yield shifted
        for c in lags:
            for W, b in ridge(z_complete[:, C - c :], error, _PENALTIES):
                direct = base.copy()
                direct[C - c : C] += W
                direct[C] += b
                yield direct
            if F * min(C, F) * C > _MOST_PRODUCTS:
                continue
            for W, b in ridge(z_first[:, C - c :], next_one - z_first @ step[:, None], _PENALTIES):
                w = step.copy()
                w[C - c :] += W[:, 0]
                yield repeated(w, float(b[0]), F)


def age_weights(origin: HostArray) -> HostArray:
    """The weights of errors at origins, as shares of the rows: recent ones tell more about the next."""
    weights: HostArray = np.exp((origin - 1) / _AGE)
    return weights


def average(samples: Sequence[Samples], season: int) -> tuple[HostArray, list[tuple[int, HostArray, HostArray]]]:
    """W (C + 1, F): the weighted mean of the candidates.

    Each candidate's weight is 1 / error¹⁰, measured on windows later than those it was solved on.
    Also returns the forecasts of the mean on these windows: (series, indices of its samples (n,), scaled (n, F)).
    Candidates with twice the error of the best one are left out. If there are too few windows, W is the seasonal naive
    forecast.
    """
    z, ahead = np.concatenate([each.z for each in samples]), np.concatenate([each.ahead for each in samples])
    F = ahead.shape[1]
    origin = np.concatenate([each.origin for each in samples])
    stride = np.concatenate([np.full(len(each.z), each.stride) for each in samples])
    scale = np.concatenate([each.scale for each in samples])
    complete = ~np.isnan(ahead).any(axis=1)
    end = origin[:, None] + stride[:, None] * np.arange(1, F + 1)
    tested, forecasts = [], []
    for start, stop in itertools.pairwise(_SPLITS):
        late = np.flatnonzero((origin >= start) & (origin < stop) & complete)
        late = late[:: 1 + len(late) * F // _MOST_TESTED]
        seen = np.where(end <= start, ahead, np.nan)
        if len(late) == 0 or (~np.isnan(seen).any(axis=1)).sum() < 2:
            continue
        early = ~np.isnan(seen[:, 0])
        maps = candidates(z[early], seen[early], season)
        forecasts.append(np.stack([(z[late] @ M[:-1] + M[-1]).clip(-1e3, 1e3).astype(np.float32) for M in maps]))
        tested.append(late)
    if not tested:
        return repeated(_bases(z.shape[1], season)[0], 0.0, F), []
    places, of_candidates = np.concatenate(tested), np.concatenate(forecasts, axis=1)
    errors = (np.abs(of_candidates - ahead[places]).mean(axis=2) * scale[places, 0] * age_weights(origin[places])).sum(
        axis=1
    )
    errors = np.nan_to_num(errors, nan=np.inf)
    kept = np.flatnonzero(errors <= _WORST * errors.min())  # a repeated step may even grow without bound
    weights = (errors.min() / errors[kept]) ** _POWER if errors.min() > 0 else np.ones(len(kept))
    weights /= weights.sum()
    share_of = dict(zip(kept.tolist(), weights.tolist(), strict=True))
    W = sum(share_of[k] * M for k, M in enumerate(candidates(z, ahead, season)) if k in share_of)
    mean, ends = np.tensordot(weights, of_candidates[kept], 1), np.cumsum([len(each.z) for each in samples])
    of_series = np.searchsorted(ends, places, side="right")
    return np.asarray(W), [
        (i, places[of_series == i] - (ends[i] - len(samples[i].z)), mean[of_series == i]) for i in np.unique(of_series)
    ]
