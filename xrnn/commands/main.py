"""The command line: the list of the commands, and their errors."""

from __future__ import annotations

import contextlib
import errno
import io
import sys
from typing import Annotated, Any, Final, TextIO, cast

import typer
import typer.core

import xrnn
from xrnn.backend import BackendUnavailableError
from xrnn.commands.classify import classify
from xrnn.commands.convert import convert
from xrnn.commands.forecast import forecast
from xrnn.commands.info import info
from xrnn.commands.options import flag
from xrnn.commands.predict import predict
from xrnn.commands.regress import regress
from xrnn.commands.terminal import SafeStream, status_of
from xrnn.files import printable
from xrnn.parallel import ParallelError
from xrnn.parallel.launcher import launcher
from xrnn.series.errors import ModelError, SettingsError

# The base class of command-line errors: click's own, or that of the copy of click that some versions of Typer contain.
_CommandLineError: Final[Any] = typer.BadParameter.__mro__[2]


class _InterruptedError(Exception):
    """Ctrl-C, as an exception that no version of Typer turns into an exit status."""


class _Commands(typer.core.TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _InterruptedError from error


app = typer.Typer(
    cls=_Commands,
    help="Recurrent layers on NumPy and CuPy, for time series.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def main(arguments: list[str] | None = None) -> int:
    """The entry point → the exit status. A user error is printed to stderr, in one line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a character that the terminal can't show becomes a "?"
    # sys.stdout is None if the descriptor is closed (`>&-`).
    output = SafeStream(sys.stdout if sys.stdout is not None else io.StringIO())
    with contextlib.redirect_stdout(cast(TextIO, output)):
        status = _run(arguments)
    output.flush()
    if output.lost and output.lost.errno != errno.EPIPE:
        _fail(f"can't write the output ({output.lost.strerror}): expected free space; saved files are complete", 1)
    return status or status_of(output.lost)


def _run(arguments: list[str]) -> int:
    commands = cast(Any, typer.main.get_command(app))
    try:
        return commands.main(arguments, "xrnn", standalone_mode=False, obj=arguments) or 0
    except _CommandLineError as error:
        # Without a context, an option lacks its value, or precedes the command.
        name = f"xrnn {arguments[0]}" if arguments[0] in commands.commands else "xrnn"
        command = error.ctx.command_path if error.ctx and error.ctx.parent else name
        return _fail(f"{error.format_message().rstrip('.')}; see `{command} --help`", 2)
    except ModelError as error:
        return _fail(error.shown(flag), 1)
    except (BackendUnavailableError, ParallelError) as error:
        return _fail(str(error), 1)
    except (_InterruptedError, KeyboardInterrupt, typer.Abort):  # Typer's own code raises the last two
        return _fail("interrupted", 130)
    except MemoryError as error:
        return _fail(
            f"out of memory ({error}): expected less work; lower the sizes, or give fewer or shorter series", 1
        )


def _fail(message: str, status: int) -> int:
    if sys.stderr is None:  # a closed descriptor (`2>&-`); `print` would use stdout instead
        return status
    stderr = cast(TextIO, SafeStream(sys.stderr))  # if stderr is lost too, the exit status shows the error
    print(f"error: {printable(' '.join(message.split()))}", file=stderr, flush=True)
    return status


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"xrnn {xrnn.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
    name, size = launcher()
    wants_help = not {"-h", "--help"}.isdisjoint(context.obj)
    if size > 1 and context.invoked_subcommand not in (None, "info") and not wants_help:
        raise SettingsError(
            f"{name} has started {size} processes: expected one, since all would do the same work; start xrnn "
            "without it, or train by xrnn.parallel in a script of your own"
        )


for command in (classify, regress, forecast, predict, convert, info):
    app.command()(command)
