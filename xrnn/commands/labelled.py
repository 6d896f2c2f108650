"""What `xrnn classify` and `xrnn regress` share: their arguments, a run, and the baseline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer

from xrnn.commands.options import TableOptions, TrainingOptions, path, selected
from xrnn.commands.pictures import Draw
from xrnn.commands.series import load
from xrnn.commands.training import Results, Run
from xrnn.series import Classifier, Regressor

TrainArgument = Annotated[
    Path | None,
    typer.Argument(
        parser=path,
        metavar="TRAIN",
        help="Series to train on: a .ts file, a table (.csv, .xlsx, .parquet) with --id and --label, or a folder of "
        "labels or numbers, with tables and .npy files. Default for classify: JapaneseVowels, from aeon.",
    ),
]
TestArgument = Annotated[
    Path | None,
    typer.Argument(parser=path, metavar="TEST", help="Series to test on. Default: a quarter of TRAIN."),
]
_BASELINE: Final = "convolutions"  # the kind of model that is trained and tested beside another one


def train_and_test(
    estimator: Classifier | Regressor,
    paths: tuple[Path | None, Path | None],
    table: TableOptions,
    options: TrainingOptions,
    default: str,
    report: Callable[..., tuple[Results, Draw]],
) -> int:
    """Train on TRAIN, save, and test on TEST → the exit status.

    default   the name of the checkpoint
    report    estimator, the targets of the test series, the predictions of the model and of the baseline, if there is
              one, and a function that prints → the results for JSON, and the picture
    """
    selection, run = selected(options.backend), Run(options, default, [each for each in paths if each])
    numbers = isinstance(estimator, Regressor)
    data = load(*paths, table.given, estimator.check_params().seed, numbers=numbers)
    estimator.reading_ = table.given
    labels, truth = [each.label for each in data.train], np.array([each.label for each in data.test])
    if status := run.fit(estimator, lambda: estimator.fit(data.train, labels), data.source, selection):
        return status
    say = run.terminal.say
    predicted, baseline, advice = estimator.predict(data.test), None, None
    if estimator.model != _BASELINE:
        baseline = type(estimator)(model=_BASELINE, seed=estimator.seed).fit(data.train, labels).predict(data.test)
    results, draw = report(estimator, truth, predicted, baseline, say)
    if baseline is not None:
        errors, others = (np.abs(truth - each) if numbers else 1.0 * (truth != each) for each in (predicted, baseline))
        better = errors - others
        mean, scatter = float(better.mean()), 2 * float(better.std()) / len(better) ** 0.5
        if mean > scatter:  # two standard errors of the difference
            advice = (
                f"the baseline is better by {mean:.3g} ± {scatter:.2g} in "
                f"{'mean absolute error' if numbers else 'accuracy'}: --model {_BASELINE} trains and saves it"
            )
        results["baseline"]["ahead"] = advice is not None
    return run.finish(results | {"series": len(truth), "steps": len(estimator.losses_)}, draw, advice)
