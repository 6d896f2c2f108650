"""The methods beside `xrnn classify`, and their table."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import classify
from xrnn.series.one_series import Series
from xrnn.typing import HostArray

pytestmark = pytest.mark.needs("torch", "bench")


def test_scores_are_accuracies_and_relative_errors() -> None:
    def last(X: list[HostArray], y: HostArray, X_test: list[HostArray], seed: int) -> HostArray:
        return np.repeat(y[-1:], len(X_test))

    def series(*labels: str) -> list[Series]:
        return [Series(np.ones((2, 1)), label, "s") for label in labels]

    assert classify.measure(last, series("a", "b"), series("b", "a", "a", "b"), False).scores == [0.5]
    assert classify.measure(last, series("1", "3"), series("5", "3"), True).scores == [0.5]  # of |5 - 2| + |3 - 2|


def test_the_score_of_a_random_method_is_the_median_over_seeds() -> None:
    def nth(X: list[HostArray], y: HostArray, X_test: list[HostArray], seed: int) -> HostArray:
        return np.array(["a"] * [1, 3, 2][seed] + ["b"] * [3, 1, 2][seed])

    parts = [Series(np.ones((2, 1)), "a", "s")] * 4
    measured = classify.measure(nth, parts, parts, False, seeds=3)
    assert measured.scores == [0.25, 0.75, 0.5]
    assert measured.score == 0.5
