"""Generated text: seed, temperature, and no control characters."""

from __future__ import annotations

import numpy as np
import pytest

from xrnn.backend import Backend
from xrnn.models.errors import SettingsError
from xrnn.models.text import CharLM, TextSettings, generate, readable


def model_on(backend: Backend) -> CharLM:
    return CharLM.init(TextSettings(cell="rnn", hidden=8, layers=2), backend)


def draw(model: CharLM, temperature: float, seed: int = 0, prompt: bytes = b"ab", length: int = 30) -> bytes:
    return generate(model, prompt, length, temperature, np.random.default_rng(seed))


def test_the_seed_decides_the_text(backend: Backend) -> None:
    model = model_on(backend)
    assert len(draw(model, 1.0)) == 30
    assert draw(model, 1.0) == draw(model, 1.0) != draw(model, 1.0, seed=1)
    assert draw(model, 1.0) != draw(model, 1.0, prompt=b"xy")
    assert draw(model, 1.0, length=0) == b""


def test_temperature_zero_takes_the_likeliest(backend: Backend) -> None:
    model = model_on(backend)
    text = draw(model, 0.0)
    assert text == draw(model, 0.0, seed=9) == draw(model, 1e-320, seed=9)
    whole = np.frombuffer(b"ab" + text, np.uint8).astype(np.int32)[:-1, None]
    logits, _ = model(backend.asarray(whole), model.zero_state(1))
    assert backend.to_numpy(logits)[1:, 0].argmax(axis=-1).tolist() == list(text)


@pytest.mark.parametrize("other", [ord("b"), 255])
def test_draws_follow_the_softmax(backend: Backend, other: int) -> None:
    model = model_on(backend)
    for param in model.params:
        param[...] = 0
    model.linear.params[1][...] = -1e9
    model.linear.params[1][ord("a")] = 0.0
    model.linear.params[1][other] = np.log(3.0)
    text = draw(model, 1.0, length=400)
    assert set(text) == {ord("a"), other}
    assert abs(text.count(other) - 300) < 44  # five standard deviations
    assert abs(draw(model, 0.5, length=400).count(other) - 360) < 30  # 9 to 1


@pytest.mark.parametrize(
    ("length", "temperature"), [(-1, 1.0), (2**20 + 1, 1.0), (5, -0.1), (5, float("nan")), (5, float("inf"))]
)
def test_invalid_values_are_refused(backend: Backend, length: int, temperature: float) -> None:
    with pytest.raises(
        SettingsError, match=r"^(length is (-1|1048577): expected a whole|temperature is .*: expected a finite)"
    ):
        draw(model_on(backend), temperature, length=length)


def test_readable_text_has_no_control_characters() -> None:
    assert readable(b"a\n\tb\x1b[2J\xff\x00\xc3\xa9") == "a\n\tb�[2J��é"
