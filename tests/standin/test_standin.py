"""What makes tests on the stand-in meaningful: it converts nothing, mixes no devices, and notices where it waits."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests import standin as cp
from tests.standin.counting import no_waiting
from tests.standin.cublas import gemm

HOST = np.arange(12, dtype="float32").reshape(3, 4)

# Calls with a device array (3, 4), by a part of the error's message: NumPy in place of a device array as an operand, an
# argument, out, an index, a value; what CuPy lacks; products that cuBLAS refuses.
REFUSED: dict[str, list[Callable[[Any], Any]]] = {
    "Unsupported type": [
        *(lambda a: a + HOST, lambda a: HOST + a, lambda a: HOST.T @ a, lambda a: a < HOST, lambda a: cp.tanh(HOST)),
        *(lambda a: a.__iadd__(HOST), lambda a: a * [1.0, 2.0, 3.0, 4.0], lambda a: cp.where(a > 0, HOST, a)),
        *(lambda a: a[np.array([0, 1])], lambda a: operator.setitem(a, slice(None), HOST)),
    ],
    "return arrays must be": [lambda a: cp.tanh(a, out=HOST), lambda a: cp.sum(a, axis=0, out=HOST[0])],
    "": [
        *(np.asarray, np.float32, memoryview, bool, float, lambda a: np.concatenate([a, a]), lambda a: cp.vectorize),
        *(lambda a: np.tanh(HOST, out=a), lambda a: cp.add(a, a, where=True), lambda a: np.add.reduce(a)),
        *(lambda a: exec("a @= a", {"a": a}), lambda a: gemm("N", "N", a, HOST.T), lambda a: gemm("N", "N", a, a)),
    ],
    "must be C-contiguous": [lambda a: cp.matmul(a, a.T, out=cp.ones((3, 6), "float32")[:, ::2])],
    "overlaps": [lambda a: gemm("N", "N", a[:, :3], cp.ones((3, 3), "float32"), out=a[:, :3])],
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals(message: str) -> None:
    for call in REFUSED[message]:
        with pytest.raises((TypeError, ValueError, AttributeError, AssertionError), match=message or None):
            call(cp.asarray(HOST))


def test_arrays_of_two_devices() -> None:
    a = cp.asarray(HOST)
    with cp.cuda.Device(1):
        other = cp.ones((3, 4), "float32")
        with pytest.raises(ValueError, match="array device = 0 while current = 1"):
            cp.tanh(a)
    calls = [lambda: a + other, other.sum, lambda: operator.setitem(a, 0, other[0]), lambda: gemm("N", "N", other.T, a)]
    for call in calls:
        with pytest.raises(ValueError, match="array device = 1 while current = 0"):
            call()


def test_no_waiting() -> None:
    a = cp.asarray(HOST)
    with no_waiting():
        a + a
        for call in (a.get, a[0, 0].item, lambda: cp.asarray(HOST), lambda: a[a > 3]):
            with pytest.raises(AssertionError, match="within no_waiting"):
                call()
    assert a.get() is not None


def test_new_memory_is_poisoned() -> None:
    for bits in (16, 32, 64):
        found = cp.empty(2, f"float{bits}").get()
        assert np.isnan(found).all()
        assert (found.view(f"int{bits}") != -1).all()  # all bits set is what a kernel may wait for to change
