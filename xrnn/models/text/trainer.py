"""Training of the language model by truncated BPTT."""

from __future__ import annotations

import math
from typing import Final, Self

import numpy as np

from xrnn.backend import Backend
from xrnn.models import trainer
from xrnn.models.checkpoint import Snapshot
from xrnn.models.ranks import share
from xrnn.models.text.corpus import Corpus, Streams
from xrnn.models.text.model import CharLM
from xrnn.models.text.settings import CharLMSettings
from xrnn.parallel import World
from xrnn.select import to_numpy
from xrnn.typing import HostArray

_CONSTANT: Final = 1000  # steps


def learning_rate(peak: float, step: int) -> float:
    """peak / √max(1, step / 1000), steps counted from 1: constant, then the inverse square root.

    It does not depend on the last step, so a run can be stopped after a time, and continued.
    """
    return peak / math.sqrt(max(1.0, step / _CONSTANT))


class CharLMTrainer(trainer.Trainer[CharLMSettings]):
    """Step k reads chunk k. Its initial hidden state is the final one of chunk k - 1.

    The position in the data and the learning rate are functions of the step, and only the initial weights are random:
    there is no random state to save.

    losses   in bits per character
    """

    nats_per_loss = math.log(2)
    part = "stream"
    item = "characters"
    measure_names = ("bits_per_character",)

    def __init__(
        self, settings: CharLMSettings, corpus: Corpus, backend: Backend, *, model: CharLM | None = None
    ) -> None:
        """A new run, with new weights unless a model is given.

        Raises DataError if the text is shorter than one chunk.
        """
        self.corpus = corpus
        self._streams = Streams(corpus.train, settings.seq_len, settings.batch)
        self.model = model or CharLM.init(
            settings.cell, settings.hidden, settings.layers, rng=np.random.default_rng(settings.seed), backend=backend
        )
        super().__init__(settings, self.model, corpus.fingerprint)
        self._state = self.model.zero_state(settings.batch)
        self._mine = slice(0, settings.batch)  # the streams of this rank

    @classmethod
    def resume(cls, snapshot: Snapshot[CharLMSettings], corpus: Corpus, backend: Backend) -> Self:
        """Continue from `snapshot`. On the same backend the results are bitwise equal."""
        settings = snapshot.settings
        resumed = cls(settings, corpus, backend, model=CharLM(settings.cell, snapshot.layers))
        resumed._restore(snapshot)
        resumed._state = tuple(
            tuple(backend.asarray(snapshot.arrays[f"state.{name}"]) for name in of_layer)
            for of_layer in CharLM.state_names(settings.cell, settings.layers)
        )
        return resumed

    def divide(self, comm: World) -> None:
        super().divide(comm)
        self._mine = share(comm, self.settings.batch)
        self._state = tuple(tuple(state[self._mine].copy() for state in of_layer) for of_layer in self._state)

    def step(self) -> None:
        chunk = self.model.backend.asarray(self._streams.chunk(self.steps)[:, self._mine])
        # An overflow makes the loss infinite or NaN, which `read_losses` reports.
        with np.errstate(over="ignore", invalid="ignore"):
            loss, self._state = self.model.train_step(chunk, self._state)
            self._update(loss, learning_rate(self.settings.lr, self.steps + 1), self._mine.stop - self._mine.start)

    @property
    def items(self) -> int:
        return self.steps * self.settings.seq_len * self.settings.batch

    @property
    def figures(self) -> tuple[str, str]:
        loss = f"{self.recent_loss:.3f}"
        return f"{loss} bits per character", f"{loss} bits"

    def _arrays(self) -> dict[str, HostArray]:
        """The hidden states of all streams, in rank 0."""
        names = CharLM.state_names(self.settings.cell, self.settings.layers)
        return {
            f"state.{name}": np.concatenate(self.comm.gather(state) or [to_numpy(state)])
            for of_layer, states in zip(names, self._state, strict=True)
            for name, state in zip(of_layer, states, strict=True)
        }
