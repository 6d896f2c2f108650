"""The fused recurrences of every cell: correct at every level, and the same bits for every division among threads."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks import problems
from tests.backends.numpy.conftest import LEVELS
from tests.combinations import thin
from tests.errors import refused
from tests.layouts import LAYOUTS
from tests.ops.test_recurrence import Run
from tests.reference import CELLS, Problem, has_kernel, problem, solve, solve_affine, solve_classification
from xrnn import Recurrent, get_backend
from xrnn.backend import Backend
from xrnn.backends.numpy import kernels
from xrnn.ops.cells.rnn import LeakyRNNCell
from xrnn.ops.inputs import FrozenWeights
from xrnn.typing import HostArray

TOLERANCE = {"float32": 6e-5, "float64": 2e-12}

FUSED_CELLS = [name for name in CELLS if has_kernel(name)]

# One row and many, one unit and many, every remainder of a vector and of a tile at some level, and a Wx so large that
# x @ Wx is computed before the first step.
SIZES = [
    (1, 1, 1, 1),
    (5, 1, 16, 64),
    (3, 7, 5, 33),
    (4, 26, 9, 50),
    (20, 18, 3, 11),  # several chunks in the backward pass
    (6, 40, 60, 200),
    (2, 5, 400, 450),
    (2, 3, 0, 5),
    (0, 2, 3, 4),
    (3, 0, 4, 5),
]


def refuse_plain_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the plain form ran")

    monkeypatch.setattr(Backend, "recurrence_forward", refuse)
    monkeypatch.setattr(Backend, "recurrence_backward", refuse)


_no_plain_form = pytest.fixture(refuse_plain_forms, autouse=True, name="_no_plain_form")


def results(p: Problem, order: Literal["C", "F"] = "C", *, left_out: bool = True) -> dict[str, HostArray]:
    """Every result of both passes. The gradients are written over NaN in arrays of this order.

    It also checks that inference, also with packed weights, gives the bits of training and, if `left_out`, that a
    backward pass without dx, or without the gradients of the weights, gives the bits of a complete one.
    """
    run = Run(p, get_backend("numpy"))
    trace, inferred = run.forward(), [run.forward(training=False)]
    if trace.z is not None and p.lengths is not None:
        assert_array_equal(trace.z[p.past_end], 0)
    run.inputs.frozen = FrozenWeights(run.inputs.Wx, run.inputs.Wh)
    inferred += [run.forward(training=False) for _ in ("packs the weights", "finds them packed")]
    for each in inferred:
        assert each.z is None
        for got, want in zip(each.states, trace.states, strict=True):
            assert_array_equal(got, want)
    gradients = run.backward(trace, order=order)
    if left_out:
        for options in ({"needs_dx": False}, {"needs_dweights": False}):
            for name, value in run.backward(trace, order=order, **options).items():
                assert_array_equal(value, gradients[name], err_msg=name)
    return dict(zip(p.case.states, run.results(trace), strict=True)) | gradients


def check(p: Problem, order: Literal["C", "F"] = "C", tolerance: float | None = None) -> dict[str, HostArray]:
    """Compare all results with float64, and return them.   tolerance: relative to the largest value of each"""
    got, solution = results(p, order), solve(p)
    for name, want in {**dict(zip(p.case.states, solution.states, strict=True)), **solution.gradients}.items():
        atol = (tolerance or TOLERANCE[p.dtype]) * max(1, np.abs(want).max(initial=0))
        assert_allclose(got[name], want, rtol=0, atol=atol, err_msg=name)
    return got


@contextmanager
def divided(threads: int, split: Literal["rows", "columns"], project_first: bool) -> Iterator[None]:
    kernels.force_partition(threads, split, project_first)
    try:
        yield
    finally:
        kernels.force_partition(0, "rows", False)


def test_the_cells_with_trained_parameters_have_kernels() -> None:
    assert "trained leak" in FUSED_CELLS


@pytest.mark.parametrize("rows", [7, 8])
@pytest.mark.parametrize("level", LEVELS, indirect=True)
def test_a_step_with_rows_of_weights_pages_apart(level: str, rows: int) -> None:
    """Its panels are narrower than those of other steps. The bits are those of packed weights and of any division."""
    p = problem("lstm", (1, rows, 3, 256), "float32")
    check(p)
    want = results(p)
    with divided(3, "columns", True):
        for name, got in results(p).items():
            assert_array_equal(got, want[name], err_msg=name)


@pytest.mark.parametrize(
    ("sizes", "lengths"),
    [((5, 3, 6, 21), "ragged"), ((2, 1, 6, 256), None), ((1, 2, 300, 263), None), ((3, 3, 7, 256), None)],
)
@pytest.mark.parametrize("cell", FUSED_CELLS)
def test_any_strides_and_order(level: str, cell: str, sizes: tuple[int, int, int, int], lengths: str | None) -> None:
    """At the first size, all weights are packed. At the second and third, weights in C order are read in strips, and
    weights in Fortran order, as PyTorch's, in columns; at the fourth only the latter. All others are packed."""
    options: dict[str, Any] = {"sizes": sizes, "dtype": "float32", "lengths": lengths}
    options["add"] = True
    expected = results(problem(cell, **options))
    for layout in LAYOUTS[1:]:
        got = results(problem(cell, **options, layouts=[layout] * 8))
        for key, value in expected.items():
            assert_array_equal(got[key], value, err_msg=f"{key}, {layout}")


