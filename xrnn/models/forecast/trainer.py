"""The training of a forecaster."""

from __future__ import annotations

from typing import Any, Final, Self

import numpy as np

from xrnn.backend import Backend
from xrnn.models.checkpoint import Snapshot
from xrnn.models.forecast.data import ForecastData
from xrnn.models.forecast.model import ForecastModel
from xrnn.models.forecast.settings import ForecastSettings
from xrnn.models.forecast.windows import pack, unpack
from xrnn.models.trainer import Trainer, learning_rate, share
from xrnn.typing import HostArray

DEFAULT_STEPS: Final = 500


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
        model.offsets = snapshot.arrays["offsets"]
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
            self._update(loss, learning_rate(self.settings.lr, self.steps + 1, DEFAULT_STEPS), weight)

    def trained_on(self, data: ForecastData, updates: int) -> ForecastTrainer:
        """A new model, trained on other data."""
        other = ForecastTrainer(self.settings, data, self._backend)
        other.divide(self.comm)
        other.run(lambda: other.steps >= updates)
        other.read_losses()  # raises DivergedError
        return other

    def calibrate(self) -> None:
        """Set the offsets of the model's quantiles from the errors of models that were not trained on the windows.

        A third of the windows is held out in turn, and half as many updates are made without it. Without offsets, the
        intervals are too narrow: they have the width of the errors of training.   (conformalized quantile regression:
        Romano et al., 2019; with cross-validation: Vovk, 2015)
        """
        errors = []
        for part, held in self.data.folds():
            forecast = self.trained_on(part, (self.steps + 1) // 2).model.forecast(held, self.comm)
            error: Any = (np.asarray(held.target)[..., None] - forecast) / held.scale[..., None]
            errors.append(error.reshape(-1, error.shape[-1]))
        if errors:
            of_levels = zip(np.concatenate(errors).T, self.settings.levels, strict=True)
            self.model.offsets = np.array([0.0 if q == 0.5 else np.quantile(error, q) for error, q in of_levels])

    @property
    def seen(self) -> int:
        return self.steps * self.settings.batch

    def _arrays(self) -> dict[str, HostArray]:
        scale = self.data.covariate_scale
        return {"known.mean": scale.mean, "known.deviation": scale.deviation, "offsets": self.model.offsets}
