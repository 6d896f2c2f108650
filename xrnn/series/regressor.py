"""A regression on series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from xrnn.models.labelled.regression_checkpoint import REGRESSION_CHECKPOINTS
from xrnn.models.labelled.regression_data import SeriesWithTargets
from xrnn.models.labelled.regression_predict import NumberPredictor
from xrnn.models.labelled.regression_scores import Scores
from xrnn.models.labelled.regression_trainer import RegressionTrainer
from xrnn.series.arrays import as_targets
from xrnn.series.labelled import LabelledEstimator
from xrnn.series.scikit import RegressorMixin
from xrnn.typing import HostArray


@dataclass(eq=False, repr=False, kw_only=True)
class Regressor(RegressorMixin, LabelledEstimator):  # type: ignore[misc]
    """A number for a series of any length: the model and the training of `xrnn regress`, whose settings these are.

        regressor = Regressor().fit(X, y)    # X (n, T), (n, T, D), or a list of (Tᵢ, D); y: n numbers
        regressor.predict(X_new)             # (n,)

    The other parameters are those of Classifier. `save` writes the files of `xrnn regress`. Raises ValueError for
    invalid parameters and data.
    """

    checkpoints = REGRESSION_CHECKPOINTS
    trainer = RegressionTrainer
    predictor = NumberPredictor

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from series and their numbers."""
        self._learn(
            X,
            as_targets(y),
            lambda series, seed, validate: SeriesWithTargets.of(series, [], seed, validate=validate, name="X"),
        )
        return self

    def predict(self, X: Any) -> HostArray:
        """The number of each series, (n,) float64."""
        return NumberPredictor(self._fitted()).numbers(self._outputs(X)[:, 0])

    def score(self, X: Any, y: Any) -> float:
        """R²; nan if all numbers in y are equal."""
        r2 = Scores.of(np.array(as_targets(y), dtype=np.float64), self.predict(X)).r2
        return float("nan") if r2 is None else r2
