"""The kinds of models, and the choice between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
from xrnn.series.labelled.splits import parts_of, units_of
from xrnn.series.labelled.windows import Windows, rows_to_try
from xrnn.series.one_series import Series
from xrnn.typing import HostArray

_MOST_NAMES: Final = 5  # of series, in a line
MODELS: Final[dict[str, type[FittedModel]]] = {  # the simplest first
    "features": Features,
    "convolutions": Convolutions,
    "recurrent": Recurrent,
}


@dataclass(frozen=True, eq=False)
class Chosen:
    """A kind of model with its settings, and the windows that it learns from.

    compared   the error of each kind and window that it was compared with
    """

    candidate: Candidate
    windows: Windows
    compared: dict[str, float]

    def fit(self, targets: HostArray, weights: HostArray) -> FittedModel:
        """The fitted model; for labels, its outputs have the factor that fits their probabilities to left-out series.

        targets, weights   (n,), of the series

        Raises ModelError.
        """
        model = self.candidate.fit()
        if targets.dtype.kind != "i":
            return model
        return model.multiplied_by(factor_of(self.candidate.left_out, targets, weights, self.windows.mean))


def choose_kind(params: Parameters, task: Task, series: list[Series], watcher: Watcher) -> Chosen:
    """The model of the parameters, tested on left-out series.

    "auto" takes the kind with the lowest loss; a later one, which is less simple, only if it is better by more than a
    standard error. A kind that makes no mistake ends the comparison. If a parameter is set that only recurrent models
    use, there is nothing to compare. Each kind on features is also tested on windows, see `rows_to_try`; a recurrent
    model, whose training takes longer, has the windows that are best for the other kinds.

    Raises ModelError.
    """
    names = [params.model]
    if params.model != AUTO:
        MODELS[params.model].check(params)
    elif params.set_for_recurrent():
        names = ["recurrent"]
    else:
        names = [*MODELS]
    is_recurrent = names == ["recurrent"]
    rows = [params.window or 0] if is_recurrent or params.window is not None else rows_to_try(series)
    if len(names) == len(rows) == 1:
        only = _candidate(names[0], rows[0], params, task, series, watcher)
        only.windows.describe(watcher.tell)
        return only
    watcher.tell(f"comparing {'kinds of models' if len(names) > 1 else 'windows'} on series that they leave out")
    _tell_of_untested(series, params, watcher)
    targets = targets_of(series)
    weights = weights_of(series)
    units = units_of(series)
    best = None
    best_losses = np.full(len(series), np.nan)
    compared = {}
    trials = [(name, each) for name in names for each in (rows if name != "recurrent" else [None])]
    for name, given in trials:
        window = best.windows.rows if given is None and best else given or 0
        chosen = _candidate(name, window, params, task, series, watcher)
        losses, error, shown = _tested(chosen.candidate.left_out, targets, weights, chosen.windows.mean)
        title = f"{name} --window {window}" if window else name
        compared[title] = error
        watcher.tell(f"  --model {title}: {shown}")
        if best is None or _is_better(losses, best_losses, weights, units):
            best, best_losses = chosen, losses
        if not error > 0:  # also NaN: nothing was tested
            break
    assert best is not None
    best.windows.describe(watcher.tell)
    return replace(best, compared={name: error for name, error in compared.items() if not np.isnan(error)})


def _candidate(name: str, rows: int, params: Parameters, task: Task, series: list[Series], watcher: Watcher) -> Chosen:
    windows = Windows.of(series, rows)
    task = task._replace(examples="windows" if rows else "series")
    return Chosen(MODELS[name].candidate(params, task, windows.series, watcher), windows, {})


def _tell_of_untested(series: list[Series], params: Parameters, watcher: Watcher) -> None:
    """A line with the series that are in no part."""
    in_parts = {i for part in parts_of(series, params.seed) for i in part.tolist()}
    if alone := [each.name for i, each in enumerate(series) if i not in in_parts]:
        more = f" and {len(alone) - _MOST_NAMES:,} more" if len(alone) > _MOST_NAMES else ""
        names = f"{printable(', '.join(alone[:_MOST_NAMES]))}{more}"
        other = "group" if any(one.group is not None for one in series) else "series"
        watcher.tell(f"  never left out, since no other {other} has the label: {names}")


def _tested(
    left_out: HostArray, targets: HostArray, weights: HostArray, mean: Callable[[HostArray], HostArray]
) -> tuple[HostArray, float, str]:
    """The loss of each left-out series, NaN for the others; the error; and the error in words.

    For labels, the loss is the cross-entropy, and the error the share of wrong ones; for numbers of deviation 1, both
    are the squared error.

    left_out   (m, outputs);   mean   (m, …) → (n, …), see `Windows.mean`;   targets, weights   (n,)
    """
    of_series = mean(left_out)
    tested = np.flatnonzero(~np.isnan(of_series).any(axis=1))
    losses = np.full(len(targets), np.nan)
    expected = targets[tested]
    if not tested.size:
        return losses, np.nan, "no answers about left-out series"
    if targets.dtype.kind == "f":
        losses[tested] = np.square(of_series[tested, 0] - expected)
        error = float(np.average(losses[tested], weights=weights[tested]))
        return losses, error, f"squared error {error:.3f} (1 for the mean)"
    p = mean(probabilities(left_out * factor_of(left_out, targets, weights, mean)))[tested]
    losses[tested] = -np.log(p[np.arange(len(p)), expected].clip(1e-300))
    wrong = int((p.argmax(axis=1) != expected).sum())
    return losses, wrong / len(p), f"{wrong:,} of {len(p):,} wrong"


def _is_better(losses: HostArray, others: HostArray, weights: HostArray, units: Sequence[Sequence[int]]) -> bool:
    """Whether the mean loss is lower by more than a standard error, over the series that both have left out.

    The error is that of independent units, see `units_of`.
    """
    gains = others - losses
    both = ~np.isnan(gains)
    shares = np.where(both, weights, 0)
    if not shares.any():
        return False
    shares = shares / shares.sum()
    gain = shares[both] @ gains[both]
    sums = np.array([shares[unit] @ np.where(both, gains - gain, 0)[unit] for unit in units if both[unit].any()])
    n = len(sums)
    return n > 1 and bool(gain > np.sqrt(np.square(sums).sum() * n / (n - 1)))
