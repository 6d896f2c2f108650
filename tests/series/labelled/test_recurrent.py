"""The recurrent model: gradients, inference, streams; its training; the choice of the patch and the scaling."""

from __future__ import annotations

import itertools
import math
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.conftest import STANDIN
from tests.gradient_choices import BOTH, DWEIGHTS, noted
from tests.series.labelled.tiny import TINY, prepared
from tests.series.waves import imbalanced, waves
from tests.standin.counting import counted
from xrnn import gradcheck
from xrnn.arrays.select import use_backend
from xrnn.backend import Backend
from xrnn.cells import CELLS
from xrnn.exchange.description import put_together, take_apart
from xrnn.sequences import pad
from xrnn.series.errors import DivergedError
from xrnn.series.labelled import recurrent
from xrnn.series.labelled.base import Watcher, probabilities, targets_of
from xrnn.series.labelled.estimators import Classifier, Regressor
from xrnn.series.labelled.recurrent import SeriesNetwork, Training, choose, patches
from xrnn.series.one_series import Series
from xrnn.typing import Array, HostArray

SMALL: dict[str, Any] = {"hidden": 4, "layers": 2}
D = 3
C = 5
LENGTHS = [4, 1, 3]
every_cell = pytest.mark.parametrize("cell", CELLS)
every_way = pytest.mark.parametrize("one_way", [False, True])


def made(backend: Backend, outputs: int = C, channels: int = D, **params: Any) -> SeriesNetwork:
    with use_backend(backend):
        return SeriesNetwork.new(Classifier(**params), channels, outputs)


def in_float64(backend: Backend, **params: Any) -> SeriesNetwork:
    model = made(backend, **SMALL | params)
    p = Classifier(**SMALL | params)
    parts = {name: take_apart(layer) for name, layer in model.items()}
    layers = {
        name: put_together(description, {key: array.astype("float64") for key, array in arrays.items()})
        for name, (description, arrays) in parts.items()
    }
    return SeriesNetwork(layers, p.dropout, p.seed)


def start_at(model: SeriesNetwork, update: int) -> None:
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
    x, lengths = some_batch(backend)
    params = model.params

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
    monkeypatch.setattr(recurrent, "_INFERENCE_BATCH", 2)
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
    monkeypatch.setattr(recurrent, "_INFERENCE_BATCH", 2)
    lengths: list[int] = []

    def noting(series: list[HostArray]) -> tuple[HostArray, HostArray]:
        lengths.append(max(map(len, series)))
        return pad(series)

    monkeypatch.setattr(recurrent, "pad", noting)
    model.outputs([np.ones((T, 2), np.float32) for T in (9, 1, 9, 1)])
    assert lengths == [1, 9]


NUMBERS = [replace(each, label=float(i % 3)) for i, each in enumerate(waves(10))]
KINDS = [(Classifier, None), (Regressor, NUMBERS)]
every_kind = pytest.mark.parametrize(("kind", "series"), KINDS, ids=["classifier", "regressor"])


def test_the_learning_rate_falls_over_the_steps_of_a_run_by_default(backend: Backend) -> None:
    training = prepared(lr=0.4).training(backend)
    training.total = 1000
    for update, rate in ((500, 0.2), (750, 0.2 * (1 - math.sqrt(0.5))), (1000, 0.02), (5000, 0.02)):
        training._optimizer.steps = update - 1
        training.run(1)
        assert training._optimizer.lr == pytest.approx(rate)


@every_kind
def test_the_linear_layer_of_a_classifier_learns_ten_times_as_fast(kind: Any, series: Any) -> None:
    training = prepared(series, kind).training()
    before = [each.copy() for each in training.network.params]
    training.run(1)  # Adam's first update changes each weight by its learning rate
    *others, W, _ = (np.abs(after - old).max() for after, old in zip(training.network.params, before, strict=True))
    assert max(others) == pytest.approx(TINY["lr"], rel=1e-2)
    assert W / max(others) == pytest.approx(10 if kind is Classifier else 1, rel=1e-2)


def test_gradients_are_clipped() -> None:
    training = prepared(NUMBERS, Regressor).training()
    training._targets *= 1000
    training.run(1)
    assert sum(float(np.square(each).sum()) for each in training.network.grads) == pytest.approx(1, rel=1e-5)


