"""The baseline: its convolutions, and its ridge regression."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.series.waves import waves
from xrnn.models.labelled import baseline
from xrnn.models.labelled.baseline import Baseline, Convolutions
from xrnn.models.labelled.head import Classes
from xrnn.typing import HostArray


def series(count: int, channels: int, seed: int = 0) -> list[HostArray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((T, channels)).astype(np.float32) for T in rng.integers(1, 40, count)]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_feature_is_the_share_of_steps_above_a_threshold(channels: int) -> None:
    made = Convolutions(series(6, channels), seed=0)
    x = series(1, channels, seed=1)[0]
    features = made([x]).reshape(made.thresholds.shape)
    for k, kernel, i in ((0, 0, 0), (1, 83, 2), (len(made.dilations) - 1, 40, 1)):
        weights = np.zeros((9 - 1) * made.dilations[k] + 1)
        weights[:: made.dilations[k]] = baseline._KERNELS[kernel]
        mixed = (x[:, made.channels[k, kernel]] * made.used[k, kernel].T).sum(axis=1)
        middle = np.convolve(np.pad(mixed, len(weights) // 2), weights[::-1], mode="valid")
        assert features[k, kernel, i] == np.mean(middle > made.thresholds[k, kernel, i])


def test_the_penalty_has_the_lowest_error_on_left_out_series() -> None:
    x = series(12, 2)
    targets = np.random.default_rng(2).standard_normal((12, 1)) + [[each.mean()] for each in x]
    fitted = Baseline(x, targets, seed=0)
    Z = Convolutions(x, seed=0)(x)
    deviation = Z.std(axis=0)
    Z = (Z - Z.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    solved, errors = [], []
    for penalty in baseline._PENALTIES:
        predicted = []
        for out in (None, *range(12)):
            kept = np.arange(12) != out
            z, y = Z[kept].mean(axis=0), targets[kept].mean()
            W = (Z[kept] - z).T @ np.linalg.solve(
                (Z[kept] - z) @ (Z[kept] - z).T + penalty * np.eye(kept.sum()), targets[kept, 0] - y
            )
            predicted.append((Z - z) @ W + y)
        solved.append(predicted[0])
        errors.append(np.mean([(predicted[1 + i][i] - targets[i, 0]) ** 2 for i in range(12)]))
    np.testing.assert_allclose(fitted(x)[:, 0], solved[int(np.argmin(errors))], rtol=1e-6)


def test_many_series_are_solved_for_in_part_and_predicted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    x, sizes = series(12, 2), []
    targets = np.random.default_rng(2).standard_normal((12, 1))

    def features_of(given: Any) -> HostArray:
        sizes.append(len(given))
        return np.stack([[each.mean(), each.std()] for each in given])

    monkeypatch.setattr(baseline, "_MOST_SERIES", 8)
    monkeypatch.setattr(baseline, "_AT_ONCE", 5)
    fitted = Baseline(x, targets, 0, features_of)
    y = fitted(x)
    assert sizes == [8, 5, 5, 2]
    np.testing.assert_allclose(y, np.concatenate([fitted([each]) for each in x]), rtol=1e-12)
    assert len({*np.round(y[:, 0], 6)}) == 12


def test_it_tells_slow_waves_from_quick_ones() -> None:
    train, test = waves(20, 0), waves(10, 1)
    head = Classes.of(train, "waves")
    fitted = Baseline([each.values.astype(np.float32) for each in train], head.regressed(train), seed=0)
    y = fitted([each.values.astype(np.float32) for each in test])
    assert (y.argmax(axis=1) == head.targets(test)).all()
