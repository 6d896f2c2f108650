"""Training a forecaster."""

from __future__ import annotations

from typing import Any, Final, Self

import numpy as np

from xrnn.backend import Backend
from xrnn.jobs import trainer
from xrnn.jobs.checkpoint import Snapshot
from xrnn.jobs.forecast.data import ForecastData
from xrnn.jobs.forecast.forecast_settings import ForecastSettings
from xrnn.jobs.forecast.model import ForecastModel
from xrnn.jobs.forecast.windows import pack, unpack
from xrnn.jobs.series.series_trainer import learning_rate
from xrnn.typing import HostArray

DEFAULT_STEPS: Final = 500


class ForecastTrainer(trainer.Trainer[ForecastSettings]):
    """Update k learns from windows drawn at random. The seed and k determine the draw.

    losses   mean pinball losses, in units of each window's scale
    """

    item = "windows"

    def __init__(
        self, settings: ForecastSettings, data: ForecastData, backend: Backend, *, model: ForecastModel | None = None
    ) -> None:
        """A new run. Without a model, its weights are new."""
        self.data, self.facts = data, data.facts
        self.model = model or ForecastModel.init(settings, data.shape, backend)
        super().__init__(settings, self.model, data.fingerprint)

    @classmethod
    def resume(cls, snapshot: Snapshot[ForecastSettings], data: ForecastData, backend: Backend) -> Self:
        """Continue from `snapshot`. On the same backend, the rest of the run is the same bit for bit."""
        model = ForecastModel(snapshot.settings, data.shape, snapshot.layers)
        resumed = cls(snapshot.settings, data, backend, model=model)
        resumed._restore(snapshot)
        return resumed

    def step(self) -> None:
        rng = np.random.default_rng(np.random.SeedSequence(self.settings.seed, spawn_key=(self.steps,)))
        windows = self.data.train(rng.integers(self.data.train_count, size=self.settings.batch))
        if self.settings.noise:
            values = windows.x[..., :2]
            values += np.float32(self.settings.noise) * rng.standard_normal(values.shape, dtype=np.float32)
        packed = self._backend.asarray(pack(windows))
        # An overflow shows in the loss, which `read_losses` checks.
        with np.errstate(over="ignore", invalid="ignore"):
            loss = self.model.train_step(*unpack(packed, self.data.shape, self.settings.batch))
            self._update(loss, learning_rate(self.settings.lr, self.steps + 1, DEFAULT_STEPS))

    @property
    def items(self) -> int:
        return self.steps * self.settings.batch

    @property
    def figures(self) -> tuple[Any, Any]:
        loss = f"loss {self.recent_loss:.3f}"
        return loss, loss

    def _arrays(self) -> dict[str, HostArray]:
        return {"known.mean": self.data.known.mean, "known.deviation": self.data.known.deviation}
