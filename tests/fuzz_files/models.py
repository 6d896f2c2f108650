"""Files of estimators, which the training commands write."""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.forge import Forgery
from xrnn.series import Classifier, Forecaster, Regressor
from xrnn.series.errors import CheckpointError

SERIES = np.random.default_rng(0).standard_normal((8, 12))


@functools.cache
def content(kind: Any, variant: bool) -> bytes:
    """The file of a small estimator, with one of two settings of its options."""
    small: dict[str, Any] = {"hidden": 3, "batch": 4}
    if kind is Forecaster:
        quantiles = "0.1" if variant else "0.2,0.8"
        fitted: Any = Forecaster(horizon=3, context=6, season=2, steps=1, quantiles=quantiles, **small).fit(SERIES)
    else:
        options = {"mask": variant, "one_way": variant, "patience": 4 * variant}
        fitted = kind(epochs=1, **options, **small).fit(SERIES, np.arange(8) % 2)
    return fitted._content()  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Subject:
    kind: Any
    Refusal: type[CheckpointError] = CheckpointError

    def whole(self, rng: random.Random) -> Forgery:
        return Forgery.of(content(self.kind, rng.random() < 0.5))

    def load(self, path: Path) -> tuple[str, dict[str, Any]]:
        loaded = self.kind.load(path)
        text = f"{loaded._params} {[getattr(loaded, name) for name in loaded.learnt]}"
        params = {f"{n}.{k}": p for n, layer in loaded.layers_.items() for k, p in layer.named_params.items()}
        return text, params | {name: getattr(loaded, f"{name}_") for name in loaded._shapes()}


KINDS = {
    "classifiers": Subject(Classifier),
    "forecasters": Subject(Forecaster),
    "regressions": Subject(Regressor),
}
