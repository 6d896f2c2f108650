"""Options made from tables and from the parameters of estimators, so that each is described once."""

from __future__ import annotations

import functools
import inspect
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Final, NamedTuple, get_args

import typer

from xrnn.cells import CELLS
from xrnn.select import Selection, choices, select
from xrnn.series.errors import SettingsError
from xrnn.series.parameters import helps_of

METAVARS: Final[dict[Any, str]] = {int: "N", float: "X", str: "NAME", Path: "PATH"}


class Option(NamedTuple):
    """An option of a command.

    kind      its type; bool for a switch
    metavar   the placeholder for the value; with "|", the values; with ",", the option may be given several times
    flags     other names: "-q"
    """

    name: str
    kind: Any
    help: str
    default: Any = None
    metavar: str = ""
    flags: tuple[str, ...] = ()

    @property
    def value(self) -> Any:
        """The default."""
        return False if self.kind is bool and self.default is None else self.default

    @property
    def is_list(self) -> bool:
        return "," in self.metavar and "|" not in self.metavar

    @property
    def annotation(self) -> Any:
        names = [flag(self.name), *self.flags]
        if self.kind is bool:
            return Annotated[bool, typer.Option(*names, help=self.help, show_default=False)]
        metavar = self.metavar or METAVARS[self.kind]
        more: dict[str, Any] = {"parser": new_path} if self.kind is Path else {}
        if "|" in metavar:
            values = metavar.split("|")
            more = {"parser": str.lower, "autocompletion": lambda: values}
        if self.is_list:
            return Annotated[list[str], typer.Option(*names, help=self.help, metavar=metavar, show_default=False)]
        kind = self.kind | None if self.default is None else self.kind
        return Annotated[kind, typer.Option(*names, help=self.help, metavar=metavar, **more)]


def options_of(kind: type[Any], documented: type[Any], *without: str, **metavars: str) -> tuple[Option, ...]:
    """An option for each parameter of an estimator but `without`, described as in the docstring of `documented`."""
    helps, made = helps_of(documented), []
    for name, each in inspect.signature(kind, eval_str=True).parameters.items():
        if name not in without:
            of = next(of for of in get_args(each.annotation) or (each.annotation,) if of is not type(None))
            metavar = "|".join(CELLS) if name == "cell" else metavars.get(name, "")
            made.append(Option(name, of, f"{helps[name][0].upper()}{helps[name][1:]}.", each.default, metavar))
    return tuple(made)


@dataclass(frozen=True, slots=True)
class OptionsOf:
    """Marks a parameter, `given: Annotated[dict[str, Any], OptionsOf(TABLE)]`, that these options replace."""

    options: Sequence[Option]

    def parameters(self) -> Iterator[inspect.Parameter]:
        for each in self.options:
            kind = inspect.Parameter.KEYWORD_ONLY
            default: Any = () if each.is_list else each.value
            yield inspect.Parameter(each.name, kind, default=default, annotation=each.annotation)


def with_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """A form of `command` for Typer: options replace each parameter that is annotated with OptionsOf.

    `command` gets a dict in that parameter. The dict holds only the options that are on the command line.
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, list[str]] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        group = next((each for each in get_args(parameter.annotation)[1:] if isinstance(each, OptionsOf)), None)
        made = list(group.parameters()) if group else [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
        parameters += made
        if group:
            groups[parameter.name] = [each.name for each in made]

    @functools.wraps(command)
    def run(of_command: Any, **values: Any) -> Any:
        for name, options in groups.items():
            given = {each: values.pop(each) for each in options}
            values[name] = {
                each: ",".join(value) if isinstance(value, list | tuple) else value
                for each, value in given.items()
                if of_command.get_parameter_source(each).name == "COMMANDLINE"
            }
        return command(**values)

    # Not "context", which is an option of `xrnn forecast`.
    of_command = inspect.Parameter("of_command", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    run.__signature__ = inspect.Signature([of_command, *parameters])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in [of_command, *parameters]}
    return run


def path(text: str) -> Path:
    """The path that an option or argument names.   Raises typer.BadParameter for an empty one."""
    if not text:  # an unset shell variable; `Path` would make it the working directory
        raise typer.BadParameter("it is empty: expected a path")
    return Path(text)


def new_path(text: str) -> Path:
    """The path of a file to write.   Raises typer.BadParameter for the name of a folder."""
    if text.endswith(("/", os.sep)):  # `Path` would remove the slash
        raise typer.BadParameter("it is the name of a folder: expected that of a file; name one in it")
    return path(text)


def flag(name: str) -> str:
    """The option of a parameter."""
    return f"--{name.replace('_', '-')}"


# ---- options that several commands have ----

_BACKEND: Final = Option("backend", str, "Where to compute. Default: XRNN_BACKEND, or auto.", None, "|".join(choices()))
BackendOption = _BACKEND.annotation

# How to read tables.
TABLE: Final = (
    Option("decimal", str, "Decimal point of numbers that are text.", ".", ".|,"),
    Option("encoding", str, "Encoding of text. Default: UTF-8, or UTF-16 with a byte order mark; else cp1252.", ""),
    Option("skip_columns", str, "Columns of tables that are not channels.", "", "COLUMN,COLUMN,…"),
    Option("id", str, "Column of tables with the identifier of a series: its name, or its number.", "", "COLUMN"),
    Option("time", str, "Column of tables to sort the steps by.", "", "COLUMN"),
    Option("label", str, "Column of tables with the label of a series, or its number to predict.", "", "COLUMN"),
)
RUN: Final = (
    Option("out", Path, "Checkpoint to write."),
    Option("plot", Path, "Picture to write: .png, .svg or .pdf."),
    Option("overwrite", bool, "Replace an existing checkpoint, picture and table."),
    Option("quiet", bool, "Print the results only, not what was read and the progress.", flags=("-q",)),
    Option("json", bool, "Print the results as JSON, in the last line."),
    _BACKEND,
)
TableOptions = Annotated[dict[str, Any], OptionsOf(TABLE)]
RunOptions = Annotated[dict[str, Any], OptionsOf(RUN)]


def values_of(options: Sequence[Option], given: dict[str, Any]) -> SimpleNamespace:
    """The values of options: those given, and the defaults of the others."""
    return SimpleNamespace(**{each.name: each.value for each in options} | given)


def selected(backend: str | None) -> Selection:
    """The selected backend. A fallback to NumPy is not logged: training commands print it, as does `xrnn info`."""
    log = logging.getLogger("xrnn")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        return select(backend, f"--backend {backend}")
    except ValueError as error:  # an unknown name
        raise SettingsError(str(error)) from error
    finally:
        log.setLevel(level)
