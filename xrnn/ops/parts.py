"""The parts of the weights' columns, and the blocks of z that they feed."""

from __future__ import annotations

import functools
from typing import Final, TypeAlias

from xrnn.typing import Array

Segment: TypeAlias = tuple[slice, slice]  # columns of the weights, columns of z

ALL: Final = slice(None)


@functools.lru_cache(maxsize=256)  # computing them takes longer than a small step's products
def segments(blocks: tuple[int, ...], pre: int, H: int, first: int = 0) -> list[Segment]:
    """The columns of parts `first`, `first` + 1, … of the weights, and the columns of z that they feed.

    Neighbouring parts that feed neighbouring blocks share a segment. If all parts feed all blocks in their order, the
    one segment is ALL.

    blocks   the block that each part feeds, from part 0 on
    pre      the number of blocks of z
    """
    runs: list[list[int]] = []  # first part, first block, number of parts
    for part, block in enumerate(blocks[first:], first):
        if runs and block == runs[-1][1] + runs[-1][2]:
            runs[-1][2] += 1
        else:
            runs.append([part, block, 1])
    if runs == [[0, 0, pre]]:
        return [(ALL, ALL)]
    return [(slice(p * H, (p + n) * H), slice(b * H, (b + n) * H)) for p, b, n in runs]


def columns(array: Array, part: slice) -> Array:
    """array[..., part]. For ALL the array itself, since a view takes longer to make than a small sum."""
    if part is ALL:
        return array
    return array[..., part]
