"""Labelled series: the data to classify or regress on, divided for training, validation and the test."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np

from xrnn.files import printable, quoted
from xrnn.models.errors import DataError, param
from xrnn.models.labelled.head import Head
from xrnn.models.labelled.settings import LabelledSettings
from xrnn.series.checks import Series, escaped
from xrnn.series.read import check_channels, check_same, read_path

_DEFAULT: Final = "aeon/datasets/data/JapaneseVowels/JapaneseVowels_{}.ts"


class Part(NamedTuple):
    """A random part of the series, which is held out."""

    share: float
    key: int  # a spawn key, as in batches.py: each gives an independent random stream of the seed


TEST: Final = Part(0.25, key=1)  # of TRAIN, if there is no TEST
VALIDATION: Final = Part(0.2, key=4)  # of the training series


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSeries:
    """Series with the same channels. `validation`, for early stopping, is held out of the training series."""

    train: list[Series]
    test: list[Series]
    validation: list[Series]
    facts: Any  # the head
    held_out: bool = False  # True: the test series were held out of TRAIN

    @classmethod
    def of(
        cls,
        make: Callable[[list[Series]], Head],
        train: list[Series],
        test: list[Series],
        seed: int,
        *,
        validate: bool,
        name: str = "X",
        held_out: bool = False,
    ) -> Self:
        """With `validate`, a fifth of each group's training series is held out.

        make   training series → the head
        name   of the data, in errors
        """
        validation: list[Series] = []
        if validate:
            train, validation = hold_out(train, make(train).groups(train), VALIDATION, seed)
        head = make(train)
        if validate and not validation:
            raise DataError(
                f"{name} has one series of each label to train on: {param('patience')} needs two of some label; add "
                f"series, or leave {param('patience')} out"
            )
        return cls(train, test, validation, head, held_out)

    @property
    def fingerprint(self) -> str:
        """A hash of the training and validation series. A run continues only on data with the same fingerprint."""
        sha = hashlib.sha256()
        for series in self.train + self.validation:
            label = ("" if series.label is None else str(series.label)).encode("utf-8", "surrogateescape")
            sha.update(repr((label, series.values.shape)).encode())
            sha.update(np.ascontiguousarray(series.values).data)
        return sha.hexdigest()

    @property
    def source(self) -> str:
        """The numbers of series, channels and steps, and the names of the channels, as text."""
        steps = [len(series.values) for series in self.train + self.validation + self.test]
        span = f"{min(steps):,}" if min(steps) == max(steps) else f"{min(steps):,} to {max(steps):,}"
        validation = f"{len(self.validation):,} to validate on, " if self.validation else ""
        channels, names = self.facts.channels, self.facts.channel_names
        listed = f"\nchannels: {', '.join(names)}" if names else ""
        return (
            f"{len(self.train):,} to train on, {validation}{len(self.test):,} to test on"
            f"{', held out' * self.held_out}; "
            f"{self.facts.describe(self.train)}, {channels} channel{'s' * (channels > 1)}, {span} steps{listed}"
        )


def load_labelled(paths: Sequence[Path], settings: LabelledSettings) -> LabelledSeries:
    """The series of TRAIN and TEST.

    If no path is given, a classifier uses JapaneseVowels, from the package aeon; a regression is refused.

    Without TEST, a quarter of each group of series is held out for the test: of each label, or of all to regress on.
    With patience, a fifth of the remaining series is held out for validation. The seed decides which series.

    Raises DataError if a file can't be read, if series have different channels, if there are too few, or if a label or
    target of TEST does not fit TRAIN.
    """
    paths = list(paths) or _default_paths(settings)
    train, test = read_series(paths, settings)
    name = str(paths[0])

    def make(series: Sequence[Series]) -> Any:
        return settings.head.of(series, name)

    head, held_out = make(train), not test
    if held_out:
        groups = head.groups(train)
        if single := next((train[group[0]] for group in groups if len(group) < 2), None):
            raise DataError(
                f"{name} has a single series of the label {quoted(escaped(single.label))}, {printable(single.name)}: "
                "expected at least two, one of them to be held out; add some, leave the label out, or name a TEST"
            )
        train, test = hold_out(train, groups, TEST, settings.seed)
    else:
        head.targets(test)  # raises DataError
    validate = settings.patience > 0
    return LabelledSeries.of(make, train, test, settings.seed, validate=validate, name=name, held_out=held_out)


def _default_paths(settings: LabelledSettings) -> list[Path]:
    """The paths of JapaneseVowels in the installed package aeon, which is not imported.   Raises DataError."""
    if settings.head.has_numbers:
        raise DataError("got no TRAIN: expected series with a number each; name a file or a folder")
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


def read_series(paths: Sequence[Path], settings: LabelledSettings) -> tuple[list[Series], list[Series]]:
    """The series of TRAIN, and those of TEST. Without TEST, the second list is empty.

    Raises DataError if a file can't be read, if series have different channels, or if TEST has no series of its own.
    """
    train = read_path(paths[0], settings.columns)
    check_channels(train)
    test = read_path(paths[1], settings.columns) if len(paths) > 1 else []
    for series in test:
        check_same(series, train[0].channels, train[0].channel_names, "TRAIN")
    if test and {_content(each) for each in test} <= {_content(each) for each in train}:
        raise DataError(
            f"{paths[1]} has only series that {paths[0]} has too: expected series that the model has not seen; name "
            "another TEST, or leave it out to hold out a part of TRAIN"
        )
    return train, test


def _content(series: Series) -> tuple[Any, ...]:
    """Equal for two series with the same label and values."""
    return series.label, series.values.shape, series.values.tobytes()


def hold_out(
    series: Sequence[Series], groups: Sequence[Sequence[int]], part: Part, seed: int
) -> tuple[list[Series], list[Series]]:
    """Hold out a random part of each group, at least one series → the remaining and the held-out series.

    Both lists keep the order of `series`. Nothing is held out of a group of one.

    groups   indices into `series`, a sequence for each group
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(part.key,)))
    held: set[int] = set()
    for group in groups:
        if len(group) > 1:
            held |= set(rng.permutation(group)[: max(1, round(len(group) * part.share))].tolist())
    return [s for i, s in enumerate(series) if i not in held], [s for i, s in enumerate(series) if i in held]
