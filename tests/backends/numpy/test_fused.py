"""The fused forms of the NumPy backend: when they run, what `explain` says, and the arguments that they refuse."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from tests.fresh import run_python
from xrnn import GRU, LSTM, RNN, Embedding, Linear, get_backend, softmax_cross_entropy, use_fused
from xrnn.backend import OPERATIONS, Backend
from xrnn.backends import numpy
from xrnn.backends.numpy import NumpyBackend, kernels
from xrnn.backends.numpy.quota import cpu_quota
from xrnn.info import describe, explain
from xrnn.ops.cells.gru import GRUCell, GRUResetBeforeCell
from xrnn.ops.cells.rnn import RNNCell


def train() -> None:
    for layer in (RNN, LSTM, GRU):
        recurrent: Any = layer.init(4, 5, rng=0, backend="numpy")
        recurrent.forward(np.ones((3, 2, 4), "float32"))
        recurrent.backward(np.ones((3, 2, 5), "float32"))
    linear = Linear.init(4, 5, rng=0, backend="numpy")
    _, dy = softmax_cross_entropy(linear.forward(np.ones((3, 4), "float32")), np.array([0, 4, 2]))
    linear.backward(dy)
    embedding = Embedding.init(5, 4, rng=0, backend="numpy")
    embedding.backward(embedding.forward(np.array([0, 4, 0])))


def test_plain_forms_call_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    class Untouchable:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"kernels.{name} was called")

    get_backend("numpy")  # loading it sets the kernels up
    monkeypatch.setattr(numpy, "kernels", Untouchable())
    with use_fused(False):
        train()
    with pytest.raises(AssertionError, match="was called"):
        train()


@pytest.mark.parametrize(("threads", "said"), [(1, "one thread"), (2, "2 threads by rows"), (3, "3 threads by rows")])
def test_explain_asks_for_the_partition_of_its_sizes(monkeypatch: pytest.MonkeyPatch, threads: int, said: str) -> None:
    asked: list[Any] = []

    class Asked:
        def __getattr__(self, name: str) -> Any:
            return getattr(kernels, name)

        def partition(self, *sizes: int) -> tuple[int, str, bool]:
            asked.extend(sizes)
            return threads, "rows", False

    monkeypatch.setattr(numpy, "kernels", Asked())
    sizes = {"T": 7, "N": 6, "D": 5, "H": 4}
    explanation = explain(get_backend("numpy"), "recurrence_forward", GRUCell(), sizes, "float64")
    assert explanation.why == f"{kernels.level()}, {said}"
    assert asked[:5] == [7, 6, 5 + 4, 3 * 4, 8]


def test_a_new_backend_takes_the_highest_level_and_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XRNN_ISA", raising=False)
    monkeypatch.setattr(numpy, "cpu_quota", lambda: 1)
    before = kernels.level()
    try:
        kernels.set_level("baseline")
        NumpyBackend()
        assert kernels.level() == kernels.levels()[-1]
        assert kernels.thread_cap() == 1
    finally:
        kernels.set_level(before)
        kernels.set_quota(cpu_quota())


def test_the_fused_form_runs_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the plain form ran")

    for operation in OPERATIONS:
        if operation != "matmul_add":
            monkeypatch.setattr(Backend, operation, refuse)
    train()
    with use_fused(False), pytest.raises(AssertionError, match="the plain form ran"):
        train()


def test_explain_gives_the_form_and_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def said(operation: Any = "recurrence_forward") -> str:
        explanation = explain(get_backend("numpy"), operation, RNNCell(), {"T": 2, "N": 1, "D": 3, "H": 4}, "float32")
        return f"{explanation.form}: {explanation.why}"

    assert said() == f"fused: {kernels.level()}, one thread, x @ Wx first"
    assert said("recurrence_backward") == f"fused: {kernels.level()}, one thread"
    gru = explain(get_backend("numpy"), "recurrence_backward", GRUCell(), {"T": 2, "N": 1, "D": 3, "H": 4}, "float32")
    assert gru.form == "fused"
    before = explain(get_backend("numpy"), "recurrence_forward", GRUResetBeforeCell(), {}, "float32")
    assert f"{before.form}: {before.why}" == "plain: there is no kernel for the cell 'gru_reset_before'"
    assert said("matmul_add") == "plain: the numpy backend has no other form of it"
    assert said("add_rows") == "sorted: the indices are sorted once, then each run of equal ones is summed"
    with use_fused(False):
        assert said() == "plain: XRNN_FUSED=0 or use_fused(False)"
    monkeypatch.setattr("xrnn.backends.numpy.kernels", None)
    assert said() == "plain: the kernels were not built: `pip install -v -e .` says why"


def test_a_checkout_without_compiled_kernels_runs_the_plain_forms() -> None:
    code = (
        "import sys; sys.modules['xrnn.backends.numpy._kernels'] = None; import numpy as np, xrnn\n"
        "rnn = xrnn.RNN.init(2, 3, rng=0); rnn.backward(rnn.forward(np.ones((4, 1, 2), 'float32')))\n"
        "from xrnn.info import describe; print(describe(rnn.backend)['compiled kernels'])"
    )
    assert run_python(code).stdout == "the kernels were not built: `pip install -v -e .` says why\n"


def test_xrnn_isa_chooses_the_level(monkeypatch: pytest.MonkeyPatch) -> None:
    before = kernels.level()
    try:
        for name in kernels.levels():
            monkeypatch.setenv("XRNN_ISA", name)
            assert describe(NumpyBackend())["instruction set"].startswith(f"{name}, of the compiled baseline")
        monkeypatch.setenv("XRNN_ISA", "avx1024")
        expected = f"XRNN_ISA=avx1024 does not run here: expected one of {', '.join(kernels.levels())}"
        with pytest.raises(ValueError, match=expected):
            NumpyBackend()
    finally:
        kernels.set_level(before)


@pytest.mark.skipif("XRNN_REQUIRE_KERNELS" not in os.environ, reason="CI requires kernels")
def test_ci_has_the_levels_for_tests() -> None:
    assert kernels.emulated_levels() == ["amx-emulated", "pairs-emulated"]


def test_a_kernel_refuses_indices_and_shapes_beyond_its_arrays() -> None:
    logits, weight = np.ones((2, 3), "float32"), np.ones(2, "float32")
    for target in (3, -1, 10**9):
        with pytest.raises(IndexError, match="a target is no column"):
            kernels.cross_entropy(logits, np.array([0, target]), weight)
    with pytest.raises(ValueError, match="the logits have no columns"):
        kernels.cross_entropy(logits[:, :0], np.array([0, 0]), weight)
    for threads, split in [(65, "rows"), (-1, "rows"), (2, "diagonal")]:
        with pytest.raises(ValueError, match="expected 0 to 64 threads, by rows or columns"):
            kernels.force_partition(threads, split, False)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the arrays don't fit each other in dtype or shape"):
        kernels.affine(logits, np.ones((4, 5), "float32"), np.ones(5, "float32"), 0)
