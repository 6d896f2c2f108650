"""Checkpoints of the training commands."""

from __future__ import annotations

import copy
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
from xrnn.models.labelled.head import Classes, Numbers
from xrnn.models.labelled.model import CLASSIFIER, REGRESSION
from xrnn.models.labelled.settings import ClassifierSettings, RegressionSettings
from xrnn.models.plan import Model
from xrnn.select import get_backend


@dataclass(frozen=True)
class Subject:
    kind: Kind[Any]
    example: Callable[[random.Random], tuple[Any, Any]]  # → settings, facts
    Refusal: type[CheckpointError] = CheckpointError

    def whole(self, rng: random.Random) -> Forgery:
        """A file after two updates, with ones in all arrays."""
        settings, facts = self.example(rng)
        plan = self.kind.plan(settings, facts)
        layers = plan.make(get_backend("numpy"))
        optimizer = settings.optimizer([*layers.values()])
        optimizer.steps = 2
        if plan.keeps_best:
            layers |= {f"best.{name}": copy.deepcopy(layer) for name, layer in layers.items()}
        Model(layers).start_at(2)
        for array in [param for layer in layers.values() for param in layer.params]:
            array[...] = 1
        arrays = {name: np.ones(*spec) for name, spec in self.kind.arrays(settings, facts, 2).items()}
        return Forgery.of(self.kind.content(Snapshot(settings, "f", layers, optimizer, arrays, facts)))

    def load(self, path: Path) -> tuple[str, dict[str, Any]]:
        return content(self.kind.load(path))


def _classifier(rng: random.Random) -> tuple[Any, Any]:
    settings = ClassifierSettings(
        hidden=3, one_way=rng.random() < 0.5, mask=rng.random() < 0.5, patience=rng.choice([0, 4])
    )
    return settings, Classes(2, ("a", "b"), channel_names=rng.choice([None, ("x", "y")]))


def _regression(rng: random.Random) -> tuple[Any, Any]:
    settings = RegressionSettings(hidden=3, mask=rng.random() < 0.5, patience=rng.choice([0, 4]))
    return settings, Numbers(2, 1.5, 0.5, channel_names=rng.choice([None, ("x", "y")]))


def _forecaster(rng: random.Random) -> tuple[Any, Any]:
    settings = ForecastSettings(hidden=3, quantiles=rng.choice(["0.1", "0.2,0.8"]))
    return settings, ForecastFacts(
        6, 3, 2, 1, rng.choice([None, ("x", "y")]), rng.choice(["", "1 day"]), rng.random() < 0.5
    )


KINDS = {
    "classifiers": Subject(CLASSIFIER, _classifier),
    "forecasters": Subject(FORECASTER, _forecaster),
    "regressions": Subject(REGRESSION, _regression),
}
