"""Checkpoints of `xrnn classify`."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tests.forge import Forgery, Tensor
from tests.fuzz_files.damage import change_json, change_metadata, change_tensor
from xrnn.jobs.classify.classifier_checkpoint import CLASSIFIER_CHECKPOINTS, Facts, specs
from xrnn.jobs.classify.classifier_settings import ClassifierSettings
from xrnn.jobs.errors import CheckpointError

Refusal = CheckpointError


def whole(rng: random.Random) -> Forgery:
    settings = ClassifierSettings(
        hidden=3, one_way=rng.random() < 0.5, mask=rng.random() < 0.5, patience=rng.choice([0, 4])
    )
    facts = Facts(2, ("a", "b"), rng.choice([None, ("x", "y")]))
    metadata = {"format": "xrnn series classifier", "version": "1", "fingerprint": "f", "step": "2"}
    metadata |= {"settings": json.dumps(asdict(settings)), "facts": json.dumps(asdict(facts))}
    arrays = {name: np.ones(spec.shape, spec.dtype) for name, spec in specs(settings, facts, 2).items()}
    return Forgery({name: Tensor.of(array) for name, array in arrays.items()}, metadata)


def change(forgery: Forgery, rng: random.Random) -> None:
    """Change the settings, the facts, the step, the metadata or a tensor."""

    def other_settings(forgery: Forgery, rng: random.Random) -> None:
        change_json(forgery, rng, "settings", "facts", "step")

    ways = [other_settings, other_settings, change_metadata, change_tensor]
    for way in rng.choices(ways, k=rng.choice([1, 1, 2])):
        way(forgery, rng)


def load(path: Path) -> tuple[str, dict[str, Any]]:
    """The metadata and the arrays, after checking the arrays against the settings, the facts and the step."""
    loaded = CLASSIFIER_CHECKPOINTS.load(path)
    expected = specs(loaded.settings, loaded.facts, loaded.step)
    assert {name: array.shape for name, array in loaded.arrays.items()} == {n: s.shape for n, s in expected.items()}
    return f"{loaded.settings} {loaded.facts} {loaded.fingerprint} {loaded.step}", loaded.arrays
