"""`xrnn classify`: train a classifier of series, and test it on others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xrnn.commands.labelled import TestArgument, Tested, TrainArgument, train_and_test
from xrnn.commands.options import BackendOption, RunOptions, TableOptions, with_options
from xrnn.commands.pictures import Draw, draw_confusion
from xrnn.commands.terminal import table
from xrnn.commands.training import Results, Run
from xrnn.series import Classifier
from xrnn.series.checks import escaped


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
    run = Run(options, "classifier.safetensors", [each for each in (train, test) if each])
    return train_and_test(classifier, (train, test), table, backend, run, _report)


def _report(classifier: Classifier, tested: Tested, say: Callable[[str], None]) -> tuple[Results, Draw]:
    names: list[str] = classifier.classes_.tolist()
    counts = np.zeros((len(names), len(names)), np.int64)  # [i, j]: series with label i that were predicted as j
    for true, label in zip(tested.truth.tolist(), tested.predicted.tolist(), strict=True):
        counts[names.index(true), names.index(label)] += 1
    series, right, said = counts.sum(axis=1), counts.diagonal(), counts.sum(axis=0)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: a label without test series, or that was never predicted
        recall, precision, f1 = right / series, right / said, 2 * right / (series + said)
    n, correct = len(tested.truth), int(right.sum())
    results: Results = {
        "accuracy": correct / n,
        "balanced_accuracy": float(np.nanmean(recall)),
        "macro_f1": float(np.nanmean(f1)),
        "right": correct,
    }
    say(f"accuracy: {correct / n:.3f} ({correct:,} of {n:,})")
    if tested.baseline is not None:
        hits = int((tested.baseline == tested.truth).sum())
        say(f"baseline (ridge on convolutions): {hits / n:.3f} ({hits:,} of {n:,})")
        results["baseline"] = {"accuracy": hits / n, "right": hits}
    say(f"balanced accuracy: {results['balanced_accuracy']:.3f}")
    say(f"macro F1: {results['macro_f1']:.3f}")
    by_label: dict[str, Any] = {}
    rows = [["label", "series", "right", "recall", "precision"]]
    for name, of, hits, *shares in zip(names, series.tolist(), right.tolist(), recall, precision, strict=True):
        known = [None if np.isnan(share) else float(share) for share in shares]
        by_label[name] = {"series": of, "right": hits, "recall": known[0], "precision": known[1]}
        cells = ("-" if share is None else f"{share:.3f}" for share in known)
        rows.append([escaped(name)[:40], f"{of:,}", f"{hits:,}", *cells])
    say(table(*rows))
    return results | {"labels": by_label}, lambda figure: draw_confusion(figure, names, counts)
