"""The recurrent kind of model: patches of the series, recurrent layers, the mean over time, a linear layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from xrnn.cells import CELLS
from xrnn.select import get_backend
from xrnn.series.checks import Series
from xrnn.series.errors import SettingsError, param
from xrnn.series.labelled.base import Kind, LabelledEstimator, Watcher
from xrnn.series.labelled.choice import choose, scaled
from xrnn.series.labelled.model import Model, features_of, inputs_of, streamed
from xrnn.series.labelled.training import Training, default_epochs
from xrnn.series.scale import Scale
from xrnn.typing import HostArray


class Recurrent(Kind):
    """It learns

    patch_, scaling_     the number of steps in a patch, and "shared" or "each"
    losses_              of every update
    scale_               mean and deviation of each feature, (2, features)
    """

    @classmethod
    def check(cls, p: LabelledEstimator) -> None:
        if p.one_way and p.scaling == "each":
            raise SettingsError(
                f"got {param('one_way')} with {param('scaling')} each: expected shared, since a stream can't be scaled "
                "by its later steps; leave one of them out"
            )

    def learn(self, series: list[Series], watcher: Watcher) -> dict[str, Any]:
        p = self.p
        patch, scaling = choose(p, series, watcher)
        training = Training(p, patch, scaled(series, scaling), get_backend())
        watcher.tell(self._description(training.model, patch, scaling))
        training.run((p.epochs or default_epochs(len(series))) * training.per_epoch, watcher)
        return {
            "patch_": patch,
            "scaling_": scaling,
            "losses_": np.array(training.losses),
            "scale_": np.array([training.scale.mean, training.scale.deviation]),
            "layers_": dict(training.model),
        }

    def _description(self, model: Model, patch: int, scaling: str) -> str:
        p, weights = self.p, sum(each.size for each in model.params)
        layers = f"{'' if p.one_way else 'bidirectional '}{CELLS[p.cell].__name__} layer{'s' * (p.layers > 1)}"
        first = f"patches of {patch} steps; " if patch > 1 else ""
        first += "each series scaled by itself; " if scaling == "each" else ""
        return (
            f"model: {p.layers} {layers} of {p.hidden}, {weights:,} weights; {first}batches of {p.batch}; "
            f"dropout {p.dropout:g}, noise {p.noise:g}, lr {p.lr:g}; seed {p.seed}"
        )

    @property
    def features(self) -> int:  # type: ignore[override]
        return features_of(self.p.patch_)

    def outputs(self, series: list[Series]) -> HostArray:
        scale, patch = Scale(*self.p.scale_), self.p.patch_
        x = [inputs_of(each.values, scale, patch) for each in scaled(series, self.p.scaling_)]
        return self._model.outputs(x)

    def stream(self, rows: Iterable[HostArray]) -> Iterator[HostArray]:
        if not self.p.one_way:
            return super().stream(rows)
        return streamed(self._model, rows, Scale(*self.p.scale_), self.p.patch_)

    @property
    def _model(self) -> Model:
        return Model(self.p.layers_, self.p.dropout, self.p.seed)