@pytest.mark.parametrize(
    ("level", "cell", "sizes"),
    thin(LEVELS, FUSED_CELLS, [(2, 130, 5, 19), (5, 3, 70, 40), (3, 29, 0, 9), (2, 3, 1, 100)]),
    indirect=["level"],
)
def test_gradients_in_the_other_order_have_the_same_bits(
    level: str, cell: str, sizes: tuple[int, int, int, int]
) -> None:
    """Threads divide dWᵀ within a panel too, if there are few columns."""
    p = problem(cell, sizes, "float32")
    with divided(1, "rows", False):
        expected = results(p, order="F", left_out=False)
    for threads in (2, 3, 8):
        with divided(threads, "rows", False):
            got = results(p, order="F", left_out=False)
        for key, value in expected.items():
            assert_array_equal(got[key], value, err_msg=f"{key}, {threads} threads")


@pytest.mark.parametrize(
    ("level", "cell", "sizes"),
    thin(LEVELS, FUSED_CELLS, [(2, 2, 9, 256), (1, 4, 21, 263), (4, 1, 300, 256), (3, 3, 7, 257)]),
    indirect=["level"],
)
def test_columns_give_the_same_bits_however_divided(level: str, cell: str, sizes: tuple[int, int, int, int]) -> None:
    """Weights in PyTorch's order: up to four rows over a few steps read them in place."""
    p = problem(cell, sizes, "float32", layouts=["Fortran"] * 8)
    check(p)
    check_same_bits(partial(results, p, left_out=False), 1, 11)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("level", LEVELS, indirect=True)
def test_contiguous_columns_are_read_in_place(level: str, dtype: str) -> None:
    """A call that packs Wh keeps scratch memory for at least the copy. Strided weights are always packed, and give the
    same bits. Contiguous ones are packed too for five rows, or many steps."""
    few = [(1, 1), (5, 2), (3, 3), (3, 4)]
    for cell, (T, N) in itertools.product(("rnn", "lstm", "gru"), [*few, (30, 1), (4, 4), (3, 5)]):
        kept = kept_scratch(cell, (T, N, 21, 271), dtype, "Fortran")
        assert kept < 0.5 if (T, N) in few else kept > 1, (cell, T, N, kept)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("level", LEVELS, indirect=True)
def test_narrow_rows_are_read_in_place_for_few_steps(level: str, dtype: str) -> None:
    """Also if the last vector of a gate is not full, as that of 109 units on every level."""
    for cell, (T, N) in itertools.product(("lstm", "gru"), [(1, 1), (1, 2), (3, 1), (30, 1)]):
        kept = kept_scratch(cell, (T, N, 21, 109), dtype, "C")
        assert kept > 1 if T == 30 else kept < 0.5, (cell, T, N, kept)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("level", LEVELS, indirect=True)
