"""A training step of each cell in a form of choice, on the small GPU of conftest.py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias
from unittest import mock

import numpy as np

from tests.reference import problem
from tests.standin.counting import Counters, counted, no_waiting
from xrnn import SGD
from xrnn.backend import Explanation, Operation
from xrnn.backends import cupy as adapter
from xrnn.backends.cupy import CupyBackend
from xrnn.backends.cupy.cells import NAMED
from xrnn.backends.cupy.choice import Candidate, Device, Request, candidates
from xrnn.info import explain
from xrnn.ops.cells.rnn import RNNCell

Sizes: TypeAlias = tuple[int, int, int, int]
ONE_BLOCK = (6, 3, 5, 20)  # T, N, D, H; each form is chosen at its size, for the Elman cell
GROUP = (4, 3, 3, 260)  # just too large for one block
SMALL_GROUP = (4, 3, 3, 60)  # fits the group forms of all cells in float64
FORMS: Final = {"stepwise": ONE_BLOCK, "one-block": ONE_BLOCK, "group": SMALL_GROUP, "group-partial": SMALL_GROUP}
SIZES: Final = {**FORMS, "scan": ONE_BLOCK}
# The cells with and without a recurrent product, as tests/reference.py names them.
RECURRENT: Final = [name.replace("-", " ") for name, kernel in NAMED.items() if kernel.fed]
SCANNED: Final = [name.replace("-", " ") for name, kernel in NAMED.items() if not kernel.fed]


@contextmanager
def taking(form: str) -> Iterator[None]:
    """Within the block the recurrence takes this form; a cell or direction that doesn't have it, the chosen one."""

    def choose(device: Device, request: Request) -> Candidate:
        found = candidates(device, request)
        having = [c for c in found if c.form == form] or found
        return min(having, key=lambda c: c.step_seconds)  # the same for each T

    with mock.patch.object(adapter, "choose", choose):
        yield


def explained(backend: CupyBackend, sizes: Sizes, backward: bool = False, dtype: str = "float32") -> Explanation:
    operation: Operation = "recurrence_backward" if backward else "recurrence_forward"
    return explain(backend, operation, RNNCell(), dict(zip("TNDH", sizes, strict=True)), dtype)


def layer(backend: CupyBackend, sizes: Sizes, dtype: str = "float32", cell: str = "rnn") -> Any:
    return problem(cell, sizes, dtype).layer(backend)


def step(layer: Any, sizes: Sizes, dtype: str = "float32") -> list[Any]:
    """The results, dx, the gradients of the initial states and the weights' gradients, on the host."""
    T, N, D, _ = sizes
    rng, H = np.random.default_rng(1), len(layer.params[2]) // layer.cell.pre  # two for each complex unit
    states = layer.cell.states
    shapes = [(T, N, D), *[(N, H)] * len(states), *[(T, N, H)] * (len(states) - len(layer.cell.stabilisers))]
    x, *rest = (layer.backend.asarray(rng.standard_normal(shape).astype(dtype)) for shape in shapes)
    found = layer.forward(x, *(1 + abs(d) if state == "n" else d for state, d in zip(states, rest, strict=False)))
    found = found if isinstance(found, tuple) else (found,)
    return [layer.backend.to_numpy(a) for a in (*found, *layer.backward(*rest[len(states) :]), *layer.grads)]


def assert_close(found: list[Any], expected: list[Any], tolerance: float = 1e-5) -> None:
    """Assert differences of at most tolerance · max(1, the largest expected value)."""
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * abs(want).max(initial=1))


def launched(
    backend: CupyBackend, cell: str, sizes: Sizes, *, lengths: bool, layouts: Sequence[str] | None = None
) -> tuple[Counters, Counters]:
    """What the forward, and the backward with the update, launch; neither may wait or move anything."""
    p = problem(cell, sizes, "float32", layouts=layouts)
    layer: Any = p.layer(backend)
    x, initial, dstates = p.operands(backend)
    dstates = dstates[: len(dstates) - p.case.stabilisers]
    T, N = sizes[:2]
    given = backend.asarray(np.arange(N) % (T + 1)) if lengths else None
    optimizer = SGD([layer])
    with no_waiting():
        with counted() as forward:
            layer.forward(x, *initial, lengths=given)
        with counted() as backward:
            layer.backward(*dstates)
            optimizer.step()
    return forward, backward
