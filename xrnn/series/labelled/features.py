"""A model without training by gradients: ridge regression on summary features of the channels.

It sees what an engineer sees in a recording: levels, scatter, outliers, periods, frequencies, and the delays between
channels. It does not see in which order single events come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from xrnn.series.labelled.ridge import RidgeModel
from xrnn.series.progress import each_of
from xrnn.typing import HostArray

_QUANTILES: Final = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)
_LAGS: Final = tuple(2**k for k in range(8))  # of the autocorrelations, in steps
_ASYMMETRY_LAGS: Final = (1, 4, 16)
_BANDS: Final = 16  # of the spectrum: half octaves below half the sampling rate
_LEAST_SPECTRUM: Final = 1024  # points: the lowest band has frequencies of its own
_FARTHEST_DELAY: Final = 256  # steps between two channels
_MOST_PAIRS: Final = 64  # of channels, neighbours first; more if there are more neighbours: each channel is in one
_SMALLEST: Final = 1e-4  # deviations of the training series: smaller ones count as noise of the numbers


@dataclass(frozen=True, kw_only=True, eq=False)
class Features(RidgeModel):
    """Summary features, weighted by how well each one alone tells the labels apart."""

    called = "features"
    weighted = True

    @staticmethod
    def learn(x: Sequence[HostArray], seed: int) -> tuple[HostArray, dict[str, Any]]:
        return _features(x), {}

    def features(self, x: Sequence[HostArray]) -> HostArray:
        return _features(x)


def _features(x: Sequence[HostArray]) -> HostArray:
    return np.stack(each_of(x, "features", features_of))


def features_of(x: HostArray) -> HostArray:
    """The features of a scaled series (T, D), (F,) float64. They do not depend on its length, apart from noise."""
    x = x.astype(float)
    T, D = x.shape
    size = max(_LEAST_SPECTRUM, 2 ** int(np.ceil(np.log2(T + min(T, _FARTHEST_DELAY)))))  # of the Fourier transforms
    mean = x.mean(axis=0)
    x = x - mean
    deviation = x.std(axis=0) + _SMALLEST
    changes = x[1:] - x[:-1] if T > 1 else np.zeros((1, D))
    unit = x / deviation
    parts = [
        mean,
        np.log(deviation),
        np.log(changes.std(axis=0) + _SMALLEST),
        np.arcsinh(np.quantile(unit, _QUANTILES, axis=0)),  # few outliers don't decide about the scale of the feature
        *((unit[lag:] * unit[:-lag]).sum(axis=0) / T for lag in _LAGS),
        *(_asymmetry(unit, lag) for lag in _ASYMMETRY_LAGS),
        _band_energies(x, size),
    ]
    if D > 1:
        parts += _delays(unit, size)
    return np.concatenate([np.ravel(each) for each in parts])


def _asymmetry(unit: HostArray, lag: int) -> HostArray:
    """The skewness of the changes over `lag` steps: 0 if the series looks the same backwards."""
    if lag >= len(unit):
        return np.zeros(unit.shape[1])
    changes = unit[lag:] - unit[:-lag]
    return np.arcsinh((changes**3).mean(axis=0) / (changes.std(axis=0) + _SMALLEST) ** 3)


def _band_energies(x: HostArray, size: int) -> HostArray:
    """The logarithm of the mean power in half octaves, (bands, D). A Hann window keeps a trend in the lowest bands."""
    window = np.hanning(len(x) + 2)[1:-1, None]
    power = np.abs(np.fft.rfft(x * window, size, axis=0)) ** 2 / np.square(window).sum()
    edges = np.round(size / 2 * 2.0 ** (np.arange(-_BANDS, 1) / 2)).astype(int)
    edges[-1] += 1  # the last frequency is half the sampling rate itself
    sums = np.add.reduceat(power[: edges[-1]], edges[:-1], axis=0)
    return np.log(sums / np.diff(edges)[:, None] + _SMALLEST**2)


def _delays(unit: HostArray, size: int) -> list[HostArray]:
    """For pairs of channels: their correlation; the strongest one with a delay of either, and this delay."""
    T, D = unit.shape
    pairs = [(i, i + apart) for apart in range(1, D) for i in range(D - apart)]
    first, second = np.array(pairs[: max(_MOST_PAIRS, D - 1)]).T
    spectrum = np.fft.rfft(unit, size, axis=0)
    most = max(1, min(_FARTHEST_DELAY, T // 2))
    correlations = np.fft.irfft(spectrum[:, first] * spectrum[:, second].conj(), size, axis=0) / T
    correlations = np.concatenate([correlations[-most:], correlations[: most + 1]])
    strongest = np.abs(correlations).argmax(axis=0)
    return [
        correlations[most],
        np.take_along_axis(correlations, strongest[None], axis=0),
        np.arcsinh(strongest - most),
    ]
