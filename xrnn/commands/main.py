"""The command line: the list of the commands, and their errors."""

from __future__ import annotations

import errno
import io
import signal
import sys
from typing import Annotated, Any, Final, cast

import typer

import xrnn
from xrnn.backend import BackendUnavailableError
from xrnn.commands.classify import classify
from xrnn.commands.convert import convert
from xrnn.commands.forecast import forecast
from xrnn.commands.info import info
from xrnn.commands.options import flag
from xrnn.commands.output import drop, to_stderr
from xrnn.commands.predict import predict
from xrnn.commands.progress import show_part
from xrnn.commands.regress import regress
from xrnn.files import FileError
from xrnn.series.errors import ModelError
from xrnn.series.progress import shown_by

# The base class of command-line errors: click's own, or that of the copy of click that some versions of Typer contain.
_CommandLineError: Final[Any] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    help="Recurrent layers on NumPy and CuPy, for time series.",
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def main(arguments: list[str] | None = None) -> int:
    """The entry point → the exit status. A user error is printed to stderr, in one line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # A stream is None if its descriptor is closed (`>&-`).
    sys.stdout, sys.stderr = sys.stdout or io.StringIO(), sys.stderr or io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a character that the terminal can't show becomes a "?"
    try:
        with shown_by(show_part):
            status = _run(arguments)
        sys.stdout.flush()
        return status
    except OSError as error:
        if error.filename:  # an error of a file
            raise
        drop(sys.stdout)  # the output is lost: a closed pipe, a full device, a closed terminal
        if error.errno == errno.EPIPE:
            return 128 + getattr(signal, "SIGPIPE", 13)  # as of a program that SIGPIPE has ended
        return _fail(
            f"can't write the output ({error.strerror}); is the disk full? Files already saved are complete", 1
        )


def _run(arguments: list[str]) -> int:
    commands = cast(Any, typer.main.get_command(app))
    try:
        # `commands.main` would turn the exceptions of an interrupt and of a closed pipe into exit statuses of its own.
        with commands.make_context("xrnn", [*arguments]) as context:
            return commands.invoke(context) or 0
    except typer.Exit as error:
        return error.exit_code
    except _CommandLineError as error:
        # Without a context, an option lacks its value, or precedes the command.
        name = f"xrnn {arguments[0]}" if arguments[0] in commands.commands else "xrnn"
        command = error.ctx.command_path if error.ctx and error.ctx.parent else name
        return _fail(f"{error.format_message().rstrip('.')}; see `{command} --help`", 2)
    except ModelError as error:
        return _fail(error.shown(flag), 1)
    except (BackendUnavailableError, FileError) as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except MemoryError as error:
        return _fail(
            f"out of memory ({error}); use fewer or shorter series, or train with a lower --hidden or --batch",
            1,
        )


def _fail(message: str, status: int) -> int:
    to_stderr(f"error: {' '.join(message.split())}")
    return status


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version and exit.")] = False,
) -> None:
    if version:
        print(f"xrnn {xrnn.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


for command in (classify, regress, forecast, predict, convert, info):
    app.command()(command)
