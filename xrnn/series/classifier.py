"""A classifier of series."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from xrnn.models.labelled.classifier import softmax
from xrnn.models.labelled.classifier_checkpoint import CLASSIFIER_CHECKPOINTS, Label
from xrnn.models.labelled.classifier_data import LabelledSeries
from xrnn.models.labelled.classifier_predict import LabelPredictor
from xrnn.models.labelled.classifier_trainer import ClassifierTrainer
from xrnn.series.arrays import as_array, as_labels, classes_of
from xrnn.series.labelled import LabelledEstimator
from xrnn.series.scikit import ClassifierMixin
from xrnn.typing import HostArray


@dataclass(eq=False, repr=False, kw_only=True)
class Classifier(ClassifierMixin, LabelledEstimator):  # type: ignore[misc]
    """The label of a series of any length: the model and the training of `xrnn classify`, whose settings these are.

        classifier = Classifier().fit(X, y)    # X (n, T), (n, T, D), or a list of (Tᵢ, D); y: n hashable labels
        classifier.predict(X_new)              # (n,), of classes_
        classifier.predict_proba(X_new)        # (n, K)

    NaN is a missing value. epochs: passes over the series; None: 1600 / √n, at least 10. With patience, a fifth of the
    series is held out, and training stops after that number of epochs without a lower loss on them.

    `save` writes the files of `xrnn classify`. Raises ValueError for invalid parameters and data.
    """

    balance: bool = False

    checkpoints = CLASSIFIER_CHECKPOINTS
    trainer = ClassifierTrainer
    predictor = LabelPredictor

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from series and their labels."""
        labels = as_labels(y)
        classes = classes_of(labels)
        if len(classes) < 2:
            raise ValueError(f"y holds one class, {classes[:1]}: expected at least two labels to tell apart")
        self._learn(
            X,
            labels,
            lambda series, seed, validate: LabelledSeries.of(series, [], classes, seed, validate=validate, name="X"),
        )
        return self

    @property
    def classes_(self) -> HostArray:
        """The labels (K,), in the order of `predict_proba`."""
        return as_array(self._fitted().facts.labels)

    def predict(self, X: Any) -> HostArray:
        """The likeliest label of each series, (n,)."""
        labels: HostArray = self.classes_[self._outputs(X).argmax(axis=1)]
        return labels

    def predict_proba(self, X: Any) -> HostArray:
        """The probabilities of the labels, (n, K) float64."""
        return softmax(self._outputs(X))

    def score(self, X: Any, y: Any) -> float:
        """The accuracy."""
        return float(np.mean([a == b for a, b in zip(self.predict(X), as_labels(y), strict=True)]))

    def save(self, path: str | Path) -> None:
        labels = self._fitted().facts.labels
        if other := next((each for each in labels if not isinstance(each, Label)), None):
            raise ValueError(f"labels of type {type(other).__name__} can't be saved: expected text or numbers")
        super().save(path)
