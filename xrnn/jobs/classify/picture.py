"""The picture of a classifier: the loss of its training, and which labels it takes for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from xrnn.jobs.classify.evaluate import Confusion
from xrnn.jobs.picture import Picture
from xrnn.jobs.plot import draw_losses
from xrnn.jobs.series.series import escaped

_MOST_NUMBERS: Final = 20  # labels, beyond which numbers would overlap
_LONGEST: Final = 16  # characters of a label
_SIZE: Final = (10.5, 4.2)  # inches


def confusion_picture(losses: Sequence[float], labels: Sequence[str], confusion: Confusion) -> Picture:
    """The losses of all updates beside the confusion matrix."""

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        draw_losses(left, losses, "nats a series, in training")
        left.legend()
        _draw_confusion(right, [_short(label) for label in labels], confusion)

    return Picture(_SIZE, draw)


def _draw_confusion(axes: Any, labels: Sequence[str], confusion: Confusion) -> None:
    shares = confusion.counts / np.maximum(confusion.of_label, 1)[:, None]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="taken for", ylabel="label", title=f"accuracy {confusion}")
    if len(labels) > _MOST_NUMBERS:
        return
    places = range(len(labels))
    axes.set_xticks(places, labels, rotation=90 if max(map(len, labels)) > 2 else 0)
    axes.set_yticks(places, labels)
    for (i, j), count in np.ndenumerate(confusion.counts):
        if count:
            axes.text(j, i, f"{count:,}", ha="center", va="center", color="white" if shares[i, j] > 0.5 else "black")


def _short(label: str) -> str:
    """As a picture can show it: `$` would begin a formula."""
    label = escaped(label)
    return (label if len(label) <= _LONGEST else f"{label[:_LONGEST]}…").replace("$", r"\$")
