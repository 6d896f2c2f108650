"""What classifying and regressing differ in: the targets, the loss, and what the model's outputs mean.

A head also holds the properties of the data that the model depends on, and is saved with the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np

from xrnn.files import printable, quoted
from xrnn.losses import mean_squared_error, softmax_cross_entropy
from xrnn.models.errors import DataError, SettingsError, param
from xrnn.models.settings import are_strings, check_object
from xrnn.series.checks import LARGEST, Series, as_number, escaped
from xrnn.series.read import MOST_CHANNELS
from xrnn.typing import Array, HostArray

Label: TypeAlias = str | int | float  # a bool is an int


@dataclass(frozen=True, slots=True)
class _Facts:
    """The channels of the series, and how they are read from a file."""

    channels: int  # D
    channel_names: tuple[str, ...] | None = field(default=None, kw_only=True)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The inverse of `asdict` and JSON.   Raises SettingsError for any other value."""
        given, expected = check_object(value), [each.name for each in fields(cls)]
        if given.keys() != {*expected}:
            raise SettingsError(f"they have other names: expected {', '.join(expected)}")
        channels, names = given["channels"], given["channel_names"]
        if not isinstance(channels, int) or isinstance(channels, bool) or not 1 <= channels <= MOST_CHANNELS:
            got = quoted(str(channels))
            raise SettingsError(f"channels is {got}: expected a whole number from 1 to {MOST_CHANNELS}")
        if names is not None and not (are_strings(names) and len(names) == channels):
            raise SettingsError(f"channel_names are not {channels} strings: expected one for each channel")
        cls._check(given)
        given = {name: tuple(each) if isinstance(each, list) else each for name, each in given.items()}
        return cls(**given)

    @classmethod
    def _check(cls, given: dict[str, Any]) -> None:
        """Check the values of a head in a file.   Raises SettingsError."""
        raise NotImplementedError


def is_label(label: Any) -> bool:
    """Whether files and arrays can hold the label: text, a bool, or a whole number that an int64 or a float64 holds."""
    if isinstance(label, float):
        return label.is_integer()
    return isinstance(label, str) or (isinstance(label, int) and -(2**63) <= label < 2**63)


@dataclass(frozen=True, slots=True)
class Classes(_Facts):
    """p(label | x) = softmax(y)."""

    labels: tuple[Any, ...]  # in the order of the outputs; text if they come from a file

    has_numbers: ClassVar[bool] = False  # True: the targets are numbers
    figure_names: ClassVar[tuple[str, ...]] = ("loss", "accuracy")

    @classmethod
    def of(cls, series: Sequence[Series], name: str, labels: Sequence[Any] | None = None) -> Self:
        """The head for these training series.   labels: in their order; None to sort those of the series

        Raises DataError unless there are two labels, and each series has one.
        """
        unlabelled = next((each for each in series if each.label is None), None)
        if unlabelled and labels is None:
            raise DataError(
                f"{printable(unlabelled.name)} has no label: expected one for each series; name a .ts file with "
                f"labels, a folder of labels, or a .csv file with {param('id')} and {param('label')}"
            )
        labels = _sorted({each.label for each in series}) if labels is None else labels
        if len(labels) < 2:
            only = quoted(escaped(labels[0]))
            raise DataError(f"{name} has one label, {only}: expected at least two to tell apart; add series")
        return cls(series[0].channels, tuple(labels), channel_names=_channel_names(series))

    @classmethod
    def _check(cls, given: dict[str, Any]) -> None:
        labels = given["labels"]
        if not isinstance(labels, list) or not all(map(is_label, labels)):
            raise SettingsError("labels is not a list of strings or whole numbers of 64 bits: expected one")
        if len(set(labels)) < max(2, len(labels)):
            raise SettingsError("labels holds fewer than two, or one twice: expected at least two different labels")

    @property
    def outputs(self) -> int:
        return len(self.labels)

    def describe(self, series: Sequence[Series]) -> str:
        return f"{len(self.labels)} labels"

    def groups(self, series: Sequence[Series]) -> list[list[int]]:
        """The indices of the series of each label: a part of each group is held out."""
        return [[i for i, each in enumerate(series) if each.label == label] for label in self.labels]

    def targets(self, series: Sequence[Series]) -> HostArray:
        """The index of each series' label, (count,) int32.   Raises DataError for another label."""
        index = {label: i for i, label in enumerate(self.labels)}
        for each in series:
            if each.label not in index:
                got = "no label" if each.label is None else f"the label {quoted(escaped(each.label))}"
                raise DataError(
                    f"{printable(each.name)} has {got}: expected one that TRAIN has, "
                    f"{', '.join(map(escaped, self.labels))[:200]}; leave the series out, or add some to TRAIN"
                )
        return np.array([index[each.label] for each in series], np.int32)

    def regressed(self, series: Sequence[Series]) -> HostArray:
        """Targets for a regression of the outputs, (count, K): 1 for the label of a series, -1 for the others."""
        targets: HostArray = 2 * np.eye(len(self.labels))[self.targets(series)] - 1
        return targets

    def loss(self, y: Array, targets: Array, weights: Array | None) -> tuple[Array, Array, Array | None]:
        """The mean loss in nats, its gradient, and the number of correct labels; 0-d and on the device.

        weights   of the labels (K,); None for equal ones
        """
        loss, dy = softmax_cross_entropy(y, targets, class_weight=weights)
        return loss, dy, (y.argmax(axis=-1) == targets).sum()

    def error(self, y: HostArray, series: Sequence[Series]) -> float:
        """The mean probability of a wrong label."""
        return float(1 - self.decoded(y)[np.arange(len(y)), self.targets(series)].mean())

    def decoded(self, y: HostArray) -> HostArray:
        """The probabilities of the labels from the outputs (n, K), float64."""
        e = np.exp(y.astype(np.float64) - y.max(axis=-1, keepdims=True))
        p: HostArray = e / e.sum(axis=-1, keepdims=True)
        return p


