"""The model: embedding, recurrent layers, scores for the next byte."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Final

import numpy as np

from xrnn.backend import Backend
from xrnn.layers.base import Layer
from xrnn.layers.embedding import Embedding
from xrnn.layers.linear import Linear
from xrnn.layers.rnn import RNN
from xrnn.losses import softmax_cross_entropy
from xrnn.typing import Array

VOCABULARY: Final = 256  # bytes
EMBEDDING: Final = 64

State = list[Array]  # the hidden state of each recurrent layer, (N, H)


class CharLM:
    """p(byte[t+1] | byte[0..t]) = softmax(h[t] @ W + b), h = RNN(… RNN(E[byte]))   (Mikolov et al., 2010).

    layers   embedding, the recurrent layers, linear
    """

    def __init__(self, embedding: Embedding, rnns: list[RNN], linear: Linear) -> None:
        self.embedding, self.rnns, self.linear = embedding, rnns, linear
        self.backend = embedding.backend

    @classmethod
    def init(cls, hidden: int, layers: int, *, rng: np.random.Generator, backend: Backend) -> CharLM:
        """Fresh weights, float32: the same on every backend."""
        embedding = Embedding.init(VOCABULARY, EMBEDDING, rng=rng, backend=backend)
        sizes = [EMBEDDING] + [hidden] * layers
        rnns = [RNN.init(D, H, rng=rng, backend=backend) for D, H in pairwise(sizes)]
        return cls(embedding, rnns, Linear.init(hidden, VOCABULARY, rng=rng, backend=backend))

    @classmethod
    def of(cls, params: Mapping[str, Array], layers: int) -> CharLM:
        """The model that holds these very arrays, named as in `named_params`."""
        rnns = [RNN(*(params[f"rnn{i}.{name}"] for name in RNN.names)) for i in range(layers)]
        linear = Linear(*(params[f"linear.{name}"] for name in Linear.names))
        return cls(Embedding(params["embedding.W"]), rnns, linear)

    @staticmethod
    def shapes(hidden: int, layers: int) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter, known before there is a model."""
        V, E, H = VOCABULARY, EMBEDDING, hidden
        shapes: dict[str, tuple[int, ...]] = {"embedding.W": (V, E)}
        for i, D in enumerate([E] + [H] * (layers - 1)):
            shapes |= {f"rnn{i}.Wx": (D, H), f"rnn{i}.Wh": (H, H), f"rnn{i}.b": (H,)}
        return shapes | {"linear.W": (H, V), "linear.b": (V,)}

    @property
    def layers(self) -> list[Layer]:
        return [self.embedding, *self.rnns, self.linear]

    @property
    def named_params(self) -> dict[str, Array]:
        """The parameters, in the order of the layers, as `rnn0.Wx`."""
        names = ["embedding", *(f"rnn{i}" for i in range(len(self.rnns))), "linear"]
        return {
            f"{layer_name}.{name}": param
            for layer_name, layer in zip(names, self.layers, strict=True)
            for name, param in layer.named_params.items()
        }

    def zero_state(self, batch: int) -> State:
        xp = self.backend.xp
        return [xp.zeros((batch, rnn.hidden_size), rnn.params[0].dtype) for rnn in self.rnns]

    def forward(self, index: Array, state: State) -> tuple[Array, State]:
        """index (T, N), state before it → logits (T, N, 256), state after it; keeps what `backward` needs."""
        x = self.embedding.forward(index)
        after: State = []
        for rnn, h_prev in zip(self.rnns, state, strict=True):
            x = rnn.forward(x, h_prev)
            after.append(x[-1])
        return self.linear.forward(x), after

    def backward(self, dlogits: Array) -> None:
        """dlogits (T, N, 256) → the gradients of every layer. It ends at the first step: truncated BPTT."""
        dx = self.linear.backward(dlogits)
        for rnn in reversed(self.rnns):
            dx, _ = rnn.backward(dx)
        self.embedding.backward(dx)

    def __call__(self, index: Array, state: State) -> tuple[Array, State]:
        """Inference: what `forward` returns, with nothing kept."""
        x = self.embedding(index)
        after: State = []
        for rnn, h_prev in zip(self.rnns, state, strict=True):
            x = rnn(x, h_prev)
            after.append(x[-1])
        return self.linear(x), after

    def train_step(self, chunk: Array, state: State) -> tuple[Array, State]:
        """chunk (T+1, N) of integers → mean loss of predicting each from those before, 0-d, in nats; state after."""
        logits, state = self.forward(chunk[:-1], state)
        loss, dlogits = softmax_cross_entropy(logits, chunk[1:])
        self.backward(dlogits)
        return loss, state
