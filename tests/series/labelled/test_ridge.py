"""Ridge regression on features, and its penalty."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xrnn.series import Classifier, Regressor
from xrnn.series.labelled import ridge
from xrnn.series.labelled.ridge import solve
from xrnn.series.one_series import Series
from xrnn.typing import HostArray


def series(count: int, channels: int, seed: int = 0) -> list[HostArray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((T, channels)).astype(np.float32) for T in rng.integers(1, 40, count)]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("labels", [0, 2, 3])
def test_the_penalty_has_the_lowest_error_of_left_out_parts(labels: int, weighted: bool) -> None:
    """Each part is left out of a regression of its own, in the form of the normal equations."""
    rng = np.random.default_rng(0)
    features, noise = rng.normal(2, 3, size=(15, 30)), rng.normal(size=15)
    features[:, 7] = 5.0  # a constant one has no weight
    of_first = features[:, 0] + noise
    targets: Any = np.digitize(of_first, np.quantile(of_first, np.arange(1, labels) / labels)).astype(np.int32)
    y = np.where(targets[:, None] == np.arange(labels), 1.0, -1.0)
    if not labels:
        targets = of_first.astype(np.float32)
        y = targets[:, None].astype(float)
    parts = [np.arange(k, 15, 5) for k in range(5)]

    def predicted(rows: HostArray, new: HostArray, penalty: float) -> HostArray:
        mean = features[rows].mean(axis=0)
        deviation = features[rows].std(axis=0)
        deviation[7] = 1
        x, z = ((features[each] - mean) / deviation for each in (rows, new))
        weights = np.ones(30)
        if weighted:
            for j in range(30):
                if labels:
                    means = [x[targets[rows] == k, j].mean() for k in targets[rows]]
                    weights[j] = np.square(means).mean()
                else:
                    weights[j] = np.corrcoef(x[:, j], y[rows, 0])[0, 1] ** 2 if j != 7 else 0
            weights /= np.sqrt(np.square(weights).mean())
        x, z = x * weights, z.clip(-4, 4) * weights
        bias = y[rows].mean(axis=0)
        return z @ np.linalg.solve(x.T @ x + penalty * np.eye(30), x.T @ (y[rows] - bias)) + bias

    def left_out(penalty: float) -> HostArray:
        every = np.empty_like(y)
        for part in parts:
            every[part] = predicted(np.setdiff1d(np.arange(15), part), part, penalty)
        return every

    solved = solve(features, targets, y.shape[1], parts, np.ones(len(targets)), weighted=weighted)
    assert solved.penalty == min(ridge._PENALTIES, key=lambda each: float(np.square(left_out(each) - y).sum()))
    np.testing.assert_allclose(solved.left_out, left_out(solved.penalty), atol=1e-6)
    mean, deviation = solved.scale
    got = ((features - mean) / deviation) @ np.asarray(solved.linear.W, float) + np.asarray(solved.linear.b)
    every = np.arange(15)
    np.testing.assert_allclose(got, predicted(every, every, solved.penalty), atol=1e-4)


@pytest.mark.parametrize("labels", [0, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_weight_of_two_counts_as_a_second_copy(labels: int, weighted: bool) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(2, 3, size=(12, 20))
    weights = np.array([1.0, 2.0] * 6)
    targets = (np.arange(12) % labels).astype(np.int32) if labels else rng.normal(size=12).astype(np.float32)
    twice = np.repeat(np.arange(12), weights.astype(int))
    one = solve(features, targets, max(labels, 1), [], weights, weighted=weighted)
    two = solve(features[twice], targets[twice], max(labels, 1), [], np.ones(18), weighted=weighted)
    np.testing.assert_allclose(one.scale, two.scale, rtol=1e-9)
    np.testing.assert_allclose(one.linear.W, two.linear.W, atol=1e-5)
    np.testing.assert_allclose(one.linear.b, two.linear.b, atol=1e-5)


def test_few_features_that_tell_are_found_among_many() -> None:
    """The label shows in one of 300 features, in 30 series. Without weights, the others hide it."""
    rng = np.random.default_rng(0)
    targets = (np.arange(130) % 2).astype(np.int32)
    features = rng.normal(size=(130, 300))
    features[:, 5] += 4 * targets
    parts = [np.arange(k, 30, 5) for k in range(5)]
    right = []
    for weighted in (False, True):
        solved = solve(features[:30], targets[:30], 2, parts, np.ones(30), weighted=weighted)
        z = (features[30:] - solved.scale[0]) / solved.scale[1]
        right.append(np.mean((z @ np.asarray(solved.linear.W)).argmax(axis=1) == targets[30:]))
    assert right[0] < 0.75
    assert right[1] > 0.9


@pytest.mark.parametrize("model", ["features", "convolutions"])
def test_many_series_are_solved_for_in_part_and_predicted_in_parts(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = series(12, 2)
    regressor = Regressor(model=model).fit(x, [float(each.mean()) for each in x])
    alone = [regressor.predict([each])[0] for each in x]
    monkeypatch.setattr(ridge, "_AT_ONCE", 5)
    np.testing.assert_allclose(regressor.predict(x), alone, rtol=1e-4, atol=1e-6)
    monkeypatch.setattr(ridge, "_MOST_SERIES", 8)
    with_part = Regressor(model=model)
    lines = list[str]()
    monkeypatch.setattr(with_part.watcher, "tell", lines.append)
    with_part.fit(x, [float(each.mean()) for each in x])
    assert "of 8 series" in lines[0]


@pytest.mark.parametrize("seed", range(8))
def test_a_rare_label_stays_among_the_series_to_solve_for(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ridge, "_MOST_SERIES", 8)
    labelled = [Series(each, label, "") for each, label in zip(series(40, 1), [*["often"] * 39, "rare"], strict=True)]
    chosen = ridge.to_solve_for(labelled, seed)
    assert len(chosen) == 9
    assert chosen[-1] == 39


def test_a_feature_far_outside_of_the_training_counts_as_four_deviations() -> None:
    X = series(20, 1)
    y = [i % 2 for i in range(20)]
    model = Classifier(model="features").fit(X, y)
    far, farther = (model.predict_proba([np.full((20, 1), 10.0**k)]) for k in (3, 6))
    np.testing.assert_array_equal(far, farther)
