"""Losses. Each returns (loss, gradient), averaged over the batch; the loss is a 0-d array, left on its device."""

from __future__ import annotations

import math
from typing import Any

from xrnn.backend import Backend
from xrnn.checks import check_float, check_index, check_place, check_range, dtype_of
from xrnn.typing import Array


def softmax_cross_entropy(logits: Array, targets: Array, mask: Array | None = None) -> tuple[Array, Array]:
    """loss = -mean log softmax(logits)[target];  dlogits = (softmax(logits) - onehot(target)) / count.

    logits (..., C) float32 or float64, targets (...) integers in [0, C), mask (...) bool: the positions that
    count, None for all → loss, 0-d, in nats; dlogits (..., C), zero where the mask is False. Logits and targets
    may hold anything there. With nothing to average the loss is 0.

    Raises TypeError for other dtypes or mixed backends, ValueError for shapes that don't fit or mixed devices,
    IndexError for a target outside where reading is free.
    """
    backend = check_float("logits", logits)
    if not logits.ndim or (logits.shape[-1] == 0 and math.prod(logits.shape[:-1])):
        raise ValueError(f"logits has shape {logits.shape}: expected (..., C), a row of C scores for each prediction")
    check_index("targets", targets, backend, logits.device, "logits")
    _check_shape("targets", targets, logits.shape[:-1])
    if mask is not None:
        check_place("mask", mask, backend, logits.device, "logits")
        if mask.dtype != bool:
            raise TypeError(f"mask has dtype {mask.dtype}: expected bool; use mask.astype('bool')")
        _check_shape("mask", mask, targets.shape)
    with backend.device_of(logits):
        if mask is not None:
            logits = backend.xp.where(mask[..., None], logits, 0)
            targets = backend.xp.where(mask, targets, 0)
        check_range("targets", targets, logits.shape[-1], backend)
        return _mean_cross_entropy(backend, logits, targets, mask)


def _mean_cross_entropy(backend: Backend, logits: Array, targets: Array, mask: Array | None) -> tuple[Array, Array]:
    xp = backend.xp
    if not logits.size:
        return xp.zeros((), logits.dtype), xp.zeros_like(logits)
    rows, C = math.prod(logits.shape[:-1]), logits.shape[-1]
    if mask is None:
        weight = xp.full(rows, 1 / rows, logits.dtype)
    else:
        weight = mask.reshape(rows).astype(logits.dtype)
        weight /= xp.maximum(weight.sum(), 1)
    loss, dlogits = backend.cross_entropy(logits.reshape(rows, C), targets.reshape(rows), weight)
    return loss, dlogits.reshape(logits.shape)


def mean_squared_error(y: Array, target: Array) -> tuple[Array, Array]:
    """loss = mean (y - target)²;  dy = 2 (y - target) / size, the mean over every element.

    y and target of one shape and dtype, float32 or float64 → loss, 0-d; dy in the shape of y. With nothing to
    average the loss is 0.

    Raises TypeError for other dtypes or mixed backends, ValueError for shapes that don't fit or mixed devices.
    """
    backend = check_float("y", y)
    check_place("target", target, backend, y.device, "y")
    if target.dtype != y.dtype:
        raise TypeError(f"target has {dtype_of(target)}, but y has {dtype_of(y)}: use target.astype({y.dtype.name!r})")
    _check_shape("target", target, y.shape)
    xp, size = backend.xp, max(y.size, 1)
    with backend.device_of(y):
        difference = xp.asarray(y - target)
        loss = xp.asarray((difference * difference).sum() / size)
        difference *= 2 / size
    return loss, difference


def _check_shape(name: str, array: Any, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}: expected {shape}, one for each prediction")
