"""Training steps of a forecaster: their cost, and that every backend makes the same."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests.commands.runs import growth
from tests.conftest import STANDIN
from tests.series.forecast.tiny import params, training_of
from tests.series.model_checks import check_transfers
from xrnn.backend import Backend
from xrnn.cells import CELLS
from xrnn.series.checks import Series
from xrnn.series.errors import DivergedError
from xrnn.series.forecast.data import prepare
from xrnn.series.forecast.model import plan
from xrnn.series.forecast.training import ForecastTraining
from xrnn.series.training import SILENT

SMALL: dict[str, Any] = {
    **{"hidden": 4, "batch": 4, "lr": 0.02, "horizon": 3, "context": 6, "season": 4, "dropout": 0.3, "noise": 0.1}
}


def training(backend: Any = "numpy", **changes: Any) -> ForecastTraining:
    p = params(**SMALL | changes)
    return training_of(p, prepare([Series(growth()[:, None], None, "s")], p), 5, backend)


def test_training_agrees_on_every_backend(backend: Backend) -> None:
    one, other = training(backend), training("numpy")
    for each in (one, other):
        each.run(5, SILENT)
    np.testing.assert_allclose(one.losses, other.losses, rtol=1e-4)


@pytest.mark.parametrize("changes", [*({"cell": cell} for cell in CELLS), {"layers": 3}, {"heads": 2}], ids=str)
def test_new_weights_have_the_shapes_of_the_plan_and_are_the_same_on_every_backend(
    changes: dict[str, Any], backend: Backend
) -> None:
    one, other = training(backend, **changes), training("numpy", **changes)
    weights = [backend.to_numpy(param) for param in one.model.params]
    assert [param.shape for param in weights] == plan(one.p, one.facts).shapes
    for param, same in zip(weights, other.model.params, strict=True):
        np.testing.assert_array_equal(param, same, strict=True)


def test_a_step_sends_its_batch_in_one_transfer_and_waits_for_nothing() -> None:
    check_transfers(training(STANDIN), reads=1)


def test_a_loss_that_is_not_finite_is_named(backend: Backend) -> None:
    one = training(backend)
    one.model.linear.params[1][0] = math.nan
    with pytest.raises(DivergedError, match=r"^the loss is nan at step 1: expected a finite number; lower lr$"):
        one.run(2, SILENT)


def test_the_seed_decides_the_weights_and_the_draws() -> None:
    losses = []
    for seed in (0, 0, 1):
        one = training(seed=seed)
        one.run(3, SILENT)
        losses.append(one.losses)
    assert losses[0] == losses[1] != losses[2]
