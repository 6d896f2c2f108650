"""The base of the models of all jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xrnn.backend import Backend
from xrnn.layers.linear import Linear
from xrnn.layers.stack import Stack
from xrnn.typing import Array, HostArray


class Model:
    """Layers by name, as a checkpoint holds them: `stack`, the recurrent layers; `linear`, on top; and the job's own.

    dropouts   the dropout in `stack`, and that of the job
    """

    def __init__(self, layers: Mapping[str, Any]) -> None:
        self.layers = dict(layers)
        self.stack: Stack = layers["stack"]
        self.linear: Linear = layers["linear"]
        self.backend: Backend = self.linear.backend
        self.dropouts = list(self.stack.dropout)

    @property
    def params(self) -> list[Array]:
        """The parameters, in the order of the layers."""
        return [param for layer in self.layers.values() for param in layer.params]

    def take_rows(self, batch: int, rows: HostArray) -> None:
        """The next forward gets only these rows of a batch. Dropout masks them as in the complete batch."""
        for dropout in self.dropouts:
            dropout.rows = batch, self.backend.asarray(rows)

    def start_at(self, update: int) -> None:
        """Set the number of the next update, which determines the masks of dropout."""
        for dropout in self.dropouts:
            dropout.forward_calls = update
