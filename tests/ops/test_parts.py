"""Segments map the columns of the weights to the columns of z that they feed, in the least number of pieces."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from xrnn.ops.parts import ALL, columns, segments


@pytest.mark.parametrize("H", [1, 3])
@pytest.mark.parametrize("pre", [1, 2, 4])
def test_each_part_feeds_its_block(pre: int, H: int) -> None:
    every = np.arange(pre * H)
    for count in range(1, pre + 1):
        for blocks in permutations(range(pre), count):
            for first in range(count):
                found = [
                    (columns(every, part), columns(every, block)) for part, block in segments(blocks, pre, H, first)
                ]
                parts, fed = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
                assert_array_equal(parts, np.arange(first * H, count * H))
                assert_array_equal(fed, [block * H + unit for block in blocks[first:] for unit in range(H)])
                # There is one more piece for each block that is not the neighbour of the one before.
                gaps = sum(
                    after != before + 1 for before, after in zip(blocks[first:], blocks[first + 1 :], strict=False)
                )
                assert len(found) == 1 + gaps


def test_all_parts_in_their_order_need_no_view() -> None:
    assert segments((0, 1, 2), 3, 5) == [(ALL, ALL)]
    array = np.zeros((2, 15))
    assert columns(array, ALL) is array
