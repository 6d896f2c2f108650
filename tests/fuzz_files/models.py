"""Checkpoints of the training commands."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.forge import Forgery
from tests.models.snapshots import content
from xrnn.models.checkpoint import Kind, Snapshot
from xrnn.models.errors import CheckpointError
from xrnn.models.forecast.model import FORECASTER
from xrnn.models.forecast.settings import ForecastFacts, ForecastSettings
from xrnn.models.plan import Model
from xrnn.select import get_backend
from xrnn.series import Classifier, Regressor


@dataclass(frozen=True)
class Subject:
    kind: Kind[Any]
    example: Callable[[random.Random], tuple[Any, Any]]  # → settings, facts
    Refusal: type[CheckpointError] = CheckpointError

    def whole(self, rng: random.Random) -> Forgery:
        """A file after two updates, with ones in all arrays."""
        settings, facts = self.example(rng)
        layers = self.kind.plan(settings, facts).make(get_backend("numpy"))
        optimizer = settings.optimizer([*layers.values()])
        optimizer.steps = 2
        Model(layers).start_at(2)
        for array in [param for layer in layers.values() for param in layer.params]:
            array[...] = 1
        arrays = {name: np.ones(*spec) for name, spec in self.kind.arrays(settings, facts, 2).items()}
        return Forgery.of(self.kind.content(Snapshot(settings, "f", layers, optimizer, arrays, facts)))

    def load(self, path: Path) -> tuple[str, dict[str, Any]]:
        return content(self.kind.load(path))


@dataclass(frozen=True)
class Estimators:
    """Files of Classifier or Regressor."""

    kind: Any
    Refusal: type[CheckpointError] = CheckpointError

    def whole(self, rng: random.Random) -> Forgery:
        """A file with ones in all arrays."""
        estimator = self.kind(
            hidden=3, mask=rng.random() < 0.5, patience=rng.choice([0, 4]), one_way=rng.random() < 0.5
        )
        estimator._params = estimator.check_params()
        estimator.channels_, estimator.patch_ = 2, rng.choice([1, 2])
        estimator.channel_names_ = rng.choice([None, ("x", "y")])
        estimator.classes_ = np.array(["a", "b"])
        estimator.target_mean_, estimator.target_deviation_ = 1.5, 0.5
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


def _forecaster(rng: random.Random) -> tuple[Any, Any]:
    settings = ForecastSettings(hidden=3, quantiles=rng.choice(["0.1", "0.2,0.8"]))
    return settings, ForecastFacts(
        6, 3, 2, 1, rng.choice([None, ("x", "y")]), rng.choice(["", "1 day"]), rng.random() < 0.5
    )


KINDS = {
    "classifiers": Estimators(Classifier),
    "forecasters": Subject(FORECASTER, _forecaster),
    "regressions": Estimators(Regressor),
}
