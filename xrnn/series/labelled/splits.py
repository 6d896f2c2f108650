"""The series that are left out of a training, to test it. Those of one group stay together.

A unit is what can't be divided: the series of a group, or one series without a group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from xrnn.series.one_series import Series
from xrnn.series.reading.numbers import as_number
from xrnn.typing import HostArray

# Held-out parts of the series: the share, and the spawn key of its random stream. recurrent.py has other keys.
TEST: Final = (0.25, 1)
_PARTS: Final = (5, 4)  # to leave out one after the other: their number, and the spawn key


def classes_of(labels: Sequence[Any], *, by_number: bool = False) -> list[Any]:
    """The different labels, sorted.   by_number: text by the numbers in it, if all are numbers"""
    different = sorted(set(labels))
    numbers = {label: as_number(str(label)) for label in different}
    return sorted(different, key=numbers.get) if by_number and None not in numbers.values() else different  # type: ignore[arg-type]


def by_label(series: Sequence[Series]) -> list[list[int]]:
    """The indices of the series of each label; of all series if they have numbers to predict."""
    labels = _labels_of(series)
    return [[i for i, each in enumerate(labels) if each == label] for label in classes_of(labels, by_number=True)]


def units_of(series: Sequence[Series]) -> list[list[int]]:
    """The indices of the series of each unit, in the order of their first series."""
    units: dict[Any, list[int]] = {}
    for i, each in enumerate(series):
        key = (i,) if each.group is None else each.group
        units.setdefault(key, []).append(i)
    return [*units.values()]


def hold_out(series: Sequence[Series], part: tuple[float, int], seed: int) -> tuple[list[Series], list[Series]]:
    """Hold out a random part of the units of each label, at least one → the remaining and the held-out series.

    Both lists keep the order of `series`. Each label also stays in a remaining unit.
    """
    share, key = part
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(key,)))
    labels = _labels_of(series)
    chosen = []
    for units in _units_by_label(series):
        if len(units) > 1:
            drawn = [units[k] for k in rng.permutation(len(units))]
            chosen += drawn[: max(1, round(len(units) * share))]
    held = {i for unit in _left_out_together(chosen, labels, _unit_counts(series)) for i in unit}
    return [s for i, s in enumerate(series) if i not in held], [s for i, s in enumerate(series) if i in held]


def parts_of(series: Sequence[Series], seed: int) -> list[HostArray]:
    """Divide the units into five parts to leave out, with about the same labels in each → the indices of their series.

    A unit that alone has a label is in no part. Parts of few units may be empty, and are left out.
    """
    count, key = _PARTS
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(key,)))
    labels = _labels_of(series)
    counts = _unit_counts(series)
    dealt: list[list[int]] = []
    for units in _units_by_label(series):
        able = [unit for unit in units if all(counts[labels[i]] > 1 for i in unit)]
        dealt += [able[k] for k in rng.permutation(len(able))]
    parts = [_left_out_together(dealt[k::count], labels, counts) for k in range(min(count, len(dealt)))]
    return [np.sort([i for unit in part for i in unit]) for part in parts if part]


def _labels_of(series: Sequence[Series]) -> list[Any]:
    """The label of each series; 0 for all if they have numbers to predict."""
    labels = [one.label for one in series]
    return [0] * len(labels) if isinstance(labels[0], float | np.floating) else labels


def _units_by_label(series: Sequence[Series]) -> list[list[list[int]]]:
    """The units of each label. A unit with several labels counts for the most frequent one."""
    labels = _labels_of(series)
    units: dict[Any, list[list[int]]] = {label: [] for label in classes_of(labels, by_number=True)}
    for unit in units_of(series):
        ((label, _),) = Counter(labels[i] for i in unit).most_common(1)
        units[label].append(unit)
    return [*units.values()]


def _unit_counts(series: Sequence[Series]) -> Counter[Any]:
    """The number of units that have a label, for each label."""
    labels = _labels_of(series)
    return Counter(label for unit in units_of(series) for label in {labels[i] for i in unit})


def _left_out_together(units: Sequence[list[int]], labels: Sequence[Any], counts: Counter[Any]) -> list[list[int]]:
    """Those of the units that can be left out together: each label stays in another unit.   counts: `_unit_counts`"""
    left = Counter(counts)
    able = []
    for unit in units:
        of_unit = {labels[i] for i in unit}
        if all(left[label] > 1 for label in of_unit):
            left.subtract(of_unit)
            able.append(unit)
    return able
