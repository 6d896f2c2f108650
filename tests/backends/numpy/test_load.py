"""The policy for the number of threads: fewer if they wait for each other, then more again."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.backends.numpy.test_threads import in_fresh_process, train
from xrnn.backends.numpy import kernels

MILLISECOND = 1_000_000  # nanoseconds


@pytest.mark.parametrize(
    ("calls", "after"),
    [
        ([(10, 0)] * 50, 4),
        ([(10, 2.9)] * 50, 4),  # below 30 % of the time: a second thread still gains a quarter
        ([(10, 3.1)] * 3, 3),
        ([(10, 9)] * 2, 4),  # a single pause of a virtual CPU is no busy machine
        ([(0.5, 0.4)] * 59, 4),
        ([(0.5, 0.4)] * 60, 3),
        ([(40, 13)], 3),
        ([(10, 0)] * 50 + [(10, 9)] * 4, 3),  # old calls have little weight
        ([(1, 5)] * 30, 3),  # several threads may have waited at the same time
    ],
)
def test_fewer_threads_after_waiting(calls: list[tuple[float, float]], after: int) -> None:
    in_nanoseconds = [(int(elapsed * MILLISECOND), int(waited * MILLISECOND)) for elapsed, waited in calls]
    assert kernels.threads_after(4, in_nanoseconds) == after


def test_down_by_a_quarter_and_up_by_half() -> None:
    down, up = [64], [1]
    while down[-1] > 1:
        down.append(kernels.threads_after(down[-1], [(40 * MILLISECOND, 36 * MILLISECOND)]))
    assert down == [64, 48, 36, 27, 21, 16, 12, 9, 7, 6, 5, 4, 3, 2, 1]
    assert kernels.threads_after(1, [(40 * MILLISECOND, 36 * MILLISECOND)]) == 1
    while up[-1] < 64:
        up.append(kernels.more_threads(up[-1]))
    assert up == [1, 2, 3, 5, 8, 12, 18, 27, 41, 62, 93]


def test_the_back_off_doubles_while_more_threads_do_not_hold() -> None:
    wake_ups = [4]
    for _ in range(6):
        wake_ups.append(kernels.next_back_off(wake_ups[-1], False))
    assert wake_ups == [4, 8, 16, 32, 64, 128, 128]
    assert kernels.next_back_off(16, True) == 4


def test_same_bits_with_threads_held_or_not() -> None:
    free = train(0)
    kernels.hold_threads(True)
    try:
        held = train(0)
    finally:
        kernels.hold_threads(False)
    for array, expected in zip(held, free, strict=True):
        assert_array_equal(array, expected)


# More threads than CPUs wait for each other.
CROWDED = """
import os
import numpy as np
from xrnn import RNN
from xrnn.backends.numpy import kernels, load
kernels.set_thread_cap(64)
rnn, x = RNN.init(64, 256, backend="numpy"), np.ones((50, 32, 64), np.float32)
said = ""
while "once a CPU is free" not in said:  # the limit may be raised again between two calls
    rnn(x)
    said = load().describe()["threads"]
print(said)
"""


def test_info_says_that_threads_wait() -> None:
    said = in_fresh_process(CROWDED, OMP_NUM_THREADS="64")
    number, _, words = said.partition(" ")
    assert words.startswith("(64 once a CPU is free again: others use them, and threads waited"), said
    assert int(number) < 64


def test_result_is_right_under_any_limit() -> None:
    expected = np.stack([array.sum() for array in train(1)])
    for threads in (2, 3, 5):
        kernels.force_partition(threads, "columns", False)
        try:
            assert_array_equal(np.stack([array.sum() for array in train(1)]), expected)
        finally:
            kernels.force_partition(0, "rows", False)
