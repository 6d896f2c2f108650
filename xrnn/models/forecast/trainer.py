"""The training of a forecaster."""

from __future__ import annotations

from typing import Final, Self

import numpy as np

from xrnn.backend import Backend
from xrnn.models.checkpoint import Snapshot
from xrnn.models.forecast.data import ForecastData
from xrnn.models.forecast.model import ForecastModel
from xrnn.models.forecast.settings import ForecastSettings
from xrnn.models.forecast.windows import pack, unpack
from xrnn.models.trainer import Trainer, cosine_rate, share
from xrnn.typing import HostArray

DEFAULT_STEPS: Final = 500
_FEW: Final = 8  # fewer left-out windows than this do not calibrate
_MOST_WINDOWS: Final = 1000
_SHARES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
_LEAST_WIDTH: Final = 0.3  # of a step ahead, as a share of the mean width


class ForecastTrainer(Trainer[ForecastSettings]):
    """Update k learns from windows drawn at random. The seed and k determine the draw.

    losses   mean pinball losses, in units of each window's scale
    """

    part = "window"
    samples = "windows"

    def __init__(
        self, settings: ForecastSettings, data: ForecastData, backend: Backend, *, model: ForecastModel | None = None
    ) -> None:
        """A new run. Without a model, its weights are new."""
        self.data, self.facts = data, data.facts
        self.model = model or ForecastModel.init(settings, data.facts, backend)
        super().__init__(settings, self.model, data.fingerprint)

    @classmethod
    def resume(cls, snapshot: Snapshot[ForecastSettings], data: ForecastData, backend: Backend) -> Self:
        """Continue from `snapshot`. On the same backend, the rest of the run is the same bit for bit."""
        model = ForecastModel(snapshot.settings, data.facts, snapshot.layers)
        resumed = cls(snapshot.settings, data, backend, model=model)
        resumed._restore(snapshot)
        model.offsets, model.share = snapshot.arrays["offsets"], float(snapshot.arrays.get("share", [1.0])[0])
        return resumed

    def step(self) -> None:
        rng = np.random.default_rng(np.random.SeedSequence(self.settings.seed, spawn_key=(self.steps,)))
        windows = self.data.train(rng.integers(self.data.train_count, size=self.settings.batch))
        if self.settings.noise:
            values = windows.x[..., :2]
            values += np.float32(self.settings.noise) * rng.standard_normal(values.shape, dtype=np.float32)
        mine = share(self.comm, self.settings.batch)
        windows = windows.part(mine)
        if self.comm.size > 1:
            self.model.take_rows(self.settings.batch, np.arange(mine.start, mine.stop))
        packed = self._backend.asarray(pack(windows))
        # An overflow shows in the loss, which `read_losses` checks.
        with np.errstate(over="ignore", invalid="ignore"):
            loss = self.model.train_step(*unpack(packed, self.data.facts, mine.stop - mine.start))
            weight = np.isfinite(np.asarray(windows.target)).sum()
            self._update(loss, cosine_rate(self.settings.lr, self.steps + 1, DEFAULT_STEPS), weight)

    def trained_on(self, data: ForecastData, updates: int) -> ForecastTrainer:
        """A new model, trained on other data."""
        other = ForecastTrainer(self.settings, data, self._backend)
        other.divide(self.comm)
        other.run(lambda: other.steps >= updates)
        other.read_losses()  # raises DivergedError
        return other

    def calibrate(self) -> None:
        """Set the share of the recurrent part and the offsets of the quantiles from earlier backtests.

        In each, a model is trained on the first part of the rows and forecasts the next ones. The share is the one
        whose error of the median, relative to that of the base alone, is smallest in the worst backtest. It is 0 if
        every other share harms in some backtest, or if the series is too short for a backtest.

        Without offsets, the intervals would have the width of the errors of training, which are smaller.
        """
        tested = []
        for fold in self.data.folds():
            model = self.trained_on(fold, self.steps).model
            y = fold.test.scale[..., None] * model.corrections(fold.test, self.comm)
            tested.append((fold.test.error / fold.test.unit, y / fold.test.unit[..., None]))
        if self.data.linear and sum(len(error) for error, _ in tested) < _FEW:
            # Too few windows were left out: the share is 0; the intervals come from the linear part's training errors.
            windows = self.data.train(np.arange(min(self.data.train_count, _MOST_WINDOWS)))
            error = windows.error / windows.unit
            self.model.share = 0.0
            self.model.offsets = quantile_offsets(
                np.repeat(error[..., None], len(self.settings.levels), axis=-1), self.settings.levels
            )
            return
        if not tested:
            return
        error, y = (np.concatenate(each) for each in zip(*tested, strict=True))  # (N, F), (N, F, Q)
        m = self.settings.levels.index(0.5)
        if self.data.linear:
            mean_errors = [[np.abs(e - share * y[..., m]).mean() for share in _SHARES] for e, y in tested]
            worst = np.max([errors / max(errors[0], 1e-300) for errors in np.array(mean_errors)], axis=0)
            self.model.share = _SHARES[int(worst.argmin())]
        offsets = quantile_offsets(error[..., None] - self.model.share * y, self.settings.levels)
        self.model.offsets = offsets if self.data.linear else offsets.mean(axis=0)

    @property
    def seen(self) -> int:
        return self.steps * self.settings.batch

    def _arrays(self) -> dict[str, HostArray]:
        scale, linear = self.data.covariate_scale, self.data.linear
        arrays = {"known.mean": scale.mean, "known.deviation": scale.deviation, "offsets": self.model.offsets}
        if linear:
            arrays |= {"share": np.array([self.model.share]), "linear.W": linear.W, "linear.effect": linear.effect}
        return arrays


def quantile_offsets(errors: HostArray, levels: tuple[float, ...]) -> HostArray:
    """Offsets (F, Q) with which the right share of left-out values falls below each quantile; 0 for the median.

    The width of a step ahead grows linearly with its number, as the mean errors do; the quantiles are those of all
    errors divided by their widths.   (conformalized quantile regression: Romano et al., 2019)

    errors   (N, F, Q): the values minus the forecast quantiles
    """
    F, m = errors.shape[1], levels.index(0.5)
    step, mean = np.arange(F), np.abs(errors[..., m]).mean(axis=0)
    line = np.polyval(np.polyfit(step, mean, 1), step) if F > 1 else mean
    width = np.maximum(line, max(_LEAST_WIDTH * float(mean.mean()), 1e-30))
    ratios = errors / width[:, None]
    of_levels = [0.0 if q == 0.5 else float(np.quantile(ratios[..., i], q)) for i, q in enumerate(levels)]
    offsets: HostArray = width[:, None] * np.array(of_levels)
    return offsets
