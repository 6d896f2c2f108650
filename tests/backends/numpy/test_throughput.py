"""The number of threads by measured throughput: the policy on simulated machines, and calls that follow it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.backends.numpy.test_threads import in_fresh_process, train
from xrnn.backends.numpy import kernels

if not kernels:
    pytest.skip("the kernels were not built: `pip install -v -e .` says why", allow_module_level=True)

MILLISECOND = 1_000_000  # nanoseconds
SLICE = 4 * MILLISECOND  # two processes on one CPU take turns of this length

# The speed of the second CPU at a time: 1 if it is free, 0 while another process has it.
Second = Callable[[int], float]


@dataclass
class Machine:
    """Calls of one kind. On one thread each takes `length` nanoseconds; on two 0.55 of it, if the second CPU is free.

    Two threads wait for each other at each step, so they progress at the speed of the second CPU.
    """

    length: int
    second: Second
    contended: bool = False
    now: int = MILLISECOND
    calls: list[tuple[int, int, int]] = field(default_factory=list)  # start, end, number of threads

    def __post_init__(self) -> None:
        self.limit = kernels.ThreadLimit()

    def end(self, threads: int) -> int:
        """When a call ends that starts now."""
        if threads == 1:
            return self.now + self.length
        left, end = 0.55 * self.length, self.now
        while left > 0:
            speed = self.second(end)
            step = int(min(self.length / 20, left / speed + 1 if speed else np.inf))
            left -= step * speed
            end += step
        return end

    def call(self) -> int:
        """Run one call → its number of threads."""
        threads = self.limit.threads(1, 2, self.now)
        start, self.now = self.now, self.end(threads)
        self.limit.report(1, 2, threads, 1e6, self.now - start, self.now, self.contended)
        self.calls.append((start, self.now, threads))
        return threads

    def run(self, milliseconds: float) -> None:
        stop = self.now + int(milliseconds * MILLISECOND)
        while self.now < stop:
            self.call()

    def speed(self, since: float = 0) -> float:
        """The work of the calls after this many milliseconds; 1 is the speed of one thread."""
        times = [end - start for start, end, _ in self.calls if start >= since * MILLISECOND]
        return len(times) * self.length / sum(times)

    def changes(self) -> int:
        return sum(a[2] != b[2] for a, b in itertools.pairwise(self.calls))


class BesideACopy(Machine):
    """While contended, another process computes on two threads too. The first call on one waits for a time slice."""

    def end(self, threads: int) -> int:
        if not self.contended:
            return super().end(threads)
        if threads == 2:
            return self.now + int(1.8 * self.length)
        waits = not self.calls or self.calls[-1][2] == 2
        return self.now + self.length + SLICE * waits


def free(_: int) -> float:
    return 1.0


def shared(now: int) -> float:
    """Another process takes turns on the second CPU."""
    return float(now // SLICE % 2)


def until(milliseconds: int, before: Second, after: Second) -> Second:
    return lambda now: before(now) if now < milliseconds * MILLISECOND else after(now)


lengths = pytest.mark.parametrize("length", [100_000, 1_000_000, 20_000_000], ids=["0.1 ms", "1 ms", "20 ms"])
BOTH = 1 / 0.55  # the speed of two threads on two free CPUs


@lengths
def test_two_free_cpus_are_used(length: int) -> None:
    machine = Machine(length, free)
    machine.run(4000)
    assert machine.speed() > 0.99 * BOTH
    assert 2 <= machine.changes() <= 6  # fewer threads are tried: otherwise nothing would be known of them


@lengths
def test_a_shared_cpu_is_given_up(length: int) -> None:
    machine = Machine(length, until(1000, free, shared))
    machine.run(3000)
    assert machine.speed(since=1000) > 0.95  # two threads: 0.91
    assert machine.speed(since=2000) > 0.97


@lengths
def test_fewer_threads_beside_a_copy_of_the_program(length: int) -> None:
    machine = BesideACopy(length, free, contended=True)
    machine.run(1000)
    assert machine.speed(since=200) > 0.85  # two threads: 0.56


@lengths
def test_fewer_threads_once_a_copy_of_the_program_starts(length: int) -> None:
    machine = BesideACopy(length, free)
    machine.run(1000)
    assert machine.calls[-1][2] == 2
    machine.contended = True
    machine.run(1000)
    assert machine.speed(since=1200) > 0.85


@lengths
def test_a_cpu_at_half_speed_is_given_up_without_a_single_long_wait(length: int) -> None:
    machine = Machine(length, lambda _: 0.5)
    machine.run(4000)
    assert machine.speed(since=2000) > 0.98  # two threads: 0.87


@lengths
def test_a_slower_cpu_is_used_while_it_gains(length: int) -> None:
    machine = Machine(length, lambda _: 0.7)
    machine.run(4000)
    assert machine.speed() > 0.99 * 0.7 * BOTH


@lengths
def test_a_pause_costs_little_more_than_itself(length: int) -> None:
    machine = Machine(length, lambda now: float(not 500 <= now / MILLISECOND < 510))
    machine.run(1500)
    lost = 1500 * (1 - machine.speed() / BOTH)
    assert lost < 10 + 25


@lengths
def test_a_cpu_that_becomes_free_is_used_again(length: int) -> None:
    machine = Machine(length, until(1000, shared, free))
    machine.run(3000)
    assert machine.speed(since=1600) > 0.98 * BOTH


def test_long_calls_on_a_crowded_machine_do_not_postpone_trials() -> None:
    """Calls of 200 ms, as beside many processes. Then the CPUs are free, and calls take 20 ms."""
    limit = kernels.ThreadLimit()
    now = alternate(limit, MILLISECOND, {1: {1: 200 * MILLISECOND, 2: 400 * MILLISECOND}}, 60)
    now = alternate(limit, now, {1: {1: 20 * MILLISECOND, 2: 11 * MILLISECOND}}, 60)
    assert limit.threads(1, 2, now) == 2


def test_trials_of_more_threads_back_off() -> None:
    machine = Machine(MILLISECOND, lambda _: 0.1)
    machine.run(2000)
    assert machine.speed(since=500) > 0.95
    assert 4 <= machine.changes() <= 24


@lengths
def test_a_long_stop_of_the_other_cpu_is_soon_over(length: int) -> None:
    machine = Machine(length, lambda now: float(not 500 <= now / MILLISECOND < 600))
    machine.run(1500)
    assert machine.speed(since=800) > 0.98 * BOTH


def test_down_by_a_quarter_and_up_by_half() -> None:
    down, up = [64], [1]
    while down[-1] > 1:
        down.append(kernels.fewer_threads(down[-1]))
    assert down == [64, 48, 36, 27, 21, 16, 12, 9, 7, 6, 5, 4, 3, 2, 1]
    assert kernels.fewer_threads(1) == 1
    while up[-1] < 64:
        up.append(kernels.more_threads(up[-1]))
    assert up == [1, 2, 3, 5, 8, 12, 18, 27, 41, 62, 93]


def test_many_threads_reach_the_number_of_free_cpus() -> None:
    """With more threads than the 5 free CPUs, all of them wait for a CPU."""
    limit, now, used = kernels.ThreadLimit(), MILLISECOND, []
    for _ in range(20_000):
        threads = limit.threads(1, 16, now)
        elapsed = MILLISECOND // threads if threads <= 5 else MILLISECOND
        now += elapsed
        limit.report(1, 16, threads, 1e6, elapsed, now)
        used.append(threads)
    late = used[len(used) // 2 :]
    assert sum(4 <= threads <= 5 for threads in late) > 0.9 * len(late)


def test_a_call_on_another_number_of_threads_than_chosen_is_no_trial() -> None:
    """A call runs on fewer threads than chosen if the others sleep and it is too short to wake them."""
    limit, now = kernels.ThreadLimit(), MILLISECOND
    for _ in range(5_000):
        limit.threads(1, 2, now)
        now += 100_000
        limit.report(1, 2, 1, 1e6, 100_000, now)
    assert limit.threads(1, 2, now) == 2


def test_same_bits_with_threads_held_or_not() -> None:
    free = train(0)
    kernels.hold_threads(True)
    try:
        held = train(0)
    finally:
        kernels.hold_threads(False)
    for array, expected in zip(held, free, strict=True):
        assert_array_equal(array, expected)


def alternate(limit: kernels.ThreadLimit, now: int, times: dict[int, dict[int, int]], calls: int) -> int:
    """Calls of several kinds in turn.   times: kind → threads → nanoseconds   → now"""
    for kind in [*times] * calls:
        most = max(times[kind])
        threads = limit.threads(kind, most, now)
        now += times[kind][threads]
        limit.report(kind, most, threads, 1e6, times[kind][threads], now)
    return now


def test_the_kind_that_takes_the_most_time_decides_for_all() -> None:
    limit = kernels.ThreadLimit()
    times = {1: {1: 1_000_000, 2: 500_000}, 2: {1: 3_000_000, 2: 5_000_000}}  # the second is faster on one thread
    now = alternate(limit, MILLISECOND, times, 100)
    assert [limit.threads(kind, 2, now) for kind in (1, 2)] == [1, 1]
    assert limit.threads(3, 8, now) == 4  # a new kind gets the same share of its threads
    # Another kind, on the number of threads that it finds, takes more time from now on and decides.
    now = alternate(limit, now, {1: {1: 20_000_000, 2: 10_000_000}, 2: times[2]}, 100)
    assert [limit.threads(kind, 2, now) for kind in (1, 2)] == [2, 2]


def test_a_trial_whose_calls_have_stopped_does_not_count_for_other_kinds() -> None:
    limit, now = kernels.ThreadLimit(), MILLISECOND
    while limit.threads(1, 2, now) == 2:
        now += MILLISECOND // 2
        limit.report(1, 2, 2, 1e6, MILLISECOND // 2, now)
    assert limit.threads(2, 2, now) == 1  # the same as in the trial
    assert limit.threads(2, 2, now + 1000 * MILLISECOND) == 2


def test_kinds_beyond_the_table_are_measured_once_they_take_the_most_time() -> None:
    limit = kernels.ThreadLimit()
    many = {kind: {1: 1_000_000, 2: 500_000} for kind in range(1, 100)}
    now = alternate(limit, MILLISECOND, many, 3)
    assert limit.threads(1, 2, now) == 2
    now = alternate(limit, now, {1000: {1: 3_000_000, 2: 5_000_000}}, 200)
    assert limit.threads(1, 2, now) == 1


# More threads than CPUs gain nothing.
CROWDED = """
import numpy as np
from xrnn import RNN
from xrnn.backends.numpy import kernels, load
from xrnn.info import describe
kernels.set_thread_cap(8)
rnn, x = RNN.init(64, 256, backend="numpy"), np.ones((50, 32, 64), np.float32)
kernels.hold_threads(True)
for _ in range(100):
    rnn(x)
print(*kernels.thread_limit())  # held threads are not measured
kernels.hold_threads(False)
while kernels.thread_limit() != (6, 8):
    rnn(x)
print(describe(load())["threads"])
"""


def test_calls_use_fewer_threads_if_that_is_faster_and_info_says_so() -> None:
    held, said = in_fresh_process(CROWDED, OMP_NUM_THREADS="8").splitlines()
    assert held == "1 1"
    assert said == "8 (one per CPU; now 6 of 8: more gain little while other processes use the CPUs)"


def test_result_is_right_on_any_number_of_threads() -> None:
    expected = np.stack([array.sum() for array in train(1)])
    for threads in (2, 3, 5):
        kernels.force_partition(threads, "columns", False)
        try:
            assert_array_equal(np.stack([array.sum() for array in train(1)]), expected)
        finally:
            kernels.force_partition(0, "rows", False)
