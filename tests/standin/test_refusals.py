"""What the stand-in refuses, as CuPy does or more strictly."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests import standin as cp
from tests.standin import raw
from tests.standin.cublas import gemm
from xrnn.typing import Array

HOST = np.arange(12, dtype="float32").reshape(3, 4)


@pytest.fixture
def a() -> Any:
    return cp.asarray(HOST)


def refuses(error: type[Exception], *calls: Callable[[], Any], match: str | None = None) -> None:
    for call in calls:
        with pytest.raises(error, match=match):
            call()


@pytest.mark.parametrize("convert", [np.asarray, np.array, np.float32, memoryview, lambda a: np.concatenate([a, a])])
def test_implicit_conversion(a: Any, convert: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError):
        convert(a)


@pytest.mark.parametrize("op", [operator.add, operator.matmul, operator.iadd, operator.lt, operator.pow])
def test_numpy_operand(a: Any, op: Callable[[Any, Any], Any]) -> None:
    square = cp.zeros((3, 3), "float32")
    host = np.zeros((3, 3), "float32")
    with pytest.raises(TypeError, match="Unsupported type"):
        op(square, host)
    with pytest.raises(TypeError):
        op(host, square)


def test_list_operand(a: Any) -> None:
    with pytest.raises(TypeError, match="Unsupported type"):
        operator.add(a, [1.0, 2.0, 3.0, 4.0])


def test_numpy_arguments(a: Any) -> None:
    refuses(
        TypeError,
        lambda: cp.tanh(HOST),
        lambda: cp.sum(HOST),
        lambda: cp.concatenate([a, HOST]),
        lambda: cp.where(a > 0, HOST, a),
        lambda: cp.matmul(a, HOST.T),
        lambda: cp.full((2,), HOST),
    )


def test_numpy_out(a: Any) -> None:
    refuses(
        TypeError,
        lambda: cp.tanh(a, out=HOST),
        lambda: np.tanh(HOST, out=a),
        lambda: cp.sum(a, axis=0, out=HOST[0]),
        lambda: a.sum(axis=0, out=HOST[0]),
        lambda: cp.matmul(a, a.T, out=np.empty((3, 3), "float32")),
    )


def test_product_into_strided_out(a: Any) -> None:
    with pytest.raises(ValueError, match="Output array must be C-contiguous"):
        cp.matmul(a, a.T, out=cp.empty((3, 6), "float32")[:, ::2])


def test_numpy_index_and_value(a: Any) -> None:
    with pytest.raises(TypeError, match="as an index"):
        a[np.array([0, 1])]
    with pytest.raises(TypeError, match="as an index"):
        a[np.array([0, 1])] = 0
    with pytest.raises(TypeError, match="Unsupported type"):
        a[:] = HOST
    with pytest.raises(TypeError, match="Unsupported type"):
        a[0] = [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["errstate", "nditer", "testing_nonsense", "vectorize"])
def test_unknown_name(name: str) -> None:
    with pytest.raises(AttributeError, match=f"has no '{name}'"):
        getattr(cp, name)
    with pytest.raises(ImportError):
        exec(f"from tests.standin import {name}")


def test_unknown_attribute(a: Any) -> None:
    with pytest.raises(AttributeError):
        a.base_nonsense  # noqa: B018
    with pytest.raises(AttributeError):
        a.flags.writeable  # noqa: B018


def test_unknown_keyword(a: Any) -> None:
    refuses(
        TypeError,
        lambda: cp.zeros(3, like=a),
        lambda: cp.sum(a, where=a > 0),
        lambda: cp.sum(a, initial=0),
        lambda: cp.mean(a, where=a > 0),
        lambda: cp.max(a, initial=0),
        lambda: a.sum(where=a > 0),
        lambda: cp.add(a, a, where=True),
        lambda: cp.add(a, a, order="C"),
        lambda: cp.tanh(a, subok=False),
        lambda: cp.clip(a, min=0, max=1),
    )


def test_ufunc_methods(a: Any) -> None:
    for call in (lambda: np.add.reduce(a), lambda: np.add.outer(a, a), lambda: np.add.at(a, 0, 1)):
        with pytest.raises(TypeError):
            call()


def test_in_place_product(a: Any) -> None:
    with pytest.raises(TypeError):
        a @= a


def test_dtypes_without_a_device_counterpart() -> None:
    for host in (np.array(["word"]), np.array([object()]), np.zeros(2, np.longdouble)):
        with pytest.raises(ValueError, match="Unsupported dtype"):
            cp.asarray(host)


def test_set_and_get_take_numpy(a: Any) -> None:
    with pytest.raises(TypeError, match="can be set"):
        a.set(a)
    with pytest.raises(ValueError, match="can't be set"):
        a.set(HOST.astype("float64"))
    with pytest.raises(TypeError, match="can be obtained"):
        a.get(out=a)


def test_scalar_of_many(a: Any) -> None:
    with pytest.raises(TypeError, match="length-1"):
        float(a)
    with pytest.raises(ValueError, match="ambiguous"):
        bool(a)


def test_arrays_of_two_devices(a: Any) -> None:
    with cp.cuda.Device(1):
        other = cp.zeros((3, 4), "float32")
        assert other.device == cp.cuda.Device(1)
        assert other[0].device == cp.cuda.Device(1)
        with pytest.raises(ValueError, match="array device = 0 while current = 1"):
            cp.tanh(a)
    refuses(
        ValueError,
        lambda: a + other,
        lambda: cp.tanh(other),
        lambda: other.sum(),
        lambda: other.fill(0),
        lambda: a.__setitem__(0, other[0]),
        lambda: gemm("T", "N", other, other),
        match="array device = 1 while current = 0",
    )


def test_device_that_does_not_exist() -> None:
    with pytest.raises(RuntimeError, match="cudaErrorInvalidDevice"), cp.cuda.Device(2):
        pass
    with pytest.raises(RuntimeError, match="cudaErrorInvalidDevice"):
        cp.cuda.runtime.getDeviceProperties(2)
    assert cp.cuda.Device().id == 0


def device(*shape: int, dtype: str = "float32") -> Any:
    return cp.ones(shape, dtype)


def test_gemm_refusals() -> None:
    half = np.zeros((2, 2), "float16")
    refused: list[tuple[type[Exception], Callable[[], Any]]] = [
        (TypeError, lambda: gemm("N", "N", HOST, HOST.T)),
        (TypeError, lambda: gemm("N", "N", device(3, 4), HOST.T)),
        (TypeError, lambda: gemm("N", "N", cp.asarray(half), cp.asarray(half))),
        (TypeError, lambda: gemm("N", "N", device(2, 2, dtype="int32"), device(2, 2, dtype="int32"))),
        (TypeError, lambda: gemm("X", "N", device(2, 2), device(2, 2))),
        (AssertionError, lambda: gemm("N", "N", device(2, 2), device(2, 2, dtype="float64"))),
        (AssertionError, lambda: gemm("N", "N", device(2, 3), device(2, 3))),
        (AssertionError, lambda: gemm("N", "N", device(2, 3, 4), device(4, 3))),
        (AssertionError, lambda: gemm("N", "N", device(2, 3), device(3, 2), out=device(3, 3))),
        (AssertionError, lambda: gemm("N", "N", device(2, 3), device(3, 2), out=device(2, 2, dtype="float64"))),
        (RuntimeError, lambda: gemm("N", "N", device(0, 3), device(3, 2), out=device(0, 2))),
        (RuntimeError, lambda: gemm("N", "N", device(2, 0), device(0, 2), out=device(2, 2))),
    ]
    for error, call in refused:
        with pytest.raises(error):
            call()


def test_gemm_refuses_to_overwrite_an_operand() -> None:
    a = device(2, 2)
    with pytest.raises(AssertionError, match="overlaps"):
        gemm("N", "N", a, device(2, 2), out=a)


@pytest.mark.parametrize("trans", ["NN", "NT", "TN", "TT"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gemm_computes(trans: str, order: Any, dtype: str) -> None:
    rng = np.random.default_rng(0)
    a, b, out = (np.asarray(rng.standard_normal(s), dtype) for s in [(3, 5), (5, 2), (3, 2)])

    def moved(x: Array, t: str) -> Any:
        return cp.asarray(np.asarray(x if t == "N" else x.T, order=order))

    result = cp.asarray(np.asarray(out, order=order))
    assert gemm(trans[0], trans[1], moved(a, trans[0]), moved(b, trans[1]), out=result, alpha=2.0, beta=3.0) is result
    np.testing.assert_allclose(result.get(), 2 * (a @ b) + 3 * out, rtol=1e-5)
    poisoned = cp.empty((3, 2), dtype)
    gemm(trans[0], trans[1], moved(a, trans[0]), moved(b, trans[1]), out=poisoned)
    np.testing.assert_allclose(poisoned.get(), a @ b, rtol=1e-5)


def test_raw_kernels_need_a_plug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "compiler", None)
    with pytest.raises(NotImplementedError, match="nothing is plugged"):
        cp.RawModule(code="")
