"""Training on labelled series: updates by Adam with clipped gradients, and their losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from xrnn.backend import Backend
from xrnn.optim import Adam, clip_grad_norm, cosine
from xrnn.select import to_numpy
from xrnn.sequences import batches, pad
from xrnn.series.checks import Series
from xrnn.series.errors import DivergedError, param
from xrnn.series.labelled.base import LabelledEstimator, Watcher
from xrnn.series.labelled.model import Model, inputs_of, new_layers, patches
from xrnn.series.scale import Scale
from xrnn.typing import Array, HostArray

_MAX_NORM: Final = 1.0
_AVERAGED: Final = 100  # updates: the shown figures are means over the last ones
_ORDER, _NOISE, _START = 2, 3, 5  # spawn keys: each gives an independent random stream of the seed
_LOWEST: Final = 0.05  # the lowest learning rate, divided by the highest; it stays after the last update of the cosine


def default_epochs(count: int) -> int:
    """1600 / √count, at least 10: about a hundred for 270 series, more for fewer.

    Found on sets of 40 to 270 series. The number of updates grows with the square root of the number of series.
    """
    return max(10, round(1600 / math.sqrt(count)))


class Training:
    """Update k learns from batch k. The seed and k determine its random draws.

    Every epoch takes each series once, in a new order.

    p           an estimator that has learnt `channels_` and its targets
    losses      one per update, up to the last `read_losses`
    """

    def __init__(self, p: LabelledEstimator, patch: int, train: Sequence[Series], backend: Backend) -> None:
        self._p, self._patch, self._train, self._backend = p, patch, train, backend
        self.scale = Scale.of(patches(series.values, patch) for series in train)
        self.model = Model(new_layers(p, patch, backend), p.dropout, p.seed)
        *others, linear = self.model.values()
        self._optimizer = Adam([*others, {"layers": [linear], "lr": p.linear_rate * p.lr}], p.lr)
        self._inputs, self._targets = self.inputs(train), p._targets(train)
        # An update cuts a random number of steps from the start of a series, fewer than a patch, so that the network
        # does not depend on where the patches begin. A complete patch must be left. The same idea: window slicing
        # (Le Guennec et al., 2016).
        self._starts = (np.array([len(each.values) for each in train]) - patch + 1).clip(1, patch)
        self._lengths = np.array([len(each) for each in self._inputs])
        self.per_epoch = -(-len(train) // p.batch)  # updates
        self._epoch, self._chosen = -1, [np.zeros(0, np.int64)]  # the series of each batch of the epoch
        self._loss = p._loss(self._targets, backend)
        self.total = default_epochs(len(train)) * self.per_epoch
        self.losses: list[float] = []
        self._unread: list[Array] = []  # losses that are still on the device

    def inputs(self, series: Sequence[Series]) -> list[HostArray]:
        """The model's inputs for these series."""
        return [inputs_of(each.values, self.scale, self._patch) for each in series]

    def batch(self, update: int) -> tuple[HostArray, HostArray, HostArray]:
        """x (T, N, D), lengths (N,) and targets (N,) of an update."""
        epoch, number = divmod(update, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._chosen = epoch, batches(self._lengths, self._p.batch, rng=self._rng(_ORDER, epoch))
        chosen, scale, size = self._chosen[number], self.scale, self._patch
        starts = self._rng(_START, update).integers(self._starts[chosen]).tolist()
        x, lengths = pad(
            [
                inputs_of(self._train[i].values[start:], scale, size) if start else self._inputs[i]
                for i, start in zip(chosen.tolist(), starts, strict=True)
            ]
        )
        if self._p.noise:
            shape = int(self._lengths[chosen].max()), *x.shape[1:]
            noise = self._rng(_NOISE, update).standard_normal(shape, dtype=np.float32)[: len(x)]
            x += np.float32(self._p.noise) * noise
        return x, lengths, self._targets[chosen]

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._p.seed, spawn_key=key))

    @property
    def steps(self) -> int:
        """The number of updates so far."""
        return self._optimizer.steps

    @property
    def figures(self) -> str:
        """The epoch and the loss, for a line about the progress."""
        return f"epoch {self.steps // self.per_epoch:,}: loss {np.mean(self.losses[-_AVERAGED:]):.3f}"

    def run(self, last: int, watcher: Watcher) -> None:
        """Make updates until there are `last`, or the watcher stops.

        Raises DivergedError if a loss or a weight is not finite.
        """
        watcher.began(self, last)
        try:
            while self.steps < last:
                self.step()
                watcher.updated()
                if watcher.stopped:
                    break
            self.read_losses()
        finally:
            watcher.ended()
        for name, each in self.model.named_params.items():
            if not np.isfinite(to_numpy(each)).all():
                raise DivergedError(
                    f"{name} is not finite after update {self.steps:,}: expected finite numbers; lower {param('lr')}"
                )

    def step(self) -> None:
        """Forward, backward, update. It does not wait for the device: the batch is sent there, the loss stays there."""
        x, lengths, targets = map(self._backend.asarray, self.batch(self.steps))
        # An overflow shows in the loss, which `read_losses` checks.
        with np.errstate(over="ignore", invalid="ignore"):
            loss, dy = self._loss(self.model.forward(x, lengths), targets)
            self.model.backward(dy)
            clip_grad_norm(self._optimizer.grads, _MAX_NORM)
            self._optimizer.lr = self._p.lr * max(_LOWEST, cosine(self.steps + 1, self.total))
            self._optimizer.step()
        self._unread.append(loss)

    def read_losses(self) -> None:
        """Wait for the device and move the losses since the last call to `losses`.

        Raises DivergedError with the first update whose loss is not finite.
        """
        if not self._unread:
            return
        losses = self._backend.to_numpy(self._backend.xp.stack(self._unread))
        self._unread = []
        for loss in losses.tolist():
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the loss is {loss} at update {len(self.losses) + 1:,}: expected a finite number; "
                    f"lower {param('lr')}"
                )
            self.losses.append(loss)
