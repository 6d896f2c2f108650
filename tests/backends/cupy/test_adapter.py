"""The CuPy adapter on the stand-in: what is launched, on which stream and device, and what is copied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import standin as cp
from tests.conftest import STANDIN
from tests.standin.counting import Counters, counted
from tests.test_training_step import INDEX, MASK, TARGETS, Model
from xrnn import SGD, Adam, clip_grad_norm, mean_squared_error
from xrnn.info import describe

N, H = 3, 7


def device_array(*shape: int, dtype: str = "float32") -> Any:
    return cp.asarray(np.random.default_rng(0).standard_normal(shape).astype(dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("transposed", [False, True])
def test_matmul_add_is_one_call_and_copies_nothing(dtype: str, transposed: bool) -> None:
    a, out = device_array(4, N, H, dtype=dtype), device_array(4, N, H, dtype=dtype)
    b = device_array(H, H, dtype=dtype)
    expected = out.get()[2] + a.get()[1] @ (b.get().T if transposed else b.get())
    with counted() as counters:
        STANDIN.matmul_add(a[1], b.T if transposed else b, out[2])
    assert counters == Counters(gemms=1, streams={cp.cuda.Stream.null})
    np.testing.assert_allclose(out.get()[2], expected, rtol=1e-5)


def test_matmul_add_of_dtypes_that_gemm_refuses() -> None:
    out = cp.ones((2, 2), "float16")
    STANDIN.matmul_add(cp.ones((2, 3), "float16"), cp.ones((3, 2), "float16"), out)
    np.testing.assert_array_equal(out.get(), np.full((2, 2), 4))


@pytest.mark.parametrize("optimizer", [SGD, lambda layers: SGD(layers, momentum=0.9), Adam])
def test_everything_runs_on_the_device_of_its_arrays(optimizer: Any) -> None:
    with cp.cuda.Device(1):
        model = Model(STANDIN, optimizer)
        index, targets, mask = (cp.asarray(a) for a in (INDEX, TARGETS, MASK))
    # Device 0 is the current one from here on.
    loss, (_, (h,)) = model.step(index, targets, mask)
    update = model.optimizer
    moments = [moment for value in update.state.values() if isinstance(value, list) for moment in value]
    called = [model.embedding(index), model.stack(model.embedding(index))[0], model.linear(h)]
    computed = [loss, h, *called, clip_grad_norm(update.grads, 1.0), *mean_squared_error(h, h)]
    assert {array.device for array in (*computed, *update.params, *update.grads, *moments)} == {cp.cuda.Device(1)}
    assert cp.cuda.Device().id == 0


def test_describe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cp.cuda.runtime, "driverGetVersion", lambda: 12_040)
    with counted() as counters:
        facts = describe(STANDIN)
    assert facts == {
        "CuPy": "14.0.0",
        "CUDA": "13.0, driver up to 12.4",
        "device 0": "pretend GPU, compute capability 9.0, 132 multiprocessors, 80 GiB",
        "device 1": "pretend GPU, compute capability 9.0, 132 multiprocessors, 80 GiB",
    }
    assert counters == Counters()
