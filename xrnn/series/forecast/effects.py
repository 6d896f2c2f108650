"""The effects of known columns on each series, with their intervals, for a report."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final, NamedTuple

import numpy as np

from xrnn.files import printable, quoted
from xrnn.series.forecast.linear import BLOCKS, are_enough
from xrnn.series.forecast.series import OneSeries
from xrnn.typing import HostArray

LEVEL: Final = 0.8
_T: Final = 1.3277  # quantile (1 + LEVEL) / 2 of Student's t distribution with BLOCKS - 1 degrees of freedom
_PENALTY: Final = 1e-9  # of the mean square of the columns: the sums stay regular
_LEAST_OWN: Final = 1e-3  # of the squares of a column: the part that the other columns do not explain
_MOST_IN_BLOCK: Final = 0.5  # of the squares of a column: an event that comes once has no interval


class Effect(NamedTuple):
    """What 1 more in a known column does to a value of a series, with an interval.

    series       the series: its number from 0, or its name in a DataFrame; for a command, its name in the report
    column       the name of the known column, or its number from 1
    is_switch    True if the column has only the values 0 and 1
    is_factor    True if the effect multiplies a value, since the model forecasts logarithms; else it is added
    value        the effect, in units of the series, or the factor: 1.23 for +23 %
    low, high    the interval of 80 %
    """

    series: Hashable
    column: str
    is_switch: bool
    is_factor: bool
    value: float
    low: float
    high: float


def effects(series: Sequence[OneSeries], names: Sequence[str], keys: Sequence[Hashable]) -> list[Effect]:
    """The effects of the known columns on each series. Columns whose effect the rows can't tell are left out.

    They are those of `linear.effect_of` without its penalty, which moves weak effects towards 0. The interval comes
    from the effects b₋ without each of 20 blocks of the rows (Künsch, 1989; the delete-a-group jackknife):

        b ± t · √(19/20 · Σ (b₋ - mean of b₋)²),   t: quantile of Student's t distribution

    A change over a season is left out with the block of either of its rows. So errors may depend on those before, and
    effects may differ from row to row. All series have one effect, in units of their mean change over a season.

    series   as they were fitted;   names: of the known columns;   keys: what the effects name each series by
    """
    used = [one for one in series if not one.flawed]
    if not (names and used):
        return []
    values, columns, blocks = (np.concatenate(each) for each in zip(*(one.changes() for one in used), strict=True))
    found = _with_deviations(values, columns, blocks)
    model = used[0].model
    rows = []
    for key, one in zip(keys, series, strict=True):
        if one.flawed:
            continue
        for k, name in enumerate(names):
            if not np.isfinite(found[:, k]).all():
                continue
            effect, deviation = found[:, k] / model.known_scale.deviation[k] * one.unit
            limits = effect + _T * deviation * np.array([0, -1, 1])
            given = one.given.values[:, 1 + k]
            value, low, high = (np.exp(limits.clip(-700, 700)) if one.log else limits).tolist()
            is_switch = bool(np.isin(given[~np.isnan(given)], (0, 1)).all())
            rows.append(Effect(key, name, is_switch, one.log, value, low, high))
    return rows


def _with_deviations(values: HostArray, columns: HostArray, blocks: HostArray) -> HostArray:
    """The effects of columns and their standard deviations, (2, K); NaN if the changes can't tell an effect.

    values (n,), columns (n, K), blocks (n, 2): see `PreparedSeries.changes`
    """
    known = ~np.isnan(values)
    K = columns.shape[1]
    found = np.full((2, K), np.nan)
    changing = np.flatnonzero((columns[known] != 0).any(axis=0))
    if not changing.size or not are_enough(int(known.sum()) // 2, K):
        return found
    x = columns[np.ix_(known, changing)]
    y = values[known]
    blocks = blocks[known]
    x, y = x - x.mean(axis=0), y - y.mean()
    S, products = x.T @ x, x.T @ y
    penalty = _PENALTY * np.trace(S) / len(S) * np.eye(len(S))
    own = 1 / (np.diag(np.linalg.inv(S + penalty)) * np.diag(S))
    without = np.empty((BLOCKS, len(S)))
    largest = np.zeros(len(S))
    for block in range(BLOCKS):
        left_out = (blocks == block).any(axis=1)
        S_out = x[left_out].T @ x[left_out]
        largest = np.maximum(largest, np.diag(S_out) / np.diag(S))
        without[block] = np.linalg.solve(S - S_out + penalty, products - x[left_out].T @ y[left_out])
    deviation = np.sqrt((BLOCKS - 1) / BLOCKS * np.square(without - without.mean(axis=0)).sum(axis=0))
    tells = (own > _LEAST_OWN) & (largest < _MOST_IN_BLOCK)
    found[:, changing[tells]] = np.linalg.solve(S + penalty, products)[tells], deviation[tells]
    return found


def effect_report(found: Sequence[Effect], names: Sequence[str], step: str) -> list[str]:
    """A line for each column: its effect on the series, or on the one with the median effect of several.

    If some series take logarithms, and others do not, each kind has a line.

    names   of the known columns; a line has those whose effect the rows do not tell
    step    the name of the step of the model; empty without times
    """
    lines = []
    count = len({effect.series for effect in found})
    for column, is_factor in dict.fromkeys((effect.column, effect.is_factor) for effect in found):
        of_column = [effect for effect in found if (effect.column, effect.is_factor) == (column, is_factor)]
        of_column.sort(key=lambda each: each.value)
        one = of_column[len(of_column) // 2]
        what = quoted(column) if one.is_switch else f"1 more in {quoted(column)}"
        if count > 1:
            median = f", the median of {len(of_column):,} series" if of_column[1:] else ""
            what += f" on {printable(str(one.series))}{median} (--json lists all)"
        if is_factor:
            value, low, high = (f"{100 * (each - 1):+,.3g} %" for each in (one.value, one.low, one.high))
            why = ": the model forecasts logarithms, so that it is a share of the value"
        else:
            value = f"{one.value:+,.4g} per {step.removeprefix('1 ') or 'row'}"
            low = f"{one.low:,.4g}"
            high = f"{one.high:,.4g}"
            why = ""
        lines.append(f"effect of {what}: {value} ({LEVEL:.0%} interval {low} to {high}){why}")
    if untold := [name for name in names if all(effect.column != name for effect in found)]:
        why = "the rows are too few, or most of its changes are at one time, or follow from the season or other columns"
        lines.append(f"no interval for the effect of {quoted(', '.join(untold))}: {why}")
    return lines
