"""What the stand-in refuses, as CuPy does or more strictly."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

from tests import standin as cp
from tests.standin.cublas import gemm

HOST = np.arange(12, dtype="float32").reshape(3, 4)
SQUARE = np.zeros((3, 3), "float32")
HALF = np.zeros((2, 2), "float16")


def device(*shape: int, dtype: str = "float32") -> Any:
    return cp.ones(shape, dtype)


# The error, its message, and a call with a device array (3, 4).
REFUSED: Final[list[tuple[type[Exception], str, Callable[[Any], Any]]]] = [
    # implicit conversion
    (TypeError, "", np.asarray),
    (TypeError, "", np.array),
    (TypeError, "", np.float32),
    (TypeError, "", memoryview),
    (TypeError, "", lambda a: np.concatenate([a, a])),
    # NumPy operand
    (TypeError, "Unsupported type", lambda a: a + HOST),
    (TypeError, "Unsupported type", lambda a: a @ HOST.T),
    (TypeError, "Unsupported type", lambda a: a.__iadd__(HOST)),
    (TypeError, "Unsupported type", lambda a: a < HOST),
    (TypeError, "Unsupported type", lambda a: a**HOST),
    (TypeError, "Unsupported type", lambda a: HOST + a),
    (TypeError, "Unsupported type", lambda a: HOST.T @ a),
    (TypeError, "Unsupported type", lambda a: a > HOST),
    (TypeError, "Unsupported type", lambda a: a * [1.0, 2.0, 3.0, 4.0]),
    # NumPy argument
    (TypeError, "", lambda a: cp.tanh(HOST)),
    (TypeError, "", lambda a: cp.sum(HOST)),
    (TypeError, "", lambda a: cp.concatenate([a, HOST])),
    (TypeError, "", lambda a: cp.where(a > 0, HOST, a)),
    (TypeError, "", lambda a: cp.matmul(a, HOST.T)),
    (TypeError, "", lambda a: cp.full((2,), HOST)),
    # NumPy out
    (TypeError, "", lambda a: cp.tanh(a, out=HOST)),
    (TypeError, "", lambda a: np.tanh(HOST, out=a)),
    (TypeError, "", lambda a: cp.sum(a, axis=0, out=HOST[0])),
    (TypeError, "", lambda a: a.sum(axis=0, out=HOST[0])),
    (TypeError, "", lambda a: cp.matmul(a, a.T, out=SQUARE)),
    # NumPy index
    (TypeError, "as an index", lambda a: a[np.array([0, 1])]),
    (TypeError, "as an index", lambda a: a.__setitem__(np.array([0, 1]), 0)),
    # NumPy value
    (TypeError, "Unsupported type", lambda a: a.__setitem__(slice(None), HOST)),
    (TypeError, "Unsupported type", lambda a: a.__setitem__(0, [1, 2, 3, 4])),
    # unknown attributes and keywords
    (AttributeError, "", lambda a: a.base_nonsense),
    (AttributeError, "", lambda a: a.flags.writeable),
    (TypeError, "", lambda a: cp.zeros(3, like=a)),
    (TypeError, "", lambda a: cp.sum(a, where=a > 0)),
    (TypeError, "", lambda a: cp.sum(a, initial=0)),
    (TypeError, "", lambda a: cp.mean(a, where=a > 0)),
    (TypeError, "", lambda a: cp.max(a, initial=0)),
    (TypeError, "", lambda a: a.sum(where=a > 0)),
    (TypeError, "", lambda a: cp.add(a, a, where=True)),
    (TypeError, "", lambda a: cp.add(a, a, order="C")),
    (TypeError, "", lambda a: cp.tanh(a, subok=False)),
    (TypeError, "", lambda a: cp.clip(a, min=0, max=1)),
    # products, and methods of ufuncs
    (ValueError, "must be C-contiguous", lambda a: cp.matmul(a, a.T, out=cp.empty((3, 6), "float32")[:, ::2])),
    (TypeError, "", lambda a: operator.imatmul(a, a)),  # type: ignore[no-untyped-call]
    (TypeError, "", lambda a: np.add.reduce(a)),
    (TypeError, "", lambda a: np.add.outer(a, a)),
    (TypeError, "", lambda a: np.add.at(a, 0, 1)),
    # dtypes without a counterpart on a device
    (ValueError, "Unsupported dtype", lambda a: cp.asarray(np.array(["word"]))),
    (ValueError, "Unsupported dtype", lambda a: cp.asarray(np.array([object()]))),
    (ValueError, "Unsupported dtype", lambda a: cp.asarray(np.zeros(2, np.longdouble))),
    # transfers
    (TypeError, "can be set", lambda a: a.set(a)),
    (ValueError, "can't be set", lambda a: a.set(HOST.astype("float64"))),
    (TypeError, "can be obtained", lambda a: a.get(out=a)),
    (TypeError, "length-1", float),
    (ValueError, "ambiguous", bool),
    # gemm
    (TypeError, "", lambda a: gemm("N", "N", HOST, HOST.T)),
    (TypeError, "", lambda a: gemm("N", "N", a, HOST.T)),
    (TypeError, "", lambda a: gemm("N", "N", cp.asarray(HALF), cp.asarray(HALF))),
    (TypeError, "", lambda a: gemm("N", "N", device(2, 2, dtype="int32"), device(2, 2, dtype="int32"))),
    (TypeError, "", lambda a: gemm("X", "N", device(2, 2), device(2, 2))),
    (AssertionError, "", lambda a: gemm("N", "N", device(2, 2), device(2, 2, dtype="float64"))),
    (AssertionError, "", lambda a: gemm("N", "N", device(2, 3), device(2, 3))),
    (AssertionError, "", lambda a: gemm("N", "N", device(2, 3, 4), device(4, 3))),
    (AssertionError, "", lambda a: gemm("N", "N", a, a.T, out=device(3, 4))),
    (AssertionError, "", lambda a: gemm("N", "N", a, a.T, out=device(3, 3, dtype="float64"))),
    (AssertionError, "overlaps", lambda a: gemm("N", "N", a[:, :3], device(3, 3), out=a[:, :3])),
    (RuntimeError, "", lambda a: gemm("N", "N", device(0, 3), device(3, 2), out=device(0, 2))),
    (RuntimeError, "", lambda a: gemm("N", "N", device(2, 0), device(0, 2), out=device(2, 2))),
]


@pytest.fixture
def a() -> Any:
    return cp.asarray(HOST)


@pytest.mark.parametrize(("error", "message", "call"), REFUSED)
def test_refusals(a: Any, error: type[Exception], message: str, call: Callable[[Any], Any]) -> None:
    with pytest.raises(error, match=message or None):
        call(a)


@pytest.mark.parametrize("name", ["errstate", "nditer", "testing_nonsense", "vectorize"])
def test_unknown_name(name: str) -> None:
    with pytest.raises(AttributeError, match=f"has no '{name}'"):
        getattr(cp, name)
    with pytest.raises(ImportError):
        exec(f"from tests.standin import {name}")


def test_arrays_of_two_devices(a: Any) -> None:
    with cp.cuda.Device(1):
        other = cp.zeros((3, 4), "float32")
        assert other.device == other[0].device == cp.cuda.Device(1)
        with pytest.raises(ValueError, match="array device = 0 while current = 1"):
            cp.tanh(a)
    calls: list[Callable[[], Any]] = [
        lambda: a + other,
        lambda: cp.tanh(other),
        lambda: other.sum(),
        lambda: other.fill(0),
        lambda: a.__setitem__(0, other[0]),
        lambda: gemm("N", "N", other.T, other),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="array device = 1 while current = 0"):
            call()