def test_the_narrowest_rows_are_read_in_place_for_a_single_step(level: str, dtype: str) -> None:
    """Two vectors of units or three, the last of them not full: one row then has sums of four partial sums."""
    D = 4000
    few_columns = 6 * D * np.dtype(dtype).itemsize  # less than the panel that is packed for strided weights
    for cell, N, H in itertools.product(("rnn", "lstm", "gru"), (1, 2), (19, 37)):
        kept = kept_scratch(cell, (1, N, D, H), dtype, "C", few_columns)
        assert kept < 1, (cell, N, H, kept)


def kept_scratch(
    cell: str, sizes: tuple[int, int, int, int], dtype: str, layout: str, unit: int | None = None
) -> float:
    """The scratch memory that is kept after a call, in units of this number of bytes, or of Wh. The result must be that
    of strided weights."""
    states, kept = [], []
    for each in (layout, "strided"):
        run = Run(problem(cell, sizes, dtype, layouts=[each] * 8), get_backend("numpy"))
        # The result depends on the division among threads. A new thread has no scratch memory yet.
        with divided(1, "rows", True), ThreadPoolExecutor(1) as thread:
            states.append(thread.submit(run.forward, training=False).result().states)
            kept.append(thread.submit(kernels.kept_scratch).result() / (unit or run.inputs.Wh.nbytes))
    for got, want in zip(*states, strict=True):
        assert_array_equal(got, want)
    assert kept[1] > 1
    return kept[0]


def test_a_length_outside_its_range_counts_as_the_nearer_end() -> None:
    beyond, clipped = ([-3, 9, 2, 10**12], [0, 4, 2, 4])
    got, expected = (results(problem("gru", (4, 4, 2, 6), lengths=lengths)) for lengths in (beyond, clipped))
    for key, value in expected.items():
        assert_array_equal(got[key], value, err_msg=key)


