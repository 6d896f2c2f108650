"""Early stopping: the loss on validation series after each epoch, and the best weights so far."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np


class EarlyStopping:
    """Keeps a copy of the weights with the lowest validation loss.

    losses   validation losses, one per epoch
    best     that copy: layers by name
    """

    def __init__(self, layers: Mapping[str, Any], patience: int) -> None:
        self.losses: list[float] = []
        self.best = copy.deepcopy(dict(layers))
        self._patience = patience

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest loss, counted from 1; 0 before the first epoch."""
        return int(np.argmin(self.losses)) + 1 if self.losses else 0

    @property
    def finished(self) -> bool:
        """Whether the loss has not fallen for `patience` epochs."""
        return len(self.losses) - self.best_epoch >= self._patience

    def add(self, loss: float, layers: Mapping[str, Any]) -> None:
        """Record the loss of an epoch. If it is the lowest so far, copy the weights."""
        self.losses.append(loss)
        if self.best_epoch == len(self.losses) and math.isfinite(loss):
            for name, layer in layers.items():
                for kept, param in zip(self.best[name].params, layer.params, strict=True):
                    kept[...] = param


def split_best(layers: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The layers of a snapshot → those of the model, and those of the best epoch, empty without early stopping."""
    best = {name.removeprefix("best."): layer for name, layer in layers.items() if name.startswith("best.")}
    return {name: layer for name, layer in layers.items() if not name.startswith("best.")}, best
