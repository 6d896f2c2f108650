"""Training on labelled series, with early stopping."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xrnn.backend import Backend
from xrnn.optim import Adam
from xrnn.series.batches import Batches, unpack
from xrnn.series.checks import Series
from xrnn.series.errors import DivergedError, param
from xrnn.series.labelled.base import LabelledEstimator
from xrnn.series.labelled.model import LabelledModel, inputs_of, patches, plan
from xrnn.series.scale import Scale
from xrnn.series.training import Training, Watcher, cosine_rate
from xrnn.typing import HostArray


def default_epochs(count: int) -> int:
    """1600 / √count, at least 10: about a hundred for 270 series, more for fewer.

    Found on sets of 40 to 270 series. The number of updates grows with the square root of the number of series.
    """
    return max(10, round(1600 / math.sqrt(count)))


class LabelledTraining(Training):
    """Update k learns from batch k. The seed and k determine its random draws.

    estimator           has learnt the targets, and has the loss;   p: its parameters
    best                the layers to keep: with patience, those of the epoch with the lowest validation loss
    validation_losses   of each epoch, with patience
    """

    def __init__(
        self,
        estimator: LabelledEstimator,
        p: LabelledEstimator,
        patch: int,
        train: Sequence[Series],
        validation: Sequence[Series],
        backend: Backend,
    ) -> None:
        self.estimator, self._p, self._patch, self._train = estimator, p, patch, train
        self.scale = Scale.of(patches(series.values, patch) for series in train)
        self.model: LabelledModel
        model = LabelledModel(plan(estimator, p, patch).make(backend), p.dropout, p.seed)
        *others, linear = model.values()
        optimizer = Adam([*others, {"layers": [linear], "lr": estimator.linear_rate * p.lr}], p.lr)
        super().__init__(model, optimizer)
        targets = estimator._targets(train)
        lengths = np.array([len(each.values) for each in train])
        # An update cuts a random number of steps from the start of a series, fewer than a patch, so that the network
        # does not depend on where the patches begin. A complete patch must be left. The same idea: window slicing
        # (Le Guennec et al., 2016).
        starts = (lengths - patch + 1).clip(1, patch)
        self.batches = Batches(self.inputs(train), targets, p.batch, p.seed, starts, self._cut)
        self._host_weights = estimator._class_weights(p, targets)
        self._weights = None if self._host_weights is None else backend.asarray(self._host_weights)  # of the labels
        self.total = default_epochs(len(train)) * self.per_epoch
        self._validation = self.inputs(validation)
        self._validation_targets = estimator._targets(validation) if validation else None
        self.validation_losses: list[float] = []
        self.best: Mapping[str, Any] = model

    def inputs(self, series: Sequence[Series]) -> list[HostArray]:
        """The model's inputs for these series."""
        return [inputs_of(each.values, self.scale, self._patch) for each in series]

    def _cut(self, index: int, start: int) -> HostArray:
        """The model's input for a training series without its first steps."""
        return inputs_of(self._train[index].values[start:], self.scale, self._patch)

    def run(self, last: int, watcher: Watcher) -> None:
        """As any training. If it diverges after an epoch with a validation loss, it ends there, with a warning."""
        try:
            super().run(last, watcher)
        except DivergedError as error:
            if not self.validation_losses:
                raise
            with contextlib.suppress(DivergedError):
                self.read_losses()
            del self.losses[len(self.validation_losses) * self.per_epoch :]
            watcher.ended()
            watcher.warn(f"{error.marked}; the best epoch before it is kept")

    @property
    def per_epoch(self) -> int:
        """The number of updates in an epoch."""
        return self.batches.per_epoch

    def step(self) -> None:
        packed, shape = self.batches.packed(self.steps, self._p.noise)
        # An overflow shows in the loss, which `read_losses` checks.
        with np.errstate(over="ignore", invalid="ignore"):
            x, lengths, targets = unpack(self._backend.asarray(packed), shape, self.batches.target_dtype)
            loss = self.model.train_step(self.estimator._loss, x, lengths, targets, self._weights)
            self._update(loss, cosine_rate(self._p.lr, self.steps + 1, self.total))
        if self._p.patience and self.steps % self.per_epoch == 0:
            self._validate()

    def _validate(self) -> None:
        y = self.model.outputs(self._validation)
        loss = float(self.estimator._loss(y, self._validation_targets, self._host_weights)[0])
        if not math.isfinite(loss):
            raise DivergedError(
                f"the validation loss is {loss} at step {self.steps:,}: expected a finite number; lower {param('lr')}"
            )
        if loss < min(self.validation_losses, default=math.inf):
            self.best = copy.deepcopy(dict(self.model))
        self.validation_losses.append(loss)

    @property
    def shown_figures(self) -> str:
        validation = f", validation loss {self.validation_losses[-1]:.3f}" if self.validation_losses else ""
        return super().shown_figures + validation

    @property
    def finished(self) -> bool:
        """Whether the validation loss has not fallen for `patience` epochs."""
        losses = self.validation_losses
        return bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= self._p.patience

    @property
    def position(self) -> str:
        return f"epoch {self.steps // self.per_epoch:,}"
