"""Checkpoints of `xrnn forecast`."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tests.forge import Forgery, Tensor
from tests.fuzz_files.classifiers import Refusal, change
from xrnn.jobs.forecast.forecast_checkpoint import FORECAST_CHECKPOINTS, Facts, specs
from xrnn.jobs.forecast.forecast_settings import ForecastSettings

__all__ = ["Refusal", "change", "load", "whole"]


def whole(rng: random.Random) -> Forgery:
    settings = ForecastSettings(hidden=3, quantiles=rng.choice(["0.1", "0.2,0.8"]))
    facts = Facts(6, 3, 2, 1, rng.choice([None, ("x", "y")]))
    metadata = {"format": "xrnn forecaster", "version": "1", "fingerprint": "f", "step": "2"}
    metadata |= {"settings": json.dumps(asdict(settings)), "facts": json.dumps(asdict(facts))}
    arrays = {name: np.ones(spec.shape, spec.dtype) for name, spec in specs(settings, facts, 2).items()}
    return Forgery({name: Tensor.of(array) for name, array in arrays.items()}, metadata)


def load(path: Path) -> tuple[str, dict[str, Any]]:
    """The facts and the arrays of a checkpoint: those that its settings, facts and step require."""
    loaded = FORECAST_CHECKPOINTS.load(path)
    expected = specs(loaded.settings, loaded.facts, loaded.step)
    assert {name: array.shape for name, array in loaded.arrays.items()} == {n: s.shape for n, s in expected.items()}
    return f"{loaded.settings} {loaded.facts} {loaded.fingerprint} {loaded.step}", loaded.arrays
