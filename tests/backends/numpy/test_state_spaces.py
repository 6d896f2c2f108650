"""The kernels of the operations of state-space models: correct at every level, the same bits on all threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks import problems
from tests.ops.test_matrix_memory import remembered
from tests.ops.test_selective_scan import TOLERANCE, scanned
from tests.reference import solve_convolution, solve_memory, solve_scan
from xrnn import get_backend
from xrnn.backend import STATE_SPACES, Backend
from xrnn.backends.numpy import kernels
from xrnn.info import explain
from xrnn.ops.causal_convolution import ConvolutionInputs
from xrnn.ops.cells.rnn import RNNCell
from xrnn.ops.matrix_memory import MemoryInputs
from xrnn.ops.selective_scan import ScanInputs
from xrnn.typing import HostArray

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.fixture(autouse=True, name="_no_plain_form")
def refuse_plain_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the plain form ran")

    for operation in STATE_SPACES:
        monkeypatch.setattr(Backend, operation, refuse)


@contextmanager
def on_threads(threads: int) -> Iterator[None]:
    kernels.force_partition(threads, "rows", False)
    try:
        yield
    finally:
        kernels.force_partition(0, "rows", False)


def convolved(p: problems.Convolution, **options: Any) -> dict[str, HostArray]:
    inputs, backend = ConvolutionInputs(**p.operands, **options), get_backend("numpy")
    y, last = backend.causal_convolution_forward(inputs)
    gradients = backend.causal_convolution_backward(inputs, p.dy, p.dlast)
    return {"y": y, "last": last} | {f"d{name}": g for name, g in gradients._asdict().items()}


def poison(results: dict[str, HostArray]) -> None:
    """Leave memory full of NaN, of the sizes of these results, to the next allocations of these sizes."""
    arrays = [np.full_like(a, np.nan) for a in results.values()]
    del arrays


def check(run: Callable[[], dict[str, HostArray]], expected: dict[str, HostArray], dtype: str) -> None:
    """Compare all results of `run` with float64, on 1 to 4 threads, whose results have the same bits."""
    first = run()
    for name, got in first.items():
        scale = max(1.0, float(abs(expected[name]).max(initial=0)))
        assert_allclose(got, expected[name], rtol=0, atol=TOLERANCE[dtype] * scale, err_msg=name)
    for threads in (1, 2, 3, 4):
        poison(first)
        with on_threads(threads):
            for name, got in run().items():
                assert_array_equal(got, first[name], err_msg=f"{name} on {threads} threads")


# Steps: one, a chunk, one more. Channels: one, a panel of each level and one more. Keys: a block and one more.
@DTYPES
@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ((1, 1, 1, 1), None),
        ((16, 2, 33, 4), None),
        ((17, 1, 129, 9), None),
        ((50, 3, 300, 16), None),
        ((35, 5, 70, 3), 2),
    ],
)
def test_the_scan_at_each_level(level: str, dtype: str, sizes: tuple[int, int, int, int], groups: int | None) -> None:
    backend, p = get_backend("numpy"), problems.scan(sizes, dtype, groups=groups)
    for lengths in (None, np.arange(sizes[1]) * 7 % (sizes[0] + 1)):
        run = partial(scanned, backend, p, softplus=True, lengths=lengths)
        check(run, solve_scan(p, True, lengths), dtype)


@DTYPES
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (32, 2, 65, 4), (70, 3, 17, 3), (5, 2, 20, 9)])
def test_the_convolution_at_each_level(level: str, dtype: str, sizes: tuple[int, int, int, int]) -> None:
    p = problems.convolution(sizes, dtype)
    for lengths in (None, np.arange(sizes[1]) * 7 % (sizes[0] + 1)):
        check(partial(convolved, p, lengths=lengths), solve_convolution(p, True, lengths), dtype)


@cache
def solved_memory(
    sizes: tuple[int, int, int, int, int], dtype: str, groups: int | None, ragged: bool
) -> tuple[problems.Memory, HostArray | None, dict[str, HostArray]]:
    """→ a problem, the lengths of its rows, and its solution in float64: the same at each level."""
    p = problems.memory(sizes, dtype, groups=groups)
    lengths = np.arange(sizes[1]) * 7 % (sizes[0] + 1) if ragged else None
    return p, lengths, solve_memory(p, lengths)


# Steps: one, a block, one more than a chunk. Keys and values: one, a panel of each level and one more.
@DTYPES
@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ((1, 1, 1, 1, 1), None),
        ((4, 2, 1, 33, 32), None),
        ((65, 1, 2, 3, 17), None),
        ((70, 2, 6, 70, 33), 2),
        ((131, 3, 2, 16, 40), 1),
    ],
)
def test_the_memory_at_each_level(
    level: str, dtype: str, sizes: tuple[int, int, int, int, int], groups: int | None
) -> None:
    for ragged in (False, True):
        p, lengths, expected = solved_memory(sizes, dtype, groups, ragged)
        check(partial(remembered, get_backend("numpy"), p, lengths=lengths), expected, dtype)


def test_the_gradient_of_decays_is_a_sum_without_differences() -> None:
    """A running sum of y · dy - v · dv over all steps would lose digits here."""
    p = problems.memory((500, 1, 1, 16, 16), "float32")
    p.operands["log_decay"] -= np.float32(3)  # strong decays
    expected = solve_memory(p)["dlog_decay"]
    inputs, backend = MemoryInputs(**p.operands), get_backend("numpy")
    saved: Any = backend.matrix_memory_forward(inputs, True).saved
    found = backend.matrix_memory_backward(inputs, saved, p.dy, p.dlast).log_decay
    assert abs(found - expected).max() < 1e-6 * abs(expected).max()


@DTYPES
def test_decays(level: str, dtype: str) -> None:
    """2^x of the kernels, from a scan of one step: y = exp(Δ A) with the initial state 1, u = 0 and C = 1."""
    rng, bits = np.random.default_rng(0), np.finfo(dtype)
    most = 88.0 if dtype == "float32" else 709.0
    x = np.concatenate(
        [-rng.uniform(0, most - 1, 4000), -(10.0 ** rng.uniform(-12, 0, 4000)), rng.uniform(0, most, 4000)]
    )
    inputs = ScanInputs(
        u=np.zeros((1, 1, len(x)), dtype),
        delta=x.astype(dtype)[None, None],
        A=np.ones((len(x), 1), dtype),
        B=np.zeros((1, 1, 1), dtype),
        C=np.ones((1, 1, 1), dtype),
        initial=np.ones((1, len(x), 1), dtype),
    )
    y = get_backend("numpy").selective_scan_forward(inputs, False).y[0, 0]
    argument = x.astype(dtype)
    exact = np.exp(argument.astype("longdouble"))
    # The argument of 2^x is rounded, so the error grows with it.
    assert (abs(y - exact) / exact <= (1.5 + abs(argument)) * bits.eps).all()
    near = abs(argument) < 1e-3
    assert (abs(y - exact)[near] <= bits.eps).all()


@DTYPES
def test_extreme_decays(level: str, dtype: str) -> None:
    exponents = [0.0, -0.0, -1000, -1e30, 1000, np.nan]
    n = len(exponents)
    inputs = ScanInputs(
        u=np.zeros((1, 1, n), dtype),
        delta=np.ones((1, 1, n), dtype),
        A=np.array(exponents, dtype)[:, None],
        B=np.zeros((1, 1, 1), dtype),
        C=np.ones((1, 1, 1), dtype),
        initial=np.ones((1, n, 1), dtype),
    )
    y = get_backend("numpy").selective_scan_forward(inputs, False).y[0, 0]
    assert_array_equal(y, [1, 1, 0, 0, np.inf, np.nan])


@DTYPES
def test_states_that_decay_to_zero_are_never_denormal(level: str, dtype: str) -> None:
    T = 200 if dtype == "float32" else 1500
    inputs = ScanInputs(
        u=np.zeros((T, 1, 3), dtype),
        delta=np.ones((T, 1, 3), dtype),
        A=np.full((3, 2), -0.55, dtype),
        B=np.zeros((T, 1, 2), dtype),
        C=np.ones((T, 1, 2), dtype),
        initial=np.ones((1, 3, 2), dtype),
    )
    y, last, _ = get_backend("numpy").selective_scan_forward(inputs, False)
    assert_array_equal(last, 0)
    assert not ((y > 0) & (y < np.finfo(dtype).tiny)).any()
    assert np.float32(1e-40) * np.float32(0.5) > 0  # the caller's own arithmetic keeps denormal numbers


@pytest.mark.parametrize("axis", ["steps", "rows"])
def test_strides_of_steps_and_rows_are_read_in_place(axis: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch-first arrays, (N, T, D), and reversed time pass without a copy."""
    p = problems.scan((21, 3, 40, 5), "float32")
    backend, expected = get_backend("numpy"), solve_scan(p)
    for name in ("u", "delta", "B", "C", "z"):
        array = p.operands[name]
        if axis == "rows":
            p.operands[name] = np.ascontiguousarray(array.swapaxes(0, 1)).swapaxes(0, 1)
        else:
            p.operands[name] = np.ascontiguousarray(array[::-1])[::-1]
    inputs = ScanInputs(**p.operands, softplus=True)
    y, last, saved = backend.selective_scan_forward(inputs, True)
    assert_allclose(y, expected["y"], atol=1e-4)
    assert_allclose(last, expected["last"], atol=1e-4)
    assert saved is not None
    for name, g in backend.selective_scan_backward(inputs, saved, p.dy, p.dlast)._asdict().items():
        want = expected[f"d{name}"]
        assert_allclose(g, want, rtol=0, atol=3e-5 * abs(want).max(), err_msg=name)


@pytest.mark.parametrize("axis", ["steps", "rows"])
def test_strides_of_a_memory_are_read_in_place(axis: str) -> None:
    """Batch-first arrays, (N, T, heads, columns), and reversed time."""
    p = problems.memory((21, 3, 2, 5, 40), "float32")
    backend, expected = get_backend("numpy"), solve_memory(p)
    for name in ("q", "k", "v", "log_decay"):
        array = p.operands[name]
        if axis == "rows":
            p.operands[name] = np.ascontiguousarray(array.swapaxes(0, 1)).swapaxes(0, 1)
        else:
            p.operands[name] = np.ascontiguousarray(array[::-1])[::-1]
    for name, got in remembered(backend, p).items():
        assert_allclose(got, expected[name], rtol=0, atol=3e-5 * abs(expected[name]).max(), err_msg=name)


@pytest.mark.parametrize("operation", STATE_SPACES)
def test_info_explains_the_form(operation: Any) -> None:
    backend = get_backend("numpy")
    explanation = explain(backend, operation, RNNCell(), {"T": 50, "N": 16, "D": 64, "H": 256}, "float32")
    assert explanation.form == "fused"
    assert explanation.why.startswith(kernels.level())
