"""Early stopping: the loss on validation series after each epoch, and the best weights so far."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from xrnn.typing import Array


class EarlyStopping:
    """Keeps a copy of the weights with the lowest validation loss.

    losses   validation losses, one per epoch
    best     that copy, on the device
    """

    def __init__(self, params: Mapping[str, Array], patience: int) -> None:
        self.losses: list[float] = []
        self.best = {name: param.copy() for name, param in params.items()}
        self._patience = patience

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest loss, counted from 1; 0 before the first epoch."""
        return int(np.argmin(self.losses)) + 1 if self.losses else 0

    @property
    def finished(self) -> bool:
        """Whether the loss has not fallen for `patience` epochs."""
        return len(self.losses) - self.best_epoch >= self._patience

    def add(self, loss: float, params: Mapping[str, Array]) -> None:
        """Record the loss of an epoch. If it is the lowest so far, copy the weights."""
        self.losses.append(loss)
        if self.best_epoch == len(self.losses) and math.isfinite(loss):
            for name, param in params.items():
                self.best[name][...] = param
