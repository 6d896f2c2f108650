"""What all estimators of labelled series share, and what a kind of model is.

An estimator knows what to predict: `Classifier` labels, `Regressor` numbers. A kind of model knows how: it learns, and
computes outputs, for both. Each kind is a class in a file beside this one, and an entry of `KINDS` in estimators.py.
The parameter `model` and its option, training, files and predictions follow from these.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from xrnn.backend import Backend
from xrnn.series.checks import Series, SettingsError, param
from xrnn.series.estimator import RULES, Estimator, one_of
from xrnn.series.inputs import as_row, as_series
from xrnn.series.read import check_same
from xrnn.typing import Array, HostArray

# Outputs (N, outputs) and targets (N,) → the mean loss, 0-d on the device, and its gradient.
Loss: TypeAlias = Callable[[Any, Any], tuple[Array, Array]]


class Kind(ABC):
    """A kind of model.

    p          the estimator, with valid parameters; when `learn` is called, it has its targets and `channels_`; when
               another method is called, it also has the attributes that `learn` returned
    features   the number of features made from each channel: `scale_`, which each kind learns, has the mean and the
               deviation of every feature, (2, features · channels)
    """

    features: int = 1

    def __init__(self, p: LabelledEstimator) -> None:
        self.p = p

    @classmethod
    @abstractmethod
    def check(cls, p: LabelledEstimator) -> None:
        """Raises SettingsError for parameters that the kind does not use, or that do not fit together."""

    @abstractmethod
    def learn(self, series: list[Series], watcher: Watcher) -> dict[str, Any]:
        """The learnt attributes of the estimator, by name.

        Raises DataError, SettingsError and DivergedError.
        """

    @abstractmethod
    def outputs(self, series: list[Series]) -> HostArray:
        """The outputs for each series, (n, outputs) float64. The estimator computes its predictions from them."""

    def stream(self, rows: Iterable[HostArray]) -> Iterator[HostArray]:
        """The outputs (1, outputs) after each row (D,) of one series.   Raises SettingsError if the kind has none."""
        raise SettingsError(
            f"{param('stream')} needs a model that runs forward only, and this one needs the end of a series: train "
            f"one with {param('model')} recurrent and {param('one_way')}"
        )


class Watcher:
    """Follows a training, and may stop it. By default, it does neither.

    stopped   True to end the training after its current update
    """

    stopped: bool = False

    def tell(self, line: str) -> None:
        """A line about the progress, to print."""

    def began(self, training: Any, last: int) -> None:
        """A training of up to `last` updates begins."""

    def updated(self) -> None:
        """An update was made."""

    def ended(self) -> None:
        """The training has ended, also by an error."""


KINDS: Final[dict[str, type[Kind]]] = {}  # estimators.py fills it, since the files of the kinds import this one


@dataclass(eq=False, kw_only=True)
class LabelledEstimator(Estimator):
    """Each field is a parameter of the estimators.

    channels_, channel_names_   of the series; the names are None if they have none
    losses_                     of every update; empty if the model is not trained by updates

    `watcher` follows `fit`: a command shows the progress.
    """

    model: str = "recurrent"
    cell: str = "gru"
    hidden: int = 64
    layers: int = 1
    one_way: bool = False
    dropout: float = 0.3
    noise: float = 0.3
    patch: int = 0
    scaling: str = "auto"
    lr: float = 0.003
    batch: int = 32
    epochs: int | None = None
    seed: int = 0

    rules: ClassVar = {**RULES, "model": one_of(KINDS)}
    watcher: ClassVar[Watcher] = Watcher()
    linear_rate: ClassVar[float]  # learning rate of the linear layer, as a multiple of lr

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """The learnt attributes. Each kind has its own."""

    # ---- what to predict: Classifier and Regressor define it ----

    @property
    @abstractmethod
    def _outputs(self) -> int:
        """The number of outputs of the model."""

    @abstractmethod
    def _groups(self, series: Sequence[Series]) -> list[list[int]]:
        """The indices of the series of each group: a part of each is held out."""

    @abstractmethod
    def _targets(self, series: Sequence[Series]) -> HostArray:
        """The targets of the model, (n,): int32 or float32."""

    @abstractmethod
    def _loss(self, targets: HostArray, backend: Backend) -> Loss:
        """The loss function of a training with these targets."""

    @abstractmethod
    def _error(self, y: HostArray, series: Sequence[Series]) -> float:
        """The error of outputs (n, outputs), by which the patch and the scaling are chosen."""

    @abstractmethod
    def _decoded(self, y: HostArray) -> HostArray:
        """The predictions from the outputs (n, outputs), float64."""

    # ---- how to predict: the kind of model does it ----

    @property
    def _fitted_model(self) -> Kind:
        """The fitted model, of the kind that the parameter `model` names."""
        p = self._fitted()._params
        return KINDS[p.model](p)

    def check_params(self) -> Self:
        """The parameters.   Raises SettingsError."""
        p: Self = super().check_params()
        KINDS[p.model].check(p)
        return p

    def _learn(self, X: Any, y: Sequence[Any], **targets: Any) -> Self:
        """Learn from X and its labels or numbers y.   Raises ValueError.

        targets   attributes that `fit` has learnt from y
        """
        p = self.check_params()
        shape: tuple[int, ...] = np.asarray(X).shape if hasattr(X, "__array__") else ()
        if len(shape) == 3 and shape[2] > shape[1]:
            warnings.warn(
                f"X has shape {shape}: expected (n, T, D), so these are {shape[1]} steps of {shape[2]} channels; if it "
                "is (n, channels, time), as in aeon, use X.swapaxes(1, 2), else list(X)",
                stacklevel=3,
            )
        series = as_series(X, y)
        p._count_features(X)
        names = next((each.channel_names for each in series if each.channel_names), None)
        vars(p).update(targets, channels_=series[0].channels, channel_names_=names)
        self._keep(p, KINDS[p.model](p).learn(series, self.watcher))
        return self

    def _predict(self, X: Any) -> HostArray:
        model, series = self._fitted_model, as_series(X)
        for each in series:
            check_same(each, self.channels_, self.channel_names_, "the model")
        return self._decoded(model.outputs(series))

    def stream(self, rows: Iterable[ArrayLike]) -> Iterator[HostArray]:
        """The prediction after each row (D,) of one series: the probabilities (K,), or the number, 0-d.

        The last prediction is that for all rows as one series. Raises ValueError unless `one_way` is True, and for a
        row of another shape.
        """
        outputs = self._fitted_model.stream(as_row(row, f"rows[{i}]", self.channels_) for i, row in enumerate(rows))
        return (self._decoded(y)[0] for y in outputs)

    def _try(self) -> None:
        model, D, names = self._fitted_model, self.channels_, self.channel_names_
        if not (np.shape(self.scale_) == (2, model.features * D) and (self.scale_[1] > 0).all()):
            raise ValueError("scale_ has another shape, or a deviation of 0")
        if np.ndim(self.losses_) != 1:
            raise ValueError("losses_ has another shape")
        if names is not None and not (isinstance(names, tuple) and [*map(type, names)] == [str] * D):
            raise ValueError("channel_names_ has other values than a text for each channel")
        series = [Series(np.zeros((2, D)), None, "", names)]
        y = model.outputs(series)
        shapes = y.shape, self.predict(series).shape
        if shapes != ((1, self._outputs), (1,)) or not np.isfinite(self._decoded(y)).all():
            raise ValueError("a prediction has another shape, or is not finite")
