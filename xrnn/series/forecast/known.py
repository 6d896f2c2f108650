"""Known columns: typing errors in their past, and last rows of the target that are far because of them."""

from __future__ import annotations

from typing import Final

import numpy as np

from xrnn.typing import HostArray

_FARTHER: Final = 4.0  # times the distance of the others from each other: 10 in a column of 0 and 1
_LEAST_ROWS: Final = 8  # of the others that differ from their commonest value; fewer can't show which values are usual
_LEAST_EQUAL: Final = 2  # rows of each value, if the others have only two values
_USUAL_SHARE: Final = 0.5  # of the rows have the value of a column that is not active, such as 0 of a promotion
_TYPED_RATIO: Final = 1.25  # of a typing error, divided by 10, 100, …, to the value that was meant
_LEAST_EFFECT: Final = 0.1  # of a known column, in distances of a far row from its expected value
_LARGEST_SHARE: Final = 0.02  # of the rows, or one, are errors: more are values that come again


def find_errors(columns: HostArray) -> dict[tuple[int, int], tuple[float, float]]:
    """The row and the column of each typing error in known columns (T, K), and the least and greatest other value.

    Errors are single values that are farther from the others than four times the distance of these from each other. A
    large positive value must also be far by its ratio to the greatest other: this exceeds the square of the ratio of
    that to the median of the positive others. So large values are no errors in a column where such values are usual,
    such as costs of advertising. In a column of amounts, which has 0 and more than one other value or one other than 1,
    it must also be about 10, 100, … times one of the others: any amount may come once. Negative values beside others
    that are not above 0 follow the same rules. A value that occurs twice is no error, nor is a single one beside equal
    values.
    """
    found: dict[tuple[int, int], tuple[float, float]] = {}
    for k, column in enumerate(columns.T):
        rows = np.flatnonzero(~np.isnan(column))
        if len(rows) <= _LEAST_ROWS:
            continue
        rows = rows[np.argsort(-np.abs(column[rows] - np.median(column[rows])), kind="stable")]
        for count in range(max(int(_LARGEST_SHARE * len(rows)), 1), 0, -1):
            errors, others = column[rows[:count]], column[rows[count:]]
            is_single = len(np.unique(errors)) == count
            if is_single and _show_usual_values(others) and all(_is_far(value, others) for value in errors.tolist()):
                found |= {(int(row), k): (float(others.min()), float(others.max())) for row in rows[:count]}
                break
    return dict(sorted(found.items()))


def _is_far(value: float, others: HostArray) -> bool:
    if value < 0 and others.max() <= 0:
        value, others = -value, -others
    least = others.min()
    greatest = others.max()
    if max(least - value, value - greatest) <= _FARTHER * (greatest - least):
        return False
    if value < 0 or greatest <= 0:
        return True
    is_far = value / greatest > (greatest / np.median(others[others > 0])) ** 2
    has_amounts = least == 0 and not np.isin(others, (0, 1)).all()
    return bool(is_far and (not has_amounts or _is_typed(value, others[others > 0])))


def _is_typed(value: float, others: HostArray) -> bool:
    """Whether a value is about 10, 100, … times one of the others."""
    powers = np.log10(value / others)
    return bool(((powers > 0.5) & (np.abs(powers - np.rint(powers)) < np.log10(_TYPED_RATIO))).any())


def _show_usual_values(others: HostArray) -> bool:
    """Whether the other values show which ones are usual."""
    _, counts = np.unique(others, return_counts=True)
    has_two = len(counts) == 2 and counts.min() >= _LEAST_EQUAL
    return bool(has_two or counts.sum() - counts.max() >= _LEAST_ROWS)


def explained_by_known(values: HostArray, effect: HostArray, columns: HostArray, expected: dict[int, float]) -> bool:
    """Whether far last rows are no new level, because a known column explains them: a promotion of a larger effect.

    The column has one value in most rows before, and other ones in all these rows. The effect of the columns has moved
    them in the same direction, by at least a tenth of the distance.

    values, effect   (T,), the target without the effect of the columns, and this effect, NaN if unknown
    columns          (T, K)
    expected         the values that are expected in these rows
    """
    rows = [*expected]
    distance = float(np.median(values[rows] - [*expected.values()]))
    effect_there = float(np.median(effect[rows]) - np.nanmedian(effect[: rows[0]]))
    if effect_there * np.sign(distance) < _LEAST_EFFECT * abs(distance):
        return False
    for column in columns.T:
        usual, counts = np.unique(column[: rows[0]], return_counts=True)
        is_usual = counts.max() >= _USUAL_SHARE * rows[0]
        if is_usual and (np.abs(column[rows] - usual[counts.argmax()]) > 0).all():  # NaN is not active
            return True
    return False
