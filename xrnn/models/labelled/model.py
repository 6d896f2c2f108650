"""The model of series with one value each: recurrent layers, the mean over time, a linear layer. Its files and use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

import numpy as np

from xrnn.backend import Backend
from xrnn.layers.dropout import Dropout
from xrnn.models.checkpoint import Kind, Snapshot, Spec
from xrnn.models.data.batches import pack, unpack
from xrnn.models.data.scale import Scale
from xrnn.models.errors import DataError, SettingsError, param
from xrnn.models.labelled.head import Classes, Head, Numbers
from xrnn.models.labelled.settings import ClassifierSettings, LabelledSettings, RegressionSettings
from xrnn.models.plan import Model, split_best
from xrnn.series.checks import Series
from xrnn.series.read import check_same
from xrnn.typing import Array, HostArray

_INFERENCE_BATCH: Final = 64  # series at a time, so that the memory for inference does not grow with their number


class MeanPool:
    """y[n] = Σ h[t, n] / length[n], over t < length[n]. It never makes the host wait for the device."""

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        self.weights: Array | None = None  # (T, N, 1): dy[n] / dh[t, n], of the last forward call

    def forward(self, h: Array, lengths: Array) -> Array:
        """h (T, N, H), lengths (N,) integers in [1, T] → y (N, H); keeps the weights for `backward`."""
        self.weights = self._weights(h, lengths)
        y: Array = (h * self.weights).sum(axis=0)
        return y

    def backward(self, dy: Array) -> Array:
        """dh[t, n] = dy[n] / length[n] for t < length[n], else 0.   dy (N, H) → dh (T, N, H)."""
        return dy * self.weights

    def __call__(self, h: Array, lengths: Array) -> Array:
        """Inference: the result of `forward`, without keeping the weights."""
        y: Array = (h * self._weights(h, lengths)).sum(axis=0)
        return y

    def _weights(self, h: Array, lengths: Array) -> Array:
        inside = self._xp.arange(len(h))[:, None] < lengths
        weights: Array = (inside / lengths).astype(h.dtype)[..., None]
        return weights


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


def inputs_of(values: HostArray, scale: Scale, settings: LabelledSettings) -> HostArray:
    """The model's input for a series (T, D): scaled patches and, with `mask`, the mask channels."""
    return scale.apply(patches(values, settings.joined), mask=settings.mask)


class Running(NamedTuple):
    """The state of the model after some steps of a stream."""

    state: Any = None  # of the recurrent layers
    total: Any = 0.0  # Σ h[t] so far, (1, H)
    steps: int = 0


