"""Labels and numbers: the targets of series, and the series that are left out of a training."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Mapping, Sequence, Set
from typing import Any, Final

import numpy as np

from xrnn.files import quoted
from xrnn.series.checks import LARGEST, DataError, Series, as_number, deviation_of
from xrnn.series.inputs import as_numbers, refuse_mask
from xrnn.typing import HostArray

# Held-out parts of the series: the share, and the spawn key of its random stream, as those of model.py
TEST: Final = (0.25, 1)
VALIDATION: Final = (0.2, 4)


def hold_out(
    series: Sequence[Series], groups: Sequence[Sequence[int]], part: tuple[float, int], seed: int
) -> tuple[list[Series], list[Series]]:
    """Hold out a random part of each group, at least one series → the remaining and the held-out series.

    Both lists keep the order of `series`. Nothing is held out of a group of one.

    groups   indices into `series`, a sequence for each group
    """
    # scikit-learn's train_test_split refuses a group of one, and one of few series may get none in its part.
    share, key = part
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(key,)))
    held: set[int] = set()
    for group in groups:
        if len(group) > 1:
            held |= set(rng.permutation(group)[: max(1, round(len(group) * share))].tolist())
    return [s for i, s in enumerate(series) if i not in held], [s for i, s in enumerate(series) if i in held]


def groups_of(series: Sequence[Series], labels: Sequence[Any] | None) -> list[list[int]]:
    """The indices of the series of each label; of all series without labels."""
    if labels is None:
        return [list(range(len(series)))]
    return [[i for i, each in enumerate(series) if each.label == label] for label in labels]


def as_labels(y: Any) -> list[Any]:
    """The labels in y, all of one type: str, bool, int or float.   Raises ValueError."""
    given = [
        each.item() if isinstance(each, np.generic) and each.dtype.kind in "biufU" else each for each in _column(y)
    ]
    for i, each in enumerate(given):
        if not _is_label(each):
            shown = f"a number of {each.bit_length()} bits" if type(each) is int else quoted(repr(each))
            raise DataError(
                f"Unknown label type: y[{i}] is {shown}: expected text that files can hold, without surrogates and "
                "without NUL at its end, bools or whole numbers of 64 bits; convert each, as by str(label), leave out "
                "the series without a label, or use Regressor for numbers"
            )
    if len(names := {type(each).__name__ for each in given}) > 1:
        raise ValueError(f"y holds labels of the types {', '.join(sorted(names))}: expected one type; use text")
    return given


def _is_label(label: Any) -> bool:
    """Whether files and arrays can hold the label."""
    if type(label) is str:
        return not label.endswith("\0") and not any("\ud800" <= c <= "\udfff" for c in label)
    if type(label) is int:
        return -(2**63) <= label < 2**63
    return type(label) is bool or (type(label) is float and label.is_integer())


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
    if isinstance(y, str | bytes | Mapping | Set) or not (hasattr(y, "__len__") or hasattr(y, "__array__")):
        raise TypeError(f"y is a {type(y).__name__}: expected a list or an array with one value for each series")
    if hasattr(y, "__array__"):
        refuse_mask(y, "y")
        y = np.asarray(y)
        if y.ndim == 2 and y.shape[1] == 1:
            text = "A column-vector y was passed when a 1d array was expected: use y.ravel()"
            loaded = sys.modules.get("sklearn.exceptions")
            warnings.warn(text, loaded.DataConversionWarning if loaded else UserWarning, stacklevel=4)
            y = y.ravel()
        if y.ndim != 1:
            raise ValueError(f"y has shape {y.shape}: expected one value for each series, (n,); use y.ravel()")
        if y.dtype.kind == "c":
            raise ValueError(f"Complex data not supported: y is {y.dtype}; expected real numbers or labels")
    return y


def classes_of(labels: Sequence[Any], *, by_number: bool = False) -> list[Any]:
    """The different labels, sorted.   by_number: text by the numbers in it, if all are numbers"""
    different = sorted(set(labels))
    numbers = {label: as_number(str(label)) for label in different}
    return sorted(different, key=numbers.get) if by_number and None not in numbers.values() else different  # type: ignore[arg-type]


def r_squared(targets: HostArray, predicted: HostArray) -> float:
    """1 - Σ error² / Σ (target - mean target)²; NaN if all targets are equal."""
    deviation = deviation_of(targets)
    return 1 - float(np.square((targets - predicted) / deviation).mean()) if deviation else math.nan
