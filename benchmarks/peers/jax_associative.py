"""jax.lax.associative_scan under jit, for the cells whose states follow a linear recurrence; gradients by vjp.

With h[t] = a[t] · h[t-1] + v[t], two neighbouring steps (a, v), (a', v') together are the step (a' · a, a' · v + v').
The scan combines the steps in about 2·log₂ T rounds (Blelloch, 1990), each of them one operation on long arrays. The
usual code for these cells in JAX does this (Smith et al., 2023; Orvieto et al., 2023). The factors a are at most 1 in
modulus, so that their products need no logarithms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp

from benchmarks.cases import Problem
from benchmarks.peers import Built
from benchmarks.peers.jax_scan import about, calls

__all__ = ["about", "build"]

Steps = tuple[jax.Array, jax.Array]  # a and v (T, N, H) of h[t] = a[t] · h[t-1] + v[t]


def min_gru(z: jax.Array) -> Steps:
    """z (T, N, 2H)."""
    z_u, y = jnp.split(z, 2, axis=-1)
    return jax.nn.sigmoid(-z_u), jax.nn.sigmoid(z_u) * y


def min_lstm(z: jax.Array) -> Steps:
    """z (T, N, 3H)."""
    z_f, z_i, y = jnp.split(z, 3, axis=-1)
    f, i = jax.nn.sigmoid(z_f), jax.nn.sigmoid(z_i)
    return f / (f + i), i / (f + i) * y


def lru(z: jax.Array, nu: jax.Array, theta: jax.Array, gamma: jax.Array) -> Steps:
    """z (T, N, 2H), real parts first → complex (T, N, H)."""
    v = jnp.exp(gamma) * _to_complex(z)
    return jnp.broadcast_to(jnp.exp(-jnp.exp(nu) + 1j * jnp.exp(theta)), v.shape), v


_CELLS: Final[dict[str, Callable[..., Steps]]] = {"min-gru": min_gru, "min-lstm": min_lstm, "lru": lru}


def scan(a: jax.Array, v: jax.Array, h: jax.Array) -> jax.Array:
    """h[t] = a[t] · h[t-1] + v[t], with the initial h (N, H) → (T, N, H)."""

    def both(first: Steps, second: Steps) -> Steps:
        return second[0] * first[0], second[0] * first[1] + second[1]

    return jax.lax.associative_scan(both, (a, v.at[0].add(a[0] * h)))[1]


def _to_complex(a: jax.Array) -> jax.Array:
    return jax.lax.complex(*jnp.split(a, 2, axis=-1))


def build(problem: Problem, threads: int) -> Built:
    if problem.case.ragged or problem.case.cell not in _CELLS:
        return Built({})
    steps = _CELLS[problem.case.cell]

    def forward(x: jax.Array, states: tuple[jax.Array], Wx: jax.Array, Wh: jax.Array, b: jax.Array, *own: Any) -> Any:
        a, v = steps(x @ Wx + b, *own)
        if not jnp.iscomplexobj(v):
            return scan(a, v, states[0])
        s = scan(a, v, _to_complex(states[0]))
        return jnp.concatenate((s.real, s.imag), axis=-1)

    return Built(calls(problem, forward))
