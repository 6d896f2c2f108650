"""Training a classifier of series."""

from __future__ import annotations

from typing import Final

import numpy as np

from xrnn.backend import Backend
from xrnn.losses import balanced_weights
from xrnn.models.data.batches import Shape, unpack
from xrnn.models.labelled.classifier import Classifier, softmax
from xrnn.models.labelled.classifier_data import LabelledSeries
from xrnn.models.labelled.classifier_settings import ClassifierSettings
from xrnn.models.labelled.trainer import SeriesTrainer
from xrnn.typing import Array, HostArray

_AVERAGED: Final = 100  # the reported accuracy is the mean over this number of last updates
_SMALLEST: Final = 1e-300  # the least probability in the validation loss, which keeps it finite


class ClassifierTrainer(SeriesTrainer[ClassifierSettings]):
    """losses   in nats per series"""

    measure_names = ("loss", "accuracy")
    model_class = Classifier

    def __init__(
        self, settings: ClassifierSettings, data: LabelledSeries, backend: Backend, *, model: Classifier | None = None
    ) -> None:
        super().__init__(settings, data, backend, model=model)
        self._class_weight: Array | None = None
        if settings.balance:
            weights = balanced_weights(data.targets(data.train), len(data.labels))
            self._class_weight, self._host_class_weight = backend.asarray(weights), weights
        self._unread_hits: list[tuple[Array, int]] = []  # (correct labels on the device, series) per update
        self._hits: list[tuple[int, int]] = []  # the same for the last updates, on the host

    def _weight(self, targets: HostArray) -> float:
        return len(targets) if self._class_weight is None else float(self._host_class_weight[targets].sum())

    def _train(self, packed: Array, shape: Shape) -> Array:
        x, lengths, targets = unpack(packed, shape)
        loss: Array
        loss, hits = self.model.train_step(x, lengths, targets, self._class_weight)
        self._unread_hits.append((hits, len(targets)))
        return loss

    def _validation_loss(self, outputs: HostArray) -> float:
        targets: HostArray = self.data.targets(self.data.validation)
        p = softmax(outputs)[np.arange(len(targets)), targets]
        weight = None if self._class_weight is None else self._backend.to_numpy(self._class_weight)[targets]
        return float(np.average(-np.log(np.maximum(p, _SMALLEST)), weights=weight))

    def read_losses(self) -> None:
        super().read_losses()
        if not self._unread_hits:
            return
        hits, sizes = zip(*self._unread_hits, strict=True)
        self._unread_hits = []
        read = self._backend.to_numpy(self._backend.xp.stack(hits)).tolist()
        self._hits = [*self._hits, *zip(read, sizes, strict=True)][-_AVERAGED:]

    @property
    def measures(self) -> tuple[float, ...]:
        correct, seen = (sum(column) for column in zip(*self._hits, strict=True))
        return self.recent_loss, correct / seen, *self.validation_measure

    @property
    def figures(self) -> tuple[str, str]:
        loss, accuracy, *_ = self.measures
        return f"loss {loss:.3f}, accuracy {accuracy:.3f}{self.validation_figure}", f"accuracy {accuracy:.3f}"