def test_an_update_takes_the_series_from_any_step_of_their_first_patch() -> None:
    series = [Series(np.arange(T, dtype=float)[:, None], str(i), "s") for i, T in enumerate([6, 4, 2])]
    training = prepared(series, noise=0.0).training(patch=3)
    expected = {
        (i, tuple(training.input(series[i].values[start:]).ravel().tolist()))
        for i, starts in enumerate([3, 2, 1])  # a complete patch is left, if there is one
        for start in range(starts)
    }
    found = set()
    for x, lengths, targets in itertools.islice(training.batches(), 40):
        for n, (T, i) in enumerate(zip(lengths.tolist(), targets.tolist(), strict=True)):
            found.add((i, tuple(x[:T, n].ravel().tolist())))
    assert found == expected


def test_the_epochs_follow_from_the_count_of_series(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Training, "input", lambda _, values: values)  # it takes a second for many series
    ready = prepared(hidden=1)
    for count, epochs in ((1, 1600), (50, 226), (270, 97), (40_000, 10)):
        training = Training(
            ready.params, ready.task, 1, [np.zeros((1, 1))] * count, np.zeros(count, np.int32), np.ones(count)
        )
        assert training.total == epochs * training.per_epoch


@pytest.mark.parametrize(
    ("count", "batch", "sizes"), [(10, 4, [4, 3, 3]), (8, 4, [4, 4]), (3, 9, [3]), (5, 1, [1] * 5)]
)
def test_an_epoch_takes_each_series_once(count: int, batch: int, sizes: list[int]) -> None:
    series = [Series(np.ones((1 + i % 4, 1)), str(i), "s") for i in range(count)]
    training = prepared(series, batch=batch).training()
    assert training.per_epoch == len(sizes)
    batches = [targets.tolist() for _, _, targets in itertools.islice(training.batches(), 3 * len(sizes))]
    epochs = [batches[i : i + len(sizes)] for i in range(0, len(batches), len(sizes))]
    for epoch in epochs:
        assert sorted(map(len, epoch), reverse=True) == sizes
        assert sorted(itertools.chain(*epoch)) == list(range(count))
    assert count < 5 or epochs[0] != epochs[1] != epochs[2]


def test_noise_has_the_given_deviation_and_does_not_change_the_series() -> None:
    series = [Series(np.zeros((500, 3)), label, "s") for label in "ab"]
    training = prepared(series, noise=0.5).training()
    (x, *_), (other, *_) = itertools.islice(training.batches(), 2)
    assert abs(x.std() - 0.5) < 0.02
    assert abs(x.mean()) < 0.05
    assert not np.array_equal(x, other)
    assert not any(each.any() for each in training._inputs)


@every_kind
@pytest.mark.parametrize("changes", [{}, {"layers": 3}, {"one_way": True}], ids=str)
def test_training_agrees_on_every_backend(kind: Any, series: Any, changes: dict[str, Any], backend: Backend) -> None:
    trainings = [prepared(series, kind, **changes).training(each) for each in (backend, "numpy")]
    for one, other in zip(trainings[0].network.params, trainings[1].network.params, strict=True):
        np.testing.assert_array_equal(backend.to_numpy(one), other, strict=True)
    for training in trainings:
        training.run(5)
    np.testing.assert_allclose(trainings[0].losses, trainings[1].losses, rtol=1e-4)


@every_kind
def test_a_step_sends_its_batch_in_three_transfers_and_waits_for_nothing(kind: Any, series: Any) -> None:
    """Reading the losses is one transfer back."""
    training = prepared(series, kind).training(STANDIN)
    batches = training.batches()
    for batch in itertools.islice(batches, 3):  # the first uses of kernels compare them with the plain form
        training.step(*batch)
    with counted() as counters:
        for batch in itertools.islice(batches, 3):
            training.step(*batch)
    assert (counters.host_to_device, counters.device_to_host, counters.waits) == (9, 0, 0)
    with counted() as counters:
        training.read_losses()
    assert (counters.host_to_device, counters.device_to_host, len(training.losses)) == (0, 1, 6)


