"""The model: an embedding, recurrent layers, and logits for the next byte."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from xrnn import cells
from xrnn.backend import Backend
from xrnn.layers.embedding import Embedding
from xrnn.layers.linear import Linear
from xrnn.layers.stack import Stack
from xrnn.losses import softmax_cross_entropy
from xrnn.models.model import Model
from xrnn.typing import Array

VOCABULARY: Final = 256  # bytes
EMBEDDING: Final = 64

State = tuple[tuple[Array, ...], ...]  # the states of each recurrent layer, (N, H) each


class CharLM(Model):
    """p(byte[t+1] | byte[0..t]) = softmax(h[t] @ W + b), h = layer(… layer(E[byte]))   (Mikolov et al., 2010).

    cell     "rnn", "lstm" or "gru": the type of the recurrent layers
    layers   embedding, stack, linear
    """

    def __init__(self, cell: str, layers: Mapping[str, Any]) -> None:
        super().__init__(layers)
        self.cell, self.embedding = cell, layers["embedding"]

    @classmethod
    def init(cls, cell: str, hidden: int, layers: int, *, rng: np.random.Generator, backend: Backend) -> CharLM:
        """New weights, float32: the same on every backend."""
        embedding = Embedding.init(VOCABULARY, EMBEDDING, rng=rng, backend=backend)
        stack = Stack.init(cells.CELLS[cell], EMBEDDING, hidden, layers, rng=rng, backend=backend)
        linear = Linear.init(hidden, VOCABULARY, rng=rng, backend=backend)
        return cls(cell, {"embedding": embedding, "stack": stack, "linear": linear})

    @staticmethod
    def shapes(cell: str, hidden: int, layers: int) -> dict[str, tuple[int, ...]]:
        """The shape of each parameter, without making a model."""
        V, E, H = VOCABULARY, EMBEDDING, hidden
        shapes: dict[str, tuple[int, ...]] = {"embedding.W": (V, E)}
        for i, D in enumerate([E] + [H] * (layers - 1)):
            shapes |= {f"{cell}{i}.{name}": shape for name, shape in cells.shapes(cell, D, H).items()}
        return shapes | {"linear.W": (H, V), "linear.b": (V,)}

    @staticmethod
    def state_names(cell: str, layers: int) -> list[list[str]]:
        """A name for each state of each layer: `0` for h of layer 0, `0.c` for its c."""
        return [
            [f"{i}" if state == "h" else f"{i}.{state}" for state in cells.cell_of(cell).states] for i in range(layers)
        ]

    def zero_state(self, batch: int) -> State:
        xp, dtype = self.backend.xp, self.embedding.params[0].dtype
        return tuple(
            tuple(xp.zeros((batch, self.stack.output_size), dtype) for _ in cells.cell_of(self.cell).states)
            for _ in self.stack.layers
        )

    def forward(self, index: Array, state: State) -> tuple[Array, State]:
        """index (T, N), initial state → logits (T, N, 256), final state. Keeps a cache for `backward`."""
        h, state = self.stack.forward(self.embedding.forward(index), state)
        return self.linear.forward(h), state

    def backward(self, dlogits: Array) -> None:
        """dlogits (T, N, 256) → the gradients of all layers. It stops at the first step: truncated BPTT."""
        dx, _ = self.stack.backward(self.linear.backward(dlogits))
        self.embedding.backward(dx)

    def __call__(self, index: Array, state: State) -> tuple[Array, State]:
        """Inference: as `forward`, without a cache."""
        h, state = self.stack(self.embedding(index), state)
        return self.linear(h), state

    def train_step(self, chunk: Array, state: State) -> tuple[Array, State]:
        """chunk (T+1, N) int32 → mean loss of predicting chunk[1:], 0-d, in nats; final state."""
        logits, state = self.forward(chunk[:-1], state)
        loss, dlogits = softmax_cross_entropy(logits, chunk[1:])
        self.backward(dlogits)
        return loss, state
