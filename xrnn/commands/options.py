"""Options made from dataclasses: estimators, and the groups of options below. So each is described once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Final, get_args

import typer

from xrnn.select import Selection, choices, select
from xrnn.series import Classifier, Forecaster
from xrnn.series.checks import SettingsError
from xrnn.series.estimator import RULES, Rule, helps_of
from xrnn.series.tables import Columns, names_in


@dataclass(kw_only=True)
class ReadingOptions:
    """How to read text.

    decimal     decimal point of numbers that are text; by default a point
    encoding    encoding of text; by default UTF-8, else cp1252
    """

    decimal: str = ""
    encoding: str = ""

    @property
    def given(self) -> dict[str, str]:
        """The options that the command line gives, by name."""
        return {name: value for name, value in vars(self).items() if value}


@dataclass(kw_only=True)
class TableOptions(ReadingOptions):
    """How to read tables.

    skip_columns    columns of tables that are not channels
    id              column of tables with the identifier of a series: its name, or its number
    time            column of tables to sort the steps by
    label           column of tables with the label of a series, or its number to predict
    """

    skip_columns: str = ""
    id: str = ""
    time: str = ""
    label: str = ""


@dataclass(kw_only=True)
class RunOptions:
    """The options of classify, regress and forecast.

    out         checkpoint to write; the picture has the same name and the ending .png
    overwrite   replace an existing checkpoint and picture
    json        print only the results, as a line of JSON
    """

    out: Path | None = None
    overwrite: bool = False
    json: bool = False


# The placeholder of an option's value, by its name, else by its type.
_METAVARS: Final[dict[Any, str]] = {
    **{int: "N", float: "X", str: "NAME", Path: "PATH", "quantiles": "Q,Q,…"},
    **dict.fromkeys(("id", "time", "label", "target"), "COLUMN"),
    **dict.fromkeys(("skip_columns", "known"), "COLUMN,COLUMN,…"),
}


def options_of(kind: Any) -> Iterator[inspect.Parameter]:
    """An option for each parameter of a dataclass, described by the line of the parameter in the docstring.

    If a subclass has no such line, that of its base class is used; Regressor uses those of Classifier.
    """
    helps = {name: text for each in (Classifier, *kind.__mro__[::-1]) for name, text in helps_of(each).items()}
    rules: Mapping[str, Rule] = getattr(kind, "rules", RULES)
    for name, each in inspect.signature(kind, eval_str=True).parameters.items():
        type_ = next(each for each in get_args(each.annotation) or (each.annotation,) if each is not NoneType)
        metavar = _METAVARS.get(name) or _METAVARS.get(type_, "")
        if name in rules and rules[name].choices:
            metavar = "|".join(rules[name].choices)
        more: dict[str, Any] = {} if type_ is bool else {"metavar": metavar}
        annotation = each.annotation if each.default is None else type_
        if type_ is Path or ("|" in metavar and type_ is not bool):
            more["parser"] = path if type_ is Path else str.lower
        text = f"{helps[name][0].upper()}{helps[name][1:]}."
        option = typer.Option(flag(name), help=text, show_default=type_ is not bool and each.default != "", **more)
        yield each.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[annotation, option])


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
            values[name] = kind(**{each: values.pop(each) for each in inspect.signature(kind).parameters})
        return command(**values)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def path(text: str) -> Path:
    """The path that an option or argument names.   Raises typer.BadParameter for an empty one."""
    if not text:  # an unset shell variable; `Path` would make it the working directory
        raise typer.BadParameter("it is empty: expected a path")
    return Path(text)


def flag(name: str) -> str:
    """The option of a parameter."""
    return f"--{name.replace('_', '-')}"


BackendOption = Annotated[
    str | None,
    typer.Option(
        metavar="|".join(choices()),
        parser=str.lower,
        help="Where to compute; by default the value of XRNN_BACKEND, or auto.",
    ),
]


def selected(backend: str | None) -> Selection:
    """The selected backend.   Raises SettingsError for an unknown name."""
    try:
        return select(backend, f"--backend {backend}")
    except ValueError as error:
        raise SettingsError(str(error)) from error


def columns_of(given: Mapping[str, str], *, numbers: bool = False) -> Columns:
    """How to read .csv files.   given: the given TableOptions, by name.   Raises SettingsError."""
    for name in given.keys() & RULES.keys():
        RULES[name].check(name, given[name])
    table = TableOptions(**given)
    skip = names_in(table.skip_columns)
    return Columns(table.decimal or ".", skip, table.id, table.time, table.label, numbers, encoding=table.encoding)


def forecast_columns(p: Forecaster, given: Mapping[str, str]) -> Columns:
    """How to read the tables of a forecaster.   p: its parameters;   given: ReadingOptions.   Raises SettingsError."""
    used = (p.target, *names_in(str(p.known))) if p.target else ()
    return replace(columns_of(given), id=p.id, time=p.time, timed=True, channels=used)
