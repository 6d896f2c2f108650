"""The kinds of models with tiny data, one row each: the tests of trainers and of checkpoints run on every row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from tests.commands.runs import growth
from tests.models.snapshots import copied
from xrnn.backend import Backend
from xrnn.models.checkpoint import Kind, Snapshot
from xrnn.models.forecast.data import prepare
from xrnn.models.forecast.model import FORECASTER
from xrnn.models.forecast.settings import ForecastSettings
from xrnn.models.forecast.trainer import ForecastTrainer
from xrnn.select import get_backend
from xrnn.series.checks import Series

_snapshots: dict[tuple[Any, ...], Snapshot[Any]] = {}


@dataclass(frozen=True)
class Subject:
    """A kind of model.

    data    (an empty folder, the settings) → the data
    reads   the number of transfers from the device that reading the losses takes
    """

    kind: Kind[Any]
    trainer: Any
    data: Callable[[Path, Any], Any]
    settings: Any
    reads: int = 1

    def train(self, folder: Path, backend: Backend | str = "numpy", updates: int = 0, **changes: Any) -> Any:
        """A trainer after some updates.   changes: of the settings"""
        settings = replace(self.settings, **changes)
        trainer = self.trainer(settings, self.data(folder, settings), get_backend(backend))
        for _ in range(updates):
            trainer.step()
        return trainer

    def snapshot(self, folder: Path, **changes: Any) -> Snapshot[Any]:
        """The snapshot after two updates. The first call trains, all return a copy."""
        key = (self.kind.name, *changes.items())
        if key not in _snapshots:
            _snapshots[key] = self.train(folder, updates=2, **changes).snapshot()
        return copied(_snapshots[key])


FORECASTS: Final = Subject(
    FORECASTER,
    ForecastTrainer,
    lambda _, settings: prepare([Series(growth()[:, None], None, "s")], settings),
    ForecastSettings(hidden=4, batch=4, lr=0.02, horizon=3, context=6, season=4, dropout=0.3, noise=0.1),
)
SUBJECTS: Final = [FORECASTS]


def name_of(subject: Any) -> str:
    return subject.kind.name.removeprefix("xrnn ") if isinstance(subject, Subject) else str(subject)
