"""Training on labelled series."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from xrnn.backend import Backend
from xrnn.optim import Adam
from xrnn.series.batches import Batches, unpack
from xrnn.series.checks import Series
from xrnn.series.labelled.base import LabelledEstimator
from xrnn.series.labelled.model import LabelledModel, inputs_of, patches, plan
from xrnn.series.scale import Scale
from xrnn.series.training import Training, cosine_rate
from xrnn.typing import HostArray


def default_epochs(count: int) -> int:
    """1600 / √count, at least 10: about a hundred for 270 series, more for fewer.

    Found on sets of 40 to 270 series. The number of updates grows with the square root of the number of series.
    """
    return max(10, round(1600 / math.sqrt(count)))


class LabelledTraining(Training):
    """Update k learns from batch k. The seed and k determine its random draws.

    estimator   has learnt the targets, and has the loss;   p: its parameters
    """

    def __init__(
        self,
        estimator: LabelledEstimator,
        p: LabelledEstimator,
        patch: int,
        train: Sequence[Series],
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
        weights = estimator._class_weights(p, targets)
        self._weights = None if weights is None else backend.asarray(weights)  # of the labels
        self.total = default_epochs(len(train)) * self.per_epoch

    def inputs(self, series: Sequence[Series]) -> list[HostArray]:
        """The model's inputs for these series."""
        return [inputs_of(each.values, self.scale, self._patch) for each in series]

    def _cut(self, index: int, start: int) -> HostArray:
        """The model's input for a training series without its first steps."""
        return inputs_of(self._train[index].values[start:], self.scale, self._patch)

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

    @property
    def position(self) -> str:
        return f"epoch {self.steps // self.per_epoch:,}"
