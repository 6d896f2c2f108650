"""Weights that change between forward and backward, in any way, are noticed with `use_weight_checks`."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from tests.errors import one_line
from tests.fresh import output_of
from tests.layers.kinds import KINDS, first, made
from xrnn import GRU, LSTM, RNN, SGD, Stack, use_weight_checks
from xrnn.backend import Backend

TRAINED: Final = [kind for kind in KINDS[:-1] if kind != "Embedding"]  # an Embedding's backward doesn't read its table
T, N, D, H = 5, 3, 4, 6


def in_place(param: Any) -> None:
    param += 1


def of_one_value(param: Any) -> None:
    param[(-1,) * param.ndim] += 1


def through_a_view(param: Any) -> None:
    param[::-1][-1:].reshape(-1)[:1] = 7  # the first value


def in_another_thread(param: Any) -> None:
    thread = threading.Thread(target=of_one_value, args=(param,))
    thread.start()
    thread.join()


def by_copyto(param: Any) -> None:
    np.copyto(param, np.full(param.shape, 0.5, param.dtype))


def by_a_buffer(param: Any) -> None:
    memoryview(param).cast("B")[0] ^= 1  # the lowest bit of the first value


def to_nan(param: Any) -> None:
    param[0] = np.nan


WAYS: Final = [in_place, of_one_value, through_a_view, in_another_thread, by_copyto, by_a_buffer, to_nan]


@pytest.mark.parametrize("kind", TRAINED)
def test_each_parameter_of_each_layer(backend: Backend, kind: str) -> None:
    layer, x = made(kind, backend)
    with use_weight_checks():
        dy = first(layer.forward(x))
    layer.backward(dy)
    for name, param in layer.named_params.items():
        before = param.copy()
        param[...] += 1
        with one_line(
            RuntimeError,
            f"{name.rpartition('.')[2]} of this ",
            " has changed in ",
            " values since that forward: expected the weights it ran with; ",
            "call backward before the change, or forward again",
        ):
            layer.backward(dy)
        param[...] = before
    layer.backward(dy)


@pytest.mark.parametrize("change", WAYS)
@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
def test_each_way(kind: Any, change: Callable[[Any], None]) -> None:
    layer = kind.init(D, H, rng=0, backend="numpy")
    with use_weight_checks():
        dh = first(layer.forward(np.ones((T, N, D), "float32")))
    change(layer.Wh)
    counted = int((layer.Wh != kind.init(D, H, rng=0, backend="numpy").Wh).sum())
    with one_line(RuntimeError, f"Wh of this {layer!r} has changed in {counted} of {layer.Wh.size} values"):
        layer.backward(dh)
    with use_weight_checks():
        dh = first(layer.forward(np.ones((T, N, D), "float32")))
    layer.backward(dh)


def test_a_file_in_memory(tmp_path: Path) -> None:
    """A change of the file through another mapping of it."""
    made = RNN.init(D, H, rng=0, backend="numpy")
    path = tmp_path / "Wh"
    path.write_bytes(made.Wh.tobytes())
    mapped, other = (np.memmap(path, "float32", "r+", shape=(H, H)) for _ in range(2))
    layer = RNN(made.Wx, np.asarray(mapped), made.b)
    with use_weight_checks():
        dh = layer.forward(np.ones((T, N, D), "float32"))
    other[2, 3] += 1
    with one_line(RuntimeError, f"Wh of this {layer!r} has changed in 1 of 36 values"):
        layer.backward(dh)


def test_an_earlier_cache_and_a_change_that_was_undone(backend: Backend) -> None:
    layer = LSTM.init(D, H, rng=0, backend=backend)
    x = backend.xp.ones((T, N, D), "float32")
    with use_weight_checks():
        dh, _ = layer.forward(x)
        earlier = layer.cache
        layer.b[0] += 1
        layer.forward(x)
        layer.backward(dh)
        with one_line(RuntimeError, "b of this LSTM(4 → 6, ", "has changed in 1 of 24 values"):
            layer.backward(dh, cache=earlier)
        layer.b[0] -= 1
        layer.backward(dh, cache=earlier)


def test_weights_that_are_not_a_number_can_stay(backend: Backend) -> None:
    layer = RNN.init(D, H, rng=0, backend=backend)
    layer.Wh[0, 0] = np.nan
    with use_weight_checks():
        dh = layer.forward(backend.xp.ones((T, N, D), "float32"))
    layer.backward(dh)


def test_an_update_has_its_own_error(backend: Backend) -> None:
    layer = RNN.init(D, H, rng=0, backend=backend)
    layer.grads[0][...] = 1
    with use_weight_checks():
        dh = layer.forward(backend.xp.ones((T, N, D), "float32"))
    SGD([layer]).step()
    with one_line(RuntimeError, "the weights of this RNN have been updated since that forward"):
        layer.backward(dh)


def test_the_results_are_the_same_and_copies_keep_no_weights(backend: Backend) -> None:
    def results(layer: Any) -> list[Any]:
        h, _ = layer.forward(backend.xp.ones((T, N, D), "float32"))
        dx, _ = layer.backward(h)
        return [backend.to_numpy(array).tobytes() for array in (h, dx, *layer.grads)]

    stack = Stack([LSTM.init(D, H, rng=0, backend=backend), GRU.init(H, H, rng=0, backend=backend)])
    expected = results(copy.deepcopy(stack))
    with use_weight_checks():
        assert results(stack) == expected
    assert [len(part.cache.weights) for part in stack.layers] == [3, 3]
    assert copy.deepcopy(stack.layers[0]).cache is None
    assert results(stack) == expected
    assert [part.cache.weights for part in stack.layers] == [None, None]


def test_the_environment() -> None:
    code = """
import numpy, xrnn
layer = xrnn.RNN.init(2, 3, rng=0, backend="numpy")
for _ in range(2):
    dh = layer.forward(numpy.ones((4, 2, 2), "float32"))
    layer.Wh += 1
    try:
        layer.backward(dh)
        print("unnoticed")
    except RuntimeError as error:
        print(str(error).partition(" since")[0])
"""
    noticed = "Wh of this RNN(2 → 3, 18 parameters, float32, numpy) has changed in 9 of 9 values"
    assert output_of(code, XRNN_CHECK_WEIGHTS=" 1 ", PYTHONIOENCODING="utf-8").splitlines() == [noticed] * 2
    assert output_of(code).splitlines() == ["unnoticed"] * 2
