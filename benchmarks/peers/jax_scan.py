"""jax.lax.scan under jit, the input's projection before it; gradients by vjp, in one jitted call with the forward."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from benchmarks.cases import Problem
from benchmarks.peers import Built, Call


def about() -> dict[str, str]:
    return {"jax": jax.__version__, "device": str(jax.devices()[0])}


def build(problem: Problem, threads: int, unroll: int) -> Built:
    # `threads` came through the environment and the affinity: XLA sizes its pool when it starts.
    def cell(x: jax.Array, h: jax.Array, Wx: jax.Array, Wh: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.tanh(x @ Wx + h @ Wh + b)

    def forward(x: jax.Array, h_prev: jax.Array, Wx: jax.Array, Wh: jax.Array, b: jax.Array) -> jax.Array:
        def step(h: jax.Array, xw: jax.Array) -> tuple[jax.Array, jax.Array]:
            h = jnp.tanh(xw + h @ Wh)
            return h, h

        h: jax.Array = jax.lax.scan(step, h_prev, x @ Wx + b, unroll=unroll)[1]
        return h

    def train(dh: jax.Array, *arguments: jax.Array) -> tuple[jax.Array, ...]:
        h, pullback = jax.vjp(forward, *arguments)
        return h, *pullback(dh)

    dh, x, h_prev, *weights = (
        jnp.asarray(a) for a in (problem.dh, problem.x, problem.h_prev, problem.Wx, problem.Wh, problem.b)
    )

    def waiting(function: Call, *arguments: jax.Array) -> Call:
        return lambda: jax.block_until_ready(function(*arguments))

    return Built(
        {
            "step": waiting(jax.jit(cell), x[0], h_prev, *weights),
            "forward": waiting(jax.jit(forward), x, h_prev, *weights),
            "train": waiting(jax.jit(train), dh, x, h_prev, *weights),
        },
        form=f"unroll {unroll}",
    )
