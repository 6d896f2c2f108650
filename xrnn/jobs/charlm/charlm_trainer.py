"""Truncated BPTT, step by step."""

from __future__ import annotations

import math
from typing import Final, Self

import numpy as np

from xrnn.backend import Backend
from xrnn.jobs import trainer
from xrnn.jobs.charlm.charlm_settings import CharLMSettings
from xrnn.jobs.charlm.corpus import Corpus, Streams
from xrnn.jobs.charlm.model import CharLM
from xrnn.jobs.checkpoint import Snapshot
from xrnn.typing import Array

_CONSTANT: Final = 1000  # steps


def learning_rate(peak: float, step: int) -> float:
    """peak / √max(1, step / 1000), steps counted from 1: constant, then as the inverse square root.

    It needs no last step, so that a run can be stopped by the clock, and continued for longer.
    """
    return peak / math.sqrt(max(1.0, step / _CONSTANT))


class CharLMTrainer(trainer.Trainer[CharLMSettings]):
    """Step k reads chunk k and carries the hidden state on from chunk k - 1.

    The position in the data and the learning rate follow from the step, and nothing but the first weights is drawn
    at random: beside the seed there is no random state.

    losses   in bits per character
    """

    nats_per_loss = math.log(2)
    item = "characters"

    def __init__(
        self, settings: CharLMSettings, corpus: Corpus, backend: Backend, *, model: CharLM | None = None
    ) -> None:
        """A run at its beginning, with fresh weights unless a model is given.

        Raises DataError where the text is shorter than one chunk.
        """
        self.corpus = corpus
        self._streams = Streams(corpus.train, settings.seq_len, settings.batch)
        self.model = model or CharLM.init(
            settings.cell, settings.hidden, settings.layers, rng=np.random.default_rng(settings.seed), backend=backend
        )
        super().__init__(settings, self.model, corpus.fingerprint)
        self._state = self.model.zero_state(settings.batch)

    @classmethod
    def resume(cls, snapshot: Snapshot[CharLMSettings], corpus: Corpus, backend: Backend) -> Self:
        """A run as `snapshot` found it: on the same backend, what follows is the same, bit for bit."""
        settings = snapshot.settings
        model = CharLM.of(trainer.on_device(snapshot, backend), settings.cell, settings.layers)
        resumed = cls(settings, corpus, backend, model=model)
        resumed._restore(snapshot)
        return resumed

    def step(self) -> None:
        chunk = self.model.backend.asarray(self._streams.chunk(self.steps))
        # What overflows shows in the loss, and `read_losses` says so.
        with np.errstate(over="ignore", invalid="ignore"):
            loss, self._state = self.model.train_step(chunk, self._state)
            self._update(loss, learning_rate(self.settings.lr, self.steps + 1))

    @property
    def items(self) -> int:
        return self.steps * self.settings.seq_len * self.settings.batch

    @property
    def figures(self) -> tuple[str, str]:
        loss = f"{self.recent_loss:.3f}"
        return f"{loss} bits per character", f"{loss} bits"

    def _carried(self) -> dict[str, Array]:
        """The moments and the hidden states."""
        arrays = super()._carried()
        state_names = CharLM.state_names(self.settings.cell, self.settings.layers)
        for of_layer, states in zip(state_names, self._state, strict=True):
            arrays |= {f"state.{name}": state for name, state in zip(of_layer, states, strict=True)}
        return arrays
