"""Predictions for new series, from files or row by row from a stream: the part that all jobs on series share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np

from xrnn.backend import Backend
from xrnn.files import quoted
from xrnn.models.checkpoint import Checkpoints, Snapshot
from xrnn.models.data.read import check_same, read_path
from xrnn.models.data.scale import Scale
from xrnn.models.data.series import Series, check_sizes
from xrnn.models.data.tables import Columns, header_in, read_row
from xrnn.models.errors import DataError, SettingsError
from xrnn.models.labelled.model import Running, SeriesModel
from xrnn.models.labelled.validation import split_best
from xrnn.models.settings import switch
from xrnn.typing import HostArray

if TYPE_CHECKING:
    from xrnn.commands.terminal import Terminal


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions:
    """The options of `xrnn predict`: each field is an option."""

    proba: bool = switch("Print the probability of every label too.")
    json: bool = switch("Print each prediction as a line of JSON.")
    skip_bad: bool = switch("Skip unusable series and rows, and report them on stderr, instead of stopping.")


R = TypeVar("R")


class Predictor:
    """A trained model and the scale of its series. Each job has a subclass with `fields` and `values`."""

    model_class: ClassVar[type[SeriesModel]]
    checkpoints: ClassVar[Checkpoints[Any]]

    def __init__(self, snapshot: Snapshot[Any]) -> None:
        self.facts, self.settings = snapshot.facts, snapshot.settings
        self.scale = Scale(snapshot.arrays["scale.mean"], snapshot.arrays["scale.deviation"])
        of_model, best = split_best(snapshot.layers)
        self.model = self.model_class(self.settings, best or of_model)

    @classmethod
    def load(cls, checkpoint: Path, backend: Backend) -> Self:
        """Raises CheckpointError."""
        return cls(cls.checkpoints.load(checkpoint, backend))

    def outputs(self, series: Sequence[Series]) -> HostArray:
        """The model's outputs for series with its channels, (count, outputs) float64.   Raises DataError."""
        try:
            return self.model.outputs([self.scale.apply(each.values, mask=self.settings.mask) for each in series])
        except MemoryError as error:
            raise DataError(f"out of memory ({error}): expected series that fit; name fewer or shorter ones") from error

    def checked(self, series: Series) -> Series:
        """`series`.   Raises DataError if it has other channels than the model."""
        check_same(series, self.facts.channels, self.facts.channel_names, "the model")
        return series

    def fields(self, y: HostArray, proba: bool) -> tuple[list[str], list[str]]:
        """A prediction to print: the fields before the name of the series, and those after it.   y (outputs,)."""
        raise NotImplementedError

    def values(self, y: HostArray, proba: bool) -> dict[str, Any]:
        """The prediction for `--json`.   y (outputs,)."""
        raise NotImplementedError

    def columns_for(self, given: dict[str, Any], options: PredictOptions) -> Columns:
        """How to read .csv files.   given: the options on the command line.   Raises SettingsError."""
        columns: Columns = self.settings.columns_for(given, self.facts.channel_names)
        return columns

    def predict(self, paths: Sequence[Path], columns: Columns, options: PredictOptions, terminal: Terminal) -> None:
        """Print a line for each series in files and folders: the prediction and the name, separated by tabs.

        Raises DataError if a file can't be read or has other channels than the model. Nothing is printed then.
        """
        if series := of_all(paths, columns, options, self.checked):
            for each, y in zip(series, self.outputs(series), strict=True):
                self._print(y, each.name, options, terminal)

    def stream(self, lines: Iterable[str], decimal: str, options: PredictOptions, terminal: Terminal) -> None:
        """Print a line for each row of values, one per channel: the prediction for the rows so far.

        A header may come first. The last line is the prediction for all rows as one series.
        Raises SettingsError for a bidirectional model, DataError for an unusable row.
        """
        if not self.settings.one_way:
            raise SettingsError(
                "--stream needs a model that runs forward only, and this one runs in both directions: train one with "
                f"`{self.checkpoints.command} --one-way`"
            )
        backend, channels = self.model.backend, self.facts.channels
        last, running = np.full(channels, np.nan), Running()
        for _, row in rows_in(lines, decimal, channels, self.facts.channel_names, options):
            known = ~np.isnan(row)
            last = np.where(known, row, last)
            x = self.scale.apply(last[None])
            if self.settings.mask:
                x = np.concatenate([x, known[None]], axis=1, dtype=np.float32)
            y, running = self.model.follow(backend.asarray(x), running)
            self._print(backend.to_numpy(y)[0], None, options, terminal)
            if terminal.lost:
                return

    def _print(self, y: HostArray, name: str | None, options: PredictOptions, terminal: Terminal) -> None:
        if options.json:
            named = {} if name is None else {"name": name}
            terminal.row(json.dumps(self.values(y, options.proba) | named))
            return
        before, after = self.fields(y, options.proba)
        terminal.row(*before, *([] if name is None else [name]), *after)


def of_all(paths: Sequence[Path], columns: Columns, options: PredictOptions, result: Callable[[Series], R]) -> list[R]:
    """`result` of all series in files and folders.   Raises DataError; with --skip-bad, it is reported instead."""
    results: list[R] = []
    for path in paths:
        try:
            for series in read_path(path, columns):
                try:
                    results.append(result(series))
                except DataError as error:
                    _skip(error, options)
        except DataError as error:
            _skip(error, options)
    return results


def rows_in(
    lines: Iterable[str], decimal: str, channels: int, names: tuple[str, ...] | None, options: PredictOptions
) -> Iterator[tuple[int, HostArray]]:
    """The number and the values (channels,) of each line that is not blank. The first line may be a header.

    names   the channels of the model; None if they have no names

    Raises DataError for an unusable row; with --skip-bad, it is reported instead. Raises DataError for a header with
    other names, or in another order.
    """
    is_first = True
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if is_first and (header := header_in(line, decimal)):
            _check_header(header, names, channels)
            is_first = False
            continue
        is_first = False
        try:
            row = np.array(read_row(line, decimal, f"row {number}"))
            if len(row) != channels:
                raise DataError(
                    f"row {number} has {len(row)} values: expected {channels}, one for each channel, separated by "
                    "commas, semicolons or tabs"
                )
            check_sizes(row, f"row {number}")
        except DataError as error:
            _skip(error, options)
        else:
            yield number, row


def _check_header(header: tuple[str, ...], names: tuple[str, ...] | None, channels: int) -> None:
    shown = quoted(", ".join(header))
    if names and header != names:
        raise DataError(
            f"the header is {shown}: expected {quoted(', '.join(names))}, the channels of the model in their order; "
            "reorder the columns"
        )
    if len(header) != channels:
        raise DataError(f"the header {shown} has {len(header)} names: expected {channels}, one for each channel")


def _skip(error: DataError, options: PredictOptions) -> None:
    """With --skip-bad, report the series or row that is skipped; otherwise, raise `error`."""
    if not options.skip_bad:
        raise error
    if sys.stderr is not None:  # None: its descriptor is closed
        from xrnn.commands.terminal import Terminal  # here, because it loads Rich, which estimators do not need

        Terminal(sys.stderr).say(f"skipped: {error}")
