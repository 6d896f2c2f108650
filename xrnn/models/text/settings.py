"""The settings of a character-level language model."""

from __future__ import annotations

from dataclasses import dataclass

from xrnn.models.settings import Settings, cell, size


@dataclass(frozen=True, slots=True)
class CharLMSettings(Settings):
    """Raises SettingsError for invalid values."""

    cell: str = cell("rnn")
    hidden: int = size(256, "Size of the hidden state, H.")
    batch: int = size(64, "Batch size, N: places in the text that are read in parallel.")
    seq_len: int = size(64, "Number of time steps of truncated BPTT, T.")

    @property
    def training(self) -> str:
        return f"{self.batch} streams × {self.seq_len} steps; lr {self.lr:g}"
