"""Training steps of every kind of model, and their cost."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import STANDIN
from tests.models.checks import check_transfers
from tests.models.kinds import SUBJECTS, Subject, name_of
from tests.thin import thin
from xrnn.backend import Backend
from xrnn.cells import CELLS
from xrnn.models.errors import DivergedError

every_kind = pytest.mark.parametrize("subject", SUBJECTS, ids=name_of)


@every_kind
def test_training_agrees_on_every_backend(subject: Subject, backend: Backend, tmp_path: Path) -> None:
    trainers = [subject.train(tmp_path, each, updates=5) for each in (backend, "numpy")]
    for trainer in trainers:
        trainer.read_losses()
    np.testing.assert_allclose(trainers[0].losses, trainers[1].losses, rtol=1e-4)
    assert trainers[0].shown_figures[1:] == trainers[1].shown_figures[1:]


CELLS_OF_EVERY_KIND = thin(SUBJECTS, [{"cell": cell} for cell in CELLS])


@pytest.mark.parametrize(
    ("subject", "changes"),
    [*CELLS_OF_EVERY_KIND, *((subject, {"layers": 3}) for subject in SUBJECTS)],
    ids=name_of,
)
def test_new_weights_have_the_shapes_of_the_plan_and_are_the_same_on_every_backend(
    subject: Subject, changes: dict[str, Any], backend: Backend, tmp_path: Path
) -> None:
    trainer, on_numpy = (subject.train(tmp_path, each, **changes) for each in (backend, "numpy"))
    params = [backend.to_numpy(param) for param in trainer.model.params]
    assert [param.shape for param in params] == subject.kind.plan(trainer.settings, trainer.facts).shapes
    for param, same in zip(params, on_numpy.model.params, strict=True):
        np.testing.assert_array_equal(param, same, strict=True)
        assert param.dtype == np.float32


@every_kind
def test_a_step_sends_its_batch_in_one_transfer_and_waits_for_nothing(subject: Subject, tmp_path: Path) -> None:
    check_transfers(subject.train(tmp_path, STANDIN), subject.reads)


@every_kind
def test_the_first_loss_that_is_not_finite_is_named(subject: Subject, backend: Backend, tmp_path: Path) -> None:
    trainer = subject.train(tmp_path, backend, updates=2)
    trainer.model.linear.params[1][0] = math.nan
    for _ in range(2):
        trainer.step()
    with pytest.raises(DivergedError) as error:
        trainer.read_losses()
    assert str(error.value) == "the loss is nan at step 3: expected a finite number; lower lr"
    assert len(trainer.losses) == 2


@every_kind
def test_a_weight_that_is_not_finite_is_never_saved(subject: Subject, backend: Backend, tmp_path: Path) -> None:
    trainer = subject.train(tmp_path, backend, updates=1)
    trainer.model.linear.params[1][0] = math.inf
    with pytest.raises(DivergedError) as error:
        trainer.snapshot()
    assert str(error.value) == "linear.b is not finite after step 1: expected finite numbers; lower lr"


@every_kind
def test_the_seed_decides_the_weights_and_the_draws(subject: Subject, backend: Backend, tmp_path: Path) -> None:
    losses = [
        subject.train(tmp_path, backend, updates=3, seed=seed).snapshot().arrays["losses"].tolist()
        for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]
