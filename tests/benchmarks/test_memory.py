"""The measured peak is the peak of the call."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from benchmarks import memory
from benchmarks.cases import LAYERS, Case, Problem

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from Linux's /proc")


def test_a_forward_pass_takes_at_least_its_result_and_training_more() -> None:
    case = Case(T=100, N=64, D=64, H=256)
    results = memory.measure_memory(["numpy"], [case], threads=1)
    (cell,) = results["cases"]
    hs = 4 * 101 * 64 * 256
    assert (cell["h_bytes"], cell["x_bytes"]) == (4 * 100 * 64 * 256, 4 * 100 * 64 * 64)
    assert cell["kept_bytes"] == cell["h_bytes"] + cell["x_bytes"]
    forward, train = (cell["peak_bytes"][operation]["numpy"] for operation in ("forward", "train"))
    # The loop holds hs, in training also dz and dx; BLAS has buffers of its own.
    assert hs <= forward < hs + 64e6
    assert hs + 4 * 100 * 64 * (256 + 64) <= train < forward + 64e6

    console = Console(file=io.StringIO(), width=120)
    memory.print_memory(results, console)
    assert "h: 6.6 MB; kept for the backward pass: 8.2 MB" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("cell", memory._KEPT)
def test_the_kept_arrays_are_those_of_the_layer(cell: str) -> None:
    problem = Problem(Case(T=50, N=2, D=3, H=4, cell=cell))
    layer = LAYERS[cell](*map(problem.backend.asarray, problem.weights))
    layer.forward(problem.x)
    cache = layer.cache
    elements = sum(state[1:].size for state in cache.states) + (0 if cache.z is None else cache.z.size)
    assert elements == memory._KEPT[cell] * 50 * 2 * 4
