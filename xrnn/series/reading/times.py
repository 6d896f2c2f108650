"""Reading a column of times: text that holds numbers, or dates in one form."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeAlias
from zoneinfo import ZoneInfo

from xrnn.files import quoted
from xrnn.series.errors import DataError
from xrnn.series.one_series import Time
from xrnn.series.reading.languages import LANGUAGES, MONTHS
from xrnn.series.reading.numbers import as_number
from xrnn.series.steps import best_step, on_clock, show

# The forms in a row can read one text, in different orders: a day above 12, or equal steps, decides. `iso_time` reads
# dates such as 2024-05-31, but not 2024-5-31. `_plain` writes the names of months.
_FORMS: Final = (
    ("%Y-%m-%d",),
    ("%Y/%m/%d",),
    ("%Y.%m.%d",),
    ("%d.%m.%Y",),
    ("%d %b %Y",),
    ("%b %d %Y",),
    ("%m/%d/%Y", "%d/%m/%Y"),
    ("%m-%d-%Y", "%d-%m-%Y"),
    ("%m/%d/%y", "%d/%m/%y", "%y/%m/%d"),
    ("%m-%d-%y", "%d-%m-%y", "%y-%m-%d"),
    ("%d %b %y", "%y %b %d"),
)
_USUAL_FIRST: Final = ("%d.%m.%y", "%y.%m.%d")  # with points, the day comes first in German, Polish, …
_MONTHS: Final = ("%Y/%m", "%m/%Y", "%YM%m", "%Y %b", "%b %Y", "%b %y")  # a month has no time of day
_CLOCKS: Final = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
UNLIKE: Final = "is not a time like the others, which are numbers, or dates in one form"
WRITE_DATES: Final = "write the dates as in 2024-05-31 12:00"
_SAMPLE: Final = 200  # cells that show which form most of them have
_DIGITS: Final = {6: "%Y%m", 8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_DATES_OR_NUMBERS: Final = {6: ("%y%m%d", "%d%m%y", "%m%d%y"), 8: ("%d%m%Y", "%m%d%Y")}  # by the number of digits
_MONTH_BEFORE_YEAR: Final = re.compile(r"(0?[1-9]|1[0-2])\.(19|20)\d\d")  # 01.2024
_YEAR_BEFORE_MONTH: Final = re.compile(r"(19|20)\d\d\.(0[1-9]|1[0-2])")  # 2024.01
_ENGLISH: Final = [names.split()[-1] for names in LANGUAGES["English"].months.split(",")]  # the short names
_NO_LETTER_BEFORE, _NO_LETTER_AFTER = r"(?<![^\W\d_])", r"(?![^\W\d_])"
_MONTH: Final = re.compile(rf"{_NO_LETTER_BEFORE}({'|'.join(MONTHS)}){_NO_LETTER_AFTER}\.?", re.IGNORECASE)
_ALSO_ENGLISH: Final = {"set", "gen", "mag", "ago", "mars"}  # names of months, but "set 1" is no date
_CLEAR_MONTH: Final = "|".join(MONTHS.keys() - _ALSO_ENGLISH)
_LIKE_A_DATE: Final = re.compile(  # 31/05/24, 2024_05_31, 2024Q3, KW 05-2024, 31 May
    r"([^\W\d_]{1,9}[.,]? )?(\d{1,2}(?P<separator>[/.-] ?)\d{1,2}(?P=separator)\d\d(\d\d)?|"
    r"(1[5-9]|20)\d\d([-/._ ][QW]?|[MQ])\d{1,3}|\d{1,2}[-/._ ](19|20)\d\d)(\D|$)|"
    rf"(?=.*\d).*{_NO_LETTER_BEFORE}({_CLEAR_MONTH}){_NO_LETTER_AFTER}",
    re.IGNORECASE,
)


def read_times(cells: Sequence[str], where: Callable[[int], str]) -> list[Time]:
    """The time in each cell. If all have one time of day but offsets from UTC that change, the offsets are dropped.

    where   the start of an error about cells[i]: the file and the line

    Dates such as 3/4/2024 and 3/4/24 are read in the order of day, month and year that fits all cells; if several fit,
    in the one that gives equal steps. If not exactly one of these does, dates such as 03.04.24 begin with the day, and
    others raise DataError; so do cells that are neither all numbers nor all dates in one form.
    """

    def error(cell: str, got: str, other: str = "") -> DataError:
        return DataError(f"{where(cells.index(cell))}: {quoted(cell)!r} {got}; {WRITE_DATES}{other}")

    plain = {cell: _plain(cell) for cell in dict.fromkeys(cells)}  # many series may have the same times
    if _are_ambiguous([*plain.values()]):
        raise error(cells[0], "may be a day, a month or a number")
    most = 0  # cells that a reader can read, before the first one that it can't
    for readers in [(_month,)] if _are_months([*plain]) else _READERS:
        readings: list[Sequence[Time]] = []
        for read in readers:
            times = _read_all(read, [*plain.values()])
            most = max(most, len(times))
            if len(times) == len(plain) and times not in readings:
                readings.append(times)
        if not readings:
            continue
        chosen = _chosen(readings, prefers_first=readers in _DAY_FIRST)
        if chosen is None:
            i = next(i for i in range(len(plain)) if len({times[i] for times in readings}) > 1)
            found = dict.fromkeys(show(times[i]) for times in readings)
            got = f"may be {' or '.join(found)}, and no other row tells which"
            raise error([*plain][i], f"{got}")
        by_cell = dict(zip(plain, _local(chosen), strict=True))
        return [by_cell[cell] for cell in cells]
    raise error([*plain][most], UNLIKE, ", or remove the row")


def with_offsets(times: Sequence[datetime], zone: str) -> list[datetime]:
    """The times of a clock in this zone, with their offsets from UTC.   times: of one series, in the order of the file

    In autumn, the hour that occurs twice first has the offset of summer, then that of winter, or the other way round if
    the times descend. If all times have one time of day, they get no offsets: a day later is the same time of day.
    """
    clock = ZoneInfo(zone)
    if len({time.time() for time in times}) == 1:
        return [*times]
    descends = times[0] > times[-1]
    seen: set[datetime] = set()
    found = []
    for time in times:
        is_second = (time in seen) != descends
        seen.add(time)
        found.append(on_clock(time.replace(tzinfo=clock, fold=int(is_second)), clock))
    return found


def unreadable(cells: Sequence[str]) -> list[int]:
    """The indices of the cells that the reader of most cells can't read: of 31.02.2024 among dates."""
    plain = [*map(_plain, cells)]
    sample = [*dict.fromkeys(plain)][:_SAMPLE]
    readers = itertools.chain((_month,), *_READERS)
    best = max(readers, key=lambda read: sum(read(cell) is not None for cell in sample))
    return [i for i, cell in enumerate(plain) if best(cell) is None]


