"""The baseline: its convolutions, and its predictions."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tests.series.waves import waves
from xrnn.series.labelled import baseline
from xrnn.series.labelled.baseline import Convolutions
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


@pytest.mark.needs("sklearn", "series")
def test_many_series_are_solved_for_in_part_and_predicted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    x = series(12, 2)
    targets = [float(each.mean()) for each in x]
    alone = [baseline.baseline(x, targets, [each], 0, labels=False)[0] for each in x]
    monkeypatch.setattr(baseline, "_AT_ONCE", 5)
    np.testing.assert_allclose(baseline.baseline(x, targets, x, 0, labels=False), alone, rtol=1e-9)
    monkeypatch.setattr(baseline, "_MOST_SERIES", 8)
    sizes: list[int] = []
    init = Convolutions.__init__

    def noting(self: Convolutions, of: list[HostArray], seed: int) -> None:
        sizes.append(len(of))
        init(self, of, seed)

    monkeypatch.setattr(Convolutions, "__init__", noting)
    assert not np.allclose(baseline.baseline(x, targets, x, 0, labels=False), alone)
    assert sizes == [8]


@pytest.mark.needs("sklearn", "series")
@pytest.mark.parametrize("labels", [True, False])
def test_it_tells_slow_waves_from_quick_ones(labels: bool) -> None:
    train, test = waves(20, 0), waves(10, 1)
    given, expected = ([each.label if labels else float(each.label == "slow") for each in of] for of in (train, test))
    y = baseline.baseline([each.values for each in train], given, [each.values for each in test], 0, labels=labels)
    assert (y == expected).all() if labels else np.abs(y - expected).max() < 0.5


def test_without_scikit_learn_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.delitem(sys.modules, "sklearn.linear_model", raising=False)
    with pytest.raises(ImportError, match=r"^the baseline needs scikit-learn, which is not installed: `pip install"):
        baseline.ridge(labels=True)
