"""What a model consists of. New layers, the shapes of their parameters and the check of a file follow from a plan."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xrnn import cells
from xrnn.backend import Backend
from xrnn.layers.bidirectional import Bidirectional
from xrnn.layers.linear import Linear
from xrnn.layers.network import Network
from xrnn.layers.stack import Stack
from xrnn.select import get_backend
from xrnn.typing import Shape


@dataclass(frozen=True, slots=True)
class Plan:
    """`layers` recurrent layers of `hidden`, and a linear layer on top.

    inputs      of the first recurrent layer
    outputs     of the linear layer
    both_ways   the recurrent layers are bidirectional
    heads       of each recurrent layer; None for a matrix Wh
    """

    cell: str
    inputs: int
    hidden: int
    layers: int
    outputs: int
    both_ways: bool = False
    dropout: float = 0.0
    seed: int = 0
    heads: int | None = None

    def make(self, backend: Backend) -> dict[str, Any]:
        """New float32 layers by name, with the same weights on every backend."""
        rng, kind = np.random.default_rng(self.seed), cells.CELLS[self.cell]
        options: dict[str, Any] = {"rng": rng, "backend": backend}
        if self.heads is not None:
            options["heads"] = self.heads
        layers: dict[str, Any] = {}
        recurrent: list[Any] = [
            Bidirectional.init(kind, size, self.hidden, **options)
            if self.both_ways
            else kind.init(size, self.hidden, **options)
            for size in self._sizes
        ]
        layers["stack"] = Stack(recurrent, dropout=self.dropout, rng=self.seed)
        return layers | {"linear": Linear.init(self._width, self.outputs, rng=rng, backend=backend)}

    @property
    def shapes(self) -> list[Shape]:
        """The shape of each parameter, in the order of the layers."""
        recurrent = [
            shape
            for size in self._sizes
            for _ in range(1 + self.both_ways)
            for shape in cells.shapes(self.cell, size, self.hidden, self.heads).values()
        ]
        return [*recurrent, (self._width, self.outputs), (self.outputs,)]

    @property
    def weights(self) -> int:
        """The number of weights."""
        return sum(map(math.prod, self.shapes))

    def example(self) -> dict[str, Any]:
        """New layers, except that all their sizes are 1."""
        small = replace(self, inputs=1, hidden=1, outputs=1, heads=self.heads and 1)
        return small.make(get_backend("numpy"))

    @property
    def _width(self) -> int:
        """The number of outputs of a recurrent layer."""
        return self.hidden * cells.cell_of(self.cell).components * (1 + self.both_ways)

    @property
    def _sizes(self) -> list[int]:
        """The number of inputs of each recurrent layer."""
        return [self.inputs, *itertools.repeat(self._width, self.layers - 1)]


@dataclass(frozen=True, slots=True)
class LinearPlan:
    """A linear layer alone."""

    inputs: int
    outputs: int

    @property
    def shapes(self) -> list[Shape]:
        """As in a Plan."""
        return [(self.inputs, self.outputs), (self.outputs,)]

    def example(self) -> dict[str, Any]:
        """As in a Plan."""
        return {"linear": Linear(np.zeros((1, 1), np.float32), np.zeros(1, np.float32))}


class Model(Network):
    """The layers of a plan. A kind of model adds what happens between them.

    dropouts   the dropout in `stack`, and that of the kind
    """

    stack: Stack
    linear: Linear

    def __init__(self, layers: Mapping[str, Any]) -> None:
        super().__init__(**layers)
        self.backend: Backend = self.linear.backend
        self.dropouts = list(self.stack.dropout)

    def start_at(self, update: int) -> None:
        """Set the number of the next update, which determines the masks of dropout."""
        for dropout in self.dropouts:
            dropout.forward_calls = update
