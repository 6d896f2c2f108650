"""NumPy's products on the kernels' threads: the results of OpenBLAS alone, beside calls, forks and limits."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import xrnn
from benchmarks import soak_products
from benchmarks.soak_products import THREADS, Soak
from tests.fresh import output_of, run_python
from xrnn.backends.numpy import blas, kernels

_library = blas.of_numpy()
pytestmark = [
    pytest.mark.skipif(
        not _library or bool(_library.cannot_share()), reason="NumPy's BLAS can't run its products on other threads"
    ),
    pytest.mark.skipif(os.cpu_count() == 1, reason="on one CPU OpenBLAS has one thread"),
    pytest.mark.needs("threadpoolctl", "test"),
]


@pytest.fixture(scope="module")
def soak() -> Soak:
    return Soak(seed=1)


@pytest.fixture
def shared(soak: Soak) -> Iterator[None]:
    xrnn.share_threads()
    yield
    xrnn.share_threads(False)


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("setting", range(len(THREADS)))
@pytest.mark.parametrize("kind", ["calm", "changing", *(["forking"] if hasattr(os, "fork") else [])])
def test_same_bits_as_openblas_alone(soak: Soak, kind: str, setting: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak_products, "_CALLS", dict.fromkeys(THREADS, 200))
    assert soak.phase(kind, setting) == 200


def test_the_comparison_finds_a_wrong_bit(soak: Soak) -> None:
    right = soak._expected[0][0]
    try:
        soak._expected[0][0] = (bytes([right[0][0] ^ 1]) + right[0][1:],)
        with pytest.raises(AssertionError, match="computation 0 has other results"):
            soak.check([0], [0])
    finally:
        soak._expected[0][0] = right


# The kernels run signal handlers in the middle of a call, while their workers wait for the caller.
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers that send signals")
@pytest.mark.usefixtures("shared")
def test_products_in_a_signal_handler_during_a_call() -> None:
    rng = np.random.default_rng(0)
    layer = xrnn.RNN.init(64, 256, rng=1, backend="numpy")
    x, (a, b) = rng.standard_normal((400, 16, 64), np.float32), rng.standard_normal((2, 300, 300))
    expected, product = layer.forward(x).copy(), a @ b
    equal: list[bool] = []

    def handler(*_: object) -> None:
        equal.append(np.array_equal(a @ b, product))
        signal.setitimer(signal.ITIMER_REAL, 0.001)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        while len(equal) < 20:
            signal.setitimer(signal.ITIMER_REAL, 0.001)
            assert np.array_equal(layer.forward(x), expected)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert all(equal)


# The types of OpenBLAS's callback and of the function that it is given for a job.
RUN = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
PRODUCT = ctypes.CFUNCTYPE(None, ctypes.c_int, RUN, ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int)


@pytest.fixture
def callback() -> Iterator[Any]:
    """What the kernels set in a library, without a library."""
    given: list[Any] = []
    set_callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(given.append)
    address = ctypes.cast(set_callback, ctypes.c_void_p).value or 0
    kernels.share_threads_with(address, 64, True)
    assert kernels.shares_threads_with(address)
    yield PRODUCT(given[0])
    kernels.share_threads_with(address, 64, False)
    assert not kernels.shares_threads_with(address)
    assert given[-1] is None


# Each job waits for all others, as those of OpenBLAS do, and notes its numbers.
def test_all_jobs_of_a_product_run_at_the_same_time(callback: Any) -> None:
    for count in (1, 2, 3, 9, 70):  # 70: more than the workers of the pool
        barrier, seen = threading.Barrier(count), list[tuple[int, int, int]]()

        def run(number: int, job: int, argument: int, barrier: Any = barrier, seen: Any = seen) -> None:
            barrier.wait()
            seen.append((number, job, argument))

        callback(1, RUN(run), count, 8, 4096, 5)
        last = max(number for number, _, _ in seen)
        assert sorted(seen, reverse=True) == [(last - i, 4096 + 8 * i, 5) for i in range(count)]


class Description(ctypes.Structure):
    """The start of OpenBLAS's description of a job."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("routine", "position", "assigned", "arguments", "rows", "columns")),
        *((name, ctypes.c_void_p) for name in ("scratch", "second_scratch", "next", "next_since_0_3_34")),
    )


@pytest.mark.parametrize("link", ["next", "next_since_0_3_34", ""])
def test_each_job_has_scratch_memory_of_its_own(callback: Any, link: str) -> None:
    jobs: Any = (Description * 3)()
    size, unknown = ctypes.sizeof(Description), kernels.count_unknown_products()
    for i, job in enumerate(jobs):
        job.position = i
        if link and i < 2:
            setattr(job, link, ctypes.addressof(jobs) + size * (i + 1))
    jobs[0].scratch = 64  # the caller's own
    callback(1, RUN(lambda *_: None), 3, size, ctypes.addressof(jobs), 0)
    assert kernels.count_unknown_products() - unknown == (not link)
    assert jobs[0].scratch == 64
    if link:
        assert jobs[1].scratch != jobs[2].scratch
        for job in jobs[1:]:
            ctypes.memset(job.scratch + (256 << 20) - 4096, 1, 4096)
    else:
        assert jobs[1].scratch is jobs[2].scratch is None


VARIABLE = "import xrnn; xrnn.get_backend('numpy'); from xrnn.backends.numpy import blas; print(blas.describe())"


def test_the_variable_and_what_info_says() -> None:
    for value, words in (("1", "those of the kernels"), ("0", "which sleep after each product"), ("", "which sleep")):
        said = output_of(VARIABLE, XRNN_SHARE_THREADS=value, OPENBLAS_THREAD_TIMEOUT="4", OPENBLAS_NUM_THREADS="2")
        assert words in said
    refused = run_python(VARIABLE, XRNN_SHARE_THREADS="yes")
    assert "XRNN_SHARE_THREADS is 'yes': expected 0, or 1 for NumPy's products too" in refused.stderr
    without = run_python(
        "from xrnn.backends.numpy import blas; blas.loaded = list; " + VARIABLE, XRNN_SHARE_THREADS="1"
    )
    assert "XRNN_SHARE_THREADS=1 has no effect: NumPy's BLAS is another library than OpenBLAS" in without.stderr


def test_a_library_that_cannot_share_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _library
    for name, value, words in (
        ("has_own_threads", False, "has no threads of its own"),
        ("set_callback", 0, "update NumPy to one with OpenBLAS 0.3.27 or newer"),
        ("threads", 40, "set OPENBLAS_NUM_THREADS="),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(blas.OpenBLAS, name, value)
            patch.setattr(blas, "loaded", lambda: [_library])
            if name == "threads":
                patch.setattr(_library, "most_threads", 64)
            with pytest.raises(RuntimeError, match=words):
                xrnn.share_threads()
    with monkeypatch.context() as patch:
        counts = iter([0, 1, 1, 1])
        patch.setattr(kernels, "count_unknown_products", lambda: next(counts))
        with pytest.raises(RuntimeError, match="in a way that xrnn does not know"):
            xrnn.share_threads()
        assert not _library.shares_threads
    monkeypatch.setattr(blas, "loaded", list)
    with pytest.raises(RuntimeError, match="NumPy's BLAS is another library than OpenBLAS"):
        xrnn.share_threads()
    monkeypatch.setattr(blas, "kernels", None)
    with pytest.raises(RuntimeError, match="xrnn has no compiled kernels here"):
        xrnn.share_threads()


def test_a_process_exits_while_products_run() -> None:
    assert run_python(soak_products._EXIT).returncode == 0
