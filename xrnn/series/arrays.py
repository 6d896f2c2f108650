"""The arguments of the estimators, X and y; and the classes of scikit-learn, or others if it is not installed."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from xrnn.models.data.read import check_channels
from xrnn.models.data.series import LARGEST, Series, checked
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
        X = np.asarray(X)
        if X.ndim not in (2, 3):
            raise ValueError(
                f"X has shape {X.shape}: expected (n, T) or (n, T, D). Reshape your data: X.reshape(1, -1)"
            )
        if 0 in X.shape[1:]:
            raise ValueError(f"X has 0 feature(s) (shape={X.shape}) while a minimum of 1 is required: add steps")
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
    values = _numbers(given, name)
    if values.ndim not in (1, 2) or not values.size:
        raise ValueError(f"{name} has shape {values.shape}: expected (T,) or (T, D), with at least one step")
    return values if values.ndim == 2 else values[:, None]


def _numbers(given: Any, name: str) -> HostArray:
    """`given` as float64.   Raises ValueError for text, times and complex numbers, TypeError for other objects."""
    values = np.asarray(given)
    if values.dtype.kind == "c":
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


def as_labels(y: Any) -> list[Hashable]:
    """The labels in y, as Python values.   Raises ValueError and TypeError."""
    given = [*_column(y)]
    if any(isinstance(each, np.datetime64 | np.timedelta64) for each in given):  # `item` makes an int of some
        raise ValueError("Unknown label type: y holds times: expected labels, such as text; use y.astype(str)")
    labels = [each.item() if isinstance(each, np.generic) else each for each in given]
    for i, label in enumerate(labels):
        if not isinstance(label, Hashable):
            raise ValueError(f"y[{i}] is a {type(label).__name__}: expected hashable labels, such as text or numbers")
        if type(label).__name__ in ("NAType", "NaTType"):  # pandas' missing values
            raise ValueError(f"y[{i}] is {label}: expected a label for each series; leave out the series without one")
        if isinstance(label, float) and not label.is_integer():
            raise ValueError(
                f"Unknown label type: y[{i}] is {label}: expected labels, such as text or whole numbers; for numbers "
                "to predict, use Regressor"
            )
    return labels


def as_targets(y: Any) -> list[float]:
    """The numbers in y.   Raises ValueError."""
    targets = _numbers(_column(y), "y")
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


def classes_of(labels: Sequence[Hashable]) -> list[Any]:
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
