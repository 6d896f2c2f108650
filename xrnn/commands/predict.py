"""`xrnn predict`: predictions for series in files, or for one series from standard input."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import numpy as np

from xrnn.arrays.select import use_backend
from xrnn.commands.forecast import forecast_columns, rows_ahead
from xrnn.commands.options import (
    BackendOption,
    ReadingOptions,
    TableOptions,
    argument,
    flag,
    selected,
    with_options,
)
from xrnn.commands.output import counted, escaped, to_stderr
from xrnn.commands.table_files import TableFile
from xrnn.files import printable, quoted
from xrnn.series import Classifier, Forecaster, Regressor
from xrnn.series.errors import DataError, SettingsError, file_errors, param
from xrnn.series.estimator import kind_in
from xrnn.series.forecast.estimator import known_lines, naive_forecasts, notes_on_new
from xrnn.series.forecast.series import OneSeries
from xrnn.series.inputs import as_row
from xrnn.series.one_series import Series, check_same
from xrnn.series.progress import each_of
from xrnn.series.reading.files import TABLES, files_in, read_path
from xrnn.series.reading.notes import tell
from xrnn.series.reading.numbers import chosen_decimal, decimal_in
from xrnn.series.reading.tables import (
    Columns,
    are_numbers,
    cells_in,
    is_header,
    may_group,
    names_in,
    numbers_in,
    separator_of,
)
from xrnn.typing import HostArray

ESTIMATORS: Final[dict[str, Any]] = {each.job: each for each in (Classifier, Regressor, Forecaster)}  # by kind of file
_OF_FORECASTS: Final = ("horizon", "json", "table", "overwrite")
_FIRST_ROWS: Final = 10  # of a stream: a channel without any value in these is named
_MOST_NAMED: Final = 20  # bad rows of a stream
_OF_FILES: Final = [field.name for field in fields(ReadingOptions) if field.init]  # the options that name no column


@dataclass(kw_only=True)
class NewTableOptions(TableOptions):
    """How to read tables of new series. These options are not for forecasters, which find the columns by their names.

    skip_columns    columns of a table to ignore, by their names or numbers; not for forecasters
    id              column of a table that tells its series apart, by its name or number; not for forecasters
    time            column of a table to sort the steps of a series by; not for forecasters
    label           column of a table with the label of each series, which is ignored; not for forecasters
    group           column of a table with the group of each series, which is ignored; not for forecasters
    """


@dataclass(kw_only=True)
class PredictOptions:
    """What to print.

    stream     predict after each row of an endless series from standard input, a row of values per line; not for
               forecasters
    last       with --stream, the number of last rows that a prediction is about; by default, as many as a series of the
               training has. All of these are computed again after each row, so its cost grows with their number
    horizon    with a forecaster, the number of steps to forecast, up to that of the training
    proba      print the probability of every label too; for classifiers
    json       print each row of the table as a line of JSON
    table      write the table to this file instead: a .csv, .xlsx or .parquet file
    overwrite  replace an existing table
    """

    stream: bool = False
    last: int | None = None
    horizon: int | None = None
    proba: bool = False
    json: bool = False
    table: Path | None = None
    overwrite: bool = False


@with_options
def predict(
    checkpoint: Annotated[
        Path, argument("CHECKPOINT", "The model that `xrnn classify`, `regress` or `forecast` wrote.")
    ],
    files: Annotated[
        list[Path] | None,
        argument("FILE", ".ts, .csv, .txt, .xlsx, .parquet or .npy files, or folders as in training."),
    ] = None,
    *,
    reading: NewTableOptions,
    how: PredictOptions,
    backend: BackendOption = None,
) -> int:
    """Print a prediction for each series: a label with its probability, a number, or the next values.

    Tables are read with the options of the training, unless other options are given here. A table must have the
    columns that the model was trained on, and those that the options given here name. A file that can't be used is
    named; the others are predicted, and the exit status is 1.

    Examples: xrnn predict classifier.safetensors new.csv, xrnn predict forecaster.safetensors sales.xlsx --table
    next.xlsx
    """
    if how.stream == bool(files):
        got = "both --stream and files" if how.stream else "neither a file nor --stream"
        raise SettingsError(f"got {got}; name files, or give --stream")
    if how.last is not None and not how.stream:
        raise SettingsError("got --last without --stream; add --stream, or leave it out")
    if how.table and how.stream:
        raise SettingsError("got --table with --stream, whose rows never end; leave one of them out")
    table_file = None
    if how.table:
        table_file = TableFile(how.table, ["predictions"], [checkpoint, *(files or [])], overwrite=how.overwrite)
    wanted = "a checkpoint; name a file that `xrnn classify`, `xrnn regress` or `xrnn forecast` wrote"
    kind = kind_in(checkpoint, wanted, ESTIMATORS)
    with use_backend(selected(backend).backend):
        estimator = ESTIMATORS[kind].load(checkpoint)
        found = _Found()
        rows = (_forecasts if kind == Forecaster.job else _labels)(estimator, reading, files or [], how, found)
        if table_file:
            tables = {"predictions": [*rows]}
            for path in table_file.write(tables, reading.or_kept(estimator.reading_).usual(found.series)):
                print(f"table: {printable(str(path))}")
            return found.status
        writer = csv.writer(sys.stdout, lineterminator="\n")
        for i, row in enumerate(rows):
            if how.json:
                print(json.dumps(row))
            else:
                if i == 0:
                    writer.writerow(map(escaped, row))
                writer.writerow(map(escaped, row.values()))
            sys.stdout.flush()
    return found.status


@dataclass
class _Found:
    """What was found in the files.   status: 1 if one of them can't be used"""

    series: list[Series] = field(default_factory=list)
    status: int = 0


