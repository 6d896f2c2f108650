"""The series of files: those of TRAIN and TEST, and those to forecast."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from xrnn.commands.options import TableOptions
from xrnn.files import printable, quoted
from xrnn.series import Forecaster
from xrnn.series.checks import LARGEST, Series, as_number, escaped
from xrnn.series.errors import DataError, param
from xrnn.series.forecast.fit import Fit
from xrnn.series.labelled.labels import TEST, classes_of, groups_of, hold_out
from xrnn.series.parameters import RULES
from xrnn.series.read import check_channels, check_same, read_path
from xrnn.series.tables import Columns, names_in
from xrnn.series.times import show

_DEFAULT: Final = "aeon/datasets/data/JapaneseVowels/JapaneseVowels_{}.ts"


class Labelled(NamedTuple):
    """Series with the same channels; their labels are text, or numbers."""

    train: list[Series]
    test: list[Series]
    held_out: bool  # True: the test series were held out of TRAIN

    @property
    def source(self) -> str:
        """The numbers of series, channels and steps, and the names of the channels, as text."""
        steps, labels = [len(each.values) for each in self.train + self.test], [each.label for each in self.train]
        span = f"{min(steps):,}" if min(steps) == max(steps) else f"{min(steps):,} to {max(steps):,}"
        numbers = isinstance(labels[0], float)
        targets = f"targets {min(labels):g} to {max(labels):g}" if numbers else f"{len({*labels})} labels"
        D = self.train[0].channels
        names = next((each.channel_names for each in self.train if each.channel_names), None)
        listed = f"\nchannels: {', '.join(names)}" if names else ""
        return (
            f"series: {len(self.train):,} to train on, {len(self.test):,} to test on{', held out' * self.held_out}; "
            f"{targets}, {D} channel{'s' * (D > 1)}, {span} steps{listed}"
        )


def columns_of(given: Mapping[str, str], *, numbers: bool = False) -> Columns:
    """How to read .csv files.   given: the given TableOptions, by name.   Raises SettingsError."""
    for name in given.keys() & RULES.keys():
        RULES[name].check(name, given[name])
    table = TableOptions(**given)
    skip = names_in(table.skip_columns)
    return Columns(table.decimal or ".", skip, table.id, table.time, table.label, numbers, encoding=table.encoding)


def forecast_columns(p: Forecaster, given: Mapping[str, str]) -> Columns:
    """How to read the tables of a forecaster.   p: its parameters;   given: ReadingOptions.   Raises SettingsError."""
    used = (p.target, *names_in(str(p.known))) if p.target else ()
    return replace(columns_of(given), id=p.id, time=p.time, timed=True, channels=used)


def load_to_forecast(paths: Sequence[Path], p: Any, given: Mapping[str, str]) -> list[Series]:
    """The series in the files, the target first.   p, given: see `forecast_columns`.   Raises DataError."""
    columns = forecast_columns(p, given)
    series = [each for path in paths for each in read_path(path, columns)]
    channels = check_channels(series)
    if (channels > 1 or p.known) and not p.target:
        names = series[0].channel_names
        have = f": {', '.join(map(printable, names))}"[:200] if names else ""
        raise DataError(
            f"{printable(series[0].name)} has {channels} columns of numbers{have}: expected the one to forecast; add "
            f"{param('target')} COLUMN"
        )
    return series


def described(fit: Fit) -> str:
    """Lines: the series, their sizes and missing cells, and the channels."""
    rows, facts = [each.rows for each in fit.series], fit.facts
    span = f"{min(rows):,}" if min(rows) == max(rows) else f"{min(rows):,} to {max(rows):,}"
    name, of_each = (f"{len(rows):,} series", " each") if len(rows) > 1 else (fit.series[0].name, "")
    missing = sum(int(np.isnan(each.given.values[: each.rows]).sum()) for each in fit.series)
    gaps = f", {missing:,} missing value{'s' * (missing > 1)}" if missing else ""
    channels = f"\nchannels: {printable(', '.join(facts.channel_names))}" if facts.channel_names else ""
    return (
        f"series: {printable(name)}, {span} rows{of_each}{gaps}, season {facts.season}; {facts.horizon} "
        f"step{'s' * (facts.horizon > 1)} ahead from {facts.context}{channels}"
    )


def lines_about(series: Sequence[Series], step: str) -> list[str]:
    """Lines: which columns of the tables are the times, which are not used, and whether the series end together.

    step   the name of the step
    """
    steps = f", steps of {step}" if step else ""
    found = {
        f"times: {', '.join(each.time_names) + steps if each.time_names else 'none'}"
        + f"; unused columns: {', '.join(each.unused)}" * bool(each.unused)
        for each in series
    }
    ends: list[Any] = [(each.times[each.target_rows[-1]], each.id or each.name) for each in series if each.times]
    lines = sorted(found)
    with contextlib.suppress(TypeError):  # files with numbers and with dates
        first, last = (choose(ends, key=lambda end: end[0], default=(0, "")) for choose in (min, max))
        if first[0] != last[0]:
            of = (f"{name} {show(time)}" for time, name in (first, last))
            lines.append(f"the series end at different times: {' to '.join(of)}")
    return lines


def load(train: Path | None, test: Path | None, given: Mapping[str, str], seed: int, *, numbers: bool) -> Labelled:
    """The series of TRAIN and TEST.

    If no path is given, a classifier uses JapaneseVowels, from the package aeon; a regression is refused. Without TEST,
    a quarter of each group of series is held out for the test: of each label, or of all to regress on. The seed decides
    which series.

    Raises DataError if a file can't be read, if series have different channels, if there are too few, or if a label or
    target of TEST does not fit TRAIN.
    """
    paths = [each for each in (train, test) if each] or _default_paths(numbers)
    columns = columns_of(given, numbers=numbers)
    valid = _target if numbers else _label
    known, *others = [[replace(each, label=valid(each)) for each in read_path(path, columns)] for path in paths]
    check_channels(known)
    labels = None if numbers else classes_of([each.label for each in known], by_number=True)
    if not others:
        groups = groups_of(known, labels)
        if single := next((known[group[0]] for group in groups if labels and len(group) < 2), None):
            raise DataError(
                f"{paths[0]} has a single series of the label {quoted(escaped(single.label))}, "
                f"{printable(single.name)}: expected at least two, one of them to be held out; add some, leave the "
                "label out, or name a TEST"
            )
        return Labelled(*hold_out(known, groups, TEST, seed), True)
    tested = others[0]
    for each in tested:
        check_same(each, known[0].channels, known[0].channel_names, "TRAIN")
        if labels and each.label not in labels:
            raise DataError(
                f"{printable(each.name)} has the label {quoted(escaped(each.label))}: expected one that TRAIN has, "
                f"{', '.join(map(escaped, labels))[:200]}; leave the series out, or add some to TRAIN"
            )
    if {_content(each) for each in tested} <= {_content(each) for each in known}:
        raise DataError(
            f"{paths[1]} has only series that {paths[0]} has too: expected series that the model has not seen; name "
            "another TEST, or leave it out to hold out a part of TRAIN"
        )
    return Labelled(known, tested, False)


def _label(series: Series) -> Any:
    """The label.   Raises DataError if there is none."""
    if series.label is None:
        raise DataError(
            f"{printable(series.name)} has no label: expected one for each series; name a .ts file with labels, a "
            f"folder of labels, or a table with {param('id')} and {param('label')}"
        )
    return series.label


def _target(series: Series) -> float:
    """The number to predict.   Raises DataError unless it is between -1e30 and 1e30."""
    number = as_number(_label(series))
    if number is None or abs(number) > LARGEST:
        raise DataError(
            f"{printable(series.name)} has the target {quoted(str(series.label))!r}: expected a number up to "
            f"{LARGEST:g}; correct it, or leave the series out"
        )
    return number


def _default_paths(numbers: bool) -> list[Path]:
    """The paths of JapaneseVowels in the installed package aeon, which is not imported.   Raises DataError."""
    if numbers:
        raise DataError("got no TRAIN: expected series with a number each; name a file or a folder")
    paths: list[Path] = []
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        found = importlib.metadata.distribution("aeon")
        paths = [Path(str(found.locate_file(_DEFAULT.format(part)))) for part in ("TRAIN", "TEST")]
    if not paths or not all(path.is_file() for path in paths):
        raise DataError(
            "got no path, and JapaneseVowels, the default, comes with the package aeon, which is not installed: "
            "expected TRAIN, or `pip install --no-deps aeon` (its dependencies are large, and not needed)"
        )
    return paths


def _content(series: Series) -> tuple[Any, ...]:
    """Equal for two series with the same label and values."""
    return series.label, series.values.shape, series.values.tobytes()
