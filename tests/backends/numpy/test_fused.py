"""The fused forms of the NumPy backend: the same values as the plain form, at every level, and really taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from xrnn import RNN, Linear, get_backend, softmax_cross_entropy, use_fused
from xrnn.backend import OPERATIONS, Backend
from xrnn.backends.numpy import NumpyBackend, kernels
from xrnn.ops.cells.rnn import NONLINEARITIES, Nonlinearity, RNNCell
from xrnn.typing import Array

TOLERANCE = {"float32": 2e-5, "float64": 1e-12}

# One row and many, one column and many, and every remainder of a vector and of a tile of some level.
SIZES = [
    (1, 1, 1, 1),
    (5, 1, 64, 64),
    (3, 7, 33, 100),
    (6, 25, 17, 130),
    (2, 13, 3, 15),
    (4, 5, 70, 31),
    (20, 40, 60, 200),
    (0, 2, 3, 4),
    (3, 0, 4, 5),
    (3, 2, 0, 5),
]


def run(sizes: tuple[int, int, int, int], dtype: str, nonlinearity: Nonlinearity, *, fused: bool) -> dict[str, Array]:
    T, N, D, H = sizes
    rng = np.random.default_rng(sum(sizes))
    weights = (
        (scale * rng.standard_normal(shape)).astype(dtype)
        for shape, scale in [((D, H), D**-0.5 if D else 1), ((H, H), 0.5 * H**-0.5), ((H,), 1)]
    )
    rnn = RNN(*weights, nonlinearity=nonlinearity)
    x, h_prev, dh = (rng.standard_normal(shape).astype(dtype) for shape in [(T, N, D), (N, H), (T, N, H)])
    for grad in rnn.grads:
        grad.fill(np.nan)
    with use_fused(fused):
        h = rnn.forward(x, h_prev)
        dx, dh_prev = rnn.backward(dh)
    return {"h": h, "dx": dx, "dh_prev": dh_prev, "dWx": rnn.grads[0], "dWh": rnn.grads[1], "db": rnn.grads[2]}


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("sizes", SIZES)
def test_every_level_matches_plain(
    level: str, sizes: tuple[int, int, int, int], dtype: str, nonlinearity: Nonlinearity
) -> None:
    fused = run(sizes, dtype, nonlinearity, fused=True)
    plain = run(sizes, dtype, nonlinearity, fused=False)
    for name, expected in plain.items():
        scale = max(1, np.abs(expected).max(initial=0))
        assert_allclose(fused[name], expected, rtol=0, atol=TOLERANCE[dtype] * scale, err_msg=name)


@pytest.mark.parametrize("project_first", [False, True])
@pytest.mark.parametrize("split", ["rows", "columns"])
@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("sizes", [(5, 1, 9, 70), (4, 7, 20, 33), (300, 2, 5, 40), (3, 300, 4, 17)])
def test_every_partition_matches_plain(
    level: str, sizes: tuple[int, int, int, int], threads: int, split: Any, project_first: bool
) -> None:
    kernels.force_partition(threads, split, project_first)
    try:
        fused = run(sizes, "float32", "tanh", fused=True)
    finally:
        kernels.force_partition(0, "rows", False)
    for name, expected in run(sizes, "float32", "tanh", fused=False).items():
        scale = max(1, np.abs(expected).max(initial=0))
        assert_allclose(fused[name], expected, rtol=0, atol=TOLERANCE["float32"] * scale, err_msg=name)


def test_same_bits_every_time(level: str) -> None:
    first, second = (run((30, 32, 40, 100), "float32", "tanh", fused=True) for _ in range(2))
    for name, value in first.items():
        assert_array_equal(value, second[name], err_msg=name)


def test_fused_form_is_taken_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the plain form ran")

    def train() -> None:
        run((3, 2, 4, 5), "float32", "tanh", fused=fused)
        linear = Linear.init(4, 5, rng=0, backend="numpy")
        _, dy = softmax_cross_entropy(linear.forward(np.ones((3, 4), "float32")), np.array([0, 4, 2]))
        linear.backward(dy)

    for operation in OPERATIONS:
        if operation != "matmul_add":
            monkeypatch.setattr(Backend, operation, refuse)
    fused = True
    train()
    fused = False
    with use_fused(False), pytest.raises(AssertionError, match="the plain form ran"):
        train()


def test_explain_says_which_form_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def explain(operation: Any = "recurrence_forward") -> str:
        explanation = get_backend("numpy").explain(operation, RNNCell(), {"T": 2, "N": 1, "D": 3, "H": 4}, "float32")
        return f"{explanation.form}: {explanation.why}"

    assert explain() == f"fused: {kernels.level()}, one thread, x @ Wx first"
    assert explain("recurrence_backward") == f"fused: {kernels.level()}, one thread"
    assert explain("matmul_add") == "plain: the numpy backend has no other form of it"
    with use_fused(False):
        assert explain() == "plain: XRNN_FUSED=0 or use_fused(False)"
    monkeypatch.setattr("xrnn.backends.numpy.kernels", None)
    assert explain() == "plain: the kernels were not built: `pip install -v -e .` says why"


def test_xrnn_isa_chooses_the_level(monkeypatch: pytest.MonkeyPatch) -> None:
    before = kernels.level()
    try:
        for name in kernels.levels():
            monkeypatch.setenv("XRNN_ISA", name)
            assert NumpyBackend().describe()["instruction set"] == name
        monkeypatch.setenv("XRNN_ISA", "avx1024")
        expected = f"XRNN_ISA=avx1024 does not run here: expected one of {', '.join(kernels.levels())}"
        with pytest.raises(ValueError, match=expected):
            NumpyBackend()
    finally:
        kernels.set_level(before)


def test_a_kernel_refuses_what_would_reach_beyond_its_arrays() -> None:
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
        kernels.affine(logits, np.ones((4, 5), "float32"), np.ones(5, "float32"))
