"""Outliers: single values, or two to four in a row, that are far from all values to which they could belong.

Two or three such rows at the end may be errors or a new level: `rows_of_new_level`. Four or more may be in another
unit: `unit_change`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from xrnn.typing import HostArray

# The constants were chosen on M1, on the 1st, 3rd, 5th … series of M3, and on simulated series.
_FARTHER: Final = 4.0  # times the distance of any other row
_LEAST_DISTANCE: Final = 5.0  # deviations of the other values
_LEAST_SHARE: Final = 0.5  # of the distance from the rows around: two rows at a new level are nearer to each other
_LEAST_ROWS: Final = 8  # whose distance is above 0: fewer can't show which distances are usual
_LARGEST_SHARE: Final = 0.02  # of these rows: more values at one distance are no outliers but come again
_NEIGHBOURS: Final = 3  # on each side
_LENGTHS: Final = (4, 3, 2, 1)  # of runs of outliers; a longer one is a change that the forecast follows
_AT_END: Final = (3, 2)  # rows that may be errors or a new level
_TYPED_SHARE: Final = 0.12  # of the values, at most, are typing errors
_TYPED_RATIO: Final = 1.5  # of a typing error of a factor 10, 100 or 1000, without this factor, to the usual value
_ZERO_RATIO: Final = 0.4  # of each other value to their median: in such a series a value of 0 or below is an error
_REGULAR_ROWS: Final = 4  # at most, by which the longest distance of peaks that come again exceeds the shortest one
_REGULAR_RATIO: Final = 1.25  # of these distances, at most
_REPEATS: Final = 3  # of the search for typing errors, each without those found before
_LEAST_CONSTANT: Final = 0.5  # of all rows
_LEAST_CHANGES: Final = 0.5  # of the rows after a constant part
_LEAST_GOOD: Final = 5  # rows beside typing errors
_MOST_INCOMPLETE: Final = 3  # rows at the end
_LEAST_OF_UNIT: Final = 4  # rows in another unit
_MOST_CHANGES: Final = 8  # that may be one of unit; if there are more, only those in the last rows are tested
_LATE_ROWS: Final = 12
_LARGEST_POWER: Final = 3  # of ten, between two units
_SUDDEN: Final = 2.0  # times any other change
_NEAR_LEVELS: Final = (1.15, 1.5)  # ratios of two levels: at most the first, or up to the second if values change much
_NEAR_EARLIER: Final = 1.2  # at most, if the change is before the last twelve rows
_ROWS_OF_LEVEL: Final = 6  # at most
_LEAST_RUN: Final = 4  # equal rows of each level of a series whose level changes seldom


class LeftOut(NamedTuple):
    """The value that is expected in place of each row that the fit leaves out, by this row.

    outliers    see `find_outliers`
    new_level   see `rows_of_new_level`. After a change of unit, the rows in the new unit, with their values in the old
                one: the fit uses these values instead of leaving the rows out
    factor      the old unit divided by the new one, see `unit_change`; 1 without a change
    known       the row and the column of wrong known values, see `known.find_errors`. Nothing is expected in these
                rows: they count as missing
    """

    outliers: dict[int, float]
    new_level: dict[int, float]
    factor: float
    known: dict[tuple[int, int], tuple[float, float]]

    @property
    def expected(self) -> dict[int, float]:
        """The values that are expected, of both kinds."""
        return self.outliers | (self.new_level if self.factor == 1 else {})

    @property
    def rows(self) -> list[int]:
        """All these rows."""
        return [*self.expected, *(row for row, _ in self.known)]


def find_outliers(values: HostArray, season: int) -> dict[int, float]:
    """The row of each outlier in values (T,), NaN for a missing one, and the value that its neighbours suggest.

    An outlier is a run of up to four rows. Each is far from the rows beside the run, from the median of three rows
    on each side of it, and from the values a season before and after the row. So the last two rows, at a new level,
    are no outliers: two to four rows are only if three rows on each side show that the level stays, or fewer rows
    if all rows around are near to each other. Nor is a peak of each year. The distance of a run, the smallest of
    these, is more than four times that of each other run of this length, and more than five deviations of the other
    values: in a series with many large changes, as that of intermittent demand, no change is an outlier. Positive
    values are compared by their logarithms too. Single values that look like typing errors are found first, even if
    there are several; see `_typing_errors`.
    """
    rows = np.flatnonzero(~np.isnan(values))
    known = values[rows]
    typed = _typing_errors(known, rows, season)
    kept = ~np.isin(rows, [*typed])
    rows = rows[kept]
    known = known[kept]
    if len(rows) <= _LEAST_ROWS:
        return typed
    found = typed | _in_one_scale(known, rows, season)
    if (known > 0).all():
        found |= {
            row: float(np.exp(value)) for row, value in _in_one_scale(np.log(known), rows, season).items()
        } | found
    return dict(sorted(found.items()))


def outliers_at_end(values: HostArray, outliers: dict[int, float]) -> list[int]:
    """The outliers that no other known value of values (T,) follows."""
    others = np.flatnonzero(~np.isnan(values))
    others = others[~np.isin(others, [*outliers])]
    return [row for row in outliers if row > others[-1]]


def rows_of_new_level(values: HostArray, season: int) -> list[int]:
    """The last two or three rows with values, if they may be errors or a new level; otherwise [].

    values (T,), NaN for a missing value or an outlier. As long as no row follows, nothing shows which of the two it is.
    Two or three rows must be as far from the rows before them as outliers are, and near to each other. If all rows
    before, at least four, are equal, one to three last rows of other values are enough.
    """
    rows = np.flatnonzero(~np.isnan(values))
    known = values[rows]
    if len(rows) <= _LEAST_ROWS + max(_AT_END):
        return []
    if rows[-1] in _typing_errors(known, rows, season):
        return []
    changes = np.flatnonzero(np.diff(known)) + 1
    if len(changes) and len(known) - changes[0] < _LEAST_RUN <= changes[0]:
        return [int(row) for row in rows[changes[0] :]]
    scales = [np.log(known), known] if (known > 0).all() else [known]
    for scaled in scales:
        of_level = scaled - _season(scaled, rows, season)
        for length in _AT_END:
            last = of_level[-length:]
            least = _LEAST_DISTANCE * scaled[:-length].std()
            most = np.abs(last - of_level[-length - 1]).min()  # of their distance, which takes long to compute
            if most <= least or np.ptp(last) > _LEAST_SHARE * most:
                continue
            distance, _, is_alone = _distances(scaled, rows, season, length)
            others = distance[:-length]
            is_far = distance[-1] > max(_FARTHER * others.max(), least)
            is_level = np.ptp(last) <= _LEAST_SHARE * distance[-1]  # otherwise a growth may have begun
            if is_level and is_far and is_alone[-1] and (others > 0).sum() > _LEAST_ROWS:
                return [int(row) for row in rows[-length:]]
    return []


def constant_rows(values: HostArray) -> int:
    """The number of first rows that are left out because a series was constant before it began to change; mostly 0.

    values (T,), NaN for a missing value. The constant part has at least half of the rows, and nine. At least four rows
    follow; none has the constant value, and at least half of them differ from the row before.
    """
    rows = np.flatnonzero(~np.isnan(values))
    known = values[rows]
    changes = np.flatnonzero(np.diff(known)) + 1
    first = int(changes[0]) if len(changes) else 0
    later = len(known) - first
    if first <= _LEAST_ROWS or first < _LEAST_CONSTANT * len(known) or later < _LEAST_RUN:
        return 0
    comes_again = (known[first:] == known[0]).any()
    return int(rows[first]) if not comes_again and len(changes) >= _LEAST_CHANGES * later else 0


def unit_change(values: HostArray, season: int) -> tuple[int, float] | None:
    """The first of the last rows that are in another unit, and the factor: 10, 100, 1000, or one divided by these.

    values (T,), NaN for a missing value. Four or more last rows are in another unit if their first change, without the
    season and outliers, is more than twice as large as any other, all of logarithms; and if, divided by the factor,
    they are at the level of the rows before or of those a season before. A value of 0 is 0 in each unit.
    """
    rows = np.flatnonzero(values > 0)
    if (values < 0).any() or len(rows) < _LEAST_ROWS + _LEAST_OF_UNIT:
        return None
    logs = np.log10(values[rows])
    powers = np.rint(np.diff(logs - _season(logs, rows, season), prepend=logs[:1]))
    # A few rows of the season may look like a change of unit, too: the earliest row is tested first.
    firsts = _LEAST_ROWS + np.flatnonzero(powers[_LEAST_ROWS : len(rows) - _LEAST_OF_UNIT + 1])
    if len(firsts) > _MOST_CHANGES:  # such changes are usual in this series, except perhaps in its last rows
        firsts = firsts[firsts >= len(rows) - _LATE_ROWS]
    for first in firsts:
        row = int(rows[first])
        power = float(powers[first])
        if abs(power) <= _LARGEST_POWER and _is_change_of_unit(values, row, power, season):
            return row, 10.0**power
    return None


def _is_change_of_unit(values: HostArray, first: int, power: float, season: int) -> bool:
    """Whether the values from row `first` on continue those before after a division by a power of ten."""
    same = in_old_unit(values, first, 10.0**power)
    outliers = find_outliers(same, season)
    for row, expected in outliers.items():
        if row >= first and min(values[row], expected) > 0 and abs(np.log10(values[row] / expected)) < abs(power) / 2:
            return False  # in the unit before, which comes again
    same[[*outliers]] = np.nan
    rows = np.flatnonzero(same > 0)
    logs = np.log10(same[rows])
    without_season = logs - _season(logs, rows, season)
    place = int(np.searchsorted(rows, first))
    count = min(len(rows) - place, place, _ROWS_OF_LEVEL)
    if count < _LEAST_OF_UNIT:
        return False
    changes = np.diff(without_season)
    usual = float(np.abs(np.delete(changes, place - 1)).max())
    apart = [np.median(without_season[place:][:count]) - np.median(without_season[place - count : place])]
    by_row = np.full(rows[-1] + 1 + season, np.nan)
    by_row[rows + season] = logs
    of_season = (logs - by_row[rows])[(rows >= first) & (rows < first + season)]
    if (~np.isnan(of_season)).sum() >= _LEAST_OF_UNIT:
        apart.append(np.nanmedian(of_season))
    is_late = len(rows) - place <= _LATE_ROWS
    near = np.clip(usual / 2, *np.log10(_NEAR_LEVELS)) if is_late else np.log10(_NEAR_EARLIER)
    return bool(abs(power + changes[place - 1]) > _SUDDEN * usual and np.abs(apart).min() <= near)


def in_old_unit(values: HostArray, first: int, factor: float) -> HostArray:
    """values (T, …), those from row `first` on divided by the factor."""
    same = values.copy()
    same[first:] /= factor
    return same


def find_suspects(values: HostArray, season: int, cut: int) -> list[int]:
    """The rows from `cut` on that may be outliers as long as the rows after them are unknown."""
    rows = np.flatnonzero(~np.isnan(values))
    known = values[rows]
    past = int((rows < cut).sum())
    suspects: set[int] = set()
    if past <= _LEAST_ROWS:
        return []
    scales = [known, np.log(known)] if (known > 0).all() else [known]
    for scaled in scales:
        distance, *_ = _distances(scaled, rows, season)
        usual = np.sort(distance[:past])[-2]  # one may be an outlier
        y = scaled - _season(scaled, rows, season)
        sudden = np.abs(np.diff(y, prepend=y[:1])) > _FARTHER / 2 * usual
        suspects |= {int(row) for row in rows[sudden] if row >= cut}
    return sorted(suspects)


def _typing_errors(known: HostArray, rows: HostArray, season: int) -> dict[int, float]:
    """The row of each single value that looks like a typing error, and its usual value.

    The usual value is the median of three values on each side, which follows level and season. An error is about 10,
    100 or 1000 times as large, and its distance is more than four times that of each value that is no error. Or it is 0
    or negative, if no other value is near 0 and 0 is more than five deviations from the usual: neither counts with a
    single 0 nor a line that begins at 0 have an error. Errors hide each other, so the search is repeated without those
    that were found. Values that are side by side, too many, at regular times as paydays are, or in half of all cycles
    at the same place are no errors. But two or three last values of 0 or below are: often, these rows are incomplete.
    """
    nothing: dict[int, float] = {}
    error = known <= 0
    if (~error).sum() < _LEAST_GOOD:
        return nothing
    if not error.any() and known.max() < 10 / _TYPED_RATIO * known.min():
        return nothing
    for _ in range(_REPEATS):
        usual = _usual(np.interp(rows, rows[~error], known[~error]), rows, season)
        if usual.min() <= 0:
            return nothing
        ratio = known / usual
        power = 10.0 ** np.clip(np.rint(np.log10(np.maximum(ratio, 1))), 0, 3)
        is_multiple = (power > 1) & (np.abs(np.log(np.maximum(ratio, 1) / power)) < np.log(_TYPED_RATIO))
        found = is_multiple | (known <= 0)
        incomplete = _incomplete_rows(known, found)
        too_many = found.sum() - incomplete > max(_TYPED_SHARE * len(known), 1)
        if too_many or (~found).sum() < _LEAST_GOOD:
            return nothing
        if (found == error).all():
            break
        error = found
    farthest = np.abs(known - usual)[~error].max()
    if (error & (known > 0) & (known - usual <= _FARTHER * farthest)).any():
        return nothing
    if (error & (known <= 0)).any():
        good = known[~error]
        if good.min() < _ZERO_RATIO * np.median(good) or _LEAST_DISTANCE * ratio[~error].std() > 1:
            return nothing
    places = rows[error]
    if (np.diff(places[: len(places) - incomplete]) == 1).any() or _come_again(rows[error & (known > 0)]):
        return nothing
    if season > 1:
        errors, all_rows = np.bincount(places % season, minlength=season), np.bincount(rows % season, minlength=season)
        if ((errors > 1) & (2 * errors >= all_rows)).any():
            return nothing
    return {int(row): float(value) for row, value in zip(places, usual[error], strict=True)}


def _incomplete_rows(known: HostArray, error: HostArray) -> int:
    """The number of errors at the end, if they are up to three values of 0 or below; otherwise 0."""
    good = np.flatnonzero(~error)
    at_end = len(known) - 1 - int(good[-1]) if len(good) else len(known)
    return at_end if at_end <= _MOST_INCOMPLETE and (known[len(known) - at_end :] <= 0).all() else 0


def _come_again(peaks: HostArray) -> bool:
    """Whether three or more rows are at nearly equal distances, as the first days of months are."""
    if len(peaks) < 3:
        return False
    between = np.diff(peaks)
    longest = between.max()
    shortest = between.min()
    return bool(longest - shortest <= _REGULAR_ROWS and longest <= _REGULAR_RATIO * shortest)


def _usual(known: HostArray, rows: HostArray, season: int) -> HostArray:
    """The median (R,) of the three known values on each side of each row, without their seasons, with that of the row.

    At both ends it is the median of the values on one side.
    """
    seasons = _season(known, rows, season)
    padded = np.pad(known - seasons, _NEIGHBOURS, constant_values=np.nan)
    distances = [i for i in range(2 * _NEIGHBOURS + 1) if i != _NEIGHBOURS]
    around = np.array([padded[i : i + len(known)] for i in distances])
    return np.asarray(np.nanmedian(around, axis=0) + seasons)


def _in_one_scale(known: HostArray, rows: HostArray, season: int) -> dict[int, float]:
    found: dict[int, float] = {}
    for length in _LENGTHS:
        runs = 0
        while runs < max(_LARGEST_SHARE * len(known), 1) and len(known) > length:
            distance, expected, is_alone = _distances(known, rows, season, length)
            if length > 1:
                distance[-1] = 0  # see `rows_of_new_level`
            first = _outliers_at(known, distance, is_alone, length)
            if not len(first):
                break
            runs += len(first)
            places = (first[:, None] + np.arange(length)).ravel()
            found |= {int(row): float(value) for row, value in zip(rows[places], expected[first].ravel(), strict=True)}
            known, rows = np.delete(known, places), np.delete(rows, places)
    return found


def _outliers_at(known: HostArray, distance: HostArray, is_alone: HostArray, length: int) -> HostArray:
    """The places of the first values of the runs of outliers."""
    order = np.argsort(-distance)
    nonzero = int((distance > 0).sum())
    if nonzero > _LEAST_ROWS:
        for count in range(1, max(int(_LARGEST_SHARE * nonzero), 1) + 1):
            first = order[:count]
            next_largest = distance[order[count]]
            least = distance[first[-1]]
            if least > _FARTHER * next_largest and is_alone[first].all():
                others = np.delete(known, (first[:, None] + np.arange(length)).ravel())
                if least > _LEAST_DISTANCE * others.std() > 0:
                    return first
    return order[:0]


def _distances(known: HostArray, rows: HostArray, season: int, length: int = 1) -> tuple[HostArray, ...]:
    """The distance (R,) of each run of known values from the values to which it could belong; the expected values
    (R, length); and whether each run is far from all of these in comparison with its distance from the rows around.
    """
    seasons = _season(known, rows, season)
    y = known - seasons
    padded = np.pad(y, _NEIGHBOURS, constant_values=np.nan)
    R = len(y) - length + 1
    before = [padded[_NEIGHBOURS - i :][:R] for i in (1, 2, 3)]
    after = [padded[_NEIGHBOURS + length - 1 + i :][:R] for i in (1, 2, 3)]
    medians = _median(*before), _median(*after)
    references = np.array([before[0], after[0], *medians])
    table = np.full(rows[-1] + 1 + 2 * season, np.nan)
    table[rows + season] = known
    both = np.array([*before, *after])
    both.sort(axis=0)  # NaN is last
    count = (~np.isnan(both)).sum(axis=0)
    index = np.arange(R)
    middle = (both[(count - 1) // 2, index] + both[count // 2, index]) / 2
    distance, from_middle = np.full((2, R), np.inf)
    for i in range(length):
        of_row = slice(i, i + R)
        from_middle = np.minimum(from_middle, np.abs(y[of_row] - middle))
        distance = np.fmin(distance, np.nanmin(np.abs(references - y[of_row]), axis=0))
        if season > 1:
            for other in (table[rows[of_row]], table[rows[of_row] + 2 * season]):
                distance = np.fmin(distance, np.abs(known[of_row] - other))
    if length > 1:
        for i in np.flatnonzero(np.isnan(medians).any(axis=0))[:-1]:  # the last run has no row after it
            around = np.append(y[max(i - _NEIGHBOURS, 0) : i], y[i + length : i + length + _NEIGHBOURS])
            returns = i > 0 and np.ptp(around) <= _LEAST_SHARE * distance[i]
            distance[i] = distance[i] if returns else 0
    expected = np.stack([middle + seasons[i : i + R] for i in range(length)], axis=1)
    return distance, expected, distance >= _LEAST_SHARE * from_middle


def _median(a: HostArray, b: HostArray, c: HostArray) -> HostArray:
    """Of three arrays; NaN if one is."""
    return np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))


def _season(known: HostArray, rows: HostArray, season: int) -> HostArray:
    """The season of each known value: the medians of its phases, without the level; 0 if they don't help."""
    cycles = (rows[-1] + 1) // season
    if season == 1 or cycles < 3:
        return np.zeros(len(known))
    x = np.interp(np.arange(cycles * season), rows, known)
    level = np.median(x.reshape(cycles, season), axis=1)
    centers = (np.arange(cycles) + 0.5) * season - 0.5
    detrended = x - np.interp(np.arange(len(x)), centers, level)
    phases = np.median(detrended.reshape(cycles, season), axis=0)
    seasons = phases[rows % season]
    helps = np.median(np.abs(np.diff(known - seasons))) < np.median(np.abs(np.diff(known)))
    return seasons if helps else np.zeros(len(known))
