"""The predictions of a regression: numbers."""

from __future__ import annotations

from typing import Any

from xrnn.models.data.tables import Columns
from xrnn.models.errors import SettingsError
from xrnn.models.labelled.predict import PredictOptions, Predictor
from xrnn.models.labelled.regression_checkpoint import REGRESSION_CHECKPOINTS
from xrnn.models.labelled.regression_trainer import Regression
from xrnn.typing import HostArray


class NumberPredictor(Predictor):
    """A trained regression, which has no probabilities."""

    model_class = Regression
    checkpoints = REGRESSION_CHECKPOINTS

    def columns_for(self, given: dict[str, Any], options: PredictOptions) -> Columns:
        if options.proba:
            raise SettingsError("got --proba for a model that predicts numbers: expected a classifier; leave it out")
        return super().columns_for(given, options)

    def fields(self, y: HostArray, proba: bool) -> tuple[list[str], list[str]]:
        return [f"{self.numbers(y)[0]:.6g}"], []

    def values(self, y: HostArray, proba: bool) -> dict[str, Any]:
        return {"value": float(self.numbers(y)[0])}

    def numbers(self, y: HostArray) -> HostArray:
        """The predicted targets.   y: the model's outputs"""
        numbers: HostArray = self.facts.mean + self.facts.deviation * y
        return numbers
