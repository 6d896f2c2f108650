"""The settings of a language model's run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xrnn.jobs import settings


@dataclass(frozen=True, slots=True)
class CharLMSettings(settings.Settings):
    """Raises SettingsError for values that make no sense."""

    cell: str = "rnn"
    hidden: int = 256
    layers: int = 1
    batch: int = 64  # the streams that are read side by side
    lr: float = 0.003  # see `trainer.learning_rate`
    seed: int = 0
    seq_len: int = 64  # T, the steps that the gradient goes back

    sizes: ClassVar[tuple[str, ...]] = ("hidden", "layers", "seq_len", "batch")

    @property
    def training(self) -> str:
        return f"{self.batch} streams × {self.seq_len} steps; lr {self.lr:g}"