def _read_all(read: Callable[[str], Time | None], cells: Sequence[str]) -> list[Time]:
    """The times in the cells up to the first one that `read` can't read."""
    times = []
    for cell in cells:
        time = read(cell)
        if time is None:
            break
        times.append(time)
    return times


def _chosen(readings: Sequence[Sequence[Any]], *, prefers_first: bool) -> Sequence[Any] | None:
    """The only reading, or the only one with equal steps. None if several remain.

    prefers_first   the first reading is the usual one: it is taken if steps do not decide, unless its steps are years
                    and those of another reading are not: 24.01.01, 24.01.02, … may be days
    """
    if len(readings) == 1:
        return readings[0]
    equal = [times for times in readings if _have_a_step(times)]
    if len(equal) == 1:
        return equal[0]
    if not prefers_first or [*map(_are_years, equal)] == [True, False]:
        return None
    return readings[0]


def hold_dates(cells: Sequence[str]) -> bool:
    """True for a column of dates: at least half of the cells resemble dates, or all are numbers such as 20240531.

    Months such as 01.2024 are dates if one of them begins with 0, and 2024.01 if only the months have equal steps.
    """
    if _are_months(cells):
        return True
    if as_number(cells[0]) is not None:
        return len(cells[0]) > 6 and all(map(_digits, cells))  # values may well be like 202405
    return 2 * sum(as_number(cell) is None and bool(_LIKE_A_DATE.match(cell)) for cell in cells) >= len(cells)


def _are_months(cells: Sequence[str]) -> bool:
    """Whether cells that could be numbers, such as 01.2024 or 2024.01, are months."""
    if all(map(_MONTH_BEFORE_YEAR.fullmatch, cells)):
        return any(cell.startswith("0") for cell in cells)
    if not all(map(_YEAR_BEFORE_MONTH.fullmatch, cells)):
        return False
    return _have_a_step(map(_month, cells)) and not _have_a_step(map(float, cells))


def _month(cell: str) -> datetime | None:
    """The month in 01.2024 or 2024.01; None for other text."""
    if _MONTH_BEFORE_YEAR.fullmatch(cell):
        return _parsed("%m.%Y", cell)
    return _parsed("%Y.%m", cell) if _YEAR_BEFORE_MONTH.fullmatch(cell) else None


