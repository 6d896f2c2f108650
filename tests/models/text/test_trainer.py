"""Training steps: their results and transfers, and that a snapshot holds their complete state."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import STANDIN
from tests.models.checks import check_transfers
from tests.models.snapshots import check_resume
from tests.models.text.texts import TINY, small_corpus
from xrnn.backend import Backend
from xrnn.cells import CELLS
from xrnn.models.errors import DivergedError
from xrnn.models.text import CHARACTER_MODEL, TextSettings, TextTrainer, learning_rate


def test_training_learns(backend: Backend, tmp_path: Path) -> None:
    trainer = TextTrainer(TINY, small_corpus(tmp_path), backend)
    for _ in range(150):
        trainer.step()
    trainer.read_losses()
    assert len(trainer.losses) == trainer.steps == 150
    assert trainer.seen == 150 * 7 * 3  # characters
    assert abs(trainer.losses[0] - 8) < 1
    assert np.mean(trainer.losses[-20:]) < 5


def test_training_agrees_on_every_backend(backend: Backend, tmp_path: Path) -> None:
    from xrnn.select import get_backend

    corpus = small_corpus(tmp_path)
    trainers = [TextTrainer(TINY, corpus, each) for each in (backend, get_backend("numpy"))]
    for trainer in trainers:
        for _ in range(5):
            trainer.step()
        trainer.read_losses()
    np.testing.assert_allclose(trainers[0].losses, trainers[1].losses, rtol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_a_resumed_run_is_bitwise_equal(backend: Backend, tmp_path: Path, cell: str) -> None:
    corpus = small_corpus(tmp_path)
    trainer = TextTrainer(replace(TINY, cell=cell), corpus, backend)
    check_resume(CHARACTER_MODEL, trainer, corpus, tmp_path / "c", first=4, more=5)


def test_a_step_sends_its_chunk_and_waits_for_nothing(tmp_path: Path) -> None:
    trainer = TextTrainer(TINY, small_corpus(tmp_path), STANDIN)
    check_transfers(trainer, reads=1)  # four losses


def test_the_first_loss_that_is_not_finite_is_named(backend: Backend, tmp_path: Path) -> None:
    trainer = TextTrainer(TINY, small_corpus(tmp_path), backend)
    for _ in range(2):
        trainer.step()
    trainer.model.linear.params[1][0] = math.nan
    for _ in range(2):
        trainer.step()
    with pytest.raises(DivergedError) as error:
        trainer.read_losses()
    assert str(error.value) == "the loss is nan at step 3: expected a finite number; lower lr"
    assert len(trainer.losses) == 2


def test_a_weight_that_is_not_finite_is_never_saved(backend: Backend, tmp_path: Path) -> None:
    trainer = TextTrainer(TINY, small_corpus(tmp_path), backend)
    trainer.step()
    trainer.model.linear.params[1][0] = math.inf
    with pytest.raises(DivergedError) as error:
        trainer.snapshot()
    assert str(error.value) == "linear.b is not finite after step 1: expected finite numbers; lower lr"


def test_the_learning_rate_is_constant_and_then_falls(tmp_path: Path, backend: Backend) -> None:
    rates = [learning_rate(0.4, step) for step in (1, 1000, 4000, 9000)]
    np.testing.assert_allclose(rates, [0.4, 0.4, 0.2, 0.4 / 3])
    trainer = TextTrainer(TINY, small_corpus(tmp_path), backend)
    trainer._optimizer.steps = 8999
    trainer.step()
    assert trainer._optimizer.lr == pytest.approx(TINY.lr / 3)


def test_the_seed_decides_the_weights(backend: Backend, tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path)
    weights = [
        backend.to_numpy(
            TextTrainer(TextSettings(hidden=8, seq_len=7, batch=3, seed=seed), corpus, backend).model.stack.params[0]
        )
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])
