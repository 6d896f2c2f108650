"""The command line: `xrnn train`, `generate`, `classify`, `predict` and `info`."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, TextIO, cast

import numpy as np
import typer
import typer.core

import xrnn
from xrnn.backend import Backend, BackendUnavailableError
from xrnn.config import explain_sizes, selection_lines, show_config
from xrnn.files import printable
from xrnn.jobs.cells import CELLS
from xrnn.jobs.charlm.charlm_checkpoint import CHARLM_CHECKPOINTS
from xrnn.jobs.charlm.charlm_settings import CharLMSettings
from xrnn.jobs.charlm.model import CharLM
from xrnn.jobs.charlm.sample import generate as draw
from xrnn.jobs.charlm.sample import readable
from xrnn.jobs.charlm.train import DEFAULT_OUT, TrainJob
from xrnn.jobs.classify.classifier_settings import ClassifierSettings
from xrnn.jobs.classify.classify import DEFAULT_OUT as CLASSIFIER_OUT
from xrnn.jobs.classify.classify import ClassifyJob
from xrnn.jobs.classify.predict import Predictor, predict_stream
from xrnn.jobs.classify.predict import predict as predict_files
from xrnn.jobs.errors import DataError, JobError, SettingsError
from xrnn.jobs.results import Wanted
from xrnn.jobs.run import SAVE_EVERY, Job, run
from xrnn.jobs.terminal import SafeStream, Terminal, status_of
from xrnn.select import Selection, select

_TEXT: Final = CharLMSettings()
_SERIES: Final = ClassifierSettings()
_LARGEST_SIZE: Final = 10**18  # the sum of two fits 64 bits
_LONGEST_LINE: Final = 2**20  # characters of a stream's row

# Typer carries its own copy of click in some versions and not in others: this is its base of what it raises.
_CommandLineError: Final[Any] = typer.BadParameter.__mro__[2]


class _InterruptedError(Exception):
    """Ctrl-C, as an exception that no version of Typer makes into a status of its own."""


class _Commands(typer.core.TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _InterruptedError from error


app = typer.Typer(
    cls=_Commands, help="Recurrent layers on NumPy and CuPy, at work on text and time series.", add_completion=False
)


def main(arguments: list[str] | None = None) -> int:
    """The entry point → the exit status. What the user can mend is printed as one line on stderr."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that can't show a character shows a mark instead
    # Python has no stdout where the descriptor was closed (`>&-`).
    output = SafeStream(sys.stdout if sys.stdout is not None else io.StringIO())
    with contextlib.redirect_stdout(cast(TextIO, output)):
        status = _run(arguments)
    output.flush()
    if output.lost and output.lost.errno != errno.EPIPE:
        _fail(f"can't write the output ({output.lost.strerror}): expected room there; what was saved stands", 1)
    return status or status_of(output.lost)


def _run(arguments: list[str]) -> int:
    commands = cast(Any, typer.main.get_command(app))
    try:
        return commands.main(arguments, "xrnn", standalone_mode=False) or 0
    except _CommandLineError as error:
        command = _explaining(error, arguments, commands.commands)
        return _fail(f"{error.format_message().rstrip('.')}; see `{command} --help`", 2)
    except (JobError, BackendUnavailableError) as error:
        return _fail(str(error), 1)
    except (_InterruptedError, KeyboardInterrupt, typer.Abort):  # the others come from Typer's own code
        return _fail("interrupted", 130)
    except MemoryError as error:
        return _fail(f"out of memory ({error}): lower --hidden or --batch", 1)


def _explaining(error: Any, arguments: list[str], commands: dict[str, Any]) -> str:
    """The command whose help explains the error. It names none where an option lacks its value, or comes too early."""
    if error.ctx and error.ctx.parent:
        return str(error.ctx.command_path)
    option = getattr(error, "option_name", None)
    having = [name for name, command in commands.items() if any(option in param.opts for param in command.params)]
    named = [name for name in having if name in arguments] or having
    return f"xrnn {named[0]}" if len(named) == 1 else "xrnn"


def _fail(message: str, status: int) -> int:
    if sys.stderr is None:  # its descriptor was closed (`2>&-`), and `print` would take stdout
        return status
    stderr = cast(TextIO, SafeStream(sys.stderr))  # where it is lost as well, the status remains
    print(f"error: {printable(' '.join(message.split()))}", file=stderr, flush=True)
    return status


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"xrnn {xrnn.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Recurrent layers on NumPy and CuPy, at work on text and time series."""


def _path(text: str) -> Path:
    if not text:  # a shell's variable that is not set; `Path` would make it the working directory
        raise typer.BadParameter("it is empty: expected a path")
    return Path(text)


def _setting(defaults: Any, name: str, help: str) -> Any:
    return typer.Option(f"--{name.replace('_', '-')}", help=help, show_default=str(getattr(defaults, name)))


