"""The model of a forecaster: recurrent layers over the context, a linear layer for all steps ahead. Its training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np

from xrnn.backend import Backend
from xrnn.layers.dropout import Dropout
from xrnn.losses import quantile
from xrnn.models.checkpoint import Snapshot
from xrnn.models.forecast.data import ForecastData
from xrnn.models.forecast.settings import ForecastFacts, ForecastSettings
from xrnn.models.forecast.windows import Shape, Windows, pack, unpack
from xrnn.models.plan import Model
from xrnn.models.trainer import Trainer, add_up, learning_rate, share
from xrnn.parallel import World
from xrnn.typing import Array, HostArray

DEFAULT_STEPS: Final = 500
_INFERENCE_BATCH: Final = 256  # windows, so that memory does not grow with their number


class ForecastModel(Model):
    """y = [dropout(h[C]); z; known] @ W + b,   h = stack(x)   (after Lai et al., 2018).

    h[C] is the last hidden state, z (C,) the scaled context, known the covariates of the steps ahead. W begins at 0:
    the first forecast is the seasonal naive one.

    offsets   (Q,): added to the forecast quantiles, in units of a window's scale: see `ForecastTrainer.calibrate`
    """

    def __init__(self, settings: ForecastSettings, shape: Shape, layers: Mapping[str, Any]) -> None:
        super().__init__(layers)
        self.settings, self.shape = settings, shape
        self.offsets: HostArray = np.zeros(len(settings.levels))
        self._dropout = Dropout(settings.dropout, seed=settings.seed, layer=settings.layers)
        self.dropouts.append(self._dropout)

    @classmethod
    def init(cls, settings: ForecastSettings, facts: ForecastFacts, backend: Backend) -> Self:
        """New float32 weights, the same on every backend."""
        return cls(settings, facts.shape, settings.plan(facts).make(backend))

    def forward(self, x: Array, known: Array) -> Array:
        """x (C, N, 2 + K), known (N, F · K) → y (N, F · Q); keeps the arrays for `backward`."""
        h, _ = self.stack.forward(x)
        self._h_shape = h.shape
        return self.linear.forward(self._features(self._dropout.forward(h[-1]), x, known))

    def backward(self, dy: Array) -> None:
        """dy (N, F · Q) → the gradients of every layer."""
        dfeatures = self.linear.backward(dy)
        dh = self.backend.xp.zeros(self._h_shape, dy.dtype)
        dh[-1] = self._dropout.backward(self.backend.xp.ascontiguousarray(dfeatures[:, : self._h_shape[-1]]))
        self.stack.backward(dh, needs_dx=False)

    def __call__(self, x: Array, known: Array) -> Array:
        """Inference: y without dropout; nothing is kept."""
        h, _ = self.stack(x)
        return self.linear(self._features(h[-1], x, known))

    def train_step(self, x: Array, known: Array, target: Array) -> Array:
        """Forward and backward → the mean pinball loss, 0-d on the device.   target (N, F), NaN for a missing value."""
        xp, levels = self.backend.xp, self.settings.levels
        y = self.forward(x, known).reshape(*target.shape, len(levels))
        dy, exists = xp.empty_like(y), target == target
        loss: Any = 0.0
        for i, level in enumerate(levels):
            of_level, dy[..., i] = quantile(xp.ascontiguousarray(y[..., i]), target, level, mask=exists)
            loss = loss + of_level
        self.backward((dy / len(levels)).reshape(len(dy), -1))
        mean: Array = loss / len(levels)
        return mean

    def forecast(self, windows: Windows, comm: World | None = None) -> HostArray:
        """The quantiles of the steps ahead, (N, F, Q) float64. Higher quantiles are never below lower ones.

        The offsets do not change the median.

        comm   the ranks that divide the windows; each gets all forecasts
        """
        comm, asarray = comm or World(), self.backend.asarray
        mine = share(comm, len(windows.known))
        y = np.zeros((len(windows.known), self.linear.output_size))
        for first in range(mine.start, mine.stop, _INFERENCE_BATCH):
            part = slice(first, min(first + _INFERENCE_BATCH, mine.stop))
            x = asarray(np.ascontiguousarray(windows.x[:, part]))
            y[part] = self.backend.to_numpy(self(x, asarray(windows.known[part])))
        add_up(comm, y)  # the forecasts of one rank and the zeros of the others
        y, m = np.sort(y.reshape(*windows.base.shape, -1), axis=-1), self.settings.levels.index(0.5)
        median = y[..., m : m + 1].copy()
        y += self.offsets
        y[..., :m], y[..., m + 1 :] = np.minimum(y[..., :m], median), np.maximum(y[..., m + 1 :], median)
        return windows.unscaled(np.sort(y, axis=-1))

    def _features(self, h: Array, x: Array, known: Array) -> Array:
        features: Array = self.backend.xp.concatenate([h, x[..., 0].T, known], axis=1)
        return features


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
        model = ForecastModel(snapshot.settings, data.shape, snapshot.layers)
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
            loss = self.model.train_step(*unpack(packed, self.data.shape, mine.stop - mine.start))
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
        known = self.data.known
        return {"known.mean": known.mean, "known.deviation": known.deviation, "offsets": self.model.offsets}
