"""Numbers in text: words for missing values, yes and no, and the signs of decimals and thousands.

A number has one sign, a point or a comma, before its decimals; the other one may separate groups of three digits, and
so may a blank or an apostrophe: 6 451,22 and 6'451.22.

    1,5        6.451,22    a comma before the decimals
    1.5        6,451.22    a point before the decimals
    6.451      6,451       one of both: other cells decide, or the option `decimal`
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from xrnn.files import printable, quoted
from xrnn.series.errors import DataError, Fault, param
from xrnn.series.reading.languages import NO, YES
from xrnn.series.reading.notes import Note

Cell = str | float  # a number is NaN if it is missing

# What pandas, spreadsheets and C programs write for a missing value, in lower case.
MISSING_CELLS: Final = ("", "?", "nan", "-nan", "na", "n/a", "#n/a", "<na>", "null", "none")
_WORDS: Final = {**dict.fromkeys(MISSING_CELLS, math.nan), **dict.fromkeys(YES, 1.0), **dict.fromkeys(NO, 0.0)}
_GROUPED: Final = {  # numbers with thousands, by the sign of their decimals
    ".": re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?"),
    ",": re.compile(r"[-+]?[1-9]\d{0,2}(\.\d{3})+(,\d*)?"),
}
_SPACED: Final = re.compile(r"[-+]?[1-9]\d{0,2}([ \xa0\u202f'\u2019]\d{3})+([.,]\d*)?")  # also no-break spaces
_OTHER: Final = {".": ",", ",": "."}
_CONVERT: Final = "convert the column to numbers"  # the remedy for a frame
_SAME_SIGN: Final = "write all numbers with the same sign before the decimals"


def as_number(field: str) -> float | None:
    """The finite number in `field`, in Python's form, or None."""
    try:
        value = float(field)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in field else None  # float("1_0") is 10


def number_in(cell: Cell, decimal: str) -> float | None:
    """The number in a cell, NaN for a missing value, 1 for yes and true, 0 for no and false, in each of the languages.

    None for other text.

    decimal   the sign of the decimals, "." or ","
    """
    if not isinstance(cell, str):
        return None if math.isinf(cell) else float(cell)
    text = cell.strip()
    if (word := _WORDS.get(text.lower())) is not None:
        return word
    if _SPACED.fullmatch(text):
        text = re.sub(r"[^-+\d.,]", "", text)
    thousands = _OTHER[decimal]
    if thousands in text:
        if not _GROUPED[decimal].fullmatch(text):
            return None
        text = text.replace(thousands, "")
    return as_number(text.replace(",", "."))


def is_number(text: str) -> bool:
    """Whether the text is a number, with either sign for its decimals."""
    return any(number_in(text, sign) is not None for sign in _OTHER) and text.lower() not in _WORDS


def decimal_in(cells: Iterable[Cell]) -> str:
    """The sign of the decimals that the cells show: "." or ","; empty if all their numbers could have either.

    If some numbers have a comma and others a point, it is the point.
    """
    found = ""
    for cell in cells:
        if not isinstance(cell, str) or not ("," in cell or "." in cell):
            continue
        has_point, has_comma = (number_in(cell, sign) is not None for sign in ".,")
        if has_point and not has_comma:
            return "."
        if has_comma and not has_point:
            found = ","
    return found


def sign_in(cells: Sequence[Cell], where: str, *, of_frame: bool = False) -> str:
    """The sign of the decimals in these cells; a point if they show none.

    where      the start of an error
    of_frame   the cells are those of a frame, whose columns can be converted

    Raises DataError if they do not tell whether a number such as 1,000 is 1 or 1000.
    """
    sign = decimal_in(cells)
    if sign:
        return sign
    for cell in cells:
        if isinstance(cell, str) and "," in cell and number_in(cell, ",") is not None:
            values = " or ".join(f"{number_in(cell, each):.15g}" for each in ",.")
            remedy = f"give {param('decimal')} , or {param('decimal')} ."
            raise DataError(f"{printable(where)}: {quoted(cell)!r} may be {values}; {_CONVERT if of_frame else remedy}")
    return "."