def test_the_first_loss_and_a_weight_that_are_not_finite_are_named(backend: Backend) -> None:
    training = prepared().training(backend)
    training.run(1)
    training.network.linear.params[1][0] = math.nan
    with pytest.raises(DivergedError, match=r"^the loss is nan at update 2; lower lr$"):
        training.run(1)
    assert len(training.losses) == 1
    training = prepared().training(backend)
    training.network.linear.params[1][0] = math.inf
    with pytest.raises(DivergedError, match=r"^linear.b is not finite after update 0; lower lr"):
        training.run(0)


def test_a_training_that_is_not_used_any_more_holds_no_memory() -> None:
    training = prepared().training()
    training.run(2)
    alive = weakref.ref(training)
    del training
    assert alive() is None  # without the garbage collector


def test_the_seed_decides_the_weights_and_the_draws(backend: Backend) -> None:
    losses = []
    for seed in (0, 0, 1):
        training = prepared(seed=seed).training(backend)
        training.run(3)
        losses.append(training.losses)
    assert losses[0] == losses[1] != losses[2]


def test_the_loss_has_the_weights_of_the_series() -> None:
    ready = prepared(imbalanced(2, 6), batch=8, dropout=0.0, noise=0.0)
    weights = [3.0 if each.label == ready.classes.index("quick") else 1.0 for each in ready.series]
    ready.series = [replace(each, weight=weight) for each, weight in zip(ready.series, weights, strict=True)]
    training = ready.training()
    y = training.network.outputs([*map(training.input, training._values)])
    nats = np.log(np.exp(y).sum(axis=1)) - y[np.arange(8), targets_of(ready.series)]
    is_rare = targets_of(ready.series) == ready.classes.index("quick")
    training.run(1)
    assert training.losses[0] == pytest.approx((nats[is_rare].mean() + nats[~is_rare].mean()) / 2, rel=1e-5)


def test_the_loss_of_numbers_is_the_mean_squared_error_of_scaled_targets(backend: Backend) -> None:
    ready = prepared(NUMBERS, Regressor, batch=10, dropout=0.0, noise=0.0)
    training = ready.training(backend)
    targets = targets_of(ready.series)
    np.testing.assert_allclose([targets.mean(), targets.std()], [0, 1], atol=1e-6)
    y = training.network.outputs([*map(training.input, training._values)])[:, 0]
    training.run(1)
    assert training.losses[0] == pytest.approx(np.square(y - targets).mean(), rel=1e-4)


class Told(Watcher):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def tell(self, line: str) -> None:
        self.lines.append(line)


def noise(count: int, T: int, seed: int = 0) -> list[Series]:
    rng = np.random.default_rng(seed)
    return [Series(rng.standard_normal((T, 2)), str(i % 2), f"{i}") for i in range(count)]


def chosen(T: int, watcher: Watcher | None = None, count: int = 20, kind: Any = Classifier, **params: Any) -> int:
    series = noise(count, T)
    if kind is Regressor:
        series = [replace(each, label=float(each.label)) for each in series]
    ready = prepared(series, kind, **params)
    return choose(ready.params, ready.task, ready.series, watcher or Watcher()).patch


def with_errors(patch: pytest.MonkeyPatch, errors: dict[int, float]) -> list[tuple[int, list[HostArray]]]:
    """Let patches have these errors → (size, parts that are left out) of each test."""
    tried: list[tuple[int, list[HostArray]]] = []

    def test(params: Any, task: Any, size: int, scaling: str, series: Any, parts: Any) -> tuple[float, HostArray]:
        tried.append((size, parts))
        return errors[size], np.full((len(series), task.outputs), float(size))

    patch.setattr(recurrent, "_test", test)
    return tried


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ({16: 1.0, 4: 0.75}, 16),  # not clearly better
        ({16: 1.0, 4: 0.6, 1: 0.5}, 4),
        ({16: 1.0, 4: 0.6, 1: 0.4}, 1),
    ],
)
def test_a_smaller_patch_must_be_clearly_better(
    monkeypatch: pytest.MonkeyPatch, errors: dict[int, float], expected: int
) -> None:
    tried = with_errors(monkeypatch, errors)
    told = Told()
    assert chosen(1024, told) == expected
    assert told.lines[1:] == [f"  --patch {size} --scaling shared: error {error:.3f}" for size, error in errors.items()]
    assert [size for size, _ in tried] == list(errors)
    for _, parts in tried:
        assert sorted(np.concatenate(parts)) == [*{*np.concatenate(parts)}]
        assert len(parts) == 3


