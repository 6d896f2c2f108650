"""A layer of each kind, and the results of a Stack or Bidirectional from calls of its innermost layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.testing import assert_allclose

from tests.peephole.cell import PeepholeLSTMCell
from tests.random_operands import draw, draw_on
from xrnn import (
    GRU,
    LSTM,
    MLSTM,
    RNN,
    Bidirectional,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    Mamba,
    Mamba2,
    Recurrent,
    Stack,
    backend_of,
)
from xrnn.backend import Backend
from xrnn.ops.cells.lstm import LSTMCell
from xrnn.typing import HostArray

T, N, D = 5, 3, 4
RAGGED = [2, 5, 0]


def make(backend: Backend) -> list[Any]:
    """One layer of each kind, with different sizes and weights."""
    options: dict[str, Any] = {"rng": np.random.default_rng(0), "dtype": "float64", "backend": backend}
    return [
        RNN.init(D, 5, leak=0.4, **options),
        LSTM.init(5, 6, reverse=True, **options),
        GRU.init(6, 3, **options),
        Recurrent.init(LSTMCell(), 3, 4, **options),
    ]


def make_both(backend: Backend) -> tuple[Any, Any]:
    """Two layers of different cells and widths, for a Bidirectional."""
    options: dict[str, Any] = {"rng": np.random.default_rng(0), "dtype": "float64", "backend": backend}
    return LSTM.init(D, 5, **options), GRU.init(D, 2, reverse=True, **options)


def draw_states(backend: Backend, layer: Any, seed: int = 2) -> Any:
    """States for a layer, or for each layer of a composite or list."""
    parts = layer if isinstance(layer, list | tuple) else getattr(layer, "layers", None)
    if parts is not None:
        return tuple(draw_states(backend, part, seed + 10 * i) for i, part in enumerate(parts))
    return tuple(draw_on(backend, N, layer.hidden_size, seed=seed + j) for j in range(len(layer.cell.states)))


def as_tuple(results: Any) -> tuple[Any, ...]:
    return results if isinstance(results, tuple) else (results,)


def forward(layer: Any, x: Any, state: Any, lengths: Any) -> tuple[Any, Any]:
    """→ h and the final states."""
    if isinstance(layer, Stack):
        final = []
        for part, its_state in zip(layer.layers, state, strict=True):
            x, after = forward(part, x, its_state, lengths)
            final.append(after)
        return x, tuple(final)
    if isinstance(layer, Bidirectional):
        each = [forward(*part, lengths) for part in zip(layer.layers, (x, x), state, strict=True)]
        return backend_of(x).xp.concatenate([h for h, _ in each], axis=-1), tuple(after for _, after in each)
    results = as_tuple(layer.forward(x, *state, lengths=lengths))
    if not len(x):
        return results[0], state
    return results[0], tuple(s if s.ndim == 2 else s[0 if layer.reverse else -1] for s in results)


def backward(layer: Any, dh: Any, dstate: Any) -> tuple[Any, Any]:
    """The gradients of both results of `forward` → dx, and the gradients of the initial states."""
    if isinstance(layer, Stack):
        dinitial = []
        for part, its_dstate in zip(layer.layers[::-1], dstate[::-1], strict=True):
            dh, before = backward(part, dh, its_dstate)
            dinitial.append(before)
        return dh, tuple(dinitial[::-1])
    if isinstance(layer, Bidirectional):
        width = layer.layers[0].output_size
        halves = dh[..., :width], dh[..., width:]
        (dx, before), (dx_reverse, after) = map(backward, layer.layers, halves, dstate)
        return dx + dx_reverse, (before, after)
    d = [dh.copy(), *(0 * dh for _ in dstate[1:])]
    if not len(dh):
        return layer.backward(*d)[0], dstate
    for total, last in zip(d, dstate, strict=True):
        slot = total if total.ndim == 2 else total[0 if layer.reverse else -1]
        slot += last
    dx, *initial = layer.backward(*d)
    return dx, tuple(initial)


def flat(value: Any) -> list[Any]:
    """The arrays in nested tuples, without None."""
    if isinstance(value, tuple | list):
        return [a for part in value for a in flat(part)]
    return [] if value is None else [value]


def host(backend: Backend, *values: Any) -> list[HostArray]:
    return [backend.to_numpy(a).copy() for a in flat(values)]


def assert_same(found: list[HostArray], expected: list[HostArray], atol: float = 0) -> None:
    assert len(found) == len(expected)
    for got, want in zip(found, expected, strict=True):
        assert got.shape == want.shape
        assert_allclose(got, want, rtol=0, atol=atol)


def poison(layer: Any) -> None:
    for gradient in layer.grads:
        gradient[...] = np.nan


_MAKE: Final[dict[str, Callable[..., Any]]] = {
    "RNN": partial(RNN.init, D, 5),
    "leaky RNN": partial(RNN.init, D, 5, leak=[0.5] * 5, reverse=True),
    "LSTM": partial(LSTM.init, D, 5),
    "GRU": partial(GRU.init, D, 5),
    "GRU, reset before": partial(GRU.init, D, 5, reset_after=False),
    "own": partial(Recurrent.init, PeepholeLSTMCell(), D, 5),
    "Linear": partial(Linear.init, D, 5),
    "LayerNorm": lambda rng, **options: LayerNorm.init(D, **options),
    "Embedding": partial(Embedding.init, 7, 5),
    "Mamba": partial(Mamba.init, D, 5, state_size=3, taps=3, rank=2),
    "Mamba2": partial(Mamba2.init, D, 5, state_size=3, taps=3, heads=2),
    "MLSTM": partial(MLSTM.init, D, 5, state_size=3),
    "Stack": partial(Stack.init, GRU, D, 5, 2),
    "Bidirectional": partial(Bidirectional.init, LSTM, D, 5),
    "Stack with dropout": partial(Stack.init, GRU, D, 5, 2, bidirectional=True, dropout=0.5),
    "Dropout": lambda **_: Dropout(0.5, seed=3),
}
KINDS: Final = (*_MAKE,)
WITHOUT_DROPOUT: Final = KINDS[:-2]
SIMPLE: Final = KINDS[: KINDS.index("Stack")]  # parameters of their own, and no layers within


def made(kind: str, backend: Backend, dtype: str = "float64") -> tuple[Any, Any]:
    """→ a layer and an input for it."""
    x = np.arange(6).reshape(3, 2) if kind == "Embedding" else draw(T, N, D, dtype=dtype)
    return _MAKE[kind](rng=0, dtype=dtype, backend=backend), backend.asarray(x)


def first(results: Any) -> Any:
    """h or y, or dx, of any layer."""
    return as_tuple(results)[0]
