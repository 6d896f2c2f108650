"""Checkpoints of `xrnn train`."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tests.fuzz_files.damage import VALUES, change_metadata, change_tensor
from tests.jobs.charlm.forge import Forgery
from xrnn.jobs.charlm.charlm_checkpoint import CHARLM_CHECKPOINTS, specs
from xrnn.jobs.errors import CheckpointError

Refusal = CheckpointError


def whole(rng: random.Random) -> Forgery:
    return Forgery()


def change(forgery: Forgery, rng: random.Random) -> None:
    """Change the settings, the step, the metadata or a tensor."""

    def other_setting(forgery: Forgery, rng: random.Random) -> None:
        forgery.settings[rng.choice([*forgery.settings, "seed", "cell", "x"])] = rng.choice(VALUES)

    def other_step(forgery: Forgery, rng: random.Random) -> None:
        forgery.step = str(rng.choice(VALUES))

    for way in rng.choices([other_setting, other_step, change_metadata, change_tensor], k=rng.choice([1, 1, 2])):
        way(forgery, rng)


def load(path: Path) -> tuple[str, dict[str, Any]]:
    """The metadata and the arrays, after checking the arrays against the settings and the step."""
    loaded = CHARLM_CHECKPOINTS.load(path)
    expected = specs(loaded.settings, None, loaded.step)
    assert {name: array.shape for name, array in loaded.arrays.items()} == {n: s.shape for n, s in expected.items()}
    return f"{loaded.settings} {loaded.fingerprint} {loaded.step}", loaded.arrays
