"""What the stand-in refuses, as CuPy does or more strictly, and what it counts."""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests import standin as cp
from tests.standin import raw
from tests.standin.counting import no_waiting
from tests.standin.cublas import gemm

HOST = np.arange(12, dtype="float32").reshape(3, 4)


@pytest.fixture
def a() -> Any:
    return cp.asarray(HOST)


def ones(*shape: int, dtype: str = "float32") -> Any:
    return cp.ones(shape, dtype)


# Calls with a device array (3, 4), by the error and a part of its message.
REFUSED: dict[tuple[type[Exception], str], list[Callable[[Any], Any]]] = {
    # NumPy in place of a device array: an operand, an argument, out, an index, a value. No implicit conversion.
    (TypeError, "Unsupported type"): [
        *(lambda a: a + HOST, lambda a: HOST + a, lambda a: a @ HOST.T, lambda a: HOST.T @ a, lambda a: a < HOST),
        *(lambda a: a.__iadd__(HOST), lambda a: a * [1.0, 2.0, 3.0, 4.0], lambda a: cp.tanh(HOST)),
        *(lambda a: cp.concatenate([a, HOST]), lambda a: cp.where(a > 0, HOST, a), lambda a: a[np.array([0, 1])]),
        *(lambda a: operator.setitem(a, slice(None), HOST), lambda a: operator.setitem(a, 0, [1, 2, 3, 4])),
    ],
    (TypeError, "return arrays must be"): [lambda a: cp.tanh(a, out=HOST), lambda a: cp.sum(a, axis=0, out=HOST[0])],
    (TypeError, ""): [
        *(np.asarray, np.float32, memoryview, lambda a: np.concatenate([a, a]), lambda a: np.tanh(HOST, out=a)),
        # keywords that CuPy lacks, methods of ufuncs, and a @= b, which would bind a new array
        *(lambda a: cp.zeros(3, like=a), lambda a: cp.sum(a, where=a > 0), lambda a: cp.add(a, a, where=True)),
        *(lambda a: np.add.reduce(a), lambda a: np.add.at(a, 0, 1), lambda a: exec("a @= a", {"a": a})),
        *(lambda a: gemm("N", "N", a, HOST.T), lambda a: gemm("X", "N", ones(2, 2), ones(2, 2))),
        lambda a: gemm("N", "N", ones(2, 2, dtype="int32"), ones(2, 2, dtype="int32")),
    ],
    (AttributeError, "base_nonsense"): [lambda a: a.base_nonsense],
    (ValueError, "must be C-contiguous"): [lambda a: cp.matmul(a, a.T, out=ones(3, 6)[:, ::2])],
    (ValueError, "Unsupported dtype"): [lambda a: cp.asarray(np.array(["word"]))],
    (TypeError, "can be set"): [lambda a: a.set(a)],
    (ValueError, "can't be set"): [lambda a: a.set(HOST.astype("float64"))],
    (TypeError, "can be obtained"): [lambda a: a.get(out=a)],
    (TypeError, "length-1"): [float],
    (ValueError, "ambiguous"): [bool],
    (AssertionError, ""): [
        *(lambda a: gemm("N", "N", ones(2, 3), ones(2, 3)), lambda a: gemm("N", "N", ones(2, 3, 4), ones(4, 3))),
        *(lambda a: gemm("N", "N", a, a.T, out=ones(3, 4)), lambda a: gemm("N", "N", a[:, :3], ones(3, 3, dtype="d"))),
    ],
    (AssertionError, "overlaps"): [lambda a: gemm("N", "N", a[:, :3], ones(3, 3), out=a[:, :3])],
    (RuntimeError, "INVALID_VALUE"): [lambda a: gemm("N", "N", ones(2, 0), ones(0, 2), out=ones(2, 2))],
}


@pytest.mark.parametrize(("error", "message"), REFUSED)
def test_refusals(a: Any, error: type[Exception], message: str) -> None:
    for call in REFUSED[error, message]:
        with pytest.raises(error, match=message or None):
            call(a)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="has no 'vectorize'"):
        cp.vectorize  # noqa: B018


def test_arrays_of_two_devices(a: Any) -> None:
    with cp.cuda.Device(1):
        other = ones(3, 4)
        assert other.device == other[0].device == cp.cuda.Device(1)
        with pytest.raises(ValueError, match="array device = 0 while current = 1"):
            cp.tanh(a)
    calls: list[Callable[[], Any]] = [
        *(lambda: a + other, lambda: other.sum(), lambda: other.fill(0)),
        *(lambda: operator.setitem(a, 0, other[0]), lambda: gemm("N", "N", other.T, other)),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="array device = 1 while current = 0"):
            call()


# ---- what it counts ----


def test_no_waiting(a: Any) -> None:
    with no_waiting():
        a + a
        for call in (a.get, a[0, 0].item, lambda: cp.asarray(HOST), lambda: a[a > 3]):
            with pytest.raises(AssertionError, match="within no_waiting"):
                call()
    assert a.get() is not None


def test_a_single_element_is_a_view(a: Any) -> None:
    element = a[1, 2]
    element[...] = 50
    a[0, 0] += 7
    assert (float(a[1, 2]), float(a[0, 0])) == (50, 7)
    assert isinstance(a[0].max(), cp.ndarray)


def test_new_memory_is_poisoned() -> None:
    for bits in (16, 32, 64):
        found = cp.empty((2, 2), f"float{bits}").get()
        assert np.isnan(found).all()
        assert (found.view(f"int{bits}") != -1).all()  # all bits set is what a kernel may wait for to change
    assert (cp.empty(3, "uint8").get() == 255).all()


def test_launches_that_cuda_refuses(a: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "compiler", lambda *, code, options: SimpleNamespace(get_function=lambda name: None))
    double, two = cp.RawModule(code="", options=("-std=c++17",)).get_function("double"), np.float32(2)
    refused: list[tuple[type[Exception], str, tuple[Any, ...], int]] = [
        (TypeError, "argument 1 of double is a <class 'float'>", (a, 2.0), 0),
        (TypeError, "argument 0 of double is a <class 'numpy.ndarray'>", (HOST, two), 0),
        (ValueError, "not contiguous", (a.T, two), 0),
        (ValueError, "shared memory", (a, two), 100_000),
    ]
    for error, message, args, shared in refused:
        with pytest.raises(error, match=message):
            double((1,), (32,), args, shared_mem=shared)
