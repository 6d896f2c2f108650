"""The recurrent model: patches of the series, recurrent layers, the mean over time, a linear layer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np

from xrnn.arrays.convert import to_numpy
from xrnn.cells import CELLS
from xrnn.layers.dropout import Dropout
from xrnn.layers.linear import Linear
from xrnn.layers.network import Network
from xrnn.layers.stack import Stack
from xrnn.losses import mean_squared_error, softmax_cross_entropy
from xrnn.optim import Adam, clip_grad_norm, cosine
from xrnn.sequences import batches, pad
from xrnn.series.errors import DivergedError, param
from xrnn.series.estimator import RULES
from xrnn.series.labelled.base import (
    AUTO,
    Candidate,
    FittedModel,
    Parameters,
    Task,
    Watcher,
    probabilities,
    targets_of,
    weights_of,
)
from xrnn.series.labelled.splits import parts_of, units_of
from xrnn.series.one_series import Series
from xrnn.series.progress import progress_of
from xrnn.series.scale import Scale
from xrnn.typing import Array, HostArray

_SHORT: Final = 64  # steps: shorter series get no patches
_MOST: Final = 256  # steps in a patch
_APART: Final = 10.0  # between the deviations of the series: below this ratio, the scaling makes little difference
_TESTED: Final = 40  # left-out series, about: of few series, several parts are left out one after the other
_MOST_PARTS: Final = 3
_SHARE: Final = 1 / 3  # of the updates of a training
# A later choice needs an error below this share of the lowest one so far: short trainings favour small patches, and a
# few left-out series can't show small differences.
_BETTER: Final = 0.7
# Learning rate of the linear layer, as a multiple of lr, for labels and for numbers: the mean over time differs little
# from series to series, but a linear layer that learns faster predicts numbers less well.
_LINEAR_RATE: Final = {"i": 10.0, "f": 1.0}
_INFERENCE_BATCH: Final = 64  # series at a time, so that the memory for inference does not grow with their number
_MAX_NORM: Final = 1.0
_ORDER, _NOISE, _START = 2, 3, 5  # spawn keys: each gives an independent random stream of the seed
_LOWEST: Final = 0.05  # the lowest learning rate, divided by the highest; it stays after the last update of the cosine


@dataclass(frozen=True, kw_only=True, eq=False)
class Recurrent(FittedModel):
    """Recurrent layers on patches of the series.

    patch_      the number of steps in a patch
    scaling_    "shared" or "each"
    scale_      mean and deviation of each feature, (2, features)
    """

    patch_: int
    scaling_: str

    def __post_init__(self) -> None:
        RULES["patch"].check("patch_", self.patch_)  # a file may be forged

    @staticmethod
    def check(params: Parameters) -> None:
        """It uses all parameters."""

    @classmethod
    def candidate(cls, params: Parameters, task: Task, series: list[Series], watcher: Watcher) -> Candidate:
        targets = targets_of(series)
        weights = weights_of(series)
        is_classifier = targets.dtype.kind == "i"
        is_compared = params.model == AUTO and not params.set_for_recurrent()
        tested = choose(params, task, series, watcher, always=is_classifier or is_compared)

        def fit() -> FittedModel:
            training = Training(params, task, tested.patch, scaled(series, tested.scaling), targets, weights)
            count = sum(each.size for each in training.network.params)
            cell = CELLS[params.cell].__name__
            kind = cell if params.one_way else f"bidirectional {cell}"
            title = f"{kind} layer" if params.layers == 1 else f"{kind} layers"
            options = f"--patch {tested.patch} --scaling {tested.scaling}"
            watcher.tell(f"model: {params.layers} {title} of {params.hidden}, {count:,} weights; {options}")
            watcher.run(training, training.length)
            model = cls(
                params=params,
                channels_=series[0].channels,
                scale_=np.array([training.scale.mean, training.scale.deviation]),
                losses_=np.array(training.losses),
                layers_=dict(training.network),
                patch_=tested.patch,
                scaling_=tested.scaling,
            )
            is_calibrated = is_classifier and not np.isnan(tested.left_out).all()
            return model.multiplied_by(1 / training.rms_of_outputs()) if is_calibrated else model

        return Candidate(tested.left_out, fit)

    def outputs(self, series: list[Series]) -> HostArray:
        scale = Scale(*self.scale_)
        x = [scale.apply(patches(values, self.patch_)) for values in scaled(series, self.scaling_)]
        return SeriesNetwork(self.layers_).outputs(x)


class Tested(NamedTuple):
    """The settings of a network, and a short training with them, see `_test`."""

    patch: int
    scaling: str
    left_out: HostArray


def choose(params: Parameters, task: Task, train: list[Series], watcher: Watcher, *, always: bool = False) -> Tested:
    """The number of steps in a patch, and the scaling: those of the parameters, or chosen if they are 0 and "auto".

    The first choice is one scale for all series, and a patch near half the square root of the median length T: a series
    then has about 2 √T patches. Scaling each series by itself, then a quarter of the patch, a quarter of that and so on
    replace it if they are clearly better on left-out series. Large patches come first: they train quickly.

    always   test the first choice even if there is no other one
    """
    parts = parts_of(train, params.seed)
    median = float(np.median([len(one.values) for one in train]))
    patch = params.patch or 1
    scaling = params.scaling
    if not params.patch and parts and median >= _SHORT:
        patch = min(2 ** round(math.log2(math.sqrt(median) / 2)), _MOST)
    if params.scaling == "auto":
        scaling = "shared"
    units = len(units_of([train[i] for i in parts[0]])) if parts else 0
    # C programs have one scale for all series
    both_scalings = parts and params.scaling == "auto" and not params.one_way and _far_apart(train)
    has_choice = both_scalings or not (params.patch or patch == 1)
    if not parts or not (has_choice or always):
        return Tested(patch, scaling, np.full((len(train), task.outputs), np.nan))
    if has_choice:
        watcher.tell("choosing by short trainings, tested on series that they leave out")

    def test(size: int, scaling: str) -> tuple[float, HostArray]:
        error, left_out = _test(params, task, size, scaling, train, parts[: -(-_TESTED // units)][:_MOST_PARTS])
        if has_choice:
            watcher.tell(f"  --patch {size} --scaling {scaling}: error {error:.3f}")
        return error, left_out

    lowest, left_out = test(patch, scaling)
    if both_scalings:
        error, of_each = test(patch, "each")
        if error < _BETTER * lowest:
            scaling = "each"
            lowest = error
            left_out = of_each
    while patch > 1 and not params.patch:
        size = max(1, patch // 4)
        error, of_size = test(size, scaling)
        if lowest < math.inf and error >= _BETTER * lowest:
            break
        patch, lowest, left_out = size, error, of_size
    return Tested(patch, scaling, left_out)


def _far_apart(series: list[Series]) -> bool:
    """Whether the deviations of a channel differ by more than the ratio _APART, without a tenth at each end."""
    deviations = np.array([np.nanstd(one.values, axis=0) for one in series if len(one.values) > 1] or [np.zeros(1)])
    low, high = np.nanquantile(deviations, [0.1, 0.9], axis=0)
    return bool((high > _APART * low).any())


def _test(
    params: Parameters, task: Task, size: int, scaling: str, series: list[Series], parts: Sequence[HostArray]
) -> tuple[float, HostArray]:
    """The error on left-out parts after short trainings, infinite if one diverged; and the outputs, see `Candidate`.

    The outputs for labels grow with each update, so they are divided by their size on the series of the training.
    """
    values = scaled(series, scaling)
    targets = targets_of(series)
    weights = weights_of(series)
    left_out = np.full((len(series), task.outputs), np.nan)
    errors = []
    for part in parts:
        rest = np.setdiff1d(np.arange(len(series)), part)
        training = Training(params, task, size, [values[i] for i in rest], targets[rest], weights[rest])
        training.total = max(1, round(_SHARE * min(training.length, training.total)))
        try:
            with progress_of("short training", training.total) as advance:
                training.run(training.total, advance)
        except DivergedError:
            return math.inf, np.full_like(left_out, np.nan)
        y = training.network.outputs([training.input(values[i]) for i in part])
        if targets.dtype.kind == "f":
            of_series = np.square(y[:, 0] - targets[part])
            left_out[part] = y
        else:
            of_series = 1 - probabilities(y)[np.arange(len(y)), targets[part]]
            left_out[part] = y / training.rms_of_outputs()
        errors.append(float(np.average(of_series, weights=weights[part])))
    return float(np.mean(errors)), left_out


def scaled(series: list[Series], scaling: str) -> list[HostArray]:
    """The values of series before the scale that all share; "each": standardised by series. NaN stays."""
    values = [one.values for one in series]
    if scaling == "shared":
        return values
    scales = [Scale.of([array]) for array in values]
    return [(each - scale.mean) / scale.deviation for each, scale in zip(values, scales, strict=True)]


def patches(values: HostArray, size: int) -> HostArray:
    """Join `size` consecutive steps into one, with their values and changes: (T, D) → (⌈T / size⌉, 2 · size · D).

    The change of a step is its value minus that of the step before: as in MultiRocket (Tan et al., 2022), the model
    gets the differences beside the series. The first change and steps after the last one are missing. A size of 1
    leaves the values alone.
    """
    if size == 1:
        return values
    T, D = values.shape
    padded = np.full((T + -T % size, 2 * D), np.nan)
    padded[:T, :D] = values
    padded[:T, D:] = np.diff(values, axis=0, prepend=np.nan)
    return padded.reshape(-1, 2 * size * D)


class SeriesNetwork(Network):
    """y = dropout(mean of h[t] over t < length) @ W + b, h = stack(x)   (Graves & Schmidhuber, 2005)."""

    stack: Stack
    linear: Linear

    def __init__(self, layers: Mapping[str, Any], dropout: float = 0.0, seed: int = 0) -> None:
        super().__init__(**layers)
        self.backend = self.linear.backend
        self._dropout = Dropout(dropout, seed=seed, layer=len(self.stack.layers))

    @classmethod
    def new(cls, p: Parameters, size: int, outputs: int) -> Self:
        """For inputs of `size` features, with float32 weights that are the same on every backend."""
        rng = np.random.default_rng(p.seed)
        new = Stack.init(CELLS[p.cell], size, p.hidden, p.layers, bidirectional=not p.one_way, rng=rng)
        linear = Linear.init(new.output_size, outputs, rng=rng)
        stack = Stack(new.layers, dropout=p.dropout, rng=p.seed)
        return cls({"stack": stack, "linear": linear}, p.dropout, p.seed)

    def forward(self, x: Array, lengths: Array) -> Array:
        """x (T, N, D), lengths (N,) integers in [1, T] → y (N, outputs). Keeps the arrays for `backward`."""
        h, _ = self.stack.forward(x, lengths=lengths)
        self._shares = self._shares_of(h, lengths)
        return self.linear.forward(self._dropout.forward((h * self._shares).sum(axis=0)))

    def backward(self, dy: Array) -> None:
        """dy (N, outputs) → the gradients of every layer."""
        dmean = self._dropout.backward(self.linear.backward(dy))
        self.stack.backward(dmean * self._shares, needs_dx=False)

    def __call__(self, x: Array, lengths: Array) -> Array:
        """Inference: y without dropout. Nothing is kept for `backward`."""
        h, _ = self.stack(x, lengths=lengths)
        return self.linear((h * self._shares_of(h, lengths)).sum(axis=0))

    def _shares_of(self, h: Array, lengths: Array) -> Any:
        """The share of each step in the mean (T, N, 1): 1 / length[n] for t < length[n], else 0."""
        inside = self.backend.xp.arange(len(h))[:, None] < lengths
        return (inside / lengths).astype(h.dtype)[..., None]

    def outputs(self, series: Sequence[HostArray]) -> HostArray:
        """Inference for any number of series, (T, D) float32 each → y (count, outputs) float64."""
        # The longest series determines the cost of a batch, so batches are made of series of similar lengths.
        by_length = np.argsort([len(values) for values in series], kind="stable")
        y = np.zeros((len(series), self.linear.output_size))
        for rows in np.split(by_length, range(_INFERENCE_BATCH, len(series), _INFERENCE_BATCH)):
            x, lengths = map(self.backend.asarray, pad([series[i] for i in rows]))
            y[rows] = self.backend.to_numpy(self(x, lengths))
        return y


class Training:
    """The updates of a new network. The seed and the number of an update determine its random draws.

    values      of the series, (T, D) each
    targets     (n,), see `targets_of`
    weights     (n,): of the series in the loss

    losses      one per update, up to the last `read_losses`
    per_epoch   updates in an epoch
    total       updates until the learning rate is the lowest
    length      updates of a complete training
    """

    def __init__(
        self,
        params: Parameters,
        task: Task,
        patch: int,
        values: list[HostArray],
        targets: HostArray,
        weights: HostArray,
    ) -> None:
        self._params, self._patch = params, patch
        self._values = values
        self._targets = targets
        self._weights = weights.astype(np.float32)
        self.scale = Scale.of(patches(array, patch) for array in values)
        self._inputs = [self.input(array) for array in values]
        self.network = SeriesNetwork.new(params, len(self.scale.mean), task.outputs)
        self._is_weighted = np.ptp(weights) > 0
        linear_lr = _LINEAR_RATE[targets.dtype.kind] * params.lr
        self._optimizer = Adam([self.network.stack, {"layers": [self.network.linear], "lr": linear_lr}], params.lr)
        self.per_epoch = -(-len(values) // params.batch)
        # Found on sets of 40 to 270 series. The number of updates grows with the square root of the number of series.
        self.total = max(10, round(1600 / math.sqrt(len(values)))) * self.per_epoch
        self.length = params.epochs * self.per_epoch if params.epochs else self.total
        self.losses: list[float] = []
        self._unread: list[Array] = []  # losses that are still on the device

    def input(self, values: HostArray) -> HostArray:
        """The model's input for a series (T, D): scaled patches."""
        return self.scale.apply(patches(values, self._patch))

    def rms_of_outputs(self) -> float:
        """The root mean square of the outputs for the training series, after the mean of each series is subtracted."""
        y = self.network.outputs(self._inputs)
        return max(float(np.sqrt(np.square(y - y.mean(axis=1, keepdims=True)).mean())), 1e-30)

    def batches(self) -> Iterator[tuple[HostArray, ...]]:
        """x (T, N, D), lengths (N,), targets (N,) of each update, and weights (N,) if they are not equal.

        An epoch takes each series once, in a new order. An update cuts a random number of steps from the start of a
        series, fewer than a patch, so that the network does not depend on where the patches begin. A complete patch
        must be left. The same idea: window slicing (Le Guennec et al., 2016).
        """
        params = self._params
        steps = np.array([len(each) for each in self._inputs])
        starts = (np.array([len(each) for each in self._values]) - self._patch + 1).clip(1, self._patch)
        epochs = (batches(steps, params.batch, rng=self._rng(_ORDER, epoch)) for epoch in itertools.count())
        for update, chosen in enumerate(itertools.chain.from_iterable(epochs)):
            cuts = self._rng(_START, update).integers(starts[chosen])
            parts = zip(chosen.tolist(), cuts.tolist(), strict=True)
            x, lengths = pad([self.input(self._values[i][cut:]) if cut else self._inputs[i] for i, cut in parts])
            if params.noise:
                x += np.float32(params.noise) * self._rng(_NOISE, update).standard_normal(x.shape, dtype=np.float32)
            weights = [self._weights[chosen]] if self._is_weighted else []
            yield x, lengths, self._targets[chosen], *weights

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._params.seed, spawn_key=key))

    def run(self, last: int, stops: Callable[[], bool | None] = lambda: False) -> None:
        """Make `last` updates, or fewer if `stops`, which is called after each one, returns True.

        Raises DivergedError if a loss or a weight is not finite.
        """
        for batch in itertools.islice(self.batches(), last):
            self.step(*batch)
            if stops():
                break
        self.read_losses()
        for name, each in self.network.named_params.items():
            if not np.isfinite(to_numpy(each)).all():
                found = f"{name} is not finite after update {self._optimizer.steps:,}"
                raise DivergedError(f"{found}; lower {param('lr')}")

    def step(self, *batch: HostArray) -> None:
        """Forward, backward, update. It does not wait for the device: the batch is sent there, the loss stays there."""
        x, lengths, targets, *weights = map(self.network.backend.asarray, batch)
        # An overflow shows in the loss, which `read_losses` checks.
        with np.errstate(over="ignore", invalid="ignore"):
            y = self.network.forward(x, lengths)
            weight = weights[0] if weights else None
            if self._targets.dtype.kind == "f":
                loss, dy = mean_squared_error(y, targets[:, None], weight=weight)
            else:
                loss, dy = softmax_cross_entropy(y, targets, weight=weight)
            self.network.backward(dy)
            clip_grad_norm(self._optimizer.grads, _MAX_NORM)
            self._optimizer.lr = self._params.lr * max(_LOWEST, cosine(self._optimizer.steps + 1, self.total))
            self._optimizer.step()
        self._unread.append(loss)

    def read_losses(self) -> None:
        """Wait for the device and move the losses since the last call to `losses`.

        Raises DivergedError with the first update whose loss is not finite.
        """
        if not self._unread:
            return
        losses = self.network.backend.to_numpy(self.network.backend.xp.stack(self._unread))
        self._unread = []
        for update, loss in enumerate(losses.tolist(), len(self.losses) + 1):
            if not math.isfinite(loss):
                found = f"the loss is {loss} at update {update:,}"
                raise DivergedError(f"{found}; lower {param('lr')}")
            self.losses.append(loss)
