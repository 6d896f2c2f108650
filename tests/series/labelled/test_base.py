"""A model needs its class, derived from `FittedModel`, and an entry of `MODELS`. Everything else follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tests.commands.runs import Capture, failed
from tests.errors import one_line
from tests.series.waves import waves
from xrnn.commands.main import main
from xrnn.series import Classifier, Regressor
from xrnn.series.errors import SettingsError
from xrnn.series.labelled.base import Candidate, Parameters, Task, Watcher
from xrnn.series.labelled.convolutions import Convolutions
from xrnn.series.labelled.kinds import MODELS
from xrnn.series.one_series import Series


@dataclass(frozen=True, kw_only=True, eq=False)
class Counting(Convolutions):
    """It also learns the number of series."""

    count_: int

    @staticmethod
    def check(params: Parameters) -> None:
        if params.layers > 1:
            raise SettingsError("layers is set")

    @classmethod
    def candidate(cls, params: Parameters, task: Task, series: list[Series], watcher: Watcher) -> Candidate:
        tested = Convolutions.candidate(params, task, series, watcher)
        return Candidate(tested.left_out, lambda: Counting(**vars(tested.fit()), count_=len(series)))


@pytest.mark.usefixtures("workdir")
@pytest.mark.parametrize("kind", [Classifier, Regressor])
def test_a_new_model_is_trained_saved_loaded_and_described(
    kind: Any, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setitem(MODELS, "counting", Counting)
    X = [each.values for each in waves(20)]
    y = [int(each.label == "quick") for each in waves(20)]
    estimator = kind(model="counting").fit(X, y)
    assert (np.round(estimator.predict(X)) == y).all()
    estimator.save("model")
    loaded = kind.load("model")
    assert loaded.count_ == 20
    np.testing.assert_array_equal(loaded.predict(X), estimator.predict(X))
    np.testing.assert_array_equal([*loaded.stream(X[0])][-1:], loaded._predict([X[0][-loaded.steps_ :]]))
    with one_line(SettingsError, "layers is set"):
        kind(model="counting", layers=2).fit(X, y)
    assert main(["info", "model"]) == 0
    assert "\ncount: 20\n" in capsys.readouterr().out
    assert failed(capsys, "convert", "model", "model.c").startswith("model can't be converted to .c; train a model")
    monkeypatch.undo()
    with one_line(SettingsError, "model is 'counting': expected one of auto, features, convolutions, recurrent"):
        kind(model="counting").fit(X, y)
