"""The fused recurrences of every cell: right by a float64 reference, and the same bits however they are divided."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.backends.numpy.reference import CELLS, Array, Name, Problem
from xrnn.backends.numpy import kernels

TOLERANCE = {"float32": 3e-5, "float64": 1e-12}

# One row and many, one unit and many, and every remainder of a vector and of a tile of some level.
SIZES = [(1, 1, 1, 1), (5, 1, 16, 64), (3, 7, 5, 33), (4, 26, 9, 50), (70, 5, 3, 11), (2, 3, 0, 5), (0, 2, 3, 4), (3, 0, 4, 5)]


def some_lengths(T: int, N: int) -> Array:
    """In no order, with 0 and T among them."""
    lengths = np.random.default_rng(1).integers(0, T + 1, N)
    lengths[: min(N, 2)] = [0, T][: min(N, 2)]
    return lengths


def some_leak(H: int, dtype: str) -> Array:
    return np.random.default_rng(2).uniform(0.1, 1, H).astype(dtype)


def check(problem: Problem) -> None:
    got, scale = problem.run(kernels), 0.0
    for name, expected in problem.expected().items():
        scale = max(1, np.abs(expected).max(initial=0))
        assert_allclose(got[name], expected, rtol=0, atol=TOLERANCE[problem.dtype] * scale, err_msg=name)
    for name, value in problem.run(kernels, training=False).items():
        assert_array_equal(value, got[name], err_msg=f"{name} without training")


@contextmanager
def divided(threads: int, split: Literal["rows", "columns"], project_first: bool) -> Iterator[None]:
    kernels.force_partition(threads, split, project_first)
    try:
        yield
    finally:
        kernels.force_partition(0, "rows", False)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", CELLS)
def test_every_cell_follows_its_equations(level: str, name: Name, sizes: tuple[int, int, int, int], dtype: str) -> None:
    check(Problem(name, sizes, dtype))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("leaky", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_lengths_direction_and_leak(level: str, name: Name, leaky: bool, ragged: bool, reverse: bool, dtype: str) -> None:
    if leaky and name not in ("tanh", "relu"):
        return
    for sizes in [(1, 3, 2, 5), (9, 13, 7, 20), (300, 2, 3, 9)]:
        T, N, _, H = sizes
        lengths = some_lengths(T, N) if ragged else None
        check(Problem(name, sizes, dtype, lengths, reverse, some_leak(H, dtype) if leaky else None))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_what_lies_past_a_rows_end_is_never_read(name: Name, reverse: bool) -> None:
    T, N, D, H = 7, 9, 4, 20
    problem = Problem(name, (T, N, D, H), lengths=some_lengths(T, N), reverse=reverse)
    clean = problem.run(kernels)
    past = np.arange(T)[:, None] >= problem.lengths
    problem.arrays["x"][past] = np.nan
    poisoned = problem.run(kernels)
    for key, value in clean.items():
        assert_array_equal(poisoned[key], value, err_msg=key)
    assert_array_equal(poisoned["dx"][past], 0)


@pytest.mark.parametrize("name", CELLS)
def test_a_missing_state_or_gradient_is_zero(name: Name) -> None:
    problem = Problem(name, (4, 3, 5, 18))
    a, cell = problem.arrays, problem.cell
    given = [np.zeros_like(s) for s in problem.states("initial")]
    forward = (name, a["x"], a["Wx"], a["Wh"], a["b"])
    states, kept = kernels.forward(*forward, tuple(given), None, False, None, True)
    for initial in (None, (None,) * cell.states):
        for state, expected in zip(kernels.forward(*forward, initial, None, False, None, True)[0], states, strict=True):
            assert_array_equal(state, expected)

    def backward(dstates: Any) -> list[Array]:
        grads = [np.full_like(a[key], np.nan) for key in ("Wx", "Wh", "b")]
        options = (None, False, None)
        dx, dinitial = kernels.backward(name, a["x"], a["Wx"], a["Wh"], states, kept, *options, dstates, *grads)
        return [dx, *dinitial, *grads]

    dh = problem.arrays["dstates0"]
    rest: tuple[Any, ...] = (None,) * (cell.states - 1)
    zeros = tuple(np.zeros_like(dh) for _ in rest)
    for got, expected in zip(backward((dh, *rest)), backward((dh, *zeros)), strict=True):
        assert_array_equal(got, expected)


def test_a_length_outside_counts_as_the_nearer_end() -> None:
    beyond, clipped = np.array([-3, 9, 2, 10**12]), np.array([0, 4, 2, 4])
    got, expected = (Problem("gru", (4, 4, 2, 6), lengths=lengths).run(kernels) for lengths in (beyond, clipped))
    for key, value in expected.items():
        assert_array_equal(got[key], value, err_msg=key)


@pytest.mark.parametrize("name", CELLS)
def test_any_strides_and_order(level: str, name: Name) -> None:
    T, N, D, H = 5, 3, 6, 21
    contiguous, strided = (Problem(name, (T, N, D, H), lengths=some_lengths(T, N)) for _ in range(2))
    for key, array in strided.arrays.items():
        wide = np.repeat(array, 2, axis=-1)[..., ::2]
        strided.arrays[key] = np.asfortranarray(array) if key in ("Wx", "Wh") else wide
    strided.lengths = np.repeat(strided.lengths, 2)[::2]  # type: ignore[arg-type]
    expected = contiguous.run(kernels)
    for key, array in strided.arrays.items():
        assert key == "b" or array.size == 0 or not array.flags.c_contiguous, key
    a = strided.arrays
    states, kept = kernels.forward(
        name, a["x"], a["Wx"], a["Wh"], a["b"], strided.states("initial"), strided.lengths, False, None, True
    )
    grads = [np.empty(a[key].shape, "float32") for key in ("Wx", "Wh", "b")]
    dx, dinitial = kernels.backward(
        name, a["x"], a["Wx"], a["Wh"], states, kept, strided.lengths, False, None, strided.states("dstates"), *grads
    )
    got = dict(zip(("dWx", "dWh", "db"), grads, strict=True)) | {"dx": dx}
    got |= {f"states{k}": s for k, s in enumerate(states)} | {f"dinitial{k}": d for k, d in enumerate(dinitial)}
    for key, value in got.items():
        assert_array_equal(value, expected[key], err_msg=key)


# ---- the same bits ----

WAYS = [
    (threads, split, project_first)
    for threads in range(1, 9)
    for split in ("rows", "columns")
    for project_first in (False, True)
]


@pytest.mark.parametrize("sizes", [(6, 1, 9, 70), (5, 3, 70, 300), (4, 7, 20, 33), (3, 29, 17, 40), (2, 130, 5, 19)])
@pytest.mark.parametrize("name", CELLS)
def test_same_bits_however_divided(level: str, name: Name, sizes: tuple[int, int, int, int]) -> None:
    ragged = sizes[1] > 1 and name != "relu"
    problem = Problem(name, sizes, lengths=some_lengths(*sizes[:2]) if ragged else None, reverse=ragged)
    whole = Problem(name, sizes)
    for p in (problem, whole):
        with divided(1, "rows", False):
            expected = p.run(kernels)
        for threads, split, project_first in WAYS:
            with divided(threads, split, project_first):  # type: ignore[arg-type]
                got = p.run(kernels)
            for key, value in expected.items():
                assert_array_equal(got[key], value, err_msg=f"{key}, {threads} by {split}, {project_first}")


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("sizes", [(1, 9, 70), (3, 300, 33), (130, 70, 5), (600, 3, 40)])
def test_products_and_loss_have_the_same_bits_however_divided(level: str, sizes: tuple[int, int, int], dtype: str) -> None:
    rows, D, C = sizes
    rng = np.random.default_rng(0)
    x, W, b, dy = (rng.standard_normal(shape).astype(dtype) for shape in [(rows, D), (D, C), (C,), (rows, C)])
    targets, weights = np.arange(rows) % C, rng.uniform(0, 1, rows).astype(dtype)

    def run() -> list[Array]:
        dW, db = np.full_like(W, np.nan), np.full_like(b, np.nan)
        dx = kernels.affine_gradients(x, W, dy, dW, db)
        return [kernels.affine(x, W, b), dx, dW, db, *kernels.cross_entropy(dy, targets, weights)]

    with divided(1, "rows", False):
        expected = run()
    assert_allclose(expected[0], x @ W + b, rtol=0, atol=1e-4)
    assert_allclose(expected[2], x.T @ dy, rtol=0, atol=1e-3)
    for threads, split, project_first in WAYS:
        with divided(threads, split, project_first):  # type: ignore[arg-type]
            for got, value in zip(run(), expected, strict=True):
                assert_array_equal(got, value, err_msg=f"{threads} by {split}")


# ---- bad input ----


def test_what_no_kernel_can_run_is_refused() -> None:
    p = Problem("gru", (3, 2, 4, 5))
    a = p.arrays

    def forward(name: str, **changes: Any) -> Any:
        given = {"initial": None, "lengths": None, "reverse": False, "leak": None, "training": False} | a | changes
        return kernels.forward(
            name,
            *(given[key] for key in ("x", "Wx", "Wh", "b", "initial", "lengths", "reverse", "leak", "training")),
        )

    with pytest.raises(ValueError, match="expected a cell that has kernels: tanh, relu, lstm or gru"):
        forward("peephole")
    with pytest.raises(ValueError, match="only the cells tanh and relu have a leak"):
        forward("gru", leak=np.ones(5, "float32"))
    with pytest.raises(TypeError, match="expected an array a state"):
        forward("gru", initial=[None])
    for changes in ({"lengths": np.ones(3, "int64")}, {"lengths": np.ones(2, "int32")}, {"b": a["b"][:-1]}):
        with pytest.raises(TypeError, match="the arrays don't fit each other in dtype or shape"):
            forward("gru", **changes)
