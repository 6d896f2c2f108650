"""The model of all jobs on series: recurrent layers, the mean over time, a linear layer."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, Self

import numpy as np

from xrnn import cells
from xrnn.backend import Backend
from xrnn.layers.bidirectional import Bidirectional
from xrnn.layers.dropout import Dropout
from xrnn.layers.linear import Linear
from xrnn.layers.stack import Stack
from xrnn.models.data.batches import pack, unpack
from xrnn.models.labelled.pooling import MeanPool
from xrnn.models.model import Model
from xrnn.models.ranks import add_up
from xrnn.parallel import World
from xrnn.typing import Array, HostArray

_INFERENCE_BATCH: Final = 64  # series at a time, so that the memory for inference does not grow with their number


class ModelSettings(Protocol):
    """The settings that determine the layers."""

    @property
    def cell(self) -> str: ...
    @property
    def hidden(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def one_way(self) -> bool: ...
    @property
    def dropout(self) -> float: ...
    @property
    def seed(self) -> int: ...


class Running(NamedTuple):
    """The state of the model after some steps of a stream."""

    state: Any = None  # of the recurrent layers
    total: Any = 0.0  # Σ h[t] so far, (1, H)
    steps: int = 0


class SeriesModel(Model):
    """y = dropout(mean of h[t] over t) @ W + b, h = stack(x)   (Graves & Schmidhuber, 2005)."""

    def __init__(self, settings: ModelSettings, layers: Mapping[str, Any]) -> None:
        super().__init__(layers)
        self.settings = settings
        self._pool = MeanPool(self.backend.xp)
        self._dropout = Dropout(settings.dropout, seed=settings.seed, layer=settings.layers)
        self.dropouts.append(self._dropout)

    @classmethod
    def init(cls, settings: ModelSettings, inputs: int, outputs: int, backend: Backend) -> Self:
        """New float32 weights, the same on every backend."""
        rng, kind = np.random.default_rng(settings.seed), cells.CELLS[settings.cell]
        layers: list[Any] = []
        for size in _input_sizes(settings, inputs):
            make = kind.init if settings.one_way else _bidirectional(kind)
            layers.append(make(size, settings.hidden, rng=rng, backend=backend))
        linear = Linear.init(layers[-1].output_size, outputs, rng=rng, backend=backend)
        return cls(settings, {"stack": Stack(layers, dropout=settings.dropout, rng=settings.seed), "linear": linear})

    @staticmethod
    def shapes(settings: ModelSettings, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter, without making the model."""
        shapes: dict[str, tuple[int, ...]] = {}
        for i, size in enumerate(_input_sizes(settings, inputs)):
            for direction in ("",) if settings.one_way else (".0", ".1"):
                of_layer = cells.shapes(settings.cell, size, settings.hidden)
                shapes |= {f"{settings.cell}{i}{direction}.{name}": shape for name, shape in of_layer.items()}
        return shapes | {"linear.W": (_output_size(settings), outputs), "linear.b": (outputs,)}

    def forward(self, x: Array, lengths: Array) -> Array:
        """x (T, N, D), lengths (N,) integers in [1, T] → y (N, outputs); keeps the arrays for `backward`."""
        h, _ = self.stack.forward(x, lengths=lengths)
        return self.linear.forward(self._dropout.forward(self._pool.forward(h, lengths)))

    def backward(self, dy: Array) -> None:
        """dy (N, outputs) → the gradients of every layer."""
        dh = self._pool.backward(self._dropout.backward(self.linear.backward(dy)))
        self.stack.backward(dh, needs_dx=False)

    def __call__(self, x: Array, lengths: Array) -> Array:
        """Inference: y without dropout. Nothing is kept for `backward`."""
        h, _ = self.stack(x, lengths=lengths)
        return self.linear(self._pool(h, lengths))

    def follow(self, x: Array, running: Running) -> tuple[Array, Running]:
        """The next step of one series, x (1, D) → y (1, outputs) for the steps so far.

        Raises ValueError for bidirectional layers.
        """
        h, state = self.stack.stream(x, running.state)
        total, steps = running.total + h, running.steps + 1
        return self.linear(total / steps), Running(state, total, steps)

    def outputs(self, series: Sequence[HostArray], comm: World | None = None) -> HostArray:
        """Inference for any number of series, (T, D) float32 each → y (count, outputs) float64.

        comm   the ranks that divide the work; each gets the result
        """
        comm = comm or World()
        # The longest series determines the cost of a batch, so batches are made of series of similar lengths.
        by_length = np.argsort([len(values) for values in series], kind="stable")
        y = np.zeros((len(series), self.linear.output_size))
        for number, first in enumerate(range(0, len(series), _INFERENCE_BATCH)):
            if number % comm.size == comm.rank:
                rows = by_length[first : first + _INFERENCE_BATCH]
                buffer, x = pack([series[i] for i in rows], np.zeros(len(rows), np.int32))
                batch, lengths, _ = unpack(self.backend.asarray(buffer), x.shape)
                y[rows] = self.backend.to_numpy(self(batch, lengths))
        add_up(comm, y)  # a row has its result in one rank, and 0 in the others
        return y


def _bidirectional(kind: Any) -> Any:
    return lambda size, hidden, **options: Bidirectional.init(kind, size, hidden, **options)


def _output_size(settings: ModelSettings) -> int:
    return settings.hidden if settings.one_way else 2 * settings.hidden


def _input_sizes(settings: ModelSettings, inputs: int) -> list[int]:
    return [inputs, *itertools.repeat(_output_size(settings), settings.layers - 1)]