def _labels(
    estimator: Classifier | Regressor,
    reading: TableOptions,
    files: Sequence[Path],
    how: PredictOptions,
    found: _Found,
) -> Iterator[dict[str, Any]]:
    """A row for each series; without files, after each row of a stream. Numbers have the six digits of float32."""
    labels: list[Any] = estimator.classes_.tolist() if isinstance(estimator, Classifier) else []
    if how.proba and not labels:
        raise SettingsError("got --proba for a model that predicts numbers, which have no probabilities; leave it out")
    if how.horizon is not None:
        raise SettingsError(f"got {param('horizon')} for a model without forecasts; leave it out")
    columns = _columns(estimator, reading)
    names: Iterable[dict[str, Any]] = itertools.repeat({})
    predictions: Iterable[HostArray]
    if files:

        def check(each: Series) -> Series:
            check_same(each, estimator.channels_, estimator.channel_names_)
            return each

        series = _used(files, columns, check, found)
        if not series:
            return
        names = [{"name": one.name} for one in series]
        if isinstance(estimator, Classifier):
            predictions = estimator.predict_proba(series)
        else:
            predictions = estimator.predict(series)
        _note(series, columns)
    else:
        predictions = estimator.stream(_with_notes(_rows(estimator, columns), estimator, how.last), how.last)
    for named, prediction in zip(names, predictions, strict=False):
        if not labels:
            yield named | {"value": float(f"{prediction:.6g}")}
            continue
        p = prediction.round(6).tolist()
        best = int(prediction.argmax())
        row = named | {"label": labels[best], "probability": p[best]}
        yield row | {f"p({label})": share for label, share in zip(labels, p, strict=True) if how.proba}


def _columns(estimator: Classifier | Regressor, reading: TableOptions) -> Columns:
    """How to read new tables: as in training, except for the given options.

    Columns that only the training named may be absent: new files usually have no labels.
    """
    kept = TableOptions().or_kept(estimator.reading_)
    channels = estimator.channel_names_ or ()
    columns = reading.or_kept(estimator.reading_).columns()
    return replace(
        columns,
        skip=(*columns.skip, columns.label, columns.group),  # these are not used
        label="",
        group="",
        targets=True,  # a .ts file may have numbers in place of labels
        channels=channels,
        optional=frozenset(kept.named - reading.named | {*channels}),
    )


def _forecasts(
    forecaster: Forecaster,
    reading: TableOptions,
    files: Sequence[Path],
    how: PredictOptions,
    found: _Found,
) -> Iterator[dict[str, Any]]:
    """A row for each step ahead of each series."""
    refused = sorted(reading.given.keys() - _OF_FILES)
    if how.proba:
        refused.append("proba")
    if how.stream:
        refused.append("stream")
    if refused:
        taken = ", ".join(map(param, [*_OF_FILES, *_OF_FORECASTS]))
        got = f"got {param(refused[0])} for a forecaster, which takes {taken}"
        raise SettingsError(f"{got}; leave it out")
    p = forecaster.check_params()
    columns = forecast_columns(p, reading.or_kept(forecaster.reading_))
    optional = {p.id, p.time}
    if not columns.channels:
        columns = replace(columns, channels=forecaster.model_.channel_names or ())
        optional |= {*columns.channels}
    columns = replace(columns, optional=frozenset(optional))
    steps = how.horizon
    if steps is not None and not 1 <= steps <= forecaster.model_.horizon:
        got = f"{param('horizon')} is {steps}, but the model was trained for {forecaster.model_.horizon}"
        raise SettingsError(f"{got}; give a number from 1 to that, or train with a longer one")

    def forecast(series: Series) -> tuple[OneSeries, list[dict[str, Any]]]:
        one = forecaster.forecast(series, steps=steps)
        return one, [*rows_ahead([one])]

    used = _used(files, columns, forecast, found)
    if not used:
        return
    forecasts = [one for one, _ in used]
    _note(found.series, columns)
    if line := naive_forecasts(forecasts):
        to_stderr(line)
    for line in [*notes_on_new(forecasts, flag), *known_lines(forecasts)]:
        to_stderr(line)
    for _, rows in used:
        yield from rows


