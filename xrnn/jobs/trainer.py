"""Steps of Adam with clipped gradients, their losses, and the state that a checkpoint must hold."""

from __future__ import annotations

import math
from typing import Any, Final, Generic, Protocol

import numpy as np

from xrnn.backend import Backend
from xrnn.jobs.checkpoint import S, Snapshot
from xrnn.jobs.errors import DivergedError
from xrnn.optim import Adam, clip_grad_norm
from xrnn.typing import Array

_MAX_NORM: Final = 1.0
_SMOOTH: Final = 100  # steps that the figures shown are a mean of


class Model(Protocol):
    """What a trainer needs of a model."""

    backend: Backend

    @property
    def layers(self) -> list[Any]: ...
    @property
    def named_params(self) -> dict[str, Array]: ...


class Trainer(Generic[S]):
    """What the trainers of all jobs share. A job adds `step`, which ends in `_update`, and what is shown of it.

    losses   of every step up to the last `read_losses`, in `nats_per_loss`
    item     what it learns from, in the plural, for people
    """

    nats_per_loss: float = 1.0
    item: str
    facts: Any = None  # see `Snapshot`

    def __init__(self, settings: S, model: Model, fingerprint: str) -> None:
        self.settings, self.fingerprint = settings, fingerprint
        self.losses: list[float] = []
        self._model, self._backend = model, model.backend
        self._optimizer = Adam(model.layers, settings.lr)
        self._unread: list[Array] = []  # what `_update` was given, still on the device

    def step(self) -> None:
        """Forward, backward, update. Nothing waits for the device: a batch goes there, the loss stays there."""
        raise NotImplementedError

    @property
    def items(self) -> int:
        """How many it has learned from so far."""
        raise NotImplementedError

    @property
    def figures(self) -> tuple[str, str]:
        """How well it does, in full and for narrow terminals."""
        raise NotImplementedError

    @property
    def standing(self) -> str:
        """How far it is."""
        return f"step {self.steps:,}"

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return self._optimizer.steps

    @property
    def per_unit(self) -> int:
        """How many steps one of those has that the command counts in: steps, or epochs."""
        return 1

    def _update(self, loss: Array, lr: float) -> None:
        """Clip the gradients, take the step, and note the loss, 0-d, in nats."""
        clip_grad_norm(self._optimizer.grads, _MAX_NORM)
        self._optimizer.lr = lr
        self._optimizer.step()
        self._unread.append(loss)

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
        """The mean over the last steps."""
        return float(np.mean(self.losses[-_SMOOTH:]))

    def snapshot(self) -> Snapshot[S]:
        """The run as it stands: to be used before the next step, which writes into the same arrays.

        Raises DivergedError where a loss or a weight is not finite, so that such a state is never kept.
        """
        self.read_losses()
        arrays = {name: self._backend.to_numpy(array) for name, array in self._arrays().items()}
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise DivergedError(
                    f"{name} is not finite after step {self.steps:,}: expected finite numbers; lower --lr"
                )
        arrays["losses"] = np.array(self.losses)
        return Snapshot(self.settings, self.fingerprint, self.steps, arrays, self.facts)

    def _restore(self, snapshot: Snapshot[S]) -> None:
        """Go on from `snapshot`, whose weights the model has already: on the same backend bit for bit the same."""
        for name, array in self._carried().items():
            array[...] = self._backend.asarray(snapshot.arrays[name])
        self._optimizer.steps = snapshot.step
        self.losses = snapshot.arrays["losses"].tolist()

    def _arrays(self) -> dict[str, Array]:
        """The arrays that a step changes, on the device."""
        return {f"model.{name}": param for name, param in self._model.named_params.items()} | self._carried()

    def _carried(self) -> dict[str, Array]:
        """Those of them that are no parameters: the moments, and what a job adds."""
        arrays: dict[str, Array] = {}
        for moment, values in self._optimizer.state.items():
            if moment == "count":  # a snapshot has the number of steps
                continue
            names = (f"adam.{moment}.{name}" for name in self._model.named_params)
            arrays |= dict(zip(names, values, strict=True))
        return arrays


def on_device(snapshot: Snapshot[Any], backend: Backend) -> dict[str, Array]:
    """The weights, on `backend`. Copies: a step writes into them, and the snapshot stays as it is."""
    return {name: backend.asarray(array.copy()) for name, array in snapshot.params.items()}
