"""Ridge regression on features of the series: what the models without training by gradients share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from xrnn.arrays.convert import to_numpy
from xrnn.arrays.select import get_backend
from xrnn.layers.linear import Linear
from xrnn.series.errors import SettingsError, param
from xrnn.series.labelled.base import (
    Candidate,
    FittedModel,
    Parameters,
    Task,
    Watcher,
    targets_of,
    weights_of,
)
from xrnn.series.labelled.splits import by_label, parts_of
from xrnn.series.one_series import Series
from xrnn.series.progress import each_of
from xrnn.series.scale import Scale
from xrnn.typing import HostArray

_PENALTIES: Final = 10.0 ** np.arange(-3, 6)
_FARTHEST: Final = 4.0  # deviations: a feature farther from its mean counts as this far, as nothing was learnt there
_MOST_SERIES: Final = 1000  # to solve for: time grows as the square of their number
_AT_ONCE: Final = 500  # series to predict, so that memory does not grow with their number


@dataclass(frozen=True, kw_only=True, eq=False)
class RidgeModel(FittedModel):
    """y = (features(x) - mean) / deviation @ W + b

    scale_             mean and deviation of each channel, (2, D)
    features_scale_    mean and deviation of each feature, (2, F)

    A subclass sets what the report calls its features, and whether each is weighted, see `solve`.
    """

    features_scale_: HostArray

    called: ClassVar[str]
    weighted: ClassVar[bool] = False

    @staticmethod
    def check(params: Parameters) -> None:
        if name := params.set_for_recurrent():
            got = f"{param(name)} is {getattr(params, name)}, which {param('model')} {params.model} doesn't use"
            raise SettingsError(f"{got}; leave it out")

    @classmethod
    def candidate(cls, params: Parameters, task: Task, series: list[Series], watcher: Watcher) -> Candidate:
        chosen = to_solve_for(series, params.seed)
        used = [series[i] for i in chosen]
        scale = Scale.of(one.values for one in used)
        features, learnt = cls.learn([scale.apply(one.values) for one in used], params.seed)
        parts = parts_of(used, params.seed)
        solved = solve(features, targets_of(used), task.outputs, parts, weights_of(used), weighted=cls.weighted)

        def fit() -> FittedModel:
            model = f"model: ridge regression on {features.shape[1]:,} {cls.called} of {len(used):,} {task.examples}"
            watcher.tell(f"{model}; penalty {solved.penalty:g}; seed {params.seed}")
            return cls(
                params=params,
                channels_=series[0].channels,
                scale_=np.array([scale.mean, scale.deviation]),
                losses_=np.zeros(0),
                layers_={"linear": solved.linear},
                features_scale_=solved.scale,
                **learnt,
            )

        return Candidate(solved.left_out_of(chosen, len(series)), fit)

    @staticmethod
    @abstractmethod
    def learn(x: Sequence[HostArray], seed: int) -> tuple[HostArray, dict[str, Any]]:
        """The features (n, F) of scaled training series (T, D) float32, and the fields that the subclass adds."""

    @abstractmethod
    def features(self, x: Sequence[HostArray]) -> HostArray:
        """The features (n, F) of scaled series (T, D) float32."""

    def outputs(self, series: list[Series]) -> HostArray:
        linear = self.layers_["linear"]
        scale = Scale(*self.scale_)
        y = np.zeros((len(series), linear.output_size))
        for rows in np.split(np.arange(len(series)), range(_AT_ONCE, len(series), _AT_ONCE)):
            features = self.features([scale.apply(series[i].values) for i in rows])
            given = _standardised(features, *self.features_scale_).astype(np.float32)
            y[rows] = to_numpy(linear(linear.backend.asarray(given)))
        return y


def to_solve_for(series: list[Series], seed: int) -> HostArray:
    """The indices of the series to solve for: all, or of many a random part of each label, at least one series."""
    rng = np.random.default_rng(seed)
    share = min(1, _MOST_SERIES / len(series))
    chosen = [rng.permutation(each)[: max(1, round(len(each) * share))] for each in by_label(series)]
    return np.sort(np.concatenate(chosen))


@dataclass(frozen=True, eq=False)
class Solved:
    """A ridge regression: `linear`, of features that are standardised with `scale` (2, F).

    left_out   (n, outputs): see `Candidate`
    """

    linear: Linear
    scale: HostArray
    penalty: float
    left_out: HostArray

    def left_out_of(self, chosen: HostArray, count: int) -> HostArray:
        """`left_out` for all `count` series, of which only the chosen ones were solved for."""
        every = np.full((count, self.left_out.shape[1]), np.nan)
        every[chosen] = self.left_out
        return every


def solve(
    features: HostArray,
    targets: HostArray,
    outputs: int,
    parts: Sequence[HostArray],
    weights: HostArray,
    *,
    weighted: bool = False,
) -> Solved:
    """The ridge regression with the penalty that has the lowest squared error on left-out parts of the series.

    features   (n, F);   targets   (n,): numbers, or labels as indices;   outputs   1, or the number of labels
    parts      indices of the series to leave out, part by part
    weights    (n,): of the series in the squared error
    weighted   multiply each feature by the share of its variance that the targets explain, so that a few features that
               tell the labels apart are not lost among many that don't. The share is computed without the left-out part
    """
    has_labels = targets.dtype.kind == "i"
    y = np.where(targets[:, None] == np.arange(outputs), 1.0, -1.0) if has_labels else targets[:, None].astype(float)
    left_out = np.full((len(_PENALTIES), *y.shape), np.nan)

    def leave_out(part: HostArray) -> None:
        rest = np.setdiff1d(np.arange(len(y)), part)
        regression = _Regression(features[rest], y[rest], weights[rest], weighted)
        for each, penalty in zip(left_out, _PENALTIES, strict=True):
            W, b = regression.solution(penalty)
            each[part] = _standardised(features[part], *regression.scale) @ W + b

    each_of(parts, "tests on left-out parts", leave_out)
    best = 0
    if parts:
        best = int(np.nansum(np.square(left_out - y) * weights[:, None], axis=(1, 2)).argmin())
    penalty = float(_PENALTIES[best]) if parts else 1.0
    regression = _Regression(features, y, weights, weighted)
    backend = get_backend()
    linear = Linear(*(backend.asarray(np.float32(each)) for each in regression.solution(penalty)))
    return Solved(linear, regression.scale, penalty, left_out[best])


class _Regression:
    """Σ weight · (y - target)² + penalty · Σ W² for any penalty.

    All penalties share one decomposition, of an (n, n) matrix.

    scale   weighted mean and deviation of each feature, (2, F)
    """

    def __init__(self, features: HostArray, y: HostArray, weights: HostArray, weighted: bool) -> None:
        mean = np.average(features.astype(float), axis=0, weights=weights)
        deviation = np.sqrt(np.average(np.square(features - mean), axis=0, weights=weights))
        # The rounding errors of a constant feature are no deviation
        self.scale = np.array([mean, np.where(deviation > 1e-6 * np.abs(mean), deviation, 1.0)])
        x = _standardised(features, *self.scale)
        self._y_mean = np.average(y, axis=0, weights=weights)
        self._feature_weights = _explained(x, y, weights) if weighted else np.ones(x.shape[1])
        roots = np.sqrt(weights)[:, None]
        self._x = roots * x * self._feature_weights
        values, self._vectors = np.linalg.eigh(self._x @ self._x.T)
        self._values = values.clip(0)
        self._rotated = self._vectors.T @ (roots * (y - self._y_mean))

    def solution(self, penalty: float) -> tuple[HostArray, HostArray]:
        """W (F, outputs) for standardised features, and b (outputs,)."""
        W = self._x.T @ (self._vectors @ (self._rotated / (self._values + penalty)[:, None]))
        return self._feature_weights[:, None] * W, self._y_mean


def _explained(x: HostArray, y: HostArray, weights: HostArray) -> HostArray:
    """The share of the variance of each standardised feature that y explains, divided by the root mean square: (F,).

    For labels it is the correlation ratio (Fisher, 1925), Σ of weight · mean² over the labels, divided by the total
    weight; for numbers, the squared correlation.
    """
    w = weights[:, None]
    if y.shape[1] == 1:
        centred = y - np.average(y, axis=0, weights=weights)
        norm = float((w * centred**2).sum())
        shares = np.square(x.T @ (w * centred))[:, 0] / max(norm * weights.sum(), 1e-30)
    else:
        of_label = w * (y > 0)
        shares = (np.square(x.T @ of_label) / of_label.sum(axis=0).clip(1e-30)).sum(axis=1) / weights.sum()
    return shares / max(float(np.sqrt(np.square(shares).mean())), 1e-30)


def _standardised(features: HostArray, mean: HostArray, deviation: HostArray) -> HostArray:
    return ((features - mean) / deviation).clip(-_FARTHEST, _FARTHEST)
