"""Small series that take a moment to learn: waves that rise slowly or quickly."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xrnn.series.one_series import Series
from xrnn.typing import HostArray

LABELS = ["slow", "quick"]


def waves(count: int, seed: int = 0) -> list[Series]:
    """`count` series of 4 to 9 steps and 2 channels, the labels in turn."""
    rng = np.random.default_rng(seed)
    return [_wave(rng, LABELS[i % 2], f"wave {i}") for i in range(count)]


def imbalanced(rare: int, common: int, seed: int = 0) -> list[Series]:
    """Few quick waves after many slow ones."""
    every = waves(2 * common, seed)
    return [each for each in every if each.label == "slow"][:common] + [s for s in every if s.label == "quick"][:rare]


def write_ts(path: Path, series: list[Series], labels: list[str] | None = None) -> Path:
    lines = ["#waves", "@problemName Waves", f"@classLabel true {' '.join(labels or LABELS)}", "@data"]
    lines += [":".join([*(",".join(map(str, channel)) for channel in s.values.T), s.label or ""]) for s in series]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_folder(folder: Path, series: list[Series]) -> Path:
    """The series in turn as .csv and .npy files, in folders of labels."""
    for i, each in enumerate(series):
        of_label = folder / str(each.label)
        of_label.mkdir(parents=True, exist_ok=True)
        if i % 4 < 2:
            write_csv(of_label / f"{i}.csv", each.values)
        else:
            np.save(of_label / f"{i}.npy", each.values)
    return folder


def write_csv(path: Path, values: HostArray) -> Path:
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in values))
    return path


def _wave(rng: np.random.Generator, label: str, name: str) -> Series:
    t = np.arange(rng.integers(4, 10))[:, None] * (0.3 if label == "slow" else 1.5)
    return Series(5 + np.sin(t + np.array([0.0, 1.0])) + rng.normal(0, 0.05, (len(t), 2)), label, name)
