"""The scores of a classifier, computed from its confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xrnn.typing import HostArray


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """counts[i, j]: the number of series with label i that were predicted as j."""

    counts: HostArray  # (labels, labels) int64

    @classmethod
    def of(cls, truth: HostArray, predicted: HostArray, labels: int) -> Confusion:
        counts = np.zeros((labels, labels), np.int64)
        np.add.at(counts, (truth, predicted), 1)
        return cls(counts)

    @property
    def correct(self) -> HostArray:
        """The number of correctly predicted series with each label, (labels,)."""
        return self.counts.diagonal()

    @property
    def support(self) -> HostArray:
        """The number of series with each label, (labels,)."""
        count: HostArray = self.counts.sum(axis=1)
        return count

    @property
    def predicted(self) -> HostArray:
        """The number of series that were predicted as each label, (labels,)."""
        count: HostArray = self.counts.sum(axis=0)
        return count

    @property
    def accuracy(self) -> float:
        return float(self.correct.sum() / self.counts.sum())

    @property
    def balanced_accuracy(self) -> float:
        """The mean recall, over the labels that occur."""
        occurs = self.support > 0
        return float((self.correct[occurs] / self.support[occurs]).mean())

    @property
    def macro_f1(self) -> float:
        """The mean of 2 · correct / (support + predicted), over the labels that occur or were predicted."""
        total = self.support + self.predicted
        return float((2 * self.correct[total > 0] / total[total > 0]).mean())

    @property
    def never_predicted(self) -> list[int]:
        """The indices of labels that occur but were never predicted."""
        return np.flatnonzero((self.support > 0) & (self.predicted == 0)).tolist()

    def most_confused(self, most: int) -> list[tuple[int, int, int]]:
        """Up to `most` wrong pairs (true label, predicted label, count), the largest count first."""
        wrong = self.counts - np.diag(self.correct)
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        pairs = ((*map(int, np.unravel_index(place, wrong.shape)), int(wrong.flat[place])) for place in order)
        return [(i, j, count) for i, j, count in pairs if count]

    def __str__(self) -> str:
        return f"{self.accuracy:.3f} ({int(self.correct.sum()):,} of {int(self.counts.sum()):,})"
