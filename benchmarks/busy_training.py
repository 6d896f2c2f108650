"""One of the processes that `benchmarks.busy` measures: `python -m benchmarks.busy_training PEER`.

Requests and answers are one line of JSON each, on standard input and output; times are seconds on the one clock of the
machine, `time.monotonic`:

    {"prepare": [T, N, D, H], "cell", "threads"} → "ready"; what follows is about this case
    {"start", "stop"} → when the calls between them began and ended; the first and the last reach beyond
    {"calls", "pause"} → the microseconds of so many calls, each after a pause in seconds
    {"long": "forward" or "backward"} → "ready", then when a SIGINT ended a call that would take half a minute
"""

from __future__ import annotations

import bisect
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from threadpoolctl import threadpool_limits

import xrnn
from benchmarks.cases import Case, Problem, check
from benchmarks.peers import Call, build
from xrnn.backends.numpy import kernels

AS_IT_COMES: Final = 0  # threads: as many as the library takes by itself; else so many, whoever waits


def hold(peer: str, threads: int) -> None:
    """Let the calls from now on take so many threads."""
    count = threads or os.cpu_count() or 1
    if peer == "torch":
        import torch

        torch.set_num_threads(count)
    else:
        threadpool_limits(count, user_api="openmp")
        kernels.hold_threads(threads != AS_IT_COMES)


def calls_until(call: Call, start: float, stop: float) -> list[float]:
    bounds = [time.monotonic()]
    while bounds[-1] < stop:
        call()
        bounds.append(time.monotonic())
    return bounds[max(bisect.bisect(bounds, start) - 1, 0) :]


def after_pauses(call: Call, count: int, pause: float) -> list[float]:
    times = []
    for _ in range(count):
        time.sleep(pause)
        start = time.perf_counter()
        call()
        times.append(1e6 * (time.perf_counter() - start))
    return times


def interrupted(name: str, say: Callable[[Any], None]) -> float:
    """When KeyboardInterrupt came, in a call that would take half a minute; infinite where it did not come."""
    T, N, D, H = 20_000, 32, 1, 1024
    rnn = xrnn.RNN.init(D, H, rng=np.random.default_rng(0), backend="numpy")
    x = np.zeros((T, N, D), np.float32)
    try:
        say("ready")
        if name == "forward":
            rnn(x)
        else:
            # Past the layer, whose backward needs a forward of the same length.
            states, dh = np.zeros((T + 1, N, H), np.float32), np.broadcast_to(np.zeros(H, np.float32), (T, N, H))
            (Wx, Wh, _), (dWx, dWh, db) = rnn.params, rnn.grads
            kernels.backward("tanh", x, Wx, Wh, (states,), None, None, False, (), (dh,), dWx, dWh, db, True)
    except KeyboardInterrupt:
        return time.monotonic()
    return float("inf")


def main() -> None:
    peer = sys.argv[1]
    # What a library prints must not end up among the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer: Any) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    prepared: dict[Case, Call] = {}
    call: Call = lambda: None  # noqa: E731
    for line in sys.stdin:
        match json.loads(line):
            case {"prepare": sizes, "cell": cell, "threads": threads}:
                case = Case(*sizes, cell=cell)
                if case not in prepared:
                    problem = Problem(case)
                    prepared[case] = build(peer, problem, threads=0).calls["train"]
                    check("train", prepared[case](), problem)
                call = prepared[case]
                hold(peer, threads)
                say("ready")
            case {"start": start, "stop": stop}:
                say(calls_until(call, start, stop))
            case {"calls": count, "pause": pause}:
                say(after_pauses(call, count, pause))
            case {"long": name}:
                say(interrupted(name, say))


if __name__ == "__main__":
    main()
