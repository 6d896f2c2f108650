"""Softmax cross-entropy and its gradient."""

from __future__ import annotations

from typing import Any

from xrnn.typing import Array


def cross_entropy(xp: Any, logits: Array, targets: Array, weight: Array) -> tuple[Array, Array]:
    """loss = -Σ weight · log p[target];  dlogits = (p - onehot(target)) · weight,  p = softmax(logits).

    logits (M, C), C > 0, targets (M,) in [0, C), weight (M,) → loss, 0-d; dlogits (M, C).
    """
    picked = xp.arange(len(targets)), targets
    z = logits - logits.max(axis=-1, keepdims=True)  # so that no exponential overflows
    z_target = z[picked]
    p = xp.exp(z, out=z)
    total = p.sum(axis=-1)
    loss = xp.asarray(((xp.log(total) - z_target) * weight).sum())
    p *= (weight / total)[:, None]
    p[picked] -= weight
    return loss, p
