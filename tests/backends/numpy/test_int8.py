"""The int8 kernels agree with the plain form, at each level and number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.backends.numpy.conftest import EMULATED, LEVELS
from tests.combinations import thin
from tests.layers.kinds import as_tuple
from tests.needs_kernels import NEEDS_KERNELS
from tests.random_operands import draw, draw_initial
from tests.reference import problem
from xrnn import GRU, LSTM, RNN, get_backend, quantize, use_fused
from xrnn.backends.numpy import kernels
from xrnn.backends.numpy.int8 import OFFSET, pack
from xrnn.info import explain
from xrnn.ops.cells.gru import GRUResetBeforeCell
from xrnn.ops.cells.lru import LRUCell
from xrnn.ops.cells.lstm import LSTMCell
from xrnn.ops.int8 import Int8Matrix, quantize_columns

pytestmark = NEEDS_KERNELS

NAMES = ["rnn", "relu", "leak", "leak by unit", "leaky relu", "lstm", "gru", "min gru", "min lstm positive", "slstm"]


@pytest.fixture(params=[*LEVELS, *EMULATED])
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("XRNN_BACKEND", "numpy")
    before = kernels.level()
    kernels.set_level(request.param)
    yield request.param
    kernels.set_level(before)
    kernels.force_partition(0, "columns", False)


SIZES = [(1, 1, 1, 1), (4, 1, 3, 16), (3, 3, 5, 37), (3, 9, 66, 50), (2, 4, 130, 33), (2, 37, 140, 33), (2, 16, 64, 16)]


@pytest.mark.parametrize(
    ("level", "name", "sizes"), thin([*LEVELS, *EMULATED], NAMES, SIZES, every=3), indirect=["level"]
)
def test_agrees_with_the_plain_form(level: str, name: str, sizes: tuple[int, int, int, int]) -> None:
    T, N, D, H = sizes
    layer: Any = quantize(problem(name, (1, 1, D, H), "float32").layer(get_backend("numpy")))
    x, states = draw(T, N, D), draw_initial(layer.cell, N, H)
    add = None if name in NAMES[::2] else draw(T, N, len(layer.b), seed=1)
    with use_fused(False):
        expected = as_tuple(layer(x, *states, add=add))
    first: Any = ()
    for threads in (1, 2, 5):
        kernels.force_partition(threads, "columns", False)
        found = as_tuple(layer(x, *states, add=add))
        for got, want in zip(found, expected, strict=True):
            # The integers are equal in the first step. A rounding error of h may then change one by a unit.
            assert_allclose(got[0], want[0], rtol=0, atol=2e-6)
            assert_allclose(got, want, rtol=0, atol=0.02)
            assert np.sqrt(np.mean((got - want) ** 2)) < 0.002
        first = first or found
        for got, want in zip(found, first, strict=True):
            assert_array_equal(got, want)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_row_with_nan_or_infinity_becomes_nan(level: str, value: float) -> None:
    layer, x = quantize(GRU.init(5, 20, rng=0)), draw(3, 2, 5)
    expected = layer(x)
    x[1, 0, 4] = value
    found = layer(x)
    assert np.isnan(found[1:, 0]).all()
    assert_array_equal(found[:, 1], expected[:, 1])
    assert_array_equal(found[0], expected[0])


@pytest.mark.parametrize("size", [0.0, 1e-31, 1e-29, 1e30])
def test_rows_of_any_size(level: str, size: float) -> None:
    layer, x = quantize(RNN.init(5, 20, rng=0, nonlinearity="relu")), np.float32(size) * draw(1, 2, 5)
    with use_fused(False):
        expected = layer(x)
    assert_allclose(layer(x), expected, rtol=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_products(level: str, sign: int) -> None:
    """The sum of two products fits the 16 bits in which AVX2 adds them."""
    layer, x = RNN.init(8, 20, rng=0, nonlinearity="relu"), np.full((1, 5, 8), sign, "float32")
    layer.params[0][:] = sign
    layer = quantize(layer)
    with use_fused(False):
        expected = layer(x)
    assert expected.min() > 7
    assert_allclose(layer(x), expected, rtol=1e-6)


@pytest.mark.parametrize(("T", "N"), [(0, 3), (4, 0)])
def test_nothing_to_compute(level: str, T: int, N: int) -> None:
    assert quantize(LSTM.init(5, 20, rng=0))(np.zeros((T, N, 5), "float32"))[0].shape == (T, N, 20)


@given(K=st.integers(1, 20), H=st.integers(1, 40), gates=st.sampled_from([1, 3, 4]))
def test_packed_weights(K: int, H: int, gates: int) -> None:
    matrix = quantize_columns(draw(K, gates * H))
    values, sums, scale = pack(matrix, H)
    for column in range(gates * H):
        g, unit = divmod(column, H)
        panel, j = divmod(unit, 16)
        column_values = values[panel, :, g, j].ravel()
        assert_array_equal(column_values[:K], matrix.values[:, column])
        assert not column_values[K:].any()
        assert sums[panel, g, j] == OFFSET * matrix.values[:, column].sum(dtype="int64")
        assert scale[panel, g, j] == matrix.scale[column]
    if H % 16:
        assert not values[-1, :, :, H % 16 :].any()


def test_packed_weights_begin_with_a_line_of_the_cache() -> None:
    layer = quantize(LSTM.init(5, 20, rng=0, backend="numpy"))
    layer(np.zeros((1, 5), "float32"))
    assert layer.store.frozen
    assert not any(array.ctypes.data % 64 for matrix in layer.store.frozen.made for array in matrix)


def test_the_kernel_refuses_arrays_that_do_not_fit() -> None:
    layer, x = quantize(LSTM.init(5, 20, rng=0)), draw(2, 3, 5)
    *matrices, b, Wx_scale, Wh_scale = layer.params
    Wx, Wh = (pack(matrix, 20) for matrix in map(Int8Matrix, matrices, (Wx_scale, Wh_scale)))
    right: dict[str, Any] = {"x": x, "Wx": Wx, "Wh": Wh, "b": b, "initial": (None, None), "add": None, "own": ()}
    kernels.int8_forward("lstm", *right.values())
    wrong: list[dict[str, Any]] = [
        {"Wh": (Wh[0][:, :-1], *Wh[1:])},
        {"Wx": (Wx[0], Wx[1].astype("int64"), Wx[2])},
        {"Wx": (*Wx[:2], Wx[2][:-1])},
        {"x": x.astype("float64")},
        {"b": b[:-3]},
        {"initial": (draw(3, 19), None)},
        {"add": draw(2, 3, 79)},
        {"own": (0.5,)},
    ]
    for change in wrong:
        with pytest.raises((TypeError, ValueError)):
            kernels.int8_forward("lstm", *(right | change).values())


def test_explain_names_the_instructions() -> None:
    backend, sizes = get_backend("numpy"), {"T": 1, "N": 1, "D": 5, "H": 7}
    explanation = explain(backend, "int8_forward", LSTMCell(), sizes, "float32")
    assert (explanation.form, explanation.why) == ("fused", kernels.int8_instructions(1))
    for cell in (GRUResetBeforeCell(), LRUCell()):
        assert explain(backend, "int8_forward", cell, sizes, "float32").form == "plain"
    with use_fused(False):
        assert explain(backend, "int8_forward", LSTMCell(), sizes, "float32").form == "plain"
