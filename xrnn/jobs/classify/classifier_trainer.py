"""Training on batches of series, step by step."""

from __future__ import annotations

import math
from typing import Final, Self

import numpy as np

from xrnn.backend import Backend
from xrnn.jobs import trainer
from xrnn.jobs.checkpoint import Snapshot
from xrnn.jobs.classify.classifier_settings import ClassifierSettings
from xrnn.jobs.classify.data import Dataset
from xrnn.jobs.classify.model import Classifier
from xrnn.jobs.series.batches import Batches, unpack
from xrnn.jobs.series.scale import Scale
from xrnn.typing import Array

_LEAST: Final = 0.05  # of the highest learning rate
_AVERAGED: Final = 100  # updates: the reported accuracy is a mean over the last ones


def default_epochs(count: int) -> int:
    """1600 / √count, at least 10: about a hundred for 270 series, more for fewer.

    Found on sets of 40 to 270 series; the number of steps then grows with the square root of their count.
    """
    return max(10, round(1600 / math.sqrt(count)))


def learning_rate(peak: float, step: int, whole: int) -> float:
    """peak · max(1/20, (1 + cos(π · step / whole)) / 2), steps counted from 1   (after Loshchilov & Hutter, 2017).

    Beyond step `whole` it stays the least. `whole` is the length of a run by default, not of this one: a run that is
    stopped by the clock takes the same steps, and may be continued for longer.
    """
    return peak * max(_LEAST, (1 + math.cos(math.pi * min(step / whole, 1))) / 2)


class ClassifierTrainer(trainer.Trainer[ClassifierSettings]):
    """Step k learns from batch k; what it draws follows from the seed and k, so that there is no random state to keep.

    losses   in nats a series
    """

    item = "series"
    measure_names = ("loss", "accuracy")

    def __init__(
        self, settings: ClassifierSettings, data: Dataset, backend: Backend, *, model: Classifier | None = None
    ) -> None:
        """A run at its beginning, with fresh weights unless a model is given."""
        self.data, self.facts = data, data.facts
        self.scale = Scale.of(series.values for series in data.train)
        self.model = model or Classifier.init(settings, data.channels, len(data.labels), backend)
        super().__init__(settings, self.model, data.fingerprint)
        number = {label: i for i, label in enumerate(data.labels)}
        targets = np.array([number[series.label or ""] for series in data.train], np.int32)
        scaled = [self.scale.apply(series.values) for series in data.train]
        self.batches = Batches(scaled, targets, settings.batch, settings.seed)
        self._whole = default_epochs(len(scaled)) * self.batches.per_epoch
        self._unread_hits: list[tuple[Array, int]] = []  # of so many labels; still on the device
        # How many labels were right, of how many, for the last steps of this run.
        self._hits: list[tuple[int, int]] = []

    @classmethod
    def resume(cls, snapshot: Snapshot[ClassifierSettings], data: Dataset, backend: Backend) -> Self:
        """A run as `snapshot` found it: on the same backend, what follows is the same, bit for bit."""
        model = Classifier.of(trainer.on_device(snapshot, backend), snapshot.settings)
        resumed = cls(snapshot.settings, data, backend, model=model)
        resumed._restore(snapshot)
        model.take_up(snapshot.step)
        return resumed

    @property
    def per_epoch(self) -> int:
        """How many steps an epoch has."""
        return self.batches.per_epoch

    def step(self) -> None:
        whole, shape = self.batches.packed(self.steps, self.settings.noise)
        x, lengths, targets = unpack(self.model.backend.asarray(whole), shape)
        # What overflows shows in the loss, and `read_losses` says so.
        with np.errstate(over="ignore", invalid="ignore"):
            loss, hits = self.model.train_step(x, lengths, targets)
            self._update(loss, learning_rate(self.settings.lr, self.steps + 1, self._whole))
        self._unread_hits.append((hits, len(targets)))

    def read_losses(self) -> None:
        super().read_losses()
        if not self._unread_hits:
            return
        backend = self.model.backend
        hits, sizes = zip(*self._unread_hits, strict=True)
        self._unread_hits = []
        read = backend.to_numpy(backend.xp.stack(hits)).tolist()
        self._hits = [*self._hits, *zip(read, sizes, strict=True)][-_AVERAGED:]

    @property
    def items(self) -> int:
        return self.batches.items(self.steps)

    @property
    def standing(self) -> str:
        return f"epoch {self.steps // self.per_epoch:,}"

    @property
    def measures(self) -> tuple[float, ...]:
        right, seen = (sum(column) for column in zip(*self._hits, strict=True))
        return self.recent_loss, right / seen

    @property
    def figures(self) -> tuple[str, str]:
        loss, accuracy = self.measures
        return f"loss {loss:.3f}, accuracy {accuracy:.3f}", f"accuracy {accuracy:.3f}"

    def snapshot(self) -> Snapshot[ClassifierSettings]:
        taken = super().snapshot()
        taken.arrays["scale.mean"], taken.arrays["scale.deviation"] = self.scale.mean, self.scale.deviation
        return taken
