"""Whole jobs beside each other: a process for each library, which take turns, block by block.

So what else the machine does touches all of them alike, and none is in another's way.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

from benchmarks import machine


@contextlib.contextmanager
def workers(
    libraries: Sequence[str], work: Callable[..., None], threads: int, *arguments: Any
) -> Iterator[Callable[[str, Any], Any]]:
    """`with workers(…) as ask:` starts work(library, *arguments, pipe) in a process each.

    ask(library, request) sends the request and returns the answer. A worker ends when it receives "stop".
    """
    machine.pin(threads)
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    for library in libraries:
        pipes[library], end = context.Pipe()
        context.Process(target=work, args=(library, *arguments, end), daemon=True).start()
        end.close()  # the child has the only one then: should it die, reading here fails

    def ask(library: str, request: Any) -> Any:
        pipes[library].send(request)
        return pipes[library].recv()

    yield ask
    for pipe in pipes.values():
        pipe.send("stop")


def in_turns(libraries: Sequence[str], rounds: int, measure: Callable[[str], float]) -> dict[str, list[float]]:
    """What `measure` gives for each library in each round; who is first changes from round to round."""
    measured: dict[str, list[float]] = {library: [] for library in libraries}
    order = list(libraries)
    for _ in range(rounds):
        for library in order:
            measured[library].append(measure(library))
        order.reverse()
    return measured