def chosen_decimal(
    columns: Mapping[str, Sequence[Cell]],
    name: str,
    *,
    usual: str = "",
    of: str = "the training",
    points_may_group: bool = False,
    of_frame: bool = False,
) -> tuple[str, list[Note]]:
    """`sign_in` for the columns of a file or a frame, and how they are read, unless they have only points.

    columns            their cells, by their names; the name of a row of a stream is empty
    name               of the file
    usual              sign for cells that could have either; empty if it is not known
    of                 what has the usual sign: the training, or a language
    points_may_group   a number such as 1.000 may be 1000. If all numbers with a point are like it, a note tells how
                       they are read. False where commas separate the cells: then points begin decimals
    of_frame           the cells are those of a frame
    """
    cells = [*itertools.chain(*columns.values())]
    shown = decimal_in(cells)
    usual = usual if points_may_group and not shown else ""
    doubtful = [column for column, its_cells in columns.items() if _are_doubtful(its_cells)]
    in_columns = ""
    if any(doubtful):
        in_columns = f"column{'' if len(doubtful) == 1 else 's'} {printable(', '.join(doubtful))[:80]}"
    sign = usual or sign_in(cells, f"{name}, {in_columns}" if in_columns else name, of_frame=of_frame)
    text = [cell for column in doubtful or columns for cell in columns[column] if isinstance(cell, str)]
    if usual:
        examples = [cell for cell in text if any(form.fullmatch(cell) for form in _GROUPED.values())]
    elif points_may_group and not shown:
        examples = [cell for cell in text if _GROUPED[","].fullmatch(cell)]
    else:
        signs = ",." if sign == "," else ","
        examples = [cell for cell in text if any(map(cell.count, signs)) and number_in(cell, sign) is not None]
    if not examples:
        return sign, []
    cell = max(examples, key=len)
    fact = quoted(re.sub(r"\s", " ", cell))  # no-break spaces would be shown as �
    if in_columns:
        fact += f" in {in_columns}"
    fact += f" is read as {number_in(cell, sign):.15g}"
    if usual:
        fact += f", as in {of}"
    remedy = f"give --decimal {_OTHER[sign]}"
    if of_frame:
        remedy = _CONVERT
    elif shown and any(doubtful):
        remedy = _SAME_SIGN  # another column shows this sign, so it could not be read with the other one
    return sign, [Note(fact, remedy)]


def refuse_thousands(columns: Mapping[str, Sequence[Cell]], name: str) -> None:
    """Raise DataError if a column has numbers such as 998 and 1.002, but no 1002, and no number shows the decimals.

    The points of such numbers may separate thousands.

    columns   cells, by the names of their columns
    name      of the file
    """
    if decimal_in(itertools.chain(*columns.values())):
        return
    for column, cells in columns.items():
        text = [cell.strip() for cell in cells if isinstance(cell, str)]
        with_point = [cell for cell in text if "." in cell and number_in(cell, ".") is not None]
        whole = [cell for cell in text if cell.isdecimal()]
        hundreds = [cell for cell in whole if len(cell) == 3 and cell[0] != "0"]
        are_groups = all(_GROUPED[","].fullmatch(cell) for cell in with_point)
        if with_point and hundreds and are_groups and max(map(len, whole)) == 3:
            grouped = with_point[0]
            of = f" in column {quoted(column)}" if column else ""
            thousands = f"{number_in(grouped, ','):.15g}"
            raise DataError(
                f"{printable(name)}: {quoted(grouped)!r}{of} may be {thousands}, since {hundreds[0]!r} has no "
                f"decimals; write {thousands}, or give {param('decimal')} . if the point begins decimals"
            )


def _are_doubtful(cells: Iterable[Cell]) -> bool:
    """Whether numbers of a column, such as 1.000 or 1,000, may be 1 or 1000, and no other one tells which."""
    may_be_both = (
        isinstance(cell, str)
        and ("," in cell or "." in cell)
        and all(number_in(cell, sign) is not None for sign in ".,")
        for cell in cells
    )
    return not decimal_in(cells) and any(may_be_both)


def shows(cell: Cell, decimal: str) -> bool:
    """Whether the cell is a number with this sign before its decimals alone."""
    return decimal_in([cell]) == decimal


def not_a_number(
    cell: Cell, decimal: str, where: str, remedy: str, *, of_frame: bool = False, others: str = ""
) -> Fault:
    """The fault of a cell of text that `number_in` can't read with this sign.

    where    the file, the line, the column
    others   what has numbers that can be read with this sign only, and a verb: "the rows before have"; empty if nothing
    """
    text = str(cell).strip()
    other = _OTHER[decimal]
    start = f"{printable(where)}: {quoted(text)!r}"
    if number_in(text, other) is not None and others:
        got = f"{start} has {other} before the decimals, but {others} {decimal}"
        return Fault(got, _SAME_SIGN)
    if number_in(text, other) is not None:
        option = f"give {param('decimal')} {other}"
        got = f"{start} has {other} before the decimals, but the numbers are read with {decimal}"
        return Fault(got, f"correct it, or {_CONVERT if of_frame else option}")
    return Fault(f"{start} is not a number", remedy)
