"""A layer of each kind, for the tests of what all layers do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np

from tests.drawn import draw
from tests.layers.by_hand import D, N, T, as_tuple
from tests.peephole.cell import PeepholeLSTMCell
from xrnn import GRU, LSTM, RNN, Bidirectional, Dropout, Embedding, LayerNorm, Linear, Recurrent, Stack
from xrnn.backend import Backend

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
