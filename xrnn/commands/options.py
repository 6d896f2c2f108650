"""Options made from the fields of a dataclass, so that each is defined once; and the options of several commands."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Generic, TypeVar, get_args, get_type_hints

import typer

from xrnn.backend import Backend
from xrnn.commands.pictures import Picture
from xrnn.commands.terminal import Terminal
from xrnn.models.checkpoint import Kind
from xrnn.models.errors import SettingsError
from xrnn.models.trainer import Trainer
from xrnn.select import Selection, choices, select

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
        for each in fields(self.kind):
            if self.only and each.name not in self.only:
                continue
            yield inspect.Parameter(
                each.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=each.default,
                annotation=Annotated[hints[each.name], _option(each, hints[each.name])],
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
    names = [flag(field.name), *field.metadata.get("flags", ())]
    kind = next((each for each in get_args(hint) if each is not type(None)), hint)
    if kind is bool:
        return typer.Option(*names, help=field.metadata["help"], show_default=False)
    metavar = field.metadata.get("metavar") or METAVARS[kind]
    more: dict[str, Any] = {"parser": path} if kind is Path else {}
    if "|" in metavar:
        names_of = metavar.split("|")
        more = {"parser": str.lower, "autocompletion": lambda: names_of}
    return typer.Option(*names, help=field.metadata["help"], metavar=metavar, **more)


def flag(name: str) -> str:
    """The option of a parameter."""
    return f"--{name.replace('_', '-')}"


# ---- options that several commands have ----


def _help(text: str, *flags: str, metavar: str | None = None) -> dict[str, Any]:
    return {"help": text, "flags": flags, "metavar": metavar}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Each field is an option."""

    out: Path | None = field(default=None, metadata=_help("Checkpoint to write."))
    plot: Path | None = field(default=None, metadata=_help("Picture to write: .png, .svg or .pdf."))
    overwrite: bool = field(default=False, metadata=_help("Replace an existing checkpoint, picture and table."))
    quiet: bool = field(default=False, metadata=_help("Print the results only.", "-q"))
    json: bool = field(default=False, metadata=_help("Print the results as JSON, in the last line."))
    backend: str | None = field(
        default=None,
        metadata=_help("Where to compute. Default: XRNN_BACKEND, or auto.", metavar="|".join(choices())),
    )


BackendOption = Annotated[str | None, _option(next(each for each in fields(RunOptions) if each.name == "backend"), str)]


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


# ---- a training command with its options ----

_MAX_UNITS: Final = 10**12  # steps or epochs

T = TypeVar("T", bound=Trainer[Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Generic[T]):
    """A command with its options. A command sets the class variables, and defines `load` and `report`."""

    paths: Sequence[Path]  # the data files and folders
    given: dict[str, Any]  # the settings on the command line; the others have the defaults
    upto: int | None = None  # the number of steps or epochs
    csv: Path | None = None  # the table of results to write
    options: RunOptions

    kind: ClassVar[Kind[Any]]
    default_out: ClassVar[Path]
    trainer: ClassVar[Any]  # the class T
    unit: ClassVar[str]  # the unit of `upto`, such as "steps"

    def __post_init__(self) -> None:
        if self.upto is not None and not 1 <= self.upto <= _MAX_UNITS:
            raise SettingsError(f"--{self.unit} is {self.upto}: expected a whole number from 1 to {_MAX_UNITS}")

    def load(self, settings: Any) -> Any:
        """Read the data at `paths` → an object with `facts`, see `Snapshot`, and a line, `source`.

        Raises DataError.
        """
        raise NotImplementedError

    def choose(self, settings: Any, data: Any, backend: Backend, terminal: Terminal) -> Any:
        """The settings, with those that follow from the data. By default, `settings`.

        terminal   prints the progress
        """
        return settings

    def default_upto(self, data: Any) -> int:
        """The number of steps or epochs if `upto` is not given."""
        raise NotImplementedError

    def steps_per_unit(self, settings: Any, data: Any) -> int:
        """The number of steps in one of the units of `upto`."""
        return 1

    def report(self, trainer: T, terminal: Terminal) -> tuple[dict[str, Any], Picture]:
        """Test the model on held-out data and print the results → the results for `--json`, the picture to draw."""
        raise NotImplementedError

    def table(self, trainer: T, results: dict[str, Any]) -> bytes:
        """The content of the file `csv`."""
        raise NotImplementedError
