"""The picture of a classifier: the losses of its training, its confusion matrix, and the most confused labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from xrnn.commands.curves import draw_training
from xrnn.commands.picture import Picture
from xrnn.models.data.series import escaped
from xrnn.models.labelled.confusion import Confusion
from xrnn.models.labelled.trainer import SeriesTrainer

_MOST_COUNTS: Final = 30  # with more labels, the cells show no counts, which would overlap
_MOST_NAMES: Final = 60  # with more labels, the axes show no names
_MOST_PAIRS: Final = 5
_LONGEST: Final = 16  # characters of a label


def confusion_picture(trainer: SeriesTrainer[Any], labels: Sequence[str], confusion: Confusion) -> Picture:
    """The losses of all updates beside the confusion matrix. The picture grows with the number of labels."""
    side = min(4.6 + 0.13 * max(0, len(labels) - 10), 11.0)  # inches

    def draw(figure: Any) -> None:
        axes = figure.subplot_mosaic([["losses", "matrix"], ["pairs", "matrix"]], height_ratios=(4, 1.6))
        names = [_short(label) for label in labels]
        draw_training(axes["losses"], trainer, "nats per series")
        _draw_confusion(figure, axes["matrix"], names, confusion)
        _write_pairs(axes["pairs"], names, confusion)

    return Picture((2.4 * side, side), draw)


def _draw_confusion(figure: Any, axes: Any, labels: Sequence[str], confusion: Confusion) -> None:
    shares = confusion.counts / np.maximum(confusion.support, 1)[:, None]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the row")
    axes.set(xlabel="predicted", ylabel="true", title=f"accuracy {confusion}")
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


def _write_pairs(axes: Any, labels: Sequence[str], confusion: Confusion) -> None:
    axes.axis("off")
    pairs = confusion.most_confused(_MOST_PAIRS)
    lines = [f"{count:,} × {labels[i]} predicted as {labels[j]}" for i, j, count in pairs]
    axes.text(0, 1, "\n".join(["most confused:", *lines] if lines else ["no series confused"]), va="top")


def _short(label: str) -> str:
    """The label, shortened, with `$` escaped: Matplotlib would read a formula."""
    label = escaped(label)
    return (label if len(label) <= _LONGEST else f"{label[:_LONGEST]}…").replace("$", r"\$")
