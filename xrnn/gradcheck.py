"""Checking a backward pass against its forward, along random directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from xrnn.ops.rnn import Array
from xrnn.select import backend_of


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
    """Compare ⟨u, (f(a + εv) - f(a - εv)) / 2ε⟩ with ⟨v, da⟩ for every argument a, u and v random.

    forward(*args) → y. backward(u), called once right after it, → the gradients of ⟨u, y⟩, one an argument, in
    their order. Two evaluations an argument, however large it is   (as in autograd's check_vjp). Use float64.

    Raises GradientMismatchError with both numbers, TypeError for float32 arguments.
    """
    names = names or [f"argument {i}" for i in range(len(args))]
    for name, arg in zip(names, args, strict=True):
        if arg.dtype != np.float64:
            raise TypeError(
                f"{name} has dtype {arg.dtype}: differences of ε = {eps} need float64; use {name}.astype('float64')"
            )
    rng = np.random.default_rng(rng)
    y = forward(*args)
    backend = backend_of(y, "the result of forward")
    u = backend.asarray(rng.standard_normal(y.shape))
    gradients = [g.copy() for g in backward(u)]
    for i, (name, arg, gradient) in enumerate(zip(names, args, gradients, strict=True)):
        if gradient.shape != arg.shape:
            raise GradientMismatchError(f"the gradient of {name} has shape {gradient.shape}: expected {arg.shape}")
        v = backend.asarray(rng.standard_normal(arg.shape))
        ahead = (u * forward(*args[:i], arg + eps * v, *args[i + 1 :])).sum()
        behind = (u * forward(*args[:i], arg - eps * v, *args[i + 1 :])).sum()
        numeric = float((ahead - behind) / (2 * eps))
        analytic = float((v * gradient).sum())
        # The difference loses digits to cancellation in the sums: hence the second tolerance.
        tolerance = rtol * max(abs(numeric), abs(analytic)) + 1e-9 * max(1.0, abs(float(ahead)) / eps * 1e-6)
        if not abs(numeric - analytic) <= tolerance:
            raise GradientMismatchError(
                f"the gradient of {name} along a random direction is {analytic:.12g} by backward, "
                f"{numeric:.12g} by differences of forward"
            )
