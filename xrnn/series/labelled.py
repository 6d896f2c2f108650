"""The estimators that learn one value per series: Classifier and Regressor."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from xrnn.models.labelled.choice import choose
from xrnn.models.labelled.data import LabelledSeries
from xrnn.models.labelled.head import Classes, Head, Numbers, r_squared
from xrnn.models.labelled.model import CLASSIFIER, REGRESSION, TrainedModel
from xrnn.models.labelled.trainer import LabelledTrainer
from xrnn.select import get_backend, holds_mask
from xrnn.series.checks import Series
from xrnn.series.estimator import (
    ClassifierMixin,
    Estimator,
    RegressorMixin,
    SeriesLike,
    Targets,
    as_array,
    as_labels,
    as_row,
    as_series,
    as_targets,
    check_count,
    classes_of,
)
from xrnn.typing import HostArray


@dataclass(eq=False, repr=False, kw_only=True)
class LabelledEstimator(Estimator):
    """Each field is a parameter of the estimators."""

    cell: str = "gru"
    hidden: int = 64
    heads: int = 1
    layers: int = 1
    one_way: bool = False
    dropout: float = 0.3
    noise: float = 0.3
    patch: int = 0
    mask: bool = False
    patience: int = 0
    lr: float = 0.003
    head_rate: float = 10.0
    members: int = 1
    batch: int = 32
    epochs: int | None = None
    seed: int = 0
    channels_first: bool | None = None

    trainer = LabelledTrainer
    trained = TrainedModel

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The estimator in a file that `save` or the command wrote.   Raises ValueError.

        `channels_first` belongs to the arrays that are given, not to the model: the file does not hold it. Set it again
        with set_params.
        """
        loaded = super().load(path)
        return loaded.set_params(epochs=loaded._fitted().upto)

    @property
    def patch_(self) -> int:
        """The number of steps in a patch, after `fit`."""
        joined: int = self._fitted().settings.joined
        return joined

    def _learn(self, X: Any, labels: Sequence[Any], make: Callable[[list[Series]], Head]) -> None:
        """make: training series → the head.   Raises ValueError."""
        if self.epochs is not None:
            check_count("epochs", self.epochs)
        settings, X = self._settings(), self._time_first(X, fitting=True)
        data = LabelledSeries.of(make, as_series(X, labels), [], settings.seed, validate=settings.patience > 0)
        settings = choose(settings, data, get_backend())
        self._train(
            settings, data, X, self.epochs, lambda t: t.total if self.epochs is None else self.epochs * t.per_epoch
        )

    def stream(self, rows: Iterable[ArrayLike]) -> Iterator[HostArray]:
        """The prediction after each row (D,) of one series: the probabilities (K,), or the number, 0-d.

        Raises ValueError unless `one_way` is True, and for a row of another shape.
        """
        trained = self.trained_
        checked = (as_row(row, f"rows[{i}]", trained.head.channels) for i, row in enumerate(rows))
        streamed: Iterator[HostArray] = trained.stream(checked)
        return streamed

    def _predict(self, X: Any) -> HostArray:
        trained, X = self.trained_, self._time_first(X)
        self._check_features(X)
        predicted: HostArray = trained.predict(as_series(X))
        return predicted

    def _time_first(self, X: Any, fitting: bool = False) -> Any:
        """X with time before the channels: see `channels_first`. Other shapes than (n, D, T) or a list of (D, T) stay.

        fitting   warn if an array X (n, T, D) has more channels than steps, as if time came last
        """
        if self.channels_first not in (None, True, False):
            raise ValueError(f"channels_first is {self.channels_first!r}: expected True, False or None")
        is_array = hasattr(X, "__array__")
        shape: tuple[int, ...] = np.asarray(X).shape if is_array else ()
        if fitting and self.channels_first is None and len(shape) == 3 and shape[2] > shape[1]:
            warnings.warn(
                f"X has shape {shape}: expected (n, T, D), so these are {shape[1]} steps of {shape[2]} channels; if it "
                "is (n, channels, time), as in aeon, use channels_first=True, else channels_first=False",
                stacklevel=4,
            )
        if not self.channels_first:
            return X
        if is_array:
            return np.asanyarray(X).swapaxes(1, 2) if len(shape) == 3 else X
        # A list with masked arrays stays, and `as_series` refuses it: NumPy would drop the masks.
        return [np.asanyarray(each).T if np.ndim(each) == 2 and not holds_mask(each) else each for each in X]


