"""Labels and numbers: the targets of series, and the series that are left out of a training."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Mapping, Sequence, Set
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from xrnn.files import quoted
from xrnn.series.checks import LARGEST, Series, as_number
from xrnn.series.inputs import as_numbers, refuse_mask
from xrnn.typing import HostArray

Label: TypeAlias = str | int | float  # a bool is an int


class Part(NamedTuple):
    """A random part of the series, which is held out."""

    share: float
    key: int  # a spawn key, as in batches.py: each gives an independent random stream of the seed


TEST: Final = Part(0.25, key=1)
VALIDATION: Final = Part(0.2, key=4)


def hold_out(
    series: Sequence[Series], groups: Sequence[Sequence[int]], part: Part, seed: int
) -> tuple[list[Series], list[Series]]:
    """Hold out a random part of each group, at least one series → the remaining and the held-out series.

    Both lists keep the order of `series`. Nothing is held out of a group of one.

    groups   indices into `series`, a sequence for each group
    """
    # scikit-learn's train_test_split refuses a group of one, and one of few series may get none in its part.
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(part.key,)))
    held: set[int] = set()
    for group in groups:
        if len(group) > 1:
            held |= set(rng.permutation(group)[: max(1, round(len(group) * part.share))].tolist())
    return [s for i, s in enumerate(series) if i not in held], [s for i, s in enumerate(series) if i in held]


def groups_of(series: Sequence[Series], labels: Sequence[Any] | None) -> list[list[int]]:
    """The indices of the series of each label; of all series without labels."""
    if labels is None:
        return [list(range(len(series)))]
    return [[i for i, each in enumerate(series) if each.label == label] for label in labels]


def is_label(label: Any) -> bool:
    """Whether files and arrays can hold the label: text, a bool, or a whole number that an int64 or a float64 holds."""
    if isinstance(label, str):
        return not label.endswith("\0") and not any("\ud800" <= c <= "\udfff" for c in label)
    if isinstance(label, float):
        return label.is_integer()
    return isinstance(label, int) and -(2**63) <= label < 2**63


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
    if is_label(label):
        if isinstance(label, bool):
            return label
        return (
            str.__str__(label) if isinstance(label, str) else float(label) if isinstance(label, float) else int(label)
        )
    shown = quoted(repr(label)) if not isinstance(label, int) else f"a number of {label.bit_length()} bits"
    raise ValueError(
        f"Unknown label type: {name} is {shown}: expected text that files can hold, without surrogates and without NUL "
        "at its end, bools or whole numbers of 64 bits; convert each, as by str(label), or use Regressor for numbers"
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


def classes_of(labels: Sequence[Label], *, by_number: bool = False) -> list[Any]:
    """The different labels, sorted; in the order of their first use if they can't be compared.   Raises ValueError.

    by_number   sort text by the numbers in it, if all are numbers
    """
    bools, others = ({each for each in labels if isinstance(each, bool) is of} for of in (True, False))
    if both := bools & others:
        raise ValueError(f"y holds {both.pop()!r} as a number and as a bool: expected different labels; use text")
    different = list(dict.fromkeys(labels))
    numbers = {label: as_number(str(label)) for label in different} if by_number else {}
    try:
        # scikit-learn's LabelEncoder refuses labels of several types.
        return sorted(different) if not numbers or None in numbers.values() else sorted(different, key=numbers.get)  # type: ignore[arg-type]
    except TypeError:
        return different


def deviation(values: HostArray) -> float:
    """The standard deviation, also of numbers below 1e-160, whose squares are 0: these are scaled by a power of two."""
    _, exponent = np.frexp(np.abs(values).max())
    return float(np.ldexp(np.ldexp(values, -exponent).std(), exponent))


def r_squared(targets: HostArray, predicted: HostArray) -> float:
    """1 - Σ error² / Σ (target - mean target)²; NaN if all targets are equal."""
    error, spread = targets - predicted, targets - targets.mean()
    _, exponent = np.frexp(np.abs(spread).max())  # as in `deviation`
    total = np.square(np.ldexp(spread, -exponent)).sum()
    return 1 - float(np.square(np.ldexp(error, -exponent)).sum() / total) if total else math.nan


def as_array(labels: Sequence[Any]) -> HostArray:
    """An array of labels (K,): of objects unless all are text, or all are numbers of one type."""
    kind = type(labels[0])
    array = np.empty(len(labels), object)
    array[:] = labels
    return (
        array.astype(kind) if kind in (str, bool, int, float) and all(type(each) is kind for each in labels) else array
    )
