"""A baseline without training by gradients: ridge regression on random convolutions.

In the manner of MiniRocket (Dempster et al., 2021): the features are the shares of steps at which a convolution of the
series is above a threshold. The kernels are fixed, the thresholds come from the training series.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from xrnn.optional import import_optional
from xrnn.series.scale import Scale
from xrnn.typing import HostArray

_TAPS: Final = 9  # of a kernel: three have the weight 2, the others -1
_KERNELS: Final = np.array(
    [np.isin(range(_TAPS), chosen) * 3 - 1 for chosen in itertools.combinations(range(_TAPS), 3)]
)
_FEATURES: Final = 5000  # approximately
_MOST_DILATIONS: Final = 16
_SAMPLED: Final = 2**16  # steps of the training series from which thresholds are drawn, approximately
_PENALTIES: Final = 10.0 ** np.arange(-3, 6)
_MOST_SERIES: Final = 1000  # to solve for: time grows as the square of their number
_AT_ONCE: Final = 500  # series to predict, so that memory does not grow with their number


class Convolutions:
    """Maps series of any length to F features in [0, 1].

    A kernel takes the sum of a random set of channels, and its taps are `dilation` steps apart. Its thresholds are
    quantiles of its convolutions of some training series.

    dilations    (K,) of the groups of kernels; a group has all kernels once
    channels     (K, kernels, most): indices;   used (K, kernels, most, 1): 1 if the channel is in the sum, else 0
    thresholds   (K, kernels, thresholds per kernel)
    """

    def __init__(self, series: Sequence[HostArray], seed: int) -> None:
        """series   (T, D) float32 each, to draw the thresholds from"""
        rng, D = np.random.default_rng(seed), series[0].shape[1]
        longest = max(map(len, series))
        largest = np.log2(max(1, (longest - 1) // (_TAPS - 1)))
        self.dilations = np.unique((2 ** np.linspace(0, largest, _MOST_DILATIONS)).astype(int))
        count = max(1, _FEATURES // (len(_KERNELS) * len(self.dilations)))
        shape = len(self.dilations), len(_KERNELS)
        most = min(D, _TAPS)
        self.channels = rng.integers(D, size=(*shape, most))
        sizes = (2 ** rng.uniform(0, np.log2(most + 1), (*shape, 1))).astype(int)
        self.used = (np.arange(most) < sizes).astype(np.float32)[..., None]
        sampled = [series[i] for i in rng.permutation(len(series))[: max(1, _SAMPLED // longest)]]
        self.thresholds = np.empty((*shape, count), np.float32)
        for k in range(len(self.dilations)):
            drawn = np.concatenate([self._convolved(x, k) for x in sampled], axis=1)
            # the fractional parts of multiples of the golden ratio: quantiles that no two kernels share
            levels = np.arange(1, len(_KERNELS) * count + 1) * (np.sqrt(5) + 1) / 2 % 1
            drawn.sort(axis=1)
            places = (levels.reshape(len(_KERNELS), count) * drawn.shape[1]).astype(int)
            self.thresholds[k] = np.take_along_axis(drawn, places, axis=1)

    def _convolved(self, x: HostArray, k: int) -> HostArray:
        """The convolutions of a series (T, D) with the kernels of a group, zeros around it → (kernels, T)."""
        T, dilation = len(x), self.dilations[k]
        reach = dilation * (_TAPS // 2)
        mixed = np.zeros((len(_KERNELS), T + 2 * reach), np.float32)
        mixed[:, reach : reach + T] = (x.T[self.channels[k]] * self.used[k]).sum(axis=1)
        y = np.zeros((len(_KERNELS), T), np.float32)
        for tap in range(_TAPS):
            y += _KERNELS[:, tap, None] * mixed[:, tap * dilation : tap * dilation + T]
        return y

    def __call__(self, series: Sequence[HostArray]) -> HostArray:
        """(T, D) float32 each → (count, F) float64"""
        features = np.empty((len(series), *self.thresholds.shape))
        for n, x in enumerate(series):
            for k, each in enumerate(self.thresholds):
                features[n, k] = (self._convolved(x, k)[:, None] > each[..., None]).mean(axis=-1)
        return features.reshape(len(series), -1)


def baseline(
    series: Sequence[HostArray], targets: Sequence[Any], tested: Sequence[HostArray], seed: int, *, labels: bool
) -> HostArray:
    """The targets that ridge regression on random convolutions predicts for the tested series, (count,).

    The penalty has the lowest squared error on series that are left out one at a time. Of many series, a random part is
    used.

    series, tested   (T, D) each, missing values as NaN;   labels: True if the targets are labels

    Raises ImportError without scikit-learn.
    """
    scale = Scale.of(series)
    if len(series) > _MOST_SERIES:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(series))[:_MOST_SERIES])
        series, targets = [series[i] for i in chosen], [targets[i] for i in chosen]
    features_of = Convolutions(scaled := [scale.apply(each) for each in series], seed)
    model = ridge(labels=labels).fit(features_of(scaled), targets)
    parts = [tested[first : first + _AT_ONCE] for first in range(0, len(tested), _AT_ONCE)]
    return np.concatenate([model.predict(features_of([scale.apply(each) for each in part])) for part in parts])


def ridge(*, labels: bool) -> Any:
    """scikit-learn's ridge regression on standardised features.   Raises ImportError without scikit-learn."""
    linear, pipeline, scaling = (
        import_optional(f"sklearn.{name}", "the baseline", "scikit-learn", extra="series")
        for name in ("linear_model", "pipeline", "preprocessing")
    )
    kind = linear.RidgeClassifierCV if labels else linear.RidgeCV
    return pipeline.make_pipeline(scaling.StandardScaler(), kind(_PENALTIES))
