"""The CuPy backend on the stand-in; the emulator runs its kernels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest

from tests import cuda_emulator, standin
from tests.standin import raw
from xrnn.arrays.registry import recognize
from xrnn.arrays.select import backend_of
from xrnn.backends.cupy import CupyBackend

_ATTRIBUTES = standin.cuda.Device.attributes


def make() -> CupyBackend:
    raw.compiler = cuda_emulator.Module
    if cuda_emulator.MISSING:  # nothing fits: every recurrence takes its plain form
        _ATTRIBUTES["MaxSharedMemoryPerBlockOptin"] = 0
    return CupyBackend(standin)


@contextmanager
def small() -> Iterator[CupyBackend]:
    """A backend of its own, which has compared no form yet, on a GPU of five multiprocessors.

    So few that a group has few blocks: the emulator has that many threads to run. A skip where it is missing.
    """
    if cuda_emulator.MISSING:
        pytest.skip(cuda_emulator.MISSING)
    others = backend_of(standin.zeros(1))
    with mock.patch.dict(_ATTRIBUTES, {"MultiProcessorCount": 5}):
        backend = CupyBackend(standin)
        recognize(backend)
        try:
            yield backend
        finally:
            recognize(others)
