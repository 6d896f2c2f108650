"""Bits per character, compared with an evaluation byte by byte."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
import pytest

from xrnn import get_backend
from xrnn.backend import Backend
from xrnn.models.text import CharLM, TextSettings, bits_per_character, zlib_bits_per_character


@pytest.mark.parametrize("size", [2, 3, 129, 300, 1001])
def test_every_byte_but_the_first_is_predicted_once(backend: Backend, size: int) -> None:
    model = CharLM.init(TextSettings(cell="rnn", hidden=8, layers=1), backend)
    text = np.random.default_rng(1).integers(0, 256, size).astype(np.uint8)
    for param in model.stack.params + model.linear.params:  # the state has no effect, so the cuts of the text have none
        param[...] = 0
    bias = np.random.default_rng(2).standard_normal(256).astype(np.float32)
    model.linear.params[1][...] = backend.asarray(bias)
    log_p = bias - np.log(np.exp(bias.astype(np.float64)).sum())
    assert bits_per_character(model, text) == pytest.approx(-log_p[text[1:]].mean() / math.log(2), rel=1e-5)


def test_the_state_is_carried_through_the_text(backend: Backend) -> None:
    model = CharLM.init(TextSettings(cell="rnn", hidden=8, layers=2), backend)
    text = np.random.default_rng(1).integers(0, 256, 250).astype(np.uint8)  # one piece, two chunks
    logits, _ = model(backend.asarray(text[:-1, None].astype(np.int32)), model.zero_state(1))
    scores = backend.to_numpy(logits)[:, 0].astype(np.float64)
    log_p = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    expected = -log_p[np.arange(249), text[1:]].mean() / math.log(2)
    assert bits_per_character(model, text) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("size", "readers"), [(129, 1), (257, 2), (64 * 128 + 1, 64), (10_000, 64)])
def test_a_text_is_cut_into_pieces_of_128_bytes_at_least_and_64_at_most(
    size: int, readers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = []
    zero_state = CharLM.zero_state

    def see(model: CharLM, batch: int) -> Any:
        cut.append(batch)
        return zero_state(model, batch)

    monkeypatch.setattr(CharLM, "zero_state", see)
    model = CharLM.init(TextSettings(cell="rnn", hidden=2, layers=1), get_backend("numpy"))
    bits_per_character(model, np.zeros(size, np.uint8))
    assert cut == [readers]


def test_zlib_is_counted_in_bits() -> None:
    rng = np.random.default_rng(6)
    text = np.frombuffer(b" ".join(rng.choice([b"spam", b"eggs", b"ham", b"and", b"lobster"], 3000)), np.uint8)
    best, good = (len(zlib.compress(text.tobytes(), level)) for level in (9, 8))
    assert best != good
    assert zlib_bits_per_character(text) == best * 8 / len(text)
