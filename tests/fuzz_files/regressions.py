"""Checkpoints of `xrnn regress`."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tests.forge import Forgery, Tensor
from tests.fuzz_files.classifiers import Refusal, change
from xrnn.jobs.regress.regression_checkpoint import REGRESSION_CHECKPOINTS, Facts, specs
from xrnn.jobs.regress.regression_settings import RegressionSettings

__all__ = ["Refusal", "change", "load", "whole"]


def whole(rng: random.Random) -> Forgery:
    settings = RegressionSettings(hidden=3, mask=rng.random() < 0.5, patience=rng.choice([0, 4]))
    facts = Facts(2, 1.5, 0.5, rng.choice([None, ("x", "y")]))
    metadata = {"format": "xrnn series regression", "version": "1", "fingerprint": "f", "step": "2"}
    metadata |= {"settings": json.dumps(asdict(settings)), "facts": json.dumps(asdict(facts))}
    arrays = {name: np.ones(spec.shape, spec.dtype) for name, spec in specs(settings, facts, 2).items()}
    return Forgery({name: Tensor.of(array) for name, array in arrays.items()}, metadata)


def load(path: Path) -> tuple[str, dict[str, Any]]:
    """The facts and the arrays of a checkpoint: those that its settings, facts and step require."""
    loaded = REGRESSION_CHECKPOINTS.load(path)
    expected = specs(loaded.settings, loaded.facts, loaded.step)
    assert {name: array.shape for name, array in loaded.arrays.items()} == {n: s.shape for n, s in expected.items()}
    return f"{loaded.settings} {loaded.facts} {loaded.fingerprint} {loaded.step}", loaded.arrays
