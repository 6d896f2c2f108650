"""The character model: an embedding, recurrent layers, and logits for the next byte. Its training, test and use."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from xrnn import cells
from xrnn.backend import Backend
from xrnn.files import printable
from xrnn.layers.embedding import Embedding
from xrnn.losses import softmax_cross_entropy
from xrnn.models.checkpoint import Kind, Snapshot, Spec
from xrnn.models.corpus import Corpus, Streams
from xrnn.models.errors import SettingsError, param
from xrnn.models.plan import Model, Plan
from xrnn.models.settings import Settings, cell, rate, size
from xrnn.models.trainer import Trainer
from xrnn.select import to_numpy
from xrnn.typing import Array, HostArray

VOCABULARY: Final = 256  # bytes
EMBEDDING: Final = 64
_CONSTANT: Final = 300  # updates with a constant learning rate
_CHUNK: Final = 128  # steps per call, so that memory does not grow with the text
_READERS: Final = 64
_MOST: Final = 2**20  # bytes to generate; all are printed at the end

State = tuple[tuple[Array, ...], ...]  # the states of each recurrent layer, (N, H) each


@dataclass(frozen=True, slots=True)
class TextSettings(Settings):
    """Raises SettingsError for invalid values."""

    cell: str = cell("gru")
    hidden: int = size(256, "Size of the hidden state, H.")
    batch: int = size(32, "Batch size, N: places in the text that are read in parallel.")
    lr: float = rate(0.004)
    seq_len: int = size(64, "Number of time steps of truncated BPTT, T.")

    @property
    def training(self) -> str:
        return f"{self.batch} streams × {self.seq_len} steps; lr {self.lr:g}"

    @property
    def plan(self) -> Plan:
        return Plan(
            self.cell,
            EMBEDDING,
            self.hidden,
            self.layers,
            VOCABULARY,
            symbols=VOCABULARY,
            seed=self.seed,
            heads=self.heads_of_plan,
        )


class CharLM(Model):
    """p(byte[t+1] | byte[0..t]) = softmax(h[t] @ W + b), h = layer(… layer(E[byte]))   (Mikolov et al., 2010).

    cell     the type of the recurrent layers, a key of `xrnn.cells.CELLS`
    layers   embedding, stack, linear
    """

    embedding: Embedding

    def __init__(self, cell: str, layers: Mapping[str, Any]) -> None:
        super().__init__(layers)
        self.cell = cell

    @classmethod
    def init(cls, settings: TextSettings, backend: Backend) -> CharLM:
        """New weights, float32: the same on every backend."""
        return cls(settings.cell, settings.plan.make(backend))

    @staticmethod
    def state_names(cell: str, layers: int) -> list[list[str]]:
        """A name for each state of each layer: `0` for h of layer 0, `0.c` for its c."""
        return [
            [f"{i}" if state == "h" else f"{i}.{state}" for state in cells.cell_of(cell).states] for i in range(layers)
        ]

    def zero_state(self, batch: int) -> State:
        xp, dtype = self.backend.xp, self.embedding.params[0].dtype
        return tuple(
            tuple(xp.zeros((batch, self.stack.output_size), dtype) for _ in cells.cell_of(self.cell).states)
            for _ in self.stack.layers
        )

    def forward(self, index: Array, state: State) -> tuple[Array, State]:
        """index (T, N), initial state → logits (T, N, 256), final state. Keeps a cache for `backward`."""
        h, state = self.stack.forward(self.embedding.forward(index), state)
        return self.linear.forward(h), state

    def backward(self, dlogits: Array) -> None:
        """dlogits (T, N, 256) → the gradients of all layers. It stops at the first step: truncated BPTT."""
        dx, _ = self.stack.backward(self.linear.backward(dlogits))
        self.embedding.backward(dx)

    def __call__(self, index: Array, state: State) -> tuple[Array, State]:
        """Inference: as `forward`, without a cache."""
        h, state = self.stack(self.embedding(index), state)
        return self.linear(h), state

    def train_step(self, chunk: Array, state: State) -> tuple[Array, State]:
        """chunk (T+1, N) int32 → mean loss of predicting chunk[1:], 0-d, in nats; final state."""
        logits, state = self.forward(chunk[:-1], state)
        loss, dlogits = softmax_cross_entropy(logits, chunk[1:])
        self.backward(dlogits)
        return loss, state


def _arrays(settings: TextSettings, facts: Any, step: int) -> dict[str, Spec]:
    """The losses, and the hidden states `state.*`."""
    names = [name for of_layer in CharLM.state_names(settings.cell, settings.layers) for name in of_layer]
    width = settings.hidden * cells.cell_of(settings.cell).components
    states = {f"state.{name}": ((settings.batch, width), "float32") for name in names}
    return {"losses": ((step,), "float64"), **states}


CHARACTER_MODEL: Final = Kind(
    "xrnn character model", "xrnn train", TextSettings, lambda settings, facts: settings.plan, _arrays
)


# ---- training ----


def root_rate(peak: float, update: int) -> float:
    """The learning rate peak / √max(1, update / 300), updates counted from 1: constant, then the inverse square root.

    It does not depend on the last step, so a run can be stopped after a time, and continued.
    """
    return peak / math.sqrt(max(1.0, update / _CONSTANT))


class TextTrainer(Trainer[TextSettings]):
    """Step k reads chunk k. Its initial hidden state is the final one of chunk k - 1.

    The position in the data and the learning rate are functions of the step, and only the initial weights are random:
    there is no random state to save.

    losses   in bits per character
    """

    nats_per_loss = math.log(2)
    samples = "characters"
    figure_names = ("bits_per_character",)

    def __init__(
        self, settings: TextSettings, corpus: Corpus, backend: Backend, *, model: CharLM | None = None
    ) -> None:
        """A new run, with new weights unless a model is given.

        Raises DataError if the text is shorter than one chunk.
        """
        self.corpus = corpus
        self._streams = Streams(corpus.train, settings.seq_len, settings.batch)
        self.model = model or CharLM.init(settings, backend)
        super().__init__(settings, self.model, corpus.fingerprint)
        self._state = self.model.zero_state(settings.batch)

    @classmethod
    def resume(cls, snapshot: Snapshot[TextSettings], corpus: Corpus, backend: Backend) -> Self:
        """Continue from `snapshot`. On the same backend the results are bitwise equal."""
        settings = snapshot.settings
        resumed = cls(settings, corpus, backend, model=CharLM(settings.cell, snapshot.layers))
        resumed._restore(snapshot)
        resumed._state = tuple(
            tuple(backend.asarray(snapshot.arrays[f"state.{name}"]) for name in of_layer)
            for of_layer in CharLM.state_names(settings.cell, settings.layers)
        )
        return resumed

    def step(self) -> None:
        chunk = self.model.backend.asarray(self._streams.chunk(self.steps))
        # An overflow makes the loss infinite or NaN, which `read_losses` reports.
        with np.errstate(over="ignore", invalid="ignore"):
            loss, self._state = self.model.train_step(chunk, self._state)
            self._update(loss, root_rate(self.settings.lr, self.steps + 1))

    @property
    def seen(self) -> int:
        return self.steps * self.settings.seq_len * self.settings.batch

    @property
    def shown_figures(self) -> tuple[str, str]:
        loss = f"{self.recent_loss:.3f}"
        return f"{loss} bits per character", f"{loss} bits"

    def _arrays(self) -> dict[str, HostArray]:
        """The hidden states of all streams."""
        names = CharLM.state_names(self.settings.cell, self.settings.layers)
        return {
            f"state.{name}": to_numpy(state)
            for of_layer, states in zip(names, self._state, strict=True)
            for name, state in zip(of_layer, states, strict=True)
        }


# ---- the test, and new text ----


def bits_per_character(model: CharLM, text: HostArray) -> float:
    """-mean log₂ p(text[i] | text[:i]), i ≥ 1.   text (size,) uint8, size ≥ 2.

    The text is cut into 64 pieces, or fewer if it is short. They are read in parallel, each from a zero state.
    """
    backend = model.backend
    predicted = len(text) - 1
    readers = max(1, min(_READERS, predicted // _CHUNK))
    starts = np.arange(readers + 1) * predicted // readers
    lengths = np.diff(starts)
    state = model.zero_state(len(lengths))
    nats = 0.0
    for t in range(0, lengths.max(initial=0), _CHUNK):
        steps = np.arange(t, min(t + _CHUNK, lengths.max()))[:, None]
        index = np.minimum(starts[:-1] + steps, predicted - 1)
        inside = steps < lengths  # the lengths of the pieces differ by at most one byte
        inputs, targets = (backend.asarray(text[i].astype(np.int32)) for i in (index, index + 1))
        logits, state = model(inputs, state)
        loss, _ = softmax_cross_entropy(logits, targets, backend.asarray(inside))
        nats += float(loss) * int(inside.sum())
    return nats / math.log(2) / predicted


def zlib_bits_per_character(text: HostArray) -> float:
    """The size of the text compressed by zlib at level 9, in bits per byte."""
    return 8 * len(zlib.compress(text.tobytes(), level=9)) / len(text)


def generate(model: CharLM, prompt: bytes, length: int, temperature: float, rng: np.random.Generator) -> bytes:
    """`length` bytes after `prompt`, drawn one by one from softmax(logits / temperature).

    Temperature 0 takes the likeliest byte. An empty prompt stands for a line break. Bytes are drawn on the host.
    Raises SettingsError for a length below 0 or above 2²⁰, or a temperature that is negative or not finite.
    """
    if not 0 <= length <= _MOST:
        raise SettingsError(f"{param('length')} is {length}: expected a whole number from 0 to {_MOST}")
    if not (math.isfinite(temperature) and temperature >= 0):
        raise SettingsError(
            f"{param('temperature')} is {temperature}: expected a finite number of at least 0, such as 0.8"
        )
    backend = model.backend
    text = bytearray()
    state = model.zero_state(1)
    unread = prompt or b"\n"
    for _ in range(length):
        index = backend.asarray(np.frombuffer(unread, np.uint8).astype(np.int32)[:, None])
        logits, state = model(index, state)
        unread = bytes([_draw(backend.to_numpy(logits[-1, 0]), temperature, rng)])
        text += unread
    return bytes(text)


def readable(text: bytes) -> str:
    """`text` decoded as UTF-8, with � for invalid bytes and for control characters."""
    return printable(text.decode("utf-8", errors="replace"), keep="\n\t")


def _draw(logits: np.ndarray[tuple[int], np.dtype[np.float32]], temperature: float, rng: np.random.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    with np.errstate(over="ignore"):  # at a temperature near 0, all but the likeliest get exp(-inf) = 0
        scores = (logits - logits.max()).astype(np.float64) / temperature
    cumulative = np.exp(scores).cumsum()
    drawn = cumulative.searchsorted(rng.random() * cumulative[-1], side="right")
    return min(int(drawn), len(logits) - 1)  # if the logits are NaN, `drawn` is len(logits)
