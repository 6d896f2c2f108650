"""The predictions of a classifier: labels and their probabilities."""

from __future__ import annotations

from typing import Any

from xrnn.models.data.series import escaped
from xrnn.models.labelled.classifier import Classifier, softmax
from xrnn.models.labelled.classifier_checkpoint import CLASSIFIER_CHECKPOINTS
from xrnn.models.labelled.predict import Predictor
from xrnn.typing import HostArray


class LabelPredictor(Predictor):
    """A trained classifier."""

    model_class = Classifier
    checkpoints = CLASSIFIER_CHECKPOINTS

    def fields(self, y: HostArray, proba: bool) -> tuple[list[str], list[str]]:
        """The likeliest label, its probability | LABEL:PROBABILITY for each label."""
        p, labels = softmax(y), [escaped(label) for label in self.facts.labels]
        best = int(p.argmax())
        after = [f"{label}:{share:.3f}" for label, share in zip(labels, p, strict=True)] if proba else []
        return [labels[best], f"{p[best]:.3f}"], after

    def values(self, y: HostArray, proba: bool) -> dict[str, Any]:
        p = softmax(y)
        best = int(p.argmax())
        values: dict[str, Any] = {"label": self.facts.labels[best], "probability": float(p[best])}
        if proba:
            values["probabilities"] = dict(zip(map(str, self.facts.labels), p.tolist(), strict=True))
        return values
