"""Losses. Each returns (loss, gradient): the mean over the elements, 0-d, and its gradient for the first argument.

All losses take a mask and weights. The loss is then Σ wᵢ lᵢ / Σ wᵢ, with wᵢ the weight, 0 if the mask is False.

    mask     bool: the elements that count. The other elements may hold any values, NaN included.
    weight   numbers of at least 0

Both have the target's shape, or that shape without its last axis. If all wᵢ are 0, the loss is 0. Only the ratios of
the weights matter: they may be as small or as large as their dtype allows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np

from xrnn.arrays.select import backend_of
from xrnn.backend import Backend
from xrnn.checks import check_float, check_index, check_integer, check_number, check_place, check_range, dtype_of
from xrnn.init import as_dtype
from xrnn.messages import cast_hint
from xrnn.typing import Array, DType

_ONE_EACH: Final = "one for each prediction"

Shape: TypeAlias = tuple[int, ...]
# (xp, y, target) → the loss of each element, and its derivative in a new array
ElementLoss: TypeAlias = Callable[[Any, Array, Array], tuple[Array, Array]]


def softmax_cross_entropy(
    logits: Array,
    targets: Array,
    *,
    mask: Array | None = None,
    weight: Array | None = None,
    class_weight: Array | None = None,
) -> tuple[Array, Array]:
    """loss = -mean log softmax(logits)[target];  dlogits = (softmax(logits) - onehot(target)) / count.

    logits         (..., C), float32 or float64
    targets        (...), integers in [0, C)
    mask, weight   (...), as in all losses; a masked target may be any integer
    class_weight   (C,): the weight of each class, such as `balanced_weights(labels)`

    → loss, 0-d, in nats; dlogits (..., C), zero if the mask is False.

    Raises TypeError for other dtypes or mixed backends, ValueError for other shapes, mixed devices or negative weights,
    IndexError for a target outside [0, C). On a GPU, values are not checked.

    >>> logits = np.zeros((5, 3))
    >>> loss, dlogits = softmax_cross_entropy(logits, np.array([0, 2, 1, 1, 0]))
    >>> round(float(loss), 3), dlogits.shape  # log 3
    (1.099, (5, 3))
    """
    backend = check_float("logits", logits)
    if not logits.ndim or (logits.shape[-1] == 0 and math.prod(logits.shape[:-1])):
        raise ValueError(f"logits has shape {logits.shape}: expected (..., C), a row of C scores for each prediction")
    check_index("targets", targets, backend, logits.device, "logits")
    shape, C = logits.shape[:-1], logits.shape[-1]
    _check_shape("targets", targets, shape)
    xp = backend.xp
    with backend.device_of(logits):
        hint = "one for each prediction; use class_weight= for one for each class"
        w = _combined(backend, logits, "logits", (shape,), mask, weight, hint)
        if mask is not None:
            logits, targets = xp.where(mask[..., None], logits, 0), xp.where(mask, targets, 0)
        check_range("targets", targets, C, backend, "leave out targets with mask=")
        if class_weight is not None:
            _check_weight("class_weight", class_weight, backend, logits, "logits", ((C,),), "one for each class")
            of_target = class_weight.astype("float64")[targets]
            w = of_target if w is None else _scaled(xp, w) * _scaled(xp, of_target)
        if not logits.size:
            return xp.zeros((), logits.dtype), xp.zeros_like(logits)
        rows = math.prod(shape)
        share = xp.full(rows, 1 / rows, logits.dtype) if w is None else _normalized(xp, w, logits.dtype).reshape(rows)
        loss, dlogits = backend.cross_entropy(logits.reshape(rows, C), targets.reshape(rows), share)
    return loss, dlogits.reshape(logits.shape)


def mean_squared_error(
    y: Array, target: Array, *, mask: Array | None = None, weight: Array | None = None
) -> tuple[Array, Array]:
    """loss = mean (y - target)²;  dy = 2 (y - target) / size, the mean over every element.

    y, target      (...), one shape and dtype, float32 or float64
    mask, weight   of the target's shape, or of that without its last axis, as in all losses

    → loss, 0-d; dy in the shape of y.

    Raises TypeError for other dtypes or mixed backends, ValueError for other shapes, mixed devices or negative weights.

    >>> loss, dy = mean_squared_error(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    >>> float(loss), dy.tolist()
    (2.0, [0.0, -2.0])
    """
    return _mean(_squared, "y", y, "target", target, mask, weight)


def binary_cross_entropy(
    logits: Array, targets: Array, *, mask: Array | None = None, weight: Array | None = None
) -> tuple[Array, Array]:
    """loss = -mean (t log σ(z) + (1 - t) log(1 - σ(z)));  dz = (σ(z) - t) / size, with logits z and targets t.

    logits         (...), float32 or float64: scores before the sigmoid σ
    targets        (...), numbers in [0, 1] of the same dtype
    mask, weight   of the target's shape, or of that without its last axis, as in all losses

    → loss, 0-d, in nats; dlogits in the shape of logits. Computed as max(z, 0) - t z + log(1 + exp(-abs(z))), so that
    no exponential overflows.

    Raises as `mean_squared_error`, and ValueError for a target outside [0, 1]. On a GPU, values are not checked.

    >>> loss, dlogits = binary_cross_entropy(np.array([0.0, 0.0]), np.array([0.0, 1.0]))
    >>> round(float(loss), 3), dlogits.tolist()  # log 2
    (0.693, [0.25, -0.25])
    """
    return _mean(_binary, "logits", logits, "targets", targets, mask, weight)


def huber(
    y: Array, target: Array, *, delta: float = 1.0, mask: Array | None = None, weight: Array | None = None
) -> tuple[Array, Array]:
    """loss = mean e² / 2 if |e| ≤ δ, else δ (|e| - δ / 2);  dy = clip(e, -δ, δ) / size,  e = y - target.

    Huber (1964). Arguments and errors as for `mean_squared_error`, and a positive `delta`.

    >>> loss, dy = huber(np.array([0.0, 3.0]), np.array([0.0, 0.0]), delta=1.0)
    >>> float(loss), dy.tolist()
    (1.25, [0.0, 0.5])
    """
    check_number("delta", delta, "a positive, finite number", lambda delta: 0 < delta < math.inf)
    limit = float(delta)

    def loss(xp: Any, y: Array, target: Array) -> tuple[Array, Array]:
        error = xp.asarray(y - target)
        clipped = xp.clip(error, -limit, limit)
        return clipped * (error - clipped / 2), clipped

    return _mean(loss, "y", y, "target", target, mask, weight)


def quantile(
    y: Array, target: Array, q: float = 0.5, *, mask: Array | None = None, weight: Array | None = None
) -> tuple[Array, Array]:
    """loss = mean max(q e, (q - 1) e);  dy = -q / size if e > 0, (1 - q) / size if e < 0,  e = target - y.

    The pinball loss, whose minimum is the quantile q of the target   (Koenker & Bassett, 1978). Arguments and errors as
    for `mean_squared_error`, and q in (0, 1). For several quantiles, call it once for each, on its own column of y.

    >>> loss, dy = quantile(np.array([0.0, 0.0]), np.array([1.0, -1.0]), q=0.9)
    >>> float(loss), dy.round(3).tolist()
    (0.5, [-0.45, 0.05])
    """
    check_number("q", q, "a number in (0, 1)", lambda q: 0 < q < 1)
    level = float(q)

    def loss(xp: Any, y: Array, target: Array) -> tuple[Array, Array]:
        error = xp.asarray(target - y)
        # If the error is 0, so is the slope; if it is NaN, so is the slope.
        slope = xp.where(error > 0, -level, xp.where(error < 0, 1 - level, 0 * error)).astype(y.dtype)
        return xp.maximum(level * error, (level - 1) * error), slope

    return _mean(loss, "y", y, "target", target, mask, weight)


def balanced_weights(labels: Array, classes: int | None = None, *, dtype: DType = "float32") -> Array:
    """Weights with which all classes count equally in a loss: count / (K · count of the class).

    labels    integers from 0, of any shape, on any backend
    classes   the number of classes C; None for the largest label + 1

    → (C,), 0 for a class without a label; K is the number of classes with labels. For `class_weight` of
    `softmax_cross_entropy`   (King & Zeng, 2001; scikit-learn's "balanced"). It copies the labels to the host, so it
    waits for a GPU.

    Raises TypeError for anything but integers, ValueError without a label, IndexError for a label outside [0, C).

    >>> balanced_weights(np.array([0, 0, 1, 1, 1, 1]), dtype="float64").tolist()
    [1.5, 0.75]
    """
    backend = backend_of(labels, "labels")
    check_index("labels", labels, backend, labels.device, "labels")
    on_host = backend.to_numpy(labels).astype("int64").ravel()
    if not on_host.size:
        raise ValueError("labels is empty: pass those of the training data")
    C = int(on_host.max()) + 1 if classes is None else check_integer("classes", classes, least=1)
    if not 0 <= on_host.min() <= on_host.max() < C:
        raise IndexError(f"labels holds values from {on_host.min()} to {on_host.max()}: expected 0 to {C - 1}")
    counts = np.bincount(on_host, minlength=C)
    present = counts > 0
    weights = np.where(present, on_host.size / (present.sum() * np.maximum(counts, 1)), 0)
    with backend.device_of(labels):
        return backend.asarray(weights, as_dtype(dtype))


# ---- the loss of each element ----


def _squared(xp: Any, y: Array, target: Array) -> tuple[Array, Array]:
    error = xp.asarray(y - target)
    losses = error * error
    error *= 2
    return losses, error


def _binary(xp: Any, z: Array, t: Array) -> tuple[Array, Array]:
    if backend_of(t).reads_are_free and t.size and not ((t >= 0) & (t <= 1)).all():
        raise ValueError(f"targets holds values from {t.min()} to {t.max()}: expected numbers in [0, 1]")
    small = xp.exp(-abs(z))
    sigmoid = xp.where(z >= 0, 1, small) / (1 + small)
    return xp.maximum(z, 0) - t * z + xp.log1p(small), xp.asarray(sigmoid - t)


# ---- the mean ----


def _mean(
    loss_of: ElementLoss,
    y_name: str,
    y: Array,
    target_name: str,
    target: Array,
    mask: Array | None,
    weight: Array | None,
) -> tuple[Array, Array]:
    """The weighted mean of an element-wise loss, and its gradient."""
    backend = check_float(y_name, y)
    check_place(target_name, target, backend, y.device, y_name)
    if target.dtype != y.dtype:
        raise TypeError(
            f"{target_name} has {dtype_of(target)}, but {y_name} has {dtype_of(y)}: "
            f"{cast_hint(target_name, target, y.dtype.name)}"
        )
    _check_shape(target_name, target, y.shape)
    xp = backend.xp
    with backend.device_of(y):
        w = _combined(backend, y, y_name, (y.shape, y.shape[:-1]), mask, weight)
        if mask is not None:
            counts = _expanded(mask, y.shape)
            y, target = xp.where(counts, y, 0), xp.where(counts, target, 0)
        losses, dy = loss_of(xp, y, target)
        dy = xp.asarray(dy)
        if w is None:
            size = max(y.size, 1)
            loss = losses.sum() / size
            dy *= 1 / size
        else:
            share = _normalized(xp, xp.broadcast_to(w, y.shape), y.dtype)
            loss = (losses * share).sum()
            dy *= share
        return xp.asarray(loss), dy


def _combined(
    backend: Backend,
    y: Array,
    beside: str,
    shapes: tuple[Shape, ...],
    mask: Array | None,
    weight: Array | None,
    hint: str = _ONE_EACH,
) -> Array | None:
    """mask · weight in float64, or the mask in the dtype of y; None if both are None.

    Raises TypeError, ValueError for unsuitable arrays.
    """
    w = None
    if mask is not None:
        check_place("mask", mask, backend, y.device, beside)
        if mask.dtype != bool:
            raise TypeError(f"mask has dtype {mask.dtype}: expected bool; use mask.astype('bool')")
        _check_shape("mask", mask, *shapes)
        w = _expanded(mask, shapes[0]).astype(y.dtype)
    if weight is not None:
        _check_weight("weight", weight, backend, y, beside, shapes, hint)
        given = _expanded(weight, shapes[0]).astype("float64")
        w = given if w is None else backend.xp.where(w > 0, given, 0)
    return w


def _expanded(array: Array, shape: Shape) -> Array:
    """`array`, with a last axis of size 1 if it lacks the last axis of `shape`."""
    return array if array.shape == shape else array[..., None]


def _normalized(xp: Any, w: Array, dtype: Any) -> Array:
    """w / Σ w; zeros if all are 0."""
    w = _scaled(xp, w).astype(dtype)
    # After scaling, the largest weight is 1 or all are 0, so the divisor 1 is used only for zeros.
    return w / xp.maximum(w.sum(), 1).astype(dtype)


def _scaled(xp: Any, w: Array) -> Array:
    """w / max w, so that no sum or product overflows, and not all of w underflows; zeros if all are 0."""
    if not w.size:
        return w
    largest = w.max()
    return w / xp.where(largest > 0, largest, 1)


def _check_weight(
    name: str, weight: Any, backend: Backend, y: Array, beside: str, shapes: tuple[Shape, ...], hint: str
) -> None:
    check_place(name, weight, backend, y.device, beside)
    if weight.dtype.kind not in "fiu":
        raise TypeError(f"{name} has dtype {weight.dtype}: expected numbers; {cast_hint(name, weight, y.dtype.name)}")
    _check_shape(name, weight, *shapes, hint=hint)
    if backend.reads_are_free and not (np.isfinite(weight) & (weight >= 0)).all():
        raise ValueError(f"{name} holds values from {weight.min()} to {weight.max()}: expected finite numbers from 0")


def _check_shape(name: str, array: Any, *shapes: Shape, hint: str = _ONE_EACH) -> None:
    """Raises ValueError unless `array` has one of the shapes."""
    if array.shape in shapes:
        return
    expected = " or ".join(map(str, dict.fromkeys(shapes)))
    if any(len(s) > 1 and array.shape == (s[1], s[0], *s[2:]) for s in shapes):
        hint = f"time first, as the layers' results; use {name}.swapaxes(0, 1), and check that x is (T, N, D) as well"
    raise ValueError(f"{name} has shape {array.shape}: expected {expected}, {hint}")
