"""The model: recurrent layers, the mean over time, scores for the labels."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from xrnn import cells
from xrnn.backend import Backend
from xrnn.jobs.classify.classifier_settings import ClassifierSettings
from xrnn.jobs.classify.pooling import MeanPool
from xrnn.layers.bidirectional import Bidirectional
from xrnn.layers.dropout import Dropout
from xrnn.layers.linear import Linear
from xrnn.layers.stack import Stack
from xrnn.losses import softmax_cross_entropy
from xrnn.typing import Array


class Running(NamedTuple):
    """Where the prediction for a stream stands."""

    state: Any = None  # of the layers
    total: Any = 0.0  # Σ h[t] so far, (1, H)
    steps: int = 0


class Classifier:
    """p(label | x) = softmax(dropout(mean of h[t] over t) @ W + b), h = stack(x)   (Graves & Schmidhuber, 2005).

    layers   the stack of recurrent layers, linear
    """

    def __init__(self, settings: ClassifierSettings, stack: Stack, linear: Linear) -> None:
        self.settings = settings
        self.stack, self.linear = stack, linear
        self.backend = linear.backend
        self._pool = MeanPool(self.backend.xp)
        self._dropout = Dropout(settings.dropout, seed=settings.seed, layer=settings.layers)

    @classmethod
    def init(cls, settings: ClassifierSettings, channels: int, labels: int, backend: Backend) -> Self:
        """Fresh weights, float32: the same on every backend."""
        rng, kind = np.random.default_rng(settings.seed), cells.CELLS[settings.cell].layer
        layers: list[Any] = []
        for size in _input_sizes(settings, channels):
            make = kind.init if settings.one_way else _both_ways(kind)
            layers.append(make(size, settings.hidden, rng=rng, backend=backend))
        linear = Linear.init(layers[-1].output_size, labels, rng=rng, backend=backend)
        return cls(settings, _stacked(settings, layers), linear)

    @classmethod
    def of(cls, params: Mapping[str, Array], settings: ClassifierSettings) -> Self:
        """The model that holds these very arrays, named as in `named_params`."""

        def layer(name: str, reverse: bool = False) -> Any:
            return cells.CELLS[settings.cell].layer(
                *(params[f"{name}.{part}"] for part in cells.param_names(settings.cell)), reverse=reverse
            )

        layers: list[Any] = []
        for i in range(settings.layers):
            name = f"{settings.cell}{i}"
            layers.append(
                layer(name) if settings.one_way else Bidirectional(layer(f"{name}.0"), layer(f"{name}.1", True))
            )
        return cls(settings, _stacked(settings, layers), Linear(*(params[f"linear.{part}"] for part in Linear.names)))

    @staticmethod
    def shapes(settings: ClassifierSettings, channels: int, labels: int) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter, known before there is a model."""
        shapes: dict[str, tuple[int, ...]] = {}
        for i, size in enumerate(_input_sizes(settings, channels)):
            for direction in ("",) if settings.one_way else (".0", ".1"):
                of_layer = cells.shapes(settings.cell, size, settings.hidden)
                shapes |= {f"{settings.cell}{i}{direction}.{name}": shape for name, shape in of_layer.items()}
        return shapes | {"linear.W": (_output_size(settings), labels), "linear.b": (labels,)}

    @property
    def layers(self) -> list[Any]:
        return [self.stack, self.linear]

    @property
    def named_params(self) -> dict[str, Array]:
        """The parameters, in the order of the layers: `gru0.1.Wx` is of the reverse half of the first."""
        named = {f"{self.settings.cell}{name}": param for name, param in self.stack.named_params.items()}
        return named | {f"linear.{name}": param for name, param in self.linear.named_params.items()}

    def take_up(self, step: int) -> None:
        """Make what dropout draws next that of a run's `step`."""
        for dropout in (*self.stack.dropout, self._dropout):
            dropout.step = step

    def forward(self, x: Array, lengths: Array) -> Array:
        """x (T, N, D), lengths (N,) integers in [1, T] → logits (N, labels); keeps what `backward` needs."""
        h, _ = self.stack.forward(x, lengths=lengths)
        return self.linear.forward(self._dropout.forward(self._pool.forward(h, lengths)))

    def backward(self, dlogits: Array) -> None:
        """dlogits (N, labels) → the gradients of every layer."""
        dh = self._pool.backward(self._dropout.backward(self.linear.backward(dlogits)))
        self.stack.backward(dh, needs_dx=False)

    def __call__(self, x: Array, lengths: Array) -> Array:
        """Inference: the logits without dropout, with nothing kept."""
        h, _ = self.stack(x, lengths=lengths)
        return self.linear(self._pool(h, lengths))

    def train_step(self, x: Array, lengths: Array, targets: Array) -> tuple[Array, Array]:
        """The mean loss in nats, and how many labels were right before the update, both 0-d on the device."""
        logits = self.forward(x, lengths)
        loss, dlogits = softmax_cross_entropy(logits, targets)
        self.backward(dlogits)
        return loss, (logits.argmax(axis=-1) == targets).sum()

    def follow(self, x: Array, running: Running) -> tuple[Array, Running]:
        """The next step of one series, x (1, D) → logits (1, labels) for what came so far.

        Raises ValueError for layers that run in both directions.
        """
        h, state = self.stack.stream(x, running.state)
        total, steps = running.total + h, running.steps + 1
        return self.linear(total / steps), Running(state, total, steps)


def _both_ways(kind: Any) -> Any:
    return lambda size, hidden, **options: Bidirectional.init(kind, size, hidden, **options)


def _stacked(settings: ClassifierSettings, layers: list[Any]) -> Stack:
    return Stack(layers, dropout=settings.dropout, rng=settings.seed)


def _output_size(settings: ClassifierSettings) -> int:
    return settings.hidden if settings.one_way else 2 * settings.hidden


def _input_sizes(settings: ClassifierSettings, channels: int) -> list[int]:
    """Of each layer in turn."""
    return [channels, *itertools.repeat(_output_size(settings), settings.layers - 1)]
