"""Losses. Each returns (loss, gradient), averaged over the batch; the loss stays on the device, 0-dimensional."""

from __future__ import annotations

from typing import Any

from xrnn.layers.embedding import check_index
from xrnn.ops.rnn import Array
from xrnn.select import backend_of


def softmax_cross_entropy(logits: Array, targets: Array, mask: Array | None = None) -> tuple[Array, Array]:
    """loss = -mean log softmax(logits)[target];  dlogits = (softmax(logits) - onehot(target)) / count.

    logits (..., C) float32 or float64, targets (...) integers in [0, C), mask (...) bool, None for all True: the
    positions that count → loss, 0-d, in nats; dlogits (..., C), zero where the mask is False.

    Raises TypeError for other dtypes or mixed backends, ValueError for shapes that don't fit, IndexError for a
    target outside where reading is free. With nothing to average over the loss is 0.
    """
    backend = backend_of(logits, "logits")
    xp = backend.xp
    _check_float("logits", logits)
    if not logits.ndim:
        raise ValueError("logits is 0-dimensional: expected (..., C), one row of C scores a prediction")
    check_index(backend, "targets", targets, logits.shape[-1])
    _check_shape("targets", targets, logits.shape[:-1])
    if mask is not None:
        if not backend.owns(mask) or mask.dtype != bool:
            raise TypeError(f"mask is {getattr(mask, 'dtype', type(mask))}: expected a bool array beside logits")
        _check_shape("mask", mask, targets.shape)

    rows = logits.reshape(targets.size, logits.shape[-1])
    flat_targets = targets.reshape(targets.size)
    if not rows.size:
        return xp.zeros((), logits.dtype), xp.zeros_like(logits)
    picked = xp.arange(len(rows)), flat_targets
    z = rows - rows.max(axis=-1, keepdims=True)  # so that no exponential overflows
    p = xp.exp(z)
    total = p.sum(axis=-1, keepdims=True)
    losses = xp.log(total[:, 0]) - z[picked]
    p /= total
    p[picked] -= 1
    if mask is None:
        weights = xp.full(len(rows), 1 / len(rows), rows.dtype)
    else:
        kept = mask.reshape(len(rows)).astype(rows.dtype)
        weights = kept / xp.maximum(kept.sum(), 1)
        losses = xp.where(kept > 0, losses, 0)  # a masked row may hold anything, infinities too
        p = xp.where(kept[:, None] > 0, p, 0)
    p *= weights[:, None]
    return (losses * weights).sum(), p.reshape(logits.shape)


def mean_squared_error(y: Array, target: Array) -> tuple[Array, Array]:
    """loss = mean (y - target)²;  dy = 2 (y - target) / size, the mean over every element.

    y and target of one shape and dtype, float32 or float64 → loss, 0-d; dy in the shape of y.
    Raises TypeError and ValueError where they don't fit.
    """
    backend = backend_of(y, "y")
    _check_float("y", y)
    if not backend.owns(target) or target.dtype != y.dtype:
        raise TypeError(
            f"target is {getattr(target, 'dtype', type(target))}: expected a {y.dtype} array beside y; "
            f"use xrnn.asarray(target, {str(y.dtype)!r}, backend={backend.name!r})"
        )
    _check_shape("target", target, y.shape)
    difference = y - target
    size = max(difference.size, 1)
    loss = (difference * difference).sum() / size
    difference *= 2 / size
    return loss, difference


def _check_float(name: str, array: Any) -> None:
    if array.dtype.name not in ("float32", "float64"):
        raise TypeError(f"{name} has dtype {array.dtype}: expected float32 or float64; use {name}.astype('float32')")


def _check_shape(name: str, array: Any, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}: expected {shape}, one for each prediction")
