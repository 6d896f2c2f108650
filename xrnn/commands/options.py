"""Options and arguments. Options are made from dataclasses: estimators, and the groups of options below."""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Final, Self, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import typer

from xrnn.arrays.registry import choices
from xrnn.arrays.select import Selection, select
from xrnn.files import quoted
from xrnn.series import Classifier
from xrnn.series.errors import SettingsError, param
from xrnn.series.estimator import Rule, one_of
from xrnn.series.labelled.base import NO_OPTION
from xrnn.series.one_series import Series
from xrnn.series.reading.tables import Columns, names_in

# In a checkpoint, beside the names of options: the sign of decimals in the files of the training.
_FOUND_DECIMAL: Final = "found decimal"


@dataclass(kw_only=True)
class ReadingOptions:
    """How to read files.

    decimal          sign before the decimals, as in 1,5; the other one may separate thousands. By default, the numbers
                     of a file show it
    encoding         encoding of text files; by default UTF-8, UTF-16 if a file begins with its mark, or else cp1252
    skip_rows        number of rows above the header of a table, to leave out; by default, titles there are found
    sheet            sheet of an .xlsx file; by default the first one that has the named columns
    timezone         time zone of times without an offset, such as Europe/Berlin; for hours, if the clock changes
    skip_bad_lines   leave out the lines of a table that can't be used, and say how many these are
    """

    decimal: str = ""
    encoding: str = ""
    skip_rows: str = ""
    sheet: str = ""
    timezone: str = ""
    skip_bad_lines: bool = False  # not kept: each run says so
    usual_decimal: str = field(init=False, default="")  # see `Columns`
    usual_sheet: str = field(init=False, default="")

    @property
    def given(self) -> dict[str, str]:
        """The options with text that the command line gives, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.init}
        return {name: value for name, value in values.items() if value and isinstance(value, str)}

    def or_kept(self, kept: Mapping[str, str]) -> Self:
        """These options, and those that a checkpoint keeps of the training in place of options that are not given."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self) if field.init}
        names = values.keys() - self.given.keys() - {"sheet"}
        options = type(self)(**values | {name: text for name, text in kept.items() if name in names})
        options.usual_decimal, options.usual_sheet = kept.get(_FOUND_DECIMAL, ""), kept.get("sheet", "")
        return options

    def kept(self, series: Sequence[Series]) -> dict[str, str]:
        """What a checkpoint keeps of the reading of these series: the options, and the sign of decimals in the files.

        The sign is not kept if files differ.
        """
        signs = {one.decimal for one in series} - {""}
        return self.given | ({_FOUND_DECIMAL: signs.pop()} if len(signs) == 1 else {})

    def usual(self, series: Iterable[Series]) -> str:
        """The sign of the decimals in the files of these series; else that of the options or of the training.

        If all are unknown: "," for a file of whole numbers between semicolons, else ".". Spreadsheets write semicolons
        in languages with decimal commas, and only open such a file in columns there.
        """
        series = [*series]
        signs = {one.decimal for one in series} - {""}
        if len(signs) == 1:
            return signs.pop()
        likely = "," if series and not signs and all(one.semicolons for one in series) else "."
        return self.decimal or self.usual_decimal or likely

    def columns(self) -> Columns:
        """How to read tables.   Raises SettingsError."""
        for name, value in self.given.items():
            if name in _RULES:
                _RULES[name].check(name, value)
        if self.timezone:
            _check_zone(self.timezone)
        return Columns(
            self.decimal,
            self.usual_decimal,
            encoding=self.encoding,
            skip_rows=int(self.skip_rows) if self.skip_rows else None,
            sheet=self.sheet,
            usual_sheet=self.usual_sheet,
            timezone=self.timezone,
            skip_bad_lines=self.skip_bad_lines,
        )


@dataclass(kw_only=True)
class TableOptions(ReadingOptions):
    """How to read tables.

    skip_columns    columns of a table to ignore, by their names or numbers
    id              column of a table that tells its series apart, by its name or number
    time            column of a table to sort the steps of a series by
    label           column of a table with the label of each series, or with the number to predict
    group           column of a table with the group of each series, such as its machine: series of one group are
                    never on both sides of a test
    """

    skip_columns: str = ""
    id: str = ""
    time: str = ""
    label: str = ""
    group: str = ""

    @property
    def named(self) -> set[str]:
        """The columns that the options name."""
        return {*names_in(self.skip_columns), self.id, self.time, self.label, self.group} - {""}

    def columns(self) -> Columns:
        """How to read tables.   Raises SettingsError."""
        skip = names_in(self.skip_columns)
        return replace(super().columns(), skip=skip, id=self.id, time=self.time, label=self.label, group=self.group)


@dataclass(kw_only=True)
class RunOptions:
    """The options of classify, regress and forecast.

    out         file of the trained model, for `xrnn predict`; the picture has the same name and the ending .png
    overwrite   replace existing files
    json        print only the results, as a line of JSON
    """

    out: Path | None = None
    overwrite: bool = False
    json: bool = False


@dataclass(kw_only=True)
class ForecastOptions(RunOptions):
    """The options of forecast.

    table   also write the forecasts and the scores of each series to this file, for a spreadsheet: .csv, .xlsx or
            .parquet
    plot    the only series to draw, by its name or identifier; by default all, or of more than six the best, the
            median and the worst one
    """

    table: Path | None = None
    plot: str = ""


