"""The estimators that learn one value per series: Classifier and Regressor."""

from __future__ import annotations

import math
import sys
import warnings
from abc import abstractmethod
from collections import ChainMap, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Final, Self

import numpy as np

from xrnn.files import quoted
from xrnn.series.errors import DataError, SettingsError, param
from xrnn.series.estimator import RULES, Estimator, Rule, one_of, whole
from xrnn.series.inputs import SeriesLike, Targets, as_numbers, as_row, as_series, refuse_mask
from xrnn.series.labelled.base import (
    AUTO,
    FittedModel,
    Parameters,
    Task,
    Watcher,
    channels_like_times,
    probabilities,
    steady,
    targets_of,
    weights_of,
)
from xrnn.series.labelled.kinds import MODELS, choose_kind
from xrnn.series.labelled.splits import classes_of
from xrnn.series.labelled.windows import Windows
from xrnn.series.one_series import LARGEST, Series, check_same
from xrnn.series.reading.numbers import as_number
from xrnn.series.scale import deviation_of
from xrnn.typing import HostArray

LAST: Final = whole(1, 2**31)  # rows that a prediction for a stream is about


@dataclass(eq=False, kw_only=True)
class LabelledEstimator(Parameters, Estimator):
    """What Classifier and Regressor share. Besides the fields of the fitted model, `fit` sets

    model_           kind of model that was fitted
    window_          number of rows in a window; 0: series are not cut
    compared_        of the kinds that were compared, the error on left-out series: the share of wrong labels; for
                     numbers, the mean squared error divided by their variance
    channel_names_   of the series; None if they have none
    steps_           median number of steps of the training series, rounded up to complete patches, or down to complete
                     windows: the number of rows that a prediction for a stream is about
    """

    model_: str = field(init=False, repr=False)
    window_: int = field(init=False, repr=False, default=0)  # older files have none
    compared_: dict[str, float] = field(init=False, repr=False)
    channels_: int = field(init=False, repr=False)
    channel_names_: tuple[str, ...] | None = field(init=False, repr=False)
    steps_: int = field(init=False, repr=False)
    scale_: HostArray = field(init=False, repr=False)
    losses_: HostArray = field(init=False, repr=False)
    patch_: int = field(init=False, repr=False)  # only of a recurrent model

    rules: ClassVar = {**RULES, "model": one_of(ChainMap[str, object](MODELS, {AUTO: None}))}  # type: ignore[arg-type]
    watcher: ClassVar[Watcher] = Watcher()  # follows `fit`: a command sets one that shows the progress

    @property
    @abstractmethod
    def _outputs(self) -> int:
        """The number of outputs of the model."""

    @abstractmethod
    def predict(self, X: SeriesLike) -> HostArray:
        """The prediction for each series, (n,)."""

    @abstractmethod
    def _decoded(self, y: HostArray) -> HostArray:
        """The predictions from the outputs (n, outputs), float64."""

    @property
    def _fitted_model(self) -> FittedModel:
        params = self._fitted()
        kind = MODELS[self.model_]
        return kind(params=params, **{name: getattr(self, name) for name in _learnt_by(kind)})

    def _learn(
        self,
        params: Self,
        task: Task,
        X: Any,
        targets: HostArray,
        *,
        weights: HostArray | None,
        groups: list[Any] | None,
        **learnt: Any,
    ) -> Self:
        """Learn from X and the targets, see `targets_of`.

        params    from `check_params`
        weights   (n,) of the series in the loss; None if all are 1. Series without weight are left out
        groups    of the series; None: series from files may have some
        learnt    the attributes that `fit` has learnt from y
        """
        if not params.channels_first and getattr(X, "ndim", 0) == 3 and X.shape[2] > X.shape[1]:
            read = f"X has shape {X.shape}: expected (n, T, D), that is {X.shape[1]} steps of {X.shape[2]} channels"
            warnings.warn(f"{read}; if it is (n, channels, T), give channels_first=True, else list(X)", stacklevel=3)
        given = as_series(X, len(targets), channels_first=params.channels_first)
        if given is not X and (like_times := channels_like_times(given)):  # a command has told it about files
            warnings.warn(f"{steady(like_times)} by drop(columns={like_times})", stacklevel=3)
        weights = np.ones(len(given)) if weights is None else weights
        groups = [one.group for one in given] if groups is None else groups
        series = [
            replace(each, label=target, weight=weight, group=group)
            for each, target, weight, group in zip(given, targets, weights.tolist(), groups, strict=True)
            if weight
        ]
        if getattr(X, "ndim", 0) > 1:
            learnt["n_features_in_"] = X.shape[1]  # as in scikit-learn, but the second axis is time
        chosen = choose_kind(params, task, series, self.watcher)
        model = chosen.fit(targets_of(series), weights_of(series))
        window = chosen.windows.rows
        patch = getattr(model, "patch_", 1)  # only a recurrent model has patches
        learnt |= {name: getattr(model, name) for name in _learnt_by(type(model))}
        learnt["model_"] = next(name for name, kind in MODELS.items() if kind is type(model))
        learnt["channel_names_"] = next((one.channel_names for one in series if one.channel_names), None)
        learnt["compared_"] = chosen.compared
        learnt["window_"] = window
        median = float(np.median([len(one.values) for one in series]))
        learnt["steps_"] = max(1, int(median // window)) * window if window else math.ceil(median / patch) * patch
        self._finish_fit(params, **learnt)
        return self

    def _predict(self, X: Any) -> HostArray:
        windows = Windows.of(self._series_of(X), self.window_)
        return windows.mean(self._decoded(self._fitted_model.outputs(windows.series)))

    def _series_of(self, X: Any, count: int | None = None) -> list[Series]:
        """The series in X, see `as_series`, with the channels of the model.   Raises DataError for other channels."""
        first = self._fitted().channels_first
        series = as_series(X, count, self.channel_names_, channels_first=first)
        for one in series:
            check_same(one, self.channels_, self.channel_names_)
        return series

    def stream(self, rows: Iterable[Any], last: int | None = None) -> Iterator[HostArray]:
        """The prediction after each row (D,) of an endless series: the probabilities (K,), or the number, 0-d.

        It is the prediction of `predict` for a series that consists of the last rows alone. Only these are kept, so the
        memory of a stream is constant. The time of a prediction is that of a series of so many steps. With windows, it
        is the mean over the last ones, and its time is that of one window.

        rows   arrays, or mappings and pandas' Series with the names of the channels. If a channel has no value in the
               last rows, or in a window, its mean over the training series is used
        last   number of rows that a prediction is about; by default `steps_`. With windows, the rows of an incomplete
               one are not counted. At the start of the stream, the rows are fewer

        Raises ValueError for an invalid `last`, and for a row of another shape.
        """
        self._fitted()
        size = self.steps_ if last is None else last
        LAST.check("last", size)
        return self._predictions(rows, size)

    def _predictions(self, rows: Iterable[Any], last: int) -> Iterator[HostArray]:
        """See `stream`. The windows before the last one were the last ones some rows ago: their answers are kept."""
        model = self._fitted_model
        size = min(last, self.window_ or last)
        window: deque[HostArray] = deque(maxlen=size)
        answers: deque[HostArray] = deque(maxlen=(last // size - 1) * size + 1)
        for i, row in enumerate(rows):
            window.append(as_row(row, f"rows[{i}]", self.channels_, self.channel_names_))
            answers.append(self._decoded(model.outputs([Series(np.array(window), None, "")]))[0])
            complete = min((i + 1) // size, last // size)
            yield np.mean([answers[-1 - k * size] for k in range(max(1, complete))], axis=0)

    def _try(self) -> None:
        params = self._fitted()
        if params.model != AUTO:
            MODELS[params.model].check(params)
            if params.model != self.model_:
                raise ValueError(f"model_ is {self.model_}, but model is {params.model}")
        model, D, names = self._fitted_model, self.channels_, self.channel_names_
        has_scale = np.shape(self.scale_)[1] % D == 0 and (self.scale_[1] > 0).all()
        LAST.check("steps_", self.steps_)
        RULES["window"].check("window_", self.window_)
        has_names = names is None or (isinstance(names, tuple) and [*map(type, names)] == [str] * D)
        if not has_scale or not has_names or np.ndim(self.losses_) != 1:
            raise ValueError("scale_, losses_ or channel_names_ does not fit the number of channels")
        series = [Series(np.zeros((2, D)), None, "", names)]
        y = model.outputs(series)
        shapes = y.shape, self.predict(series).shape
        if shapes != ((1, self._outputs), (1,)) or not np.isfinite(self._decoded(y)).all():
            raise ValueError("a prediction has another shape, or is not finite")


def _learnt_by(kind: type[FittedModel]) -> list[str]:
    """The names of the attributes that an estimator has from its fitted model."""
    return [field.name for field in fields(kind) if field.name != "params"]


@dataclass(eq=False, kw_only=True)
class Classifier(LabelledEstimator):
    """The label of a series of any length: the model and the training of `xrnn classify`, whose options these are.

        classifier = Classifier().fit(X, y)    # X (n, T), (n, T, D), or a list of (Tᵢ, D); y: n labels
        classifier.predict(X_new)              # (n,), of classes_
        classifier.predict_proba(X_new)        # (n, K)

    NaN is a missing value. Labels are text, bools or whole numbers, of Python or NumPy.

    model            kind of model: features, ridge regression on summary features of the channels; convolutions, ridge
                     regression on random convolutions; recurrent, recurrent layers; or auto: the best of these on
                     left-out series, or recurrent if a parameter below up to epochs is given, since the other kinds
                     use none
    cell             type of the recurrent layers, also the name of a registered cell
    hidden           size of the hidden state in each direction, H
    layers           number of recurrent layers
    one_way          run forward only, as C programs do; by default, in both directions
    dropout          probability of dropout, between layers and after the mean over time
    noise            noise added to the training series, in standard deviations of each channel
    patch            number of consecutive steps to join, with their values and changes, into one; 0: chosen by left-out
                     series
    scaling          shared: one mean and deviation of each channel for all series; each: those of the series itself;
                     auto: chosen by left-out series if the deviations of the series are far apart
    lr               highest learning rate of Adam
    batch            series per update
    epochs           passes over the training series; by default 1600 / √series, at least 10
    window           number of rows in a window: longer series are cut into windows, and the answer about a series is
                     the mean over its windows; 0: they are not cut. By default, left-out series decide if the series
                     are few and long
    seed             seed of all random draws: the same seed gives the same results
    channels_first   of arrays, for each series the channels come before the steps: (n, D, T), or a list of (D, Tᵢ), as
                     in aeon and sktime
    class_weight     weights of the labels in the loss: balanced, the same total weight for all labels, so that rare
                     ones count as much; or LABEL=X,LABEL=X, in Python a dict, with 1 for the other labels

    After `fit`, `model_` is the kind of the model, `compared_` has the errors of the kinds on left-out series, and
    `losses_` the loss of every update; of a recurrent model, `patch_` is the number of steps in a patch. `save` writes
    the files of `xrnn classify`. Raises ValueError for invalid parameters and data.
    """

    class_weight: str | Mapping[Any, float] | Sequence[tuple[Any, float]] | None = None
    classes_: HostArray = field(init=False, repr=False)  # the labels, (K,)

    rules: ClassVar = {**LabelledEstimator.rules, "class_weight": Rule("None", lambda value: value is None)}

    job = "xrnn series classifier"
    estimator_type = "classifier"
    writer = "xrnn classify"

    def check_params(self) -> Self:
        """The parameters as plain values. `class_weight` is None, "balanced", or pairs of labels and weights."""
        others = type(self)(**self.get_params() | {"class_weight": None})
        params = super(Classifier, others).check_params()
        params.class_weight = _class_weight(self.class_weight)
        return params

    def fit(self, X: SeriesLike, y: Targets, sample_weight: Any = None, groups: Targets | None = None) -> Self:
        """Learn from series and their labels.

        sample_weight   (n,): weights of the series in the loss, from 0; beside those of the labels
        groups          (n,): text or numbers, such as that of a machine. Where `fit` leaves series out, to choose or to
                        calibrate, those of one group stay together
        """
        labels = as_labels(y)
        from_files = isinstance(X, list) and bool(X) and isinstance(X[0], Series)
        classes = classes_of(labels, by_number=from_files)
        if len(classes) < 2:
            raise DataError(f"got {len(classes)} class(es), {quoted(str(classes))}; add series with other labels")
        targets = np.array([classes.index(label) for label in labels], np.int32)
        params = self.check_params()
        weights = as_weights(sample_weight, len(labels))
        counted = targets if weights is None else targets[weights > 0]
        of_labels = _weights_of_labels(params.class_weight, counted, classes)
        if of_labels is not None:
            weights = of_labels[targets] * (1 if weights is None else weights)
        task = Task(len(classes))
        of_series = as_groups(groups, len(labels))
        return self._learn(params, task, X, targets, weights=weights, groups=of_series, classes_=np.array(classes))

    def predict(self, X: SeriesLike) -> HostArray:
        """The likeliest label of each series, (n,)."""
        p = self._predict(X)
        return self.classes_[p.argmax(axis=1)]

    def predict_proba(self, X: SeriesLike) -> HostArray:
        """The probabilities of the labels, (n, K) float64."""
        return self._predict(X)

    def score(self, X: SeriesLike, y: Targets, sample_weight: Any = None) -> float:
        """The accuracy."""
        labels = as_labels(y)
        right = self.predict(self._series_of(X, len(labels))) == labels
        return float(np.average(right, weights=as_weights(sample_weight, len(labels))))

    @property
    def _outputs(self) -> int:
        return len(self.classes_)

    def _decoded(self, y: HostArray) -> HostArray:
        return probabilities(y)


@dataclass(eq=False, kw_only=True)
class Regressor(LabelledEstimator):
    """A number for a series of any length: the model and the training of `xrnn regress`, whose options these are.

        regressor = Regressor().fit(X, y)    # X (n, T), (n, T, D), or a list of (Tᵢ, D); y: n numbers
        regressor.predict(X_new)             # (n,)

    The parameters are those of Classifier, without `class_weight`. `save` writes the files of `xrnn regress`. Raises
    ValueError for invalid parameters and data.
    """

    target_mean_: float = field(init=False, repr=False)
    target_deviation_: float = field(init=False, repr=False)

    job = "xrnn series regression"
    estimator_type = "regressor"
    writer = "xrnn regress"
    _outputs = 1

    def fit(self, X: SeriesLike, y: Targets, sample_weight: Any = None, groups: Targets | None = None) -> Self:
        """Learn from series and their numbers.

        sample_weight   (n,): weights of the series in the loss, from 0
        groups          (n,): text or numbers, such as that of a machine. Where `fit` leaves series out to choose, those
                        of one group stay together
        """
        numbers = as_targets(y)
        if not numbers.size or np.ptp(numbers) <= 1e-12 * np.abs(numbers).max():
            got = f"got {len(numbers)} sample(s) without different targets"
            raise DataError(f"{got}; add series with other targets")
        weights = as_weights(sample_weight, len(numbers))
        counted = numbers if weights is None else numbers[weights > 0]
        mean = float(counted.mean())
        deviation = float(deviation_of(counted)) or 1.0
        targets = ((numbers - mean) / deviation).astype(np.float32)
        learnt = {"target_mean_": mean, "target_deviation_": deviation}
        params = self.check_params()
        of_series = as_groups(groups, len(numbers))
        return self._learn(params, Task(outputs=1), X, targets, weights=weights, groups=of_series, **learnt)

    def predict(self, X: SeriesLike) -> HostArray:
        """The number of each series, (n,) float64."""
        return self._predict(X)

    def score(self, X: SeriesLike, y: Targets, sample_weight: Any = None) -> float:
        """R²; nan if all numbers in y are equal."""
        numbers = as_targets(y)
        predicted = self.predict(self._series_of(X, len(numbers)))
        return r_squared(numbers, predicted, as_weights(sample_weight, len(numbers)))

    def _decoded(self, y: HostArray) -> HostArray:
        return self.target_mean_ + self.target_deviation_ * y[:, 0]


def as_labels(y: Any) -> list[Any]:
    """The labels in y, all of one type: str, bool, int or float.   Raises ValueError."""
    given = [
        each.item() if isinstance(each, np.generic) and each.dtype.kind in "biufU" else each for each in _column(y)
    ]
    for i, each in enumerate(given):
        if not _is_label(each):
            raise DataError(
                f"Unknown label type: y[{i}] is {quoted(repr(each))}: expected text, without surrogates and NUL at its "
                "end, bools or whole numbers of 64 bits; use str(label), or Regressor for numbers"
            )
    if len(names := {type(one).__name__ for one in given}) > 1:
        raise ValueError(f"y holds labels of the types {', '.join(sorted(names))}; use one type, such as text")
    return given


def _is_label(label: Any) -> bool:
    """Whether files and arrays can hold the label."""
    if type(label) is str:
        return not label.endswith("\0") and not any("\ud800" <= c <= "\udfff" for c in label)
    if type(label) is int:
        return -(2**63) <= label < 2**63
    return type(label) is bool or (type(label) is float and label.is_integer())


def as_targets(y: Any) -> HostArray:
    """The numbers in y, (n,) float64.   Raises ValueError."""
    targets: HostArray = _column(None if y is None else as_numbers(y, "y"))
    if not (np.abs(targets) <= LARGEST).all():  # False for NaN
        raise ValueError(f"y holds NaN, infinity or a number beyond {LARGEST:g}; correct it")
    return targets


def _column(y: Any) -> Any:
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None; give a value for each series")
    if isinstance(y, str | bytes | Mapping | Set) or not (hasattr(y, "__len__") or hasattr(y, "__array__")):
        raise TypeError(f"y is a {type(y).__name__}; give a list or an array with a value for each series")
    if hasattr(y, "__array__"):
        refuse_mask(y, "y")
        y = np.asarray(y)
        if y.ndim == 2 and y.shape[1] == 1:
            kind = getattr(sys.modules.get("sklearn.exceptions"), "DataConversionWarning", UserWarning)
            warnings.warn("A column-vector y was passed when a 1d array was expected: use ravel()", kind, stacklevel=4)
            y = y.ravel()
        if y.ndim != 1:
            raise ValueError(f"y has shape {y.shape}; give a value for each series, (n,)")
        if y.dtype.kind == "c":
            raise ValueError(f"Complex data not supported: y is {y.dtype}; give real numbers or labels")
    return y


def r_squared(targets: HostArray, predicted: HostArray, weights: HostArray | None = None) -> float:
    """1 - Σ error² / Σ (target - mean target)², with weights; NaN if all targets are equal."""
    deviation = deviation_of(targets)
    if not deviation:
        return math.nan
    # in deviations, so that squares of very small numbers are not 0
    spread = np.average(np.square((targets - np.average(targets, weights=weights)) / deviation), weights=weights)
    error = np.average(np.square((targets - predicted) / deviation), weights=weights)
    return 1 - float(error / spread) if spread else math.nan


def as_weights(given: Any, count: int) -> HostArray | None:
    """The weights of series, (n,) float64; one number stands for all of them.   Raises ValueError."""
    if given is None:
        return None
    weights = as_numbers(given, "sample_weight")
    if weights.shape not in ((), (count,)):
        # scikit-learn's words, which its checks expect
        raise ValueError(
            f"sample_weight has shape {weights.shape}, but y has {count} values; Sample weights must be 1D array or "
            "scalar: give one for each series"
        )
    weights = np.broadcast_to(weights, (count,))
    if not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
        raise ValueError("sample_weight must hold numbers from 0, and not all of them zero; correct it")
    return weights


def as_groups(given: Any, count: int) -> list[Any] | None:
    """The group of each series, text or a number.   Raises ValueError."""
    if given is None:
        return None
    groups = np.asarray(given)
    if groups.shape != (count,):
        raise ValueError(f"groups has shape {groups.shape}, but y has {count} values; give one for each series")
    values: list[Any] = groups.tolist()
    for i, each in enumerate(values):
        if type(each) not in (str, bool, int, float) or each != each:
            raise ValueError(f"groups[{i}] is {quoted(repr(each))}: expected text or a number; correct it")
    return values


def _class_weight(given: Any) -> Any:
    """None, "balanced", or pairs of labels and weights.   Raises SettingsError."""
    expected = "expected balanced, or a number from 0 for each named label, such as worn=3,good=1"
    if given is None or (isinstance(given, str) and given in ("", "balanced")):
        return given or None
    if isinstance(given, str):
        parts = [each.rpartition("=") for each in given.split(",")]
        given = [(label.strip(), as_number(weight)) for label, _, weight in parts]
    try:
        pairs = tuple((label, float(weight)) for label, weight in (given.items() if hasattr(given, "items") else given))
    except (TypeError, ValueError):
        pairs = ()
    labels = [label.item() if isinstance(label, np.generic) else label for label, _ in pairs]
    if not pairs or not all(map(_is_label, labels)) or not all(0 <= weight < math.inf for _, weight in pairs):
        raise SettingsError(f"{param('class_weight')} is {quoted(repr(given))}: {expected}")
    return tuple(zip(labels, [weight for _, weight in pairs], strict=True))


def _weights_of_labels(given: Any, targets: HostArray, classes: list[Any]) -> HostArray | None:
    """The weight of each class, (K,); None if all are 1.   Raises SettingsError for a label that is not in y."""
    if given is None:
        return None
    if given == "balanced":
        return len(targets) / (len(classes) * np.bincount(targets, minlength=len(classes)).clip(1))
    weights = dict(given)
    if strange := [label for label in weights if label not in classes]:
        got = f"{param('class_weight')} has the label {quoted(repr(strange[0]))}, which no series has"
        raise SettingsError(f"{got}; the labels are {quoted(', '.join(map(str, classes)))}")
    of_classes = np.array([weights.get(each, 1.0) for each in classes])
    if not of_classes.any():
        raise SettingsError(f"{param('class_weight')} is 0 for all labels; give one a weight above 0")
    return of_classes
