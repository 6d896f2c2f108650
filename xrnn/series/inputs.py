"""The arguments of the estimators: X, its columns, and numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from xrnn.arrays.convert import holds_mask
from xrnn.files import quoted
from xrnn.series.errors import DataError
from xrnn.series.one_series import Series, check_channels, check_sizes, checked, is_complete
from xrnn.typing import HostArray

# X: an array or a DataFrame (n, T) or (n, T, D), or a list of such series (Tᵢ,) or (Tᵢ, D), as numbers or from files.
SeriesLike: TypeAlias = ArrayLike | list[Series]
# y: an array, a column or a list, with a value for each series.
Targets: TypeAlias = ArrayLike | Sequence[str | int | float]


def as_series(
    X: Any,
    count: int | None = None,
    names: tuple[str, ...] | None = None,
    *,
    channels_first: bool = False,
    to_forecast: bool = False,
) -> list[Series]:
    """X (n, T), (n, T, D), or a list of (Tᵢ,) or (Tᵢ, D) arrays, or of Series; NaN is a missing value.

    In a DataFrame whose index has two levels, the first level tells the series apart, the second sorts their steps, and
    each column is a channel. The series have the order of their first rows.

    count            the number of values in y; None without y
    names            the channels of the model, if they have names: they are taken from a DataFrame (Tᵢ, D) that has all
                     of them
    channels_first   True: X is (n, D, T), or a list of (D, Tᵢ). DataFrames and arrays with one channel stay as they are
    to_forecast      True: a series may have no value

    Raises TypeError for a sparse matrix; ValueError for invalid shapes and values.
    """
    if isinstance(X, list) and X and isinstance(X[0], Series):
        return X
    if getattr(getattr(X, "index", None), "nlevels", 1) == 2:
        X = [of_series.sort_index(level=1, kind="stable") for _, of_series in X.groupby(level=0, sort=False)]
    if hasattr(X, "toarray"):
        raise TypeError("X is a sparse matrix; use X.toarray()")
    if hasattr(X, "__array__"):
        refuse_mask(X, "X")
        X = np.asarray(X)
        if X.ndim not in (2, 3):
            how = "X.reshape(1, -1)" if X.ndim < 2 else "X.reshape(n, T, -1)"
            raise ValueError(f"X has shape {X.shape}: expected (n, T) or (n, T, D). Reshape your data: {how}")
        if channels_first and X.ndim == 3:
            X = X.swapaxes(1, 2)
        if 0 in X.shape[1:]:
            raise ValueError(f"X has 0 feature(s) (shape={X.shape}) while a minimum of 1 is required: add steps")
    if not hasattr(X, "__len__"):
        raise TypeError(f"X is a {type(X).__name__}; give an array (n, T), or a list of series")
    if len(X) == 0:
        raise ValueError("X has 0 sample(s): at least one series is needed")
    if count not in (None, len(X)):
        raise ValueError(f"y has {count} values, but X has {len(X)} series; give a value for each")
    if channels_first and not hasattr(X, "__array__"):
        X = [each if hasattr(each, "columns") or np.ndim(each) != 2 else np.asarray(each).T for each in X]
    series = [_series(_named(each, names), f"X[{i}]", to_forecast=to_forecast) for i, each in enumerate(X)]
    check_channels(series)
    return series


def _named(given: Any, names: tuple[str, ...] | None) -> Any:
    """A DataFrame with the columns that have these names, in this order, if it has all of them.

    Columns that are numbered from 0 are put in the order of their numbers. Any other object is returned as it is.
    """
    columns = [*getattr(given, "columns", ())]
    by_text = _by_text(columns)
    if names and {*names} <= by_text.keys():
        return given[[by_text[name] for name in names]]
    return given[sorted(columns)] if _are_numbered(columns) else given


def _by_text(names: Iterable[Any]) -> dict[str, Any]:
    """Names, which may be numbers, by their text. If two have the same text, it stands for the one that is text."""
    each_name = [*names]
    return {str(each): each for each in each_name} | {each: each for each in each_name if isinstance(each, str)}


def _are_numbered(names: Collection[Any]) -> bool:
    """Whether the names are 0, 1, …, in any order: pandas gives such numbers to columns without names."""
    return all(type(name) is int for name in names) and {*names} == {*range(len(names))} and bool(names)


def _series(given: Any, name: str, *, to_forecast: bool) -> Series:
    """A series (T,) or (T, D). The columns of a DataFrame are the names of its channels, unless they count from 0.

    to_forecast   True: it may have no value
    """
    values = as_numbers(given, name)
    if values.ndim not in (1, 2) or not values.size:
        raise ValueError(f"{name} has shape {values.shape}; give (T,) or (T, D), with at least one step")
    columns = [*getattr(given, "columns", ())]
    names = tuple(map(str, columns)) if columns and not _are_numbered(columns) else None
    series = Series(values.reshape(len(values), -1), None, name, names)
    return series if to_forecast and not is_complete(series) else checked(series)


def with_known(series: list[Series], known: Any, ahead: int, columns: int | None) -> list[Series]:
    """The series with known columns beside the target. In the `ahead` steps, the target is missing.

    known     for each series: (T + ahead, K), later rows are ignored; or exactly (ahead, K), if the series has its past
              known columns
    columns   K of the model; None before `fit`

    Raises ValueError.
    """
    if known is None:
        if columns:
            raise ValueError(f"known is None, but `fit` had {columns} known columns; give known=")
        return series
    if columns == 0:
        raise ValueError("got known, but `fit` had no known columns; leave it out")
    if len(known) != len(series):
        raise ValueError(f"known has {len(known)} items, but X has {len(series)} series; give one for each")
    together = []
    for i, (each, of_series) in enumerate(zip(series, known, strict=True)):
        given = as_numbers(of_series, f"known[{i}]")
        past = each.values[:, 1:]
        rows = ahead if past.size else len(each.values) + ahead
        K = columns or (given.shape[1] if given.ndim == 2 else 1)
        if given.ndim != 2 or len(given) < rows or (past.size and len(given) > rows) or given.shape[1] != K:
            raise ValueError(
                f"known[{i}] has shape {given.shape}, but must be {(rows, K)}; add or remove rows or columns"
            )
        check_sizes(given, f"known[{i}]")
        given = np.concatenate([past, given]) if past.size else given[:rows]
        target = np.append(each.values[:, 0], np.full(ahead, np.nan))
        together.append(replace(each, values=np.column_stack([target, given])))
    for k in range(1, together[0].channels):
        if columns is None and all(np.isnan(each.values[:, k : k + 1]).all() for each in together):
            raise ValueError(f"known has no value in column {k}; write its values, such as 0 for no, or leave it out")
    return together


def as_row(given: Any, name: str, channels: int, names: tuple[str, ...] | None = None) -> HostArray:
    """One step of a series (D,) as float64; NaN is a missing value.

    given   an array; or values by the names of the channels, as a mapping or a pandas Series that has all of them
    names   of the channels, if they have some

    Raises DataError and ValueError.
    """
    if hasattr(given, "to_dict"):  # a pandas Series
        by_name = given.to_dict()
        given = by_name if names or _are_numbered(by_name) else given
    if isinstance(given, Mapping):
        given = _values_by_name(given, name, names)
    row = as_numbers(given, name)
    if row.shape != (channels,):
        of = f": {', '.join(names)}" if names else ""
        raise DataError(
            f"{name} has shape {row.shape}, but the model has {channels} channels{of}; pass one value for each"
        )
    check_sizes(row, name)
    return row


def _values_by_name(given: Mapping[Any, Any], name: str, names: tuple[str, ...] | None) -> list[Any]:
    """The values of the channels, in their order; those of a mapping from 0, 1, … in the order of these numbers.

    Raises DataError if a channel is missing, or if the channels of the model have no names.
    """
    by_text = _by_text(given)
    if names and {*names} <= by_text.keys():
        return [given[by_text[name]] for name in names]
    if _are_numbered(given):
        return [given[i] for i in range(len(given))]
    if names is None:
        raise DataError(f"{name} has names, but the channels of the model have none; pass an array")
    missing = next(name for name in names if name not in by_text)
    raise DataError(f"{name} has no channel {quoted(missing)!r}; the model has {', '.join(names)}")


def as_numbers(given: Any, name: str) -> HostArray:
    """`given` as float64. pandas' NA becomes NaN.

    Raises ValueError for text, times, complex numbers and masked arrays, TypeError for other objects.
    """
    refuse_mask(given, name)
    values = np.asarray(given)
    if values.dtype.kind not in "biufO":
        start = "Complex data not supported: " if values.dtype.kind == "c" else ""
        dtype = values.dtype.name
        raise ValueError(f"{start}{name} has dtype {dtype}; convert it to numbers, as by astype('float64')")
    if values.dtype.kind == "O":
        if text := [value for value in values.flat if isinstance(value, str)]:
            raise ValueError(f"{name} holds the text {quoted(text[0])!r}; convert it to numbers")
        is_missing = np.frompyfunc(lambda each: type(each).__name__ == "NAType", 1, 1)(values).astype(bool)
        values = np.where(is_missing, np.nan, values)
    try:
        return values.astype(np.float64)
    except TypeError as error:
        raise TypeError(f"{name} holds an object that is no number ({error}); convert it") from error


def refuse_mask(given: Any, name: str) -> None:
    """Raises ValueError for a masked array, or a list that holds one: NumPy would use the masked values."""
    if holds_mask(given):
        raise ValueError(f"{name} is or holds a masked array; use its filled(np.nan), since NaN is a missing value")