def test_the_outputs_are_those_of_the_chosen_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    with_errors(monkeypatch, {16: 1.0, 4: 0.6, 1: 0.5})
    ready = prepared(noise(20, 1024))
    assert (choose(ready.params, ready.task, ready.series, Watcher()).left_out == 4).all()


def test_no_patch_is_tried_for_short_series_or_if_one_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = with_errors(monkeypatch, {})
    assert chosen(63) == 1
    assert chosen(64, patch=64) == 64
    assert chosen(64, patch=65) == 65  # a patch for each series
    assert chosen(1024, count=2) == 1  # one series of each label can't be left out
    assert not tried


@pytest.mark.parametrize(
    ("loudest", "params", "scaling", "tried"),
    [
        (100.0, {}, "each", ["shared", "each"]),
        (2.0, {}, "shared", []),  # the deviations are close
        (100.0, {"one_way": True}, "shared", []),  # a C program
        (2.0, {"scaling": "each"}, "each", []),
    ],
)
def test_each_series_is_scaled_by_itself_if_that_is_clearly_better(
    loudest: float, params: dict[str, Any], scaling: str, tried: list[str]
) -> None:
    """The label is the shape of a wave. Amplitudes over two decades hide it under one scale."""
    rng = np.random.default_rng(0)
    t = np.arange(12)
    told = Told()
    series = [
        Series((loudest ** rng.uniform(-1, 1) * np.sin(t * (0.5 + i % 2)))[:, None], str(i % 2), f"{i}")
        for i in range(24)
    ]
    ready = prepared(series, **{"hidden": 6, "layers": 1} | params)
    assert choose(ready.params, ready.task, ready.series, told)[:2] == (1, scaling)
    assert [line.split()[3].rstrip(":") for line in told.lines[1:]] == tried


@pytest.mark.parametrize("kind", [Classifier, Regressor])
def test_the_error_is_that_of_short_trainings_on_left_out_series(monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    series = [replace(each, label=float(each.label)) for each in noise(10, 9)] if kind is Regressor else noise(10, 9)
    ready = prepared(series, kind, layers=1, hidden=3, epochs=6)
    parts = [np.array([0, 1]), np.array([4, 7])]
    error, left_out = recurrent._test(ready.params, ready.task, 1, "shared", ready.series, parts)
    errors = []
    for part in parts:
        rest = [each for i, each in enumerate(ready.series) if i not in part]
        training = replace(ready, series=rest).training()
        training.total = 4  # a third of six epochs of two updates
        training.run(4)
        y = training.network.outputs([training.input(ready.series[i].values) for i in part])
        targets = targets_of(ready.series)[part]
        errors.append(
            np.square(y[:, 0] - targets).mean() if kind is Regressor else 1 - probabilities(y)[[0, 1], targets].mean()
        )
        size = 1.0 if kind is Regressor else training.rms_of_outputs()
        np.testing.assert_array_equal(left_out[part], y / size)
    assert error == pytest.approx(np.mean(errors), rel=1e-12)
    assert np.flatnonzero(~np.isnan(left_out[:, 0])).tolist() == [0, 1, 4, 7]


def test_a_training_that_diverges_has_an_infinite_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def diverged(_: object) -> None:
        raise DivergedError("the loss is nan")

    monkeypatch.setattr(Training, "read_losses", diverged)
    ready = prepared(noise(20, 64))
    error, left_out = recurrent._test(ready.params, ready.task, 2, "shared", ready.series, [np.arange(10)])
    assert error == np.inf
    assert np.isnan(left_out).all()


def test_the_probabilities_of_a_long_training_are_those_of_left_out_series() -> None:
    """The labels are noise: the training series are learnt by heart, but new ones can't be told apart."""
    X = [each.values for each in noise(30, 12)]
    y = [int(each.label) for each in noise(30, 12)]
    classifier = Classifier(hidden=32, epochs=150, dropout=0.0, noise=0.0, batch=8).fit(X, y)
    assert classifier.losses_[-1] < 0.1
    new = [each.values for each in noise(60, 12)][30:]
    assert classifier.predict_proba(new).max(axis=1).mean() < 0.7
