"""Signals during a long fused call: it ends early, its gradients are NaN, and the next call is correct.

Each test runs on the kernels' own threads, and on those of the OpenMP library that they are linked to.
"""

from __future__ import annotations

import os

import pytest

from tests.backends.numpy.test_threads import in_fresh_process, on_each_kind_of_threads
from tests.fresh import DEFAULT_SIGNALS
from tests.needs_kernels import NOT_BUILT
from xrnn.backends.numpy import kernels

if not kernels:
    pytest.skip(NOT_BUILT, allow_module_level=True)

PRELUDE = (
    DEFAULT_SIGNALS
    + """
import os, signal, threading
import numpy as np
import xrnn
from xrnn.backends.numpy import kernels
from tests.backends.numpy.test_threads import train

expected = train(0)
T, N, H = 10_000, 32, 1024  # seconds of work; most of the memory is never used
rnn = xrnn.RNN(np.ones((1, H), np.float32), np.eye(H, dtype=np.float32) / 2, np.zeros(H, np.float32))
x = np.ones((T, N, 1), np.float32)
dh = np.broadcast_to(np.ones(H, np.float32), (T, N, H))

Wx, Wh, b = rnn.params

def forward():
    rnn(x)

def backward(grads=rnn.grads, needs_dx=True):
    states = (np.zeros((T + 1, N, H), np.float32),)
    kernels.backward("tanh", x, Wx, Wh, states, None, None, False, (), (dh,), *grads, None, None, needs_dx, 0)

def check():
    for array, wanted in zip(train(0), expected, strict=True):
        np.testing.assert_array_equal(array, wanted)
"""
)

INTERRUPTED = """
for call in {calls}:
    rnn.forward(x[:2])
    rnn.backward(dh[:2])
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        call()
    except KeyboardInterrupt:
        check()
        print("interrupted", [bool(np.isnan(grad).all()) for grad in rnn.grads])
"""


@on_each_kind_of_threads
@pytest.mark.parametrize(
    ("calls", "is_nan"),
    [
        pytest.param("[forward, lambda: backward([None] * 3)]", False, id="no gradients of weights: none is written"),
        pytest.param("[backward, lambda: backward(needs_dx=False)]", True, id="their gradients are NaN"),
    ],
)
def test_an_interrupted_pass_ends(threads: str, calls: str, is_nan: bool) -> None:
    found = in_fresh_process(threads + PRELUDE + INTERRUPTED.format(calls=calls))
    assert found.splitlines() == [f"interrupted {[is_nan] * 3}"] * 2


# A handler that runs twice before the call returns has run within the call: otherwise it would run once, at the end.
HANDLED = """
class Enough(Exception):
    pass

seen = []
def handler(number, frame):
    check()  # operations on the same thread, in the middle of another
    seen.append(number)
    if len(seen) == 2:
        raise Enough
    signal.setitimer(signal.ITIMER_REAL, 0.01)

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.01)
try:
    rnn(x)
    signal.setitimer(signal.ITIMER_REAL, 0)
    print("the call has returned")
except Enough:
    check()
    print("enough")
"""


# With a single row the calling thread has no work: it only waits for the other thread.
WAITING = """
kernels.force_partition(2, "rows", False)
x = x[:, :1]

def check():
    pass
"""


@on_each_kind_of_threads
@pytest.mark.parametrize("waiting", ["", WAITING], ids=["", "the caller waits for another thread"])
def test_a_handler_may_compute_and_raise(threads: str, waiting: str) -> None:
    assert in_fresh_process(threads + PRELUDE + waiting + HANDLED) == "enough"


RETURNS = """
seen = []
signal.signal(signal.SIGALRM, lambda *_: seen.append(check()))
expected_states = rnn(x[:150])
signal.setitimer(signal.ITIMER_REAL, 0.01)
states = rnn(x[:150])
signal.setitimer(signal.ITIMER_REAL, 0)
np.testing.assert_array_equal(states, expected_states)
print("same", bool(seen))
"""


@on_each_kind_of_threads
def test_a_handler_that_returns_changes_nothing(threads: str) -> None:
    assert in_fresh_process(threads + PRELUDE + RETURNS) == "same True"


# The child has the calling thread only. Without an error it would wait for the parent's other thread for ever.
FORKS = """
kernels.set_thread_cap(2)
kernels.hold_threads(True)

class Ended(Exception):
    pass

def handler(number, frame):
    child = os.fork()
    if child:
        raise Ended(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.01)
try:
    rnn(x)
except Ended as ended:
    print("child", ended)
except RuntimeError as error:
    check()
    os._exit(7 if str(error).startswith("a signal handler forked during a fused call") else 8)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@on_each_kind_of_threads
def test_a_handler_that_forks_ends_the_call_in_the_child(threads: str) -> None:
    assert in_fresh_process(threads + PRELUDE + FORKS, OMP_NUM_THREADS="2") == "child 7"
