"""The base class of the estimators: parameters, training, files.

If scikit-learn is installed, it is derived from its base class.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from xrnn.models.checkpoint import Kind, Snapshot
from xrnn.models.data.series import Series
from xrnn.select import get_backend
from xrnn.series.arrays import BaseEstimator, NotFittedError, feature_names
from xrnn.typing import HostArray


def check_count(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} is {value!r}: expected a whole number of at least 1")


def _listed(names: list[str]) -> str:
    return "".join(f"- {name}\n" for name in [*names[:5], *["..."][: len(names) > 5]])


class Estimator(BaseEstimator):  # type: ignore[misc]
    """Each field of a subclass is a parameter: a setting of the model, or the length of the training.

    losses_             the training loss of every update
    feature_names_in_   the names of the columns of X in `fit`, if X was a DataFrame or a list of them
    """

    kind: ClassVar[Kind[Any]]
    trainer: ClassVar[Any]  # the class of the trainer
    trained: ClassVar[Any]  # the class of the trained model
    other_columns: ClassVar[bool] = False  # True if X may have other column names than in `fit`

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Raises ValueError for an unknown name."""
        names = list(self.get_params())
        for name, value in params.items():
            if name not in names:
                raise ValueError(f"{name} is no parameter of {type(self).__name__}: expected {', '.join(names)}")
            setattr(self, name, value)
        return self

    def save(self, path: str | Path) -> None:
        """Write a checkpoint, which the commands can read.   Raises OSError and ValueError."""
        self.kind.save(Path(path), self._fitted())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The estimator in a file that `save` or the command wrote.   Raises ValueError."""
        snapshot = cls.kind.load(Path(path))
        loaded = cls()
        settings = {name: getattr(snapshot.settings, name) for name in loaded._setting_names}
        loaded.set_params(**settings)
        loaded._snapshot = snapshot
        return loaded

    @property
    def trained_(self) -> Any:
        """The trained model, a TrainedModel or a TrainedForecaster."""
        return self.trained(self._fitted())

    @property
    def losses_(self) -> list[float]:
        losses: list[float] = self._fitted().arrays["losses"].tolist()
        return losses

    @property
    def feature_names_in_(self) -> HostArray:
        if (names := self._fitted().feature_names) is None:
            raise AttributeError(f"this {type(self).__name__} was fitted without feature names")
        return np.array(names, dtype=object)

    def _settings(self) -> Any:
        """The settings with the values of the parameters.   Raises ValueError."""
        given = {name: getattr(self, name) for name in self._setting_names}
        return self.kind.settings.of(
            {name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()}
        )

    def _train(self, settings: Any, data: Any, X: Any, upto: int | None, updates: Callable[[Any], int]) -> None:
        """updates: the trainer → the number of updates.   upto: see `Snapshot`.   Raises ValueError."""
        names = feature_names(X)
        trainer = self.trainer(settings, data, get_backend())
        trainer.upto = upto
        last = updates(trainer)
        trainer.run(lambda: trainer.steps >= last)
        trainer.calibrate()
        self._snapshot: Snapshot[Any] = replace(trainer.snapshot(), feature_names=names)
        if hasattr(X, "__array__"):  # scikit-learn's convention for arrays, whose second axis is time here
            self.n_features_in_ = np.asarray(X).shape[1]

    def _check_features(self, X: Any) -> None:
        """scikit-learn's checks of the names of the columns, with its errors and warnings: its own tests compare them.

        Raises ValueError for other names, or another order, than in `fit`.
        """
        if isinstance(X, list) and X and isinstance(X[0], Series):  # from a file, whose names were checked
            return
        fitted, names, kind = self._fitted().feature_names, feature_names(X), type(self).__name__
        if fitted is None or names is None:
            if names is not None:
                warnings.warn(f"X has feature names, but {kind} was fitted without feature names", stacklevel=4)
            if fitted is not None:
                text = f"X does not have valid feature names, but {kind} was fitted with feature names"
                warnings.warn(text, stacklevel=4)
            return
        unseen, missing = sorted({*names} - {*fitted}), sorted({*fitted} - {*names})
        if self.other_columns:
            unseen = missing = []
        if unseen or missing:
            problems = [("unseen at fit time", unseen), ("seen at fit time, yet now missing", missing)]
            lines = [f"Feature names {problem}:\n{_listed(of)}" for problem, of in problems if of]
        elif [name for name in names if name in fitted] != [name for name in fitted if name in names]:
            lines = ["Feature names must be in the same order as they were in fit.\n"]
        else:
            return
        raise ValueError(f"The feature names should match those that were passed during fit.\n{''.join(lines)}")

    def _fitted(self) -> Snapshot[Any]:
        if not self.__sklearn_is_fitted__():
            name = type(self).__name__
            raise NotFittedError(f"this {name} is not fitted: expected `fit` first; call fit with data")
        return self._snapshot

    @property
    def _setting_names(self) -> list[str]:
        """The parameters that are settings."""
        return [each.name for each in fields(self.kind.settings) if each.name in self.get_params()]

    def __sklearn_is_fitted__(self) -> bool:
        return "_snapshot" in vars(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.three_d_array = True
        return tags
