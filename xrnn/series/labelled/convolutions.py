"""A model without training by gradients: ridge regression on random convolutions.

In the manner of MiniRocket (Dempster et al., 2021): the features are the shares of steps at which a convolution of the
series is above a threshold. The kernels are fixed, the thresholds come from the training series.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np

from xrnn.series.labelled.ridge import RidgeModel
from xrnn.series.progress import progress_of
from xrnn.typing import HostArray

_TAPS: Final = 9  # of a kernel: three have the weight 2, the others -1
_KERNELS: Final = np.array([np.isin(range(_TAPS), chosen) * 3 - 1 for chosen in combinations(range(_TAPS), 3)])
_FEATURES: Final = 5000  # approximately
_MOST_DILATIONS: Final = 16
_SAMPLED: Final = 2**16  # steps of the training series from which thresholds are drawn, approximately


class Kernels:
    """The groups of kernels for series of D channels. They follow from the longest training series and the seed.

    A kernel takes the sum of a random set of channels, and its taps are `dilation` steps apart.

    dilations    (K,) of the groups; a group has all kernels once
    channels     (K, kernels, most): indices;   used (K, kernels, most, 1): 1 if the channel is in the sum, else 0
    shape        of their thresholds: (K, kernels, thresholds of each kernel)
    """

    def __init__(self, D: int, longest: int, seed: int) -> None:
        largest = np.log2(max(1, (longest - 1) // (_TAPS - 1)))
        # + 1e-9: rounding errors of 2**x, which differ between machines, do not change the integers
        self.dilations = np.unique((2 ** np.linspace(0, largest, _MOST_DILATIONS) + 1e-9).astype(int))
        self.shape = len(self.dilations), len(_KERNELS), max(1, _FEATURES // (len(_KERNELS) * len(self.dilations)))
        most = min(D, _TAPS)
        # From the bits of the generator, which are the same in every version of NumPy.
        bits = np.random.PCG64(seed).random_raw((*self.shape[:2], most + 1))
        uniform = (bits >> np.uint64(11)) * 2.0**-53
        self.channels = (uniform[..., 1:] * D).astype(int)
        sizes = (2 ** (uniform[..., :1] * np.log2(most + 1))).astype(int)
        self.used = (np.arange(most) < sizes).astype(np.float32)[..., None]

    def convolved(self, x: HostArray, k: int) -> HostArray:
        """The convolutions of a series (T, D) with the kernels of a group, zeros around it → (kernels, T)."""
        T = len(x)
        dilation = self.dilations[k]
        reach = dilation * (_TAPS // 2)
        mixed = np.zeros((len(_KERNELS), T + 2 * reach), np.float32)
        mixed[:, reach : reach + T] = (x.T[self.channels[k]] * self.used[k]).sum(axis=1)
        y = np.zeros((len(_KERNELS), T), np.float32)
        for tap in range(_TAPS):
            y += _KERNELS[:, tap, None] * mixed[:, tap * dilation : tap * dilation + T]
        return y

    def thresholds_of(self, series: Sequence[HostArray], seed: int) -> HostArray:
        """Quantiles of each kernel's convolutions of some of the series (T, D)."""
        longest = max(map(len, series))
        thresholds = np.empty(self.shape, np.float32)
        order = np.random.default_rng(seed).permutation(len(series))
        sampled = [series[i] for i in order[: max(1, _SAMPLED // longest)]]
        # the fractional parts of multiples of the golden ratio: quantiles that no two kernels share
        levels = np.arange(1, thresholds[0].size + 1) * (np.sqrt(5) + 1) / 2 % 1
        with progress_of("thresholds", len(thresholds)) as advance:
            for k, of_group in enumerate(thresholds):
                drawn = np.sort(np.concatenate([self.convolved(x, k) for x in sampled], axis=1))
                places = (levels.reshape(of_group.shape) * drawn.shape[1]).astype(int)
                of_group[:] = np.take_along_axis(drawn, places, 1)
                advance()
        return thresholds

    def features(self, series: Sequence[HostArray], thresholds: HostArray) -> HostArray:
        """(T, D) float32 each → (count, F): the share of steps at which a convolution is above a threshold."""
        features = np.empty((len(series), *self.shape), np.float32)
        with progress_of("convolutions", len(series)) as advance:
            for n, x in enumerate(series):
                for k, each in zip(range(len(self.dilations)), thresholds, strict=True):
                    features[n, k] = (self.convolved(x, k)[:, None] > each[..., None]).mean(axis=-1)
                advance()
        return features.reshape(len(series), -1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolutions(RidgeModel):
    """The shares of steps at which a random convolution is above a threshold.

    longest_       the number of steps of the longest training series
    thresholds_    of the kernels
    """

    longest_: int
    thresholds_: HostArray

    called = "random convolutions"

    @staticmethod
    def learn(x: Sequence[HostArray], seed: int) -> tuple[HostArray, dict[str, Any]]:
        longest = max(map(len, x))
        kernels = Kernels(x[0].shape[1], longest, seed)
        thresholds = kernels.thresholds_of(x, seed)
        return kernels.features(x, thresholds), {"longest_": longest, "thresholds_": thresholds}

    def features(self, x: Sequence[HostArray]) -> HostArray:
        return Kernels(self.channels_, self.longest_, self.params.seed).features(x, self.thresholds_)
