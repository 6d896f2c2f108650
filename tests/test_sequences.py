"""Padding, batches of similar lengths, and the state at the end of each row."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import xrnn
from tests import standin
from tests.errors import one_line, refused
from xrnn import GRU, LSTM, RNN, Bidirectional, Embedding, Stack, batches, gradcheck, last, last_gradient, pad
from xrnn.backend import Backend

D, H = 2, 3
LENGTHS = [3, 5, 1, 4]


# ---- pad ----


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_pad(backend: Backend, dtype: str) -> None:
    arrays = [(np.arange(n * D).reshape(n, D) + 1).astype(dtype) for n in LENGTHS]
    x, lengths = pad([backend.asarray(a) for a in arrays])
    assert backend.owns(x)
    assert backend.owns(lengths)
    assert x.shape == (5, 4, D)
    assert x.dtype == dtype
    assert lengths.dtype == np.int64
    assert_array_equal(backend.to_numpy(lengths), LENGTHS)
    for n, array in enumerate(arrays):
        column = backend.to_numpy(x)[:, n]
        assert_array_equal(column[: len(array)], array)
        assert not column[len(array) :].any()


def test_pad_for_an_embedding_and_of_lists(backend: Backend) -> None:
    index, lengths = pad([backend.asarray(np.array(row, "int64")) for row in ([1, 2], [3], [])])
    assert_array_equal(backend.to_numpy(index), [[1, 3, 0], [2, 0, 0]])
    assert_array_equal(backend.to_numpy(lengths), [2, 1, 0])
    assert Embedding.init(4, D, backend=backend)(index).shape == (2, 3, D)
    x, _ = pad([[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]])
    assert_array_equal(x, [[[1, 2], [3, 4]], [[0, 0], [5, 6]]])


def test_bad_sequences(backend: Backend) -> None:
    xp = backend.xp
    good = xp.zeros((3, D))
    refused(
        (TypeError, lambda: pad(good), "sequences is a ", "expected a list of arrays"),
        (ValueError, lambda: pad([]), "sequences is empty"),
        (ValueError, lambda: pad([good, xp.zeros((3, 5))]), "sequences[1] has shape (3, 5)"),
        (ValueError, lambda: pad([xp.zeros(())]), "sequences[0] has shape ()", "expected (T)"),
    )
    other: Any = standin if backend.name == "numpy" else np
    refused(
        (TypeError, lambda: pad([good, good.astype("float32")]), "sequences[1] has dtype float32, but sequences"),
        (TypeError, lambda: pad([good, other.zeros((3, D))]), "sequences[1] is a ", f"on the {backend.name} backend"),
        (TypeError, lambda: pad([None]), "sequences[0] is a NoneType", "xrnn.asarray(sequences[0])"),  # type: ignore[list-item]
    )
    for array in (np.array(["a"]), np.array([None]), np.array(["2024"], "M8[Y]"), np.array([(1, 2.0)], "i4,f8")):
        with one_line(TypeError, f"sequences[0] has dtype {array.dtype}: expected numbers"):
            pad([array])
        with one_line(TypeError, f"h has dtype {array.dtype}: expected numbers"):
            last(array.reshape(1, 1, 1))


# ---- batches ----


@pytest.mark.parametrize(("count", "size"), [(1, 1), (7, 3), (64, 8), (100, 16), (5, 100), (0, 4)])
def test_each_sequence_is_taken_once(count: int, size: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 50, count)
    found = batches(lengths, size, rng=0)
    assert len(found) == -(-count // size)
    assert sorted(np.concatenate([*found, []])) == list(range(count))
    assert all(len(batch) in (count // len(found), -(-count // len(found))) for batch in found)
    assert all(len(batch) <= size for batch in found)


def test_sequences_of_a_batch_have_similar_lengths() -> None:
    lengths = np.random.default_rng(0).integers(1, 1000, 1024)

    def padded(found: list[Any]) -> float:
        return float(sum(lengths[batch].max() * len(batch) for batch in found) / lengths.sum())

    assert padded(batches(lengths, 32, rng=0)) < 1.35
    assert padded(np.split(np.random.default_rng(0).permutation(1024), 32)) > 1.8


def test_a_seed_repeats_an_order_and_a_generator_goes_on() -> None:
    lengths = list(range(1, 41))
    rng = np.random.default_rng(3)
    first, second = batches(lengths, 4, rng=rng), batches(lengths, 4, rng=rng)
    for got, want in zip(batches(lengths, 4, rng=3), first, strict=True):
        assert_array_equal(got, want)
    assert any(set(a) != set(b) for a, b in zip(first, second, strict=True))
    assert [b.tolist() for b in batches(lengths, 4)] != [b.tolist() for b in batches(lengths, 4)]


def test_the_order_is_the_same_in_every_version() -> None:
    """A resumed run within an epoch depends on it."""
    found = [batch.tolist() for batch in batches([7 * i % 20 + 1 for i in range(20)], 2, rng=0)]
    expected = [[16, 19], [10, 5], [2, 11], [18, 7], [8, 17], [0, 12], [4, 13], [3, 6], [9, 15], [1, 14]]
    assert found == expected


def test_bad_batches() -> None:
    refused(
        (TypeError, lambda: batches([1.5], 2), "lengths has dtype float64", "expected integers"),  # type: ignore[list-item]
        (ValueError, lambda: batches([[1, 2]], 2), "lengths has shape (1, 2)", "expected (count,)"),  # type: ignore[list-item]
        (ValueError, lambda: batches([1, 2], 0), "size is 0", "at least 1"),
    )


# ---- last ----

# The features of the forward direction, and the layer.
LAYERS: dict[str, tuple[int, Any]] = {
    "forward": (H, lambda **options: RNN.init(D, H, **options)),
    "reverse": (0, lambda **options: RNN.init(D, H, reverse=True, **options)),
    "both": (H, lambda **options: Bidirectional.init(LSTM, D, H, **options)),
    # Only the layer tells where directions of unequal sizes meet.
    "unequal": (4, lambda **o: Bidirectional(GRU.init(D, 4, **o), RNN.init(D, 2, reverse=True, **o))),
    "a stack": (
        1,
        lambda rng, **o: Stack(
            [
                GRU.init(D, D, reverse=True, rng=rng, **o),
                Bidirectional(LSTM.init(D, 1, rng=rng, **o), RNN.init(D, 4, reverse=True, rng=rng, **o)),
                xrnn.LayerNorm.init(5, **o),
            ]
        ),
    ),
}


@pytest.mark.parametrize("lengths", [None, [3, 5, 0, 4]], ids=["all", "lengths"])
@pytest.mark.parametrize("name", LAYERS)
def test_last(backend: Backend, name: str, lengths: Any) -> None:
    split, make = LAYERS[name]
    layer = make(rng=0, dtype="float64", backend=backend)
    results = layer.forward(backend.asarray(np.random.default_rng(0).standard_normal((5, 4, D))), lengths=lengths)
    h = results[0] if isinstance(results, tuple) else results
    on_host, ends = backend.to_numpy(h), [max(length - 1, 0) for length in lengths or [5] * 4]
    expected = np.concatenate([on_host[ends, range(4), :split], on_host[0, :, split:]], axis=1)
    directions: list[Any] = [layer, *({name} & {"forward", "reverse", "both"})]
    for direction in directions:
        y = last(h, lengths, direction=direction)
        assert backend.owns(y)
        assert_array_equal(backend.to_numpy(y), expected)
        options = {"lengths": lengths, "direction": direction}
        gradcheck(partial(last, **options), partial(gradient, h, options), [h])
    if isinstance(layer, Bidirectional):  # the states that the layer itself returns
        assert_array_equal(np.concatenate([backend.to_numpy(state[0]) for state in results[1]], axis=1), expected)


def gradient(h: Any, options: dict[str, Any], dy: Any) -> list[Any]:
    return [last_gradient(dy, h, **options)]


def test_bad_last(backend: Backend) -> None:
    xp = backend.xp
    h, both = xp.zeros((5, 4, H)), Bidirectional.init(RNN, 2, 2, backend=backend)
    refused(
        (ValueError, lambda: last(xp.zeros((4, H))), "h has shape (4, 3)", "expected (T, N, H) with T > 0"),
        (ValueError, lambda: last(xp.zeros((0, 4, H))), "h has shape (0, 4, 3)"),
        (ValueError, lambda: last(h, [1, 2, 3]), "lengths has shape (3,)", "expected (4,)"),
        (ValueError, lambda: last(h, direction="back"), "unknown direction 'back'"),  # type: ignore[arg-type]
        (ValueError, lambda: last(h, direction="both"), "h has 3 features", "expected an even number"),
        (ValueError, lambda: last(h, direction=both), "h has 3 features, but the layer in direction gives 4"),
        (TypeError, lambda: last(h, direction=True), "direction is a bool"),  # type: ignore[arg-type]
        (ValueError, lambda: last_gradient(xp.zeros((5, 4)), h), "dy is float64 (5, 4)"),
    )
