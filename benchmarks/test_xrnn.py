"""xrnn alone, by pytest-benchmark: `pytest benchmarks [-k "numpy and fused and H256"]`; a minute and a half.

On a GPU a time covers a call and the wait for its result. `benchmarks.gpu` measures the device's and the host's share.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.cases import ALL, OPERATIONS, Case, Problem, check
from benchmarks.peers import Call
from xrnn import RNN, BackendUnavailableError, get_backend, use_fused
from xrnn.backend import Backend
from xrnn.info import explain

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

CASES = [case for case in ALL if case.cell == "rnn" and not case.ragged]
problem_of = functools.lru_cache(maxsize=1)(Problem)  # cases vary slowest, so each problem is made once


@pytest.fixture(scope="module", params=["numpy", "cupy"])
def backend(request: pytest.FixtureRequest) -> Backend:
    try:
        return get_backend(request.param)
    except BackendUnavailableError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("form", ["plain", "fused"])
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rnn(benchmark: BenchmarkFixture, backend: Backend, case: Case, operation: str, form: str) -> None:
    problem = problem_of(case)
    with use_fused(form == "fused"):
        call = calls(backend, problem)[operation]
        runs = form_of(backend, case, operation)
        if form == "fused" and runs == "plain":
            pytest.skip(f"the {backend.name} backend has no fused form for this case")
        check(operation, call(), problem)
        benchmark.group = f"{case.name} {operation}"
        benchmark.extra_info |= {"backend": backend.name, "case": case.name, "operation": operation, "form": runs}
        if backend.name == "cupy":
            benchmark.pedantic(waiting(backend, call), rounds=20, warmup_rounds=3)
        else:
            benchmark(call)


def calls(backend: Backend, problem: Problem) -> dict[str, Call]:
    x, h_prev, dh = (backend.asarray(a) for a in (problem.x, problem.h_prev, problem.dh))
    rnn = RNN(*(backend.asarray(a) for a in (problem.Wx, problem.Wh, problem.b)))

    def train() -> tuple[Any, ...]:
        h = rnn.forward(x, h_prev)
        return h, *rnn.backward(dh), *rnn.grads

    return {"step": lambda: rnn(x[0], h_prev), "forward": lambda: rnn(x, h_prev), "train": train}


def form_of(backend: Backend, case: Case, operation: str) -> str:
    """The form that runs, such as "fused" or "plain"; for training both directions, such as "one-block/group"."""
    sizes = {"T": 1 if operation == "step" else case.T, "N": case.N, "D": case.D, "H": case.H}
    cell = RNN.init(1, 1, backend=backend).cell
    forms = [explain(backend, "recurrence_forward", cell, sizes, "float32").form]
    if operation == "train":
        forms.append(explain(backend, "recurrence_backward", cell, sizes, "float32").form)
    return "/".join(dict.fromkeys(forms))


def waiting(backend: Backend, call: Call) -> Call:
    stream = backend.xp.cuda.get_current_stream()

    def call_and_wait() -> None:
        call()
        stream.synchronize()

    return call_and_wait