def _out(default: Path) -> Any:
    shown = f"{default} or a free name like it; or the resumed one"
    return typer.Option(parser=_path, metavar="PATH", help="The checkpoint to write.", show_default=shown)


def _given(**settings: Any) -> dict[str, Any]:
    """The settings that were given; the others are None."""
    return {name: value for name, value in settings.items() if value is not None}


_Cell = Annotated[str | None, _setting(_TEXT, "cell", f"What the recurrent layers are: {', '.join(CELLS)}.")]
_SeriesCell = Annotated[str | None, _setting(_SERIES, "cell", f"What the recurrent layers are: {', '.join(CELLS)}.")]
_Plot = Annotated[
    Path | None,
    typer.Option(
        parser=_path, metavar="PATH", help="The picture to write.", show_default="beside the checkpoint, .png"
    ),
]
_Resume = Annotated[
    Path | None, typer.Option(parser=_path, metavar="PATH", help="Go on from this checkpoint, on the same data.")
]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint that is there already.")]


@app.command()
def train(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(parser=_path, metavar="PATH...", help="Text files or folders; none: Python's own sources."),
    ] = None,
    cell: _Cell = None,
    hidden: Annotated[int | None, _setting(_TEXT, "hidden", "Size of the hidden state.")] = None,
    layers: Annotated[int | None, _setting(_TEXT, "layers", "How many recurrent layers.")] = None,
    seq_len: Annotated[int | None, _setting(_TEXT, "seq_len", "Steps that the gradient goes back.")] = None,
    batch: Annotated[int | None, _setting(_TEXT, "batch", "Places in the text that are read side by side.")] = None,
    lr: Annotated[float | None, _setting(_TEXT, "lr", "Adam's learning rate at its highest.")] = None,
    seed: Annotated[int | None, _setting(_TEXT, "seed", "Decides the first weights and the sample.")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Train so long, from now.", show_default="1, unless --steps is given")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Train up to this step, resumed ones included.")] = None,
    out: Annotated[Path | None, _out(DEFAULT_OUT)] = None,
    plot: _Plot = None,
    resume: _Resume = None,
    overwrite: _Overwrite = False,
    save_every: Annotated[int, typer.Option(help="Steps between two checkpoints.")] = SAVE_EVERY,
) -> int:
    """Train a character-level language model, then test it on held-out text.

    Ctrl-C saves and stops; --resume goes on as if the run had never stopped.
    """
    job = TrainJob(
        paths=paths or [],
        given=_given(cell=cell, hidden=hidden, layers=layers, seq_len=seq_len, batch=batch, lr=lr, seed=seed),
        minutes=1.0 if minutes is None and steps is None else minutes,
        upto=steps,
        save_every=save_every,
        wanted=Wanted(out, plot, resume, overwrite),
    )
    return _run_job(job)


@app.command()
def generate(
    checkpoint: Annotated[Path, typer.Argument(parser=_path, help="What `xrnn train` wrote.")],
    prompt: Annotated[str, typer.Option(help="The text to go on from.")] = "",
    length: Annotated[int, typer.Option(help="Bytes to write.")] = 400,
    temperature: Annotated[float, typer.Option(help="Below 1: likelier text; 0: always the likeliest byte.")] = 0.8,
    seed: Annotated[int, typer.Option(help="One seed, one text.")] = 0,
) -> None:
    """Write text with a trained model."""
    if seed < 0:
        raise SettingsError(f"--seed is {seed}: expected a whole number of at least 0")
    try:
        text = prompt.encode("utf-8", "surrogateescape")  # bytes that are no text come as surrogates, and go back
    except UnicodeEncodeError as error:
        raise SettingsError("--prompt holds half a surrogate pair: expected text; leave it out") from error
    model = _load_model(checkpoint, _select().backend)
    text += draw(model, text, length, temperature, np.random.default_rng(seed))
    print(readable(text))


