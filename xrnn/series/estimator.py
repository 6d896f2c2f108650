"""The base class of the estimators: parameters, training, files; and their arguments, X and y.

If scikit-learn is installed, it is derived from its base class.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from xrnn.files import quoted, write_own
from xrnn.models.checkpoint import Kind, Snapshot
from xrnn.models.labelled.head import Label, is_label
from xrnn.select import get_backend, holds_mask
from xrnn.series.checks import LARGEST, Series, check_sizes, checked
from xrnn.series.read import check_channels
from xrnn.typing import HostArray

try:
    _base, _exceptions = map(importlib.import_module, ("sklearn.base", "sklearn.exceptions"))
    BaseEstimator: Any = _base.BaseEstimator
    ClassifierMixin: Any = _base.ClassifierMixin
    RegressorMixin: Any = _base.RegressorMixin
    NotFittedError: Any = _exceptions.NotFittedError
    DataConversionWarning: Any = _exceptions.DataConversionWarning
except ImportError:
    BaseEstimator, ClassifierMixin, RegressorMixin = (
        type(name, (), {}) for name in ("Base", "Classifies", "Regresses")
    )
    NotFittedError = type("NotFittedError", (ValueError, AttributeError), {"__module__": "xrnn.series"})
    DataConversionWarning = UserWarning

# X: an array or a DataFrame (n, T) or (n, T, D), or a list of such series (Tᵢ,) or (Tᵢ, D), as numbers or from files.
SeriesLike: TypeAlias = ArrayLike | list[Series]
# y: an array, a column or a list, with a value for each series.
Targets: TypeAlias = ArrayLike | Sequence[Label]


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

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write a checkpoint, which the commands can read.

        overwrite   replace any file at `path`. By default, only an empty file or a checkpoint of the same kind of
                    estimator or command is replaced

        Raises FileExistsError for another file, OSError if the file can't be written, and ValueError if the estimator
        is not fitted.
        """
        content = self.kind.content(self._fitted())
        write_own(path, content, f"{type(self).__name__}.save", self.kind.wrote, overwrite=overwrite)

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
        given = {name: self._setting(name) for name in self._setting_names}
        return self.kind.settings.of(
            {name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()}
        )

    def _setting(self, name: str) -> Any:
        """The value of a setting, from that of its parameter."""
        return getattr(self, name)

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


def _listed(names: list[str]) -> str:
    return "".join(f"- {name}\n" for name in [*names[:5], *["..."][: len(names) > 5]])


# ---- X and y ----


def check_count(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} is {value!r}: expected a whole number of at least 1")


def as_series(X: Any, labels: Sequence[Any] | None = None) -> list[Series]:
    """X (n, T), (n, T, D), or a list of (Tᵢ,) or (Tᵢ, D) arrays, or of Series; NaN is a missing value.

    labels   one for each series; None for none

    Raises TypeError for a sparse matrix; ValueError for invalid shapes and values.
    """
    if isinstance(X, list) and X and isinstance(X[0], Series):
        return X
    if hasattr(X, "toarray"):
        raise TypeError("X is a sparse matrix: expected an array; use X.toarray()")
    if hasattr(X, "__array__"):
        _refuse_mask(X, "X")
        X = np.asarray(X)
        if X.ndim not in (2, 3):
            raise ValueError(
                f"X has shape {X.shape}: expected (n, T) or (n, T, D). Reshape your data: X.reshape(1, -1)"
            )
        if 0 in X.shape[1:]:
            raise ValueError(f"X has 0 feature(s) (shape={X.shape}) while a minimum of 1 is required: add steps")
    if not hasattr(X, "__len__"):
        raise TypeError(f"X is a {type(X).__name__}: expected an array (n, T), or a list of series")
    if len(X) == 0:
        raise ValueError("X has 0 sample(s): expected at least one series")
    if labels is not None and len(labels) != len(X):
        raise ValueError(f"y has {len(labels)} values: expected one for each of the {len(X)} series in X")
    if labels is not None and len(X) == 1:
        raise ValueError("X has 1 sample: expected at least two series with different values in y")
    series = [
        checked(_values(each, f"X[{i}]"), None if labels is None else labels[i], f"X[{i}]", feature_names(each))
        for i, each in enumerate(X)
    ]
    check_channels(series)
    return series


def feature_names(X: Any) -> tuple[str, ...] | None:
    """scikit-learn's names of features: those of the columns of a DataFrame, or of the first of a list of DataFrames.

    None for other arrays, and if the names are no text. Raises TypeError for names of which some are text.
    """
    if isinstance(X, list | tuple):
        return feature_names(X[0]) if X and not isinstance(X[0], list | tuple) else None
    names = list(X.columns) if hasattr(X, "columns") and hasattr(X, "__array__") else []
    text = [isinstance(name, str) for name in names]
    if any(text) and not all(text):
        raise TypeError(
            "X has columns with names of text and others without: expected text only, or none; use X.columns = "
            "X.columns.astype(str)"
        )
    return tuple(map(str, names)) if any(text) else None


def _values(given: Any, name: str) -> HostArray:
    """One series as (T, D) float64."""
    values = as_numbers(given, name)
    if values.ndim not in (1, 2) or not values.size:
        raise ValueError(f"{name} has shape {values.shape}: expected (T,) or (T, D), with at least one step")
    return values if values.ndim == 2 else values[:, None]


