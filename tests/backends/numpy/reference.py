"""The recurrences of the family in float64, a row and a step at a time: what the kernels are tested against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Name: TypeAlias = Literal["tanh", "relu", "lstm", "gru"]


@dataclass(frozen=True)
class Cell:
    """Which of the `pre` pre-activations a unit x @ Wx feeds, which h @ Wh, and how many arrays a step keeps."""

    pre: int
    from_x: tuple[int, ...]
    from_h: tuple[int, ...]
    states: int = 1
    kept: int = 0


CELLS: dict[Name, Cell] = {
    "tanh": Cell(1, (0,), (0,)),
    "relu": Cell(1, (0,), (0,)),
    "lstm": Cell(4, (0, 1, 2, 3), (0, 1, 2, 3), states=2, kept=4),
    "gru": Cell(4, (0, 1, 2), (0, 1, 3), kept=4),
}


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


@dataclass
class Problem:
    """Random inputs of one cell, with gradients of all its states from above."""

    name: Name
    sizes: tuple[int, int, int, int]
    dtype: str = "float32"
    lengths: Array | None = None
    reverse: bool = False
    leak: Array | None = None
    seed: int = 0
    arrays: dict[str, Array] = field(init=False)

    def __post_init__(self) -> None:
        T, N, D, H = self.sizes
        cell = self.cell
        rng = np.random.default_rng(self.seed)
        shapes: dict[str, tuple[tuple[int, ...], float]] = {
            "x": ((T, N, D), 1),
            "Wx": ((D, len(cell.from_x) * H), max(D, 1) ** -0.5),
            "Wh": ((H, len(cell.from_h) * H), 0.5 * max(H, 1) ** -0.5),
            "b": ((cell.pre * H,), 1),
            **{f"initial{k}": ((N, H), 1) for k in range(cell.states)},
            **{f"dstates{k}": ((T, N, H), 1) for k in range(cell.states)},
        }
        self.arrays = {
            name: (scale * rng.standard_normal(shape)).astype(self.dtype) for name, (shape, scale) in shapes.items()
        }

    @property
    def cell(self) -> Cell:
        return CELLS[self.name]

    def states(self, prefix: str) -> tuple[Array, ...]:
        return tuple(self.arrays[f"{prefix}{k}"] for k in range(self.cell.states))

    def run(self, kernels: Any, *, training: bool = True) -> dict[str, Array]:
        """What the kernels compute, each output full of NaN before."""
        a, cell = self.arrays, self.cell
        T, N, _, H = self.sizes
        options = (self.lengths, self.reverse, self.leak)
        states, kept = kernels.forward(
            self.name, a["x"], a["Wx"], a["Wh"], a["b"], self.states("initial"), *options, training
        )
        result = {f"states{k}": state for k, state in enumerate(states)}
        if not training:
            assert kept is None
            return result
        kept_values = cell.kept or int(self.leak is not None)
        assert (kept is None) if kept_values == 0 else (kept.shape == (kept_values, T, N, H))
        grads = [np.full_like(a[name], np.nan) for name in ("Wx", "Wh", "b")]
        dx, dinitial = kernels.backward(
            self.name, a["x"], a["Wx"], a["Wh"], states, kept, *options, self.states("dstates"), *grads
        )
        result |= {"dx": dx, **dict(zip(("dWx", "dWh", "db"), grads, strict=True))}
        return result | {f"dinitial{k}": d for k, d in enumerate(dinitial)}

    def expected(self) -> dict[str, Array]:
        """The same in float64, by the equations."""
        T, N, D, H = self.sizes
        cell, a = self.cell, {name: array.astype(np.float64) for name, array in self.arrays.items()}
        lengths = np.full(N, T) if self.lengths is None else self.lengths
        x, Wx, Wh, b = (a[name] for name in ("x", "Wx", "Wh", "b"))
        states = [np.full((T + 1, N, H), np.nan) for _ in range(cell.states)]
        dx, dWx, dWh, db = np.zeros((T, N, D)), np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)
        dinitial = [np.zeros((N, H)) for _ in range(cell.states)]
        order = [(t + 1, t) if self.reverse else (t, t + 1) for t in range(T)]
        times = list(range(T - 1, -1, -1) if self.reverse else range(T))
        step = self._step()
        for n in range(N):
            for k, state in enumerate(states):
                state[T if self.reverse else 0, n] = a[f"initial{k}"][n]
            undo: dict[int, Callable[[list[Array]], tuple[Array, list[Array]]]] = {}
            for t in times:
                before, after = order[t]
                old = [state[before, n] for state in states]
                new = old
                if t < lengths[n]:
                    z = b.reshape(cell.pre, H).copy()
                    for i, gate in enumerate(cell.from_x):
                        z[gate] += x[t, n] @ Wx[:, i * H : (i + 1) * H]
                    for i, gate in enumerate(cell.from_h):
                        z[gate] += old[0] @ Wh[:, i * H : (i + 1) * H]
                    new, undo[t] = step(z, old)
                for state, value in zip(states, new, strict=True):
                    state[after, n] = value
            dafter = [np.zeros(H) for _ in range(cell.states)]
            for t in reversed(times):
                dafter = [d + a[f"dstates{k}"][t, n] for k, d in enumerate(dafter)]
                if t not in undo:
                    continue
                dz, dafter = undo[t](dafter)
                from_x = np.concatenate([dz[gate] for gate in cell.from_x])
                from_h = np.concatenate([dz[gate] for gate in cell.from_h])
                dafter[0] = dafter[0] + Wh @ from_h
                dx[t, n] = Wx @ from_x
                dWx += np.outer(x[t, n], from_x)
                dWh += np.outer(states[0][order[t][0], n], from_h)
                db += dz.ravel()
            for d, value in zip(dinitial, dafter, strict=True):
                d[n] = value
        result = {f"states{k}": state for k, state in enumerate(states)}
        result |= {"dx": dx, "dWx": dWx, "dWh": dWh, "db": db}
        return result | {f"dinitial{k}": d for k, d in enumerate(dinitial)}

    def _step(self) -> Any:
        """z (pre, H), states → the states after, and the gradient of that step: dafter → dz, dbefore."""
        if self.name == "lstm":
            return _lstm
        if self.name == "gru":
            return _gru
        leak = np.ones(self.sizes[3]) if self.leak is None else self.leak.astype(np.float64)
        relu = self.name == "relu"

        def elman(z: Array, before: list[Array]) -> Any:
            y = np.maximum(z[0], 0) if relu else np.tanh(z[0])
            slope = (y > 0) * 1.0 if relu else 1 - y * y
            return [(1 - leak) * before[0] + leak * y], lambda d: ((leak * d[0] * slope)[None], [(1 - leak) * d[0]])

        return elman


def _lstm(z: Array, before: list[Array]) -> Any:
    i, f, g, o = sigmoid(z[0]), sigmoid(z[1]), np.tanh(z[2]), sigmoid(z[3])
    c = f * before[1] + i * g
    s = np.tanh(c)

    def gradient(d: list[Array]) -> tuple[Array, list[Array]]:
        dc = d[1] + d[0] * o * (1 - s * s)
        dz = [dc * g * i * (1 - i), dc * before[1] * f * (1 - f), dc * i * (1 - g * g), d[0] * s * o * (1 - o)]
        return np.array(dz), [np.zeros_like(c), f * dc]

    return [o * s, c], gradient


def _gru(z: Array, before: list[Array]) -> Any:
    h = before[0]
    r, u = sigmoid(z[0]), sigmoid(z[1])
    n = np.tanh(z[2] + r * z[3])

    def gradient(d: list[Array]) -> tuple[Array, list[Array]]:
        dn = d[0] * (1 - u) * (1 - n * n)
        return np.array([dn * z[3] * r * (1 - r), d[0] * (h - n) * u * (1 - u), dn, dn * r]), [u * d[0]]

    return [n + u * (h - n)], gradient
