"""Losses against their formulas in float64, and their gradients against differences."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import xrnn
from benchmarks.problems import Classification, classification
from tests import standin
from tests.errors import refused
from tests.layouts import LAYOUTS, lay_out
from tests.reference import solve_classification
from xrnn import balanced_weights, binary_cross_entropy, huber, mean_squared_error, quantile, softmax_cross_entropy
from xrnn.backend import Backend
from xrnn.typing import Array

HostArray = np.ndarray[Any, np.dtype[Any]]
Loss = Callable[..., tuple[Array, Array]]
C = 5
LEADING = [(), (4,), (6, 4), (2, 3, 4)]


def problem(leading: tuple[int, ...], dtype: str = "float64") -> tuple[HostArray, HostArray, HostArray]:
    p = classification(math.prod(leading), C, dtype, scale=3)
    mask = np.random.default_rng(0).random(leading) < 0.6
    return p.logits.reshape(*leading, C), p.targets.reshape(leading), mask


COUNTED = [(), ("mask",), ("weight",), ("class_weight",), ("mask", "weight"), ("mask", "weight", "class_weight")]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("parts", COUNTED, ids=str)
@pytest.mark.parametrize("leading", LEADING, ids=str)
def test_softmax_cross_entropy(backend: Backend, leading: tuple[int, ...], parts: tuple[str, ...], dtype: str) -> None:
    logits, targets, mask = problem(leading, dtype)
    rng, layout = np.random.default_rng(2), LAYOUTS[(COUNTED.index(parts) + LEADING.index(leading)) % len(LAYOUTS)]
    w = {"mask": mask, "weight": np.asarray(rng.random(leading)), "class_weight": rng.random(C).astype("float32")}
    w = {name: w[name] for name in parts}
    by_class = w["class_weight"][targets] if "class_weight" in w else 1
    counts = np.ones(leading) * w.get("mask", 1) * w.get("weight", 1) * by_class
    shares = counts.ravel() / (counts.sum() or 1)
    expected = solve_classification(Classification(logits.reshape(-1, C), targets.ravel(), shares))
    arrays = [lay_out(backend, a, layout if a.ndim else "C") for a in (logits, targets, *w.values())]
    loss, dlogits = softmax_cross_entropy(*arrays[:2], **dict(zip(w, arrays[2:], strict=True)))
    assert backend.owns(loss)
    assert (loss.shape, dlogits.shape) == ((), logits.shape)
    assert loss.dtype == dlogits.dtype == dtype
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    assert_allclose(float(loss), expected["losses"].sum(), rtol=10 * tolerance)
    assert_allclose(backend.to_numpy(dlogits).reshape(-1, C), expected["dlogits"], rtol=0, atol=tolerance)
    assert_array_equal(backend.to_numpy(arrays[0]), logits)


def test_large_logits_do_not_overflow(backend: Backend) -> None:
    logits = np.array([[1e4, 0.0], [-3e38, 0.0], [-np.inf, 0.0]], "float32")
    loss, dlogits = softmax_cross_entropy(backend.asarray(logits), backend.asarray(np.array([0, 1, 1])))
    assert float(loss) == 0
    assert_array_equal(backend.to_numpy(dlogits), np.zeros((3, 2)))


# ---- losses of each element: y and target of one shape ----


def formula(name: str, y: HostArray, target: HostArray) -> HostArray:
    """The loss of each element, by its definition."""
    error: HostArray = y - target
    if name == "squared":
        return np.asarray(error * error)
    if name == "binary":
        p: HostArray = 1 / (1 + np.exp(-y))
        return np.asarray(-(target * np.log(p) + (1 - target) * np.log(1 - p)))
    if name == "huber":
        return np.where(np.abs(error) <= 0.7, error**2 / 2, 0.7 * (np.abs(error) - 0.35))
    return np.where(error < 0, 0.9 * -error, 0.1 * error)


ELEMENTWISE: dict[str, Loss] = {
    "squared": mean_squared_error,
    "binary": binary_cross_entropy,
    "huber": functools.partial(huber, delta=0.7),
    "quantile": functools.partial(quantile, q=0.9),
}
SHAPE = (6, 4, 2)
PARTS = ["nothing", "mask", "short mask", "weight", "short weight", "both"]


def elements(shape: tuple[int, ...] = SHAPE, dtype: str = "float64") -> tuple[HostArray, HostArray]:
    """y around 0, and targets in [0, 1]."""
    rng = np.random.default_rng(0)
    return rng.standard_normal(shape).astype(dtype), rng.random(shape).astype(dtype)


def parts_of(part: str, shape: tuple[int, ...]) -> dict[str, HostArray]:
    """The mask and the weight for a test."""
    rng = np.random.default_rng(1)
    short = shape[:-1] if part.startswith("short") else shape
    arrays = {"mask": rng.random(short) < 0.6, "weight": rng.random(short) * 3}
    return {name: array for name, array in arrays.items() if name in part or part == "both"}


def shares(parts: dict[str, HostArray], shape: tuple[int, ...]) -> HostArray:
    w = np.ones(shape)
    for part in parts.values():
        w = w * (part if part.shape == shape else part[..., None])
    return w / w.sum()


def moved(backend: Backend, arrays: dict[str, HostArray]) -> dict[str, Array]:
    return {name: backend.asarray(array) for name, array in arrays.items()}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_losses_of_elements(backend: Backend, name: str, part: str, dtype: str) -> None:
    y, target = elements(dtype=dtype)
    parts = parts_of(part, SHAPE)
    loss, dy = ELEMENTWISE[name](backend.asarray(y), backend.asarray(target), **moved(backend, parts))
    assert backend.owns(loss)
    assert (loss.shape, dy.shape) == ((), SHAPE)
    assert loss.dtype == dy.dtype == dtype
    expected = (formula(name, y.astype("float64"), target.astype("float64")) * shares(parts, SHAPE)).sum()
    assert_allclose(float(loss), expected, rtol=1e-5 if dtype == "float32" else 1e-13)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_the_loss_of_one_number(backend: Backend, name: str) -> None:
    y, target = map(np.asarray, elements(()))
    loss, dy = ELEMENTWISE[name](backend.asarray(y), backend.asarray(target))
    assert_allclose(float(loss), formula(name, y, target), rtol=1e-14)
    assert dy.shape == ()


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_losses_of_elements_match_differences(backend: Backend, name: str) -> None:
    y, target = map(backend.asarray, elements())
    for part in PARTS:
        loss = functools.partial(ELEMENTWISE[name], **moved(backend, parts_of(part, SHAPE)))
        xrnn.gradcheck(lambda y, of=loss: of(y, target)[0], lambda u, of=loss: [u * of(y, target)[1]], [y])  # type: ignore[misc]


def drawn(name: str, leading: tuple[int, ...] = (6, 4)) -> tuple[Loss, HostArray, HostArray]:
    """A loss, and y and target for it."""
    y, target = problem(leading)[:2] if name == "softmax" else elements((*leading, 2))
    return softmax_cross_entropy if name == "softmax" else ELEMENTWISE[name], y, target


ALL = [*ELEMENTWISE, "softmax"]


@pytest.mark.parametrize(
    ("name", "part"), [*itertools.product(ELEMENTWISE, ["mask", "short mask", "both"]), ("softmax", "short mask")]
)
def test_a_masked_element_may_hold_anything(backend: Backend, name: str, part: str) -> None:
    loss, y, target = drawn(name)
    parts = parts_of(part, y.shape)
    want, wanted = loss(y.copy(), target.copy(), **parts)
    out = ~parts["mask"] if parts["mask"].shape == target.shape else ~parts["mask"][..., None] | np.zeros(y.shape, bool)
    for value in (np.nan, np.inf, -np.inf):
        y[out], target[out] = value, -100 if name == "softmax" else value
        arrays = [backend.asarray(a.copy()) for a in (y, target)]
        found, dy = loss(*arrays, **moved(backend, parts))
        assert_allclose(float(found), float(want), rtol=1e-14)
        assert_allclose(backend.to_numpy(dy), wanted, rtol=0, atol=1e-14)
        for array, before in zip(arrays, (y, target), strict=True):
            assert_array_equal(backend.to_numpy(array), before)


@pytest.mark.parametrize(("name", "value"), [*itertools.product(ALL, [np.nan]), ("softmax", np.inf)])
def test_nan_of_an_element_gives_nan(backend: Backend, name: str, value: float) -> None:
    loss, y, target = drawn(name, (5,))
    y[2, 1] = value
    for mask in ({}, {"mask": np.ones(5, bool)}):
        with np.errstate(invalid="ignore"):
            found, dy = loss(backend.asarray(y), backend.asarray(target), **moved(backend, mask))
        assert np.isnan(float(found))
        nan = np.isnan(y) if name != "softmax" else ~np.isfinite(y).all(axis=1, keepdims=True) | np.zeros(y.shape, bool)
        assert_array_equal(np.isnan(backend.to_numpy(dy)), nan)


FACTORS = [(1e-50, "float64"), (1e-320, "float64"), (1e-45, "float32"), (1e38, "float32"), (5e307, "float64")]


@pytest.mark.parametrize(("factor", "dtype"), FACTORS)
def test_only_the_ratios_of_weights_matter(backend: Backend, form: str, factor: float, dtype: str) -> None:
    """The weights may be smaller or larger than the dtype of y can hold, and so may their sum."""
    y, target = (backend.asarray(a.astype("float32")) for a in elements())
    logits, targets, positions = (backend.asarray(a) for a in problem((6, 4), "float32"))
    mask, weight, rows = np.ones(SHAPE, bool), np.tile([1.0, 3.0], 24).reshape(SHAPE), np.tile([1.0, 3.0], 12)
    mask[0] = False
    classes = np.array([1.0, 2, 3, 1, 2])
    cases: list[tuple[Loss, Any, dict[str, HostArray]]] = [
        *((loss, (y, target), {"weight": weight, "mask": mask}) for loss in ELEMENTWISE.values()),
        (softmax_cross_entropy, (logits, targets), {"weight": rows.reshape(6, 4)}),
        (softmax_cross_entropy, (logits, targets), {"class_weight": classes}),
        (softmax_cross_entropy, (logits, targets), {"weight": rows.reshape(6, 4), "class_weight": classes}),
    ]
    for loss, arguments, parts in cases:
        scaled = {name: a if name == "mask" else a.astype(dtype) * np.array(factor, dtype) for name, a in parts.items()}
        if "mask" in parts:
            scaled["weight"][0] = np.finfo(dtype).max  # a masked weight has no influence, however large
        masked = {} if "mask" in parts else {"mask": positions}
        want, wanted = loss(*arguments, **masked, **moved(backend, parts))
        found, gradient = loss(*arguments, **masked, **moved(backend, scaled))
        assert float(want) > 0
        assert_allclose(float(found), float(want), rtol=1e-6)
        assert_allclose(backend.to_numpy(gradient), backend.to_numpy(wanted), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_without_weight_the_loss_is_zero(backend: Backend, name: str) -> None:
    loss, y, target = drawn(name, (3,))
    y, target, xp = backend.asarray(y), backend.asarray(target), backend.xp
    results = [loss(y, target, mask=xp.zeros(3, "bool")), loss(y, target, weight=xp.zeros(3))]
    results += [  # no predictions, with and without classes
        loss(xp.zeros(shape), xp.zeros(shape[:-1] if name == "softmax" else shape, target.dtype))
        for shape in [(0, C), (0, 0), (0, 2, 0), (2, 0, 0)]
    ]
    for value, dy in results:
        assert float(value) == 0
        assert not backend.to_numpy(dy).any()


def test_binary_cross_entropy_of_large_scores(backend: Backend) -> None:
    z, t = np.array([1e4, -1e4, 1e4, -1e4], "float32"), np.array([1, 0, 0, 1], "float32")
    loss, dz = binary_cross_entropy(backend.asarray(z), backend.asarray(t))
    assert float(loss) == 5000
    assert_array_equal(backend.to_numpy(dz), np.array([0, 0, 1, -1]) / 4)


def test_quantile_without_an_error_has_no_slope(backend: Backend) -> None:
    y = backend.xp.ones(3)
    loss, dy = quantile(y, y.copy(), 0.3)
    assert float(loss) == 0
    assert not backend.to_numpy(dy).any()


def test_the_best_constant_is_the_quantile() -> None:
    target = np.random.default_rng(0).standard_normal(1001)
    losses = [float(quantile(np.full(1001, y), target, 0.8)[0]) for y in np.sort(target)]
    assert np.argmin(losses) == 800


def test_balanced_weights(backend: Backend) -> None:
    labels = np.array([[0, 0, 3], [0, 1, 0]])
    weights = balanced_weights(backend.asarray(labels))
    assert backend.owns(weights)
    assert weights.dtype == np.float32
    assert_allclose(backend.to_numpy(weights), [0.5, 2, 0, 2])
    assert_allclose(backend.to_numpy(balanced_weights(backend.asarray(labels), 6, dtype="float64"))[4:], 0)
    unsigned = backend.asarray(np.array([0, 1, 1], "uint8"))
    assert_allclose(backend.to_numpy(balanced_weights(unsigned)), [1.5, 0.75])
    refused(
        (TypeError, lambda: balanced_weights(backend.xp.zeros(3)), "labels has dtype float64", "expected integers"),
        (ValueError, lambda: balanced_weights(backend.xp.zeros(0, "int64")), "labels is empty: pass those of the"),
        (IndexError, lambda: balanced_weights(backend.asarray(labels), 3), "from 0 to 3: expected 0 to 2"),
    )


def test_arrays_that_do_not_fit(backend: Backend) -> None:
    xp = backend.xp
    logits, targets, y = xp.zeros((4, C)), xp.zeros(4, "int64"), xp.zeros((6, 4, 2))

    def softmax(logits: Any = logits, targets: Any = targets, **options: Any) -> Callable[[], object]:
        return lambda: softmax_cross_entropy(logits, targets, **options)

    def mse(target: Any = y, **options: Any) -> Callable[[], object]:
        return lambda: mean_squared_error(y, target, **options)

    shapes = [(), (5,), (4, 1), (4, C)]
    refused(
        (TypeError, softmax(logits.astype("float16")), "logits has dtype float16", "expected float32 or float64"),
        (ValueError, softmax(xp.zeros(())), "logits has shape ()", "expected (..., C)"),
        (ValueError, softmax(xp.zeros((2, 0))), "logits has shape (2, 0)"),
        (TypeError, softmax(targets=targets.astype("float64")), "targets has dtype float64"),
        (TypeError, softmax(mask=xp.ones(4)), "mask has dtype float64"),
        (ValueError, softmax(class_weight=xp.ones(3)), "class_weight has shape (3,)", "expected (5,)"),
        (ValueError, softmax(weight=xp.ones(2)), "weight has shape (2,)", "expected (4,)", "class_weight="),
        *((ValueError, softmax(targets=xp.zeros(s, "int64")), f"targets has shape {s}: expected (4,)") for s in shapes),
        *((ValueError, softmax(mask=xp.zeros(s, "bool")), f"mask has shape {s}: expected (4,)") for s in shapes),
        (ValueError, mse(mask=xp.ones(6, "bool")), "mask has shape (6,)"),
        (TypeError, mse(mask=xp.ones((6, 4))), "mask has dtype float64", "expected bool"),
        (ValueError, mse(weight=xp.ones((4, 6))), "weight has shape (4, 6)"),
        (TypeError, mse(weight=xp.ones((6, 4), "bool")), "weight has dtype bool", "expected numbers"),
        (ValueError, mse(xp.zeros((4, 6, 2))), "has shape (4, 6, 2)", "expected (6, 4, 2)", "time first"),
        (TypeError, mse(xp.zeros((6, 4, 2), "float32")), "target has dtype float32"),
        (TypeError, lambda: mean_squared_error(xp.zeros(3, "int64"), xp.zeros(3, "int64")), "y has dtype int64"),
    )


def test_losses_of_two_devices() -> None:
    y, targets = standin.zeros((4, C)), standin.zeros(4, "int64")
    with standin.cuda.Device(1):
        far = standin.zeros((4, C)), standin.zeros(4, "int64"), standin.ones(4, "bool")
    refused(
        (ValueError, lambda: mean_squared_error(y, far[0]), "target is on device <CUDA Device 1>"),
        (ValueError, lambda: softmax_cross_entropy(y, far[1]), "targets is on device <CUDA Device 1>"),
        (ValueError, lambda: softmax_cross_entropy(y, targets, mask=far[2]), "mask is on device <CUDA Device 1>"),
    )


def test_values_that_are_checked_on_numpy() -> None:
    y, logits = np.zeros((2, 3)), np.zeros((4, C))

    def softmax(target: int = 0, **options: Any) -> Callable[[], object]:
        return lambda: softmax_cross_entropy(logits, np.array([0, target, 1, 1]), **options)

    def of(loss: Loss, target: Any = 0, **options: Any) -> Callable[[], object]:
        return lambda: loss(y, np.full((2, 3), float(target)), **options)

    bad, finite, outside = (-1, np.nan, np.inf), "expected finite numbers from 0", "targets holds values from"
    refused(
        *((IndexError, softmax(t), outside, str(t), "expected 0 to 4", "mask=") for t in (-1, C)),
        *((ValueError, softmax(class_weight=np.full(C, w)), "class_weight holds values from", finite) for w in bad),
        *((ValueError, of(mean_squared_error, weight=np.full((2, 3), w)), "weight holds", finite) for w in bad),
        *((ValueError, of(binary_cross_entropy, t), "expected numbers in [0, 1]") for t in (-0.1, 1.1, np.nan)),
        *((ValueError, of(huber, delta=d), f"delta is {d}: expected a positive") for d in (0.0, -1.0, np.inf)),
        *((ValueError, of(quantile, q=q), f"q is {q}", "expected a number in (0, 1)") for q in (0.0, 1.0, -0.5)),
        # The mask of other losses may be positional.
        (TypeError, lambda: quantile(y, y, y > 0), "q is a numpy.ndarray: expected a number in (0, 1)"),  # type: ignore[arg-type]
    )
