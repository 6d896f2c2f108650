"""The choice of the number of steps in a patch, by series that are left out of the training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np

from xrnn.backend import Backend
from xrnn.models.errors import DivergedError, SettingsError, param
from xrnn.models.labelled.data import VALIDATION, LabelledSeries, hold_out
from xrnn.models.labelled.head import Head
from xrnn.models.labelled.trainer import LabelledTrainer

_SHORT: Final = 64  # steps: shorter series get no patches
_MOST: Final = 256  # steps in a patch
_TESTED: Final = 40  # left-out series: few series are divided several times
_MOST_DIVISIONS: Final = 3
_SHARE: Final = 1 / 3  # of the updates of a training
# A smaller patch needs an error below this share of the error of the larger one: short trainings favour small patches.
_BETTER: Final = 0.7


def choose(
    settings: Any, data: LabelledSeries, backend: Backend, tell: Callable[[str], None] = lambda line: None
) -> Any:
    """The settings with a patch, if it is 0.

    The first choice is a power of two near half the square root of the median length T: the state then lasts for about
    2 √T patches. A quarter of this size replaces it if it is clearly better on left-out series, then a quarter of that,
    down to single steps. Each size gets short trainings, and is tested on series that they leave out. Large patches
    come first: they train quickly, and a few left-out series can't show small differences.

    tell   prints a line about the progress

    Raises SettingsError for a patch that is longer than all series.
    """
    steps = [len(each.values) for each in data.train]
    if settings.patch:
        if settings.patch > max(steps):
            raise SettingsError(
                f"{param('patch')} is {settings.patch}, and the longest series to train on has {max(steps)} steps: "
                "expected a patch that fits; lower it, or leave it out to choose it by left-out series"
            )
        return settings
    median = float(np.median(steps))
    patch = min(2 ** round(math.log2(math.sqrt(median) / 2)), _MOST) if median >= _SHORT else 1
    groups = data.facts.groups(data.train)
    divided = [hold_out(data.train, groups, VALIDATION, settings.seed + k) for k in range(_MOST_DIVISIONS)]
    left = len(divided[0][1])
    if patch == 1 or not left:
        return replace(settings, patch=1)
    tell("choosing the patch: short trainings, tested on series that they leave out")
    lowest = math.inf
    for size in [*(patch // 4**k for k in range(5) if 4**k < patch), 1]:
        tried = replace(settings, patch=size, patience=0, members=1)
        errors = [_error(tried, data, *parts, backend) for parts in divided[: -(-_TESTED // left)]]
        error = sum(errors) / len(errors)
        tell(f"  --patch {size}: error {error:.3f}")
        if lowest < math.inf and error >= _BETTER * lowest:
            break
        patch, lowest = size, error
    return replace(settings, patch=patch)


def _error(settings: Any, data: LabelledSeries, train: Any, left: Any, backend: Backend) -> float:
    """The error on `left` after a short training on `train`; infinite if it diverged."""
    trainer = LabelledTrainer(settings, LabelledSeries(train, left, [], data.facts), backend)
    trainer.total = max(1, round(_SHARE * trainer.total))
    try:
        trainer.run(lambda: trainer.steps >= trainer.total)
        trainer.read_losses()
    except DivergedError:
        return math.inf
    head: Head = data.facts
    return head.error(trainer.model.outputs(trainer.inputs(left)), left)
