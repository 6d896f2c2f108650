"""The predictions of a regression: numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from xrnn.backend import Backend
from xrnn.jobs.regress.regression_checkpoint import REGRESSION_CHECKPOINTS
from xrnn.jobs.regress.regression_trainer import Regression
from xrnn.jobs.series.predict import Predictor
from xrnn.typing import HostArray


class NumberPredictor(Predictor):
    """A trained regression. It has no probabilities, so `proba` has no effect."""

    model_class = Regression
    command = "xrnn regress"

    @classmethod
    def load(cls, checkpoint: Path, backend: Backend) -> Self:
        """Raises CheckpointError."""
        return cls(REGRESSION_CHECKPOINTS.load(checkpoint, backend))

    def fields(self, y: HostArray, proba: bool) -> tuple[list[str], list[str]]:
        return [f"{self._number(y):.6g}"], []

    def values(self, y: HostArray, proba: bool) -> dict[str, Any]:
        return {"value": self._number(y)}

    def _number(self, y: HostArray) -> float:
        return float(self.facts.mean + self.facts.deviation * y[0])
