"""`World` between threads: on NumPy, and on the stand-in for CuPy and NCCL with a device for each rank."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests import standin
from tests.conftest import STANDIN
from tests.errors import one_line
from tests.parallel.threads import Group, ThreadRanks
from tests.standin import counting, distributed
from xrnn import RNN, SGD, get_backend
from xrnn.backend import Backend, BackendUnavailableError
from xrnn.parallel import ParallelError, World, world

SHAPES: list[tuple[int, ...]] = [(3, 4), (5,), ()]


@pytest.fixture(params=["numpy", "standin"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Not on a GPU: the ranks of one process would share it."""
    return get_backend("numpy") if request.param == "numpy" else STANDIN


@pytest.fixture(params=[2, 3])
def group(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Group:
    group = Group(request.param)
    monkeypatch.setattr(distributed, "group", group)
    for module in ("_device", "cuda.runtime"):
        monkeypatch.setattr(f"tests.standin.{module}.DEVICE_COUNT", group.size)
    return group


def on_device_of(rank: int, backend: Backend) -> contextlib.AbstractContextManager[Any]:
    return standin.cuda.Device(rank) if backend.xp is standin else contextlib.nullcontext()


def gradients(rank: int) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    rng = np.random.default_rng(rank)
    return [rng.standard_normal(shape, dtype=np.float32) for shape in SHAPES]


@pytest.mark.parametrize("reducer", [False, True])
@pytest.mark.parametrize("weights", [(1, 1, 1), (64, 64, 63), (0, 2, 1)])
def test_the_weighted_mean(backend: Backend, group: Group, weights: tuple[int, ...], reducer: bool) -> None:
    """Of `mean`, and of a reducer. A rank with weight 0 may hold NaN."""

    def work(ranks: ThreadRanks) -> list[Any]:
        with on_device_of(ranks.rank, backend):
            comm, weight = World(ranks), weights[ranks.rank]
            arrays = [backend.asarray(g) for g in gradients(ranks.rank)]
            if not weight:
                arrays[0][...] = np.nan
                arrays[1][0] = np.inf
            given = [array[...] for array in arrays]
            average = comm.reducer(arrays) if reducer else comm.mean
            average(arrays, weight)
            average([backend.asarray(g) for g in gradients(9)])  # the buffer is used again: results must not change
            return [backend.to_numpy(array) for array in given]

    used = np.array(weights[: group.size], float)
    each = [gradients(rank) for rank in range(group.size)]
    for result in group.run(work):
        for i, array in enumerate(result):
            expected = sum(w * g[i].astype(float) for w, g in zip(used, each, strict=True)) / used.sum()
            np.testing.assert_allclose(array, expected, rtol=1e-6, atol=1e-7)
            assert array.dtype == np.float32


LARGEST, SMALLEST = float(np.finfo("float32").max), float(np.finfo("float32").tiny)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "weights", [(1, 1, 1), (8, 8, 8), (0.3, 0.7, 0.2), (1e-30, 3e-30, 0), (LARGEST, LARGEST, SMALLEST), (1, 100, 0)]
)
def test_the_mean_of_extreme_numbers(backend: Backend, group: Group, weights: tuple[float, ...], dtype: str) -> None:
    """It neither overflows nor underflows, and it has the same bits in all ranks."""
    largest, smallest = float(np.finfo(dtype).max), 8 * float(np.finfo(dtype).tiny)
    numbers = np.array([[largest, largest, -largest, 1, smallest], [largest, -largest, -largest, 3, smallest]] * 2)
    numbers = numbers.astype(dtype)

    def work(ranks: ThreadRanks) -> Any:
        with on_device_of(ranks.rank, backend):
            array = backend.asarray(numbers[ranks.rank])
            World(ranks).reducer([array])([array], weights[ranks.rank])
            return backend.to_numpy(array)

    first, *others = group.run(work)
    used = np.array(weights[: group.size]) / np.sum(weights[: group.size])
    expected = (used[:, None] * numbers[: group.size]).sum(axis=0)
    np.testing.assert_allclose(first, np.clip(expected, -largest, largest), rtol=1e-6, atol=1e-7 * largest)
    np.testing.assert_allclose(first[3:], expected[3:], rtol=1e-6)
    assert first.dtype == dtype
    for other in others:
        np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize("weights", [(1, 1), (64, 63), (0.25, 3)])
def test_the_mean_has_the_bits_of_its_formula(weights: tuple[float, float]) -> None:
    rng = np.random.default_rng(0)
    numbers = [rng.standard_normal(1000, "f4") * np.float32(10) ** rng.integers(-30, 36, 1000) for _ in "ab"]

    def work(ranks: ThreadRanks) -> Any:
        World(ranks).mean([x := numbers[ranks.rank].copy()], weights[ranks.rank])
        return x

    total = sum(np.float32(w) * x for w, x in zip(weights, numbers, strict=True))
    for result in Group(2).run(work):
        np.testing.assert_array_equal(result, total / np.float32(sum(weights)))