T = TypeVar("T")


def _used(paths: Sequence[Path], columns: Columns, use: Callable[[Series], T], found: _Found) -> list[T]:
    """`use` of each series in these files, and in those of folders.

    A line on stderr tells the DataError of a file that reading it or `use` raises.
    """
    files: list[Path] = []
    for path in paths:
        try:
            files += files_in(path, need_labels=False) if os.path.isdir(path) else [path]
        except DataError as error:
            _refuse(error, found)

    def used_of(file: Path) -> list[T]:
        try:
            series = read_path(file, columns)
            used = each_of(series, "series", use)
        except DataError as error:
            _refuse(error, found)
            return []
        found.series += series
        return used

    # A bar shows the files, or the series of a single one: parts within a part are not shown.
    used = each_of(files, "files", used_of) if len(files) > 1 else map(used_of, files)
    return [*itertools.chain.from_iterable(used)]


def _refuse(error: DataError, found: _Found) -> None:
    to_stderr(f"error: {' '.join(error.shown(flag).split())}")
    found.status = 1


def _note(series: Sequence[Series], columns: Columns) -> None:
    """Warn if the column of identifiers is missing: without times, nothing shows whether the rows are one series."""
    if columns.id and len(series) == 1:
        (one,) = series
        if Path(one.name).suffix.lower() in TABLES and not one.id and not one.times:
            to_stderr(f"{one.name} has no column {columns.id}: all its rows are read as one series")


def _rows(estimator: Classifier | Regressor, columns: Columns) -> Iterator[HostArray]:
    """The values of the channels, (D,), in each line of standard input that is not blank.

    If the model's channels have names, the first row may be a header: it may name more columns, in any order.

    Raises DataError for an unusable row, unless these are skipped, and for a header without the names of the channels.
    """
    bad = _BadRows(skip=columns.skip_bad_lines)
    decimal = columns.decimal
    channels = estimator.channels_
    names = estimator.channel_names_
    advice = "pipe rows of values in, or name a file with <"
    if sys.stdin is None:  # a closed descriptor (`<&-`)
        raise DataError(f"standard input is closed; {advice}")
    if isinstance(sys.stdin, io.TextIOWrapper):
        # As in files: a byte order mark is skipped, and bytes that are not UTF-8 become �, which is in no number.
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="replace")
    lines = ((f"row {number}", line) for number, line in enumerate(sys.stdin, start=1) if line.strip())
    places: list[int] = []  # of the channels in a row
    width = 0
    separator = ""
    sign = decimal  # the sign of decimals; "" until a row shows it
    unsure, read_with = "", ""  # the first row before that with a number of either sign, and the sign it was read with
    with file_errors(DataError, "read", Path("standard input"), advice):
        for name, line in lines:
            separator = separator or _separator_in(line, name, width, estimator, columns)
            cells = cells_in(line, separator, name)
            if not width:
                width = len(cells)
                if names and (cells == names or (is_header(cells) and not are_numbers(cells, decimal))):
                    places = _places_in_header(cells, names)
                    separator = ""
                    continue
                places = _places_by_number(width, channels, columns)
            if len(cells) != width:
                bad.add(
                    DataError(f"{name} has {counted(len(cells), 'value')}, but the first row has {width}; correct it")
                )
                continue
            if len(places) != channels:
                remedy = (
                    f"put a header with {', '.join(names)} before the rows" if names else "pipe in the channels alone"
                )
                if width == 2 * channels and not decimal and "," in line:
                    remedy += ", or give --decimal , if the commas are decimal signs"
                got = f"{name} has {counted(width, 'value')}, but the model has {counted(channels, 'channel')}"
                raise DataError(f"{got}; {remedy}")
            values = [cells[i] for i in places]
            if not sign:
                sign = decimal_in(values)
                if sign and unsure and sign != read_with:
                    got = f"{name} has {sign} before the decimals, but {unsure} was read with {read_with}"
                    raise DataError(f"{got}; give --decimal {sign}")
                if not sign and not unsure and any("." in cell or "," in cell for cell in values):
                    unsure = name
                    usual = columns.usual_decimal
                    grouped = may_group(line, separator)
                    read_with, notes = chosen_decimal({"": values}, name, usual=usual, points_may_group=grouped)
                    tell(name, notes)
            others = "the rows before have" if sign and not decimal else ""
            try:
                row = as_row(numbers_in(values, sign or read_with, name, others), name, channels)
            except DataError as error:
                bad.add(error)
                continue
            yield row
    bad.finish()