@dataclass(eq=False, repr=False, kw_only=True)
class Classifier(ClassifierMixin, LabelledEstimator):  # type: ignore[misc]
    """The label of a series of any length: the model and the training of `xrnn classify`, whose settings these are.

        classifier = Classifier().fit(X, y)    # X (n, T), (n, T, D), or a list of (Tᵢ, D); y: n labels
        classifier.predict(X_new)              # (n,), of classes_
        classifier.predict_proba(X_new)        # (n, K)

    NaN is a missing value. Labels are text, bools or whole numbers, of Python or NumPy.

    cell             "rnn", "lstm", "gru", "min-gru", "min-lstm", "slstm", "lru", or the name of a registered cell
    hidden, layers   size of the hidden state of each direction, and number of recurrent layers
    one_way          run forward only, so that `stream` can follow a series; by default, in both directions
    dropout          probability of dropout, between layers and after the mean over time
    noise            added to the training series, in standard deviations of each channel
    patch            number of consecutive steps to join into one; 0: chosen by left-out series, then in `patch_`
    mask             add a channel to each channel: 1 if its value is known, 0 if it is missing
    patience         hold out a fifth of the series, and stop after this number of epochs without a lower loss on them;
                     0 trains on all series for all epochs
    lr, batch        highest learning rate of Adam, and number of series in a batch
    head_rate        learning rate of the linear layer, divided by that of the recurrent layers
    members          number of models with other initial weights, trained together; the prediction is their mean
    epochs           passes over the series; None: 1600 / √n, at least 10
    seed             of all random draws: the same seed gives the same results
    channels_first   True if X is (n, D, T), or a list of (D, Tᵢ), as in aeon. None, the default, is False, with a
                     warning if X is an array with more channels than steps
    balance          give all labels the same total weight in the loss, so that rare ones count as much

    `save` writes the files of `xrnn classify`. Raises ValueError for invalid parameters and data.
    """

    balance: bool = False

    kind = CLASSIFIER

    def fit(self, X: SeriesLike, y: Targets) -> Self:
        """Learn from series and their labels."""
        labels = as_labels(y)
        classes = classes_of(labels)
        if len(classes) < 2:
            raise ValueError(f"y holds one class, {classes[:1]}: expected at least two labels to tell apart")
        self._learn(X, labels, lambda series: Classes.of(series, "X", classes))
        return self

    @property
    def classes_(self) -> HostArray:
        """The labels (K,), in the order of `predict_proba`."""
        return as_array(self._fitted().facts.labels)

    def predict(self, X: SeriesLike) -> HostArray:
        """The likeliest label of each series, (n,)."""
        labels: HostArray = self.classes_[self._predict(X).argmax(axis=1)]
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


@dataclass(eq=False, repr=False, kw_only=True)
class Regressor(RegressorMixin, LabelledEstimator):  # type: ignore[misc]
    """A number for a series of any length: the model and the training of `xrnn regress`, whose settings these are.

        regressor = Regressor().fit(X, y)    # X (n, T), (n, T, D), or a list of (Tᵢ, D); y: n numbers
        regressor.predict(X_new)             # (n,)

    The parameters are those of Classifier, without `balance`, and `head_rate` is 1 by default. `save` writes the files
    of `xrnn regress`.

    Raises ValueError for invalid parameters and data.
    """

    head_rate: float = 1.0

    kind = REGRESSION

    def fit(self, X: SeriesLike, y: Targets) -> Self:
        """Learn from series and their numbers."""
        self._learn(X, as_targets(y), lambda series: Numbers.of(series, "X"))
        return self

    def predict(self, X: SeriesLike) -> HostArray:
        """The number of each series, (n,) float64."""
        return self._predict(X)

    def score(self, X: SeriesLike, y: Targets) -> float:
        """R²; nan if all numbers in y are equal."""
        r2 = r_squared(np.array(as_targets(y)), self.predict(X))
        return float("nan") if r2 is None else r2
