"""The character model: its gradients, its training, its test, and generated text."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.checks import check_gradients
from tests.models.texts import TINY, small_corpus
from xrnn import Embedding, Linear, Stack, get_backend
from xrnn.backend import Backend
from xrnn.cells import CELLS
from xrnn.losses import softmax_cross_entropy
from xrnn.models.errors import SettingsError
from xrnn.models.text import (
    CharLM,
    State,
    TextSettings,
    TextTrainer,
    bits_per_character,
    generate,
    readable,
    root_rate,
    zlib_bits_per_character,
)

every_cell = pytest.mark.parametrize("cell", CELLS)


def small_model(backend: Backend, cell: str, layers: int) -> CharLM:
    """float64, embedding 4, hidden 5, 6 characters."""
    rng = np.random.default_rng(0)
    stack = Stack.init(CELLS[cell], 4, 5, layers, rng=rng, dtype="float64", backend=backend)
    embedding = Embedding.init(6, 4, rng=rng, dtype="float64", backend=backend)
    linear = Linear.init(stack.output_size, 6, rng=rng, dtype="float64", backend=backend)
    return CharLM(cell, {"embedding": embedding, "stack": stack, "linear": linear})


def some_state(model: CharLM, N: int) -> State:
    rng = np.random.default_rng(2)
    return tuple(
        tuple(model.backend.asarray(rng.standard_normal(s.shape)) for s in states) for states in model.zero_state(N)
    )


@every_cell
@pytest.mark.parametrize("layers", [1, 3])
def test_gradients_match_differences(backend: Backend, layers: int, cell: str) -> None:
    T, N = 4, 3
    model = small_model(backend, cell, layers)
    index = backend.asarray(np.random.default_rng(1).integers(0, 6, (T, N)))
    state = some_state(model, N)
    check_gradients(model, lambda: model.forward(index, state)[0])


@every_cell
def test_a_training_step_is_forward_loss_and_backward(backend: Backend, cell: str) -> None:
    model = small_model(backend, cell, 2)
    chunk = backend.asarray(np.random.default_rng(1).integers(0, 6, (5, 3)))
    state = some_state(model, 3)
    logits, after = model(chunk[:-1], state)
    expected, dlogits = softmax_cross_entropy(logits, chunk[1:])
    loss, state_after = model.train_step(chunk, state)
    grads = [backend.to_numpy(grad).copy() for grad in model.grads]
    model.backward(dlogits)
    np.testing.assert_array_equal(backend.to_numpy(loss), backend.to_numpy(expected))
    for states, others in zip(state_after, after, strict=True):
        for a, b in zip(states, others, strict=True):
            np.testing.assert_array_equal(backend.to_numpy(a), backend.to_numpy(b))
    for got, layer_grad in zip(grads, model.grads, strict=True):
        np.testing.assert_array_equal(got, backend.to_numpy(layer_grad))


@every_cell
def test_the_state_carries_the_earlier_text(backend: Backend, cell: str) -> None:
    model = small_model(backend, cell, 2)
    index = backend.asarray(np.random.default_rng(1).integers(0, 6, (7, 2)))
    whole, _ = model(index, model.zero_state(2))
    first, state = model(index[:3], model.zero_state(2))
    second, _ = model(index[3:], state)
    parts = np.concatenate([backend.to_numpy(first), backend.to_numpy(second)])
    np.testing.assert_allclose(parts, backend.to_numpy(whole), rtol=1e-12)


def test_training_learns(backend: Backend, tmp_path: Path) -> None:
    trainer = TextTrainer(TINY, small_corpus(tmp_path), backend)
    for _ in range(150):
        trainer.step()
    trainer.read_losses()
    assert len(trainer.losses) == trainer.steps == 150
    assert trainer.seen == 150 * 7 * 3  # characters
    assert abs(trainer.losses[0] - 8) < 0.5  # about a uniform guess among 256
    assert np.mean(trainer.losses[-20:]) < 5


def test_the_learning_rate_is_constant_and_then_falls(tmp_path: Path, backend: Backend) -> None:
    rates = [root_rate(0.4, step) for step in (1, 300, 1200, 2700)]
    np.testing.assert_allclose(rates, [0.4, 0.4, 0.2, 0.4 / 3])
    trainer = TextTrainer(TINY, small_corpus(tmp_path), backend)
    trainer._optimizer.steps = 2699
    trainer.step()
    assert trainer._optimizer.lr == pytest.approx(TINY.lr / 3)


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
