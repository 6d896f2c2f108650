"""Trainers whose batches are divided among ranks that are threads, on NumPy and on the stand-in for CuPy and NCCL."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import standin
from tests.commands.runs import growth
from tests.models.forecast.test_forecast import TINY, series
from tests.models.kinds import CLASSES, NUMBERS, TEXT, Subject, name_of
from tests.parallel.threads import Group, ThreadRanks
from tests.standin import distributed
from xrnn.backend import Backend, use_fused
from xrnn.models.forecast import model as forecast_model
from xrnn.models.forecast.data import prepare
from xrnn.models.forecast.model import ForecastModel
from xrnn.models.trainer import add_up
from xrnn.parallel import World
from xrnn.select import get_backend
from xrnn.typing import Array

_SIZE = 2


@pytest.mark.parametrize(
    ("subject", "changes"), [(TEXT, {"cell": "lstm"}), (CLASSES, {"balance": True}), (NUMBERS, {})], ids=name_of
)
def test_two_ranks_train_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: Backend, subject: Subject, changes: dict[str, Any]
) -> None:
    if backend.name == "cupy" and backend.xp is not standin:
        pytest.skip("the ranks of one process share its GPU")
    alone = subject.train(tmp_path, backend, **changes)
    data = subject.data(tmp_path, alone.settings)
    alone.run(lambda: alone.steps == 7)
    expected = alone.snapshot().arrays
    group = Group(_SIZE)
    monkeypatch.setattr(distributed, "group", group)

    def work(ranks: ThreadRanks) -> tuple[dict[str, Any], list[Any]]:
        device = standin.cuda.Device(ranks.rank) if backend.xp is standin else contextlib.nullcontext()
        # The emulator runs the kernels of one thread at a time: on the stand-in, the plain forms run.
        with device, use_fused(backend.xp is not standin):
            trainer = subject.trainer(alone.settings, data, backend)
            trainer.divide(World(ranks))
            trainer.run(lambda: trainer.steps == 7)
            arrays = trainer.snapshot().arrays
            return arrays, [backend.to_numpy(p) for p in trainer.model.params]

    (arrays, params), (_, of_rank_1) = group.run(work)
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-3, atol=1e-4, err_msg=name)
    for p, of_alone, other in zip(params, alone.model.params, of_rank_1, strict=True):
        np.testing.assert_allclose(p, backend.to_numpy(of_alone), rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(p, other)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_forecasts_are_divided(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rank computes its share of the windows, in batches, and gets the forecasts of all."""
    monkeypatch.setattr(forecast_model, "_INFERENCE_BATCH", 3)
    data = prepare([series(growth(90))], TINY)
    windows, backend = data.train(np.arange(31)), get_backend("numpy")
    weights = np.random.default_rng(0).standard_normal(TINY.plan(data.facts).shapes[-2])

    class Counting(ForecastModel):
        computed = 0

        def __call__(self, x: Array, known: Array) -> Array:
            assert len(known) <= 3
            self.computed += len(known)
            return super().__call__(x, known)

    def forecast(comm: World) -> tuple[Any, int]:
        model = Counting.init(TINY, data.facts, backend)
        model.linear.params[0][...] = weights
        return model.forecast(windows, comm), model.computed

    expected, computed = forecast(World())
    assert computed == 31
    results = Group(size).run(lambda ranks: forecast(World(ranks)))
    assert sum(computed for _, computed in results) == 31
    for values, computed in results:
        assert computed <= math.ceil(31 / size)
        np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_a_sum_with_the_zeros_of_the_other_ranks_is_exact() -> None:
    values = np.random.default_rng(0).standard_normal((29, 3))

    def work(ranks: ThreadRanks) -> Any:
        array = np.where(np.arange(29)[:, None] % 7 == ranks.rank, values, 0)
        add_up(World(ranks), array)
        return array

    for result in Group(7).run(work):  # in a mean of 7 ranks, times 7, some of the last bits would differ
        np.testing.assert_array_equal(result, values)