class LabelledModel(Model):
    """y = dropout(mean of h[t] over t) @ W + b, h = stack(x)   (Graves & Schmidhuber, 2005)."""

    def __init__(self, settings: LabelledSettings, layers: Mapping[str, Any]) -> None:
        super().__init__(layers)
        self.settings = settings
        self._pool = MeanPool(self.backend.xp)
        self._dropout = Dropout(settings.dropout, seed=settings.seed, layer=settings.layers)
        self.dropouts.append(self._dropout)
        M, directions = settings.members, 1 if settings.one_way else 2
        owner = np.tile(np.arange(settings.hidden * M) // settings.hidden, directions)
        # (M, 1, H): M for the features of a member, so that the mean of the members' outputs is the output
        self._own = self.backend.asarray((M * (owner == np.arange(M)[:, None]))[:, None].astype(np.float32))

    @classmethod
    def init(cls, settings: LabelledSettings, head: Head, backend: Backend) -> Self:
        """New float32 weights, the same on every backend."""
        return cls(settings, settings.plan(head).make(backend))

    def forward(self, x: Array, lengths: Array) -> Array:
        """x (T, N, D), lengths (N,) integers in [1, T] → y (members · N, outputs) of the members, one after the other.

        Keeps the arrays for `backward`.
        """
        h, _ = self.stack.forward(x, lengths=lengths)
        pooled = self._dropout.forward(self._pool.forward(h, lengths))
        if self.settings.members > 1:
            pooled = (pooled * self._own.astype(pooled.dtype, copy=False)).reshape(-1, pooled.shape[1])
        return self.linear.forward(pooled)

    def backward(self, dy: Array) -> None:
        """dy (members · N, outputs) → the gradients of every layer."""
        dpooled = self.linear.backward(dy)
        if self.settings.members > 1:
            of_member = dpooled.reshape(self.settings.members, -1, dpooled.shape[1])
            dpooled = (of_member * self._own.astype(dpooled.dtype, copy=False)).sum(axis=0)
        self.stack.backward(self._pool.backward(self._dropout.backward(dpooled)), needs_dx=False)

    def train_step(
        self, head: Head, x: Array, lengths: Array, targets: Array, weights: Array | None = None
    ) -> tuple[Array, Array | None]:
        """Forward and backward pass → the mean loss of the members, and their mean number of correct labels.

        Both are 0-d, on the device.
        """
        members = self.settings.members
        if members > 1:
            targets = self.backend.xp.concatenate([targets] * members)
        loss, dy, correct = head.loss(self.forward(x, lengths), targets, weights)
        self.backward(dy)
        return loss, correct if correct is None or members == 1 else correct / members

    def __call__(self, x: Array, lengths: Array) -> Array:
        """Inference: y without dropout. Nothing is kept for `backward`."""
        h, _ = self.stack(x, lengths=lengths)
        return self.linear(self._pool(h, lengths))

    def follow(self, x: Array, running: Running) -> tuple[Array, Running]:
        """The next step of one series, x (1, D) → y (1, outputs) for the steps so far.

        Raises ValueError for bidirectional layers.
        """
        h, state = self.stack.stream(x, running.state)
        total, steps = running.total + h, running.steps + 1
        return self.linear(total / steps), Running(state, total, steps)

    def outputs(self, series: Sequence[HostArray]) -> HostArray:
        """Inference for any number of series, (T, D) float32 each → y (count, outputs) float64."""
        # The longest series determines the cost of a batch, so batches are made of series of similar lengths.
        by_length = np.argsort([len(values) for values in series], kind="stable")
        y = np.zeros((len(series), self.linear.output_size))
        for first in range(0, len(series), _INFERENCE_BATCH):
            rows = by_length[first : first + _INFERENCE_BATCH]
            buffer, x = pack([series[i] for i in rows], np.zeros(len(rows), np.int32))
            batch, lengths, _ = unpack(self.backend.asarray(buffer), x.shape)
            y[rows] = self.backend.to_numpy(self(batch, lengths))
        return y


class TrainedModel:
    """The model of a snapshot, with the scale of its series; after early stopping, that of the best epoch."""

    def __init__(self, snapshot: Snapshot[Any]) -> None:
        self.settings: LabelledSettings = snapshot.settings
        self.head: Any = snapshot.facts
        self.scale = Scale(snapshot.arrays["scale.mean"], snapshot.arrays["scale.deviation"])
        of_model, best = split_best(snapshot.layers)
        self.model = LabelledModel(self.settings, best or of_model)

    def predict(self, series: Sequence[Series]) -> HostArray:
        """The probabilities of the labels (n, K), or the numbers (n,); float64.

        Raises DataError for series with other channels than the model, and if the memory does not suffice.
        """
        for each in series:
            self.checked(each)
        try:
            inputs = [inputs_of(each.values, self.scale, self.settings) for each in series]
            predicted: HostArray = self.head.decoded(self.model.outputs(inputs))
        except MemoryError as error:
            raise DataError.of(error) from error
        return predicted

    def checked(self, series: Series) -> Series:
        """`series`.   Raises DataError if it has other channels than the model."""
        check_same(series, self.head.channels, self.head.channel_names, "the model")
        return series

    def stream(self, rows: Iterable[HostArray]) -> Iterator[HostArray]:
        """The prediction after each row (D,) of one series, NaN for a missing value.

        The last prediction is that for all rows as one series. Raises SettingsError for a bidirectional model.
        """
        if not self.settings.one_way:
            raise SettingsError(
                f"{param('stream')} needs a model that runs forward only, and this one runs in both directions: train "
                f"one with {param('one_way')}"
            )
        return self._streamed(rows)

    def _streamed(self, rows: Iterable[HostArray]) -> Iterator[HostArray]:
        backend, joined = self.model.backend, self.settings.joined
        last, after = np.full(self.head.channels * self.settings.features, np.nan), Running()
        patch: list[HostArray] = []  # the steps after the last complete patch
        before: HostArray | None = None  # the last step of that patch
        for row in rows:
            patch.append(row)
            (values,) = patches(np.array(patch), joined, before)
            known = ~np.isnan(values)
            filled = np.where(known, values, last)
            x = self.scale.apply(filled[None])
            if self.settings.mask:
                x = np.concatenate([x, known[None]], axis=1, dtype=np.float32)
            y, running = self.model.follow(backend.asarray(x), after)
            if len(patch) == joined:
                last, after, before, patch = filled, running, row, []
            yield self.head.decoded(backend.to_numpy(y))[0]


def _arrays(settings: LabelledSettings, head: Head, step: int) -> dict[str, Spec]:
    """The arrays of a snapshot after `step` updates: see LabelledTrainer."""
    of_steps, of_channels = ((step,), "float64"), ((head.channels * settings.features,), "float64")
    arrays: dict[str, Spec] = {"losses": of_steps, "scale.mean": of_channels, "scale.deviation": of_channels}
    return arrays | ({"validation": of_steps} if settings.patience else {})


CLASSIFIER: Final = Kind(
    "xrnn series classifier",
    "xrnn classify",
    ClassifierSettings,
    ClassifierSettings.plan,
    _arrays,
    Classes.from_json,
)
REGRESSION: Final = Kind(
    "xrnn series regression",
    "xrnn regress",
    RegressionSettings,
    RegressionSettings.plan,
    _arrays,
    Numbers.from_json,
)
