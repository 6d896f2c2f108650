"""The base of all trainers: updates by Adam with clipped gradients, their losses, and the state for a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Final, Generic

import numpy as np

from xrnn.models.checkpoint import S, Snapshot
from xrnn.models.errors import DivergedError, param
from xrnn.models.plan import Model
from xrnn.optim import clip_grad_norm, cosine
from xrnn.select import to_numpy
from xrnn.typing import Array, HostArray

_MAX_NORM: Final = 1.0
AVERAGED: Final = 100  # updates: the reported figures are means over the last ones
_LOWEST: Final = 0.05  # the lowest learning rate, divided by the highest


def cosine_rate(peak: float, update: int, total: int) -> float:
    """The learning rate peak · max(1/20, cosine(update, total)), updates counted from 1.

    After update `total`, it stays at the lowest rate. `total` is the default length of a run, even if the run
    gets another one.
    """
    return peak * max(_LOWEST, cosine(update, total))


class Trainer(Generic[S]):
    """The base of all trainers. A kind of model defines `step`, which ends in `_update`, and the shown figures.

    losses          one per update, up to the last `read_losses`
    samples         the name of the samples, in the plural: "windows"
    """

    samples: ClassVar[str]
    facts: Any = None  # see `Snapshot`
    upto: int | None = None  # see `Snapshot`
    tell: Callable[[str], None] = staticmethod(lambda line: None)  # prints a line about the progress

    def __init__(self, settings: S, model: Model, fingerprint: str) -> None:
        self.settings, self.fingerprint = settings, fingerprint
        self.losses: list[float] = []
        self._model, self._backend = model, model.backend
        self._optimizer = settings.optimizer(model.values())
        self._unread: list[Array] = []  # losses that are still on the device

    def step(self) -> None:
        """Forward, backward, update. It does not wait for the device: the batch is sent there, the loss stays there."""
        raise NotImplementedError

    def run(self, stop: Callable[[], bool], after_step: Callable[[], None] = lambda: None) -> None:
        """Make updates until `stop` is true or further updates would not help."""
        while not (self.finished or stop()):
            self.step()
            after_step()

    def calibrate(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Finish the model after its training. A kind may train further models for this; by default, nothing."""

    @property
    def usable(self) -> bool:
        """True if the model may be saved when the run is stopped now."""
        return self.steps > 0

    @property
    def seen(self) -> int:
        """The number of samples so far."""
        raise NotImplementedError

    @property
    def shown_figures(self) -> tuple[str, str]:
        """The reported figures as text: all of them, and the most important one."""
        loss = f"loss {self.recent_loss:.3f}"
        return loss, loss

    @property
    def finished(self) -> bool:
        """True if further updates would not help."""
        return False

    @property
    def position(self) -> str:
        """The position in the run: "step 1,200"."""
        return f"step {self.steps:,}"

    @property
    def steps(self) -> int:
        """The number of updates so far."""
        return self._optimizer.steps

    def _update(self, loss: Array, lr: float) -> None:
        """Clip the gradients, update the parameters, and keep the loss, 0-d."""
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
        losses = self._backend.to_numpy(self._backend.xp.stack(self._unread))
        self._unread = []
        for loss in losses.tolist():
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the loss is {loss} at step {len(self.losses) + 1:,}: expected a finite number; "
                    f"lower {param('lr')}"
                )
            self.losses.append(loss)

    @property
    def recent_loss(self) -> float:
        """The mean over the last updates."""
        return float(np.mean(self.losses[-AVERAGED:]))

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
                    f"{name} is not finite after step {self.steps:,}: expected finite numbers; lower {param('lr')}"
                )
        arrays["losses"] = np.array(self.losses)
        return Snapshot(self.settings, self.fingerprint, layers, self._optimizer, arrays, self.facts, upto=self.upto)

    def _layers(self) -> dict[str, Any]:
        """The layers of a snapshot."""
        return dict(self._model)

    def _arrays(self) -> dict[str, HostArray]:
        """The arrays of a snapshot besides the losses."""
        return {}
