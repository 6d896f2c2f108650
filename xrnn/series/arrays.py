"""The arguments of the estimators: X, y."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from xrnn.models.data.read import check_channels
from xrnn.models.data.series import LARGEST, Series, checked
from xrnn.series.scikit import DataConversionWarning
from xrnn.typing import HostArray


def as_series(X: Any, labels: Sequence[Any] | None = None) -> list[Series]:
    """X (n, T), (n, T, D), or a list of (Tᵢ,) or (Tᵢ, D) arrays; NaN is a missing value.

    labels   one for each series; None for none

    Raises TypeError for a sparse matrix; ValueError or JobError for invalid shapes and values.
    """
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
        checked(_values(each, f"X[{i}]"), None if labels is None else labels[i], f"X[{i}]") for i, each in enumerate(X)
    ]
    check_channels(series)
    return series


def _values(given: Any, name: str) -> HostArray:
    """One series as (T, D) float64."""
    values = np.asarray(given)
    if values.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} is {values.dtype}; expected real numbers")
    values = values.astype(np.float64)
    if values.ndim not in (1, 2) or not values.size:
        raise ValueError(f"{name} has shape {values.shape}: expected (T,) or (T, D), with at least one step")
    return values if values.ndim == 2 else values[:, None]


def as_labels(y: Any) -> list[Hashable]:
    """The labels in y, as Python values.   Raises ValueError and TypeError."""
    labels = [each.item() if isinstance(each, np.generic) else each for each in _column(y)]
    for i, label in enumerate(labels):
        if not isinstance(label, Hashable):
            raise ValueError(f"y[{i}] is a {type(label).__name__}: expected hashable labels, such as text or numbers")
        if isinstance(label, float) and not label.is_integer():
            raise ValueError(
                f"Unknown label type: y[{i}] is {label}: expected labels, such as text or whole numbers; for numbers "
                "to predict, use Regressor"
            )
    return labels


def as_targets(y: Any) -> list[str]:
    """The numbers in y, as the text that a file would hold.   Raises ValueError."""
    targets = np.asarray(_column(y), dtype=np.float64)
    if targets.ndim != 1:
        raise ValueError(f"y has shape {targets.shape}: expected one number for each series, (n,)")
    if not (np.abs(targets) <= LARGEST).all():  # False for NaN
        raise ValueError(
            "Input y contains NaN, infinity or a value too large for dtype('float64'): "
            f"expected numbers up to {LARGEST:g}"
        )
    return list(map(repr, targets.tolist()))


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
