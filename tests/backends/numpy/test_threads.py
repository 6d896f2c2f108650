"""The fused forms and threads: from several at once, in a forked child, and under every limit that people set."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from threadpoolctl import threadpool_limits

from xrnn import RNN
from xrnn.backends.numpy import kernels
from xrnn.typing import Array

# Large enough for a second thread: see test_partition.py.
T, N, D, H = 20, 32, 64, 128


def train(seed: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    rnn = RNN.init(D, H, rng=rng, backend="numpy")
    x, dh = (rng.standard_normal((T, N, size), np.float32) for size in (D, H))
    return [rnn.forward(x).copy(), *rnn.backward(dh), *rnn.grads]


def test_two_python_threads_at_once() -> None:
    alone = [train(seed) for seed in range(2)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(train, [0, 1] * 2))
    for i, arrays in enumerate(together):
        for array, expected in zip(arrays, alone[i % 2], strict=True):
            assert_array_equal(array, expected)


def test_threadpoolctl_limits_the_threads() -> None:
    with threadpool_limits(1):
        assert kernels.max_threads() == 1
        one = train(0)
    for array, expected in zip(one, train(0), strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-4, atol=1e-4)


def in_fresh_process(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "XRNN_BACKEND": "numpy", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_omp_num_threads_is_heard() -> None:
    code = "from xrnn.backends.numpy import kernels; print(kernels.max_threads())"
    assert in_fresh_process(code, OMP_NUM_THREADS="1") == "1"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_forked_child_of_a_process_with_threads_computes_on_one() -> None:
    # In a process of its own: the child must hold no lock of pytest's.
    code = """
import os
from tests.backends.numpy.test_threads import kernels, train
from numpy.testing import assert_allclose
parent = train(0)
child = os.fork()
if child == 0:
    ok = kernels.max_threads() == 1
    for array, expected in zip(train(0), parent):
        assert_allclose(array, expected, rtol=1e-4, atol=1e-4)
    os._exit(0 if ok else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert in_fresh_process(code, OMP_NUM_THREADS="2") == "0"
