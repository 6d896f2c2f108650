"""The linear part of a forecast, and the effect of known columns: ridge regressions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from xrnn.series.forecast.smoothing import by_errors, exponential
from xrnn.series.progress import progress_of
from xrnn.series.scale import Scale
from xrnn.typing import HostArray

# Values farther than this from the level, in scales, are clipped: else a few windows of one series could decide the
# linear part of all series.
# Chosen on simulated series: on M1 and the odd series of M3, 10 gives the same errors as 1000.
FAR: Final = 10.0
_PENALTIES: Final = 10.0 ** np.arange(-1, 5)
_EFFECT_PENALTIES: Final = 10.0 ** np.arange(6)  # of known columns
BLOCKS: Final = 20  # of rows, without each of which the effect of known columns is found; chosen on simulated series
_SPLITS: Final = np.linspace(0.35, 1, 7)  # shares of the rows
_MOST_TESTED: Final = 2**14  # values ahead in a split, so that memory does not grow with the series
_MOST_LAGS: Final = 512
_ROUNDING: Final = 1e-6  # errors below this share of the values are rounding: they are computed in float32
_TOLERATED: Final = 1.5  # median errors: larger ones count less in a robust regression
_REPEATS: Final = 30
# Limit on the multiply-adds of repeating a one-step forecast. Above it, candidates are only solved directly.
_MOST_PRODUCTS: Final = 2**22


def affine(x: HostArray, M: HostArray) -> HostArray:
    """[x; 1] @ M: x (N, C), M (C + 1, F) → (N, F)"""
    return x @ M[:-1] + M[-1]


def ridge(S: HostArray, B: HostArray, penalties: Sequence[float] | HostArray) -> list[HostArray]:
    """(S + λI)⁻¹ B for each penalty λ: S (C, C) is symmetric, B (C,) or (C, F)   (Hoerl & Kennard, 1970)."""
    return [np.linalg.solve(S + penalty * np.eye(len(S)), B) for penalty in penalties]


def are_enough(changes: int, columns: int) -> bool:
    """Whether the effect of columns can be found from this number of known changes; otherwise it is 0."""
    return changes > columns + 1


def effect_of(values: HostArray, columns: HostArray) -> HostArray:
    """The effect (K,) of columns: ridge regression of changes over a season (n,) on those of the columns (n, K).

    Differences remove the season and most of a trend, which the columns need not explain. NaN is an unknown change.
    """
    known = ~np.isnan(values)
    K = columns.shape[1]
    if not are_enough(int(known.sum()), K):
        return np.zeros(K)
    x, y = columns[known] - columns[known].mean(axis=0), values[known] - values[known].mean()
    return ridge(x.T @ x, x.T @ y, [1.0])[0]


def effects_by_block(values: HostArray, columns: HostArray, blocks: HostArray) -> tuple[HostArray, HostArray]:
    """The effect (K,) of known columns, and their effects (B, K) without each block of rows.

    As in `effect_of`. The penalty is the one with the smallest mean |error| of changes that are left out: the effect
    that forecasts a change is found without its block. So columns that have no effect get a large penalty.

    blocks   (n, 2), below B: the blocks of the two rows of each change, its own row and the row a season before
    """
    known = ~np.isnan(values)
    K = columns.shape[1]
    B = BLOCKS
    if not are_enough(int(known.sum()), K):
        return np.zeros(K), np.zeros((B, K))
    x, y = columns[known] - columns[known].mean(axis=0), values[known] - values[known].mean()
    S, products = x.T @ x, x.T @ y
    effects = np.empty((len(_EFFECT_PENALTIES), B, K))
    errors = np.zeros(len(_EFFECT_PENALTIES))
    for block in range(B):
        is_row, is_row_before = (blocks[known] == block).T
        left_out = is_row | is_row_before
        S_out, products_out = x[left_out].T @ x[left_out], x[left_out].T @ y[left_out]
        effects[:, block] = ridge(S - S_out, products - products_out, _EFFECT_PENALTIES)
        errors += np.abs(y[is_row] - effects[:, block] @ x[is_row].T).sum(axis=1)
    best = int(errors.argmin())
    return ridge(S, products, _EFFECT_PENALTIES[best : best + 1])[0], effects[best]


def robust_effect(values: HostArray, columns: HostArray, season: int) -> tuple[HostArray, float]:
    """The effect (T,) of known columns (T, K) on values (T,), which single wrong values hardly change.

    As in `effect_of`, but a change whose error e is larger than 1.5 s has the weight 1.5 s / e, for the median |error|
    s   (Huber, 1964; the weights are found by repeated solutions). Also the part that it leaves: the median |error| of
    the changes in which a column changes, divided by their median size; 1 without such changes.
    """
    x = Scale.of([columns]).apply(columns).astype(np.float64)
    change, change_of_columns = values[season:] - values[:-season], x[season:] - x[:-season]
    known = ~np.isnan(change)
    A = np.append(change_of_columns[known], np.ones((known.sum(), 1)), axis=1)
    y = change[known]
    if len(y) <= A.shape[1]:
        return np.zeros(len(values)), 1.0
    weight = np.ones(len(y))
    error = np.abs(y)
    for _ in range(_REPEATS):
        weighted = A * weight[:, None]
        effect = ridge(weighted.T @ A, weighted.T @ y, [1e-3 * weight.sum() + 1e-12])[0]
        error = np.abs(y - A @ effect)
        # If most changes are explained exactly, the limit is a share of the largest error, so that no weight is 0.
        limit = max(_TOLERATED * float(np.median(error)), 1e-6 * float(error.max()))
        if limit == 0:
            break
        weight = limit / np.maximum(error, limit)
    changing = (A[:, :-1] != 0).any(axis=1)
    size = float(np.median(np.abs(y[changing]))) if changing.any() else 0.0
    return x @ effect[:-1], float(np.median(error[changing])) / size if size else 1.0


def effect_or_factor(values: HostArray, columns: HostArray, season: int) -> tuple[HostArray, HostArray]:
    """The effect of known columns as amounts a (T,) and factors f (T,): value = f · value without the columns + a.

    a is 0, or f is 1. The effect is a factor, as that of a promotion that multiplies sales, if all values are positive
    and the columns explain more of the changes of the logarithms; see `robust_effect`.
    """
    amounts, left = robust_effect(values, columns, season)
    if (values[~np.isnan(values)] > 0).all():
        of_logs, left_of_logs = robust_effect(np.log(values), columns, season)
        if left_of_logs < left:
            return np.zeros(len(values)), exponential(of_logs)
    return amounts, np.ones(len(values))


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
    F = ahead.shape[1]
    place = at / rows
    complete = ~np.isnan(ahead).any(axis=1)
    begun = ~np.isnan(ahead[:, 0])
    # A window is solved on from the first split after its last value ahead; in regressions of one step, after its first
    # value ahead. It is tested by the maps of the last split before it.
    solved_from = np.searchsorted(_SPLITS[:-1], place + F / rows)
    one_step_from = np.searchsorted(_SPLITS[:-1], place + 1 / rows)
    tested_in = np.searchsorted(_SPLITS, place, side="right") - 1
    C = z.shape[1]
    sums = np.zeros((C + F + 1, C + F + 1))  # the moments of all windows before the split
    one_step_sums = np.zeros((C + 2, C + 2))
    errors: HostArray | None = None  # of each candidate, over the splits so far; None before the first test
    rounding = 0.0  # the part of these errors that is rounding
    forecasts = np.full(ahead.shape, np.nan)
    with progress_of("linear part", len(_SPLITS)) as advance:
        for split in range(len(_SPLITS)):
            new = complete & (solved_from == split)
            new_one_step = begun & (one_step_from == split)
            sums += moments(z[new], ahead[new])
            one_step_sums += moments(z[new_one_step], ahead[new_one_step, :1])
            tested = np.flatnonzero(complete & (tested_in == split))
            tested = tested[:: 1 + len(tested) * F // _MOST_TESTED]
            if not tested.size or sums[-1, -1] < 2:  # the last moment is the number of windows
                advance()
                continue
            with np.errstate(over="ignore", invalid="ignore"):  # a repeated step may even grow to infinity
                maps = candidates(sums, one_step_sums, season)
                y = np.stack([affine(z[tested], M).astype(np.float32) for M in maps], axis=1)
            y = np.nan_to_num(y, nan=FAR, posinf=FAR, neginf=-FAR).clip(-FAR, FAR)
            if errors is None:
                errors = np.zeros(y.shape[1])
            else:
                forecasts[tested] = by_errors(errors, rounding) @ y
            size = np.abs(y - ahead[tested, None].astype(np.float32)).mean(axis=2)
            errors = errors + (scale[tested] * size).sum(axis=0)
            rounding += _ROUNDING * float((scale[tested] * np.abs(ahead[tested]).mean(axis=1, keepdims=True)).sum())
            advance()
    W = np.zeros((C + 1, F))
    if errors is not None:
        for weight, M in zip(by_errors(errors, rounding), candidates(sums, one_step_sums, season), strict=True):
            if weight:  # a map without weight may be infinite
                W += weight * M
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
    own = slice(C - c, C)
    mean = moments[-1, :-1] / moments[-1, -1]
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
    C = len(step) - 1
    w = step[:-1, 0]
    lags = np.flatnonzero(w)
    later = np.zeros((F, C + 1))  # each forecast as a linear function of [z; 1]
    for f in range(F):
        place = lags + f  # of the last C values; those from C on are forecasts
        later[f] = w[lags[place >= C]] @ later[place[place >= C] - C]
        later[f, place[place < C]] += w[lags[place < C]]
        later[f, C] += step[C, 0]
    return later.T
