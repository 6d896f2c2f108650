"""Labelled series: the data of `xrnn classify`."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from xrnn.files import printable, quoted
from xrnn.models.data.dataset import TEST, VALIDATION, Dataset, hold_out, read_series
from xrnn.models.data.series import Series, escaped
from xrnn.models.data.tables import Columns
from xrnn.models.errors import DataError
from xrnn.models.labelled.classifier_checkpoint import Facts
from xrnn.typing import HostArray

_DEFAULT: Final = "aeon/datasets/data/JapaneseVowels/JapaneseVowels_{}.ts"


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSeries(Dataset):
    labels: list[Any]  # the different labels of TRAIN, sorted
    source: str = ""  # a description of the series, from `describe`

    @property
    def facts(self) -> Facts:
        """The properties that the model depends on."""
        return Facts(self.channels, tuple(self.labels), self.channel_names)

    @property
    def outputs(self) -> int:
        """The number of labels."""
        return len(self.labels)

    @classmethod
    def of(
        cls, train: list[Series], test: list[Series], labels: list[Any], seed: int, *, validate: bool, name: str
    ) -> Self:
        """With `validate`, a fifth of each label's training series is held out.   name: of the data, in errors"""
        validation: list[Series] = []
        if validate:
            train, validation = hold_out(train, _places(train, labels), VALIDATION, seed)
            if not validation:
                raise DataError(
                    f"{name} has one series of each label to train on: --patience needs two of some label; add series, "
                    "or leave --patience out"
                )
        return cls(train, test, validation, labels)

    def targets(self, series: Sequence[Series]) -> HostArray:
        """The index in `labels` of each series' label, (count,) int32."""
        index = {label: i for i, label in enumerate(self.labels)}
        return np.array([index[each.label] for each in series], np.int32)


def load_labelled(
    paths: Sequence[Path],
    seed: int,
    columns: Columns = Columns(),  # noqa: B008 (frozen)
    *,
    validate: bool = False,
) -> LabelledSeries:
    """The series of TRAIN and TEST. Without a path: JapaneseVowels, from the package aeon.

    Without TEST, a quarter of each label's series is held out for the test. With `validate`, a fifth of the remaining
    series is held out for validation. The seed decides which series.

    Raises DataError if a file can't be read, if series have different channels, or if TEST has other labels than TRAIN.
    """
    paths = list(paths) or _default_paths()
    train, test = read_series(paths, columns)
    labels = _labels(paths[0], train)
    held_out = not test
    if held_out:
        _check_held_out(paths[0], train, labels)
        train, test = hold_out(train, _places(train, labels), TEST, seed)
    else:
        _check_test(test, labels)
    data = LabelledSeries.of(train, test, labels, seed, validate=validate, name=str(paths[0]))
    return replace(data, source=data.describe(f"{len(labels)} labels", held_out))


def _default_paths() -> list[Path]:
    """The paths of JapaneseVowels in the installed package aeon, which is not imported.   Raises DataError."""
    try:
        found = importlib.metadata.distribution("aeon")
    except importlib.metadata.PackageNotFoundError:
        paths: list[Path] = []
    else:
        paths = [Path(str(found.locate_file(_DEFAULT.format(part)))) for part in ("TRAIN", "TEST")]
    if not paths or not all(path.is_file() for path in paths):
        raise DataError(
            "got no path, and JapaneseVowels, the default, comes with the package aeon, which is not installed: "
            "expected TRAIN, or `pip install --no-deps aeon` (its dependencies are large, and not needed)"
        )
    return paths


def _labels(path: Path, train: Sequence[Series]) -> list[str]:
    """The different labels, sorted: as numbers if all are numbers, otherwise as text.   Raises DataError."""
    unlabelled = next((series for series in train if series.label is None), None)
    if unlabelled:
        raise DataError(
            f"{printable(unlabelled.name)} has no label: expected one for each series; name a .ts file with labels, a "
            "folder of labels, or a .csv file with --id and --label"
        )
    labels = {series.label for series in train if series.label is not None}
    if len(labels) < 2:
        only = quoted(escaped(min(labels)))
        raise DataError(f"{path} has one label, {only}: expected at least two to tell apart; add series")
    try:
        return sorted(labels, key=lambda label: (_finite(label), label))
    except ValueError:
        return sorted(labels)


def _finite(label: str) -> float:
    """The number in `label`.   Raises ValueError for text, infinity and NaN, which can't be sorted."""
    number = float(label)
    if not math.isfinite(number):
        raise ValueError(label)
    return number


def _places(series: Sequence[Series], labels: Sequence[str]) -> list[list[int]]:
    """For each label: the indices of its series."""
    return [[i for i, each in enumerate(series) if each.label == label] for label in labels]


def _check_test(test: Sequence[Series], labels: Sequence[str]) -> None:
    for series in test:
        if series.label not in labels:
            got = "no label" if series.label is None else f"the label {quoted(escaped(series.label))}"
            raise DataError(
                f"{printable(series.name)} has {got}: expected one that TRAIN has, "
                f"{', '.join(map(escaped, labels))[:200]}; leave the series out, or add some to TRAIN"
            )


def _check_held_out(path: Path, train: Sequence[Series], labels: Sequence[str]) -> None:
    for label, places in zip(labels, _places(train, labels), strict=True):
        if len(places) < 2:
            raise DataError(
                f"{path} has a single series of the label {quoted(escaped(label))}, "
                f"{printable(train[places[0]].name)}: expected at least two, one of them to be held out; add some, "
                "leave the label out, or name a TEST"
            )
