"""The picture of a classifier: the losses of its training, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from xrnn.jobs.classify.evaluate import Confusion
from xrnn.jobs.picture import Picture
from xrnn.jobs.series.curves import draw_training
from xrnn.jobs.series.series import escaped
from xrnn.jobs.series.series_trainer import SeriesTrainer

_MOST_COUNTS: Final = 30  # labels; with more, the counts would overlap
_MOST_NAMES: Final = 60  # labels
_MOST_PAIRS: Final = 5
_LONGEST: Final = 16  # characters of a label


def confusion_picture(trainer: SeriesTrainer[Any], labels: Sequence[str], confusion: Confusion) -> Picture:
    """The losses of all updates beside the confusion matrix. It grows with the number of labels."""
    side = min(4.2 + 0.15 * max(0, len(labels) - 10), 11.0)  # inches

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        draw_training(left, trainer, "nats per series")
        _draw_confusion(figure, right, [_short(label) for label in labels], confusion)

    return Picture((2.5 * side, side), draw)


def _draw_confusion(figure: Any, axes: Any, labels: Sequence[str], confusion: Confusion) -> None:
    shares = confusion.counts / np.maximum(confusion.support, 1)[:, None]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the row")
    axes.set(xlabel="predicted", ylabel="true", title=f"accuracy {confusion}")
    pairs = [f"{count:,} × {labels[i]} as {labels[j]}" for i, j, count in confusion.most_confused(_MOST_PAIRS)]
    if pairs:
        axes.text(0.5, -0.3, "most confused:\n" + "\n".join(pairs), transform=axes.transAxes, ha="center", va="top")
    if len(labels) > _MOST_NAMES:
        return
    size = min(10.0, 240 / len(labels))  # points
    places = range(len(labels))
    axes.set_xticks(places, labels, rotation=90 if max(map(len, labels)) > 2 else 0, fontsize=size)
    axes.set_yticks(places, labels, fontsize=size)
    if len(labels) > _MOST_COUNTS:
        return
    for (i, j), count in np.ndenumerate(confusion.counts):
        if count:
            color = "white" if shares[i, j] > 0.5 else "black"
            axes.text(j, i, f"{count:,}", ha="center", va="center", color=color, fontsize=size)


def _short(label: str) -> str:
    """Shortened, and without `$`, which would begin a formula."""
    label = escaped(label)
    return (label if len(label) <= _LONGEST else f"{label[:_LONGEST]}…").replace("$", r"\$")
