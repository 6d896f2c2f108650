"""The command line: the commands with their arguments, and their errors."""

from __future__ import annotations

import contextlib
import errno
import io
import json
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
from xrnn.commands.classify import ClassifyJob
from xrnn.commands.convert import ConvertOptions, describe
from xrnn.commands.convert import convert as convert_file
from xrnn.commands.forecast import ForecastJob
from xrnn.commands.options import OptionsOf, path, with_options
from xrnn.commands.regress import RegressJob
from xrnn.commands.run import SAVE_EVERY, Job, run
from xrnn.commands.run_options import RunOptions
from xrnn.commands.terminal import SafeStream, Terminal, status_of
from xrnn.commands.train import TrainJob
from xrnn.files import printable, quoted
from xrnn.info import config, config_data, explain_sizes, explained
from xrnn.models.checkpoint import job_of
from xrnn.models.errors import CheckpointError, DataError, JobError, SettingsError
from xrnn.models.forecast.checkpoint import FORECAST_CHECKPOINTS
from xrnn.models.forecast.predict import Forecasting
from xrnn.models.forecast.settings import ForecastSettings
from xrnn.models.labelled.classifier_checkpoint import CLASSIFIER_CHECKPOINTS
from xrnn.models.labelled.classifier_predict import LabelPredictor
from xrnn.models.labelled.classifier_settings import ClassifierSettings
from xrnn.models.labelled.predict import PredictOptions
from xrnn.models.labelled.regression_checkpoint import REGRESSION_CHECKPOINTS
from xrnn.models.labelled.regression_predict import NumberPredictor
from xrnn.models.labelled.regression_settings import RegressionSettings
from xrnn.models.labelled.settings import TABLE_OPTIONS
from xrnn.models.ranks import rank_lines
from xrnn.models.text.checkpoint import CHARLM_CHECKPOINTS
from xrnn.models.text.model import CharLM
from xrnn.models.text.sample import generate as draw
from xrnn.models.text.sample import readable
from xrnn.models.text.settings import CharLMSettings
from xrnn.parallel import ParallelError, end_all, let_rank_0_report, use_device_of, world
from xrnn.select import Selection, choices, select

_ABOUT: Final = "Recurrent layers on NumPy and CuPy, for text and time series."
_MAX_SIZE: Final = 10**18  # the sum of two sizes then fits 64 bits
_MAX_LINE: Final = 2**20  # characters of a row in a stream
_PREDICTORS: Final[dict[str, Any]] = {
    CLASSIFIER_CHECKPOINTS.format: LabelPredictor,
    REGRESSION_CHECKPOINTS.format: NumberPredictor,
    FORECAST_CHECKPOINTS.format: Forecasting,
}

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
    help=_ABOUT,
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
        return commands.main(arguments, "xrnn", standalone_mode=False) or 0
    except _CommandLineError as error:
        command = _explaining(error, arguments, commands.commands)
        return _fail(f"{error.format_message().rstrip('.')}; see `{command} --help`", 2)
    except (JobError, BackendUnavailableError, ParallelError) as error:
        return _fail(str(error), 1)
    except (_InterruptedError, KeyboardInterrupt, typer.Abort):  # Typer's own code raises the last two
        return _fail("interrupted", 130)
    except MemoryError as error:
        remedy = "give less text or fewer bytes" if "generate" in arguments[:1] else "lower --hidden or --batch"
        return _fail(f"out of memory ({error}): {remedy}", 1)


def _explaining(error: Any, arguments: list[str], commands: dict[str, Any]) -> str:
    """The command whose help explains the error. It is guessed if an option lacks its value or precedes the command."""
    if error.ctx and error.ctx.parent:
        return str(error.ctx.command_path)
    option = getattr(error, "option_name", None)
    having = [name for name, command in commands.items() if any(option in param.opts for param in command.params)]
    named = [name for name in having if name in arguments] or having
    return f"xrnn {named[0]}" if len(named) == 1 else "xrnn"


def _fail(message: str, status: int) -> int:
    if sys.stderr is None:  # a closed descriptor (`2>&-`); `print` would use stdout instead
        return status
    let_rank_0_report()
    stderr = cast(TextIO, SafeStream(sys.stderr))  # if stderr is lost too, the exit status shows the error
    print(f"error: {printable(' '.join(message.split()))}", file=stderr, flush=True)
    end_all(status)
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


