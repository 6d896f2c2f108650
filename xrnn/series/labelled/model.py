"""The model of series with one value each: recurrent layers, the mean over time, a linear layer; and its inputs."""

from __future__ import annotations

import functools
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
from xrnn.sequences import pad
from xrnn.series.labelled.base import LabelledEstimator
from xrnn.series.scale import Scale
from xrnn.typing import Array, HostArray

_INFERENCE_BATCH: Final = 64  # series at a time, so that the memory for inference does not grow with their number


def new_layers(p: LabelledEstimator, patch: int, backend: Backend) -> dict[str, Any]:
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
