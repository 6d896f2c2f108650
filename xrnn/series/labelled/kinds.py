"""The kinds of models, and the choice between them."""

from __future__ import annotations

from typing import Final

import numpy as np

from xrnn.files import printable
from xrnn.series.labelled.base import (
    AUTO,
    Candidate,
    FittedModel,
    Parameters,
    Task,
    Watcher,
    factor_of,
    probabilities,
    targets_of,
    weights_of,
)
from xrnn.series.labelled.convolutions import Convolutions
from xrnn.series.labelled.features import Features
from xrnn.series.labelled.recurrent import Recurrent
from xrnn.series.labelled.splits import parts_of
from xrnn.series.one_series import Series
from xrnn.typing import HostArray

_MOST_NAMES: Final = 5  # of series, in a line
MODELS: Final[dict[str, type[FittedModel]]] = {  # the simplest first
    "features": Features,
    "convolutions": Convolutions,
    "recurrent": Recurrent,
}


def candidate_of(
    params: Parameters, task: Task, series: list[Series], watcher: Watcher
) -> tuple[Candidate, dict[str, float]]:
    """The model of the parameters, tested on left-out series; and the error of each kind that it was compared with.

    "auto" takes the kind with the lowest loss; a later one, which is less simple, only if it is better by more than a
    standard error. A kind that makes no mistake ends the comparison. If a parameter is set that only recurrent models
    use, there is nothing to compare.

    Raises ModelError.
    """
    if params.model != AUTO:
        MODELS[params.model].check(params)
        return MODELS[params.model].candidate(params, task, series, watcher), {}
    if params.of_recurrent():
        return Recurrent.candidate(params, task, series, watcher), {}
    targets, weights, compared = targets_of(series), weights_of(series), {}
    best, lowest = None, np.full(len(series), np.nan)
    watcher.tell("comparing kinds of models on series that they leave out")
    in_parts = {i for part in parts_of(series, params.seed) for i in part.tolist()}
    if alone := [each.name for i, each in enumerate(series) if i not in in_parts]:
        more = f" and {len(alone) - _MOST_NAMES:,} more" if len(alone) > _MOST_NAMES else ""
        names = f"{printable(', '.join(alone[:_MOST_NAMES]))}{more}"
        other = "group" if any(each.group is not None for each in series) else "series"
        watcher.tell(f"  never left out, since no other {other} has the label: {names}")
    for name, kind in MODELS.items():
        candidate = kind.candidate(params, task, series, watcher)
        losses, error, shown = _tested(candidate.left_out, targets, weights)
        compared[name] = error
        watcher.tell(f"  --model {name}: {shown}")
        if best is None or _is_better(losses, lowest, weights):
            best, lowest = candidate, losses
        if not error > 0:  # also NaN: nothing was tested
            break
    assert best is not None
    return best, {name: error for name, error in compared.items() if not np.isnan(error)}


def _tested(left_out: HostArray, targets: HostArray, weights: HostArray) -> tuple[HostArray, float, str]:
    """The loss of each left-out series, NaN for the others; the error; and the error in words.

    For labels, the loss is the cross-entropy, and the error the share of wrong ones; for numbers of deviation 1, both
    are the squared error.
    """
    tested = np.flatnonzero(~np.isnan(left_out).any(axis=1))
    losses = np.full(len(targets), np.nan)
    y, expected = left_out[tested], targets[tested]
    if not tested.size:
        return losses, np.nan, "no answers about left-out series"
    if targets.dtype.kind == "f":
        losses[tested] = np.square(y[:, 0] - expected)
        error = float(np.average(losses[tested], weights=weights[tested]))
        return losses, error, f"squared error {error:.3f} (1 for the mean)"
    p = probabilities(y * factor_of(left_out, targets, weights))
    losses[tested] = -np.log(p[np.arange(len(y)), expected].clip(1e-300))
    wrong = int((y.argmax(axis=1) != expected).sum())
    return losses, wrong / len(y), f"{wrong:,} of {len(y):,} wrong"


def _is_better(losses: HostArray, others: HostArray, weights: HostArray) -> bool:
    """Whether the mean loss is lower by more than a standard error, over the series that both have left out."""
    both = ~np.isnan(others - losses)
    gains, n = (others - losses)[both], int(both.sum())
    if n < 2:
        return False
    shares = weights[both] / weights[both].sum()
    gain = shares @ gains
    return bool(gain > np.sqrt(np.square(shares) @ np.square(gains - gain) * n / (n - 1)))
