"""`xrnn classify`: train a classifier of series, and test it on others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from xrnn.commands.labelled import TestArgument, TrainArgument, train_and_test
from xrnn.commands.options import TableOptions, TrainingOptions, with_options
from xrnn.commands.pictures import Draw, draw_confusion
from xrnn.commands.tables import table_with
from xrnn.commands.training import Results
from xrnn.series import Classifier
from xrnn.series.checks import escaped
from xrnn.typing import HostArray

_LONGEST: Final = 40  # characters of a label, in the table


@with_options
def classify(
    train: TrainArgument = None,
    test: TestArgument = None,
    *,
    classifier: Classifier,
    table: TableOptions,
    options: TrainingOptions,
) -> int:
    """Train a classifier of time series of any length, then test it on others.

    It writes classifier.safetensors and classifier.png. If the run is interrupted, it saves the model so far.
    """
    return train_and_test(classifier, (train, test), table, options, "classifier.safetensors", _report)


def _report(
    classifier: Classifier,
    truth: HostArray,
    predicted: HostArray,
    baseline: HostArray | None,
    say: Callable[[Any], None],
) -> tuple[Results, Draw]:
    names: list[str] = classifier.classes_.tolist()
    counts = np.zeros((len(names), len(names)), np.int64)  # [i, j]: series with label i that were predicted as j
    for true, label in zip(truth.tolist(), predicted.tolist(), strict=True):
        counts[names.index(true), names.index(label)] += 1
    series, right, said = counts.sum(axis=1), counts.diagonal(), counts.sum(axis=0)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: a label without test series, or that was never predicted
        recall, precision, f1 = right / series, right / said, 2 * right / (series + said)
    n, correct = len(truth), int(right.sum())
    results: Results = {
        "accuracy": correct / n,
        "balanced_accuracy": float(np.nanmean(recall)),
        "macro_f1": float(np.nanmean(f1)),
        "right": correct,
    }
    say(f"accuracy: {correct / n:.3f} ({correct:,} of {n:,})")
    if baseline is not None:
        hits = int((baseline == truth).sum())
        say(f"baseline (ridge on convolutions): {hits / n:.3f} ({hits:,} of {n:,})")
        results["baseline"] = {"accuracy": hits / n, "right": hits}
    say(f"balanced accuracy: {results['balanced_accuracy']:.3f}")
    say(f"macro F1: {results['macro_f1']:.3f}")
    never = [name for name, of, as_ in zip(names, series, said, strict=True) if of and not as_]
    if never:
        hint = "" if classifier.balance else "; if such series are rare, try --balance"
        say(f"never predicted: {', '.join(map(escaped, never))}{hint}")
    shown = table_with("label", "series", "right", "recall", "precision", max_width=_LONGEST)
    by_label: dict[str, Any] = {}
    for name, of, hits, *shares in zip(names, series.tolist(), right.tolist(), recall, precision, strict=True):
        known = [None if np.isnan(share) else float(share) for share in shares]
        by_label[name] = {"series": of, "right": hits, "recall": known[0], "precision": known[1]}
        cells = ("-" if share is None else f"{share:.3f}" for share in known)
        shown.add_row(escaped(name), f"{of:,}", f"{hits:,}", *cells)
    say(shown)
    results |= {"labels": by_label, "never_predicted": never}
    return results, lambda figure: draw_confusion(figure, names, counts)