BackendOption = Annotated[
    str | None,
    typer.Option(
        metavar="|".join(choices()),
        parser=str.lower,
        help="Where to compute; by default the value of XRNN_BACKEND, or auto.",
    ),
]


def _is_encoding(name: str) -> bool:
    try:
        "".encode(name)
    except (LookupError, UnicodeError):
        return False
    return True


def _check_zone(name: str) -> None:
    """Raises SettingsError for an unknown time zone; it names those with a similar name, or with this city."""
    try:
        ZoneInfo(name)
        return
    except (ZoneInfoNotFoundError, ValueError, OSError):
        zones = sorted(available_timezones())
    by_city = {zone.rpartition("/")[2].lower(): zone for zone in zones if "/" in zone}
    wanted = name.rpartition("/")[2].strip().replace(" ", "_").lower()
    similar = [by_city[city] for city in difflib.get_close_matches(wanted, by_city, n=3, cutoff=0.75)]
    remedy = f"did you mean {' or '.join(similar)}?" if similar else "give an area and a city, as in Europe/Berlin"
    if not zones:
        remedy = "this machine has no list of time zones: pip install tzdata"
    raise SettingsError(f"{param('timezone')} is {quoted(repr(name))}, which is no time zone; {remedy}")


_RULES: Final = {
    "decimal": one_of((".", ",")),
    "encoding": Rule("the name of an encoding, such as utf-8, cp1252 or utf-16-le", _is_encoding),
    "skip_rows": Rule("a whole number of at least 0", lambda text: text.isdecimal() and len(text) < 10),
}
# The placeholder of an option's value, by its name, else by its type.
_METAVARS: Final[dict[Any, str]] = {
    **{int: "N", float: "X", str: "NAME", Path: "PATH", "quantiles": "Q,Q,…", "skip_rows": "N", "window": "ROWS"},
    "class_weight": "balanced|LABEL=X,…",
    **dict.fromkeys(("id", "time", "label", "group", "target"), "COLUMN"),
    **dict.fromkeys(("skip_columns", "known"), "COLUMN,COLUMN,…"),
}


def with_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """A form of `command` for Typer: each parameter that is a dataclass becomes its options.

    `command` gets an object of that class, with the values of these options.
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if is_dataclass(parameter.annotation):
            groups[parameter.name] = parameter.annotation
            parameters += options_of(parameter.annotation)
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def run(**values: Any) -> Any:
        for name, kind in groups.items():
            values[name] = kind(**{parameter: values.pop(parameter) for parameter in parameters_of(kind)})
        return command(**values)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def options_of(kind: Any) -> Iterator[inspect.Parameter]:
    """An option for each parameter of a dataclass, described by the line of the parameter in the docstring.

    If a class has no such line, that of its base class is used, or of Classifier: Regressor has its parameters.
    """
    helps = {name: text for each in (Classifier, *kind.__mro__[::-1]) for name, text in helps_of(each).items()}
    rules: Mapping[str, Rule] = getattr(kind, "rules", _RULES)
    for name, each in parameters_of(kind).items():
        type_ = next(kind for kind in get_args(each.annotation) or (each.annotation,) if kind is not NoneType)
        annotation = type_ | None if each.default is None else type_
        words = "|".join(rules[name].choices) if name in rules else ""
        more: dict[str, Any] = {"show_default": type_ is not bool and each.default != ""}
        if type_ is not bool:
            more["metavar"] = words or _METAVARS.get(name) or _METAVARS[type_]
        if words or type_ is Path:
            more["parser"] = str.lower if words else path
        option = typer.Option(flag(name), help=f"{helps[name][0].upper()}{helps[name][1:]}.", **more)
        yield each.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[annotation, option])


def parameters_of(kind: Any) -> dict[str, inspect.Parameter]:
    """The parameters of a dataclass that are options: all but those whose fields are marked by NO_OPTION."""
    hidden = {field.name for field in fields(kind) if field.metadata == NO_OPTION}
    parameters = inspect.signature(kind, eval_str=True).parameters
    return {name: each for name, each in parameters.items() if name not in hidden}


def helps_of(kind: type[Any]) -> dict[str, str]:
    """The description of each parameter, from the lines "name   text" of the class's docstring."""
    # Python 3.13 removes the indentation of docstrings.
    rows = re.findall(r"^(\w+)  +(\S.*(?:\n {6,}\S.*)*)", inspect.cleandoc(kind.__doc__ or ""), re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in rows}


def argument(metavar: str, text: str) -> Any:
    """A positional argument for paths, with its help text."""
    return typer.Argument(parser=path, metavar=metavar, help=text)


def path(text: str) -> Path:
    """The path that an option or argument names.   Raises typer.BadParameter for an empty one."""
    if not text:  # an unset shell variable; `Path` would make it the working directory
        raise typer.BadParameter("the path is empty")
    return Path(text)


def flag(name: str) -> str:
    """The option of a parameter."""
    return f"--{name.replace('_', '-')}"


def selected(backend: str | None) -> Selection:
    """The selected backend.   Raises SettingsError for an unknown name."""
    try:
        return select(backend, f"--backend {backend}")
    except ValueError as error:
        raise SettingsError(str(error)) from error
