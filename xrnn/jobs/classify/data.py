"""What there is to learn from: series found, checked against each other, and parted into training and test."""

from __future__ import annotations

import hashlib
import importlib.metadata
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from xrnn.files import printable, quoted
from xrnn.jobs.classify.classifier_checkpoint import Facts
from xrnn.jobs.errors import DataError
from xrnn.jobs.series.read import check_channels, check_same, read_path
from xrnn.jobs.series.series import Series, escaped

HELD_OUT: Final = 0.25  # of the series of each label, where no TEST is given
_SPLIT: Final = 1  # tells the draws that part the series from the seed's others
_DEFAULT: Final = "aeon/datasets/data/JapaneseVowels/JapaneseVowels_{}.ts"


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Series with labels, of one number of channels."""

    train: list[Series]
    test: list[Series]
    labels: list[str]  # of the series to train on
    source: str  # one line for people

    @property
    def channels(self) -> int:
        """D."""
        return self.train[0].channels

    @property
    def facts(self) -> Facts:
        """What the model has to know."""
        return Facts(self.channels, tuple(self.labels))

    @property
    def fingerprint(self) -> str:
        """Equal for equal series to train on, in one order."""
        sha = hashlib.sha256()
        for series in self.train:
            label = (series.label or "").encode("utf-8", "surrogateescape")
            sha.update(repr((label, series.values.shape)).encode())
            sha.update(np.ascontiguousarray(series.values).data)
        return sha.hexdigest()


def load_dataset(paths: Sequence[Path], seed: int) -> Dataset:
    """The series of TRAIN, and TEST, as `.ts` files or folders; of no path, JapaneseVowels, which comes with aeon.

    Without TEST, a quarter of each label's series is held out, which ones the seed decides.
    Raises DataError for what can't be read, and for series that don't fit together.
    """
    paths = list(paths) or _default_paths()
    train = read_path(paths[0])
    labels = _labels(paths[0], train)
    channels = check_channels(train)
    if len(paths) > 1:
        test = read_path(paths[1])
        _check_test(test, labels, train[0])
        how = ""
    else:
        train, test = _hold_out(paths[0], train, labels, seed)
        how = ", held out"
    steps = [len(series.values) for series in train + test]
    span = f"{min(steps):,}" if min(steps) == max(steps) else f"{min(steps):,} to {max(steps):,}"
    source = (
        f"{len(train):,} to train on, {len(test):,} to test on{how}; {len(labels)} labels, {channels} "
        f"channel{'s' * (channels > 1)}, {span} steps"
    )
    return Dataset(train, test, labels, source)


def _default_paths() -> list[Path]:
    """Where aeon's package keeps the set: it is looked for, not imported."""
    try:
        found = importlib.metadata.distribution("aeon")
    except importlib.metadata.PackageNotFoundError:
        paths: list[Path] = []
    else:
        paths = [Path(str(found.locate_file(_DEFAULT.format(part)))) for part in ("TRAIN", "TEST")]
    if not paths or not all(path.is_file() for path in paths):
        raise DataError(
            "JapaneseVowels, the series without a path, comes with the package aeon, which is not here: expected "
            "TRAIN, or `pip install --no-deps aeon` (what it depends on is large, and not needed)"
        )
    return paths


def _labels(path: Path, train: Sequence[Series]) -> list[str]:
    """The labels, in the order of numbers where all are numbers."""
    unlabelled = next((series for series in train if series.label is None), None)
    if unlabelled:
        raise DataError(
            f"{printable(unlabelled.name)} has no label: expected one for each series; name a .ts file with labels, or "
            "a folder of labels"
        )
    labels = {series.label for series in train if series.label is not None}
    if len(labels) < 2:
        raise DataError(
            f"{path} has one label, {quoted(escaped(min(labels)))}: expected at least two to tell apart; add series"
        )
    try:
        return sorted(labels, key=lambda label: (_finite(label), label))
    except ValueError:
        return sorted(labels)


def _finite(label: str) -> float:
    """The number.   Raises ValueError where it is none, or NaN, which has no place in an order."""
    number = float(label)
    if not math.isfinite(number):
        raise ValueError(label)
    return number


def _check_test(test: Sequence[Series], labels: Sequence[str], train: Series) -> None:
    for series in test:
        if series.label not in labels:
            got = "no label" if series.label is None else f"the label {quoted(escaped(series.label))}"
            raise DataError(
                f"{printable(series.name)} has {got}: expected one that TRAIN has, "
                f"{', '.join(map(escaped, labels))[:200]}; leave the series out, or add some to TRAIN"
            )
        check_same(series, train.channels, train.channel_names, "TRAIN")


def _hold_out(
    path: Path, series: Sequence[Series], labels: Sequence[str], seed: int
) -> tuple[list[Series], list[Series]]:
    """The rest, and a quarter of each label's series, at least one: both in the order in which they were read."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_SPLIT,)))
    held: set[int] = set()
    for label in labels:
        places = [i for i, each in enumerate(series) if each.label == label]
        if len(places) < 2:
            raise DataError(
                f"{path} has a single series of the label {quoted(escaped(label))}, "
                f"{printable(series[places[0]].name)}: expected at least two, one of them "
                "to be held out; add some, leave the label out, or name a TEST"
            )
        held |= set(rng.permutation(places)[: max(1, round(len(places) * HELD_OUT))].tolist())
    return [s for i, s in enumerate(series) if i not in held], [s for i, s in enumerate(series) if i in held]
