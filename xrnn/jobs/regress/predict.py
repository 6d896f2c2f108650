"""The predictions of a regression: numbers."""

from __future__ import annotations

from typing import Any

from xrnn.jobs.regress.regression_checkpoint import REGRESSION_CHECKPOINTS
from xrnn.jobs.regress.regression_trainer import Regression
from xrnn.jobs.series.predict import Predictor
from xrnn.typing import HostArray


class NumberPredictor(Predictor):
    """A trained regression. It has no probabilities, so `proba` has no effect."""

    model_class = Regression
    checkpoints = REGRESSION_CHECKPOINTS

    def fields(self, y: HostArray, proba: bool) -> tuple[list[str], list[str]]:
        return [f"{self.numbers(y)[0]:.6g}"], []

    def values(self, y: HostArray, proba: bool) -> dict[str, Any]:
        return {"value": float(self.numbers(y)[0])}

    def numbers(self, y: HostArray) -> HostArray:
        """The predicted targets.   y: the model's outputs"""
        numbers: HostArray = self.facts.mean + self.facts.deviation * y
        return numbers
