"""The base class of the models of Classifier and Regressor, and the series that are left out of a training.

An estimator knows what to predict: `Classifier` labels, `Regressor` numbers. A model knows how: it learns, and computes
outputs, for both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from xrnn.series.one_series import Series
from xrnn.series.reading.numbers import as_number
from xrnn.typing import HostArray

# Held-out parts of the series: the share, and the spawn key of its random stream. recurrent.py has other keys.
TEST: Final = (0.25, 1)
VALIDATION: Final = (0.2, 4)


@dataclass(eq=False, kw_only=True)
class Parameters:
    """The parameters that Classifier, whose docstring describes them, and Regressor share."""

    model: str = "recurrent"
    cell: str = "gru"
    hidden: int = 64
    layers: int = 1
    one_way: bool = False
    dropout: float = 0.3
    noise: float = 0.3
    patch: int = 0
    scaling: str = "auto"
    lr: float = 0.003
    batch: int = 32
    epochs: int | None = None
    seed: int = 0


class Task(NamedTuple):
    """What a model learns."""

    outputs: int  # 1 for numbers to predict, else the number of labels
    balance: bool = False  # True: all labels have the same total weight in the loss


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedModel(ABC):
    """A model of an estimator. The estimator has all fields but the first as attributes, and its files hold these.

    params      the parameters of the fit, which are valid
    channels_   the number of channels, D
    scale_      (2, F): the mean and the deviation of each feature; F is a multiple of D
    losses_     of every update; empty if the model is not trained by updates
    layers_     by name
    """

    params: Parameters
    channels_: int
    scale_: HostArray
    losses_: HostArray
    layers_: dict[str, Any]

    @staticmethod
    @abstractmethod
    def check(params: Parameters) -> None:
        """Raises SettingsError for parameters that the model does not use, or that do not fit together."""

    @staticmethod
    @abstractmethod
    def fit(params: Parameters, task: Task, series: list[Series], watcher: Watcher) -> FittedModel:
        """A model that has learnt from the series, whose labels are those of `targets_of`.   Raises ModelError."""

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


def probabilities(y: HostArray) -> HostArray:
    """The probabilities of the labels, from the outputs of a model: p(label | x) = softmax(y)."""
    e = np.exp(y.astype(np.float64) - y.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


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
