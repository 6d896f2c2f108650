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

HOST = np.arange(12, dtype="float32").reshape(3, 4)


@pytest.fixture
def a() -> Any:
    return cp.asarray(HOST)


def events(call: Callable[[], Any]) -> dict[str, int]:
    """What happens in `call`: the counts that are not zero."""
    with counted() as counters:
        call()
    return {event: n for event in EVENTS if (n := getattr(counters, event))}


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


def test_a_single_element_is_a_view(a: Any) -> None:
    element = a[1, 2]
    assert element.shape == ()
    element[...] = 50
    assert float(a[1, 2]) == 50
    a[0, 0] += 7
    assert float(a[0, 0]) == 7
    assert isinstance(a.sum(), cp.ndarray)
    assert isinstance(a[0].max(), cp.ndarray)


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
