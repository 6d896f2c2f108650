"""The measured cases, and the check before every timing."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from benchmarks import machine
from benchmarks.cases import Case, Problem, check
from xrnn import RNN


def test_operations_are_counted_within_the_lengths() -> None:
    rnn, gru = Case(5, 3, 2, 7), Case(5, 3, 2, 7, cell="gru")
    assert rnn.flops("forward") == 5 * rnn.flops("step") == 5 * 2 * 3 * 7 * (2 + 7)
    assert gru.flops("train") == 3 * gru.flops("forward") == 9 * rnn.flops("forward")
    case = Case(T=40, N=2000, D=2, H=7, ragged=True)
    assert np.unique(case.lengths).tolist() == list(range(1, 41))
    assert case.flops("forward") == case.lengths.sum() * 2 * 7 * (2 + 7)


def test_cases_are_chosen_by_their_cell_or_a_part_of_their_name() -> None:
    cells = {"rnn", "lstm", "min-lstm"}
    cases = [Case(2, N, 3, 4, cell=cell) for cell in cells for N in (1, 16)]
    chosen = machine.cases_named(argparse.ArgumentParser(), cases, "lstm,N16-D3")
    assert {(case.cell, case.N) for case in chosen} == {("lstm", 1), *((cell, 16) for cell in cells)}


def test_results_past_a_rows_end_are_not_compared() -> None:
    problem = Problem(Case(T=6, N=5, D=2, H=3, ragged=True))
    rnn = RNN(problem.Wx, problem.Wh, problem.b)
    h = rnn(problem.x, problem.h_prev, lengths=problem.lengths)
    check("forward", np.where(problem.within[..., None], h, np.float32("nan")), problem)
    with pytest.raises(AssertionError, match="ragged forward: h is off"):
        check("forward", h + np.float32(0.01), problem)


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
