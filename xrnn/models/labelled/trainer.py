"""Training on batches of series: the part that all jobs on series share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar

import numpy as np

from xrnn.backend import Backend
from xrnn.models import trainer
from xrnn.models.checkpoint import Snapshot
from xrnn.models.data.batches import Batches
from xrnn.models.data.scale import Scale
from xrnn.models.data.series import Series
from xrnn.models.errors import DivergedError
from xrnn.models.labelled.model import SeriesModel
from xrnn.models.labelled.settings import SeriesSettings
from xrnn.models.labelled.validation import EarlyStopping, split_best
from xrnn.models.ranks import share_by_cost
from xrnn.typing import Array, HostArray

if TYPE_CHECKING:
    from xrnn.commands.terminal import Terminal

_LOWEST: Final = 0.05  # the lowest learning rate, divided by the highest

T = TypeVar("T", bound=SeriesSettings)


def default_epochs(count: int) -> int:
    """1600 / √count, at least 10: about a hundred for 270 series, more for fewer.

    Found on sets of 40 to 270 series. The number of updates grows with the square root of the number of series.
    """
    return max(10, round(1600 / math.sqrt(count)))


def learning_rate(peak: float, update: int, total: int) -> float:
    """peak · max(1/20, (1 + cos(π · update / total)) / 2), updates counted from 1   (after Loshchilov & Hutter, 2017).

    After update `total`, it stays at the lowest rate. `total` is the default length of a run, even if --epochs or
    --minutes sets another length. So a run that is stopped and continued makes the same updates as a longer run.
    """
    return peak * max(_LOWEST, (1 + math.cos(math.pi * min(update / total, 1))) / 2)


class SeriesTrainer(trainer.Trainer[T]):
    """Update k learns from batch k. The seed and k determine its random draws, so no random state is saved.

    A job's subclass has `model_class`, `_train`, `_validation_loss` and `figures`.
    """

    part = "series"
    item = "series"
    model_class: ClassVar[type[SeriesModel]]

    def __init__(self, settings: Any, data: Any, backend: Backend, *, model: Any = None) -> None:
        """A new run.   data: a Dataset of the job; model: None for new weights."""
        self.data, self.facts = data, data.facts
        self.scale = Scale.of(series.values for series in data.train)
        inputs, outputs = settings.inputs(data.channels), data.outputs
        self.model: Any = model or self.model_class.init(settings, inputs, outputs, backend)
        super().__init__(settings, self.model, data.fingerprint)
        self.batches = Batches(
            self.inputs(data.train), data.targets(data.train), settings.batch, settings.seed, data.channels
        )
        self.total = default_epochs(len(data.train)) * self.per_epoch
        self._validation = self.inputs(data.validation)
        self.stopping = EarlyStopping(self.model.layers, settings.patience) if settings.patience else None

    @classmethod
    def resume(cls, snapshot: Snapshot[T], data: Any, backend: Backend) -> Self:
        """Continue from `snapshot`. On the same backend, the rest of the run is the same bit for bit."""
        of_model, best = split_best(snapshot.layers)
        resumed = cls(snapshot.settings, data, backend, model=cls.model_class(snapshot.settings, of_model))
        resumed._restore(snapshot)
        if resumed.stopping:
            resumed.stopping.best = best
            ends = snapshot.arrays["validation"][resumed.per_epoch - 1 :: resumed.per_epoch]
            resumed.stopping.losses = ends.tolist()
        return resumed

    def inputs(self, series: Sequence[Series]) -> list[HostArray]:
        """The model's inputs for these series: scaled values and, with --mask, the mask channels."""
        return [self.scale.apply(each.values, mask=self.settings.mask) for each in series]

    @property
    def per_epoch(self) -> int:
        """The number of updates in an epoch."""
        return self.batches.per_epoch

    def step(self) -> None:
        rows, weight = self._share() if self.comm.size > 1 else (None, 1.0)
        packed, shape = self.batches.packed(self.steps, self.settings.noise, rows)
        # An overflow shows in the loss, which `read_losses` checks.
        with np.errstate(over="ignore", invalid="ignore"):
            loss = self._train(self.model.backend.asarray(packed), shape)
            self._update(loss, learning_rate(self.settings.lr, self.steps + 1, self.total), weight)
        if self.stopping and self.steps % self.per_epoch == 0:
            self._validate(self.stopping)

    def _share(self) -> tuple[HostArray, float]:
        """The rows of the batch that this rank computes, and their weight in the mean loss of the batch."""
        lengths, targets = self.batches.lengths_and_targets(self.steps)
        rows = share_by_cost(self.comm, lengths)
        weight = self._weight(targets[rows])
        if not len(rows):  # the last batch of an epoch can have fewer series than there are ranks
            rows = np.zeros(1, np.int64)
        self.model.take_rows(len(lengths), rows)
        return rows, weight

    def _weight(self, targets: HostArray) -> float:
        """The weight of series with these targets in the mean loss of a batch."""
        return len(targets)

    def _train(self, packed: Array, shape: tuple[int, ...]) -> Array:
        """Forward and backward pass of a packed batch → the loss, 0-d on the device."""
        raise NotImplementedError

    def _validation_loss(self, outputs: HostArray) -> float:
        """The mean loss of the model's outputs for the validation series."""
        raise NotImplementedError

    def _validate(self, stopping: EarlyStopping) -> None:
        loss = self._validation_loss(self.model.outputs(self._validation, self.comm))
        if not math.isfinite(loss):
            raise DivergedError(
                f"the validation loss is {loss} at step {self.steps:,}: expected a finite number; lower --lr"
            )
        stopping.add(loss, self.model.layers)

    @classmethod
    def columns(cls, settings: Any) -> list[str]:
        return [*super().columns(settings), *["validation_loss"] * (settings.patience > 0)]

    @property
    def measures(self) -> tuple[float, ...]:
        return (self.recent_loss, *self.validation_measure)

    @property
    def validation_measure(self) -> tuple[float, ...]:
        """With early stopping, the last validation loss, for a log; NaN before the first one."""
        return (self.stopping.losses[-1] if self.stopping.losses else math.nan,) if self.stopping else ()

    @property
    def validation_figure(self) -> str:
        """The last validation loss as text; empty if there is none."""
        return f", validation loss {self.stopping.losses[-1]:.3f}" if self.stopping and self.stopping.losses else ""

    @property
    def finished(self) -> bool:
        """Whether early stopping ends the run."""
        return self.stopping is not None and self.stopping.finished

    @property
    def best(self) -> Any:
        """The model to test: with early stopping, that with the lowest validation loss; otherwise, the last one."""
        return self.model_class(self.settings, self.stopping.best) if self.stopping else self.model

    def report_best(self, terminal: Terminal) -> None:
        """With early stopping, print the epoch of the model to test."""
        if self.stopping and self.stopping.losses:
            lowest = min(self.stopping.losses)
            terminal.result(f"best epoch: {self.stopping.best_epoch:,} (validation loss {lowest:.3f})")

    @property
    def items(self) -> int:
        return self.batches.items(self.steps)

    @property
    def standing(self) -> str:
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
