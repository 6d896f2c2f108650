"""The number of threads by measured throughput: the policy on simulated machines, and calls that follow it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.backends.numpy.test_threads import in_fresh_process
from tests.needs_kernels import NOT_BUILT
from xrnn.backends.numpy import kernels

if not kernels:
    pytest.skip(NOT_BUILT, allow_module_level=True)

MILLISECOND = 1_000_000  # nanoseconds


@dataclass(frozen=True)
class Load:
    """What two threads get: their rate, where one thread on a free CPU has 1, and their CPU time per time."""

    rate: float
    cpu: float
    one: float = 1.0  # the rate of one thread


FREE = Load(1.8, 2.0)
BUSY = Load(0.9, 1.18)  # beside a process that always computes
GREEDY = Load(0.9, 1.0, one=0.7)  # beside two processes that always compute
Loads = Callable[[float], Load]  # by the time in milliseconds


def neighbour(computing: float, asleep: float) -> Loads:
    """A process that computes and sleeps in turns: milliseconds."""
    return lambda now: BUSY if now % (computing + asleep) < computing else FREE


def change(before: Load, at: float, after: Load) -> Loads:
    return lambda now: before if now < at else after


@dataclass
class Machine:
    """Calls of one kind, each of which takes `length` milliseconds on one thread."""

    length: float
    load: Loads
    held: int = 0  # this number of threads; 0: the chosen one
    now: float = 1.0
    cpu: list[float] = field(default_factory=lambda: [0.0])  # one number; the limit must not refer to the machine
    calls: list[tuple[float, float, int]] = field(default_factory=list)  # start, end, number of threads

    def __post_init__(self) -> None:
        cpu = self.cpu
        self.limit = kernels.ThreadLimit(lambda: int(cpu[0] * MILLISECOND))

    def call(self) -> None:
        threads, start, left = self.held or self.limit.threads(2), self.now, self.length
        while left > 1e-9:
            load = self.load(self.now)
            rate, cpu = (load.rate, load.cpu) if threads > 1 else (load.one, load.one)
            step = min(left / rate, 1.0)
            left, self.now = left - step * rate, self.now + step
            self.cpu[0] += step * cpu
        elapsed = int((self.now - start) * MILLISECOND)
        self.limit.report(1, 2, threads, 1e6 * self.length, elapsed, int(self.now * MILLISECOND))
        self.calls.append((start, self.now, threads))

    def run(self, seconds: float) -> Machine:
        while self.now < 1e3 * seconds:
            self.call()
        return self

    def speed(self, since: float = 0) -> float:
        """The work of the calls after this many seconds; 1 is the speed of one thread on a free CPU."""
        times = [end - start for start, end, _ in self.calls if start >= 1e3 * since]
        return len(times) * self.length / sum(times)


lengths = pytest.mark.parametrize("length", [0.5, 5.0, 50.0], ids=["0.5 ms", "5 ms", "50 ms"])


@lengths
@pytest.mark.parametrize("gain", [1.8, 1.1, 0.9])
def test_on_free_cpus_the_larger_average_wins_and_trials_cost_little(length: float, gain: float) -> None:
    machine = Machine(length, lambda _: Load(gain, 2.0)).run(10)
    assert machine.speed(since=1) > 0.98 * max(gain, 1.0)
    assert {threads for *_, threads in machine.calls} == {1, 2}


@lengths
@pytest.mark.parametrize("rhythm", [(100, 200), (5, 20), (50, 50)], ids=str)
def test_a_neighbour_that_computes_at_times_leaves_two_threads(length: float, rhythm: tuple[float, float]) -> None:
    machine = Machine(length, neighbour(*rhythm)).run(10)
    assert machine.speed() > 0.97 * Machine(length, neighbour(*rhythm), held=2).run(10).speed()


# With half of the CPU time two threads are faster at the expense of other processes.
@lengths
@pytest.mark.parametrize(
    ("loads", "since", "least", "most"),
    [
        pytest.param(lambda _: BUSY, 2, 0.97, 2, id="one thread beside a process that always computes"),
        pytest.param(lambda _: Load(1.3, 1.26), 2, 1.26, 2, id="two beside a process that takes a third of their time"),
        pytest.param(lambda _: GREEDY, 2, 0, 0.72, id="one with half of the CPU time, though two are faster"),
        pytest.param(change(FREE, 3000, BUSY), 5, 0.96, 2, id="a change to one is followed within two seconds"),
        pytest.param(change(BUSY, 3000, FREE), 5, 1.73, 2, id="a change to two is followed within two seconds"),
    ],
)
def test_the_number_of_threads(length: float, loads: Loads, since: float, least: float, most: float) -> None:
    assert least < Machine(length, loads).run(10).speed(since) < most


@pytest.mark.parametrize("cpu", [1.0, 2.0])
def test_pauses_in_which_the_workers_poll(cpu: float) -> None:
    """Half of the CPU time, or all of it, in the calls and in the pauses."""
    machine = Machine(0.5, lambda _: GREEDY if cpu == 1 else FREE)
    while machine.now < 10_000:
        machine.call()
        machine.now += 0.4
        machine.cpu[0] += 0.4 * (cpu if machine.calls[-1][2] == 2 else 0.7)
    assert machine.speed(since=2) < 0.72 if cpu == 1 else machine.speed(since=2) > 1.7


# Two copies, by the number of threads of the other copy. In the first, the LSTM with T, N, D, H = 50, 1, 256, 256, a
# copy that alone changes to one thread is slower: 0.5 instead of 0.87. In the second, a copy also gains by a second
# thread while the other has one.
COPIES = {
    "few rows": {1: Load(0.8, 1.1), 2: Load(0.87, 0.96, one=0.5)},
    "many rows": {1: Load(1.15, 1.17), 2: Load(0.9, 0.96, one=0.6)},
}


@lengths
@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("later", [0.0, 3000.0], ids=["at the same time", "one later"])
def test_two_copies_come_down_to_one_thread_each(length: float, copy: str, later: float) -> None:
    """Both are then at 1, the speed of one thread on a free CPU."""
    beside = COPIES[copy]
    first = Machine(length, lambda _: beside[second.calls[-1][2]] if second.calls else FREE)
    second = Machine(length, lambda _: beside[first.calls[-1][2]] if first.calls else FREE, now=1.0 + later)
    while first.now < 20_000:
        min(first, second, key=lambda machine: machine.now).call()
    assert min(first.speed(since=8), second.speed(since=8)) > 0.93


@dataclass
class Copy:
    """One of several copies of a program, which starts at this time. Its calls take 8 ms on one thread."""

    start: int
    cpu: list[float] = field(default_factory=lambda: [0.0])
    done: float = 0.0
    threads: int = 8

    def __post_init__(self) -> None:
        cpu = self.cpu
        self.limit, self.began = kernels.ThreadLimit(lambda: int(cpu[0] * MILLISECOND)), float(self.start)

    def advance(self, now: float, share: float) -> float:
        """One millisecond, in which each thread gets this share of a CPU → the work done."""
        work = self.threads * share**1.3 if self.threads > 1 else share  # threads wait for those without a CPU
        self.done, self.cpu[0] = self.done + work, self.cpu[0] + self.threads * share
        if self.done >= 8:
            self.limit.report(1, 8, self.threads, 1e6, int((now - self.began) * MILLISECOND), int(now * MILLISECOND))
            self.done, self.began, self.threads = 0.0, now, self.limit.threads(8)
        return work


def test_sixteen_copies_on_eight_cpus_come_down_to_few_threads() -> None:
    """Whatever the other copies do, each of them gains by more threads."""
    copies, late = [Copy(start=2 + 37 * i) for i in range(16)], 0.0
    for now in range(2, 12_000):
        running = [copy for copy in copies if copy.start <= now]
        share = min(1.0, 8 / sum(copy.threads for copy in running))
        work = sum(copy.advance(now, share) for copy in running)
        late += work if now > 6_000 else 0
    assert late / 6_000 > 0.75 * 8


@dataclass
class Process:
    """Calls of several kinds. Each tells its time and its CPU time by the number of threads."""

    now: float = 1.0
    cpu: list[float] = field(default_factory=lambda: [0.0])
    used: list[tuple[float, int]] = field(default_factory=list)  # end, number of threads

    def __post_init__(self) -> None:
        cpu = self.cpu
        self.limit = kernels.ThreadLimit(lambda: int(cpu[0] * MILLISECOND))

    def call(self, kind: int, most: int, elapsed: Callable[[int], tuple[float, float]], work: float = 1e6) -> None:
        threads = self.limit.threads(most)
        time, cpu = elapsed(threads)
        self.now, self.cpu[0] = self.now + time, self.cpu[0] + cpu
        self.limit.report(kind, most, threads, work, int(time * MILLISECOND), int(self.now * MILLISECOND))
        self.used.append((self.now, threads))

    def share_of(self, threads: int, since: float = 0) -> float:
        used = [number for at, number in self.used if at >= since]
        return used.count(threads) / len(used)


def on_two(length: float, slowdown: float) -> Callable[[int], tuple[float, float]]:
    """A call of this length on two free CPUs; on one thread it takes this many times as long."""
    return lambda threads: (length * (1 if threads == 2 else slowdown), length * (2 if threads == 2 else slowdown))


def crowded(free: int) -> Callable[[int], tuple[float, float]]:
    """A call that takes 8 ms on one thread. With more threads than free CPUs, all of them wait for a CPU."""

    def elapsed(threads: int) -> tuple[float, float]:
        time = 8 / threads if threads <= free else 8.0
        return time, min(threads, free) * time

    return elapsed


def test_many_threads_reach_the_number_of_free_cpus() -> None:
    process = Process()
    for end, free, threads in ((6_000, 5, 4), (16_000, 16, 16)):
        while process.now < end:
            process.call(1, 16, crowded(free))
        assert process.share_of(threads, since=end - 1_000) > 0.8


def test_competition_of_the_past_is_forgotten_if_the_process_now_sleeps_between_calls() -> None:
    """CPU time then does not show whether others compete. If they did, one thread would be used."""
    machine = Machine(5.0, change(Load(0.87, 0.96, one=0.5), 5_000, Load(1.2, 2.0))).run(5)
    while machine.now < 60_000:
        machine.call()
        machine.now += 10
    assert machine.speed(since=30) > 1.15


def test_a_call_on_another_number_of_threads_than_chosen_is_not_measured() -> None:
    """A call runs on fewer threads than chosen if the others sleep and it is too short to wake them."""
    machine = Machine(1.0, lambda _: FREE)
    for _ in range(5_000):
        machine.limit.report(1, 2, 1, 1e6, MILLISECOND // 10, int(machine.now * MILLISECOND))
        machine.now += 1
    assert machine.limit.threads(2) == 2


@pytest.mark.parametrize(("first", "second", "one"), [(5.0, 1.0, False), (1.0, 5.0, True)])
def test_calls_of_all_kinds_decide_by_the_time_that_they_take(first: float, second: float, one: bool) -> None:
    """The second kind is faster on one thread. Multiply-adds take 1,000 times as long in it."""
    process = Process()
    while process.now < 10_000:
        process.call(1, 2, on_two(first, 1.8), work=1e3)
        process.call(2, 2, on_two(second, 0.6), work=1)
    assert process.share_of(1) > 0.8 if one else process.share_of(1) < 0.2


def test_a_process_that_came_down_to_one_of_many_threads_goes_up_in_calls_that_could_use_two() -> None:
    """Many levels mean one thread for these calls. It sleeps between the calls, so that its share of the CPU is low."""
    process = Process()
    while process.now < 60_000:
        process.call(64, 64, lambda n: (20 / 0.9, 20 / 0.9 * 0.6) if n > 1 else (20, 20))
    assert process.used[-1][1] == 1
    while process.now < 180_000:
        process.call(2, 2, on_two(5 / 1.8, 1.8))
        process.now += 4
    assert process.share_of(2, since=170_000) > 0.9


def test_two_kinds_in_one_place_are_measured() -> None:
    process = Process()
    while process.now < 5_000:
        for kind in (1, 56):
            process.call(kind, 2, on_two(1 / 0.6, 0.6))
    assert process.share_of(1) > 0.9


def test_kinds_with_the_same_low_bits_do_not_take_turns_in_one_place() -> None:
    """Forward and backward functions at addresses that are equal modulo 64, as hashes keep them."""
    process = Process()
    while process.now < 5_000:
        for kind in (64, 128, 64 + 2**40):
            process.call(kind, 2, on_two(1.0, 1.8))
    assert process.share_of(2) > 0.95


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
while kernels.thread_limit() != (5, 8):
    rnn(x)
print(describe(load())["threads"])
"""


def test_calls_use_fewer_threads_if_that_is_faster_and_info_says_so() -> None:
    held, said = in_fresh_process(CROWDED, OMP_NUM_THREADS="8").splitlines()
    assert held == "1 1"
    assert said == "8 (one per CPU; now 5 of 8: more are slower, or other processes need the CPUs)"