_Backend = Annotated[
    str | None,
    typer.Option(
        "--backend",
        parser=str.lower,
        metavar="|".join(choices()),
        autocompletion=choices,
        help="Where to compute. Default: XRNN_BACKEND, or auto.",
    ),
]
_Test = Annotated[
    Path | None,
    typer.Argument(parser=path, metavar="TEST", help="Series to test on. Default: a quarter of TRAIN."),
]
_Epochs = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Passes over the training series, including those before a resume. Default: 1600 / √series, at least 10.",
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command()
@with_options
def train(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            parser=path, metavar="PATH", help="Text files or folders of them. Default: Python's standard library."
        ),
    ] = None,
    *,
    given: Annotated[dict[str, Any], OptionsOf(CharLMSettings)],
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Train up to this step, including the steps before a resume.")
    ] = None,
    save_every: Annotated[int, typer.Option(metavar="N", help="Steps between two checkpoints.")] = SAVE_EVERY,
    options: Annotated[dict[str, Any], OptionsOf(RunOptions)],
    backend: _Backend = None,
) -> int:
    """Train a character-level language model, then test it on held-out text.

    It trains for one minute unless --minutes or --steps says otherwise, and writes char-lm.safetensors and char-lm.png.
    If the run is interrupted, it saves a checkpoint first; --resume continues it, with the same results.
    """
    if "minutes" not in options and steps is None:
        options["minutes"] = 1.0
    job = TrainJob(paths=paths or [], given=given, upto=steps, save_every=save_every, options=RunOptions(**options))
    return _run_job(job, backend)


@app.command()
def generate(
    checkpoint: Annotated[
        Path, typer.Argument(parser=path, metavar="CHECKPOINT", help="A checkpoint of `xrnn train`.")
    ],
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="The text to continue.", show_default=False)] = "",
    length: Annotated[int, typer.Option(metavar="N", help="Number of bytes to generate.")] = 400,
    temperature: Annotated[
        float, typer.Option(metavar="X", help="Below 1: likelier text; 0: always the likeliest byte.")
    ] = 0.8,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the random draws.")] = 0,
    backend: _Backend = None,
) -> None:
    """Generate text with a trained model."""
    if seed < 0:
        raise SettingsError(f"--seed is {seed}: expected a whole number of at least 0")
    try:
        text = prompt.encode("utf-8", "surrogateescape")  # Python decodes arguments that are not UTF-8 to surrogates
    except UnicodeEncodeError as error:
        raise SettingsError("--prompt holds half a surrogate pair: expected text; leave it out") from error
    model = _load_model(checkpoint, _select(backend).backend)
    text += draw(model, text, length, temperature, np.random.default_rng(seed))
    print(readable(text))


@app.command()
@with_options
def classify(
    train: Annotated[
        Path | None,
        typer.Argument(
            parser=path,
            metavar="TRAIN",
            help="Series to train on: a .ts file, a .csv file with --id and --label, or a folder LABEL/*.csv|*.npy. "
            "Default: JapaneseVowels, from aeon.",
        ),
    ] = None,
    test: _Test = None,
    *,
    given: Annotated[dict[str, Any], OptionsOf(ClassifierSettings)],
    epochs: _Epochs = None,
    options: Annotated[dict[str, Any], OptionsOf(RunOptions)],
    backend: _Backend = None,
) -> int:
    """Train a classifier of time series of any length, then test it on others.

    It writes classifier.safetensors and classifier.png. If the run is interrupted, it saves a checkpoint first;
    --resume continues it, with the same results.
    """
    paths = [each for each in (train, test) if each is not None]
    return _run_job(ClassifyJob(paths=paths, given=given, upto=epochs, options=RunOptions(**options)), backend)


@app.command()
@with_options
def regress(
    train: Annotated[
        Path | None,
        typer.Argument(
            parser=path,
            metavar="TRAIN",
            help="Series to train on: a .ts file with @targetLabel, a .csv file with --id and --label, or a folder "
            "NUMBER/*.csv|*.npy.",
        ),
    ] = None,
    test: _Test = None,
    *,
    given: Annotated[dict[str, Any], OptionsOf(RegressionSettings)],
    epochs: _Epochs = None,
    options: Annotated[dict[str, Any], OptionsOf(RunOptions)],
    backend: _Backend = None,
) -> int:
    """Train a model that predicts a number for a time series of any length, then test it on others.

    It writes regression.safetensors and regression.png. If the run is interrupted, it saves a checkpoint first;
    --resume continues it, with the same results.
    """
    paths = [each for each in (train, test) if each is not None]
    return _run_job(RegressJob(paths=paths, given=given, upto=epochs, options=RunOptions(**options)), backend)


