"""The mean over time and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np

from xrnn import gradcheck
from xrnn.backend import Backend
from xrnn.models.labelled.model import MeanPool

LENGTHS = [5, 1, 3]


def test_each_series_has_the_mean_over_its_own_length(backend: Backend) -> None:
    h = np.random.default_rng(0).standard_normal((5, 3, 4))
    pool, lengths = MeanPool(backend.xp), backend.asarray(np.array(LENGTHS))
    expected = [h[:T, n].mean(axis=0) for n, T in enumerate(LENGTHS)]
    for y in (pool.forward(backend.asarray(h), lengths), pool(backend.asarray(h), lengths)):
        np.testing.assert_allclose(backend.to_numpy(y), expected, rtol=1e-12)


def test_the_gradient_matches_differences(backend: Backend) -> None:
    pool, lengths = MeanPool(backend.xp), backend.asarray(np.array(LENGTHS))
    h = backend.asarray(np.random.default_rng(0).standard_normal((5, 3, 4)))
    gradcheck(lambda h: pool.forward(h, lengths), lambda u: [pool.backward(u)], [h], names=["h"])


def test_it_keeps_the_dtype_and_waits_for_nothing(
    backend: Backend, no_waiting: Callable[[], AbstractContextManager[None]]
) -> None:
    pool, lengths = MeanPool(backend.xp), backend.asarray(np.array(LENGTHS, np.int32))
    h = backend.asarray(np.ones((5, 3, 4), np.float32))
    with no_waiting():
        y = pool.forward(h, lengths)
        dh = pool.backward(y)
    assert y.dtype == dh.dtype == "float32"
    assert not backend.to_numpy(dh)[1:, 1].any()
