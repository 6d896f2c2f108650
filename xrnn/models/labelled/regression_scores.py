"""The scores of a regression."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np

from xrnn.typing import HostArray


class Scores(NamedTuple):
    mae: float  # mean absolute error
    r2: float | None  # 1 - Σ error² / Σ (target - mean target)²; None if all targets are equal

    @classmethod
    def of(cls, targets: HostArray, predicted: HostArray) -> Self:
        error, spread = targets - predicted, targets - targets.mean()
        total = float(np.square(spread).sum())
        return cls(float(np.abs(error).mean()), 1 - float(np.square(error).sum()) / total if total else None)
