"""Training steps: their results and transfers, and that a snapshot holds their complete state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.models.text.texts import TINY, small_corpus
from xrnn.backend import Backend
from xrnn.models.text import TextTrainer, learning_rate


def test_training_learns(backend: Backend, tmp_path: Path) -> None:
    trainer = TextTrainer(TINY, small_corpus(tmp_path), backend)
    for _ in range(150):
        trainer.step()
    trainer.read_losses()
    assert len(trainer.losses) == trainer.steps == 150
    assert trainer.seen == 150 * 7 * 3  # characters
    assert abs(trainer.losses[0] - 8) < 1
    assert np.mean(trainer.losses[-20:]) < 5


def test_the_learning_rate_is_constant_and_then_falls(tmp_path: Path, backend: Backend) -> None:
    rates = [learning_rate(0.4, step) for step in (1, 300, 1200, 2700)]
    np.testing.assert_allclose(rates, [0.4, 0.4, 0.2, 0.4 / 3])
    trainer = TextTrainer(TINY, small_corpus(tmp_path), backend)
    trainer._optimizer.steps = 2699
    trainer.step()
    assert trainer._optimizer.lr == pytest.approx(TINY.lr / 3)
