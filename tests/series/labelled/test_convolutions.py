"""The random convolutions, and ridge regression on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.errors import one_line
from tests.series.waves import waves
from xrnn.series import Classifier, Regressor
from xrnn.series.errors import SettingsError
from xrnn.series.labelled import convolutions
from xrnn.series.labelled.convolutions import Kernels
from xrnn.typing import HostArray


def series(count: int, channels: int, seed: int = 0) -> list[HostArray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((T, channels)).astype(np.float32) for T in rng.integers(1, 40, count)]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_feature_is_the_share_of_steps_above_a_threshold(channels: int) -> None:
    made = Kernels(channels, 39, seed=0)
    x = series(1, channels, seed=1)[0]
    thresholds = made.thresholds_of(series(6, channels), seed=0)
    features = made.features([x], thresholds).reshape(made.shape)
    for k, kernel, i in ((0, 0, 0), (1, 83, 2), (len(made.dilations) - 1, 40, 1)):
        weights = np.zeros((9 - 1) * made.dilations[k] + 1)
        weights[:: made.dilations[k]] = convolutions._KERNELS[kernel]
        mixed = (x[:, made.channels[k, kernel]] * made.used[k, kernel].T).sum(axis=1)
        middle = np.convolve(np.pad(mixed, len(weights) // 2), weights[::-1], mode="valid")
        assert features[k, kernel, i] == np.float32(np.mean(middle > thresholds[k, kernel, i]))


def test_kernels_are_the_same_with_every_version_of_numpy() -> None:
    """A file holds only their seed."""
    made = Kernels(100, 1000, seed=3)
    assert made.dilations.tolist() == [1, 2, 3, 4, 6, 9, 13, 18, 24, 34, 47, 65, 89, 124]
    assert made.channels[0, :2, :4].tolist() == [[23, 80, 58, 9], [51, 43, 58, 73]]
    assert made.used[..., 0].sum() == 4035


@pytest.mark.parametrize("kind", [Classifier, Regressor])
def test_they_tell_slow_waves_from_quick_ones(kind: Any) -> None:
    X, X_test = ([each.values for each in part] for part in (waves(20, 0), waves(10, 1)))
    targets = [int(i % 2) for i in range(20)]
    fitted = kind(model="convolutions").fit(X, targets)
    assert (np.abs(fitted.predict(X_test) - targets[:10]) < 0.5).all()
    if kind is Classifier:
        p = fitted.predict_proba(X_test)
        assert p.max(axis=1).min() > 0.7
        np.testing.assert_allclose(p.sum(axis=1), 1)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"model": "convolutions", "layers": 2}, "layers is 2, which model convolutions doesn't use; leave it out"),
        ({"model": "rocket"}, "model is 'rocket': expected one of auto, features, convolutions, recurrent"),
        ({"scaling": "none"}, "scaling is 'none': expected one of auto, shared, each"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(params: dict[str, Any], words: str) -> None:
    with one_line(SettingsError, words):
        Classifier(**params).fit(np.ones((2, 3)), [0, 1])
