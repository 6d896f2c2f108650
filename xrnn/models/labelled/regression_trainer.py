"""Training a regression on series."""

from __future__ import annotations

from xrnn.losses import mean_squared_error
from xrnn.models.data.batches import Shape, unpack
from xrnn.models.labelled.model import SeriesModel
from xrnn.models.labelled.regression_settings import RegressionSettings
from xrnn.models.labelled.trainer import SeriesTrainer
from xrnn.typing import Array, HostArray


class Regression(SeriesModel):
    """target = mean + deviation · y, with y as in SeriesModel."""

    def train_step(self, x: Array, lengths: Array, targets: Array) -> Array:
        """Forward and backward pass → the mean squared error, 0-d on the device.   targets (N,)"""
        loss, dy = mean_squared_error(self.forward(x, lengths), targets[:, None])
        self.backward(dy)
        return loss


class RegressionTrainer(SeriesTrainer[RegressionSettings]):
    """losses   mean squared errors, divided by the variance of the training targets"""

    model_class = Regression

    def _train(self, packed: Array, shape: Shape) -> Array:
        loss: Array = self.model.train_step(*unpack(packed, shape, "float32"))
        return loss

    def _validation_loss(self, outputs: HostArray) -> float:
        error: HostArray = outputs[:, 0] - self.data.targets(self.data.validation)
        return float((error * error).mean())

    @property
    def figures(self) -> tuple[str, str]:
        loss = f"loss {self.recent_loss:.3f}"
        return f"{loss}{self.validation_figure}", loss