def as_row(given: Any, name: str, channels: int) -> HostArray:
    """One step of a series (D,) as float64; NaN is a missing value.   Raises ValueError."""
    row = as_numbers(given, name)
    if row.shape != (channels,):
        raise ValueError(f"{name} has shape {row.shape}: expected ({channels},), one value for each channel")
    check_sizes(row, name)
    return row


def as_numbers(given: Any, name: str) -> HostArray:
    """`given` as float64.

    Raises ValueError for text, times, complex numbers and masked arrays, TypeError for other objects.
    """
    _refuse_mask(given, name)
    values = np.asarray(given)
    if values.dtype.kind == "c" or (
        values.dtype.kind == "O" and any(isinstance(each, complex) for each in values.flat)
    ):
        raise ValueError(f"Complex data not supported: {name} is {values.dtype}; expected real numbers")
    if values.dtype.kind not in "biufO":
        by = "(t - t[0]) / np.timedelta64(1, 'D')" if values.dtype.kind in "mM" else "astype('float64')"
        raise ValueError(f"{name} has dtype {values.dtype.name}: expected numbers; convert it, as by {by}")
    try:
        return values.astype(np.float64)
    except TypeError as error:
        raise TypeError(
            f"{name} holds an object that is no number ({error}): expected numbers; convert it, as by astype('float64')"
        ) from error


def _refuse_mask(given: Any, name: str) -> None:
    """Raises ValueError for a masked array, or a list that holds one: NumPy would use the masked values."""
    if isinstance(given, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array: expected NaN for missing values; use {name}.filled(np.nan)")
    if holds_mask(given):
        raise ValueError(f"{name} holds a masked array: expected NaN for missing values; use filled(np.nan) of each")


def as_labels(y: Any) -> list[Label]:
    """The labels in y, each a str, int, float or bool.   Raises ValueError."""
    given = [*_column(y)]
    if any(isinstance(each, np.datetime64 | np.timedelta64) for each in given):  # `item` makes an int of some
        raise ValueError("Unknown label type: y holds times: expected labels, such as text; use y.astype(str)")
    return [_as_label(f"y[{i}]", each.item() if isinstance(each, np.generic) else each) for i, each in enumerate(given)]


def _as_label(name: str, label: Any) -> Label:
    """`label` without a class derived from str, int or float, such as an Enum's.   Raises ValueError."""
    if label is None or type(label).__name__ in ("NAType", "NaTType") or (isinstance(label, float) and label != label):
        raise ValueError(f"{name} is {label}: expected a label for each series; leave out the series without one")
    if isinstance(label, str):
        text = str.__str__(label)
        if text.endswith("\0") or any("\ud800" <= c <= "\udfff" for c in text):
            raise ValueError(
                f"{name} is {quoted(ascii(text))}: expected text without surrogates and without NUL at its end, which "
                "files and arrays can't hold; replace these characters"
            )
        return text
    if is_label(label):
        return label if isinstance(label, bool) else float(label) if isinstance(label, float) else int(label)
    if isinstance(label, int):
        raise ValueError(
            f"{name} is a whole number of {label.bit_length()} bits: expected a number that int64 holds; use str(label)"
        )
    if isinstance(label, float):
        raise ValueError(
            f"Unknown label type: {name} is {label}: expected labels, such as text or whole numbers; for numbers to "
            "predict, use Regressor"
        )
    raise ValueError(
        f"{name} is {quoted(repr(label))}, a {type(label).__name__}: expected labels that are text, bools or whole "
        "numbers; convert each, for example with str(label)"
    )


def as_targets(y: Any) -> list[float]:
    """The numbers in y.   Raises ValueError."""
    targets = as_numbers(_column(y), "y")
    if targets.ndim != 1:
        raise ValueError(f"y has shape {targets.shape}: expected one number for each series, (n,)")
    if not (np.abs(targets) <= LARGEST).all():  # False for NaN
        raise ValueError(
            "Input y contains NaN, infinity or a value too large for dtype('float64'): "
            f"expected numbers up to {LARGEST:g}"
        )
    numbers: list[float] = targets.tolist()
    return numbers


def _column(y: Any) -> Any:
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None: expected one value for each series")
    if hasattr(y, "__array__"):
        _refuse_mask(y, "y")
        y = np.asarray(y)
        if y.ndim == 2 and y.shape[1] == 1:
            text = "A column-vector y was passed when a 1d array was expected: use y.ravel()"
            warnings.warn(text, DataConversionWarning, stacklevel=4)
            y = y.ravel()
        if y.ndim != 1:
            raise ValueError(f"y has shape {y.shape}: expected one value for each series, (n,); use y.ravel()")
        if y.dtype.kind == "c":
            raise ValueError(f"Complex data not supported: y is {y.dtype}; expected real numbers or labels")
    return y


def classes_of(labels: Sequence[Label]) -> list[Any]:
    """The different labels, sorted; in the order of their first use if they can't be compared."""
    different = list(dict.fromkeys(labels))
    try:
        return sorted(different)
    except TypeError:
        return different


def as_array(labels: Sequence[Any]) -> HostArray:
    """An array of labels (K,): of objects unless all are text, or all are numbers of one type."""
    kind = type(labels[0])
    array = np.empty(len(labels), object)
    array[:] = labels
    return (
        array.astype(kind) if kind in (str, bool, int, float) and all(type(each) is kind for each in labels) else array
    )