@dataclass(frozen=True, slots=True)
class Numbers(_Facts):
    """target = mean + deviation · y."""

    mean: float  # of the training targets
    deviation: float

    has_numbers: ClassVar[bool] = True
    figure_names: ClassVar[tuple[str, ...]] = ("loss",)

    @classmethod
    def of(cls, series: Sequence[Series], name: str) -> Self:
        """The head for these training series.   Raises DataError unless they have two different targets."""
        targets = numbers(series)
        if len(series) < 2:
            raise DataError(
                f"{name} leaves {len(series)} series to train on: expected at least two, besides those held out to "
                "test on and to validate on; add some"
            )
        mean, deviation = float(targets.mean()), float(targets.std())
        if deviation <= abs(mean) * 1e-12:
            raise DataError(f"{name} has the same target {targets[0]:g} for all series: expected different ones")
        return cls(series[0].channels, mean, deviation, channel_names=_channel_names(series))

    @classmethod
    def _check(cls, given: dict[str, Any]) -> None:
        for key in ("mean", "deviation"):
            if not isinstance(given[key], float) or not math.isfinite(given[key]):
                raise SettingsError(f"{key} is {quoted(str(given[key]))}: expected a finite number")
        if given["deviation"] <= 0:
            raise SettingsError(f"deviation is {given['deviation']}: expected a positive number")

    @property
    def outputs(self) -> int:
        return 1

    def describe(self, series: Sequence[Series]) -> str:
        targets = numbers(series)
        return f"targets {targets.min():g} to {targets.max():g}"

    def groups(self, series: Sequence[Series]) -> list[list[int]]:
        return [list(range(len(series)))]

    def targets(self, series: Sequence[Series]) -> HostArray:
        """(target - mean) / deviation, (count,) float32."""
        return ((numbers(series) - self.mean) / self.deviation).astype(np.float32)

    def regressed(self, series: Sequence[Series]) -> HostArray:
        """Targets for a regression of the output, (count, 1)."""
        return self.targets(series)[:, None]

    def loss(self, y: Array, targets: Array, weights: Array | None) -> tuple[Array, Array, Array | None]:
        """The mean squared error, and its gradient."""
        return *mean_squared_error(y, targets[:, None].astype(y.dtype, copy=False)), None

    def error(self, y: HostArray, series: Sequence[Series]) -> float:
        """The mean squared error."""
        return float(np.square(y[:, 0] - self.targets(series)).mean())

    def decoded(self, y: HostArray) -> HostArray:
        """The predicted targets (n,) from the outputs (n, 1)."""
        predicted: HostArray = self.mean + self.deviation * y[:, 0]
        return predicted