@app.command()
@with_options
def forecast(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            parser=path,
            metavar="FILE",
            help=".csv or .npy files of series: a row for each step. Default: a chaotic series.",
        ),
    ] = None,
    *,
    given: Annotated[dict[str, Any], OptionsOf(ForecastSettings)],
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", help="Updates, including those before a resume. Default: 500."),
    ] = None,
    options: Annotated[dict[str, Any], OptionsOf(RunOptions)],
    backend: _Backend = None,
) -> int:
    """Train a forecaster of time series, test it on their last rows, and forecast the next ones.

    It writes forecaster.safetensors and forecaster.png. If the run is interrupted, it saves a checkpoint first;
    --resume continues it, with the same results.
    """
    job = ForecastJob(paths=files or [], given=given, upto=steps, options=RunOptions(**options))
    return _run_job(job, backend)


@app.command()
@with_options
def predict(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            parser=path, metavar="CHECKPOINT", help="A checkpoint of `xrnn classify`, `regress` or `forecast`."
        ),
    ],
    files: Annotated[
        list[Path] | None,
        typer.Argument(parser=path, metavar="FILE", help=".ts, .csv or .npy files, or folders LABEL/*.csv|*.npy."),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help=f"Read one series from standard input: a row of values per line, at most {_MAX_LINE:,} characters.",
        ),
    ] = False,
    *,
    given: Annotated[dict[str, Any], OptionsOf(ClassifierSettings, TABLE_OPTIONS)],
    options: Annotated[dict[str, Any], OptionsOf(PredictOptions)],
    backend: _Backend = None,
) -> int:
    """Print the label and its probability, the number, or the next values, for each series or after each row.

    .csv files are read with the options of the training, unless options are given here. A file must have the columns of
    the channels, and the columns that options on this command line name.
    """
    if stream == bool(files):
        got = "both --stream and files" if stream else "neither a file nor --stream"
        raise SettingsError(f"got {got}: expected one of them; name files, or give --stream")
    how, terminal = PredictOptions(**options), Terminal()
    wanted = "a checkpoint; name a file that `xrnn classify`, `xrnn regress` or `xrnn forecast` wrote"
    job = job_of(checkpoint, wanted)
    if job not in _PREDICTORS:
        got = f"format {quoted(job)}" if job else "no format of xrnn"
        raise CheckpointError(f"{checkpoint} has {got}: expected {wanted}")
    predictor = _PREDICTORS[job].load(checkpoint, _select(backend).backend)
    columns = predictor.columns_for(given, how)
    if stream:
        predictor.stream(_input_lines(), columns.decimal, how, terminal)
    else:
        predictor.predict(files or [], columns, how, terminal)
    return status_of(terminal.lost)


_Prefix = Annotated[
    str, typer.Option(metavar="TEXT", help="For .pt: the prefix of the module's keys.", show_default=False)
]
_Nonlinearity = Annotated[str, typer.Option(metavar="tanh|relu", help="For .pt: the nonlinearity of an RNN.")]


@app.command()
@with_options
def convert(
    source: Annotated[
        Path, typer.Argument(parser=path, metavar="IN", help="A .onnx, .keras, .pt or .safetensors file.")
    ],
    target: Annotated[
        Path, typer.Argument(parser=path, metavar="OUT", help="A .onnx, .keras, .pt, .safetensors or .c file.")
    ],
    *,
    prefix: _Prefix = "",
    nonlinearity: _Nonlinearity = "tanh",
    name: Annotated[
        str,
        typer.Option(metavar="NAME", help="For .c: prefix of its functions. Default: from OUT.", show_default=False),
    ] = "",
    options: Annotated[dict[str, Any], OptionsOf(ConvertOptions)],
) -> None:
    """Convert a model to another format.

    .safetensors files are those of xrnn.save, xrnn.save_checkpoint, `xrnn train`, `classify` and `regress`. .pt files
    hold the state dict of an RNN, LSTM or GRU. A model of `classify` or `regress` that is written to .onnx or .c scales
    its input itself.
    """
    how = ConvertOptions(**options)
    print(convert_file(source, target, prefix, nonlinearity, name, how, _select("numpy").backend))


