"""Inference for any number of series, and the confusion matrix."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import STANDIN
from tests.models.labelled.tiny import TINY
from tests.standin.counting import counted
from xrnn.backend import Backend
from xrnn.models.data.batches import pack
from xrnn.models.labelled.head import Classes, Confusion
from xrnn.models.labelled.model import LabelledModel
from xrnn.typing import HostArray


def test_an_output_does_not_depend_on_the_other_series(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    model = LabelledModel.init(TINY, Classes(2, tuple(range(3))), backend)
    rng = np.random.default_rng(0)
    series = [rng.standard_normal((T, 2), dtype=np.float32) for T in (4, 1, 6, 2, 2)]
    together = model.outputs(series)
    assert together.dtype == np.float64
    monkeypatch.setattr("xrnn.models.labelled.model._INFERENCE_BATCH", 2)
    np.testing.assert_allclose(model.outputs(series), together, rtol=1e-5, atol=1e-7)
    x, lengths = backend.asarray(series[2][:, None]), backend.asarray(np.array([6]))
    np.testing.assert_allclose(together[2], backend.to_numpy(model(x, lengths))[0], rtol=1e-5, atol=1e-7)


def test_a_batch_is_one_transfer_each_way() -> None:
    model = LabelledModel.init(TINY, Classes(2, tuple(range(3))), STANDIN)
    model.outputs([np.ones((3, 2), np.float32)] * 130)  # the first use compares the kernels with the plain form
    with counted() as counters:
        model.outputs([np.ones((3, 2), np.float32)] * 130)
    assert (counters.host_to_device, counters.device_to_host) == (3, 3)


def test_a_long_series_lengthens_no_batch_of_short_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LabelledModel.init(TINY, Classes(2, tuple(range(3))), STANDIN)
    monkeypatch.setattr("xrnn.models.labelled.model._INFERENCE_BATCH", 2)
    lengths: list[int] = []

    def noting(series: list[HostArray], targets: HostArray) -> tuple[HostArray, HostArray]:
        lengths.append(max(map(len, series)))
        return pack(series, targets)

    monkeypatch.setattr("xrnn.models.labelled.model.pack", noting)
    model.outputs([np.ones((T, 2), np.float32) for T in (9, 1, 9, 1)])
    assert lengths == [1, 9]


def test_softmax_is_in_float64_and_never_overflows() -> None:
    p = Classes(1, ()).decoded(np.array([[1e4, 1e4], [-1e4, 0]], np.float32))
    np.testing.assert_array_equal(p, [[0.5, 0.5], [0, 1]])
    assert p.dtype == np.float64


def test_the_confusion_matrix_and_its_figures() -> None:
    confusion = Confusion.of(np.array([0, 0, 0, 1, 2]), np.array([0, 0, 1, 1, 0]), 4)
    np.testing.assert_array_equal(confusion.counts, [[2, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(confusion.correct, [2, 1, 0, 0])
    np.testing.assert_array_equal(confusion.support, [3, 1, 1, 0])
    np.testing.assert_array_equal(confusion.predicted, [3, 2, 0, 0])
    assert str(confusion) == "0.600 (3 of 5)"
    assert confusion.accuracy == 0.6
    assert confusion.balanced_accuracy == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert confusion.macro_f1 == pytest.approx(
        (4 / 6 + 2 / 3 + 0) / 3
    )  # the last label neither occurs nor is predicted
    assert confusion.never_predicted == [2]
    assert confusion.most_confused(5) == [(0, 1, 1), (2, 0, 1)]
    assert confusion.most_confused(1) == [(0, 1, 1)]