Head: TypeAlias = Classes | Numbers


def numbers(series: Sequence[Series]) -> HostArray:
    """The targets, (count,) float64.   Raises DataError unless each label is a number between -1e30 and 1e30."""
    found = [as_number(each.label) if isinstance(each.label, str) else each.label for each in series]
    for each, number in zip(series, found, strict=True):
        if number is None or abs(number) > LARGEST:
            got = "no target" if each.label is None else f"the target {quoted(str(each.label))!r}"
            raise DataError(
                f"{printable(each.name)} has {got}: expected a number up to {LARGEST:g}; name a .ts file with "
                f"@targetLabel, a .csv file with {param('id')} and {param('label')}, or folders named by numbers"
            )
    return np.array(found, np.float64)


def _channel_names(series: Sequence[Series]) -> tuple[str, ...] | None:
    """The names of the channels, if a series has them."""
    return next((each.channel_names for each in series if each.channel_names), None)


def _sorted(labels: set[str]) -> list[str]:
    """The labels, sorted as numbers if all are finite numbers, otherwise as text."""
    values = {label: as_number(label) for label in labels}
    if None in values.values():
        return sorted(labels)
    return sorted(labels, key=lambda label: (values[label], label))


# ---- scores ----


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """counts[i, j]: the number of series with label i that were predicted as j."""

    counts: HostArray  # (labels, labels) int64

    @classmethod
    def of(cls, truth: HostArray, predicted: HostArray, labels: int) -> Confusion:
        counts = np.zeros((labels, labels), np.int64)
        np.add.at(counts, (truth, predicted), 1)
        return cls(counts)

    @property
    def correct(self) -> HostArray:
        """The number of correctly predicted series with each label, (labels,)."""
        return self.counts.diagonal()

    @property
    def support(self) -> HostArray:
        """The number of series with each label, (labels,)."""
        count: HostArray = self.counts.sum(axis=1)
        return count

    @property
    def predicted(self) -> HostArray:
        """The number of series that were predicted as each label, (labels,)."""
        count: HostArray = self.counts.sum(axis=0)
        return count

    @property
    def accuracy(self) -> float:
        return float(self.correct.sum() / self.counts.sum())

    @property
    def balanced_accuracy(self) -> float:
        """The mean recall, over the labels that occur."""
        occurs = self.support > 0
        return float((self.correct[occurs] / self.support[occurs]).mean())

    @property
    def macro_f1(self) -> float:
        """The mean of 2 · correct / (support + predicted), over the labels that occur or were predicted."""
        total = self.support + self.predicted
        return float((2 * self.correct[total > 0] / total[total > 0]).mean())

    @property
    def never_predicted(self) -> list[int]:
        """The indices of labels that occur but were never predicted."""
        return np.flatnonzero((self.support > 0) & (self.predicted == 0)).tolist()

    def most_confused(self, most: int) -> list[tuple[int, int, int]]:
        """Up to `most` wrong pairs (true label, predicted label, count), the largest count first."""
        wrong = self.counts - np.diag(self.correct)
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        pairs = ((*map(int, np.unravel_index(place, wrong.shape)), int(wrong.flat[place])) for place in order)
        return [(i, j, count) for i, j, count in pairs if count]

    def __str__(self) -> str:
        return f"{self.accuracy:.3f} ({int(self.correct.sum()):,} of {int(self.counts.sum()):,})"


def r_squared(targets: HostArray, predicted: HostArray) -> float | None:
    """1 - Σ error² / Σ (target - mean target)²; None if all targets are equal."""
    error, spread = targets - predicted, targets - targets.mean()
    total = float(np.square(spread).sum())
    return 1 - float(np.square(error).sum()) / total if total else None
