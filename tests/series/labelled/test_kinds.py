"""A kind of model needs its class, derived from `Kind`, and an entry of `KINDS`. Everything else follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

import xrnn
from tests.commands.runs import Capture, failed
from tests.errors import one_line
from tests.series.waves import waves
from xrnn.commands.main import main
from xrnn.series import Classifier, Regressor
from xrnn.series.checks import Series
from xrnn.series.errors import SettingsError
from xrnn.series.labelled.base import KINDS, Kind, LabelledEstimator
from xrnn.series.parameters import Rule, whole
from xrnn.typing import HostArray, Shape


class LeastSquares(Kind):
    """The outputs are linear functions of the changes within a series."""

    learnt: ClassVar[Mapping[str, Rule]] = {"count_": whole(2)}

    @classmethod
    def check(cls, p: LabelledEstimator) -> None:
        if p.layers > 1:
            raise SettingsError("layers is set")

    def learn(self, series: list[Series]) -> dict[str, Any]:
        targets = self.estimator._targets(series)
        y = np.eye(self.estimator._outputs)[targets] if targets.dtype.kind == "i" else targets[:, None]
        W = np.linalg.lstsq(self._features(series), y, rcond=None)[0].astype(np.float32)
        linear = xrnn.Linear(W, np.zeros(W.shape[1], np.float32))
        return {"count_": len(series), "losses_": [], "layers_": {"linear": linear}}

    def outputs(self, series: list[Series]) -> HostArray:
        y: HostArray = self.estimator.layers_["linear"](self._features(series))
        return y.astype(float)

    def _features(self, series: list[Series]) -> HostArray:
        return np.array([[1, *np.abs(np.diff(each.values, axis=0)).mean(axis=0)] for each in series], np.float32)

    @property
    def plan(self) -> tuple[dict[str, Any], list[Shape]]:
        example, outputs = xrnn.Linear(*(np.zeros(shape, np.float32) for shape in ((1, 1), 1))), self.estimator._outputs
        return {"linear": example}, [(1 + self.estimator.channels_, outputs), (outputs,)]

    @property
    def shapes(self) -> dict[str, Shape]:
        return {"losses": (-1,)}


@pytest.mark.usefixtures("workdir")
@pytest.mark.parametrize("kind", [Classifier, Regressor])
def test_a_new_kind_is_trained_saved_loaded_and_described(
    kind: Any, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setitem(KINDS, "least-squares", LeastSquares)
    X = [each.values for each in waves(20)]
    y = [int(each.label == "quick") for each in waves(20)]
    estimator = kind(model="least-squares").fit(X, y)
    assert (np.round(estimator.predict(X)) == y).all()
    estimator.save("model")
    loaded = kind.load("model")
    assert loaded.count_ == 20
    np.testing.assert_array_equal(loaded.predict(X), estimator.predict(X))
    with one_line(SettingsError, "stream needs a model that runs forward only"):
        loaded.stream(X[0])
    with one_line(SettingsError, "layers is set"):
        kind(model="least-squares", layers=2).fit(X, y)
    assert main(["info", "model"]) == 0
    assert "\nmodel: least-squares\n" in capsys.readouterr().out
    assert failed(capsys, "convert", "model", "model.c").startswith("model can't be converted to .c: expected a model")
    monkeypatch.undo()
    with one_line(SettingsError, "model is 'least-squares': expected one of recurrent, convolutions"):
        kind(model="least-squares").fit(X, y)
