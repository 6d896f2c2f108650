"""The fused forms and threads: calls from several threads, forked children, and every limit on threads."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from safetensors.numpy import load_file
from threadpoolctl import threadpool_limits

from tests.backends.numpy.conftest import EMULATED
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


@pytest.mark.skipif(not kernels.OPENMP, reason="the kernels were built without OpenMP")
def test_threadpoolctl_limits_the_threads() -> None:
    with threadpool_limits(1):
        assert kernels.max_threads() == 1
        one = train(0)
    for array, expected in zip(one, train(0), strict=True):
        assert_array_equal(array, expected)


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


# Run the kernels on the threads of the OpenMP library that they are linked to.
BORROWED = """
import ctypes
from xrnn.backends.numpy import kernels, use_threads_of
use_threads_of(ctypes.CDLL(kernels.__file__))
"""
needs_openmp = pytest.mark.skipif(
    not (kernels and hasattr(ctypes.CDLL(kernels.__file__), "GOMP_parallel")),
    reason="the kernels were built without OpenMP, or not at all",
)

on_each_kind_of_threads = pytest.mark.parametrize(
    "threads",
    [pytest.param("", id="own"), pytest.param(BORROWED, id="OpenMP", marks=[needs_openmp, pytest.mark.proof])],
)

MAX_THREADS = "from xrnn.backends.numpy import kernels; print(kernels.max_threads())"


def test_training_gives_the_same_checkpoint_on_any_number_of_threads(tmp_path: Path) -> None:
    for threads in ("1", "3"):
        code = f"""
import numpy as np, xrnn
from xrnn.backends.numpy import kernels
kernels.set_thread_cap(3)
assert kernels.max_threads() == {threads}
for cell in (xrnn.RNN, xrnn.LSTM, xrnn.GRU):
    rng = np.random.default_rng(0)
    embedding, readout = xrnn.Embedding.init(64, 32, rng=rng), xrnn.Linear.init(96, 64, rng=rng)
    recurrent = xrnn.Stack([cell.init(32, 96, rng=rng)])
    optimizer = xrnn.Adam([embedding, recurrent, readout])
    for _ in range(4):
        chunk = rng.integers(64, size=(21, 32)).astype("int32")
        h, _ = recurrent.forward(embedding.forward(chunk[:-1]))
        loss, dscores = xrnn.softmax_cross_entropy(readout.forward(h), chunk[1:])
        dx, _ = recurrent.backward(readout.backward(dscores))
        embedding.backward(dx)
        optimizer.step()
    layers = {{"embedding": embedding, "recurrent": recurrent, "readout": readout}}
    xrnn.save_checkpoint({str(tmp_path)!r} + f"/{{cell.__name__}}-{threads}", layers, optimizer=optimizer)
"""
        in_fresh_process(code, OMP_NUM_THREADS=threads)
    for cell in ("RNN", "LSTM", "GRU"):
        one, several = (load_file(tmp_path / f"{cell}-{threads}") for threads in ("1", "3"))
        assert one.keys() == several.keys()
        for name, array in one.items():
            assert_array_equal(several[name], array, err_msg=f"{cell}: {name}")


lists_threads = pytest.mark.skipif(
    not os.path.isdir("/proc/self/task"), reason="this system lists no process's threads in /proc"
)
pinned = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process to a CPU")


@pinned
def test_no_more_threads_than_the_affinity_allows() -> None:
    cpus = len(os.sched_getaffinity(0))
    assert in_fresh_process(MAX_THREADS, OMP_NUM_THREADS="64") == str(min(cpus, 64))
    # The same if the process is pinned after OpenMP has counted the CPUs, like the workers of a pool.
    pin = "import os; os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1]); "
    assert in_fresh_process("import xrnn.backends.numpy; " + pin + MAX_THREADS, OMP_NUM_THREADS="64") == "1"


# The calls follow so closely that the worker stays awake. It takes over the affinity within 10 ms all the same.
SHRINKING = """
import os, time
import numpy as np
from xrnn import RNN
from xrnn.backends.numpy import kernels
kernels.set_thread_cap(2)
kernels.hold_threads(True)
rnn, x = RNN.init(64, 128, backend="numpy"), np.ones((20, 32, 64), np.float32)
before = set(os.listdir("/proc/self/task"))
rnn(x)
workers = set(os.listdir("/proc/self/task")) - before
one = list(os.sched_getaffinity(0))[:1]
for call in range(50):
    rnn(x)
os.sched_setaffinity(0, one)
until = time.perf_counter() + 0.02
while time.perf_counter() < until:
    rnn(x)
