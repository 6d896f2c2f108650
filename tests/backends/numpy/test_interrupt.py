"""Signals during a long fused call: it ends early, its gradients are NaN, and the next call is right."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.backends.numpy.test_threads import kernels

if not kernels:
    pytest.skip("the kernels were not built: `pip install -v -e .` says why", allow_module_level=True)

PRELUDE = """
import os, signal, sys
import numpy as np
import xrnn
from xrnn.backends.numpy import kernels
from tests.backends.numpy.test_threads import train

expected = train(0)
rnn = xrnn.RNN.init(1, 1024, rng=np.random.default_rng(0), backend="numpy")
T, N, H = 10_000, 32, 1024  # seconds of work, in memory most of which is never touched
x = np.zeros((T, N, 1), np.float32)
dh = np.broadcast_to(np.zeros(H, np.float32), (T, N, H))

def forward():
    rnn(x)

def backward():
    rnn.forward(x[:2])
    kernels.backward("tanh", x, rnn.Wx, rnn.Wh, (np.zeros((T + 1, N, H), np.float32),), None, None, False, None, (dh,),
                     *rnn.grads)

def check():
    for array, wanted in zip(train(0), expected, strict=True):
        np.testing.assert_array_equal(array, wanted)
"""

INTERRUPTED = """
print("ready", flush=True)
try:
    {call}()
except KeyboardInterrupt:
    check()
    print("interrupted", [bool(np.isnan(grad).all()) for grad in rnn.grads])
"""


def child(code: str, **signals: signal.Signals) -> str:
    """What a child prints that gets a signal once it is ready."""
    with subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
        for number in signals.values():
            process.send_signal(number)
        out, errors = process.communicate()
    assert process.returncode == 0, errors
    return out.strip()


def test_an_interrupted_forward_ends() -> None:
    assert child(INTERRUPTED.format(call="forward"), first=signal.SIGINT).startswith("interrupted")


def test_an_interrupted_backward_leaves_nan() -> None:
    assert child(INTERRUPTED.format(call="backward"), first=signal.SIGINT) == "interrupted [True, True, True]"


# A handler that runs twice before the call has returned has run within it: else it would run once, at its end.
HANDLED = """
class Enough(Exception):
    pass

seen = []
def handler(number, frame):
    check()  # operations on the same thread, in the middle of another
    seen.append(number)
    if len(seen) == 2:
        raise Enough

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
print("ready", flush=True)
try:
    rnn(x)
    signal.setitimer(signal.ITIMER_REAL, 0)
    print("the call has returned")
except Enough:
    signal.setitimer(signal.ITIMER_REAL, 0)
    check()
    print("enough")
"""


def test_a_handler_may_compute_and_raise() -> None:
    assert child(HANDLED) == "enough"


RETURNS = """
seen = []
signal.signal(signal.SIGALRM, lambda *_: seen.append(check()))
print("ready", flush=True)
expected_states = rnn(x[:150])
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
states = rnn(x[:150])
signal.setitimer(signal.ITIMER_REAL, 0)
np.testing.assert_array_equal(states, expected_states)
print("same", bool(seen))
"""


def test_a_handler_that_returns_changes_nothing() -> None:
    assert child(RETURNS) == "same True"
