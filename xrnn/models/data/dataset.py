"""The series of a job, divided into those for training, for validation and for the test."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from xrnn.models.data.read import check_channels, check_same, read_path
from xrnn.models.data.series import Series
from xrnn.models.data.tables import Columns
from xrnn.models.errors import DataError


class Part(NamedTuple):
    """A random part of the series, which is held out."""

    share: float
    key: int  # a spawn key, as in batches.py: each gives an independent random stream of the seed


TEST: Final = Part(0.25, key=1)  # of TRAIN, if there is no TEST
VALIDATION: Final = Part(0.2, key=4)  # of the training series


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Series with the same channels. `validation`, for early stopping, is held out of the training series."""

    train: list[Series]
    test: list[Series]
    validation: list[Series]

    @property
    def channels(self) -> int:
        """The number of channels, D."""
        return self.train[0].channels

    @property
    def channel_names(self) -> tuple[str, ...] | None:
        return next((each.channel_names for each in self.train if each.channel_names), None)

    @property
    def fingerprint(self) -> str:
        """A hash of the training and validation series. A run continues only on data with the same fingerprint."""
        sha = hashlib.sha256()
        for series in self.train + self.validation:
            label = ("" if series.label is None else str(series.label)).encode("utf-8", "surrogateescape")
            sha.update(repr((label, series.values.shape)).encode())
            sha.update(np.ascontiguousarray(series.values).data)
        return sha.hexdigest()

    def describe(self, kinds: str, held_out: bool) -> str:
        """The numbers of series, channels and steps, and the names of the channels, as text.

        kinds      a description of the labels or targets, such as "9 labels"
        held_out   True: the test series were held out of TRAIN
        """
        steps = [len(series.values) for series in self.train + self.validation + self.test]
        span = f"{min(steps):,}" if min(steps) == max(steps) else f"{min(steps):,} to {max(steps):,}"
        validation = f"{len(self.validation):,} to validate on, " if self.validation else ""
        names = f"\nchannels: {', '.join(self.channel_names)}" if self.channel_names else ""
        return (
            f"{len(self.train):,} to train on, {validation}{len(self.test):,} to test on{', held out' * held_out}; "
            f"{kinds}, {self.channels} channel{'s' * (self.channels > 1)}, {span} steps{names}"
        )


def read_series(paths: Sequence[Path], columns: Columns) -> tuple[list[Series], list[Series]]:
    """The series of TRAIN, and those of TEST. Without TEST, the second list is empty.

    Raises DataError if a file can't be read, if series have different channels, or if TEST has no series of its own.
    """
    train = read_path(paths[0], columns)
    check_channels(train)
    test = read_path(paths[1], columns) if len(paths) > 1 else []
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
