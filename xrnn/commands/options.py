"""Command-line options made from the fields of a dataclass, so that each is defined once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final, get_args, get_type_hints

import typer

from xrnn.models.settings import option

METAVARS: Final[dict[Any, str]] = {int: "N", float: "X", str: "NAME", Path: "PATH"}


@dataclass(frozen=True, slots=True)
class OptionsOf:
    """In `given: Annotated[dict[str, Any], OptionsOf(Settings)]`: one option for each field of `Settings`.

    The metadata of a field have `help`, and may have `metavar` and `flags` (other names of the option: "-q").

    only   the names of the fields that become options; empty for all
    """

    kind: type[Any]
    only: tuple[str, ...] = ()

    def parameters(self) -> Iterator[inspect.Parameter]:
        hints = get_type_hints(self.kind)
        for field in fields(self.kind):
            if self.only and field.name not in self.only:
                continue
            yield inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=Annotated[hints[field.name], _option(field, hints[field.name])],
            )


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
                each: value
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


def _option(field: Field[Any], hint: Any) -> Any:
    names = [option(field.name), *field.metadata.get("flags", ())]
    kind = next((each for each in get_args(hint) if each is not type(None)), hint)
    if kind is bool:
        return typer.Option(*names, help=field.metadata["help"], show_default=False)
    metavar = field.metadata.get("metavar") or METAVARS[kind]
    more: dict[str, Any] = {"parser": path} if kind is Path else {}
    if "|" in metavar:
        names_of = metavar.split("|")
        more = {"parser": str.lower, "autocompletion": lambda: names_of}
    return typer.Option(*names, help=field.metadata["help"], metavar=metavar, **more)
