"""NumPy's BLAS beside the kernels: what is said about it, and the log entry when its threads take the kernels' CPUs."""

from __future__ import annotations

import os
import sys

import pytest

from tests.fresh import output_of, run_python
from xrnn.backends.numpy import blas

pytestmark = [
    pytest.mark.skipif(not blas.of_numpy(), reason="NumPy's BLAS is another library than OpenBLAS"),
    pytest.mark.skipif(os.cpu_count() == 1, reason="on one CPU OpenBLAS has one thread"),
]

DESCRIBE = "from xrnn.backends.numpy import blas; print(blas.describe())"


def test_whether_its_threads_poll() -> None:
    two = {"OPENBLAS_NUM_THREADS": "2"}
    assert ", 2 threads, which sleep after" in output_of(DESCRIBE, OPENBLAS_THREAD_TIMEOUT="4", **two)
    for timeout in ("", "26"):
        line = output_of(DESCRIBE, OPENBLAS_THREAD_TIMEOUT=timeout, **two)
        assert line.endswith(
            ", 2 threads, which poll after each product, on the CPUs that the kernels need: call "
            "xrnn.share_threads(), or set OPENBLAS_THREAD_TIMEOUT=4 before NumPy is imported"
        )
    assert output_of(DESCRIBE, OPENBLAS_NUM_THREADS="1").endswith(", 1 thread")


INFO = "import sys; sys.argv = ['xrnn', 'info']; from xrnn_command import main; sys.exit(main())"


def test_the_command_lets_them_sleep_unless_the_user_has_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_THREAD_TIMEOUT", raising=False)
    variables = {"OPENBLAS_NUM_THREADS": "2", "XRNN_BACKEND": "numpy"}
    assert "which sleep after each product" in output_of(INFO, **variables)
    assert "which poll after each product" in output_of(INFO, OPENBLAS_THREAD_TIMEOUT="26", **variables)


# One product on two threads, and at once the question whether another thread uses a CPU; until the answer is yes, or a
# hundred times.
EXPLAIN = """
import numpy as np
from xrnn.backends.numpy import blas
a = np.ones((300, 300))
found = False
for _ in range(100):
    a @ a
    found = found or blas.explain_delays()
print(found)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the running threads are read from Linux's /proc")
def test_delays_are_explained_by_threads_that_poll() -> None:
    polling = run_python(EXPLAIN, OPENBLAS_NUM_THREADS="2", OPENBLAS_THREAD_TIMEOUT="26")
    assert polling.stdout == "True\n"
    (line,) = set(polling.stderr.splitlines())
    assert line.startswith("the threads of OpenBLAS poll after each matrix product of NumPy, on the CPUs")
    for variables in ({"OPENBLAS_THREAD_TIMEOUT": "4"}, {"OPENBLAS_NUM_THREADS": "1"}):
        sleeping = run_python(EXPLAIN, **{"OPENBLAS_NUM_THREADS": "2"} | variables)
        assert (sleeping.stdout, sleeping.stderr) == ("False\n", "")


# A thread of another library, as those of PyTorch, which computes while OpenBLAS's threads sleep.
OTHER = """
import _thread
import time
from xrnn.backends.numpy import blas
def compute():
    while True:
        pass
_thread.start_new_thread(compute, ())
found = False
for _ in range(100):
    time.sleep(0.001)
    found = found or blas.explain_delays()
print(found)
"""


def test_threads_of_another_library_are_not_taken_for_those_of_openblas() -> None:
    done = run_python(OTHER, OPENBLAS_NUM_THREADS="2", OPENBLAS_THREAD_TIMEOUT="26")
    assert (done.stdout, done.stderr) == ("False\n", "")


# Three threads on one CPU wait long for each other in every call.
DELAYED = """
import os
import numpy as np
import xrnn
from xrnn.backends.numpy import kernels
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
layer, calls = xrnn.RNN.init(64, 64, rng=0, backend="numpy"), []
def explain():
    calls.append(len(calls))
    return len(calls) == 2
kernels.set_on_delays(explain)
kernels.force_partition(3, "columns", False)
x = np.ones((20, 16, 64), "float32")
while len(calls) < 2:
    layer.forward(x)
for _ in range(100):
    layer.forward(x)
print(calls)
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system cannot bind a process to one CPU")
def test_the_kernels_report_delays_until_one_is_explained() -> None:
    assert output_of(DELAYED) == "[0, 1]"


def test_an_error_of_the_explanation_does_not_end_the_call() -> None:
    code = DELAYED.replace("return len", "if len(calls) == 1: raise ValueError('wrong')\n    return len")
    done = run_python(code.replace("print", "sys = __import__('sys'); print"))
    assert done.stdout == "[0, 1]\n"
    assert "ValueError: wrong" in done.stderr
