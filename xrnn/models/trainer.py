"""The base of all trainers: updates by Adam with clipped gradients, their losses, and the state for a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Final, Generic

import numpy as np

from xrnn.models.checkpoint import S, Snapshot
from xrnn.models.errors import DivergedError, SettingsError
from xrnn.models.model import Model
from xrnn.models.ranks import AnyRank
from xrnn.optim import clip_grad_norm
from xrnn.parallel import World
from xrnn.select import to_numpy
from xrnn.typing import Array, HostArray

_MAX_NORM: Final = 1.0
_AVERAGED: Final = 100  # updates: the reported figures are means over the last ones


class Trainer(Generic[S]):
    """The base of all trainers. A job defines `step`, which ends in `_update`, and the reported figures.

    losses          one per update, up to the last `read_losses`, in units of `nats_per_loss` nats
    part            the name of a part of a batch, such as "stream"
    item            the name of the samples, in the plural: "characters"
    measure_names   the names of `measures`
    """

    nats_per_loss: ClassVar[float] = 1.0
    part: ClassVar[str]
    item: ClassVar[str]
    measure_names: ClassVar[tuple[str, ...]] = ("loss",)
    facts: Any = None  # see `Snapshot`
    upto: int | None = None  # see `Snapshot`
    comm: World = World()  # a single process

    def __init__(self, settings: S, model: Model, fingerprint: str) -> None:
        self.settings, self.fingerprint = settings, fingerprint
        self.losses: list[float] = []
        self._model, self._backend = model, model.backend
        self._optimizer = settings.optimizer(model.layers.values())
        self._unread: list[Array] = []  # losses that are still on the device

    @classmethod
    def columns(cls, settings: S) -> list[str]:
        """The columns of a log: see `TrainingProgress`."""
        return ["step", "seconds", cls.item, *cls.measure_names]

    def divide(self, comm: World) -> None:
        """From now on, compute a share of each batch in each rank.   Raises SettingsError for too many ranks."""
        if comm.size > self.settings.batch:
            raise SettingsError(
                f"--batch is {self.settings.batch}, and there are {comm.size} ranks: expected at least one {self.part} "
                "for each rank; start fewer, or raise --batch"
            )
        self.comm = comm
        comm.broadcast(self._optimizer.params)
        like_a_loss = self._optimizer.grads[0].sum()
        self._reduce = comm.reducer(self._with_loss(like_a_loss))

    def step(self) -> None:
        """Forward, backward, update. It does not wait for the device: the batch is sent there, the loss stays there."""
        raise NotImplementedError

    def run(self, stop: Callable[[], bool], after_step: Callable[[], None] = lambda: None) -> None:
        """Make updates until `stop` is true or further updates would not help."""
        any_rank = AnyRank(self.comm)
        while not any_rank(self.finished or stop()):
            self.step()
            after_step()

    def calibrate(self) -> None:
        """Finish the model after its training. A job may train further models for this; by default, it does nothing."""

    @property
    def items(self) -> int:
        """The number of samples so far."""
        raise NotImplementedError

    @property
    def measures(self) -> tuple[float, ...]:
        """The reported figures, for a log."""
        return (self.recent_loss,)

    @property
    def figures(self) -> tuple[str, str]:
        """The reported figures, as text for a wide and for a narrow terminal."""
        raise NotImplementedError

    @property
    def finished(self) -> bool:
        """True if further updates would not help."""
        return False

    @property
    def standing(self) -> str:
        """The position in the run: "step 1,200"."""
        return f"step {self.steps:,}"

    @property
    def steps(self) -> int:
        """The number of updates so far."""
        return self._optimizer.steps

    def _update(self, loss: Array, lr: float, weight: float = 1.0) -> None:
        """Average over the ranks, clip the gradients, update the parameters, and keep the loss, 0-d, in nats.

        weight   of this rank's share in the mean: its number of samples
        """
        if self.comm.size > 1:
            self._reduce(averaged := self._with_loss(loss), weight)
            loss = averaged[-1]
        clip_grad_norm(self._optimizer.grads, _MAX_NORM)
        self._optimizer.lr = lr
        self._optimizer.step()
        self._unread.append(loss)

    def _with_loss(self, loss: Array) -> list[Array]:
        """The gradients and the loss, as an array: a number of NumPy can't be changed in place."""
        return [*self._optimizer.grads, self._backend.xp.asarray(loss)]

    def read_losses(self) -> None:
        """Wait for the device and move the losses since the last call to `losses`.

        Raises DivergedError with the first step whose loss is not finite.
        """
        if not self._unread:
            return
        nats = self._backend.to_numpy(self._backend.xp.stack(self._unread))
        self._unread = []
        for loss in (nats / self.nats_per_loss).tolist():
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the loss is {loss} at step {len(self.losses) + 1:,}: expected a finite number; lower --lr"
                )
            self.losses.append(loss)

    @property
    def recent_loss(self) -> float:
        """The mean over the last updates."""
        return float(np.mean(self.losses[-_AVERAGED:]))

    def snapshot(self) -> Snapshot[S]:
        """The state of the run. Use it before the next step, which changes it.

        Raises DivergedError if a loss or a weight is not finite: such a state is never saved.
        """
        self.read_losses()
        layers, arrays = self._layers(), self._arrays()
        held = {f"{name}.{key}": param for name, each in layers.items() for key, param in each.named_params.items()}
        held |= {f"{name}.{k}": each for name in "mv" for k, each in enumerate(self._optimizer.state[name])} | arrays
        for name, array in held.items():
            if not np.isfinite(to_numpy(array)).all():
                raise DivergedError(
                    f"{name} is not finite after step {self.steps:,}: expected finite numbers; lower --lr"
                )
        arrays["losses"] = np.array(self.losses)
        return Snapshot(self.settings, self.fingerprint, layers, self._optimizer, arrays, self.facts, upto=self.upto)

    def _restore(self, snapshot: Snapshot[S]) -> None:
        """Continue from `snapshot`, whose layers the model has. On the same backend, results are bitwise equal."""
        self._optimizer = snapshot.optimizer
        self._model.start_at(snapshot.step)
        self.losses = snapshot.arrays["losses"].tolist()

    def _layers(self) -> dict[str, Any]:
        """The layers of a snapshot."""
        return self._model.layers

    def _arrays(self) -> dict[str, HostArray]:
        """The job's own arrays of a snapshot."""
        return {}
