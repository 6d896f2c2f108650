"""The choice of the number of steps in a patch, by series that are left out of the training."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from xrnn.select import get_backend
from xrnn.series.checks import Series
from xrnn.series.errors import DivergedError, SettingsError, param
from xrnn.series.labelled.labels import VALIDATION, hold_out
from xrnn.series.labelled.training import LabelledTraining
from xrnn.series.training import SILENT, Watcher

_SHORT: Final = 64  # steps: shorter series get no patches
_MOST: Final = 256  # steps in a patch
_TESTED: Final = 40  # left-out series: few series are divided several times
_MOST_DIVISIONS: Final = 3
_SHARE: Final = 1 / 3  # of the updates of a training
# A smaller patch needs an error below this share of the error of the larger one: short trainings favour small patches.
_BETTER: Final = 0.7


def choose(estimator: Any, p: Any, train: list[Series], watcher: Watcher = SILENT) -> int:
    """The number of steps in a patch: `p.patch`, or one that is chosen if it is 0.

    The first choice is a power of two near half the square root of the median length T: the state then lasts for about
    2 √T patches. A quarter of this size replaces it if it is clearly better on left-out series, then a quarter of that,
    down to single steps. Each size gets short trainings, and is tested on series that they leave out. Large patches
    come first: they train quickly, and a few left-out series can't show small differences.

    estimator   has learnt the targets of the training series;   p: its parameters

    Raises SettingsError for a patch that is longer than all series.
    """
    steps = [len(each.values) for each in train]
    if p.patch:
        if p.patch > max(steps):
            raise SettingsError(
                f"{param('patch')} is {p.patch}, and the longest series to train on has {max(steps)} steps: expected a "
                "patch that fits; lower it, or leave it out to choose it by left-out series"
            )
        return int(p.patch)
    median = float(np.median(steps))
    patch = min(2 ** round(math.log2(math.sqrt(median) / 2)), _MOST) if median >= _SHORT else 1
    groups = estimator._groups(train)
    divided = [hold_out(train, groups, VALIDATION, p.seed + k) for k in range(_MOST_DIVISIONS)]
    left = len(divided[0][1])
    if patch == 1 or not left:
        return 1
    watcher.tell("choosing the patch: short trainings, tested on series that they leave out")
    lowest = math.inf
    for size in [*(patch // 4**k for k in range(5) if 4**k < patch), 1]:
        errors = [_error(estimator, p, size, *parts) for parts in divided[: -(-_TESTED // left)]]
        error = sum(errors) / len(errors)
        watcher.tell(f"  --patch {size}: error {error:.3f}")
        if lowest < math.inf and error >= _BETTER * lowest:
            break
        patch, lowest = size, error
    return patch


def _error(estimator: Any, p: Any, size: int, train: list[Series], left: list[Series]) -> float:
    """The error on `left` after a short training on `train`; infinite if it diverged."""
    short = type(p)(**vars(p) | {"patience": 0, "members": 1})
    training = LabelledTraining(estimator, short, size, train, [], get_backend())
    try:
        training.total = max(1, round(_SHARE * training.total))
        training.run(training.total, SILENT)
    except DivergedError:
        return math.inf
    error: float = estimator._error(training.model.outputs(training.inputs(left)), left)
    return error
