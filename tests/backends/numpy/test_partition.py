"""How a recurrence is divided among threads."""

from __future__ import annotations

from typing import Any

import pytest

from xrnn.backends.numpy import kernels


def partition(T: int, N: int, D: int, H: int, itemsize: int = 4, max_threads: int = 8) -> tuple[int, str, bool]:
    result: Any = kernels.partition(T, N, D + H, H, itemsize, max_threads, (D, H))
    return result


@pytest.mark.parametrize("sizes", [(1, 1, 64, 64), (50, 1, 64, 64), (0, 5, 5, 5), (5, 0, 5, 5), (5, 5, 5, 0)])
def test_small_problems_stay_on_one_thread(sizes: tuple[int, int, int, int]) -> None:
    assert partition(*sizes)[0] == 1


def test_many_rows_are_divided_and_columns_if_there_are_few_rows_and_wide_weights() -> None:
    assert partition(50, 256, 64, 64, max_threads=2)[:2] == (2, "rows")
    assert partition(50, 512, 256, 256)[:2] == (8, "rows")
    assert partition(20, 1, 1024, 1024)[:2] == (8, "columns")
    assert partition(20, 16, 1024, 1024, max_threads=2)[:2] == (2, "columns")


def test_rows_are_divided_if_the_weights_fit_the_second_level_cache() -> None:
    """Each thread then reads all weights in every step, here 960 KiB."""
    try:
        kernels.set_l2(2**20)
        assert partition(50, 16, 256, 384, max_threads=2)[:2] == (2, "columns")
        kernels.set_l2(2 * 2**20)
        assert partition(50, 16, 256, 384, max_threads=2)[:2] == (2, "rows")
    finally:
        kernels.set_l2(None)


def test_a_thread_gets_the_rows_of_complete_tiles() -> None:
    """Tiles have 16 rows: with 32 rows, more than two threads divide the columns."""
    assert partition(50, 32, 128, 128)[:2] == (8, "rows")
    for threads, split in ((2, "rows"), (8, "columns")):
        found = kernels.partition(50, 32, 256, 128, 4, threads, (128, 128), tiles=True)
        assert found[:2] == (threads, split)


def test_the_input_is_projected_first_with_few_rows_or_many_weights_of_the_input() -> None:
    assert partition(50, 3, 64, 64)[2]
    assert not partition(50, 4, 64, 64)[2]
    assert partition(50, 64, 512, 1024)[2]
    assert not partition(50, 64, 511, 1024)[2]
    assert not partition(50, 65, 512, 1024)[2]
    assert partition(50, 64, 256, 1024, itemsize=8)[2]


@pytest.mark.parametrize("max_threads", [1, 2, 3, 64])
def test_never_more_threads_than_allowed_or_than_rows(max_threads: int) -> None:
    for N in (1, 2, 7, 33, 100):
        threads, split, _ = partition(100, N, 300, 300, max_threads=max_threads)
        assert 1 <= threads <= max_threads
        assert split == "columns" or threads <= max(N, 1)


def test_a_thread_is_woken_for_much_arithmetic_or_for_weights_larger_than_the_caches() -> None:
    assert not kernels.is_worth_waking(24_999_999, 4, 16 * 2**20 - 1)
    assert kernels.is_worth_waking(25_000_000, 4, 0)
    assert kernels.is_worth_waking(12_500_000, 8, 0)
    assert kernels.is_worth_waking(1, 4, 16 * 2**20)


@pytest.mark.parametrize("size", [3 * 10**9, 10**18])
def test_sizes_that_no_machine_holds(size: int) -> None:
    """`xrnn info` may ask about them. Their product exceeds 64 bits."""
    assert partition(size, size, size, size)[:2] == (8, "rows")
    assert partition(size, 1, 1, size)[:2] == (8, "columns")
    assert partition(1, 1, 1, size)[0] == 8
