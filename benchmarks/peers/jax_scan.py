"""jax.lax.scan under jit, after one product for the inputs; gradients by vjp, in the same jitted call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp

from benchmarks.cases import LEAK, Problem
from benchmarks.peers import Built, Call

States = tuple[jax.Array, ...]


def about() -> dict[str, str]:
    return {"jax": jax.__version__, "device": str(jax.devices()[0])}


def rnn(z: jax.Array, states: States, Wh: jax.Array, b: jax.Array) -> States:
    """One step from z = x[t] @ Wx + b."""
    (h,) = states
    return (jnp.tanh(z + h @ Wh),)


def leak(z: jax.Array, states: States, Wh: jax.Array, b: jax.Array) -> States:
    (h,) = states
    return (h + LEAK * (jnp.tanh(z + h @ Wh) - h),)


def lstm(z: jax.Array, states: States, Wh: jax.Array, b: jax.Array) -> States:
    h, c = states
    i, f, g, o = jnp.split(z + h @ Wh, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru(z: jax.Array, states: States, Wh: jax.Array, b: jax.Array) -> States:
    (h,) = states
    z_r, z_u, z_n = jnp.split(z, 3, axis=-1)
    h_r, h_u, h_n = jnp.split(h @ Wh, 3, axis=-1)
    u, r = jax.nn.sigmoid(z_u + h_u), jax.nn.sigmoid(z_r + h_r)
    n = jnp.tanh(z_n + r * (h_n + b[-h.shape[-1] :]))
    return (n + u * (h - n),)


def min_gru(z: jax.Array, states: States, Wh: jax.Array, b: jax.Array) -> States:
    (h,) = states
    z_u, y = jnp.split(z, 2, axis=-1)
    return (h + jax.nn.sigmoid(z_u) * (y - h),)


def min_lstm(z: jax.Array, states: States, Wh: jax.Array, b: jax.Array) -> States:
    (h,) = states
    z_f, z_i, y = jnp.split(z, 3, axis=-1)
    f, i = jax.nn.sigmoid(z_f), jax.nn.sigmoid(z_i)
    return (h + i / (f + i) * (y - h),)


def slstm(z: jax.Array, states: States, Wh: jax.Array, b: jax.Array) -> States:
    h, c, n, m = states
    log_i, log_f, g, o = jnp.split(z + h @ Wh, 4, axis=-1)
    m = jax.lax.stop_gradient(m)
    m_next = jax.lax.stop_gradient(jnp.where(n == 0, log_i, jnp.maximum(log_f + m, log_i)))
    i, f = jnp.exp(log_i - m_next), jnp.exp(log_f + (m - m_next))
    c = f * c + i * jnp.tanh(g)
    n = f * n + i
    return jax.nn.sigmoid(o) * c / n, c, n, m_next


def lru(
    unroll: int,
    x: jax.Array,
    states: States,
    Wx: jax.Array,
    Wh: jax.Array,
    b: jax.Array,
    nu: jax.Array,
    theta: jax.Array,
    gamma: jax.Array,
) -> jax.Array:
    """The complete sequence: the states stay complex in the loop."""
    eigenvalue = jnp.exp(-jnp.exp(nu) + 1j * jnp.exp(theta))
    driven = jnp.exp(gamma) * jax.lax.complex(*jnp.split(x @ Wx + b, 2, axis=-1))

    def next_state(s: jax.Array, driven: jax.Array) -> tuple[jax.Array, jax.Array]:
        s = eigenvalue * s + driven
        return s, s

    initial = jax.lax.complex(*jnp.split(states[0], 2, axis=-1))
    s = jax.lax.scan(next_state, initial, driven, unroll=unroll)[1]
    return jnp.concatenate((s.real, s.imag), axis=-1)


_CELLS: Final[dict[str, Callable[..., States]]] = {
    "rnn": rnn,
    "lstm": lstm,
    "gru": gru,
    "leak": leak,
    "min-gru": min_gru,
    "min-lstm": min_lstm,
    "slstm": slstm,
}


def operands(problem: Problem) -> tuple[Any, ...]:
    """x, the states as a tuple, the weights."""
    x, *weights = map(jnp.asarray, (problem.x, *problem.weights))
    return x, tuple(map(jnp.asarray, problem.states)), *weights


def waiting(function: Call, *arguments: Any) -> Call:
    return lambda: jax.block_until_ready(function(*arguments))


def calls(problem: Problem, forward: Callable[..., jax.Array]) -> dict[str, Call]:
    """The calls of a sequence.   forward: x, states, Wx, Wh, b, own parameters → h"""

    def train(dh: jax.Array, *arguments: Any) -> tuple[jax.Array, ...]:
        h, pullback = jax.vjp(forward, *arguments)
        dx, dstates, *dweights = pullback(dh)
        return h, dx, *dstates[:3], *dweights  # none of the stabiliser of an sLSTM

    given = operands(problem)
    return {
        "forward": waiting(jax.jit(forward), *given),
        "train": waiting(jax.jit(train), jnp.asarray(problem.dh), *given),
    }


def build(problem: Problem, threads: int, unroll: int) -> Built:
    if problem.case.ragged or problem.case.cell not in (*_CELLS, "lru"):
        return Built({})
    # XLA takes its number of threads from the environment and the affinity when it starts.
    cell = _CELLS.get(problem.case.cell)

    def step(x: jax.Array, states: States, Wx: jax.Array, Wh: jax.Array, b: jax.Array, *own: jax.Array) -> jax.Array:
        if cell is None:
            return lru(1, x[None], states, Wx, Wh, b, *own)[0]
        return cell(x @ Wx + b[: Wx.shape[1]], states, Wh, b)[0]

    def forward(x: jax.Array, states: States, Wx: jax.Array, Wh: jax.Array, b: jax.Array, *own: jax.Array) -> jax.Array:
        if cell is None:
            return lru(unroll, x, states, Wx, Wh, b, *own)

        def next_state(states: States, z: jax.Array) -> tuple[States, jax.Array]:
            states = cell(z, states, Wh, b)
            return states, states[0]

        return jax.lax.scan(next_state, states, x @ Wx + b[: Wx.shape[1]], unroll=unroll)[1]

    x, states, *weights = operands(problem)
    return Built(
        {"step": waiting(jax.jit(step), x[0], states, *weights), **calls(problem, forward)}, form=f"unroll {unroll}"
    )
