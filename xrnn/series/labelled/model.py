"""The recurrent model of series with one value each: recurrent layers, the mean over time, a linear layer.

Its inputs, and its training: updates by Adam with clipped gradients, and their losses.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from xrnn.backend import Backend
from xrnn.cells import CELLS
from xrnn.layers.bidirectional import Bidirectional
from xrnn.layers.dropout import Dropout
from xrnn.layers.linear import Linear
from xrnn.layers.network import Network
from xrnn.layers.stack import Stack
from xrnn.optim import Adam, clip_grad_norm, cosine
from xrnn.select import to_numpy
from xrnn.sequences import batches, pad
from xrnn.series.checks import DivergedError, Scale, Series, param
from xrnn.series.labelled.base import Watcher, targets_of
from xrnn.typing import Array, HostArray

_INFERENCE_BATCH: Final = 64  # series at a time, so that the memory for inference does not grow with their number
_MAX_NORM: Final = 1.0
_AVERAGED: Final = 100  # updates: the shown figures are means over the last ones
_ORDER, _NOISE, _START = 2, 3, 5  # spawn keys: each gives an independent random stream of the seed
_LOWEST: Final = 0.05  # the lowest learning rate, divided by the highest; it stays after the last update of the cosine


def new_layers(p: Any, patch: int, backend: Backend) -> dict[str, Any]:
    """New float32 layers by name, with the same weights on every backend: recurrent ones, and a linear layer.

    p       an estimator that has learnt `channels_` and its targets
    patch   the number of steps in a patch
    """
    kind, rng, size = CELLS[p.cell], np.random.default_rng(p.seed), p.channels_ * features_of(patch)
    recurrent: list[Any] = []
    for _ in range(p.layers):
        make: Any = kind.init if p.one_way else functools.partial(Bidirectional.init, kind)
        layer = make(size, p.hidden, rng=rng, backend=backend)
        recurrent.append(layer)
        size = layer.output_size
    stack = Stack(recurrent, dropout=p.dropout, rng=p.seed)
    return {"stack": stack, "linear": Linear.init(size, p._outputs, rng=rng, backend=backend)}


def patches(values: HostArray, size: int, before: HostArray | None = None) -> HostArray:
    """Join `size` consecutive steps into one, with their values and changes: (T, D) → (⌈T / size⌉, 2 · size · D).

    The change of a step is its value minus that of the step before: as in MultiRocket (Tan et al., 2022), the model
    gets the differences beside the series. Steps after the last one are missing. A size of 1 leaves the values alone.

    before   the step before the first one, (D,); None if there is none: the first change is missing
    """
    if size == 1:
        return values
    T, D = values.shape
    joined = -(-T // size)
    padded = np.full((joined * size, 2 * D), np.nan)
    padded[:T, :D] = values
    padded[:T, D:] = np.diff(values, axis=0, prepend=np.full((1, D), np.nan) if before is None else before[None])
    return padded.reshape(joined, -1)


def features_of(size: int) -> int:
    """The number of features of a patch for each channel: the values of its steps and, if joined, their changes."""
    return 1 if size == 1 else 2 * size


def inputs_of(values: HostArray, scale: Scale, size: int) -> HostArray:
    """The model's input for a series (T, D): scaled patches."""
    return scale.apply(patches(values, size))


class Model(Network):
    """y = dropout(mean of h[t] over t) @ W + b, h = stack(x)   (Graves & Schmidhuber, 2005).

    The mean is that over the length of each series. Its computation never makes the host wait for the device.
    """

    stack: Stack
    linear: Linear

    def __init__(self, layers: Mapping[str, Any], dropout: float = 0.0, seed: int = 0) -> None:
        super().__init__(**layers)
        self.backend: Backend = self.linear.backend
        self._dropout = Dropout(dropout, seed=seed, layer=len(self.stack.layers))
        self._shares: Array | None = None  # of the last `forward`

    def forward(self, x: Array, lengths: Array) -> Array:
        """x (T, N, D), lengths (N,) integers in [1, T] → y (N, outputs). Keeps the arrays for `backward`."""
        h, _ = self.stack.forward(x, lengths=lengths)
        self._shares = self._shares_of(h, lengths)
        return self.linear.forward(self._dropout.forward((h * self._shares).sum(axis=0)))

    def backward(self, dy: Array) -> None:
        """dy (N, outputs) → the gradients of every layer."""
        dmean = self._dropout.backward(self.linear.backward(dy))
        self.stack.backward(dmean * self._shares, needs_dx=False)

    def _shares_of(self, h: Array, lengths: Array) -> Array:
        """The share of each step in the mean (T, N, 1): 1 / length[n] for t < length[n], else 0."""
        inside = self.backend.xp.arange(len(h))[:, None] < lengths
        shares: Array = (inside / lengths).astype(h.dtype)[..., None]
        return shares

    def __call__(self, x: Array, lengths: Array) -> Array:
        """Inference: y without dropout. Nothing is kept for `backward`."""
        h, _ = self.stack(x, lengths=lengths)
        return self.linear((h * self._shares_of(h, lengths)).sum(axis=0))

    def outputs(self, series: Sequence[HostArray]) -> HostArray:
        """Inference for any number of series, (T, D) float32 each → y (count, outputs) float64."""
        # The longest series determines the cost of a batch, so batches are made of series of similar lengths.
        by_length = np.argsort([len(values) for values in series], kind="stable")
        y = np.zeros((len(series), self.linear.output_size))
        for first in range(0, len(series), _INFERENCE_BATCH):
            rows = by_length[first : first + _INFERENCE_BATCH]
            x, lengths = map(self.backend.asarray, pad([series[i] for i in rows]))
            y[rows] = self.backend.to_numpy(self(x, lengths))
        return y


def streamed(model: Model, rows: Iterable[HostArray], scale: Scale, patch: int) -> Iterator[HostArray]:
    """The outputs (1, outputs) after each row (D,) of one series, NaN for a missing value. The model runs forward only.

    The last outputs are those for all rows as one series.
    """
    backend, last = model.backend, np.full(len(scale.mean), np.nan)
    # After the complete patches: the state of the layers, Σ h (1, H), the number of patches.
    after: tuple[Any, Any, int] = (None, 0.0, 0)
    waiting: list[HostArray] = []  # the steps after the last complete patch
    before: HostArray | None = None  # the last step of that patch
    for row in rows:
        waiting.append(row)
        (values,) = patches(np.array(waiting), patch, before)
        filled = np.where(np.isnan(values), last, values)
        h, state = model.stack.stream(backend.asarray(scale.apply(filled[None])), after[0])
        total, count = after[1] + h, after[2] + 1
        yield backend.to_numpy(model.linear(total / count))
        if len(waiting) == patch:
            last, after, before, waiting = filled, (state, total, count), row, []


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

    def __init__(self, p: Any, patch: int, train: Sequence[Series], backend: Backend) -> None:
        self._p, self._patch, self._train, self._backend = p, patch, train, backend
        self.scale = Scale.of(patches(series.values, patch) for series in train)
        self.model = Model(new_layers(p, patch, backend), p.dropout, p.seed)
        *others, linear = self.model.values()
        self._optimizer = Adam([*others, {"layers": [linear], "lr": p.linear_rate * p.lr}], p.lr)
        self._inputs, self._targets = self.inputs(train), targets_of(train)
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
