"""The model of `xrnn classify`."""

from __future__ import annotations

import numpy as np

from xrnn.losses import softmax_cross_entropy
from xrnn.models.labelled.model import SeriesModel
from xrnn.typing import Array, HostArray


class Classifier(SeriesModel):
    """p(label | x) = softmax(y), with y as in SeriesModel."""

    def train_step(
        self, x: Array, lengths: Array, targets: Array, class_weight: Array | None = None
    ) -> tuple[Array, Array]:
        """Forward and backward pass → the mean loss in nats and the number of correct labels, 0-d on the device."""
        logits = self.forward(x, lengths)
        loss, dlogits = softmax_cross_entropy(logits, targets, class_weight=class_weight)
        self.backward(dlogits)
        return loss, (logits.argmax(axis=-1) == targets).sum()


def softmax(logits: HostArray) -> HostArray:
    """The softmax of each row, in float64."""
    e = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    p: HostArray = e / e.sum(axis=-1, keepdims=True)
    return p
