"""The model of a series: its gradients, inference, streams, and a training step of the classifier."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.models import checks as models
from tests.models.checks import check_gradients
from tests.needs import BOTH, DWEIGHTS, noted
from xrnn.backend import Backend
from xrnn.cells import CELLS
from xrnn.models.labelled.head import Classes
from xrnn.models.labelled.model import LabelledModel, Running
from xrnn.models.labelled.settings import ClassifierSettings
from xrnn.select import get_backend
from xrnn.typing import Array

SMALL = ClassifierSettings(hidden=4, layers=2)
D, C, LENGTHS = 3, 5, [4, 1, 3]
HEAD = Classes(D, tuple(range(C)))
every_cell = pytest.mark.parametrize("cell", CELLS)
every_way = pytest.mark.parametrize("one_way", [False, True])


def in_float64(settings: ClassifierSettings, backend: Backend) -> LabelledModel:
    model = LabelledModel.init(settings, HEAD, backend)
    return LabelledModel(settings, models.in_float64(model))


def some_batch(backend: Backend, dtype: str = "float64") -> tuple[Array, Array]:
    x = np.random.default_rng(1).standard_normal((4, 3, D)).astype(dtype)
    return backend.asarray(x), backend.asarray(np.array(LENGTHS))


@every_cell
@every_way
def test_gradients_match_differences(backend: Backend, cell: str, one_way: bool) -> None:
    model = in_float64(replace(SMALL, cell=cell, one_way=one_way), backend)
    x, lengths = some_batch(backend)

    def forward() -> Array:
        model.start_at(7)  # one mask for all evaluations
        return model.forward(x, lengths)

    check_gradients(model, forward)


def test_the_series_need_no_gradient(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    model = in_float64(SMALL, backend)
    x, lengths = some_batch(backend)
    asked = noted(monkeypatch, backend)
    model.train_step(HEAD, x, lengths, backend.asarray(np.array([0, 1, 2])))
    assert asked == [BOTH, BOTH, DWEIGHTS, DWEIGHTS]  # two halves of the second layer, then of the first


@every_way
def test_the_output_of_a_series_does_not_depend_on_its_batch(backend: Backend, one_way: bool) -> None:
    model = in_float64(replace(SMALL, one_way=one_way), backend)
    x, lengths = some_batch(backend)
    together = backend.to_numpy(model(x, lengths))
    for n, T in enumerate(LENGTHS):
        alone = model(x[:T, n : n + 1].copy(), backend.asarray(np.array([T])))
        np.testing.assert_allclose(backend.to_numpy(alone)[0], together[n], rtol=1e-9)


@every_cell
def test_a_stream_ends_in_the_output_of_the_complete_series(backend: Backend, cell: str) -> None:
    model = in_float64(replace(SMALL, cell=cell, one_way=True), backend)
    x, _ = some_batch(backend)
    running = Running()
    for T in (1, 2, 3, 4):
        logits, running = model.follow(x[T - 1, :1], running)
        complete = model(x[:T, :1].copy(), backend.asarray(np.array([T])))
        np.testing.assert_allclose(backend.to_numpy(logits), backend.to_numpy(complete), rtol=1e-9)


def test_dropout_is_for_training_only_and_depends_on_the_update(backend: Backend) -> None:
    model = in_float64(SMALL, backend)
    x, lengths = some_batch(backend)
    inferred = backend.to_numpy(model(x, lengths))
    np.testing.assert_array_equal(backend.to_numpy(model(x, lengths)), inferred)
    model.start_at(3)
    trained = [backend.to_numpy(model.forward(x, lengths)) for _ in range(2)]
    assert not np.array_equal(trained[0], trained[1])
    model.start_at(3)
    np.testing.assert_array_equal(backend.to_numpy(model.forward(x, lengths)), trained[0])
    still = in_float64(replace(SMALL, dropout=0.0), backend)
    np.testing.assert_allclose(backend.to_numpy(still.forward(x, lengths)), inferred, rtol=1e-12)


def test_a_training_step_returns_the_loss_and_the_number_of_correct_labels(backend: Backend) -> None:
    model = in_float64(replace(SMALL, dropout=0.0), backend)
    x, lengths = some_batch(backend)
    logits = backend.to_numpy(model(x, lengths))
    targets = np.array([logits[0].argmax(), logits[1].argmin(), logits[2].argmax()])
    loss, hits = model.train_step(HEAD, x, lengths, backend.asarray(targets))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert float(loss) == pytest.approx(-np.log(p[range(3), targets]).mean(), rel=1e-9)
    assert hits is not None
    assert int(hits) == 2


@every_cell
@every_way
def test_the_shapes_are_known_without_a_model(backend: Backend, cell: str, one_way: bool) -> None:
    settings = replace(SMALL, cell=cell, one_way=one_way)
    model = LabelledModel.init(settings, HEAD, backend)
    assert [param.shape for param in model.params] == settings.plan(HEAD).shapes


def test_new_weights_are_the_same_on_every_backend_and_predict_nothing_yet(backend: Backend) -> None:
    model, on_numpy = (LabelledModel.init(SMALL, HEAD, each) for each in (backend, get_backend("numpy")))
    for param, same in zip(model.params, on_numpy.params, strict=True):
        assert param.dtype == np.float32
        np.testing.assert_array_equal(backend.to_numpy(param), same)
    x, lengths = some_batch(backend, "float32")
    loss, _ = model.train_step(HEAD, x, lengths, backend.asarray(np.array([0, 1, 2])))
    assert abs(float(loss) - math.log(C)) < 0.7
