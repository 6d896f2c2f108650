"""The settings of a training run: what a resumed run must share with the one it continues."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from xrnn.jobs.charlm.errors import SettingsError

_MOST: Final = 2**20


@dataclass(frozen=True, slots=True)
class Settings:
    """Sizes, learning rate and seed. Raises SettingsError for values that make no sense."""

    hidden: int = 256  # H, of every layer
    layers: int = 1
    seq_len: int = 64  # T, the steps that the gradient goes back
    batch: int = 64  # N
    lr: float = 0.003  # at its highest, see `trainer.learning_rate`
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("hidden", "layers", "seq_len", "batch"):
            if not 1 <= (value := getattr(self, name)) <= _MOST:
                raise SettingsError(f"{option(name)} is {value}: expected a whole number from 1 to {_MOST}")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise SettingsError(f"--lr is {self.lr}: expected a positive, finite number, such as 0.003")
        if self.seed < 0:
            raise SettingsError(f"--seed is {self.seed}: expected a whole number of at least 0")


def option(name: str) -> str:
    """The command-line option of a setting."""
    return f"--{name.replace('_', '-')}"
