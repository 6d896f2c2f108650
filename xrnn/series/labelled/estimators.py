"""The estimators that learn one value per series: Classifier and Regressor."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from xrnn.backend import Backend
from xrnn.files import quoted
from xrnn.losses import balanced_weights, mean_squared_error, softmax_cross_entropy
from xrnn.series.checks import DataError, Series, deviation_of
from xrnn.series.inputs import SeriesLike, Targets
from xrnn.series.labelled.base import KINDS, LabelledEstimator, Loss
from xrnn.series.labelled.convolutions import Convolutions
from xrnn.series.labelled.labels import as_labels, as_targets, classes_of, groups_of, r_squared
from xrnn.series.labelled.recurrent import Recurrent
from xrnn.typing import HostArray

KINDS.update({"recurrent": Recurrent, "convolutions": Convolutions})


@dataclass(eq=False, kw_only=True)
class Classifier(LabelledEstimator):
    """The label of a series of any length: the model and the training of `xrnn classify`, whose options these are.

        classifier = Classifier().fit(X, y)    # X (n, T), (n, T, D), or a list of (Tᵢ, D); y: n labels
        classifier.predict(X_new)              # (n,), of classes_
        classifier.predict_proba(X_new)        # (n, K)

    NaN is a missing value. Labels are text, bools or whole numbers, of Python or NumPy.

    model            kind of model: recurrent; or convolutions, ridge regression on random convolutions, which trains in
                     seconds and uses no other training parameter than seed
    cell             type of the recurrent layers, also the name of a registered cell
    hidden           size of the hidden state in each direction, H
    layers           number of recurrent layers
    one_way          run forward only, so that a stream can be followed; by default, in both directions
    dropout          probability of dropout, between layers and after the mean over time
    noise            noise added to the training series, in standard deviations of each channel
    patch            number of consecutive steps to join, with their values and changes, into one; 0: chosen by left-out
                     series
    scaling          shared: one mean and deviation of each channel for all series; each: those of the series itself;
                     auto: chosen by left-out series if the deviations of the series are far apart
    lr               highest learning rate of Adam
    batch            series per update
    epochs           passes over the training series; by default 1600 / √series, at least 10
    seed             seed of all random draws: the same seed gives the same results
    balance          give all labels the same total weight in the loss, so that rare ones count as much

    After `fit`, `losses_` has the loss of every update; of a recurrent model, `patch_` is the number of steps in a
    patch. `save` writes the files of `xrnn classify`. Raises ValueError for invalid parameters and data.
    """

    balance: bool = False

    job = "xrnn series classifier"
    estimator_type = "classifier"
    writer = "xrnn classify"
    linear_rate = 10.0  # the mean over time differs little from series to series

    def fit(self, X: SeriesLike, y: Targets) -> Self:
        """Learn from series and their labels."""
        labels = as_labels(y)
        from_files = isinstance(X, list) and bool(X) and isinstance(X[0], Series)
        classes = classes_of(labels, by_number=from_files)
        if len(classes) < 2:
            raise DataError(f"got {len(classes)} class(es), {quoted(str(classes))}: expected two or more; add series")
        return self._learn(X, labels, classes_=np.array(classes))

    def predict(self, X: SeriesLike) -> HostArray:
        """The likeliest label of each series, (n,)."""
        p = self._predict(X)
        labels: HostArray = self.classes_[p.argmax(axis=1)]
        return labels

    def predict_proba(self, X: SeriesLike) -> HostArray:
        """The probabilities of the labels, (n, K) float64."""
        return self._predict(X)

    def score(self, X: SeriesLike, y: Targets) -> float:
        """The accuracy."""
        predicted, labels = self.predict(X), as_labels(y)
        if len(labels) != len(predicted):
            raise ValueError(f"y has {len(labels)} values: expected one for each of the {len(predicted)} series in X")
        return float(np.mean([a == b for a, b in zip(predicted, labels, strict=True)]))

    @property
    def _outputs(self) -> int:
        return len(self.classes_)

    def _groups(self, series: Sequence[Series]) -> list[list[int]]:
        return groups_of(series, self.classes_.tolist())

    def _targets(self, series: Sequence[Series]) -> HostArray:
        index = {label: i for i, label in enumerate(self.classes_.tolist())}
        return np.array([index[each.label] for each in series], np.int32)

    def _loss(self, targets: HostArray, backend: Backend) -> Loss:
        weights = backend.asarray(balanced_weights(targets, self._outputs)) if self.balance else None
        return functools.partial(softmax_cross_entropy, class_weight=weights)

    def _error(self, y: HostArray, series: Sequence[Series]) -> float:
        return float(1 - self._decoded(y)[np.arange(len(y)), self._targets(series)].mean())

    def _decoded(self, y: HostArray) -> HostArray:
        """The probabilities of the labels: p(label | x) = softmax(y)."""
        e = np.exp(y.astype(np.float64) - y.max(axis=-1, keepdims=True))
        p: HostArray = e / e.sum(axis=-1, keepdims=True)
        return p


@dataclass(eq=False, kw_only=True)
class Regressor(LabelledEstimator):
    """A number for a series of any length: the model and the training of `xrnn regress`, whose options these are.

        regressor = Regressor().fit(X, y)    # X (n, T), (n, T, D), or a list of (Tᵢ, D); y: n numbers
        regressor.predict(X_new)             # (n,)

    The parameters are those of Classifier, without `balance`. `save` writes the files of `xrnn regress`. Raises
    ValueError for invalid parameters and data.
    """

    job = "xrnn series regression"
    estimator_type = "regressor"
    writer = "xrnn regress"
    linear_rate = 1.0  # a linear layer that learns faster predicts numbers less well

    def fit(self, X: SeriesLike, y: Targets) -> Self:
        """Learn from series and their numbers."""
        numbers = np.array(as_targets(y))
        if len(numbers) < 2:
            raise DataError("X has 1 sample: expected at least two series, besides those held out to test on; add some")
        mean, deviation = float(numbers.mean()), float(deviation_of(numbers))
        if deviation <= abs(mean) * 1e-12:
            raise DataError(f"all series have the same target {numbers[0]:g}: expected different ones")
        return self._learn(X, numbers.tolist(), target_mean_=mean, target_deviation_=deviation)

    def predict(self, X: SeriesLike) -> HostArray:
        """The number of each series, (n,) float64."""
        return self._predict(X)

    def score(self, X: SeriesLike, y: Targets) -> float:
        """R²; nan if all numbers in y are equal."""
        return r_squared(np.array(as_targets(y)), self.predict(X))

    @property
    def _outputs(self) -> int:
        return 1

    def _groups(self, series: Sequence[Series]) -> list[list[int]]:
        return groups_of(series, None)

    def _targets(self, series: Sequence[Series]) -> HostArray:
        """(target - mean) / deviation."""
        numbers = np.array([each.label for each in series], float)
        targets: HostArray = ((numbers - self.target_mean_) / self.target_deviation_).astype(np.float32)
        return targets

    def _loss(self, targets: HostArray, backend: Backend) -> Loss:
        return lambda y, numbers: mean_squared_error(y, numbers[:, None])

    def _error(self, y: HostArray, series: Sequence[Series]) -> float:
        return float(np.square(y[:, 0] - self._targets(series)).mean())

    def _decoded(self, y: HostArray) -> HostArray:
        predicted: HostArray = self.target_mean_ + self.target_deviation_ * y[:, 0]
        return predicted