def _plain(cell: str) -> str:
    """A date without commas, with the English short name of its month.

    1-July-2024, 1. Juli 2024 and 1 juil. 2024 become 1 Jul 2024; 2024 Q3 becomes 2024-07.
    """
    cell = re.sub(r"^(\d{4})[ -]?Q([1-4])$", lambda part: f"{part[1]}-{3 * int(part[2]) - 2:02}", cell)
    cell = re.sub(r"(?<=\d)(?=[ap]m$)", " ", cell.replace(",", " "), flags=re.IGNORECASE)
    named = _MONTH.sub(lambda name: f" {_ENGLISH[MONTHS[name[1].lower()] - 1]} ", cell)
    if named == cell:
        return cell
    return re.sub("[- ]+", " ", re.sub(r"^(\d\d?)\. ", r"\1 ", named)).strip()


def _are_ambiguous(cells: Sequence[str]) -> bool:
    """Whether the cells may be dates, or something else that has another order.

    Jan 01 may be a day, or January 2001: the cells are months if they ascend and neighbours are different months, or if
    they are all months or quarters of some years. 240531 or 31052024, also without the first 0, may be a number.
    """
    months: list[Any] = [_parsed("%b %y", cell) for cell in cells if re.fullmatch(r"\w{3} ([012]\d|3[01])", cell)]
    if len(months) == len(cells) and None not in months:
        if len({month.year for month in months}) > 1:
            step, odd = best_step(sorted(months))
            if step.season > 1 and not odd:
                return False
        return any(a >= b or a.month == b.month for a, b in itertools.pairwise(months))
    cells = [cell.zfill(8) if len(cell) == 7 else cell for cell in cells]
    if all(map(_digits, cells)):
        return False
    for length, forms in _DATES_OR_NUMBERS.items():
        if all(cell.isdecimal() and len(cell) == length for cell in cells):
            return any(all(_parsed(form, cell) for cell in cells) for form in forms)
    return False


def iso_time(cell: str, has_offset: bool | None = None) -> datetime | None:
    """The time in an ISO date or time stamp, which may lack the day, as in 2024-05.   has_offset: None for both kinds

    None for other text, and for a time with nanoseconds, which a datetime does not hold.
    """
    if re.search(r"\.\d{6}0*[1-9]", cell):
        return None
    cell = f"{cell}-01" if re.fullmatch(r"\d{4}-\d{2}", cell) else re.sub(" UTC$", "+00:00", cell)
    time = _parsed("", cell) if re.match(r"\d{4}-", cell) else None
    return time if time and has_offset in (None, time.tzinfo is not None) else None


def _have_a_step(times: Iterable[Any]) -> bool:
    """Whether the distinct dates, once sorted, have a constant step."""
    distinct = sorted({*times})
    return len(distinct) > 1 and not best_step(distinct)[1]


def _are_years(times: Sequence[Any]) -> bool:
    """Whether all times have the same day and month."""
    return len({(time.month, time.day) for time in times}) == 1


def _local(times: Sequence[Any]) -> Sequence[Any]:
    """The times without their offsets, if these change but not the local time of day: days across a clock change."""
    clocks = {(time.utcoffset(), time.time()) for time in times if isinstance(time, datetime)}
    is_local = len(clocks) > 1 and len({clock for _, clock in clocks}) == 1
    return [time.replace(tzinfo=None) for time in times] if is_local else times


def _digits(cell: str) -> datetime | None:
    form = _DIGITS.get(len(cell)) if cell.isascii() and cell.isdecimal() else None
    return _parsed(form, cell) if form and "1900" <= cell[:4] < "2100" else None


def _parsed(form: str, cell: str) -> datetime | None:
    """The time in this form, in an ISO form if it is empty. None for other text."""
    try:
        return datetime.strptime(cell, form) if form else datetime.fromisoformat(cell)
    except ValueError:
        return None


_Readers: TypeAlias = tuple[Callable[[str], Time | None], ...]
_DAY_FIRST: Final[list[_Readers]] = [
    tuple(partial(_parsed, form + clock) for form in _USUAL_FIRST) for clock in _CLOCKS
]
# In the order in which they are tried; the readers of a row read the same text in several orders.
_READERS: Final[tuple[_Readers, ...]] = (
    (_digits,),
    (as_number, _month),
    (partial(iso_time, has_offset=True), partial(iso_time, has_offset=False)),
    *((partial(_parsed, form),) for form in _MONTHS),
    *_DAY_FIRST,
    *(tuple(partial(_parsed, form + clock) for form in forms) for forms in _FORMS for clock in _CLOCKS),
)
