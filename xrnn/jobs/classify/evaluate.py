"""What a trained model makes of series: probabilities, and how often they were right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from xrnn.jobs.classify.model import Classifier
from xrnn.jobs.series.batches import pack, unpack
from xrnn.typing import HostArray

_TOGETHER: Final = 64  # series at a time, so that memory does not grow with their number


def probabilities(model: Classifier, series: Sequence[HostArray]) -> HostArray:
    """p(label | series).   series: scaled, (T, D) float32 each → (count, labels) float64."""
    # A batch costs by its longest series, in time and in memory: so those of like lengths form one.
    by_length = np.argsort([len(values) for values in series], kind="stable")
    sorted_p = np.concatenate([softmax(logits) for logits in _logits(model, [series[i] for i in by_length])])
    p = np.empty_like(sorted_p)
    p[by_length] = sorted_p
    return p


def softmax(logits: HostArray) -> HostArray:
    """By row, in float64."""
    e = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    whole: HostArray = e / e.sum(axis=-1, keepdims=True)
    return whole


def _logits(model: Classifier, series: Sequence[HostArray]) -> Iterator[HostArray]:
    backend = model.backend
    for first in range(0, len(series), _TOGETHER):
        part = series[first : first + _TOGETHER]
        whole, x = pack(part, np.zeros(len(part), np.int32))
        batch, lengths, _ = unpack(backend.asarray(whole), x.shape)
        yield backend.to_numpy(model(batch, lengths))


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """counts[i, j]: how many series of label i were taken for j."""

    counts: HostArray  # (labels, labels) int64

    @classmethod
    def of(cls, truth: HostArray, predicted: HostArray, labels: int) -> Confusion:
        counts = np.zeros((labels, labels), np.int64)
        np.add.at(counts, (truth, predicted), 1)
        return cls(counts)

    @property
    def right(self) -> HostArray:
        """Of each label, (labels,)."""
        return self.counts.diagonal()

    @property
    def of_label(self) -> HostArray:
        """How many series have each label."""
        count: HostArray = self.counts.sum(axis=1)
        return count

    @property
    def taken_for(self) -> HostArray:
        """How many series were taken for each label."""
        count: HostArray = self.counts.sum(axis=0)
        return count

    def __str__(self) -> str:
        right, count = int(self.right.sum()), int(self.counts.sum())
        return f"{right / count:.3f} ({right:,} of {count:,})"
