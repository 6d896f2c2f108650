"""Training steps: what they compute, what they cost, and that a snapshot holds all of their state."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.models.labelled.tiny import TINY, dataset
from xrnn.backend import Backend
from xrnn.models.data.batches import unpack
from xrnn.models.labelled.data import LabelledSeries
from xrnn.models.labelled.head import Classes
from xrnn.models.labelled.trainer import LabelledTrainer, default_epochs
from xrnn.models.trainer import cosine_rate
from xrnn.select import get_backend
from xrnn.series.checks import Series


def test_training_learns(backend: Backend) -> None:
    trainer = LabelledTrainer(TINY, dataset(), backend)
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
    trainer = LabelledTrainer(TINY, dataset(), backend)
    trainer._hits = [(0, 1000)] * 100  # steps before these, all wrong
    for _ in range(100):
        trainer.step()
    trainer.read_losses()
    assert len(trainer._hits) == 100
    right, seen = (sum(column) for column in zip(*trainer._hits, strict=True))
    assert trainer.shown_figures[1] == f"accuracy {right / seen:.3f}"
    assert 0.5 < right / seen <= 1


def test_the_learning_rate_falls_over_the_steps_of_a_run_by_default(backend: Backend) -> None:
    rates = [cosine_rate(0.4, step, 1000) for step in (0, 500, 750, 1000, 5000)]
    np.testing.assert_allclose(rates, [0.4, 0.2, 0.2 * (1 - math.sqrt(0.5)), 0.02, 0.02])
    trainer = LabelledTrainer(TINY, dataset(), backend)
    total = default_epochs(10) * 3
    trainer._optimizer.steps = total // 2 - 1
    trainer.step()
    assert trainer._optimizer.lr == cosine_rate(TINY.lr, total // 2, total) == pytest.approx(TINY.lr / 2, rel=1e-2)


def test_an_update_takes_the_series_from_any_step_of_their_first_patch() -> None:
    series = [Series(np.arange(T, dtype=float)[:, None], str(i), "s") for i, T in enumerate([6, 4, 2])]
    data = LabelledSeries(series, [], [], Classes.of(series, "series"))
    trainer = LabelledTrainer(replace(TINY, patch=3, noise=0.0), data, get_backend("numpy"))
    expected = {
        (i, tuple(trainer.inputs([replace(series[i], values=series[i].values[start:])])[0].ravel().tolist()))
        for i, starts in enumerate([3, 2, 1])  # a complete patch is left, if there is one
        for start in range(starts)
    }
    found = set()
    for update in range(40):
        x, lengths, targets = unpack(*trainer.batches.packed(update, 0.0))
        for n, (T, i) in enumerate(zip(lengths.tolist(), targets.tolist(), strict=True)):
            found.add((i, tuple(x[:T, n].ravel().tolist())))
    assert found == expected


def test_the_epochs_follow_from_the_count_of_series() -> None:
    assert [default_epochs(count) for count in (1, 50, 270, 10_000, 10**6)] == [1600, 226, 97, 16, 10]
