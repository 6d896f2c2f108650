"""A small classifier and a training of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tests.series.waves import waves
from xrnn.arrays.select import use_backend
from xrnn.series.labelled.base import Task, targets_of, weights_of
from xrnn.series.labelled.estimators import Classifier, LabelledEstimator
from xrnn.series.labelled.recurrent import Training
from xrnn.series.labelled.splits import classes_of
from xrnn.series.one_series import Series

TINY: dict[str, Any] = {"hidden": 6, "batch": 4, "lr": 0.02, "layers": 2}
TINY_OPTIONS = ["--hidden", "6", "--batch", "4", "--lr", "0.02"]


@dataclass
class Prepared:
    """The valid parameters of an estimator, the task, and series with the targets of a model as labels."""

    params: Any
    task: Task
    series: list[Series]
    classes: list[Any]

    def training(self, backend: Any = "numpy", patch: int = 1) -> Training:
        with use_backend(backend):
            values = [each.values for each in self.series]
            weights = weights_of(self.series)
            return Training(self.params, self.task, patch, values, targets_of(self.series), weights)


def prepared(series: list[Series] | None = None, kind: type[LabelledEstimator] = Classifier, **params: Any) -> Prepared:
    series = waves(10, 0) if series is None else series
    checked: Any = kind(**TINY | params).check_params()
    labels = [each.label for each in series]
    if kind is Classifier:
        classes = classes_of(labels)
        task = Task(len(classes))
        targets = np.array([classes.index(each) for each in labels], np.int32)
    else:
        classes = []
        task = Task(outputs=1)
        targets = ((np.array(labels) - np.mean(labels)) / np.std(labels)).astype(np.float32)
    labelled = [replace(each, label=target) for each, target in zip(series, targets, strict=True)]
    return Prepared(checked, task, labelled, classes)
