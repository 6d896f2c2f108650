"""The base class of the estimators that learn one value per series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from xrnn.models.labelled.predict import Predictor
from xrnn.series.arrays import as_series
from xrnn.series.estimator import Estimator, check_count, value_errors
from xrnn.typing import HostArray


@dataclass(eq=False, repr=False, kw_only=True)
class LabelledEstimator(Estimator):
    """Each field is a parameter of the estimators."""

    cell: str = "gru"
    hidden: int = 64
    layers: int = 1
    one_way: bool = False
    dropout: float = 0.3
    noise: float = 0.3
    mask: bool = False
    patience: int = 0
    lr: float = 0.003
    batch: int = 32
    epochs: int | None = None
    seed: int = 0

    predictor: ClassVar[type[Predictor]]

    def _learn(self, X: Any, labels: Sequence[Any], data_of: Callable[..., Any]) -> None:
        """data_of: (series, seed, validate) → the data of the command."""
        if self.epochs is not None:
            check_count("epochs", self.epochs)
        with value_errors():
            settings = self._settings()
            data = data_of(as_series(X, labels), settings.seed, self.patience > 0)
            self._train(
                settings, data, X, self.epochs, lambda t: t.total if self.epochs is None else self.epochs * t.per_epoch
            )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        loaded = super().load(path)
        return loaded.set_params(epochs=loaded._fitted().upto)

    def _outputs(self, X: Any) -> HostArray:
        """The model's outputs, (n, outputs) float64."""
        predictor = self.predictor(self._fitted())
        self._check_features(X)
        with value_errors():
            series = as_series(X)
            return predictor.outputs([predictor.checked(each) for each in series])
