"""The estimators that learn one value per series: Classifier and Regressor."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from xrnn.cells import cell_of
from xrnn.files import quoted
from xrnn.layers.linear import Linear
from xrnn.losses import balanced_weights, mean_squared_error, softmax_cross_entropy
from xrnn.select import get_backend, holds_mask
from xrnn.series.checks import Series
from xrnn.series.errors import DataError, SettingsError, param
from xrnn.series.estimator import Estimator
from xrnn.series.files import strings, whole
from xrnn.series.inputs import SeriesLike, Targets, as_row, as_series
from xrnn.series.labelled.choice import choose, scaled
from xrnn.series.labelled.convolutions import ConvolutionsModel, Kernels, ridge, some_of
from xrnn.series.labelled.labels import (
    VALIDATION,
    Label,
    as_array,
    as_labels,
    as_targets,
    classes_of,
    deviation,
    groups_of,
    hold_out,
    is_label,
    r_squared,
)
from xrnn.series.labelled.model import LabelledModel, features_of, inputs_of, streamed
from xrnn.series.labelled.training import LabelledTraining, default_epochs
from xrnn.series.parameters import architecture
from xrnn.series.plan import LinearPlan, Plan
from xrnn.series.read import MOST_CHANNELS, check_same
from xrnn.series.scale import Scale
from xrnn.typing import Array, HostArray, Shape


@dataclass(eq=False, repr=False, kw_only=True)
class LabelledEstimator(Estimator):
    """Each field is a parameter of the estimators.

    channels_, channel_names_      of the series; the names are None if they have none
    patch_, scaling_               the number of steps in a patch, and "shared" or "each"
    longest_                       the number of steps of the longest training series
    losses_, validation_losses_    of every update and, with patience, of every epoch
    scale_                         mean and deviation of each channel, (2, features)
    thresholds_                    of the random convolutions
    """

    model: str = "recurrent"
    cell: str = "gru"
    hidden: int = 64
    heads: int = 1
    layers: int = 1
    one_way: bool = False
    dropout: float = 0.3
    noise: float = 0.3
    patch: int = 0
    scaling: str = "auto"
    mask: bool = False
    patience: int = 0
    lr: float = 0.003
    head_rate: float = 10.0
    members: int = 1
    batch: int = 32
    epochs: int | None = None
    seed: int = 0
    channels_first: bool | None = None

    # ---- methods that Classifier and Regressor define ----

    @property
    def _outputs(self) -> int:
        """The number of outputs of the model."""
        raise NotImplementedError

    def _learn_targets(self, series: Sequence[Series]) -> None:
        """Set the learnt attributes of the targets of these series.   Raises DataError."""
        raise NotImplementedError

    def _groups(self, series: Sequence[Series]) -> list[list[int]]:
        """The indices of the series of each group: a part of each is held out."""
        raise NotImplementedError

    def _targets(self, series: Sequence[Series]) -> HostArray:
        """The targets of the model, (n,): int32 or float32."""
        raise NotImplementedError

    def _loss(self, y: Any, targets: Any, weights: Any = None) -> tuple[Array, Array, Array | None]:
        """The mean loss, its gradient, and the number of correct labels; 0-d and on the device.

        weights   of the labels (K,); None for equal ones
        """
        raise NotImplementedError

    def _error(self, y: HostArray, series: Sequence[Series]) -> float:
        """The error of outputs (n, outputs), by which a patch is chosen."""
        raise NotImplementedError

    def _decoded(self, y: HostArray) -> HostArray:
        """The predictions from the outputs (n, outputs), float64."""
        raise NotImplementedError

    def _class_weights(self, p: Any, targets: HostArray) -> HostArray | None:
        """The weights of the labels in the loss; None for equal ones."""
        return None

    # ---- learning ----

    def _learn(self, X: Any, labels: Sequence[Any]) -> None:
        """Learn from X and its labels.   Raises ValueError."""
        p, tell = self.check_params(), self.watcher.tell
        series = as_series(self._time_first(X, fitting=True), labels)
        self._check_columns(X, reset=True)
        self.channels_ = series[0].channels
        self.channel_names_ = next((each.channel_names for each in series if each.channel_names), None)
        self.longest_ = max(len(each.values) for each in series)
        self._learn_targets(series)
        if p.model == "convolutions":
            self._learn_convolutions(p, series)
            return
        train, validation = series, list[Series]()
        if p.patience:
            train, validation = hold_out(series, self._groups(series), VALIDATION, p.seed)
            if not validation:
                raise DataError(
                    f"there is one series of each label to train on: {param('patience')} needs two of some label; add "
                    f"series, or leave {param('patience')} out"
                )
            self._learn_targets(train)
        self.patch_, self.scaling_ = choose(self, p, train, self.watcher)
        self._params = p
        tell(self._description(p, len(validation)))
        train, validation = scaled(train, self.scaling_), scaled(validation, self.scaling_)
        training = LabelledTraining(self, p, self.patch_, train, validation, get_backend())
        training.run((p.epochs or default_epochs(len(train))) * training.per_epoch, self.watcher)
        if not training.steps:  # stopped at once
            return
        training.model.start_at(0)
        self.losses_, self.validation_losses_ = training.losses, training.validation_losses
        self.scale_ = np.array([training.scale.mean, training.scale.deviation])
        self.layers_ = dict(training.best)

    def _learn_convolutions(self, p: Any, series: list[Series]) -> None:
        self._params, self.patch_, self.scaling_ = p, 1, "shared"
        series = [series[i] for i in some_of(self._groups(series), p.seed)]
        scale = Scale.of(each.values for each in series)
        x = [scale.apply(each.values) for each in series]
        kernels, backend = self._kernels, get_backend()
        self.thresholds_ = kernels.thresholds_of(x, p.seed)
        solved = ridge(kernels.features(x, self.thresholds_), self._targets(series), self._outputs)
        self.watcher.tell(
            f"model: ridge regression on {math.prod(kernels.shape):,} random convolutions of {len(series):,} series; "
            f"penalty {solved.penalty:g}; seed {p.seed}"
        )
        self.losses_, self.validation_losses_ = [], []
        self.scale_ = np.array([scale.mean, scale.deviation])
        self.layers_ = {"linear": Linear(*(backend.asarray(np.float32(each)) for each in (solved.W, solved.b)))}

    @property
    def _kernels(self) -> Kernels:
        return Kernels(self.channels_, self.longest_, self._params.seed)

    def check_params(self) -> Any:
        """The parameters.   Raises SettingsError."""
        p = super().check_params()
        if p.model == "convolutions":
            others = {name: each.default for name, each in inspect.signature(type(self)).parameters.items()}
            given = [name for name, default in others.items() if getattr(p, name) != default]
            if odd := [name for name in given if name not in ("model", "seed", "channels_first")]:
                raise SettingsError(
                    f"{param(odd[0])} is {getattr(p, odd[0])}, which {param('model')} convolutions doesn't use: "
                    f"expected no other parameter than {param('seed')}; leave it out"
                )
        if p.one_way and p.scaling == "each":
            raise SettingsError(
                f"got {param('one_way')} with {param('scaling')} each: expected shared, since a stream can't be scaled "
                "by its later steps; leave one of them out"
            )
        if p.members > 1 and (p.layers > 1 or cell_of(p.cell).recurs):
            raise SettingsError(
                f"{param('members')} is {p.members}, with {p.layers} layers of {param('cell')} {p.cell}: expected one "
                "layer, and a cell whose recurrent term is h @ Wh; use 1"
            )
        return p

    def _planned(self, p: Any, patch: int) -> Plan:
        """The members are one layer, whose Wh connects only units of the same member: they are its heads."""
        heads = p.heads * p.members if cell_of(p.cell).from_h else 1
        return Plan(
            p.cell,
            self.channels_ * (1 + p.mask) * features_of(patch),
            p.hidden * p.members,
            p.layers,
            self._outputs,
            both_ways=not p.one_way,
            dropout=p.dropout,
            seed=p.seed,
            heads=heads if heads > 1 else None,
        )

    def _description(self, p: Any, validation: int) -> str:
        first = f"{p.members} members; " if p.members > 1 else ""
        first += f"patches of {self.patch_} steps; " if self.patch_ > 1 else ""
        first += "each series scaled by itself; " if self.scaling_ == "each" else ""
        more = f", patience {p.patience} on {validation:,} series" if p.patience else ""
        return (
            f"model: {architecture(p)}, {self._planned(p, self.patch_).weights:,} weights; "
            f"{first}batches of {p.batch}; dropout {p.dropout:g}, noise {p.noise:g}, lr {p.lr:g}{more}; seed {p.seed}"
        )

    # ---- predicting ----

    @property
    def model_(self) -> LabelledModel | ConvolutionsModel:
        """The trained model; after early stopping, that of the best epoch."""
        fitted = self._fitted()
        p = fitted._params
        if p.model == "convolutions":
            return ConvolutionsModel(self._kernels, self.thresholds_, fitted.layers_["linear"])
        return LabelledModel(fitted.layers_, p.members, p.dropout, p.seed)

    def stream(self, rows: Iterable[ArrayLike]) -> Iterator[HostArray]:
        """The prediction after each row (D,) of one series: the probabilities (K,), or the number, 0-d.

        The last prediction is that for all rows as one series. Raises ValueError unless `one_way` is True, and for a
        row of another shape.
        """
        model, p = self.model_, self._params
        if not p.one_way or isinstance(model, ConvolutionsModel):
            raise SettingsError(
                f"{param('stream')} needs a model that runs forward only, and this one needs the end of a series: "
                f"train one with {param('one_way')}"
            )
        given = (as_row(row, f"rows[{i}]", self.channels_) for i, row in enumerate(rows))
        outputs = streamed(model, given, Scale(*self.scale_), self.patch_, p.mask)
        return (self._decoded(y)[0] for y in outputs)

    def _predict(self, X: Any) -> HostArray:
        model, X = self.model_, self._time_first(X)
        self._check_columns(X, reset=False)
        series = as_series(X)
        for each in series:
            check_same(each, self.channels_, self.channel_names_, "the model")
        scale, p = Scale(*self.scale_), self._params
        try:
            x = [inputs_of(each.values, scale, self.patch_, p.mask) for each in scaled(series, self.scaling_)]
            return self._decoded(model.outputs(x))
        except MemoryError as error:
            raise DataError.of(error) from error

    def _time_first(self, X: Any, fitting: bool = False) -> Any:
        """X with time before the channels: see `channels_first`. Other shapes than (n, D, T) or a list of (D, T) stay.

        fitting   warn if an array X (n, T, D) has more channels than steps, as if time came last
        """
        if self.channels_first not in (None, True, False):
            raise ValueError(f"channels_first is {self.channels_first!r}: expected True, False or None")
        is_array = hasattr(X, "__array__")
        shape: tuple[int, ...] = np.asarray(X).shape if is_array else ()
        if fitting and self.channels_first is None and len(shape) == 3 and shape[2] > shape[1]:
            warnings.warn(
                f"X has shape {shape}: expected (n, T, D), so these are {shape[1]} steps of {shape[2]} channels; if it "
                "is (n, channels, time), as in aeon, use channels_first=True, else channels_first=False",
                stacklevel=4,
            )
        if not self.channels_first:
            return X
        if is_array:
            return np.asanyarray(X).swapaxes(1, 2) if len(shape) == 3 else X
        # A list with masked arrays stays, and `as_series` refuses it: NumPy would drop the masks.
        return [np.asanyarray(each).T if np.ndim(each) == 2 and not holds_mask(each) else each for each in X]

    # ---- files ----

    def _set_learnt(self, learnt: dict[str, Any]) -> None:
        self.channels_ = whole("channels_", learnt["channels_"], 1, MOST_CHANNELS)
        names = learnt["channel_names_"]
        self.channel_names_ = None if names is None else strings("channel_names_", names, self.channels_)
        self.patch_ = whole("patch_", learnt["patch_"], 1, 1024)
        self.longest_ = whole("longest_", learnt["longest_"], 1, 2**40)
        self.scaling_ = learnt["scaling_"]
        if self.scaling_ not in ("shared", "each"):
            raise SettingsError(f"scaling_ is {quoted(str(self.scaling_))}: expected shared or each")

    def _plan(self) -> Plan | LinearPlan:
        if self._params.model == "convolutions":
            return LinearPlan(math.prod(self._kernels.shape), self._outputs)
        return self._planned(self._params, self.patch_)

    def _shapes(self) -> dict[str, Shape]:
        features = self.channels_ * features_of(self.patch_)
        shapes = {"losses": (-1,), "validation_losses": (-1,), "scale": (2, features)}
        return shapes | ({"thresholds": self._kernels.shape} if self._params.model == "convolutions" else {})


@dataclass(eq=False, repr=False, kw_only=True)
class Classifier(LabelledEstimator):
    """The label of a series of any length: the model and the training of `xrnn classify`, whose options these are.

        classifier = Classifier().fit(X, y)    # X (n, T), (n, T, D), or a list of (Tᵢ, D); y: n labels
        classifier.predict(X_new)              # (n,), of classes_
        classifier.predict_proba(X_new)        # (n, K)

    NaN is a missing value. Labels are text, bools or whole numbers, of Python or NumPy.

    model            kind of model: recurrent; or convolutions, ridge regression on random convolutions, which trains in
                     seconds and uses no other training parameter than seed
    cell             type of the recurrent layers, also the name of a registered cell
    hidden           size of the hidden state in each direction, H
    heads            number of heads; Wh connects only units of the same head, so with k heads it has 1/k of the weights
    layers           number of recurrent layers
    one_way          run forward only, so that a stream can be followed; by default, in both directions
    dropout          probability of dropout, between layers and after the mean over time
    noise            noise added to the training series, in standard deviations of each channel
    patch            number of consecutive steps to join, with their values and changes, into one; 0: chosen by left-out
                     series
    scaling          shared: one mean and deviation of each channel for all series; each: those of the series itself;
                     auto: chosen by left-out series if the deviations of the series are far apart
    mask             add a second channel for each channel: 1 if its value is known, 0 if it is missing
    patience         stop after this number of epochs without a lower loss on validation series, a fifth of the training
                     series, and keep the best epoch; 0: train to the end, on all series
    lr               highest learning rate of Adam
    head_rate        learning rate of the linear layer, as a multiple of lr
    members          number of models with other initial weights, trained together; the prediction is their mean
    batch            series per update
    epochs           passes over the training series; by default 1600 / √series, at least 10
    seed             seed of all random draws: the same seed gives the same results
    channels_first   True if X is (n, D, T), or a list of (D, Tᵢ), as in aeon. None, the default, is False, with a
                     warning if X is an array with more channels than steps
    balance          give all labels the same total weight in the loss, so that rare ones count as much

    After `fit`, `patch_` is the number of steps in a patch, and `losses_` has the loss of every update. `save` writes
    the files of `xrnn classify`. Raises ValueError for invalid parameters and data.
    """

    balance: bool = False

    job = "xrnn series classifier"
    estimator_type = "classifier"
    writer = "xrnn classify"
    learnt = ("channels_", "channel_names_", "patch_", "scaling_", "longest_", "classes_")

    def fit(self, X: SeriesLike, y: Targets) -> Self:
        """Learn from series and their labels."""
        labels = as_labels(y)
        from_files = isinstance(X, list) and bool(X) and isinstance(X[0], Series)
        classes = classes_of(labels, by_number=from_files)
        if len(classes) < 2:
            raise ValueError(f"got {len(classes)} class(es), {quoted(str(classes))}: expected two or more; add series")
        with self._learning():
            self.classes_ = as_array(classes)
            self._learn(X, labels)
        return self

    def predict(self, X: SeriesLike) -> HostArray:
        """The likeliest label of each series, (n,)."""
        p = self._predict(X)
        labels: HostArray = self.classes_[p.argmax(axis=1)]
        return labels

    def predict_proba(self, X: SeriesLike) -> HostArray:
        """The probabilities of the labels, (n, K) float64."""
        return self._predict(X)

    def score(self, X: SeriesLike, y: Targets) -> float:
        """The accuracy."""
        predicted, labels = self.predict(X), as_labels(y)
        if len(labels) != len(predicted):
            raise ValueError(f"y has {len(labels)} values: expected one for each of the {len(predicted)} series in X")
        return float(np.mean([a == b for a, b in zip(predicted, labels, strict=True)]))

    @property
    def _outputs(self) -> int:
        return len(self.classes_)

    def _learn_targets(self, series: Sequence[Series]) -> None:
        """Does nothing: `fit` has set the labels, and holding out series does not change them."""

    def _groups(self, series: Sequence[Series]) -> list[list[int]]:
        return groups_of(series, self.classes_.tolist())

    def _targets(self, series: Sequence[Series]) -> HostArray:
        index = {label: i for i, label in enumerate(self.classes_.tolist())}
        return np.array([index[each.label] for each in series], np.int32)

    def _loss(self, y: Any, targets: Any, weights: Any = None) -> tuple[Array, Array, Array | None]:
        loss, dy = softmax_cross_entropy(y, targets, class_weight=weights)
        return loss, dy, (y.argmax(axis=-1) == targets).sum()

    def _error(self, y: HostArray, series: Sequence[Series]) -> float:
        return float(1 - self._decoded(y)[np.arange(len(y)), self._targets(series)].mean())

    def _decoded(self, y: HostArray) -> HostArray:
        """The probabilities of the labels: p(label | x) = softmax(y)."""
        e = np.exp(y.astype(np.float64) - y.max(axis=-1, keepdims=True))
        p: HostArray = e / e.sum(axis=-1, keepdims=True)
        return p

    def _class_weights(self, p: Any, targets: HostArray) -> HostArray | None:
        return balanced_weights(targets, self._outputs) if p.balance else None

    def _set_learnt(self, learnt: dict[str, Any]) -> None:
        super()._set_learnt(learnt)
        labels: list[Label] = learnt["classes_"]
        if not isinstance(labels, list) or not all(map(is_label, labels)):
            raise SettingsError("classes_ is not a list of strings or whole numbers of 64 bits: expected one")
        if len(set(labels)) < max(2, len(labels)):
            raise SettingsError("classes_ holds fewer than two, or one twice: expected at least two different labels")
        self.classes_ = as_array(labels)


@dataclass(eq=False, repr=False, kw_only=True)
class Regressor(LabelledEstimator):
    """A number for a series of any length: the model and the training of `xrnn regress`, whose options these are.

        regressor = Regressor().fit(X, y)    # X (n, T), (n, T, D), or a list of (Tᵢ, D); y: n numbers
        regressor.predict(X_new)             # (n,)

    The parameters are those of Classifier, without `balance`, and `head_rate` is 1 by default, since a linear layer
    that learns faster predicts numbers less well. `save` writes the files of `xrnn regress`.

    Raises ValueError for invalid parameters and data.
    """

    head_rate: float = 1.0

    job = "xrnn series regression"
    estimator_type = "regressor"
    writer = "xrnn regress"
    learnt = ("channels_", "channel_names_", "patch_", "scaling_", "longest_", "target_mean_", "target_deviation_")

    def fit(self, X: SeriesLike, y: Targets) -> Self:
        """Learn from series and their numbers."""
        with self._learning():
            self._learn(X, as_targets(y))
        return self

    def predict(self, X: SeriesLike) -> HostArray:
        """The number of each series, (n,) float64."""
        return self._predict(X)

    def score(self, X: SeriesLike, y: Targets) -> float:
        """R²; nan if all numbers in y are equal."""
        return r_squared(np.array(as_targets(y)), self.predict(X))

    @property
    def _outputs(self) -> int:
        return 1

    def _learn_targets(self, series: Sequence[Series]) -> None:
        numbers = np.array([each.label for each in series])
        if len(series) < 2:
            raise DataError(
                f"{len(series)} series are left to train on: expected at least two, besides those held out to test on "
                "and to validate on; add some"
            )
        self.target_mean_, self.target_deviation_ = float(numbers.mean()), deviation(numbers)
        if self.target_deviation_ <= abs(self.target_mean_) * 1e-12:
            raise DataError(f"all series have the same target {numbers[0]:g}: expected different ones")

    def _groups(self, series: Sequence[Series]) -> list[list[int]]:
        return groups_of(series, None)

    def _targets(self, series: Sequence[Series]) -> HostArray:
        """(target - mean) / deviation."""
        numbers = np.array([each.label for each in series], float)
        return ((numbers - self.target_mean_) / self.target_deviation_).astype(np.float32)

    def _loss(self, y: Any, targets: Any, weights: Any = None) -> tuple[Array, Array, Array | None]:
        return *mean_squared_error(y, targets[:, None].astype(y.dtype, copy=False)), None

    def _error(self, y: HostArray, series: Sequence[Series]) -> float:
        return float(np.square(y[:, 0] - self._targets(series)).mean())

    def _decoded(self, y: HostArray) -> HostArray:
        predicted: HostArray = self.target_mean_ + self.target_deviation_ * y[:, 0]
        return predicted

    def _set_learnt(self, learnt: dict[str, Any]) -> None:
        super()._set_learnt(learnt)
        for name, least, expected in (("target_mean_", -math.inf, "finite"), ("target_deviation_", 0.0, "positive")):
            value = learnt[name]
            if not isinstance(value, float) or not least < value < math.inf:
                raise SettingsError(f"{name} is {quoted(str(value))}: expected a {expected} number")
            setattr(self, name, value)
