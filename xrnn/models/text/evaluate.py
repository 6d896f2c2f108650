"""Bits per character on unseen text: the model, and zlib."""

from __future__ import annotations

import math
import zlib
from typing import Final

import numpy as np

from xrnn.losses import softmax_cross_entropy
from xrnn.models.ranks import add_up, share
from xrnn.models.text.model import CharLM
from xrnn.parallel import World
from xrnn.typing import HostArray

_CHUNK: Final = 128  # steps per call, so that memory does not grow with the text
_READERS: Final = 64


def bits_per_character(model: CharLM, text: HostArray, comm: World | None = None) -> float:
    """-mean log₂ p(text[i] | text[:i]), i ≥ 1.   text (size,) uint8, size ≥ 2.

    The text is cut into 64 pieces, or fewer if it is short. They are read in parallel, each from a zero state, and are
    divided among the ranks of `comm`.
    """
    backend = model.backend
    predicted = len(text) - 1
    readers = max(1, min(_READERS, predicted // _CHUNK))
    comm = comm or World()
    mine = share(comm, readers)
    starts = np.arange(readers + 1)[mine.start : mine.stop + 1] * predicted // readers
    lengths = np.diff(starts)
    state = model.zero_state(len(lengths))
    nats = np.zeros(1)
    for t in range(0, lengths.max(initial=0), _CHUNK):
        steps = np.arange(t, min(t + _CHUNK, lengths.max()))[:, None]
        index = np.minimum(starts[:-1] + steps, predicted - 1)
        inside = steps < lengths  # the lengths of the pieces differ by at most one byte
        inputs, targets = (backend.asarray(text[i].astype(np.int32)) for i in (index, index + 1))
        logits, state = model(inputs, state)
        loss, _ = softmax_cross_entropy(logits, targets, backend.asarray(inside))
        nats += float(loss) * int(inside.sum())
    add_up(comm, nats)
    return float(nats[0]) / math.log(2) / predicted


def zlib_bits_per_character(text: HostArray) -> float:
    """The size of the text compressed by zlib at level 9, in bits per byte."""
    return 8 * len(zlib.compress(text.tobytes(), level=9)) / len(text)