rnn(x)
print(len(workers), *(os.sched_getaffinity(int(worker)) == set(one) for worker in workers))
"""


@pinned
@lists_threads
def test_a_worker_that_is_awake_follows_the_affinity() -> None:
    assert in_fresh_process(SHRINKING, OMP_NUM_THREADS="2", OPENBLAS_NUM_THREADS="1") == "1 True"


# The forward pass has too little work to wake a thread, the backward pass twice that.
WAKING = """
import os
import numpy as np
from xrnn import LRU
from xrnn.backends.numpy import kernels
kernels.set_thread_cap(2)
layer, x = LRU.init(512, 1024, backend="numpy"), np.ones((20, 1, 512), np.float32)
counts = [len(os.listdir("/proc/self/task"))]
h = layer.forward(x)
counts.append(len(os.listdir("/proc/self/task")))
layer.backward(h)
print(*np.diff([*counts, len(os.listdir("/proc/self/task"))]))
"""


@lists_threads
def test_a_backward_pass_wakes_a_thread_for_twice_the_work_of_the_forward_pass() -> None:
    assert in_fresh_process(WAKING, OMP_NUM_THREADS="2", OPENBLAS_NUM_THREADS="1") == "0 1"


# Weights of 6 MiB, which one row uses: an eighth of the work that wakes a thread for each step.
READING = """
import os
import numpy as np
from xrnn import RNN
from xrnn.backends.numpy import kernels
kernels.set_thread_cap(2)
layer, counts = RNN.init(512, 1024, backend="numpy"), [len(os.listdir("/proc/self/task"))]
for l2, steps in ((64, 6), (2, 2), (2, 6)):
    kernels.set_l2(l2 << 20)
    layer(np.ones((steps, 1, 512), np.float32))
    counts.append(len(os.listdir("/proc/self/task")))
print(*np.diff(counts))
"""


@lists_threads
def test_a_call_wakes_a_thread_if_its_steps_read_many_weights() -> None:
    """Not if the weights fit a core's own cache, and not for two steps."""
    assert in_fresh_process(READING, OMP_NUM_THREADS="2", OPENBLAS_NUM_THREADS="1") == "0 0 1"


@pinned
def test_binding_to_places_leaves_all_threads() -> None:
    """OpenMP binds the calling thread to one place. This must not count as the affinity of the process."""
    code = "from tests.backends.numpy.test_threads import kernels, train; train(0); print(kernels.max_threads())"
    cpus = len(os.sched_getaffinity(0))
    assert in_fresh_process(code, OMP_NUM_THREADS="64", OMP_PROC_BIND="true") == str(min(cpus, 64))


LIMITED = """
import xrnn.backends.numpy as numpy
from xrnn.info import describe
for quota, cap in {limits}:
    numpy.cpu_quota = lambda: quota
    backend = numpy.load()
    numpy.kernels.set_thread_cap(cap)
    print(numpy.kernels.max_threads(), describe(backend)["threads"])
"""
LESS = "fewer if more are slower, or other processes need the CPUs)"
ASKED = "64 asked for, but by affinity and quota this process may use"


@pytest.mark.parametrize(
    ("asked", "said"),  # by quota and cap
    [
        ("1", {(None, None): "1 1 (no more are asked for)"}),
        ("2", {(None, 2): f"2 2 (one per CPU; {LESS}", (None, 3): f"2 2 (as set; this process may use 3 CPUs; {LESS}"}),
        ("64", {(1, None): f"1 1 ({ASKED} 1 CPU)", (None, 7): f"7 7 ({ASKED} 7 CPUs)"}),
    ],
)
def test_the_number_of_threads_and_what_info_says_of_it(asked: str, said: dict[Any, str]) -> None:
    found = in_fresh_process(LIMITED.format(limits=[*said]), OMP_NUM_THREADS=asked)
    assert found.splitlines() == [*said.values()]


