"""The base of all trainings: updates by Adam with clipped gradients, and their losses."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from typing import Final

import numpy as np

from xrnn.optim import Adam, clip_grad_norm, cosine
from xrnn.select import to_numpy
from xrnn.series.errors import DataError, DivergedError, param
from xrnn.series.plan import Model
from xrnn.typing import Array

_MAX_NORM: Final = 1.0
AVERAGED: Final = 100  # updates: the shown figures are means over the last ones
_LOWEST: Final = 0.05  # the lowest learning rate, divided by the highest


def cosine_rate(peak: float, update: int, total: int) -> float:
    """The learning rate peak · max(1/20, cosine(update, total)), updates counted from 1.

    After update `total`, it stays at the lowest rate.
    """
    return peak * max(_LOWEST, cosine(update, total))


class Training(ABC):
    """A kind of model defines `step`, which ends in `_update`, and the shown figures.

    losses   one per update, up to the last `read_losses`
    """

    def __init__(self, model: Model, optimizer: Adam) -> None:
        self.model, self._backend, self._optimizer = model, model.backend, optimizer
        self.losses: list[float] = []
        self._unread: list[Array] = []  # losses that are still on the device

    @abstractmethod
    def step(self) -> None:
        """Forward, backward, update. It does not wait for the device: the batch is sent there, the loss stays there."""

    def run(self, last: int, watcher: Watcher) -> None:
        """Make updates until there are `last`, further ones would not help, or the watcher stops.

        Raises DivergedError if a loss or a weight is not finite.
        """
        watcher.began(self, last)
        while self.steps < last and not (self.finished or watcher.stopped):
            self.step()
            watcher.updated()
        self.read_losses()
        watcher.ended()
        for name, each in self.model.named_params.items():
            if not np.isfinite(to_numpy(each)).all():
                raise DivergedError(
                    f"{name} is not finite after step {self.steps:,}: expected finite numbers; lower {param('lr')}"
                )

    @property
    def steps(self) -> int:
        """The number of updates so far."""
        return self._optimizer.steps

    @property
    @abstractmethod
    def position(self) -> str:
        """The position in the training: "epoch 12"."""

    @property
    def finished(self) -> bool:
        """True if further updates would not help."""
        return False

    @property
    def shown_figures(self) -> str:
        return f"loss {np.mean(self.losses[-AVERAGED:]):.3f}"

    def _update(self, loss: Array, lr: float) -> None:
        """Clip the gradients, update the parameters, and keep the loss, 0-d."""
        clip_grad_norm(self._optimizer.grads, _MAX_NORM)
        self._optimizer.lr = lr
        self._optimizer.step()
        self._unread.append(loss)

    def read_losses(self) -> None:
        """Wait for the device and move the losses since the last call to `losses`.

        Raises DivergedError with the first step whose loss is not finite.
        """
        if not self._unread:
            return
        losses = self._backend.to_numpy(self._backend.xp.stack(self._unread))
        self._unread = []
        for loss in losses.tolist():
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the loss is {loss} at step {len(self.losses) + 1:,}: expected a finite number; "
                    f"lower {param('lr')}"
                )
            self.losses.append(loss)


class Watcher:
    """Follows a training, and may stop it. By default, it does neither.

    stopped   True to end the training after its current update
    """

    stopped: bool = False

    def tell(self, line: str) -> None:
        """A line about the progress, to print."""

    def warn(self, text: str) -> None:
        """A text, the message of a ModelError, about a training that went wrong and still gives a model."""
        warnings.warn(str(DataError(text)), stacklevel=2)

    def began(self, training: Training, last: int) -> None:
        """A training of up to `last` updates begins."""

    def updated(self) -> None:
        """An update was made."""

    def ended(self) -> None:
        """The training has ended."""


SILENT: Final = Watcher()
