"""Probabilities of any number of series, and the counts of what was taken for what."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import STANDIN
from tests.jobs.classify.tiny import TINY
from tests.standin.counting import counted
from xrnn.backend import Backend
from xrnn.jobs.classify.evaluate import Confusion, probabilities, softmax
from xrnn.jobs.classify.model import Classifier
from xrnn.jobs.series.batches import pack
from xrnn.typing import HostArray


def test_each_series_has_its_probabilities_in_any_company(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Classifier.init(TINY, 2, 3, backend)
    rng = np.random.default_rng(0)
    series = [rng.standard_normal((T, 2), dtype=np.float32) for T in (4, 1, 6, 2, 2)]
    together = probabilities(model, series)
    monkeypatch.setattr("xrnn.jobs.classify.evaluate._TOGETHER", 2)
    np.testing.assert_allclose(probabilities(model, series), together, rtol=1e-5)
    np.testing.assert_allclose(together.sum(axis=1), 1, rtol=1e-12)
    x, lengths = backend.asarray(series[2][:, None]), backend.asarray(np.array([6]))
    np.testing.assert_allclose(together[2], softmax(backend.to_numpy(model(x, lengths)))[0], rtol=1e-5)


def test_a_batch_is_one_transfer_each_way() -> None:
    model = Classifier.init(TINY, 2, 3, STANDIN)
    with counted() as counters:
        probabilities(model, [np.ones((3, 2), np.float32)] * 130)
    assert (counters.host_to_device, counters.device_to_host) == (3, 3)


def test_a_long_series_lengthens_no_batch_of_short_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Classifier.init(TINY, 2, 3, STANDIN)
    monkeypatch.setattr("xrnn.jobs.classify.evaluate._TOGETHER", 2)
    lengths: list[int] = []

    def noting(series: list[HostArray], targets: HostArray) -> tuple[HostArray, HostArray]:
        lengths.append(max(map(len, series)))
        return pack(series, targets)

    monkeypatch.setattr("xrnn.jobs.classify.evaluate.pack", noting)
    probabilities(model, [np.ones((T, 2), np.float32) for T in (9, 1, 9, 1)])
    assert lengths == [1, 9]


def test_softmax_is_in_float64_and_never_overflows() -> None:
    p = softmax(np.array([[1e4, 1e4], [-1e4, 0]], np.float32))
    np.testing.assert_array_equal(p, [[0.5, 0.5], [0, 1]])
    assert p.dtype == np.float64


def test_confusion_counts_what_was_taken_for_what() -> None:
    confusion = Confusion.of(np.array([0, 0, 0, 1, 2]), np.array([0, 0, 1, 1, 0]), 4)
    np.testing.assert_array_equal(confusion.counts, [[2, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(confusion.right, [2, 1, 0, 0])
    np.testing.assert_array_equal(confusion.of_label, [3, 1, 1, 0])
    np.testing.assert_array_equal(confusion.taken_for, [3, 2, 0, 0])
    assert str(confusion) == "0.600 (3 of 5)"
