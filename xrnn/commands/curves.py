"""The loss curves of a training run on series."""

from __future__ import annotations

from typing import Any

import numpy as np

from xrnn.commands.plot import draw_losses
from xrnn.models.labelled.trainer import SeriesTrainer


def draw_training(axes: Any, trainer: SeriesTrainer[Any], unit: str) -> None:
    """Draw the losses of all updates; with early stopping, also the validation loss of each epoch."""
    draw_losses(axes, trainer.losses, unit)
    if trainer.stopping and trainer.stopping.losses:
        losses, best = trainer.stopping.losses, trainer.stopping.best_epoch
        updates = np.arange(1, len(losses) + 1) * trainer.per_epoch
        axes.plot(updates, losses, color="tab:orange", label="validation")
        axes.axvline(best * trainer.per_epoch, color="tab:orange", linestyle=":", label=f"best epoch: {best:,}")
    axes.legend()
