"""The table of cases, and the check that stands before every timing."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.cases import CASES, CELLS, QUICK, SWEEPS, Array, Case, Problem, check
from xrnn import RNN, gradcheck


def test_cases_are_distinct_and_span_batch_1_to_1024_and_hidden_16_to_1024() -> None:
    assert len(set(CASES)) == len(CASES) == len({case.name for case in CASES})
    assert {min(c.N for c in CASES), max(c.N for c in CASES)} == {1, 1024}
    assert {min(c.H for c in CASES), max(c.H for c in CASES)} == {16, 1024}
    assert set(CELLS) | set(QUICK) <= set(CASES)
    assert {Case(T, N, H, H) for (T, H), batches in SWEEPS.items() for N in batches} <= set(CASES)


def test_flops_count_both_products_of_every_step() -> None:
    case = Case(T=5, N=3, D=2, H=7)
    assert case.flops("forward") == 5 * 2 * 3 * 7 * (2 + 7)
    assert case.flops("step") == case.flops("forward") // 5
    assert case.flops("train") == 3 * case.flops("forward")


def test_a_problem_is_the_same_in_every_process() -> None:
    one, other = Problem(Case(3, 2, 5, 4)), Problem(Case(3, 2, 5, 4))
    np.testing.assert_array_equal(one.x, other.x)
    np.testing.assert_array_equal(one.Wh, other.Wh)
    assert one.x.dtype == one.b.dtype == np.float32


def test_reference_agrees_with_differences() -> None:
    """The reference is written apart from xrnn, so it is checked by itself."""
    problem = Problem(Case(T=4, N=3, D=2, H=5))

    def forward(*arrays: Array) -> Array:
        again = Problem(problem.case)
        again.x, again.h_prev, again.Wx, again.Wh, again.b = arrays
        again.dh = np.zeros_like(problem.dh, dtype=np.float64)
        return again.reference["h"]

    def backward(dh: Array) -> list[Array]:
        problem.dh = dh
        problem.__dict__.pop("reference", None)
        return [problem.reference[name] for name in ("dx", "dh_prev", "dWx", "dWh", "db")]

    for name in ("x", "h_prev", "Wx", "Wh", "b"):
        setattr(problem, name, getattr(problem, name).astype(np.float64))
    gradcheck(forward, backward, [problem.x, problem.h_prev, problem.Wx, problem.Wh, problem.b])


def test_check_accepts_the_layer_and_refuses_each_wrong_array() -> None:
    problem = Problem(Case(T=4, N=3, D=2, H=5))
    rnn = RNN(problem.Wx, problem.Wh, problem.b)
    h = rnn.forward(problem.x, problem.h_prev)
    right = (h, *rnn.backward(problem.dh), *rnn.grads)
    assert check("train", right, problem) < 1e-5
    for i, name in enumerate(("h", "dx", "dh_prev", "dWx", "dWh", "db")):
        wrong = list(right)
        wrong[i] = right[i] + 1e-3 * np.abs(right[i]).max()
        with pytest.raises(AssertionError, match=rf"T4-N3-D2-H5 train: {name} is off by 0.001 of its largest value"):
            check("train", wrong, problem)
    with pytest.raises(AssertionError, match="forward: h is off by nan"):
        check("forward", h * np.float32("nan"), problem)
    with pytest.raises(AssertionError, match=r"step: h is float64 \(3, 5\): expected float32 \(3, 5\)"):
        check("step", h[0].astype(np.float64), problem)
