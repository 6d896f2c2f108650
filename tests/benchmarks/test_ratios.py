"""The arithmetic of the comparison."""

from __future__ import annotations

import pytest

from benchmarks.ratios import fastest, gflops, ratio, share


def test_a_ratio_is_taken_round_by_round() -> None:
    # Both slow down together, as on a shared machine: the ratio of each round is still 2.
    r = ratio([1, 10, 3, 7, 2], [2, 20, 6, 14, 4])
    assert (r.median, r.low, r.high) == (2, 2, 2)


@pytest.mark.parametrize(
    ("theirs", "verdict"),
    [
        ([1.1, 1.2, 1.3, 1.4, 1.5], "ahead"),
        ([0.5, 0.6, 0.7, 0.8, 0.9], "behind"),
        ([0.9, 0.95, 1.1, 1.2, 1.3], "tie"),
        ([0.9, 1.0, 1.0, 1.0, 1.3], "tie"),
        ([0.5, 1.1, 1.2, 1.3, 1.4], "ahead"),  # one disturbed round doesn't undo the other four
    ],
)
def test_a_spread_that_straddles_one_is_a_tie(theirs: list[float], verdict: str) -> None:
    assert ratio([1.0] * 5, theirs).verdict == verdict


def test_both_need_the_same_number_of_rounds() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratio([1.0, 2.0], [1.0])


def test_the_fastest_has_the_lowest_median() -> None:
    assert fastest({"a": [1, 9, 9], "b": [5, 5, 5], "c": [6, 6, 1]}) == "b"


def test_share_of_the_ceiling() -> None:
    assert gflops(2_000_000, 10.0) == 200
    assert share(2_000_000, [10.0, 20.0, 10.0], [400.0, 200.0, 400.0]) == 0.5
