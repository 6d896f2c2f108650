"""Checkpoints of the training commands, in the present and in the earlier format."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.forge import Forgery, Tensor
from tests.models.snapshots import content
from xrnn.models.checkpoint import Checkpoints
from xrnn.models.errors import CheckpointError
from xrnn.models.forecast import checkpoint as forecast_checkpoint
from xrnn.models.forecast.settings import ForecastSettings
from xrnn.models.labelled import classifier_checkpoint, regression_checkpoint
from xrnn.models.labelled.classifier_settings import ClassifierSettings
from xrnn.models.labelled.regression_settings import RegressionSettings
from xrnn.models.text.checkpoint import CHARLM_CHECKPOINTS
from xrnn.models.text.settings import CharLMSettings


@dataclass(frozen=True)
class Job:
    checkpoints: Checkpoints[Any]
    example: Callable[[random.Random], tuple[Any, Any]]  # → settings, facts
    Refusal: type[CheckpointError] = CheckpointError

    def whole(self, rng: random.Random) -> Forgery:
        old = self.old(rng)
        if rng.random() < 0.5:
            return old
        with tempfile.TemporaryDirectory() as folder:
            return Forgery.of(self.checkpoints.content(self.checkpoints.load(old.write(Path(folder) / "old"))))

    def old(self, rng: random.Random) -> Forgery:
        """A file in the earlier format, after two updates."""
        settings, facts = self.example(rng)
        metadata = {"format": self.checkpoints.format, "version": "1", "fingerprint": "f", "step": "2"}
        metadata["settings"] = json.dumps(asdict(settings))
        if facts:
            metadata["facts"] = json.dumps(asdict(facts))
        kinds = ["model", "adam.m", "adam.v", *(["best"] if getattr(settings, "patience", 0) else [])]
        shapes = self.checkpoints.shapes(settings, facts).items()
        arrays = {f"{kind}.{name}": np.ones(shape, "float32") for kind in kinds for name, shape in shapes}
        arrays |= {name: np.ones(*spec) for name, spec in self.checkpoints.specs(settings, facts, 2).items()}
        return Forgery({name: Tensor.of(array) for name, array in arrays.items()}, metadata)

    def load(self, path: Path) -> tuple[str, dict[str, Any]]:
        return content(self.checkpoints.load(path))


def _classifier(rng: random.Random) -> tuple[Any, Any]:
    settings = ClassifierSettings(
        hidden=3, one_way=rng.random() < 0.5, mask=rng.random() < 0.5, patience=rng.choice([0, 4])
    )
    return settings, classifier_checkpoint.Facts(2, ("a", "b"), rng.choice([None, ("x", "y")]))


def _regression(rng: random.Random) -> tuple[Any, Any]:
    settings = RegressionSettings(hidden=3, mask=rng.random() < 0.5, patience=rng.choice([0, 4]))
    return settings, regression_checkpoint.Facts(2, 1.5, 0.5, rng.choice([None, ("x", "y")]))


def _forecaster(rng: random.Random) -> tuple[Any, Any]:
    settings = ForecastSettings(hidden=3, quantiles=rng.choice(["0.1", "0.2,0.8"]))
    return settings, forecast_checkpoint.Facts(
        6, 3, 2, 1, rng.choice([None, ("x", "y")]), rng.choice(["", "1 day"]), rng.choice([None, (), ("a", "b")])
    )


def _charlm(rng: random.Random) -> tuple[Any, None]:
    return CharLMSettings(hidden=3, layers=1, seq_len=4, batch=2), None


JOBS = {
    "character models": Job(CHARLM_CHECKPOINTS, _charlm),
    "classifiers": Job(classifier_checkpoint.CLASSIFIER_CHECKPOINTS, _classifier),
    "forecasters": Job(forecast_checkpoint.FORECAST_CHECKPOINTS, _forecaster),
    "regressions": Job(regression_checkpoint.REGRESSION_CHECKPOINTS, _regression),
}