@pytest.mark.parametrize("rows", [1, 4])
def test_equal_lengths_are_no_lengths(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With lengths the kernels compute x @ Wx in each step, and copy the rows that run."""
    sizes = (4, rows, 2, 6)
    given: list[object] = []
    expected = results(problem("gru", sizes))

    def note(name: str, argument: int) -> None:
        kernel = getattr(kernels, name)

        def noting(*arguments: Any) -> Any:
            given.append(arguments[argument])
            return kernel(*arguments)

        monkeypatch.setattr(kernels, name, noting)

    note("forward", 7)
    note("backward", 6)
    got = results(problem("gru", sizes, lengths=[4] * rows))
    for key, value in expected.items():
        assert_array_equal(got[key], value, err_msg=key)
    assert given
    assert all(lengths is None for lengths in given)


# Heads of whole vectors, heads that end within a vector or a panel, and narrow ones.
HEADS = [((3, 7, 5, 128), 4), ((3, 26, 9, 144), 3), ((4, 5, 70, 120), 4), ((20, 14, 3, 40), 5), ((2, 1, 9, 256), 2)]


@pytest.mark.parametrize(
    ("level", "cell", "of", "dtype"),
    thin(LEVELS, ["leak heads", "lstm heads", "gru heads"], HEADS, [*TOLERANCE], every=6),
    indirect=["level"],
)
def test_heads_of_any_width(level: str, cell: str, of: tuple[tuple[int, int, int, int], int], dtype: str) -> None:
    sizes, heads = of
    for options in ({"add": True}, {"lengths": "ragged", "reverse": True}):
        p = problem(cell, sizes, dtype, heads=heads, **options)
        check(p)
        if dtype == "float32":
            check_same_bits(partial(results, p, left_out=False), heads, 11)


# ---- the same bits ----

BITS_SIZES = [
    (6, 1, 9, 70),
    (5, 3, 70, 300),
    (4, 7, 20, 33),
    (3, 29, 17, 40),
    (2, 130, 5, 19),
    (24, 4, 3, 9),  # several partial sums, and many rows when x @ Wx comes first
    (2, 5, 400, 450),  # x @ Wx comes first by choice, although there are more than three rows
    (2, 1, 9, 256),  # from here on weights are read in strips
    (5, 1, 9, 256),  # except Wx here, which is packed: its sums are divided in another way
    (1, 2, 17, 256),
    (2, 1, 9, 263),
    (1, 2, 17, 257),
    (2, 1, 9, 109),
    (1, 2, 17, 70),
]
WAYS = [
    (threads, split, project_first)
    for threads in range(1, 9)
    for split in ("rows", "columns")
    for project_first in (False, True)
][1:]  # the first one is the one to compare with
# With more threads than cores a call waits some ms for the scheduler. So only .ci/proof runs all ways.
every_way = pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.proof)])


def check_same_bits(run: Callable[[], dict[str, HostArray]], turn: int, turns: int) -> dict[str, HostArray]:
    """Compare the results of `run` on one thread with all ways on two threads and with every `turns`-th other way.

    turns  odd: with an even number, a problem would always get the same split and the same order of x @ Wx
    """
    with divided(1, "rows", False):
        expected = run()
    for i, (threads, split, project_first) in enumerate(WAYS):
        if threads == 2 or i % turns == turn % turns:
            with divided(threads, split, project_first):  # type: ignore[arg-type]
                got = run()
            for key, value in expected.items():
                assert_array_equal(got[key], value, err_msg=f"{key}, {threads} by {split}, {project_first}")
    return expected


BITS_PROBLEMS = [(sizes, lengths) for sizes in BITS_SIZES for lengths in (None, "ragged")]
# Level, cell, number of the problem, and whether to try every third way, which only .ci/proof does. Each problem of a
# cell takes one level, in turn. `make test` takes every eighth problem, and each cell begins with another one.
SAME_BITS = [
    pytest.param(LEVELS[(turn + c) % len(LEVELS)], cell, turn, every, marks=[pytest.mark.proof] * every)
    for c, cell in enumerate(FUSED_CELLS)
    for turn in range(len(BITS_PROBLEMS))
    for every in ([True] if (turn + turn // 8 + c) % 8 else [False, True])
    if LEVELS
]


@pytest.mark.parametrize(("level", "cell", "turn", "every"), SAME_BITS, indirect=["level"])
def test_same_bits_however_divided(level: str, cell: str, turn: int, every: bool) -> None:
    sizes, lengths = BITS_PROBLEMS[turn]
    add = bool((turn // 2 + FUSED_CELLS.index(cell)) % 2)
    p = problem(cell, sizes, "float32", lengths=lengths, reverse=lengths is not None, add=add)
    check_same_bits(partial(results, p, left_out=False), turn + FUSED_CELLS.index(cell), 3 if every else 11)


@pytest.mark.parametrize("level", LEVELS, indirect=True)
def test_the_size_of_the_cache_changes_no_bit(level: str) -> None:
    """With a small second-level cache, tiles prefetch the next panel of the weights."""
    for cell in ("lstm", "gru", "rnn"):
        p = problem(cell, (5, 60, 70, 200), "float32")
        expected = results(p)
        try:
            kernels.set_l2(2**10)
            for name, got in results(p).items():
                assert_array_equal(got, expected[name], err_msg=f"{cell} {name}")
        finally:
            kernels.set_l2(None)


PRODUCT_SIZES = [(1, 9, 70), (3, 300, 33), (130, 70, 5), (600, 3, 40)]


@every_way
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("sizes", PRODUCT_SIZES)
def test_products_and_loss_have_the_same_bits_however_divided(
    level: str, sizes: tuple[int, int, int], dtype: str, every: bool
) -> None:
    rows, D, C = sizes
    p, c = problems.affine(rows, D, C, dtype), problems.classification(rows, C, dtype)

    def run() -> dict[str, HostArray]:
        dW, db = np.full_like(p.W, np.nan), np.full_like(p.b, np.nan)
        dx = kernels.affine_gradients(p.x, p.W, p.dy, dW, db, True, 0)
        again = np.full_like(dW, np.nan), np.full_like(db, np.nan)
        assert kernels.affine_gradients(p.x, p.W, p.dy, *again, False, 0) is None
        for got, want in zip(again, (dW, db), strict=True):
            assert_array_equal(got, want)
        losses, dlogits = kernels.cross_entropy(c.logits, c.targets, c.weight)
        y = kernels.affine(p.x, p.W, p.b, 0)
        return {"y": y, "dx": dx, "dW": dW, "db": db, "dlogits": dlogits, "losses": losses}

    got = check_same_bits(run, PRODUCT_SIZES.index(sizes), 1 if every else 11)
    for name, expected in {**solve_affine(p), **solve_classification(c)}.items():
        scale = max(1, np.abs(expected).max())
        assert_allclose(got[name], expected, rtol=0, atol=TOLERANCE[dtype] * scale, err_msg=name)


@pytest.mark.parametrize("leak", [np.float32(0.5), np.array(0.5), np.array(0.5, "float32"), np.int64(1), True, 1.0])
def test_a_leak_is_a_number_of_any_type(leak: Any) -> None:
    p = problem("leak", (3, 7, 5, 33), "float32")
    x, (h_prev,), (dh,) = p.operands(get_backend("numpy"))
    runs = []
    for given in (leak, float(leak)):
        layer = Recurrent(LeakyRNNCell(given), *p.weights)
        h = layer.forward(x, h_prev)
        runs.append([h, layer(x, h_prev), *layer.backward(dh), *layer.grads])
    for got, want in zip(*runs, strict=True):
        assert_array_equal(got, want)


@pytest.mark.parametrize("cell", FUSED_CELLS)
def test_terms_that_are_the_same_at_each_step_or_in_each_row(level: str, cell: str) -> None:
    """Broadcast views are read where they are: a stride may be 0."""
    p = problem(cell, (5, 7, 3, 21), "float32", add=True)
    assert p.add is not None
    for view in (p.add[:1], p.add[:, :1], p.add[:1, :1, :1]):
        p.add = np.broadcast_to(view, p.add.shape).copy()
        expected = check(p)
        p.add = np.broadcast_to(view, p.add.shape)
        run = Run(p, get_backend("numpy"))
        run.inputs.add = p.add
        for name, got in zip(p.case.states, run.results(run.forward()), strict=True):
            assert_array_equal(got, expected[name])


# ---- bad input ----


def test_wrong_arguments_are_refused() -> None:
    T, N, D, H = 3, 2, 4, 5
    x, Wx, Wh, b = (np.ones(shape, "float32") for shape in [(T, N, D), (D, 3 * H), (H, 3 * H), (4 * H,)])

    def gru(
        name: Any = "gru", b: Any = b, initial: Any = None, lengths: Any = None, own: Any = ()
    ) -> Callable[[], Any]:
        return lambda: kernels.forward(name, x, Wx, Wh, b, initial, None, lengths, False, own, False, 0, None)

    def leaky(*own: Any) -> Callable[[], Any]:
        of_leaky = x, Wx[:, :H], Wh[:, :H], b[:H]
        return lambda: kernels.forward("leaky_tanh", *of_leaky, None, None, None, False, own, False, 0, None)

    gru()()
    leaky(np.ones(H, "float32"))()
    cells, owns = (
        "expected a cell that has kernels: tanh, relu, softplus, leaky_tanh",
        "expected a tuple of {} own parameters of the cell",
    )
    others: list[Any] = [(np.ones(H, "float32"),), (0.5,), None, [], 1]
    misfits = [leaky(np.ones(H + 1, "float32")), leaky(np.ones(H)), leaky(np.ones((1, H), "float32")), gru(b=b[1:])]
    misfits += [gru(lengths=np.ones(3, "int64")), gru(lengths=np.ones(2, "int32"))]
    refused(
        (ValueError, gru("peephole"), cells),
        *((ValueError, gru(own=own), f"{owns.format(0)} gru") for own in others),
        *((ValueError, leaky(*own), f"{owns.format(1)} leaky_tanh") for own in ((), (0.5, 0.5))),
        *((TypeError, gru(initial=initial), "expected an array for each state") for initial in ((), "h")),
        *((TypeError, misfit, "the arrays don't fit each other in dtype or shape") for misfit in misfits),
        (OverflowError, leaky(10**400), "too large to convert to float"),
    )
