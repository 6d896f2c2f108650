"""The training of a forecaster."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np

from xrnn.backend import Backend
from xrnn.optim import Adam
from xrnn.series.errors import param
from xrnn.series.forecast.data import ForecastData
from xrnn.series.forecast.model import ForecastModel, plan
from xrnn.series.forecast.windows import pack, unpack
from xrnn.series.training import SILENT, Training, Watcher, cosine_rate
from xrnn.typing import HostArray

DEFAULT_STEPS: Final = 500  # of the longest training, if no number is given
_RATES: Final = (0.001, 0.003)
_EVERY: Final = 100  # updates between two tests on left-out windows
_PATIENCE: Final = 2  # tests without a lower error, after which a training on a part of the rows ends
_FEW: Final = 40  # fewer left-out windows than this do not test the recurrent part
_MOST_PRODUCTS: Final = 2**14  # context · horizon: above it, no number of updates is tried unless it is given
_SHARES: Final = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
_LEAST_WIDTH: Final = 0.3  # of a step ahead, as a share of the mean width
_INDEPENDENT: Final = 1.25  # errors in a window that count as independent: those of overlapping windows are alike
_SYMMETRIC: Final = 5  # independent windows that count for offsets of equal size above and below


class Trial(NamedTuple):
    """The outputs of a model on the left-out windows of an earlier backtest, in units of a series.

    error   (N, F), of the base
    y       (N, F, Q), the corrections of the base
    reach   (N, F), see `Windows`
    """

    error: HostArray
    y: HostArray
    reach: HostArray

    def relative(self, median: int) -> HostArray:
        """The mean absolute error of the median for each of _SHARES, divided by that of the base."""
        errors = [np.abs(self.error - share * self.y[..., median]).mean() for share in _SHARES]
        relative: HostArray = np.array(errors) / max(errors[0], 1e-300)
        return relative


class ForecastTraining(Training):
    """Update k learns from windows drawn at random. The seed and k determine the draw.

    losses   mean pinball losses, in units of each window's scale
    p        the parameters of the estimator
    rate     the highest learning rate; 0 before it is chosen
    updates  the number of updates in all; None before it is chosen
    chooses  whether the number of updates is chosen: it is not given
    calibrated   whether `calibrate` has set the share and the offsets of the model
    """

    model: ForecastModel

    def __init__(self, p: Any, data: ForecastData, backend: Backend, updates: int | None) -> None:
        self.p, self.data, self.facts = p, data, data.facts
        self.updates, self.chooses = updates, updates is None
        model = ForecastModel(plan(p, data.facts).make(backend), p, data.facts)
        super().__init__(model, Adam(model.values(), p.lr or 0.001, weight_decay=p.decay))  # an update sets its rate
        self.rate, self.calibrated = p.lr, False
        self._trials: dict[tuple[float, int], list[Trial]] = {}  # by rate and number of updates: one for each fold

    def complete(self, watcher: Watcher = SILENT) -> None:
        """Choose the learning rate and the number of updates, unless they are given; train, and calibrate.

        If too few windows were left out to test the recurrent part, its share is 0, and no update is made.
        """
        if self._left_out < _FEW:
            self.updates, self.chooses = 0, False
        if not self.rate or self.updates is None:
            self._choose(watcher)
        if self.updates is not None and not watcher.stopped:
            self.run(self.updates, watcher)
            self.calibrate(watcher)

    @property
    def position(self) -> str:
        return f"step {self.steps:,}"

    def step(self) -> None:
        rng = np.random.default_rng(np.random.SeedSequence(self.p.seed, spawn_key=(self.steps,)))
        drawn = rng.integers(len(self.data.training), size=self.p.batch)
        windows = self.data.windows(self.data.training[drawn])
        if self.p.noise:
            values = windows.x[..., :2]
            values += np.float32(self.p.noise) * rng.standard_normal(values.shape, dtype=np.float32)
        packed = self._backend.asarray(pack(windows))
        # An overflow shows in the loss, which `read_losses` checks.
        with np.errstate(over="ignore", invalid="ignore"):
            loss = self.model.train_step(*unpack(packed, self.data.facts, self.p.batch))
            self._update(loss, cosine_rate(self.rate or _RATES[0], self.steps + 1, DEFAULT_STEPS))

    def on(self, data: ForecastData) -> ForecastTraining:
        """A new training on other data, with the same number of updates if it is given. It makes its own choices."""
        return ForecastTraining(self.p, data, self._backend, None if self.chooses else self.steps)

    def _choose(self, watcher: Watcher) -> None:
        """Choose the learning rate and the number of updates by earlier backtests, unless they are given.

        The choice has the smallest error, relative to that of the base alone, in the worst of the backtests. If no
        number of updates gains enough there, see `_sufficient`, it is 0.
        """
        rates = [self.rate] if self.rate else [*_RATES]
        ends = [self.updates] if self.updates is not None else range(_EVERY, DEFAULT_STEPS + 1, _EVERY)
        rate, updates, least = rates[0], 0, self._sufficient if self.chooses else np.inf
        tried = [] if self.untested else rates
        if tried:
            watcher.tell("choosing the training: trials on parts of the rows, tested on the next rows")
        for each in tried:
            errors = self._errors(each, ends, least, watcher)
            if watcher.stopped:
                return
            if errors:
                updates = min(errors, key=errors.__getitem__)
                rate, least = each, errors[updates]
            result = f"{least:.3f} of the error of the base, after {updates:,} updates"
            watcher.tell(f"  --lr {each:g}: {result if errors else 'no sufficient gain'}")
        self.rate, self.updates = rate, updates if self.chooses else self.updates

    def _errors(self, rate: float, ends: Iterable[int], least: float, watcher: Watcher) -> dict[int, float]:
        """By number of updates: the relative error of the best share in the worst backtest, if it is below `least`."""
        median = self.p.levels.index(0.5)
        worst = {end: np.zeros(len(_SHARES)) for end in ends}
        for fold in reversed(self._folds):  # the longest one first: most models that don't help end there
            tried = self._try(fold, rate, [*worst], watcher) if worst else {}
            for end, trial in tried.items():
                self._trials.setdefault((rate, end), []).append(trial)
            worst = {end: np.maximum(worst[end], trial.relative(median)) for end, trial in tried.items()}
            worst = {end: errors for end, errors in worst.items() if errors.min() < least}
        return {end: float(errors.min()) for end, errors in worst.items()}

    def _try(self, fold: ForecastData, rate: float, ends: Sequence[int], watcher: Watcher) -> dict[int, Trial]:
        """Train on the first part of the rows, and test after each of `ends` updates, until errors no longer fall."""
        other = ForecastTraining(self.p, fold, self._backend, ends[-1])
        other.rate = rate
        trials: dict[int, Trial] = {}
        least, best = 1.0, 0
        for end in ends:
            while other.steps < end and not watcher.stopped:
                other.step()
            other.read_losses()  # raises DivergedError
            if other.steps < end:
                break
            y = fold.test.scale[..., None] * other.model.corrections(fold.test)
            trials[end] = Trial(fold.test.error / fold.test.unit, y / fold.test.unit[..., None], fold.test.reach)
            error = trials[end].relative(self.p.levels.index(0.5)).min()
            if error < least:
                least, best = error, end
            elif end - best >= _PATIENCE * _EVERY:
                break
        return trials

    @cached_property
    def _folds(self) -> list[ForecastData]:
        return self.data.folds()

    @cached_property
    def _left_out(self) -> int:
        """The number of left-out windows."""
        return sum(len(fold.test.ahead) for fold in self._folds)

    @property
    def untested(self) -> str:
        """Why the recurrent part was not tested; empty if it was."""
        if self._left_out < _FEW:
            return "the series are too short to test it"
        if self.chooses and self.facts.context * self.facts.horizon > _MOST_PRODUCTS:
            return (
                f"context times horizon is above {_MOST_PRODUCTS:,}, too long for trials; {param('steps')} allows one"
            )
        return ""

    @property
    def _sufficient(self) -> float:
        """The relative error that the recurrent part must have in the worst backtest, or its share is 0.

        It is 1 - 1/√n for n left-out windows that don't overlap. Smaller gains are often chance: of several series,
        with gains of up to 16 % at n = 4 and 6 % at n = 33, most forecasts got worse.
        """
        return 1 - math.sqrt(self.data.facts.horizon / max(self._left_out, 1))

    def calibrate(self, watcher: Watcher = SILENT) -> None:
        """Set the share of the recurrent part and the offsets of the quantiles from earlier backtests.

        In each, a model is trained on the first part of the rows and forecasts the next ones. The share is the one
        whose error of the median, relative to that of the base alone, is smallest in the worst backtest. It is 0 if
        this error is not as low as `_sufficient`.

        Without offsets, the intervals would have the width of the errors of training, which are smaller.
        """
        if watcher.stopped:
            return
        self.calibrated = True
        if self._left_out < _FEW:
            # Too few windows were left out: the share is 0. Exponential smoothing learns nothing, so its errors on the
            # rows to train on are errors of real forecasts.
            self.model.share = 0.0
            self._set_widths(*self.data.early_errors())
            return
        trials = self._trials.get((self.rate, self.steps), [])
        if len(trials) < len(self._folds):
            watcher.tell("calibrating: trainings on parts of the rows")
            rate = self.rate or _RATES[0]
            # in the order of `_errors`, for the same rounding
            tried = [self._try(fold, rate, [self.steps], watcher) for fold in reversed(self._folds)]
            if watcher.stopped:
                self.calibrated = False
                return
            trials = [each[self.steps] for each in tried]
        if not trials:
            return
        error, y, reach = (np.concatenate(each) for each in zip(*trials, strict=True))
        median = self.p.levels.index(0.5)
        worst = np.max([each.relative(median) for each in trials], axis=0)
        self.model.share = float(_SHARES[worst.argmin()]) if worst.min() < self._sufficient else 0.0
        self._set_widths(error[..., None] - self.model.share * y, reach)

    def _set_widths(self, errors: HostArray, reach: HostArray) -> None:
        """errors (N, F, Q or 1), the values minus the quantiles; reach (N, F)"""
        self.model.spread = spread_of(errors[..., errors.shape[2] // 2], reach)
        self.model.offsets = quantile_offsets(errors / (1 + self.model.spread * reach)[..., None], self.p.levels)


def spread_of(errors: HostArray, reach: HostArray) -> float:
    """b / a, for the regression |error| = a + b · reach: by how much a reach of 1 widens the intervals; 0 if b < 0.

    Both (N, F); NaN for an unknown error.
    """
    known = ~np.isnan(errors)
    size, r = np.abs(errors[known]), reach[known]
    if not r.size or r.min() == r.max():
        return 0.0
    b, a = np.polyfit(r, size, 1)
    return float(np.clip(b / max(a, 1e-3 * size.mean(), 1e-300), 0, 1e6))


def quantile_offsets(errors: HostArray, levels: tuple[float, ...]) -> HostArray:
    """Offsets (F, Q) with which the right share of left-out values falls below each quantile; 0 for the median.

    The width of a step ahead grows linearly with its number, as the mean errors do; the quantiles are those of all
    errors divided by their widths   (conformalized quantile regression: Romano et al., 2019). They are widened as
    Student's t is beside the normal distribution, by 1 + (z² + 1) / 4n, for n independent windows. Each is a mean
    of two quantiles: that of the errors, with the weight n, and that of the absolute errors, with the weight 5. An
    offset of a quantile below 0.5 is never above 0, nor one of a higher quantile below 0.

    errors   (N, F, Q or 1): the values minus the forecast quantiles; NaN if unknown
    """
    F, Q = errors.shape[1], len(levels)
    errors = np.broadcast_to(errors, (*errors.shape[:2], Q))
    size = np.abs(errors[..., levels.index(0.5)])
    count = (~np.isnan(size)).sum(axis=0)
    step, known = np.arange(F), count > 0
    if not known.any():
        return np.zeros((F, Q))
    mean = np.nansum(size, axis=0)[known] / count[known]
    line = np.polyval(np.polyfit(step[known], mean, 1, w=count[known] ** 0.5), step) if known.sum() > 1 else mean.mean()
    width = np.maximum(line, max(_LEAST_WIDTH * float(mean.mean()), 1e-30)) * np.ones(F)
    ratios, n = errors / width[:, None], max(count.sum() / F**2, 1.0)
    offsets = np.zeros((F, Q))
    for i, q in enumerate(levels):
        if q != 0.5:
            side, z = (1 if q > 0.5 else -1), NormalDist().inv_cdf(q)
            own = max(side * float(np.nanquantile(ratios[..., i], q)), 0.0)
            both = float(np.nanquantile(np.abs(ratios[..., i]), abs(2 * q - 1)))
            offset = (n * own + _SYMMETRIC * both) / (n + _SYMMETRIC)
            offsets[:, i] = width * side * offset * (1 + (z * z + 1) / (4 * _INDEPENDENT * n))
    return offsets
