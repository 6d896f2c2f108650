"""Generate text with the model."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from xrnn.files import printable
from xrnn.models.errors import SettingsError
from xrnn.models.text.model import CharLM

_MOST: Final = 2**20  # bytes; all are printed at the end


def generate(model: CharLM, prompt: bytes, length: int, temperature: float, rng: np.random.Generator) -> bytes:
    """`length` bytes after `prompt`, drawn one by one from softmax(logits / temperature).

    Temperature 0 takes the likeliest byte. An empty prompt stands for a line break. Bytes are drawn on the host.
    Raises SettingsError for a length below 0 or above 2²⁰, or a temperature that is negative or not finite.
    """
    if not 0 <= length <= _MOST:
        raise SettingsError(f"--length is {length}: expected a whole number from 0 to {_MOST}")
    if not (math.isfinite(temperature) and temperature >= 0):
        raise SettingsError(f"--temperature is {temperature}: expected a finite number of at least 0, such as 0.8")
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
