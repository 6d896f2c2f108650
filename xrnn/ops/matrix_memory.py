"""A matrix memory: a linear recurrence of matrices with a decay for each head, and its gradient.

Mamba-2 (Dao and Gu, 2024), RetNet (Sun et al., 2023) and mLSTM (Beck et al., 2024) contain this recurrence.

T time steps, N batch, H heads, K keys, V values, G groups of H/G neighbouring heads with the same q and k. For each row
of the batch and each head, with the state S (K, V) before a step and S' after it:

    S' = exp(log_decay) S + k vᵀ                  y = S'ᵀ q
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from xrnn.ops.operands import check_fits, check_float
from xrnn.typing import Array

# The steps between two saved states. The backward pass computes the states between them a second time.
CHUNK: Final = 64


@dataclass(slots=True, eq=False)
class MemoryInputs:
    """The operands of a matrix memory, all of one dtype."""

    q: Array  # (T, N, G, K)
    k: Array  # (T, N, G, K)
    v: Array  # (T, N, H, V)
    # (T, N, H), ≤ 0 for a state that does not grow; -inf: the state before the step is forgotten. If it grows, the sum
    # over four steps must stay below 88 in float32: its exponential would overflow.
    log_decay: Array
    initial: Array | None = None  # (N, H, K, V), None for zeros
    # (N,) integers in [0, T], None if all rows have T steps. Past its end a row keeps its state, y and all gradients
    # of the step are 0, and no operand of the step is used.
    lengths: Array | None = None

    def sizes(self) -> tuple[int, int, int, int, int]:
        """T, N, H, K, V."""
        T, N, H, V = self.v.shape
        return T, N, H, self.k.shape[3], V

    def check(self) -> None:
        """Raise TypeError unless all arrays have the type, the dtype and the sizes of v and k."""
        if self.v.ndim != 4 or self.k.ndim != 4:
            raise TypeError("v is not (T, N, H, V), or k is not (T, N, G, K)")
        check_float("v", self.v)
        T, N, H, K, V = self.sizes()
        groups = self.k.shape[2]
        shapes = {
            "q": (T, N, groups, K),
            "k": (T, N, groups, K),
            "log_decay": (T, N, H),
            "initial": (N, H, K, V),
        }
        for name, shape in shapes.items():
            check_fits(name, getattr(self, name), self.v, shape, "v and k")
        if groups == 0 or H % groups:
            raise TypeError(f"k has {groups} groups, which do not divide the {H} heads")
        if self.lengths is not None and self.lengths.shape != (N,):
            raise TypeError("lengths is not (N,)")

    def check_backward(self, saved: Array | None, dy: Array | None, dlast: Array | None) -> None:
        """Raise TypeError unless these inputs fit each other, and the operands of `backward` fit them."""
        self.check()
        if saved is None:
            raise TypeError("saved is None: expected the states that a forward pass with training=True saved")
        T, N, H, K, V = self.sizes()
        check_fits("saved", saved, self.v, (-(-T // CHUNK), N, H, K, V), "v and k")
        check_fits("dy", dy, self.v, (T, N, H, V), "v and k")
        check_fits("dlast", dlast, self.v, (N, H, K, V), "v and k")


class MemoryOutputs(NamedTuple):
    y: Array  # (T, N, H, V)
    last: Array  # (N, H, K, V), the state after the last step of each row
    # (⌈T / CHUNK⌉, N, H, K, V), the states before step 0, CHUNK, 2 · CHUNK, …; None if not training. All forms save
    # the same states, so any form can run backward.
    saved: Array | None


class MemoryGradients(NamedTuple):
    """The gradients by the operands, in their shapes; None for an initial state that is None."""

    q: Array
    k: Array
    v: Array
    log_decay: Array
    initial: Array | None


def forward(xp: Any, inputs: MemoryInputs, training: bool) -> MemoryOutputs:
    """→ y, last, saved."""
    T, N, H, K, V = inputs.sizes()
    dtype = inputs.v.dtype
    steps = _Steps(xp, inputs)
    y = xp.empty((T, N, H, V), dtype)
    saved = xp.empty((-(-T // CHUNK), N, H, K, V), dtype) if training else None
    S = xp.zeros((N, H, K, V), dtype) if inputs.initial is None else inputs.initial.copy()
    for t in range(T):
        if saved is not None and t % CHUNK == 0:
            saved[t // CHUNK] = S
        S = steps.after(t, S)
        y[t] = steps.within_step(t, (S * steps.of_heads(inputs.q[t])[..., None]).sum(axis=2))
    return MemoryOutputs(y, S, saved)


def backward(
    xp: Any, inputs: MemoryInputs, saved: Array, dy: Array | None, dlast: Array | None = None
) -> MemoryGradients:
    """The gradients of `forward`, from dy (T, N, H, V) and dlast (N, H, K, V), None for zeros.

    With g the gradient of S' through all later steps, and a = exp(log_decay):

        dS' = q dyᵀ + g               dq = S' dy             dk = dS' v             dv = dS'ᵀ k
        g of the step before = a dS'                         dlog_decay = Σ a dS' ∘ S

    dq and dk are sums over the heads of a group.
    """
    T, N, H, K, V = inputs.sizes()
    dtype = inputs.v.dtype
    steps = _Steps(xp, inputs)
    dy = xp.zeros((T, N, H, V), dtype) if dy is None else dy
    dq, dk = xp.empty(inputs.q.shape, dtype), xp.empty(inputs.k.shape, dtype)
    dv, dlog_decay = xp.empty((T, N, H, V), dtype), xp.empty((T, N, H), dtype)
    g = xp.zeros((N, H, K, V), dtype) if dlast is None else dlast.copy()
    for begin in reversed(range(0, T, CHUNK)):
        states = [saved[begin // CHUNK]]
        for t in range(begin, min(begin + CHUNK, T)):
            states.append(steps.after(t, states[-1]))
        for t in reversed(range(begin, min(begin + CHUNK, T))):
            before, after = states[t - begin : t - begin + 2]
            dS = g + steps.of_heads(inputs.q[t])[..., None] * dy[t][:, :, None]
            dq[t] = steps.of_groups(steps.within_step(t, (after * dy[t][:, :, None]).sum(axis=3)))
            dk[t] = steps.of_groups(steps.within_step(t, (dS * inputs.v[t][:, :, None]).sum(axis=3)))
            dv[t] = steps.within_step(t, (dS * steps.of_heads(inputs.k[t])[..., None]).sum(axis=2))
            dbefore = steps.decay(t) * dS
            dlog_decay[t] = steps.within_step(t, (dbefore * before).sum(axis=(2, 3)))
            g = steps.choose(t, dbefore, g)
    return MemoryGradients(dq, dk, dv, dlog_decay, None if inputs.initial is None else g)


class _Steps:
    """The recurrence of the states, step by step."""

    def __init__(self, xp: Any, inputs: MemoryInputs) -> None:
        T, N, H, K, _ = inputs.sizes()
        self._xp, self._inputs = xp, inputs
        self._grouped, self._by_head = (N, inputs.k.shape[2], H // inputs.k.shape[2], K), (N, H, K)
        # (T, N): False past the end of a row
        self._runs = None if inputs.lengths is None else xp.arange(T)[:, None] < inputs.lengths

    def of_heads(self, of_groups: Array) -> Array:
        """q or k of a step, (N, G, K), for each head: (N, H, K)."""
        repeated: Array = self._xp.broadcast_to(of_groups[:, :, None], self._grouped)
        return repeated.reshape(self._by_head)

    def of_groups(self, of_heads: Array) -> Array:
        """The sums over the heads of each group: (N, H, K) → (N, G, K)."""
        summed: Array = of_heads.reshape(self._grouped).sum(axis=2)
        return summed

    def decay(self, t: int) -> Array:
        """The factors of a step, which broadcast to (N, H, K, V)."""
        factors: Array = self._xp.exp(self._inputs.log_decay[t])[:, :, None, None]
        return factors

    def after(self, t: int, S: Array) -> Array:
        """The states (N, H, K, V) after step t."""
        new = self.decay(t) * S + self.of_heads(self._inputs.k[t])[..., None] * self._inputs.v[t][:, :, None]
        return self.choose(t, new, S)

    def choose(self, t: int, running: Array, ended: Array) -> Array:
        """`running` for the rows that have step t, and `ended` for the others."""
        if self._runs is None:
            return running
        runs = self._runs[t].reshape(-1, *(1,) * (running.ndim - 1))
        chosen: Array = self._xp.where(runs, running, ended)
        return chosen

    def within_step(self, t: int, array: Array) -> Array:
        """`array` (N, …), with zeros for the rows that do not have step t."""
        return self.choose(t, array, self._xp.zeros((), array.dtype))