def test_nan_and_infinity_of_a_rank_are_in_the_mean_beside_numbers_that_overflow() -> None:
    numbers = np.array([[np.inf, np.nan, np.inf, 3e38], [1, 1, -np.inf, 3e38]], "float32")

    def work(ranks: ThreadRanks) -> Any:
        for count in (3, 4):  # without and with the large numbers
            World(ranks).mean([x := numbers[ranks.rank, :count].copy()])
            np.testing.assert_array_equal(x, np.array([np.inf, np.nan, np.nan, 3e38], "float32")[:count])

    Group(2).run(work)


def test_broadcast_copies_the_weights_of_rank_0(backend: Backend, group: Group) -> None:
    def work(ranks: ThreadRanks) -> list[Any]:
        with on_device_of(ranks.rank, backend):
            layer = RNN.init(3, 4, rng=ranks.rank, backend=backend)
            h = layer.forward(backend.asarray(np.ones((2, 1, 3), np.float32)))
            World(ranks).broadcast(SGD([layer]).params)
            with pytest.raises(RuntimeError, match="weights"):  # the layer has noticed that its weights changed
                layer.backward(h)
            return [backend.to_numpy(p) for p in layer.params]

    expected = [backend.to_numpy(p) for p in RNN.init(3, 4, rng=0, backend=backend).params]
    for result in group.run(work):
        for array, of_rank_0 in zip(result, expected, strict=True):
            np.testing.assert_array_equal(array, of_rank_0)


def test_gather_gives_rank_0_the_arrays_of_all(backend: Backend, group: Group) -> None:
    def work(ranks: ThreadRanks) -> list[Any]:
        with on_device_of(ranks.rank, backend):
            comm = World(ranks)
            comm.barrier()
            return comm.gather(backend.asarray(np.full((ranks.rank, 2), ranks.rank, np.int32)))

    first, *others = group.run(work)
    assert others == [[]] * (group.size - 1)
    for rank, array in enumerate(first):
        np.testing.assert_array_equal(array, np.full((rank, 2), rank, np.int32))
        assert array.dtype == np.int32


@pytest.mark.parametrize("group", [2], indirect=True)
def test_gradients_on_a_gpu_are_averaged_on_the_current_stream(group: Group) -> None:
    """One all-reduce a call, on the stream of the caller, and the host does not wait for the device."""
    streams = [standin.cuda.Stream(), standin.cuda.Stream()]

    def prepare(ranks: ThreadRanks) -> tuple[Any, list[Any]]:
        with standin.cuda.Device(ranks.rank):
            arrays = [standin.asarray(g) for g in gradients(ranks.rank)]
            return World(ranks).reducer(arrays), arrays

    prepared = group.run(prepare)

    def work(ranks: ThreadRanks) -> None:
        reduce, arrays = prepared[ranks.rank]
        with standin.cuda.Device(ranks.rank), streams[ranks.rank]:
            for _ in range(3):
                reduce(arrays, 3)

    with counting.no_waiting(), counting.counted() as counted:
        group.run(work)
    assert counted.streams == set(streams)
    calls = sorted(group.calls, key=lambda call: call[0])
    assert calls == [(rank, "all_reduce", stream) for rank, stream in enumerate(streams) for _ in range(3)]


def test_no_nccl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.standin.cuda.nccl.available", False)
    with one_line(BackendUnavailableError, "NCCL", "nccl", "XRNN_BACKEND=numpy"):
        Group(2).run(lambda ranks: World(ranks).mean([standin.zeros(2)]))


def test_one_process(backend: Backend) -> None:
    comm = world()
    x = backend.xp.ones(3)
    comm.mean([x], 5)
    comm.reducer([x])([x], 5)
    comm.broadcast([x])
    comm.barrier()
    assert (comm.rank, comm.size, comm.local_rank) == (0, 1, 0)
    np.testing.assert_array_equal(comm.gather(x)[0], np.ones(3))
    assert repr(comm) == "<xrnn.parallel: rank 0 of 1>"


def fails(kind: type[Exception], call: Callable[[World, int], object], *words: str, size: int = 2) -> None:
    """`call(comm, rank)` raises this error in each rank."""

    def work(ranks: ThreadRanks) -> bool:
        with one_line(kind, *words):
            call(World(ranks if size > 1 else None), ranks.rank)
        return True

    assert Group(size).run(work) == [True] * size


@pytest.mark.parametrize("size", [1, 2])
def test_arrays_that_mean_and_a_reducer_refuse(size: int) -> None:
    rows: list[tuple[type[Exception], Any, list[str]]] = [
        (TypeError, np.zeros(2), ["optimizer.grads"]),
        (ValueError, [], ["empty"]),
        (TypeError, [[0.0]], ["arrays[0]"]),
        (TypeError, [np.zeros(2, int)], ["int64", "float32"]),
        (TypeError, [np.zeros(2), np.zeros(2, np.float32)], ["one dtype", "arrays[1]"]),
        (TypeError, [np.zeros(2), standin.zeros(2)], ["arrays[1]", "xrnn.asarray"]),
    ]
    for kind, arrays, words in rows:
        fails(kind, lambda comm, _, arrays=arrays: comm.mean(arrays), *words, size=size)  # type: ignore[misc]
        fails(kind, lambda comm, _, arrays=arrays: comm.reducer(arrays), *words, size=size)  # type: ignore[misc]
        fails(kind, lambda comm, _, arrays=arrays: comm.reducer([np.zeros(2)])(arrays), *words, size=size)  # type: ignore[misc]
    fails(TypeError, lambda comm, _: comm.broadcast([[0.0]]), "arrays is a list", size=size)  # type: ignore[list-item]


