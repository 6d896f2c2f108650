"""What a kind of model is, and the series that are left out of a training.

An estimator knows what to predict: `Classifier` labels, `Regressor` numbers. A kind of model knows how: it learns, and
computes outputs, for both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from xrnn.series.one_series import Series
from xrnn.series.reading.numbers import as_number
from xrnn.typing import HostArray

# Held-out parts of the series: the share, and the spawn key of its random stream. recurrent.py has other keys.
TEST: Final = (0.25, 1)
VALIDATION: Final = (0.2, 4)


class Kind(ABC):
    """A kind of model of an estimator.

    p   the estimator, with valid parameters; when `learn` is called, it has `channels_` and what it has learnt from the
        targets; when `outputs` is called, it also has the attributes that `learn` has set
    """

    def __init__(self, p: Any) -> None:
        self.p = p
        self.check()

    @abstractmethod
    def check(self) -> None:
        """Raises SettingsError for parameters that the kind does not use, or that do not fit together."""

    @abstractmethod
    def learn(self, series: list[Series], watcher: Watcher) -> None:
        """Set the learnt attributes of `p`, with `losses_` and `scale_`.   Raises ModelError.

        series   their labels are those of `targets_of`
        scale_   (2, F): the mean and the deviation of each feature; F is a multiple of the number of channels
        """

    @abstractmethod
    def outputs(self, series: list[Series]) -> HostArray:
        """The outputs for each series, (n, outputs) float64. The estimator computes its predictions from them."""


class Watcher:
    """Follows a training, and may stop it. By default, it does neither."""

    def tell(self, line: str) -> None:
        """A line about the progress, to print."""

    def run(self, training: Any, last: int) -> None:
        """Run a training of up to `last` updates."""
        training.run(last)


def targets_of(series: Sequence[Series]) -> HostArray:
    """The targets of a model, (n,): int32 numbers of classes, or float32 numbers of mean 0 and deviation 1."""
    return np.array([each.label for each in series])


def classes_of(labels: Sequence[Any], *, by_number: bool = False) -> list[Any]:
    """The different labels, sorted.   by_number: text by the numbers in it, if all are numbers"""
    different = sorted(set(labels))
    numbers = {label: as_number(str(label)) for label in different}
    return sorted(different, key=numbers.get) if by_number and None not in numbers.values() else different  # type: ignore[arg-type]


def groups_of(series: Sequence[Series]) -> list[list[int]]:
    """The indices of the series of each label; of all series if they have numbers to predict."""
    labels = [each.label for each in series]
    if isinstance(labels[0], float | np.floating):
        return [[*range(len(labels))]]
    return [[i for i, each in enumerate(labels) if each == label] for label in classes_of(labels, by_number=True)]


def hold_out(series: Sequence[Series], part: tuple[float, int], seed: int) -> tuple[list[Series], list[Series]]:
    """Hold out a random part of each group, at least one series → the remaining and the held-out series.

    Both lists keep the order of `series`. Nothing is held out of a group of one.
    """
    share, key = part
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(key,)))
    held: set[int] = set()
    for group in groups_of(series):
        if len(group) > 1:
            held |= set(rng.permutation(group)[: max(1, round(len(group) * share))].tolist())
    return [s for i, s in enumerate(series) if i not in held], [s for i, s in enumerate(series) if i in held]
