"""`xrnn classify`: train a classifier of series, and test it on others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from xrnn.commands.labelled import Report, TestArgument, TrainArgument, train_and_test
from xrnn.commands.options import BackendOption, RunOptions, TableOptions, with_options
from xrnn.commands.output import Results, Run, escaped, in_picture, table
from xrnn.commands.trust import FEW, error_of_units
from xrnn.series import Classifier
from xrnn.series.labelled.splits import units_of
from xrnn.series.one_series import Series
from xrnn.typing import HostArray

_MOST_NAMES: Final = 30  # with more labels, the names and counts would overlap in the picture, and are left out


@with_options
def classify(
    train: TrainArgument = None,
    test: TestArgument = None,
    *,
    classifier: Classifier,
    table: TableOptions,
    backend: BackendOption = None,
    options: RunOptions,
) -> int:
    """Train a classifier of time series of any length, then test it on others.

    It writes classifier.safetensors and classifier.png. If the training is interrupted, it saves the model so far.
    """
    run = Run(options, "classifier.safetensors", (train, test))
    return train_and_test(classifier, (train, test), table, backend, run, report_labels)


def report_labels(
    classifier: Classifier, test: Sequence[Series], predicted: HostArray, baseline: HostArray | None
) -> Report:
    """The scores, the same for JSON, and the picture.

    test        series with their labels;   predicted   (n,): the labels of the model
    baseline    (n,): those of another kind of model, if it was trained
    """
    truth = np.array([one.label for one in test])
    names: list[str] = classifier.classes_.tolist()
    counts = np.zeros((len(names), len(names)), np.int64)  # [i, j]: series with label i that were predicted as j
    for true, label in zip(truth.tolist(), predicted.tolist(), strict=True):
        counts[names.index(true), names.index(label)] += 1
    series = counts.sum(axis=1)
    right = counts.diagonal()
    said = counts.sum(axis=0)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: a label without test series, or that was never predicted
        recall, precision, f1 = right / series, right / said, 2 * right / (series + said)
    n = len(truth)
    correct = int(right.sum())
    results: Results = {
        "accuracy": correct / n,
        "balanced_accuracy": float(np.nanmean(recall)),
        "macro_f1": float(np.nanmean(f1)),
        "right": correct,
    }
    error = error_of_units((predicted == truth).tolist(), units_of(test))
    few = f", standard error {error:.2f}" if len(units_of(test)) < FEW else ""
    lines = [f"accuracy: {_share(correct, n)}{few}"]
    if baseline is not None:
        hits = int((baseline == truth).sum())
        lines.append(f"baseline (ridge on convolutions): {_share(hits, n)}")
        results["baseline"] = {"accuracy": hits / n, "right": hits}
    lines += [f"balanced accuracy: {results['balanced_accuracy']:.3f}", f"macro F1: {results['macro_f1']:.3f}"]
    rows = [["label", "series", "right", "recall", "precision"]]
    results["labels"] = {}
    for name, of, hits, *shares in zip(names, series.tolist(), right.tolist(), recall, precision, strict=True):
        known = [None if np.isnan(share) else float(share) for share in shares]
        results["labels"][name] = {"series": of, "right": hits, "recall": known[0], "precision": known[1]}
        cells = ("-" if share is None else f"{share:.3f}" for share in known)
        rows.append([escaped(name)[:40], f"{of:,}", f"{hits:,}", *cells])
    return [*lines, table(*rows)], results, lambda figure: draw_confusion(figure, names, counts)


def _share(right: int, n: int) -> str:
    return f"{right / n:.3f} ({right:,} of {n:,})"


def draw_confusion(figure: Any, labels: Sequence[str], counts: HostArray) -> None:
    """The confusion matrix.

    counts   [i, j]: the number of series with label i that were predicted as j
    """
    side = min(max(4.6, 0.3 * len(labels)), 11)  # inches
    figure.set_size_inches(1.2 * side, side)
    shares = counts / np.maximum(counts.sum(axis=1), 1)[:, None]
    axes = figure.add_subplot()
    figure.colorbar(axes.imshow(shares, cmap="Blues", vmin=0, vmax=1), ax=axes, label="share of the row")
    axes.set(xlabel="predicted", ylabel="true", title=f"accuracy {_share(counts.trace(), counts.sum())}")
    if len(labels) > _MOST_NAMES:
        return
    names = [in_picture(label)[:16] for label in labels]
    axes.set_xticks(range(len(names)), names, rotation=45)
    axes.set_yticks(range(len(names)), names)
    for (i, j), count in np.ndenumerate(counts):
        color = "white" if shares[i, j] > 0.5 else "black"
        axes.text(j, i, f"{count:,}" if count else "", ha="center", va="center", color=color)
