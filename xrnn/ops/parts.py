"""The parts of the weights' columns, and the blocks of z that they feed."""

from __future__ import annotations

import functools
from typing import Final, TypeAlias

from xrnn.typing import Array

Segment: TypeAlias = tuple[slice, slice]  # columns of the weights, columns of z

ALL: Final = slice(None)


@functools.lru_cache(maxsize=256)  # a small step's products take less time than this
def segments(blocks: tuple[int, ...], pre: int, H: int, first: int = 0) -> list[Segment]:
    """A segment for each run of parts, from number `first` on, that feed neighbouring blocks of z.

    blocks   the block that each part feeds, those before `first` included
    pre      blocks of z; where all parts feed all blocks in their order, the one segment says ALL
    """
    runs: list[list[int]] = []  # first part, first block, how many
    for part, block in enumerate(blocks[first:], first):
        if runs and block == runs[-1][1] + runs[-1][2]:
            runs[-1][2] += 1
        else:
            runs.append([part, block, 1])
    if runs == [[0, 0, pre]]:
        return [(ALL, ALL)]
    return [(slice(p * H, (p + n) * H), slice(b * H, (b + n) * H)) for p, b, n in runs]


def columns(array: Array, part: slice) -> Array:
    """array[..., part]; the array itself for ALL, since making a view takes longer than adding up a small array."""
    if part is ALL:
        return array
    some: Array = array[..., part]
    return some
