"""Files of estimators, which the training commands write."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.forge import Forgery
from xrnn.select import get_backend
from xrnn.series import Classifier, Forecaster, Regressor
from xrnn.series.errors import CheckpointError
from xrnn.series.forecast.windows import ForecastFacts


@dataclass(frozen=True)
class Subject:
    kind: Any
    Refusal: type[CheckpointError] = CheckpointError

    def whole(self, rng: random.Random) -> Forgery:
        if self.kind is Forecaster:
            estimator: Any = Forecaster(hidden=3, quantiles=rng.choice(["0.1", "0.2,0.8"]))
            names = rng.choice([None, ("x", "y")])
            estimator.facts_ = ForecastFacts(6, 3, 2, 1, names, rng.choice(["", "1 day"]), rng.random() < 0.5)
            estimator.share_, estimator.rate_, estimator.fingerprint_ = 0.5, 0.001, "f"
        else:
            estimator = self.kind(
                hidden=3, mask=rng.random() < 0.5, patience=rng.choice([0, 4]), one_way=rng.random() < 0.5
            )
            estimator.channels_, estimator.patch_ = 2, rng.choice([1, 2])
            estimator.channel_names_ = rng.choice([None, ("x", "y")])
            estimator.classes_ = np.array(["a", "b"])
            estimator.target_mean_, estimator.target_deviation_ = 1.5, 0.5
        estimator._params = estimator.check_params()
        estimator.layers_ = estimator._plan().make(get_backend("numpy"))
        for array in [param for layer in estimator.layers_.values() for param in layer.params]:
            array[...] = 1
        for name, shape in estimator._shapes().items():
            setattr(estimator, f"{name}_", np.ones([3 if size < 0 else size for size in shape]))
        return Forgery.of(estimator._content())

    def load(self, path: Path) -> tuple[str, dict[str, Any]]:
        loaded = self.kind.load(path)
        text = f"{loaded._params} {[getattr(loaded, name) for name in loaded.learnt]}"
        params = {f"{n}.{k}": p for n, layer in loaded.layers_.items() for k, p in layer.named_params.items()}
        return text, params | {name: getattr(loaded, name) for name in loaded.arrays}


KINDS = {
    "classifiers": Subject(Classifier),
    "forecasters": Subject(Forecaster),
    "regressions": Subject(Regressor),
}
