"""The CuPy adapter on the stand-in: what is launched, on which stream and device, and what is copied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import standin as cp
from tests.conftest import STANDIN
from tests.standin.counting import Counters, counted
from xrnn import RNN, SGD, Adam, Dropout, Embedding, Linear, clip_grad_norm, mean_squared_error, softmax_cross_entropy
from xrnn.info import describe

N, D, H = 3, 5, 7


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


@pytest.mark.parametrize(("M", "K", "P"), [(0, 2, 3), (2, 0, 3), (2, 3, 0)])
def test_matmul_add_of_nothing(M: int, K: int, P: int) -> None:
    out = cp.ones((M, P), "float32")
    STANDIN.matmul_add(cp.ones((M, K), "float32"), cp.ones((K, P), "float32"), out)
    np.testing.assert_array_equal(out.get(), np.ones((M, P)))


def test_matmul_add_of_dtypes_that_gemm_refuses() -> None:
    out = cp.ones((2, 2), "float16")
    STANDIN.matmul_add(cp.ones((2, 3), "float16"), cp.ones((3, 2), "float16"), out)
    np.testing.assert_array_equal(out.get(), np.full((2, 2), 4))


@pytest.mark.parametrize("optimizer", [SGD, lambda layers: SGD(layers, momentum=0.9), Adam])
def test_everything_runs_on_the_device_of_its_arrays(optimizer: Any) -> None:
    with cp.cuda.Device(1):
        embedding = Embedding.init(11, D, rng=0, backend=STANDIN)
        rnn = RNN.init(D, H, rng=0, backend=STANDIN)
        linear = Linear.init(H, 11, rng=0, backend=STANDIN)
        index, targets = (cp.asarray(np.arange(4 * N).reshape(4, N) % 11) for _ in range(2))
        mask = targets > 3
    # Device 0 is the current one from here on.
    dropout = Dropout(0.5)
    update = optimizer([embedding, rnn, linear])
    hidden = rnn.forward(embedding.forward(index))
    logits = linear.forward(dropout.forward(hidden))
    loss, dlogits = softmax_cross_entropy(logits, targets, mask=mask)
    dx, dh_prev = rnn.backward(dropout.backward(linear.backward(dlogits)))
    embedding.backward(dx)
    update.accumulate()
    norm = clip_grad_norm(update.grads, 1.0)
    update.step()
    error, dy = mean_squared_error(logits, dlogits)
    called = [embedding(index), rnn(dx), linear(hidden)]
    moments = [moment for value in update.state.values() if isinstance(value, list) for moment in value]
    computed = [hidden, logits, loss, dlogits, dx, dh_prev, norm, error, dy, *called]
    assert {array.device for array in (*computed, *rnn.params, *rnn.grads, *moments)} == {cp.cuda.Device(1)}
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
