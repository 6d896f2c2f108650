"""`xrnn predict`: what a trained model says of series in files, or of one series from standard input."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer

from xrnn.commands.options import BackendOption, TableOptions, flag, path, selected, with_options
from xrnn.commands.series import columns_of, forecast_columns
from xrnn.commands.terminal import to_stderr
from xrnn.files import printable, quoted
from xrnn.select import use_backend
from xrnn.series import Classifier, Forecaster, Regressor
from xrnn.series.checks import Series, escaped
from xrnn.series.errors import CheckpointError, DataError, SettingsError
from xrnn.series.files import kind_in
from xrnn.series.forecast.forecasts import naive_forecasts
from xrnn.series.inputs import as_row
from xrnn.series.read import check_same, read_path
from xrnn.series.tables import Columns, header_in, names_in, read_row
from xrnn.typing import HostArray

_MAX_LINE: Final = 2**20  # characters of a row in a stream
_KINDS: Final[dict[str, Any]] = {each.job: each for each in (Classifier, Regressor, Forecaster)}


@dataclass(kw_only=True)
class PredictOptions:
    """What to print.

    stream     read one series to classify or regress from standard input: a row of values per line
    proba      print the probability of every label too
    json       print each prediction as a line of JSON, not as a row of a CSV table
    skip_bad   skip unusable series and rows, and report them on stderr, instead of stopping
    """

    stream: bool = False
    proba: bool = False
    json: bool = False
    skip_bad: bool = False


R = TypeVar("R")


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
        typer.Argument(
            parser=path, metavar="FILE", help=".ts, .csv, .xlsx, .parquet or .npy files, or folders of labels."
        ),
    ] = None,
    *,
    table: TableOptions,
    how: PredictOptions,
    backend: BackendOption = None,
) -> None:
    """Print a prediction for each series: a label with its probability, a number, or the next values.

    With --stream, a prediction is printed after each row. Tables are read with the options of the training, unless
    options are given here. A file must have the columns of the channels, and the columns that options on this command
    line name.
    """
    if how.stream == bool(files):
        got = "both --stream and files" if how.stream else "neither a file nor --stream"
        raise SettingsError(f"got {got}: expected one of them; name files, or give --stream")
    wanted = "a checkpoint; name a file that `xrnn classify`, `xrnn regress` or `xrnn forecast` wrote"
    kind = kind_in(checkpoint, wanted)
    if kind not in _KINDS:
        got = f"format {quoted(kind)}" if kind else "no format of xrnn"
        raise CheckpointError(f"{checkpoint} has {got}: expected {wanted}")
    with use_backend(selected(backend).backend):
        estimator = _KINDS[kind].load(checkpoint)
        lines = (_forecasts if kind == Forecaster.job else _labels)(estimator, table.given, files or [], how)
        writer = csv.writer(sys.stdout, lineterminator="\n")
        for i, (values, rows) in enumerate(lines):
            if how.json:
                print(json.dumps(values))
            else:
                writer.writerows([map(printable, rows[0])] if i == 0 else [])  # the header
                writer.writerows([printable(str(value)) for value in row.values()] for row in rows)
            sys.stdout.flush()


# A prediction: for JSON, and the rows of the table, by column.
Line = tuple[dict[str, Any], list[dict[str, Any]]]


def _labels(
    estimator: Classifier | Regressor, given: dict[str, str], files: Sequence[Path], how: PredictOptions
) -> Iterator[Line]:
    """The prediction for each series; without files, the prediction after each row of a stream.

    The last prediction of a stream is that for all rows as one series. An unusable file raises DataError before the
    first prediction.
    """
    classifies = isinstance(estimator, Classifier)
    if how.proba and not classifies:
        raise SettingsError("got --proba for a model that predicts numbers: expected a classifier; leave it out")
    columns = _columns(estimator, given)
    names: Iterable[dict[str, str]] = itertools.repeat({})
    predictions: Iterable[HostArray]
    if files:
        series = _of_all(
            files, columns, how, lambda each: check_same(each, estimator.channels_, estimator.channel_names_)
        )
        names = [{"name": each.name} for each in series]
        predict_ = estimator.predict_proba if classifies else estimator.predict
        predictions = predict_(series) if series else []
    else:
        predictions = estimator.stream(_rows(columns.decimal, estimator.channels_, estimator.channel_names_, how))
    labels = estimator.classes_.tolist() if classifies else []
    texts = [*map(str, labels)] if len({*map(str, labels)}) == len(labels) else [*map(repr, labels)]
    for named, prediction in zip(names, predictions, strict=False):
        if not classifies:
            yield {"value": float(prediction)} | named, [named | {"value": f"{prediction:.6g}"}]
            continue
        best = int(prediction.argmax())
        values: dict[str, Any] = {"label": labels[best], "probability": float(prediction[best])}
        row = named | {"label": escaped(labels[best]), "probability": f"{prediction[best]:.3f}"}
        if how.proba:
            values["probabilities"] = dict(zip(texts, prediction.tolist(), strict=True))
            row |= {f"p({escaped(text)})": f"{share:.3f}" for text, share in zip(texts, prediction, strict=True)}
        yield values | named, [row]


def _columns(estimator: Classifier | Regressor, given: dict[str, str]) -> Columns:
    """How to read new tables: as in training, except for the given options.

    Columns that only the training named may be absent: new files usually have no labels.
    """
    kept = columns_of(estimator.reading_)
    needed = {
        name for option, value in given.items() if option not in ("decimal", "encoding") for name in names_in(value)
    }
    optional = frozenset({*kept.skip, kept.id, kept.time, kept.label} - needed)
    columns = columns_of({**estimator.reading_, **given}, numbers=True)  # labels are not used
    return replace(columns, channels=estimator.channel_names_ or (), of_model=True, optional=optional)


def _forecasts(
    forecaster: Forecaster, given: dict[str, str], files: Sequence[Path], how: PredictOptions
) -> Iterator[Line]:
    """The steps ahead of each series, a row for each."""
    refused = [*(given.keys() - {"decimal", "encoding"}), *["proba"] * how.proba, *["stream"] * (not files)]
    if refused:
        expected = "files, --decimal, --encoding, --json or --skip-bad"
        raise SettingsError(f"got {flag(refused[0])} for a forecaster: expected {expected}; leave it out")
    p, names = forecaster.check_params(), forecaster.facts_.channel_names or ()
    columns = forecast_columns(p, {**forecaster.reading_, **given})
    columns = replace(
        columns,
        channels=columns.channels or names,
        of_model=not p.target,
        optional=frozenset({p.id, p.time}),
    )
    forecasts = _of_all(files, columns, how, forecaster.forecast)
    if line := naive_forecasts(forecasts):
        to_stderr(DataError(line).shown(flag))
    for forecast in forecasts:
        name, steps = {"name": forecast.name, "id": forecast.id}, forecast.steps()
        rows = [
            name | {"step": i, "time": each["time"]} | {q: float(f"{v:.10g}") for q, v in each["quantiles"].items()}
            for i, each in enumerate(steps, start=1)
        ]
        yield {"name": forecast.name, "forecast": steps}, rows


def _of_all(paths: Sequence[Path], columns: Columns, how: PredictOptions, result: Callable[[Series], R]) -> list[R]:
    """`result` of all series in files and folders.   Raises DataError; with --skip-bad, it is reported instead."""
    results: list[R] = []
    for file in paths:
        with _skipping(how):
            for series in read_path(file, columns):
                with _skipping(how):
                    results.append(result(series))
    return results


def _rows(decimal: str, channels: int, names: tuple[str, ...] | None, how: PredictOptions) -> Iterator[HostArray]:
    """The values (channels,) of each line of standard input that is not blank. The first one may be a header.

    names   the channels of the model; None if they have no names

    Raises DataError for an unusable row; with --skip-bad, it is reported instead. Raises DataError for a header with
    other names, or in another order.
    """
    lines = ((f"row {number}", line) for number, line in enumerate(_input_lines(), start=1) if line.strip())
    for i, (name, line) in enumerate(lines):
        if i == 0 and (header := header_in(line, decimal)):
            if len(header) != channels or (names and header != names):
                expected = f"{', '.join(names)}, in this order" if names else f"{channels} names"
                raise DataError(
                    f"the header is {quoted(', '.join(header))}: expected {quoted(expected)}, the channels of the "
                    "model; reorder the columns"
                )
            continue
        with _skipping(how):
            yield as_row(read_row(line, decimal, name), name, channels)


@contextlib.contextmanager
def _skipping(how: PredictOptions) -> Iterator[None]:
    """With --skip-bad, report an unusable series or row instead of raising its DataError."""
    try:
        yield
    except DataError as error:
        if not how.skip_bad:
            raise
        to_stderr(f"skipped: {error.shown(flag)}")


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
