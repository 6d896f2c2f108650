"""What the stand-in counts, and that its values are NumPy's."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests import standin as cp
from tests.standin import raw
from tests.standin.counting import EVENTS, counted, no_waiting
from tests.standin.cublas import gemm

HOST = np.arange(12, dtype="float32").reshape(3, 4)


@pytest.fixture
def a() -> Any:
    return cp.asarray(HOST)


def events(call: Callable[[], Any]) -> dict[str, int]:
    """What happens in `call`: the counts that are not zero."""
    with counted() as counters:
        call()
    return {event: n for event in EVENTS if (n := getattr(counters, event))}


def test_transfers(a: Any) -> None:
    assert events(lambda: cp.asarray(HOST)) == {"host_to_device": 1}
    assert events(lambda: cp.array([1.0, 2.0])) == {"host_to_device": 1}
    assert events(lambda: cp.ascontiguousarray(HOST)) == {"host_to_device": 1}
    assert events(lambda: a.set(HOST)) == {"host_to_device": 1}
    assert events(lambda: a[[0, 1]]) == {"host_to_device": 1, "kernels": 1}
    assert events(lambda: cp.asarray(a)) == {}
    for call in (a.get, a.tolist, lambda: cp.asnumpy(a), lambda: str(a), lambda: repr(a)):
        assert events(call) == {"device_to_host": 1}
    assert events(lambda: cp.asnumpy(HOST)) == {}


def test_the_device_has_its_own_memory(a: Any) -> None:
    host = HOST.copy()
    moved = cp.asarray(host)
    host[...] = -1
    np.testing.assert_array_equal(moved.get(), HOST)
    back = moved.get()
    back[...] = -1
    np.testing.assert_array_equal(moved.get(), HOST)


def test_reads_that_wait(a: Any) -> None:
    for call in (
        lambda: float(a[0, 0]),
        lambda: int(a[0, 0]),
        lambda: bool(a[0, 0]),
        lambda: a[0, 0].item(),
        lambda: 1 if a[0, 0] else 2,
        cp.cuda.Device().synchronize,
        cp.cuda.get_current_stream().synchronize,
    ):
        assert events(call) == {"waits": 1}
    assert events(lambda: 0 <= a[0, 0] <= 1) == {"kernels": 2, "waits": 1}


def test_shapes_that_depend_on_data_wait(a: Any) -> None:
    mask = a > 3
    for call in (
        lambda: a[mask],
        lambda: a.__setitem__(mask, a[0, 0]),
        lambda: a.__setitem__(mask, 0),
    ):
        assert events(call)["waits"] == 1


def test_launches(a: Any) -> None:
    square, index = cp.zeros((4, 4), "float32"), cp.arange(2)

    def add_in_place() -> None:
        a[0] += 1  # which assigns a[0] to itself in the end, at no cost

    assert events(lambda: a + a) == {"kernels": 1}
    assert events(lambda: cp.tanh(a, out=a)) == {"kernels": 1}
    assert events(lambda: a.sum()) == {"kernels": 1}
    assert events(lambda: cp.zeros(3)) == {"kernels": 1}
    assert events(lambda: cp.empty(3)) == {}
    assert events(lambda: a.__setitem__(0, 1)) == {"kernels": 1}
    assert events(lambda: a.__setitem__(0, a[1])) == {"kernels": 1}
    assert events(lambda: a.__setitem__(index, a[0])) == {"kernels": 1}
    assert events(lambda: a.__setitem__(index, 1)) == {"kernels": 1, "host_to_device": 1}
    assert events(add_in_place) == {"kernels": 1}
    assert events(lambda: a[index]) == {"kernels": 1}
    assert events(lambda: cp.take(a, index, axis=0)) == {"kernels": 1}
    assert events(lambda: a.T @ a) == {"products": 1}
    assert events(lambda: cp.dot(a.T, a)) == {"products": 1}
    wide = cp.ones((4, 8), "float32")
    assert events(lambda: wide[:, ::2] @ wide) == {"products": 1, "operand_copies": 1}
    assert events(lambda: wide[:, 2:6].dot(wide[:, :4])) == {"products": 1, "operand_copies": 2}
    assert events(lambda: gemm("N", "N", a.T, a, out=square, beta=1.0)) == {"gemms": 1}


def test_views_cost_nothing(a: Any) -> None:
    for call in (
        lambda: a[0],
        lambda: a[:, ::2],
        lambda: a[None],
        lambda: a.T,
        lambda: a.reshape(2, 6),
        lambda: a.ravel(),
        lambda: cp.ascontiguousarray(a),
        lambda: a.astype("float32", copy=False),
    ):
        assert events(call) == {}
    assert events(lambda: a.T.reshape(12)) == {"kernels": 1}
    assert events(lambda: cp.ascontiguousarray(a.T)) == {"kernels": 1}


def test_gemm_counts_what_it_copies() -> None:
    wide, square, out = (cp.ones(shape, "float32") for shape in [(4, 8), (4, 4), (4, 4)])
    assert events(lambda: gemm("N", "N", square, square.T, out=out)) == {"gemms": 1}
    assert events(lambda: gemm("N", "N", square, square, out=out.T)) == {"gemms": 1}
    # A strided operand is copied, and then an output in C order too.
    assert events(lambda: gemm("N", "N", wide[:, ::2], square, out=out)) == {"gemms": 1, "operand_copies": 2}
    assert events(lambda: gemm("N", "N", square, wide[:, :4], out=out.T)) == {"gemms": 1, "operand_copies": 1}


def test_a_single_element_is_a_view(a: Any) -> None:
    element = a[1, 2]
    assert element.shape == ()
    element[...] = 50
    assert float(a[1, 2]) == 50
    a[0, 0] += 7
    assert float(a[0, 0]) == 7
    assert isinstance(a.sum(), cp.ndarray)
    assert isinstance(a[0].max(), cp.ndarray)


def test_index_arrays_wrap_around(a: Any) -> None:
    index = cp.asarray(np.array([1, 3, -1]))
    np.testing.assert_array_equal(a[index].get(), HOST[[1, 0, 2]])
    np.testing.assert_array_equal(a[..., index].get(), HOST[:, [1, 3, 3]])
    np.testing.assert_array_equal(cp.take(a, index, axis=0).get(), HOST[[1, 0, 2]])
    np.testing.assert_array_equal(a[index, cp.asarray(np.array([4, 5, 6]))].get(), HOST[[1, 0, 2], [0, 1, 2]])


def test_new_memory_is_poisoned() -> None:
    for bits in (16, 32, 64):
        found = cp.empty((2, 2), f"float{bits}").get()
        assert np.isnan(found).all()
        assert (found.view(f"int{bits}") != -1).all()  # all bits set is what a kernel may wait for to change
    assert (cp.empty(3, "uint8").get() == 255).all()
    assert np.isnan(cp.empty_like(cp.zeros((2, 2))).get()).all()


def test_no_waiting(a: Any) -> None:
    with no_waiting():
        a + a
        for call in (a.get, lambda: float(a[0, 0]), lambda: cp.asarray(HOST), lambda: a[a > 3]):
            with pytest.raises(AssertionError, match="within no_waiting"):
                call()
    assert a.get() is not None


def test_raw_kernels(a: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def multiply(grid: Any, block: Any, args: Any, *, shared_mem: int) -> None:
        array, factor = args
        array *= factor

    # A module with one kernel, as an emulator would give it.
    module = SimpleNamespace(get_function=lambda name: multiply)
    monkeypatch.setattr(raw, "compiler", lambda *, code, options: module)
    double = cp.RawModule(code="", options=("-std=c++17",)).get_function("double")
    assert events(lambda: double((1,), (32,), (a, np.float32(2)))) == {"raw_kernels": 1}
    np.testing.assert_array_equal(a.get(), 2 * HOST)
    with pytest.raises(TypeError, match="argument 1 of double is a <class 'float'>"):
        double((1,), (32,), (a, 2.0))
    with pytest.raises(TypeError, match=r"argument 0 of double is a <class 'numpy.ndarray'>"):
        double((1,), (32,), (HOST, np.float32(2)))
    with pytest.raises(ValueError, match="not contiguous"):
        double((1,), (32,), (a.T, np.float32(2)))
    with pytest.raises(ValueError, match="shared memory"):
        double((1,), (32,), (a, np.float32(2)), shared_mem=100_000)
    with pytest.raises(TypeError, match="takes a tuple"):
        cp.RawModule(code="", options=["-std=c++17"])  # type: ignore[arg-type]