class _BadRows:
    """The rows of a stream that can't be used.   skip: False: the first one raises its error"""

    def __init__(self, *, skip: bool) -> None:
        self._skip = skip
        self._count = 0

    def add(self, error: DataError) -> None:
        """Print a line about a row, if it is one of the first."""
        if not self._skip:
            raise error
        self._count += 1
        if self._count <= _MOST_NAMED:
            to_stderr(f"skipped: {error.shown(flag)}")

    def finish(self) -> None:
        """Print the number of rows, if the stream ends."""
        if self._count:
            to_stderr(f"skipped {counted(self._count, 'bad row')}")


def _separator_in(line: str, where: str, width: int, estimator: Classifier | Regressor, columns: Columns) -> str:
    """The sign between the cells of a stream, from its header or its first row of numbers.   Raises DataError.

    With decimal commas, a comma separates cells if one of them has quotes, in a header with the names of the channels,
    and between whole numbers if their number is right.

    width   of the header; 0 without one
    """
    usual, other = separator_of([line], columns.decimal), separator_of([line], "")
    if usual == other or usual in line:
        return usual
    cells = cells_in(line, other, where)
    names = estimator.channel_names_
    channels = estimator.channels_
    if not width and names and {*names} <= {*cells}:
        return other
    fits = len(cells) == width or (not width and len(_places_by_number(len(cells), channels, columns)) == channels)
    return other if fits and max(channels, width) > 1 else usual


def _with_notes(rows: Iterable[HostArray], estimator: Classifier | Regressor, given: int | None) -> Iterator[HostArray]:
    """The rows. Lines on stderr say which rows a prediction is about, and name channels without a value in them.

    A channel that has no value from the start is named after 10 rows: it may not be connected. An earlier line would
    also name channels that only some rows have.

    given   the value of --last
    """
    last = given or estimator.steps_
    of_window = min(last, estimator.window_ or last)
    first = min(of_window, _FIRST_ROWS)
    without = np.zeros(estimator.channels_, np.int64)  # rows since the last value of each channel
    for number, row in enumerate(rows, start=1):
        if number == 1:
            default = "" if given else ", as many as a series of the training has; --last changes this"
            complete = last // of_window  # the rows of an incomplete window are not counted
            windows = f", the mean over {complete:,} windows" if complete > 1 else ""
            to_stderr(f"each prediction is about the last {counted(complete * of_window, 'row')}{windows}{default}")
        without = np.where(np.isnan(row), without + 1, 0)
        if number == first:
            found = without == first
            where = f"the first {counted(first, 'row')}"
        else:
            found = (without == of_window) & (without < number)
            where = f"the last {counted(of_window, 'row')}, up to {number:,}"
        for i in np.flatnonzero(found):
            name = estimator.channel_names_[i] if estimator.channel_names_ else i + 1
            to_stderr(f"no value in channel {name} in {where}: predictions use its mean over the training series")
        yield row


def _places_in_header(header: Sequence[str], names: Sequence[str]) -> list[int]:
    """The place of each channel in the rows of a stream.   Raises DataError if a channel is missing or named twice."""
    for name in names:
        if header.count(name) == 1:
            continue
        fault = "lacks the channel" if name not in header else "names twice the channel"
        got = f"the header {quoted(', '.join(header))!r} {fault} {quoted(name)}"
        raise DataError(f"{got}; it must name {quoted(', '.join(names))}, the channels of the model")
    return [header.index(name) for name in names]


def _places_by_number(width: int, channels: int, columns: Columns) -> list[int]:
    """The places of the channels in rows without a header: all but the columns that the training named by numbers."""
    named = {*columns.skip, columns.id, *names_in(columns.time)}
    return [i for i in range(width) if width == channels or str(i + 1) not in named]
