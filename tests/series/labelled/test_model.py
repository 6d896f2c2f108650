"""The model of a series: its gradients, inference, streams, the mean over time, and an update of the classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.conftest import STANDIN
from tests.needs import BOTH, DWEIGHTS, noted
from tests.series.labelled.tiny import TINY
from tests.standin.counting import counted
from xrnn import gradcheck
from xrnn.backend import Backend
from xrnn.cells import CELLS
from xrnn.exchange.description import put_together, take_apart
from xrnn.sequences import pad
from xrnn.series.labelled.estimators import Classifier
from xrnn.series.labelled.model import Model, new_layers, patches, streamed
from xrnn.series.scale import Scale
from xrnn.typing import Array, HostArray

SMALL: dict[str, Any] = {"hidden": 4, "layers": 2}
D, C, LENGTHS = 3, 5, [4, 1, 3]
every_cell = pytest.mark.parametrize("cell", CELLS)
every_way = pytest.mark.parametrize("one_way", [False, True])


def made(backend: Backend, outputs: int = C, channels: int = D, **params: Any) -> Model:
    p: Any = Classifier(**params)
    p.channels_, p.classes_ = channels, np.arange(outputs)
    return Model(new_layers(p, 1, backend), p.dropout, p.seed)


def in_float64(backend: Backend, **params: Any) -> Model:
    model, p = made(backend, **SMALL | params), Classifier(**SMALL | params)
    parts = {name: take_apart(layer) for name, layer in model.items()}
    layers = {
        name: put_together(description, {key: array.astype("float64") for key, array in arrays.items()})
        for name, (description, arrays) in parts.items()
    }
    return Model(layers, p.dropout, p.seed)


def start_at(model: Model, update: int) -> None:
    """The number of the next update determines the masks of dropout."""
    for dropout in (*model.stack.dropout, model._dropout):
        dropout.forward_calls = update


def some_batch(backend: Backend, dtype: str = "float64") -> tuple[Array, Array]:
    x = np.random.default_rng(1).standard_normal((4, 3, D)).astype(dtype)
    return backend.asarray(x), backend.asarray(np.array(LENGTHS))


@every_cell
@every_way
def test_gradients_match_differences(backend: Backend, cell: str, one_way: bool) -> None:
    model = in_float64(backend, cell=cell, one_way=one_way)
    (x, lengths), params = some_batch(backend), model.params

    def forward(*weights: Array) -> Array:
        for param, weight in zip(params, weights, strict=True):
            param[...] = weight
        start_at(model, 7)  # one mask for all evaluations
        return model.forward(x, lengths)

    def backward(u: Array) -> list[Array]:
        model.backward(u)
        return model.grads

    gradcheck(forward, backward, [param.copy() for param in params])


def test_the_series_need_no_gradient(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    model = in_float64(backend)
    x, lengths = some_batch(backend)
    asked = noted(monkeypatch, backend)
    model.backward(model.forward(x, lengths))
    assert asked == [BOTH, BOTH, DWEIGHTS, DWEIGHTS]  # two halves of the second layer, then of the first


@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_patch_has_the_values_and_the_changes_of_its_steps(size: int) -> None:
    x = np.random.default_rng(0).standard_normal((5, 2))
    np.testing.assert_array_equal(patches(x, 1), x)
    joined = patches(x[1:], size)
    assert joined.shape == (-(-4 // size), size * 4)
    steps = joined.reshape(-1, 4)
    np.testing.assert_array_equal(steps[:4, :2], x[1:])
    np.testing.assert_array_equal(steps[1:4, 2:], x[2:] - x[1:-1])
    assert np.isnan(steps[0, 2:]).all()
    assert np.isnan(steps[4:]).all()
    steps[0, 2:] = x[1] - x[0]
    np.testing.assert_array_equal(patches(x[1:], size, before=x[0]), joined)


@every_cell
def test_a_stream_ends_in_the_output_of_the_complete_series(backend: Backend, cell: str) -> None:
    model = made(backend, cell=cell, one_way=True, **SMALL)
    x, scale = np.random.default_rng(1).standard_normal((4, D)).astype(np.float32), Scale(np.zeros(D), np.ones(D))
    for T, streamed_y in enumerate(streamed(model, x, scale, 1), start=1):
        np.testing.assert_allclose(streamed_y, model.outputs([x[:T]]), rtol=1e-4, atol=1e-6)


def test_dropout_is_for_training_only_and_depends_on_the_update(backend: Backend) -> None:
    model = in_float64(backend)
    x, lengths = some_batch(backend)
    inferred = backend.to_numpy(model(x, lengths))
    np.testing.assert_array_equal(backend.to_numpy(model(x, lengths)), inferred)
    start_at(model, 3)
    trained = [backend.to_numpy(model.forward(x, lengths)) for _ in range(2)]
    assert not np.array_equal(trained[0], trained[1])
    start_at(model, 3)
    np.testing.assert_array_equal(backend.to_numpy(model.forward(x, lengths)), trained[0])
    still = in_float64(backend, dropout=0.0)
    np.testing.assert_allclose(backend.to_numpy(still.forward(x, lengths)), inferred, rtol=1e-12)


def test_each_series_has_the_mean_over_its_own_length(backend: Backend) -> None:
    model = in_float64(backend)
    x, lengths = some_batch(backend)
    h = backend.to_numpy(model.stack(x, lengths=lengths)[0])
    means = np.array([h[:T, n].mean(axis=0) for n, T in enumerate(LENGTHS)])
    want = backend.to_numpy(model.linear(backend.asarray(means)))
    np.testing.assert_allclose(backend.to_numpy(model(x, lengths)), want, rtol=1e-12)


@every_way
def test_an_output_does_not_depend_on_the_other_series(
    one_way: bool, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made(backend, 3, 2, **TINY, one_way=one_way)
    rng = np.random.default_rng(0)
    series = [rng.standard_normal((T, 2), dtype=np.float32) for T in (4, 1, 6, 2, 2)]
    together = model.outputs(series)
    assert together.dtype == np.float64
    monkeypatch.setattr("xrnn.series.labelled.model._INFERENCE_BATCH", 2)
    np.testing.assert_allclose(model.outputs(series), together, rtol=1e-5, atol=1e-7)
    x, lengths = backend.asarray(series[2][:, None]), backend.asarray(np.array([6]))
    np.testing.assert_allclose(together[2], backend.to_numpy(model(x, lengths))[0], rtol=1e-5, atol=1e-7)


def test_a_batch_takes_two_transfers_there_and_one_back() -> None:
    model = made(STANDIN, 3, 2, **TINY)
    model.outputs([np.ones((3, 2), np.float32)] * 130)  # the first use compares the kernels with the plain form
    with counted() as counters:
        model.outputs([np.ones((3, 2), np.float32)] * 130)
    assert (counters.host_to_device, counters.device_to_host) == (6, 3)


def test_a_long_series_lengthens_no_batch_of_short_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(STANDIN, 3, 2, **TINY)
    monkeypatch.setattr("xrnn.series.labelled.model._INFERENCE_BATCH", 2)
    lengths: list[int] = []

    def noting(series: list[HostArray]) -> tuple[HostArray, HostArray]:
        lengths.append(max(map(len, series)))
        return pad(series)

    monkeypatch.setattr("xrnn.series.labelled.model.pad", noting)
    model.outputs([np.ones((T, 2), np.float32) for T in (9, 1, 9, 1)])
    assert lengths == [1, 9]
