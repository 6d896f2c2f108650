"""The series of files: those of TRAIN and TEST, and those to forecast."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from xrnn.commands.options import TableOptions
from xrnn.files import printable, quoted
from xrnn.series import Classifier, Forecaster, Regressor
from xrnn.series.checks import LARGEST, Series, as_number, escaped
from xrnn.series.errors import DataError, param
from xrnn.series.forecast.series import OneSeries
from xrnn.series.labelled.labels import TEST, classes_of, groups_of, hold_out
from xrnn.series.parameters import RULES
from xrnn.series.read import check_channels, read_path
from xrnn.series.tables import Columns, names_in
from xrnn.series.times import show

# By the kind of their files.
ESTIMATORS: Final[dict[str, Any]] = {each.job: each for each in (Classifier, Regressor, Forecaster)}
_DEFAULT: Final = "datasets/data/JapaneseVowels/JapaneseVowels_{}.ts"


class Labelled(NamedTuple):
    """Series with the same channels; their labels are text, or numbers.   source: a line about them"""

    train: list[Series]
    test: list[Series]
    source: str


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


def described(series: Sequence[OneSeries]) -> list[str]:
    """Lines: the series and their sizes; which columns of their tables are the times, which are used, which are not."""
    model, given = series[0].model, [each.given for each in series]
    step, F = f", steps of {model.step}" if model.step else "", model.horizon
    name = printable(series[0].name) if len(series) == 1 else f"{len(series):,} series"
    missing = sum(int(np.isnan(each.given.values[: each.cut]).sum()) for each in series)
    gaps = f", {missing:,} missing value{'s' * (missing > 1)}" if missing else ""
    line = (
        f"series: {name}, {_span([each.cut for each in series])} rows{gaps}, season {model.season}; {F} "
        f"step{'s' * (F > 1)} ahead from {model.context}"
    )
    tables = {
        f"times: {', '.join(each.time_names) + step if each.time_names else 'none'}"
        + f"; columns: {', '.join(each.channel_names or ())}" * bool(each.channel_names)
        + f"; unused columns: {', '.join(each.unused)}" * bool(each.unused)
        for each in given
    }
    return [line, *sorted(tables), *_different_ends(given)]


def _different_ends(series: Sequence[Series]) -> list[str]:
    """A line about the first and the last end of the series, if they differ."""
    ends: list[Any] = [(each.times[each.target_rows[-1]], each.id or each.name) for each in series if each.times]
    with contextlib.suppress(TypeError):  # files with numbers and with dates
        first, last = (choose(ends, key=lambda end: end[0], default=(0, "")) for choose in (min, max))
        if first[0] != last[0]:
            of = (f"{name} {show(time)}" for time, name in (first, last))
            return [f"the series end at different times: {' to '.join(of)}"]
    return []


def _span(sizes: Sequence[int]) -> str:
    return f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"


def load(train: Path | None, test: Path | None, given: Mapping[str, str], seed: int, *, numbers: bool) -> Labelled:
    """The series of TRAIN and TEST.

    If no path is given, a classifier uses JapaneseVowels, from the package aeon. Without TEST, a quarter of each group
    of series is held out for the test: of each label, or of all to regress on. The seed decides which series.

    Raises DataError if a file can't be read, if series have different channels, if there are too few, or if a label or
    target of TEST does not fit TRAIN.
    """
    paths = [each for each in (train, test) if each] or _default_paths()
    columns = columns_of(given, numbers=numbers)
    trained, *others = [[_labelled(each, numbers) for each in read_path(path, columns)] for path in paths]
    D = check_channels([*trained, *itertools.chain(*others)])
    labels = None if numbers else classes_of([each.label for each in trained], by_number=True)
    tested = others[0] if others else []
    if not others:
        trained, tested = hold_out(trained, groups_of(trained, labels), TEST, seed)
    if not tested:
        raise DataError(
            f"{paths[0]} has too few series to hold out some: expected at least two of a label; add some, or name a "
            "TEST"
        )
    if others and {_content(each) for each in tested} <= {_content(each) for each in trained}:
        raise DataError(
            f"{paths[1]} has only series that {paths[0]} has too: expected series that the model has not seen; name "
            "another TEST, or leave it out to hold out a part of TRAIN"
        )
    if strange := [each for each in tested if labels and each.label not in labels]:
        raise DataError(
            f"{printable(strange[0].name)} has the label {quoted(escaped(strange[0].label))}: expected one that TRAIN "
            f"has, {', '.join(map(escaped, labels or ()))[:200]}; leave the series out, or add some to TRAIN"
        )
    names = next((f" ({', '.join(each.channel_names)})" for each in trained if each.channel_names), "")
    source = (
        f"series: {len(trained):,} to train on, {len(tested):,} to test on{', held out' * (not others)}; {D} "
        f"channel{'s' * (D > 1)}{names}, {_span([len(each.values) for each in trained + tested])} steps"
    )
    return Labelled(trained, tested, source)


def _content(series: Series) -> tuple[Any, ...]:
    """Equal for two series with the same label and values."""
    return series.label, series.values.shape, series.values.tobytes()


def _labelled(series: Series, numbers: bool) -> Series:
    """The series with its label, or with the number to predict.   Raises DataError if it has none."""
    if series.label is None:
        raise DataError(
            f"{printable(series.name)} has no label: expected one for each series; name a .ts file with labels, a "
            f"folder of labels, or a table with {param('id')} and {param('label')}"
        )
    if not numbers:
        return series
    number = as_number(series.label)
    if number is None or abs(number) > LARGEST:
        raise DataError(
            f"{printable(series.name)} has the target {quoted(str(series.label))!r}: expected a number up to "
            f"{LARGEST:g}; correct it, or leave the series out"
        )
    return replace(series, label=number)


def _default_paths() -> list[Path]:
    """The paths of JapaneseVowels in the installed package aeon, which is not imported.   Raises DataError."""
    aeon = importlib.util.find_spec("aeon")
    paths = [Path(str(aeon.origin)).parent / _DEFAULT.format(part) for part in ("TRAIN", "TEST")] if aeon else []
    if not paths or not all(path.is_file() for path in paths):
        raise DataError(
            "got no path, and JapaneseVowels, the default, comes with the package aeon, which is not installed: "
            "expected TRAIN, or `pip install --no-deps aeon` (its dependencies are large, and not needed)"
        )
    return paths