def test_arrays_and_weights_that_differ_between_ranks() -> None:
    many, small = [np.zeros(2)] * 100, [np.zeros(2, np.float32)]
    fails(ValueError, lambda comm, rank: comm.mean([[np, standin][rank].zeros(2)]), "numpy", "cupy")
    fails(ValueError, lambda comm, rank: comm.mean([np.zeros(2 + rank)]), "rank 0 has", "(2,)", "rank 1 has", "(3,)")
    # The text of all sizes is too long for the message.
    fails(ValueError, lambda comm, rank: comm.mean([*many, np.zeros((2 + rank, 1))]), "202 numbers", "203 numbers")
    fails(ValueError, lambda comm, rank: comm.mean(small, -1.0), "weight")
    fails(ValueError, lambda comm, rank: comm.mean(small, 0), "weight is 0 in all ranks")
    for weight in (1e-46, 1e39):  # float32 does not hold them
        fails(ValueError, lambda comm, _, w=weight: comm.mean(small, w), "weight is 1e", "expected 0, or a number")  # type: ignore[misc]
    fails(ValueError, lambda comm, rank: comm.gather(np.zeros((1, 2 + rank))), "(·, 2)", "(·, 3)")


@pytest.mark.parametrize("group", [2], indirect=True)
@pytest.mark.parametrize("sizes", [(2, 3), (3, 2), (4, 5)])
def test_equal_sizes_work_after_sizes_that_differ(backend: Backend, group: Group, sizes: tuple[int, int]) -> None:
    def work(ranks: ThreadRanks) -> list[float]:
        with on_device_of(ranks.rank, backend):
            comm, means = World(ranks), []
            for average in (comm.mean, comm.reducer):
                with one_line(ValueError, f"rank 0 has 1 arrays with {sizes[0]} numbers", f"({sizes[1]},)"):
                    average([backend.xp.ones(sizes[ranks.rank])])
            for size in (2, 3, 2, 3):
                comm.mean([x := backend.xp.full(size, float(ranks.rank))])
                means += backend.to_numpy(x).tolist()
            return means

    assert group.run(work) == [[0.5] * 10] * 2


@pytest.mark.parametrize(("reducer", "messages"), [(False, 3), (True, 2)])
def test_the_number_of_messages_of_a_call(reducer: bool, messages: int) -> None:
    group = Group(2)

    def work(ranks: ThreadRanks) -> int:
        comm, arrays = World(ranks), [np.zeros((3, 2)), np.ones(4)]
        average = comm.reducer(arrays) if reducer else comm.mean
        before = group.messages
        for _ in range(3):
            average(arrays)
        return group.messages - before

    assert group.run(work)[0] == 3 * messages  # rank 0 counts


def test_arrays_that_a_reducer_was_not_made_for(backend: Backend) -> None:
    xp = backend.xp
    for others, words in (
        ([xp.zeros(3), xp.zeros(())], f"arrays are 2 {backend.name} arrays, float64, (3,), ()"),
        ([xp.zeros(2)], "arrays are 1 "),
        ([xp.zeros(2, "float32"), xp.zeros((), "float32")], "float32"),
    ):
        with one_line(ValueError, words, "this reducer was made for 2 ", "make another reducer"):
            World(ThreadRanks(Group(1), 0)).reducer([xp.zeros(2), xp.zeros(())])(others)


def test_too_many_reducers() -> None:
    comm, x = World(ThreadRanks(Group(1), 0)), np.zeros(1)
    for _ in range(1000):
        comm.reducer([x])([x])
    with one_line(ValueError, "this is reducer 1,001: expected one for each list of arrays"):
        comm.reducer([x])


def test_different_calls() -> None:
    """Each rank learns of it when it makes the call. `tests/parallel/test_mpi.py` has the calls of a reducer."""
    calls: dict[str, Any] = {
        "mean": lambda comm: comm.mean([np.zeros(2)]),
        "broadcast": lambda comm: comm.broadcast([np.zeros(2)]),
        "gather": lambda comm: comm.gather(np.zeros(2)),
        "barrier": lambda comm: comm.barrier(),
        "reducer": lambda comm: comm.reducer([np.zeros(2)]),
    }
    for names in itertools.permutations(calls, 2):
        words = f"rank 0 has reached {names[0]}, rank 1 has reached {names[1]}: expected"
        fails(ParallelError, lambda comm, rank, names=names: calls[names[rank]](comm), words)  # type: ignore[misc]
