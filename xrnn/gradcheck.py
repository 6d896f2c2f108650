"""Checks a backward pass against finite differences of its forward, along random directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from xrnn.arrays.select import backend_of
from xrnn.messages import cast_hint
from xrnn.typing import Array


class GradientMismatchError(AssertionError):
    """A backward pass disagrees with finite differences of its forward."""


def gradcheck(
    forward: Callable[..., Array],
    backward: Callable[[Array], Sequence[Array]],
    args: Sequence[Array],
    *,
    names: Sequence[str] | None = None,
    rng: np.random.Generator | int | None = 0,
    eps: float = 1e-6,
    rtol: float = 1e-6,
) -> None:
    """Compare ⟨u, f(a + εv) - f(a - εv)⟩ / 2ε with ⟨v, da⟩ for every argument a, with u and v random.

    forward    forward(*args) → y
    backward   backward(u) → the gradients of ⟨u, y⟩, one for each argument; called once, right after a forward
    args       float64 arrays of one backend; neither function may change them
    names      of the arguments, for errors

    Each argument costs two evaluations of `forward`, whatever its size, as in autograd's check_vjp.

    Raises GradientMismatchError with both numbers, and also if a gradient is missing, None or of another shape;
    TypeError for arguments that are not float64; ValueError if the numbers of names and arguments differ.

    >>> x = np.linspace(-1, 1, 5)
    >>> gradcheck(np.tanh, lambda u: [u * (1 - np.tanh(x) ** 2)], [x])  # no error: the gradient is right
    """
    names = names or [f"argument {i}" for i in range(len(args))]
    if len(names) != len(args):
        raise ValueError(f"got {len(names)} names for {len(args)} arguments: expected a name for each, or no names")
    for name, arg in zip(names, args, strict=True):
        backend = backend_of(arg, name)
        if arg.dtype != np.float64:
            raise TypeError(
                f"{name} has dtype {arg.dtype}: differences of ε = {eps} need float64; "
                f"{cast_hint(name, arg, 'float64')}"
            )
    rng = np.random.default_rng(rng)
    y = forward(*args)
    u = backend.asarray(rng.standard_normal(y.shape))
    gradients = [None if gradient is None else gradient.copy() for gradient in backward(u)]
    if len(gradients) != len(args):
        raise GradientMismatchError(f"backward returned {len(gradients)} gradients for {len(args)} arguments")
    # The division by 2ε amplifies the rounding errors of f.
    noise = 10 * np.finfo(np.float64).eps * float(backend.xp.abs(u * y).sum()) / eps
    for i, (name, arg, gradient) in enumerate(zip(names, args, gradients, strict=True)):
        if gradient is None:
            raise GradientMismatchError(
                f"the gradient of {name} is None: expected an array of shape {arg.shape}; compute it, or leave {name} "
                "out of args"
            )
        if gradient.shape != arg.shape:
            raise GradientMismatchError(f"the gradient of {name} has shape {gradient.shape}: expected {arg.shape}")
        v = backend.asarray(rng.standard_normal(arg.shape))
        ahead = forward(*args[:i], arg + eps * v, *args[i + 1 :])
        behind = forward(*args[:i], arg - eps * v, *args[i + 1 :])
        numeric = float((u * (ahead - behind)).sum() / (2 * eps))
        analytic = float((v * gradient).sum())
        if not abs(numeric - analytic) <= rtol * max(abs(numeric), abs(analytic)) + noise:
            raise GradientMismatchError(
                f"the gradient of {name} along a random direction is {analytic:.12g} by backward, "
                f"but {numeric:.12g} by differences of forward"
            )