@app.command()
def classify(
    train: Annotated[
        Path | None,
        typer.Argument(
            parser=_path,
            metavar="TRAIN",
            help="A .ts file, or a folder LABEL/*.csv|*.npy.",
            show_default="JapaneseVowels, of aeon",
        ),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Argument(parser=_path, metavar="TEST", help="Another to test on.", show_default="a share held out"),
    ] = None,
    cell: _SeriesCell = None,
    hidden: Annotated[int | None, _setting(_SERIES, "hidden", "Size of the hidden state, in each direction.")] = None,
    layers: Annotated[int | None, _setting(_SERIES, "layers", "How many recurrent layers.")] = None,
    one_way: Annotated[
        bool | None, typer.Option("--one-way", help="Run forward only, as `xrnn predict --stream` needs it.")
    ] = None,
    dropout: Annotated[float | None, _setting(_SERIES, "dropout", "Of the mean over time, and between layers.")] = None,
    noise: Annotated[float | None, _setting(_SERIES, "noise", "Added in training, in deviations of a channel.")] = None,
    lr: Annotated[float | None, _setting(_SERIES, "lr", "Adam's learning rate at its highest.")] = None,
    batch: Annotated[int | None, _setting(_SERIES, "batch", "Series that a step learns from.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Train so long, from now.")] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Train so many times on each series, resumed ones included.",
            show_default="1600 / √series, at least 10",
        ),
    ] = None,
    seed: Annotated[
        int | None, _setting(_SERIES, "seed", "Decides the first weights, what is held out, and all other draws.")
    ] = None,
    out: Annotated[Path | None, _out(CLASSIFIER_OUT)] = None,
    plot: _Plot = None,
    resume: _Resume = None,
    overwrite: _Overwrite = False,
) -> int:
    """Train a classifier of time series of any length, then test it on others.

    Ctrl-C saves and stops; --resume goes on as if the run had never stopped.
    """
    given = _given(cell=cell, hidden=hidden, layers=layers, one_way=one_way, dropout=dropout, noise=noise, lr=lr)
    job = ClassifyJob(
        paths=[path for path in (train, test) if path is not None],
        given=given | _given(batch=batch, seed=seed),
        minutes=minutes,
        upto=epochs,
        wanted=Wanted(out, plot, resume, overwrite),
    )
    return _run_job(job)


@app.command()
def predict(
    checkpoint: Annotated[Path, typer.Argument(parser=_path, help="What `xrnn classify` wrote.")],
    files: Annotated[
        list[Path] | None, typer.Argument(parser=_path, metavar="FILE...", help=".ts, .csv or .npy files.")
    ] = None,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help=f"Read a row of values a line, up to {_LONGEST_LINE:,} characters, from standard input, not files.",
        ),
    ] = False,
) -> int:
    """Print the label and its probability for each series in files, or after each row of a stream, for those so far."""
    if stream == bool(files):
        got = "both --stream and files" if stream else "neither a file nor --stream"
        raise SettingsError(f"got {got}: expected one of them; name files, or give --stream")
    predictor = Predictor.load(checkpoint, _select().backend)
    terminal = Terminal()
    if stream:
        predict_stream(predictor, _input_lines(), terminal)
    else:
        predict_files(predictor, files or [], terminal)
    return status_of(terminal.lost)


@app.command()
def info(
    explain: Annotated[
        tuple[int, int, int, int] | None,
        typer.Option(metavar="T N D H", help="Print the forms that compete at these sizes, and the one chosen."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="With --explain: a GPU that need not be here, as a100, h100, h200 or b200.")
    ] = None,
) -> None:
    """Print which backend is selected and why, and the form each operation takes."""
    if device is not None and explain is None:
        raise SettingsError("got --device without --explain: expected both; add --explain T N D H")
    if explain is not None and not 0 <= min(explain) <= max(explain) <= _LARGEST_SIZE:
        raise SettingsError(f"--explain got {' '.join(map(str, explain))}: expected T N D H, each from 0 to 10^18")
    if explain is None or device is None:
        _select()
    if explain is None:
        show_config()
        return
    try:
        print(explain_sizes(*explain, device))
    except ValueError as error:  # an unknown device
        raise SettingsError(f"--device: {error}") from error


def _input_lines() -> Iterator[str]:
    """The lines of standard input, each as soon as it is there.   Raises DataError."""
    expected = "expected a row of values a line; pipe them in, or name a file with <"
    if sys.stdin is None:  # its descriptor was closed (`<&-`)
        raise DataError(f"standard input is closed: {expected}")
    if isinstance(sys.stdin, io.TextIOWrapper):
        # As files are read: a byte order mark is none of the first value. What is no text is no number either.
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="replace")
    try:
        while line := sys.stdin.readline(_LONGEST_LINE + 1):
            if len(line) > _LONGEST_LINE and not line.endswith("\n"):
                raise DataError(f"a line of standard input is longer than {_LONGEST_LINE:,} characters: {expected}")
            yield line
    except OSError as error:
        raise DataError(f"can't read standard input ({error.strerror or error}): {expected}") from error


def _run_job(job: Job[Any]) -> int:
    selection = _select()
    terminal = Terminal()
    for line in selection_lines(selection):
        terminal.say(line)
    return run(job, selection.backend, terminal)


def _load_model(checkpoint: Path, backend: Backend) -> CharLM:
    snapshot = CHARLM_CHECKPOINTS.load(checkpoint)
    params = {name: backend.asarray(array) for name, array in snapshot.params.items()}
    return CharLM.of(params, snapshot.settings.cell, snapshot.settings.layers)


def _select() -> Selection:
    """The selection for this command. `xrnn info` explains it, so that a fallback need not be logged at each call."""
    log = logging.getLogger("xrnn")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        return select()
    except ValueError as error:  # an unknown name in XRNN_BACKEND
        raise SettingsError(str(error)) from error
    finally:
        log.setLevel(level)
