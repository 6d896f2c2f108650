"""Truncated BPTT, step by step, and the state that a checkpoint must hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from xrnn.backend import Backend
from xrnn.files import Spec
from xrnn.jobs.charlm.corpus import Corpus, Streams
from xrnn.jobs.charlm.model import CharLM
from xrnn.jobs.charlm.settings import Settings
from xrnn.jobs.errors import DivergedError
from xrnn.optim import Adam, clip_grad_norm
from xrnn.typing import Array, HostArray

_MAX_NORM: Final = 1.0
_CONSTANT: Final = 1000  # steps


def learning_rate(peak: float, step: int) -> float:
    """peak / √max(1, step / 1000), steps counted from 1: constant, then as the inverse square root.

    It needs no last step, so that a run can be stopped by the clock, and continued for longer.
    """
    return peak / math.sqrt(max(1.0, step / _CONSTANT))


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Everything that the rest of a run depends on.

    arrays   on the host: `model.*` the weights, `adam.m.*` and `adam.v.*` their moments, `state.*` the carried states,
             `losses` of every step so far, in bits per character

    The position in the data and the learning rate follow from the step, and nothing but the first weights is drawn
    at random: beside the seed there is no random state.
    """

    settings: Settings
    fingerprint: str  # of the corpus
    step: int
    arrays: dict[str, HostArray]

    @property
    def params(self) -> dict[str, HostArray]:
        """The model's parameters by name."""
        return {name.removeprefix("model."): a for name, a in self.arrays.items() if name.startswith("model.")}

    @staticmethod
    def specs(settings: Settings, step: int) -> dict[str, Spec]:
        """What `arrays` holds at that step of a run with those settings."""
        params = CharLM.shapes(settings.cell, settings.hidden, settings.layers)
        specs = {
            f"{kind}.{name}": Spec(shape) for kind in ("model", "adam.m", "adam.v") for name, shape in params.items()
        }
        for names in CharLM.state_names(settings.cell, settings.layers):
            specs |= {f"state.{name}": Spec((settings.batch, settings.hidden)) for name in names}
        return specs | {"losses": Spec((step,), "float64")}


class Trainer:
    """Step k reads chunk k and carries the hidden state on from chunk k - 1.

    losses   in bits per character, of every step up to the last `read_losses`
    """

    def __init__(self, settings: Settings, corpus: Corpus, backend: Backend, *, model: CharLM | None = None) -> None:
        """A run at its beginning, with fresh weights unless a model is given.

        Raises DataError where the text is shorter than one chunk.
        """
        self.settings = settings
        self._streams = Streams(corpus.train, settings.seq_len, settings.batch)
        self.model = model or CharLM.init(
            settings.cell, settings.hidden, settings.layers, rng=np.random.default_rng(settings.seed), backend=backend
        )
        self.losses: list[float] = []
        self._optimizer = Adam(self.model.layers, settings.lr)
        self._fingerprint = corpus.fingerprint
        self._state = self.model.zero_state(settings.batch)
        self._unread: list[Array] = []  # losses still on the device

    @classmethod
    def resume(cls, snapshot: Snapshot, corpus: Corpus, backend: Backend) -> Trainer:
        """A run as `snapshot` found it: on the same backend, what follows is the same, bit for bit."""
        # Copies: a step writes into the arrays, and the snapshot stays as it is.
        params = {name: backend.asarray(array.copy()) for name, array in snapshot.params.items()}
        model = CharLM.of(params, snapshot.settings.cell, snapshot.settings.layers)
        trainer = cls(snapshot.settings, corpus, backend, model=model)
        for name, array in trainer._carried().items():
            array[...] = backend.asarray(snapshot.arrays[name])
        trainer._optimizer.steps = snapshot.step
        trainer.losses = snapshot.arrays["losses"].tolist()
        return trainer

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return self._optimizer.steps

    def step(self) -> None:
        """Forward, backward, update. Nothing waits for the device: the chunk goes there, the loss stays there."""
        chunk = self.model.backend.asarray(self._streams.chunk(self.steps))
        # What overflows shows in the loss, and `read_losses` says so.
        with np.errstate(over="ignore", invalid="ignore"):
            loss, self._state = self.model.train_step(chunk, self._state)
            clip_grad_norm(self._optimizer.grads, _MAX_NORM)
            self._optimizer.lr = learning_rate(self.settings.lr, self.steps + 1)
            self._optimizer.step()
        self._unread.append(loss)

    def read_losses(self) -> None:
        """Wait for the device and move the losses since the last call to `losses`.

        Raises DivergedError with the first step whose loss is not finite.
        """
        if not self._unread:
            return
        backend = self.model.backend
        nats = backend.to_numpy(backend.xp.stack(self._unread))
        self._unread = []
        for loss in (nats / math.log(2)).tolist():
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the loss is {loss} at step {len(self.losses) + 1:,}: expected a finite number; lower --lr"
                )
            self.losses.append(loss)

    def snapshot(self) -> Snapshot:
        """The run as it stands: to be used before the next step, which writes into the same arrays.

        Raises DivergedError where a loss or a weight is not finite, so that such a state is never kept.
        """
        self.read_losses()
        to_numpy = self.model.backend.to_numpy
        arrays = {name: to_numpy(array) for name, array in self._arrays().items()}
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise DivergedError(
                    f"{name} is not finite after step {self.steps:,}: expected finite numbers; lower --lr"
                )
        arrays["losses"] = np.array(self.losses)
        return Snapshot(self.settings, self._fingerprint, self.steps, arrays)

    def _arrays(self) -> dict[str, Array]:
        """The arrays that a step changes, on the device."""
        return {f"model.{name}": param for name, param in self.model.named_params.items()} | self._carried()

    def _carried(self) -> dict[str, Array]:
        """Those of them that are no parameters: the moments and the hidden states."""
        arrays: dict[str, Array] = {}
        for moment, values in self._optimizer.state.items():
            names = (f"adam.{moment}.{name}" for name in self.model.named_params)
            arrays |= dict(zip(names, values, strict=True))
        state_names = CharLM.state_names(self.settings.cell, self.settings.layers)
        for of_layer, states in zip(state_names, self._state, strict=True):
            arrays |= {f"state.{name}": state for name, state in zip(of_layer, states, strict=True)}
        return arrays
