"""What the stand-in counts: transfers, reads that wait, kernel launches."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.standin._device import Stream


@dataclass
class Counters:
    """Events since the counters were made (or, in `counted`, within the block)."""

    host_to_device: int = 0
    device_to_host: int = 0
    waits: int = 0  # float(), bool(), .item(), a shape that depends on data, synchronize(): the host waits
    kernels: int = 0  # elementwise, reductions, fills, copies: one each
    products: int = 0  # matmul, dot
    gemms: int = 0  # cublas.gemm
    operand_copies: int = 0  # operands of a product that were copied because they were not contiguous
    raw_kernels: int = 0  # launches of a RawModule's function
    streams: set[Stream] = field(default_factory=set)  # those that something was launched on


_counting: list[Counters] = []
_forbidden = False
_lost: Exception | None = None


@contextlib.contextmanager
def losing_the_context(error: Exception) -> Iterator[Callable[[], None]]:
    """Within the block, once the yielded function has been called, every launch, copy and wait raises `error`."""

    def lose(*arguments: object, **more: object) -> None:
        global _lost
        _lost = error

    try:
        yield lose
    finally:
        globals()["_lost"] = None


def count(event: str) -> None:
    if _lost is not None:
        raise _lost
    for counters in _counting:
        setattr(counters, event, getattr(counters, event) + 1)


def count_stream(stream: Stream) -> None:
    for counters in _counting:
        counters.streams.add(stream)


def wait(event: str, what: str) -> None:
    """Count something that makes the host wait, or copies; inside `no_waiting` it fails where it happens."""
    if _forbidden:
        raise AssertionError(f"{what} within no_waiting(): it copies between host and device or waits for the device")
    count(event)


@contextlib.contextmanager
def counted() -> Iterator[Counters]:
    """Count what happens in the block."""
    counters = Counters()
    _counting.append(counters)
    try:
        yield counters
    finally:
        # By identity: two blocks with equal counts are equal dataclasses.
        del _counting[next(i for i, other in enumerate(_counting) if other is counters)]


@contextlib.contextmanager
def no_waiting() -> Iterator[None]:
    """Within the block, a transfer or a read that waits for the device raises AssertionError on the spot."""
    global _forbidden
    before, _forbidden = _forbidden, True
    try:
        yield
    finally:
        _forbidden = before
