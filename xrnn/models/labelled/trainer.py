"""Training on labelled series, with early stopping."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xrnn.backend import Backend
from xrnn.models.data.batches import Batches, unpack
from xrnn.models.data.scale import Scale
from xrnn.models.errors import DivergedError, param
from xrnn.models.labelled.data import LabelledSeries
from xrnn.models.labelled.model import LabelledModel, inputs_of, patches
from xrnn.models.labelled.settings import LabelledSettings
from xrnn.models.trainer import AVERAGED, Trainer, cosine_rate
from xrnn.series.checks import Series
from xrnn.typing import Array, HostArray


def default_epochs(count: int) -> int:
    """1600 / √count, at least 10: about a hundred for 270 series, more for fewer.

    Found on sets of 40 to 270 series. The number of updates grows with the square root of the number of series.
    """
    return max(10, round(1600 / math.sqrt(count)))


class EarlyStopping:
    """Keeps a copy of the weights with the lowest validation loss.

    losses   validation losses, one per epoch
    best     that copy: layers by name
    """

    def __init__(self, layers: Mapping[str, Any], patience: int) -> None:
        self.losses: list[float] = []
        self.best = copy.deepcopy(dict(layers))
        self._patience = patience

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest loss, counted from 1; 0 before the first epoch."""
        return int(np.argmin(self.losses)) + 1 if self.losses else 0

    @property
    def finished(self) -> bool:
        """Whether the loss has not fallen for `patience` epochs."""
        return len(self.losses) - self.best_epoch >= self._patience

    def add(self, loss: float, layers: Mapping[str, Any]) -> None:
        """Record the loss of an epoch. If it is the lowest so far, copy the weights."""
        self.losses.append(loss)
        if self.best_epoch == len(self.losses) and math.isfinite(loss):
            for name, layer in layers.items():
                for kept, param in zip(self.best[name].params, layer.params, strict=True):
                    kept[...] = param


class LabelledTrainer(Trainer[Any]):
    """Update k learns from batch k. The seed and k determine its random draws.

    losses   of the head
    """

    samples = "series"

    def __init__(self, settings: LabelledSettings, data: LabelledSeries, backend: Backend) -> None:
        self.data, self.facts = data, data.facts
        self.scale = Scale.of(patches(series.values, settings.joined) for series in data.train)
        self.model = LabelledModel.init(settings, data.facts, backend)
        super().__init__(settings, self.model, data.fingerprint)
        targets = data.facts.targets(data.train)
        lengths = np.array([len(each.values) for each in data.train])
        # An update cuts a random number of steps from the start of a series, fewer than a patch, so that the network
        # does not depend on where the patches begin. A complete patch must be left. The same idea: window slicing
        # (Le Guennec et al., 2016).
        starts = (lengths - settings.joined + 1).clip(1, settings.joined)
        self.batches = Batches(
            self.inputs(data.train), targets, settings.batch, settings.seed, len(self.scale.mean), starts, self._cut
        )
        self._host_weights = settings.class_weights(targets, data.facts.outputs)
        self._weights = None if self._host_weights is None else backend.asarray(self._host_weights)  # of the labels
        self.total = default_epochs(len(data.train)) * self.per_epoch
        self._validation = self.inputs(data.validation)
        self._validation_targets = data.facts.targets(data.validation) if data.validation else None
        self.stopping = EarlyStopping(self.model, settings.patience) if settings.patience else None
        self._unread_hits: list[tuple[Array, int]] = []  # (correct labels on the device, series) per update
        self._hits: list[tuple[int, int]] = []  # the same for the last updates, on the host

    def inputs(self, series: Sequence[Series]) -> list[HostArray]:
        """The model's inputs for these series."""
        return [inputs_of(each.values, self.scale, self.settings) for each in series]

    def _cut(self, index: int, start: int) -> HostArray:
        """The model's input for a training series without its first steps."""
        return inputs_of(self.data.train[index].values[start:], self.scale, self.settings)

    @property
    def per_epoch(self) -> int:
        """The number of updates in an epoch."""
        return self.batches.per_epoch

    def step(self) -> None:
        packed, shape = self.batches.packed(self.steps, self.settings.noise)
        # An overflow shows in the loss, which `read_losses` checks.
        with np.errstate(over="ignore", invalid="ignore"):
            x, lengths, targets = unpack(self._backend.asarray(packed), shape, self.batches.target_dtype)
            loss, correct = self.model.train_step(self.facts, x, lengths, targets, self._weights)
            self._update(loss, cosine_rate(self.settings.lr, self.steps + 1, self.total))
        if correct is not None:
            self._unread_hits.append((correct, len(targets)))
        if self.stopping and self.steps % self.per_epoch == 0:
            self._validate(self.stopping)

    def _validate(self, stopping: EarlyStopping) -> None:
        y = self.model.outputs(self._validation)
        loss = float(self.facts.loss(y, self._validation_targets, self._host_weights)[0])
        if not math.isfinite(loss):
            raise DivergedError(
                f"the validation loss is {loss} at step {self.steps:,}: expected a finite number; lower {param('lr')}"
            )
        stopping.add(loss, self.model)

    def read_losses(self) -> None:
        super().read_losses()
        if not self._unread_hits:
            return
        hits, sizes = zip(*self._unread_hits, strict=True)
        self._unread_hits = []
        read = self._backend.to_numpy(self._backend.xp.stack(hits)).tolist()
        self._hits = [*self._hits, *zip(read, sizes, strict=True)][-AVERAGED:]

    @property
    def shown_figures(self) -> tuple[str, str]:
        shown = [f"loss {self.recent_loss:.3f}"]
        if self._hits:
            correct, seen = (sum(column) for column in zip(*self._hits, strict=True))
            shown.append(f"accuracy {correct / seen:.3f}")
        most_important = shown[-1]
        if self.stopping and self.stopping.losses:
            shown.append(f"validation loss {self.stopping.losses[-1]:.3f}")
        return ", ".join(shown), most_important

    @property
    def finished(self) -> bool:
        """Whether early stopping ends the run."""
        return self.stopping is not None and self.stopping.finished

    @property
    def best(self) -> LabelledModel:
        """The model to test: with early stopping, that with the lowest validation loss; otherwise, the last one."""
        return LabelledModel(self.settings, self.stopping.best) if self.stopping else self.model

    @property
    def seen(self) -> int:
        return self.batches.seen(self.steps)

    @property
    def position(self) -> str:
        return f"epoch {self.steps // self.per_epoch:,}"

    def _layers(self) -> dict[str, Any]:
        best = {f"best.{name}": layer for name, layer in self.stopping.best.items()} if self.stopping else {}
        return super()._layers() | best

    def _arrays(self) -> dict[str, HostArray]:
        arrays = {"scale.mean": self.scale.mean, "scale.deviation": self.scale.deviation}
        if self.stopping:
            # One value per update, as in `losses`, so that the number of updates determines the size of the array.
            arrays["validation"] = np.zeros(self.steps)
            arrays["validation"][self.per_epoch - 1 :: self.per_epoch] = self.stopping.losses
        return arrays
