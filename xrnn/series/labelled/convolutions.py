"""A model without training by gradients: ridge regression on random convolutions.

In the manner of MiniRocket (Dempster et al., 2021): the features are the shares of steps at which a convolution of the
series is above a threshold. The kernels are fixed, the thresholds come from the training series.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from typing import Final

import numpy as np

from xrnn.arrays.convert import to_numpy
from xrnn.arrays.select import get_backend
from xrnn.layers.linear import Linear
from xrnn.losses import softmax_cross_entropy
from xrnn.series.errors import SettingsError, param
from xrnn.series.labelled.base import FittedModel, Parameters, Task, Watcher, groups_of, targets_of
from xrnn.series.one_series import Series
from xrnn.series.scale import Scale
from xrnn.typing import HostArray

_TAPS: Final = 9  # of a kernel: three have the weight 2, the others -1
_KERNELS: Final = np.array([np.isin(range(_TAPS), chosen) * 3 - 1 for chosen in combinations(range(_TAPS), 3)])
_FEATURES: Final = 5000  # approximately
_MOST_DILATIONS: Final = 16
_SAMPLED: Final = 2**16  # steps of the training series from which thresholds are drawn, approximately
_PENALTIES: Final = 10.0 ** np.arange(-3, 6)
_FACTORS: Final = 2.0 ** np.arange(-2, 9)  # of the outputs for labels
_MOST_SERIES: Final = 1000  # to solve for: time grows as the square of their number
_AT_ONCE: Final = 500  # series to predict, so that memory does not grow with their number


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
        T, dilation = len(x), self.dilations[k]
        reach = dilation * (_TAPS // 2)
        mixed = np.zeros((len(_KERNELS), T + 2 * reach), np.float32)
        mixed[:, reach : reach + T] = (x.T[self.channels[k]] * self.used[k]).sum(axis=1)
        y = np.zeros((len(_KERNELS), T), np.float32)
        for tap in range(_TAPS):
            y += _KERNELS[:, tap, None] * mixed[:, tap * dilation : tap * dilation + T]
        return y

    def thresholds_of(self, series: Sequence[HostArray], seed: int) -> HostArray:
        """Quantiles of each kernel's convolutions of some of the series (T, D)."""
        longest, thresholds = max(map(len, series)), np.empty(self.shape, np.float32)
        order = np.random.default_rng(seed).permutation(len(series))
        sampled = [series[i] for i in order[: max(1, _SAMPLED // longest)]]
        # the fractional parts of multiples of the golden ratio: quantiles that no two kernels share
        levels = np.arange(1, thresholds[0].size + 1) * (np.sqrt(5) + 1) / 2 % 1
        for k, of_group in enumerate(thresholds):
            drawn = np.sort(np.concatenate([self.convolved(x, k) for x in sampled], axis=1))
            of_group[:] = np.take_along_axis(drawn, (levels.reshape(of_group.shape) * drawn.shape[1]).astype(int), 1)
        return thresholds

    def features(self, series: Sequence[HostArray], thresholds: HostArray) -> HostArray:
        """(T, D) float32 each → (count, F): the share of steps at which a convolution is above a threshold."""
        features = np.empty((len(series), *self.shape), np.float32)
        for n, x in enumerate(series):
            for k, each in zip(range(len(self.dilations)), thresholds, strict=True):
                features[n, k] = (self.convolved(x, k)[:, None] > each[..., None]).mean(axis=-1)
        return features.reshape(len(series), -1)


def leave_one_out_ridge(features: HostArray, targets: HostArray, outputs: int) -> tuple[HostArray, HostArray, float]:
    """W (F, outputs), b (outputs,) and the penalty for the lowest Σ (y - target)² + penalty · Σ W².

    The features are standardised. The penalty has the lowest squared error on series that are left out one at a time;
    these errors need no further training (Allen, 1974). If the targets are labels, W and b are multiplied by the factor
    that gives the left-out series the lowest cross-entropy.

    features   (n, F);   targets   (n,): numbers, or labels as indices;   outputs   1, or the number of labels
    """
    n, has_labels = len(features), targets.dtype.kind == "i"
    y = np.where(targets[:, None] == np.arange(outputs), 1.0, -1.0) if has_labels else targets[:, None].astype(float)
    mean, deviation, y_mean = features.mean(axis=0, dtype=float), features.std(axis=0, dtype=float), y.mean(axis=0)
    deviation[deviation == 0] = 1
    x = (features - mean) / deviation
    values, vectors = np.linalg.eigh(x @ x.T)
    values, rotated = values.clip(0), vectors.T @ (y - y_mean)

    def left_out(penalty: float) -> HostArray:
        """The residual of each series if it is left out: its residual in the solution for all, / (1 - its leverage)."""
        share = penalty / (values + penalty)
        leverage = 1 + 1 / n - np.square(vectors) @ share
        return vectors @ (share[:, None] * rotated) / (1 - leverage).clip(1e-12)[:, None]

    penalty = min(_PENALTIES.tolist(), key=lambda each: float(np.square(left_out(each)).mean()))
    factor = 1.0
    if has_labels:
        predicted = y - left_out(penalty)
        factor = min(_FACTORS.tolist(), key=lambda each: float(softmax_cross_entropy(predicted * each, targets)[0]))
    W = x.T @ (vectors @ (rotated / (values + penalty)[:, None])) / deviation[:, None]
    return factor * W, factor * (y_mean - mean @ W), penalty


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolutions(FittedModel):
    """y = features(x) @ W + b

    scale_         mean and deviation of each channel, (2, D)
    longest_       the number of steps of the longest training series
    thresholds_    of the kernels
    """

    longest_: int
    thresholds_: HostArray

    @staticmethod
    def check(params: Parameters) -> None:
        for each in fields(params):
            if not each.init or each.name in ("model", "seed"):
                continue
            value = getattr(params, each.name)
            if value != each.default:
                got = f"{param(each.name)} is {value}, which {param('model')} {params.model} doesn't use"
                raise SettingsError(f"{got}; leave it out")

    @staticmethod
    def fit(params: Parameters, task: Task, series: list[Series], watcher: Watcher) -> FittedModel:
        seed, backend, channels = params.seed, get_backend(), series[0].channels
        longest = max(len(each.values) for each in series)
        kernels = Kernels(channels, longest, seed)
        # To solve for: all series, or of many a random part of each group, at least one series.
        rng, share = np.random.default_rng(seed), min(1, _MOST_SERIES / len(series))
        parts = [rng.permutation(each)[: max(1, round(len(each) * share))] for each in groups_of(series)]
        series = [series[i] for i in np.sort(np.concatenate(parts))]
        scale = Scale.of(each.values for each in series)
        x = [scale.apply(each.values) for each in series]
        thresholds = kernels.thresholds_of(x, seed)
        W, b, penalty = leave_one_out_ridge(kernels.features(x, thresholds), targets_of(series), task.outputs)
        model = f"model: ridge regression on {len(W):,} random convolutions of {len(series):,} series"
        watcher.tell(f"{model}; penalty {penalty:g}; seed {seed}")
        return Convolutions(
            params=params,
            channels_=channels,
            scale_=np.array([scale.mean, scale.deviation]),
            losses_=np.zeros(0),
            layers_={"linear": Linear(*(backend.asarray(np.float32(each)) for each in (W, b)))},
            longest_=longest,
            thresholds_=thresholds,
        )

    def outputs(self, series: list[Series]) -> HostArray:
        linear, scale = self.layers_["linear"], Scale(*self.scale_)
        kernels = Kernels(self.channels_, self.longest_, self.params.seed)
        y = np.zeros((len(series), linear.output_size))
        for rows in np.split(np.arange(len(series)), range(_AT_ONCE, len(series), _AT_ONCE)):
            x = [scale.apply(series[i].values) for i in rows]
            y[rows] = to_numpy(linear(linear.backend.asarray(kernels.features(x, self.thresholds_))))
        return y
