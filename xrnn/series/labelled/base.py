"""The base class of the models of Classifier and Regressor.

An estimator knows what to predict: `Classifier` labels, `Regressor` numbers. A model knows how: it learns, and computes
outputs, for both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Final, NamedTuple, Self

import numpy as np

from xrnn.files import quoted
from xrnn.layers.linear import Linear
from xrnn.series.one_series import Series
from xrnn.typing import HostArray

AUTO: Final = "auto"  # the kind of model that is the best of all
_LEAST_CHANGES: Final = 10  # of a channel: with fewer, values may rise or fall by chance
NO_OPTION: Final = {"option": False}  # of a field: a parameter that the commands don't have
_FACTORS: Final = 2.0 ** np.arange(-10, 10, 0.25)  # of the outputs for labels


@dataclass(eq=False, kw_only=True)
class Parameters:
    """The parameters that Classifier, whose docstring describes them, and Regressor share."""

    of_all: ClassVar = ("model", "window", "seed", "class_weight", "channels_first")  # used by all kinds of models

    model: str = AUTO
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
    window: int | None = None
    seed: int = 0
    channels_first: bool = field(default=False, metadata=NO_OPTION)

    def set_for_recurrent(self) -> str:
        """The name of the first parameter that is set and that only recurrent models use; empty if there is none."""
        others = [field for field in fields(self) if field.init and field.name not in self.of_all]
        return next((each.name for each in others if getattr(self, each.name) != each.default), "")


class Task(NamedTuple):
    """What a model learns."""

    outputs: int  # 1 for numbers to predict, else the number of labels
    examples: str = "series"  # what it learns from, in words


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

    @classmethod
    @abstractmethod
    def candidate(cls, params: Parameters, task: Task, series: list[Series], watcher: Watcher) -> Candidate:
        """Test the model on left-out series. The labels of the series are those of `targets_of`.

        Raises ModelError.
        """

    @abstractmethod
    def outputs(self, series: list[Series]) -> HostArray:
        """The outputs for each series, (n, outputs) float64. The estimator computes its predictions from them."""

    def multiplied_by(self, factor: float) -> Self:
        """The model with its outputs multiplied by `factor`."""
        linear = self.layers_["linear"]
        return replace(self, layers_=self.layers_ | {"linear": Linear(linear.W * factor, linear.b * factor)})


@dataclass(frozen=True, eq=False)
class Candidate:
    """A kind of model that was tested on left-out series, with its settings.

    left_out   (n, outputs): the outputs for each series of models that did not learn from it; NaN for a series that was
               never left out
    fit        makes the model that has learnt from all series.   Raises ModelError
    """

    left_out: HostArray
    fit: Callable[[], FittedModel]


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


def factor_of(
    left_out: HostArray,
    targets: HostArray,
    weights: HostArray,
    mean: Callable[[HostArray], HostArray] = lambda values: values,
) -> float:
    """The factor of the outputs for labels with the lowest cross-entropy on left-out series (Guo et al., 2017).

    A target is not 1 for the true label and 0 for the others, but (n + 1) / (n + K) and 1 / (n + K), as by Platt
    (2000), for n left-out series and K labels: n right answers are no proof that the next one is right. If all n are
    right, the best factor gives a mean probability of about (n + 1) / (n + K). The factor is 1 without left-out series.

    left_out   (m, K): outputs, NaN if there is none;   targets, weights   (n,), of the series
    mean       (m, K) → (n, K): the mean over the windows of each series; without windows, m is n
    """
    tested = ~np.isnan(mean(left_out)).any(axis=1)
    n = int(tested.sum())
    labels = left_out.shape[1]
    if not n:
        return 1.0
    expected = ((targets[tested, None] == np.arange(labels)) * n + 1) / (n + labels)
    expected *= weights[tested, None]
    answers = (mean(probabilities(left_out * each))[tested] for each in _FACTORS)
    losses = [-(expected * np.log(p.clip(1e-300))).sum() for p in answers]
    return float(_FACTORS[int(np.argmin(losses))])


def targets_of(series: Sequence[Series]) -> HostArray:
    """The targets of a model, (n,): int32 numbers of classes, or float32 numbers of mean 0 and deviation 1."""
    return np.array([one.label for one in series])


def weights_of(series: Sequence[Series]) -> HostArray:
    """The weights of the series in a loss, (n,), with the mean 1."""
    weights = np.array([one.weight for one in series])
    return weights / weights.mean()


def channels_like_times(series: Sequence[Series]) -> list[str]:
    """The channels that rise or fall steadily in every series, as times and row numbers do.

    Channels without names are not looked at, and neither is a single one: it may be such a signal.
    """
    channels = series[0].channel_names or ()
    if len(channels) < 2:
        return []
    return [name for i, name in enumerate(channels) if _is_steady([one.values[:, i] for one in series])]


def steady(channels: Sequence[str]) -> str:
    """The start of a line about `channels_like_times`. The way to leave them out follows."""
    names = quoted(", ".join(channels))
    if len(channels) == 1:
        got = f"{names} rises or falls steadily in every series, and is a channel of the model"
        return f"{got}: if it is a time or a row number, leave it out"
    got = f"{names} rise or fall steadily in every series, and are channels of the model"
    return f"{got}: if they are times or row numbers, leave them out"


def _is_steady(series: Sequence[HostArray]) -> bool:
    """Whether a channel never falls in any series, or never rises, and changes in most of them.

    It may stay equal in some steps, as whole seconds do, and lack values.
    """
    changes = [np.diff(values[~np.isnan(values)]) for values in series]
    together = np.concatenate(changes)
    if np.count_nonzero(together) < _LEAST_CHANGES or 2 * sum(change.any() for change in changes) < len(series):
        return False
    return bool((together >= 0).all() or (together <= 0).all())
