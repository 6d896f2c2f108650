"""The recurrent kind of model: patches of the series, recurrent layers, the mean over time, a linear layer.

Series that are left out of short trainings choose the patch and the scaling.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np

from xrnn.cells import CELLS
from xrnn.select import get_backend
from xrnn.series.checks import DivergedError, Scale, Series, SettingsError, param
from xrnn.series.labelled.base import VALIDATION, Kind, Watcher, hold_out, targets_of
from xrnn.series.labelled.model import Model, Training, default_epochs, features_of, inputs_of, streamed
from xrnn.typing import HostArray

_SHORT: Final = 64  # steps: shorter series get no patches
_MOST: Final = 256  # steps in a patch
_APART: Final = 10.0  # between the deviations of the series: below this ratio, the scaling makes little difference
_TESTED: Final = 40  # left-out series: few series are divided several times
_MOST_DIVISIONS: Final = 3
_SHARE: Final = 1 / 3  # of the updates of a training
# A later choice needs an error below this share of the lowest one so far: short trainings favour small patches, and a
# few left-out series can't show small differences.
_BETTER: Final = 0.7


class Recurrent(Kind):
    """It learns

    patch_, scaling_     the number of steps in a patch, and "shared" or "each"
    losses_              of every update
    scale_               mean and deviation of each feature, (2, features)
    """

    def check(self) -> None:
        if self.p.one_way and self.p.scaling == "each":
            raise SettingsError(
                f"got {param('one_way')} with {param('scaling')} each: expected shared, since a stream can't be scaled "
                "by its later steps; leave one of them out"
            )

    def learn(self, series: list[Series], watcher: Watcher) -> dict[str, Any]:
        p = self.p
        patch, scaling = choose(p, series, watcher)
        training = Training(p, patch, scaled(series, scaling), get_backend())
        weights = sum(each.size for each in training.model.params)
        layers = f"{'' if p.one_way else 'bidirectional '}{CELLS[p.cell].__name__} layer{'s' * (p.layers > 1)}"
        options = f"--patch {patch} --scaling {scaling}"
        watcher.tell(f"model: {p.layers} {layers} of {p.hidden}, {weights:,} weights; {options}")
        training.run((p.epochs or default_epochs(len(series))) * training.per_epoch, watcher)
        return {
            "patch_": patch,
            "scaling_": scaling,
            "losses_": np.array(training.losses),
            "scale_": np.array([training.scale.mean, training.scale.deviation]),
            "layers_": dict(training.model),
        }

    @property
    def features(self) -> int:  # type: ignore[override]
        return features_of(self.p.patch_)

    def outputs(self, series: list[Series]) -> HostArray:
        scale, patch = Scale(*self.p.scale_), self.p.patch_
        x = [inputs_of(each.values, scale, patch) for each in scaled(series, self.p.scaling_)]
        return Model(self.p.layers_).outputs(x)

    def stream(self, rows: Iterable[HostArray]) -> Iterator[HostArray]:
        if not self.p.one_way:
            return super().stream(rows)
        return streamed(Model(self.p.layers_), rows, Scale(*self.p.scale_), self.p.patch_)


def scaled(series: list[Series], scaling: str) -> list[Series]:
    """The series to train on or to predict, before the scale that all share; "each": standardised, NaN stays."""
    if scaling == "shared":
        return series
    scales = [Scale.of([each.values]) for each in series]
    return [
        replace(each, values=(each.values - of.mean) / of.deviation) for each, of in zip(series, scales, strict=True)
    ]


def choose(p: Any, train: list[Series], watcher: Watcher) -> tuple[int, str]:
    """The number of steps in a patch, and the scaling: those of `p`, or chosen if they are 0 and "auto".

    The first choice is one scale for all series, and a patch of a power of two steps, near half the square root of the
    median length T: a series then has about 2 √T patches. If the deviations of the series are far apart, scaling each
    series by itself replaces the one scale if it is clearly better on left-out series. Then a quarter of the patch
    replaces the patch by the same rule, then a quarter of that, down to single steps. Each choice gets short trainings,
    and is tested on series that they leave out. Large patches come first: they train quickly.

    p   an estimator that has learnt the targets of the training series

    Raises SettingsError for a patch that is longer than all series.
    """
    steps = [len(each.values) for each in train]
    if p.patch > max(steps):
        raise SettingsError(
            f"{param('patch')} is {p.patch}, and the longest series to train on has {max(steps)} steps: expected a "
            "patch that fits; lower it, or leave it out to choose it by left-out series"
        )
    median = float(np.median(steps))
    first = p.patch or (min(2 ** round(math.log2(math.sqrt(median) / 2)), _MOST) if median >= _SHORT else 1)
    sizes = [first] if p.patch or first == 1 else [*(first // 4**k for k in range(5) if 4**k < first), 1]
    scaling = "shared" if p.scaling == "auto" else p.scaling
    scalings = [scaling]
    if p.scaling == "auto" and not p.one_way and _far_apart(train):  # a stream has no deviation of the complete series
        scalings.append("each")
    divided = [hold_out(train, VALIDATION, p.seed + k) for k in range(_MOST_DIVISIONS)]
    left = len(divided[0][1])
    if len(sizes) * len(scalings) == 1:
        return first, scaling
    if not left:
        return p.patch or 1, scaling
    watcher.tell("choosing by short trainings, tested on series that they leave out")

    def error_of(size: int, scaling: str) -> float:
        errors = [_error(p, size, scaling, *parts) for parts in divided[: -(-_TESTED // left)]]
        error = sum(errors) / len(errors)
        watcher.tell(f"  --patch {size} --scaling {scaling}: error {error:.3f}")
        return error

    patch, lowest = first, error_of(first, scaling)
    for other in scalings[1:]:
        if (error := error_of(first, other)) < _BETTER * lowest:
            scaling, lowest = other, error
    for size in sizes[1:]:
        error = error_of(size, scaling)
        if lowest < math.inf and error >= _BETTER * lowest:
            break
        patch, lowest = size, error
    return patch, scaling


def _far_apart(series: list[Series]) -> bool:
    """Whether the deviations of a channel differ by more than the ratio _APART, without a tenth at each end."""
    deviations = np.array([np.nanstd(each.values, axis=0) for each in series if len(each.values) > 1] or [[0.0]])
    low, high = np.nanquantile(deviations, [0.1, 0.9], axis=0)
    return bool((high > _APART * low).any())


def _error(p: Any, size: int, scaling: str, train: list[Series], left: list[Series]) -> float:
    """The error on `left` after a short training on `train`; infinite if it diverged."""
    training = Training(p, size, scaled(train, scaling), get_backend())
    try:
        training.total = max(1, round(_SHARE * training.total))
        training.run(training.total, Watcher())
    except DivergedError:
        return math.inf
    error: float = p._error(training.model.outputs(training.inputs(scaled(left, scaling))), targets_of(left))
    return error
