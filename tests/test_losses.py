"""Losses against their formulas in float64, and their gradients against differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests import standin
from tests.errors import one_line
from tests.layouts import LAYOUTS, lay_out
from tests.problems import Classification, classification
from tests.reference import solve_classification
from xrnn import gradcheck, mean_squared_error, softmax_cross_entropy
from xrnn.backend import Backend
from xrnn.typing import Array

HostArray = np.ndarray[Any, np.dtype[Any]]
C = 5
LEADING = [(), (4,), (6, 4), (2, 3, 4)]


def reference(logits: HostArray, targets: HostArray, mask: HostArray | None = None) -> tuple[float, HostArray]:
    """The mean over the positions that count, 0 where none does."""
    counts = np.ones(targets.size) if mask is None else mask.ravel().astype("float64")
    rows = logits.reshape(-1, logits.shape[-1])
    solution = solve_classification(Classification(rows, targets.ravel(), counts / max(counts.sum(), 1)))
    return float(solution["losses"].sum()), solution["dlogits"].reshape(logits.shape)


def problem(leading: tuple[int, ...], dtype: str = "float64") -> tuple[HostArray, HostArray, HostArray]:
    p = classification(math.prod(leading), C, dtype, scale=3)
    mask = np.random.default_rng(0).random(leading) < 0.6
    return p.logits.reshape(*leading, C), p.targets.reshape(leading), mask


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("leading", LEADING, ids=str)
def test_softmax_cross_entropy(backend: Backend, leading: tuple[int, ...], masked: bool, dtype: str) -> None:
    logits, targets, mask = problem(leading, dtype)
    mask_ = backend.asarray(mask) if masked else None
    loss, dlogits = softmax_cross_entropy(backend.asarray(logits), backend.asarray(targets), mask_)
    expected_loss, expected_dlogits = reference(logits, targets, mask if masked else None)
    assert backend.owns(loss)
    assert loss.shape == ()
    assert dlogits.shape == logits.shape
    assert loss.dtype == dlogits.dtype == dtype
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    assert_allclose(float(loss), expected_loss, rtol=tolerance)
    assert_allclose(backend.to_numpy(dlogits), expected_dlogits, rtol=0, atol=tolerance)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("leading", [(4,), (6, 4)], ids=str)
def test_softmax_cross_entropy_matches_differences(backend: Backend, leading: tuple[int, ...], masked: bool) -> None:
    logits, targets, mask = (backend.asarray(a) for a in problem(leading))
    arguments = (targets, mask) if masked else (targets,)
    check_scalar(lambda z: softmax_cross_entropy(z, *arguments), logits)


def check_scalar(loss: Callable[[Array], tuple[Array, Array]], argument: Array) -> None:
    gradcheck(lambda a: loss(a)[0], lambda u: [u * loss(argument)[1]], [argument])


def test_large_logits_do_not_overflow(backend: Backend) -> None:
    logits = np.array([[1e4, 0.0], [-3e38, 0.0], [-np.inf, 0.0]], "float32")
    loss, dlogits = softmax_cross_entropy(backend.asarray(logits), backend.asarray(np.array([0, 1, 1])))
    assert float(loss) == 0
    assert_array_equal(backend.to_numpy(dlogits), np.zeros((3, 2)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_come_out_as_nan(backend: Backend, value: float) -> None:
    logits, targets, mask = problem((4,))
    mask[:] = True
    logits[2, 1] = value
    with np.errstate(invalid="ignore"):
        for arguments in [(logits, targets), (logits, targets, mask)]:
            loss, dlogits = softmax_cross_entropy(*(backend.asarray(a) for a in arguments))
            assert np.isnan(float(loss))
            rows = np.isnan(backend.to_numpy(dlogits))
            assert_array_equal(rows.any(axis=1), [False, False, True, False])


def test_a_masked_position_counts_as_a_class_that_there_is(backend: Backend) -> None:
    logits, targets = np.array([[3.0], [5.0]]), np.array([0, -100])  # of one class: only 0 is a target
    arrays = (logits, targets, np.array([True, False]))
    loss, dlogits = softmax_cross_entropy(*(backend.asarray(a) for a in arrays))
    assert float(loss) == 0
    np.testing.assert_array_equal(backend.to_numpy(dlogits), [[0], [0]])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_masked_position_may_hold_anything(backend: Backend, value: float) -> None:
    logits, targets, mask = problem((6, 4))
    expected_loss, expected_dlogits = reference(logits, targets, mask)
    logits[~mask], targets[~mask] = value, -100
    arrays = [backend.asarray(a.copy()) for a in (logits, targets, mask)]
    loss, dlogits = softmax_cross_entropy(*arrays)
    assert_allclose(float(loss), expected_loss, rtol=1e-14)
    assert_allclose(backend.to_numpy(dlogits), expected_dlogits, rtol=0, atol=1e-14)
    for array, value_before in zip(arrays, (logits, targets, mask), strict=True):
        assert_array_equal(backend.to_numpy(array), value_before)


def test_nothing_to_average(backend: Backend) -> None:
    logits, targets, _ = problem((4,))
    all_masked = softmax_cross_entropy(*(backend.asarray(a) for a in (logits, targets, np.zeros(4, bool))))
    results: list[tuple[Any, tuple[int, ...]]] = [(all_masked, (4, C))]
    for shape in [(0, C), (0, 0), (0, 2, 0), (2, 0, 0)]:  # no prediction, also of no class
        xp = backend.xp
        results.append((softmax_cross_entropy(xp.zeros(shape), xp.zeros(shape[:-1], "int64")), shape))
    for (loss, dlogits), shape in results:
        assert float(loss) == 0
        assert_array_equal(backend.to_numpy(dlogits), np.zeros(shape))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_memory_layout(backend: Backend, layout: str) -> None:
    logits, targets, mask = problem((6, 4))
    arrays = [lay_out(backend, a, layout) for a in (logits, targets, mask)]
    loss, dlogits = softmax_cross_entropy(*arrays)
    expected_loss, expected_dlogits = reference(logits, targets, mask)
    assert_allclose(float(loss), expected_loss, rtol=1e-14)
    assert_allclose(backend.to_numpy(dlogits), expected_dlogits, rtol=0, atol=1e-14)
    assert_array_equal(backend.to_numpy(arrays[0]), logits)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(), (3,), (6, 4, 2)], ids=str)
def test_mean_squared_error(backend: Backend, shape: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(0)
    y, target = (np.asarray(rng.standard_normal(shape), dtype) for _ in range(2))
    loss, dy = mean_squared_error(backend.asarray(y), backend.asarray(target))
    difference = y.astype("float64") - target.astype("float64")
    assert backend.owns(loss)
    assert backend.owns(dy)
    assert loss.shape == ()
    assert dy.shape == shape
    assert loss.dtype == dy.dtype == dtype
    assert_allclose(float(loss), (difference**2).mean(), rtol=1e-5 if dtype == "float32" else 1e-14)
    assert_allclose(backend.to_numpy(dy), 2 * difference / max(difference.size, 1), rtol=1e-5)


def test_mean_squared_error_matches_differences(backend: Backend) -> None:
    y, target = (backend.asarray(np.random.default_rng(i).standard_normal((6, 4))) for i in range(2))
    check_scalar(lambda y: mean_squared_error(y, target), y)


def test_mean_squared_error_of_nothing(backend: Backend) -> None:
    loss, dy = mean_squared_error(backend.xp.zeros((0, 3)), backend.xp.zeros((0, 3)))
    assert float(loss) == 0
    assert dy.shape == (0, 3)


def test_losses_do_not_wait_for_the_device(backend: Backend, no_waiting: Callable[[], Any]) -> None:
    logits, targets, mask = (backend.asarray(a) for a in problem((6, 4)))
    with no_waiting():
        softmax_cross_entropy(logits, targets)
        softmax_cross_entropy(logits, targets, mask)
        mean_squared_error(logits, logits)


def test_bad_input_to_softmax_cross_entropy(backend: Backend) -> None:
    xp = backend.xp
    other: Any = standin if backend.name == "numpy" else np
    logits, targets = xp.zeros((4, C)), xp.zeros(4, "int64")
    with one_line(TypeError, "logits is a list", "use xrnn.asarray(logits)"):
        softmax_cross_entropy([[1.0]], targets)  # type: ignore[arg-type]
    for dtype in ("int64", "float16", "complex128"):
        with one_line(
            TypeError, f"logits has dtype {dtype}", "expected float32 or float64", "logits.astype('float32')"
        ):
            softmax_cross_entropy(logits.astype(dtype), targets)
    with one_line(ValueError, "logits has shape ()", "expected (..., C)"):
        softmax_cross_entropy(xp.zeros(()), targets)
    with one_line(ValueError, "logits has shape (2, 0)", "expected (..., C)"):
        softmax_cross_entropy(xp.zeros((2, 0)), targets)
    with one_line(TypeError, "targets has dtype float64", "expected integers", "targets.astype('int64')"):
        softmax_cross_entropy(logits, targets.astype("float64"))
    with one_line(TypeError, "targets is a", f"logits is on the {backend.name} backend", "xrnn.asarray(targets,"):
        softmax_cross_entropy(logits, other.zeros(4, "int64"))
    for shape in [(), (5,), (4, 1), (4, C)]:
        with one_line(ValueError, f"targets has shape {shape}", "expected (4,)", "one for each prediction"):
            softmax_cross_entropy(logits, xp.zeros(shape, "int64"))
        with one_line(ValueError, f"mask has shape {shape}", "expected (4,)", "one for each prediction"):
            softmax_cross_entropy(logits, targets, xp.zeros(shape, "bool"))
    with one_line(TypeError, "mask has dtype float64", "expected bool", "mask.astype('bool')"):
        softmax_cross_entropy(logits, targets, xp.ones(4))
    with one_line(TypeError, "mask is a", f"logits is on the {backend.name} backend"):
        softmax_cross_entropy(logits, targets, other.ones(4, "bool"))
    with one_line(TypeError, "mask is a list", "use xrnn.asarray(mask)"):
        softmax_cross_entropy(logits, targets, [True] * 4)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [-1, C])
def test_a_target_outside_the_classes_where_reading_is_free(bad: int) -> None:
    targets = np.array([0, bad, 1, 1])
    with one_line(IndexError, "targets holds values from", str(bad), "expected 0 to 4"):
        softmax_cross_entropy(np.zeros((4, C)), targets)


def test_bad_input_to_mean_squared_error(backend: Backend) -> None:
    xp = backend.xp
    y = xp.zeros((4, 3))
    with one_line(TypeError, "y has dtype int64", "expected float32 or float64"):
        mean_squared_error(xp.zeros(3, "int64"), xp.zeros(3, "int64"))
    with one_line(TypeError, "target has dtype float32", "y has dtype float64", "target.astype('float64')"):
        mean_squared_error(y, xp.zeros((4, 3), "float32"))
    with one_line(ValueError, "target has shape (3,)", "expected (4, 3)"):
        mean_squared_error(y, xp.zeros(3))
    with one_line(TypeError, "target is a", f"y is on the {backend.name} backend"):
        mean_squared_error(y, (standin if backend.name == "numpy" else np).zeros((4, 3)))


def test_losses_of_two_devices() -> None:
    y, logits, targets = standin.zeros((4, C)), standin.zeros((4, C)), standin.zeros(4, "int64")
    with standin.cuda.Device(1):
        far = standin.zeros((4, C)), standin.zeros(4, "int64"), standin.ones(4, "bool")
    with one_line(ValueError, "target is on device <CUDA Device 1>", "y is on <CUDA Device 0>"):
        mean_squared_error(y, far[0])
    with one_line(ValueError, "targets is on device <CUDA Device 1>", "logits is on <CUDA Device 0>"):
        softmax_cross_entropy(logits, far[1])
    with one_line(ValueError, "mask is on device <CUDA Device 1>", "logits is on <CUDA Device 0>"):
        softmax_cross_entropy(logits, targets, far[2])