@lists_threads
def test_a_call_starts_no_more_threads_than_the_quota() -> None:
    code = """
import os
from tests.backends.numpy.test_threads import kernels, train
kernels.set_quota(2)
kernels.hold_threads(True)
before = len(os.listdir("/proc/self/task"))
train(0)
print(len(os.listdir("/proc/self/task")) - before, min(kernels.thread_cap(), 2) - 1)
"""
    started, others = in_fresh_process(code, OMP_NUM_THREADS="64", OPENBLAS_NUM_THREADS="1").split()
    assert started == others


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@on_each_kind_of_threads
def test_forked_child_of_a_process_with_threads_computes_on_one(threads: str) -> None:
    # In a fresh process, so that the child cannot hold a lock of pytest.
    code = (
        threads
        + """
import os
from tests.backends.numpy.test_threads import kernels, train
from numpy.testing import assert_array_equal
kernels.set_thread_cap(2)
parent = train(0)
child = os.fork()
if child == 0:
    ok = kernels.max_threads() == 1
    for array, expected in zip(train(0), parent):
        assert_array_equal(array, expected)
    os._exit(0 if ok else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    )
    assert in_fresh_process(code, OMP_NUM_THREADS="2") == "0"


# The library's worker has run the kernels: there is no other worker, and its CPU time has grown.
SHARED = f"""
import os, time
from tests.backends.numpy.test_threads import kernels, train
{BORROWED}
kernels.set_thread_cap(2)
kernels.hold_threads(True)

def tasks():
    return set(os.listdir("/proc/self/task"))

def computed(task):
    return int(open(f"/proc/self/task/{{task}}/schedstat").read().split()[0])

before = tasks()
train(0)
worker, = tasks() - before
spent = computed(worker)
for _ in range(50):
    train(0)
print(tasks() - before == {{worker}}, computed(worker) > spent, kernels.uses_openmp())
import xrnn, xrnn.info
print(xrnn.info.describe(xrnn.get_backend("numpy"))["threads"].endswith(", of another library in this process"))
kernels.use_openmp(None)
train(0)
print(len(tasks() - before), kernels.uses_openmp())
"""


@needs_openmp
@lists_threads
def test_threads_of_another_library_replace_the_kernels_own() -> None:
    lines = in_fresh_process(SHARED, OMP_NUM_THREADS="2", OPENBLAS_NUM_THREADS="1").splitlines()
    assert lines == ["True True True", "True", "2 False"]


# The library may have more threads than the call: the others do nothing. Sleeping threads are woken.
SAME_BITS = f"""
import time
from tests.backends.numpy.test_threads import kernels, train
from numpy.testing import assert_array_equal
kernels.set_thread_cap(3)
kernels.force_partition(1, "rows", False)
expected = train(0)
{BORROWED}
for split in ("rows", "columns"):
    for threads in (2, 8):
        for pause in (0, 0.01):
            kernels.force_partition(threads, split, False)
            time.sleep(pause)
            for array, wanted in zip(train(0), expected, strict=True):
                assert_array_equal(array, wanted)
print(kernels.asked_threads())
"""


@needs_openmp
@pytest.mark.parametrize("policy", [pytest.param("active", marks=pytest.mark.proof), "passive"])
def test_another_librarys_threads_give_the_same_bits(policy: str) -> None:
    assert in_fresh_process(SAME_BITS, OMP_NUM_THREADS="5", OMP_WAIT_POLICY=policy) == "5"


# The library has two threads, and the call asks for four: each of the two has more rows than a fourth of them.
FEWER = f"""
import numpy as np
from numpy.testing import assert_array_equal
from tests.backends.numpy.test_threads import kernels
{BORROWED}
kernels.set_level("amx-emulated")
x, W = (np.random.default_rng(0).standard_normal(shape, np.float32) for shape in ((512, 600), (600, 16)))

def product(threads):
    kernels.force_partition(threads, "rows", False)
    kernels.force_products(True)
    return kernels.affine(x, W, W[0], 1)

expected = product(1)
for _ in range(10):
    assert_array_equal(product(4), expected)
"""


@needs_openmp
@pytest.mark.skipif(not EMULATED, reason="the level amx-emulated was not built")
def test_a_product_in_bfloat16_on_fewer_threads_than_it_asks_for() -> None:
    assert in_fresh_process(FEWER, OMP_NUM_THREADS="2") == ""


def test_a_library_without_openmp_is_refused() -> None:
    code = """
import _ctypes, ctypes
from xrnn.backends.numpy import kernels, use_threads_of
try:
    use_threads_of(ctypes.CDLL(_ctypes.__file__))
except AttributeError:
    print(kernels.uses_openmp())
"""
    assert in_fresh_process(code) == "False"


# An exiting Python ends daemon threads when they return from a call. This must not abort the process.
EXITING = """
import threading, time
import numpy as np
from xrnn import RNN
from xrnn.backends.numpy import kernels
rnns, x = [RNN.init(64, 128, backend="numpy") for _ in range(4)], np.ones((20, 32, 64), np.float32)
begun = threading.Barrier(5)

def call(rnn):
    begun.wait()
    while True:
        rnn(x)

for rnn in rnns:
    threading.Thread(target=call, args=(rnn,), daemon=True).start()
begun.wait()
time.sleep(0.05)
print("end")
"""


@needs_openmp
def test_the_openmp_library_is_left_when_the_process_exits() -> None:
    code = f"""
import atexit
from xrnn.backends.numpy import kernels
atexit.register(lambda: print(kernels.uses_openmp()))
{BORROWED}
print(kernels.uses_openmp())
"""
    assert in_fresh_process(code).split() == ["True", "False"]


@on_each_kind_of_threads
def test_a_process_may_exit_while_daemon_threads_compute(threads: str) -> None:
    assert in_fresh_process(threads + EXITING, OMP_NUM_THREADS="2") == "end"