@app.command()
def info(
    file: Annotated[
        Path | None,
        typer.Argument(parser=path, metavar="FILE", help="A .onnx, .keras, .pt or .safetensors file to describe."),
    ] = None,
    prefix: _Prefix = "",
    nonlinearity: _Nonlinearity = "tanh",
    explain: Annotated[
        tuple[int, int, int, int] | None,
        typer.Option(metavar="T N D H", help="Print the forms that compete at these sizes, and the chosen one."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            parser=str.lower,
            help="With --explain: for this GPU, which need not be in this machine "
            "(t4, l4, 4060, 4090, 5090, a100, h100, h200, b200).",
        ),
    ] = None,
    cell: Annotated[
        str, typer.Option(metavar="NAME", parser=str.lower, help="With --explain: the cell (rnn, leak, lstm, gru).")
    ] = "rnn",
    as_json: _Json = False,
    backend: _Backend = None,
) -> None:
    """Print which backend is selected and why, and the form that each operation takes.

    With FILE, print what it holds.
    """
    if file is not None:
        if explain is not None:
            raise SettingsError("got both FILE and --explain: expected one of them; leave one out")
        described = describe(file, prefix, nonlinearity, _select("numpy").backend)
        print(json.dumps(described) if as_json else "\n".join(_lines(described)))
        return
    if device is not None and explain is None:
        raise SettingsError("got --device without --explain: expected both; add --explain T N D H")
    if cell not in explained():
        raise SettingsError(f"--cell: unknown cell {cell!r}: expected one of {', '.join(explained())}")
    if cell != "rnn" and (explain is None or as_json):
        raise SettingsError("got --cell without --explain, or with --json: expected --explain T N D H --cell NAME")
    if device is not None and as_json:
        raise SettingsError("got both --device and --json: expected one of them; leave one out")
    if explain is not None and not 1 <= min(explain) <= max(explain) <= _MAX_SIZE:
        raise SettingsError(f"--explain got {' '.join(map(str, explain))}: expected T N D H, each from 1 to 10^18")
    selection = None if device else _select(backend)
    if selection and as_json:
        shapes = dict(zip("TNDH", explain, strict=True)) if explain else None
        print(json.dumps({"version": xrnn.__version__} | config_data(selection, shapes)))
    elif explain is None:
        comm = world()
        ranks = rank_lines(comm, selection.backend) if selection and comm.size > 1 else []
        if comm.rank == 0:
            print("\n".join([config(selection), *ranks]))
    else:
        try:
            print(explain_sizes(*explain, device, selection, cell))
        except ValueError as error:  # an unknown device, or a cell without a kernel
            raise SettingsError(f"--device: {error}") from error


def _lines(described: dict[str, Any]) -> Iterator[str]:
    """`name: value` for each entry."""
    for name, value in described.items():
        shown = f"{value:,}" if isinstance(value, int) else value
        yield f"{name}: {printable(', '.join(map(str, value)) if isinstance(value, list) else str(shown))}"


def _input_lines() -> Iterator[str]:
    """The lines of standard input, each as soon as it arrives.   Raises DataError."""
    expected = "expected a row of values per line; pipe them in, or name a file with <"
    if sys.stdin is None:  # a closed descriptor (`<&-`)
        raise DataError(f"standard input is closed: {expected}")
    if isinstance(sys.stdin, io.TextIOWrapper):
        # As in files: a byte order mark is skipped, and bytes that are not UTF-8 become �, which is in no number.
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="replace")
    try:
        while line := sys.stdin.readline(_MAX_LINE + 1):
            if len(line) > _MAX_LINE and not line.endswith("\n"):
                raise DataError(f"a line of standard input is longer than {_MAX_LINE:,} characters: {expected}")
            yield line
    except OSError as error:
        raise DataError(f"can't read standard input ({error.strerror or error}): {expected}") from error


def _run_job(job: Job[Any], backend: str | None) -> int:
    comm, selection = world(), _select(backend)
    use_device_of(comm, selection.backend)
    output = io.StringIO() if comm.rank else None  # rank 0 prints
    return run(job, selection, Terminal(output, quiet=job.options.quiet, json=job.options.json), comm)


def _load_model(checkpoint: Path, backend: Backend) -> CharLM:
    snapshot = CHARLM_CHECKPOINTS.load(checkpoint, backend)
    return CharLM(snapshot.settings.cell, snapshot.layers)


def _select(backend: str | None) -> Selection:
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
