"""Training steps: what they compute, what they cost, and that a snapshot holds all of their state."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import STANDIN
from tests.models.checks import check_transfers
from tests.models.labelled.tiny import TINY, dataset
from tests.models.snapshots import check_resume
from xrnn.backend import Backend
from xrnn.cells import CELLS
from xrnn.models.errors import DivergedError
from xrnn.models.labelled.model import CLASSIFIER
from xrnn.models.labelled.trainer import SeriesTrainer, default_epochs
from xrnn.models.trainer import learning_rate
from xrnn.select import get_backend


def test_training_learns(backend: Backend) -> None:
    trainer = SeriesTrainer(TINY, dataset(), backend)
    for _ in range(60):
        trainer.step()
    trainer.read_losses()
    assert len(trainer.losses) == trainer.steps == 60
    assert abs(trainer.losses[0] - math.log(2)) < 0.5
    assert np.mean(trainer.losses[-10:]) < 0.2
    assert trainer.seen == 200
    assert trainer.position == "epoch 20"
    full, short = trainer.shown_figures
    assert full == f"loss {np.mean(trainer.losses):.3f}, {short}"
    assert short.startswith("accuracy 0.")


def test_the_reported_accuracy_is_that_of_the_last_hundred_updates(backend: Backend) -> None:
    trainer = SeriesTrainer(TINY, dataset(), backend)
    trainer._hits = [(0, 1000)] * 100  # steps before these, all wrong
    for _ in range(100):
        trainer.step()
    trainer.read_losses()
    assert len(trainer._hits) == 100
    right, seen = (sum(column) for column in zip(*trainer._hits, strict=True))
    assert trainer.shown_figures[1] == f"accuracy {right / seen:.3f}"
    assert 0.5 < right / seen <= 1


def test_training_agrees_on_every_backend(backend: Backend) -> None:
    trainers = [SeriesTrainer(TINY, dataset(), each) for each in (backend, get_backend("numpy"))]
    for trainer in trainers:
        for _ in range(5):
            trainer.step()
        trainer.read_losses()
    np.testing.assert_allclose(trainers[0].losses, trainers[1].losses, rtol=1e-4)
    assert trainers[0].figures[1] == trainers[1].figures[1]


@pytest.mark.parametrize("cell", CELLS)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(backend: Backend, tmp_path: Path, cell: str) -> None:
    """Also from the middle of an epoch, which has three steps here."""
    trainer = SeriesTrainer(replace(TINY, cell=cell), dataset(), backend)
    check_resume(CLASSIFIER, trainer, dataset(), tmp_path / "c", first=4, more=5)


def test_a_step_sends_its_batch_in_one_transfer_and_waits_for_nothing() -> None:
    trainer = SeriesTrainer(TINY, dataset(), STANDIN)
    check_transfers(trainer, reads=2)  # four losses, four counts of correct labels


def test_the_first_loss_that_is_not_finite_is_named(backend: Backend) -> None:
    trainer = SeriesTrainer(TINY, dataset(), backend)
    trainer.step()
    trainer.model.linear.params[1][0] = math.nan
    trainer.step()
    with pytest.raises(DivergedError) as error:
        trainer.read_losses()
    assert str(error.value) == "the loss is nan at step 2: expected a finite number; lower lr"


def test_the_learning_rate_falls_over_the_steps_of_a_run_by_default(backend: Backend) -> None:
    rates = [learning_rate(0.4, step, 1000) for step in (0, 500, 750, 1000, 5000)]
    np.testing.assert_allclose(rates, [0.4, 0.2, 0.2 * (1 - math.sqrt(0.5)), 0.02, 0.02])
    trainer = SeriesTrainer(TINY, dataset(), backend)
    total = default_epochs(10) * 3
    trainer._optimizer.steps = total // 2 - 1
    trainer.step()
    assert trainer._optimizer.lr == learning_rate(TINY.lr, total // 2, total) == pytest.approx(TINY.lr / 2, rel=1e-2)


def test_the_epochs_follow_from_the_count_of_series() -> None:
    assert [default_epochs(count) for count in (1, 50, 270, 10_000, 10**6)] == [1600, 226, 97, 16, 10]


def test_the_seed_decides_the_weights_and_the_draws(backend: Backend) -> None:
    losses = []
    for seed in (0, 0, 1):
        trainer = SeriesTrainer(replace(TINY, seed=seed), dataset(), backend)
        trainer.step()
        trainer.step()
        losses.append(trainer.snapshot().arrays["losses"].tolist())
    assert losses[0] == losses[1] != losses[2]
