"""What `xrnn classify` and `xrnn regress` share: their arguments, a run, and the baseline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import numpy as np
import typer

from xrnn.commands.options import RunOptions, TableOptions, path
from xrnn.commands.pictures import Picture
from xrnn.commands.series import load
from xrnn.commands.training import Run
from xrnn.series import Classifier, Regressor
from xrnn.typing import HostArray

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
_BASELINE: Final = "convolutions"  # the kind of model


class Tested(NamedTuple):
    """The labels or numbers of the test series, and what the model and the baseline predict for them, (n,) each.

    baseline   None if the model is of the kind of the baseline
    """

    truth: HostArray
    predicted: HostArray
    baseline: HostArray | None


class Report(NamedTuple):
    """The results for JSON, the picture, and the errors of the model and of the baseline: their name, and (n,) each."""

    results: dict[str, Any]
    picture: Picture
    measure: str
    error: HostArray
    of_baseline: HostArray | None


E_ = TypeVar("E_", Classifier, Regressor)


def train_and_test(
    estimator: E_,
    paths: tuple[Path | None, Path | None],
    table: TableOptions,
    options: RunOptions,
    default: str,
    report: Callable[[E_, Tested, Callable[[Any], None]], Report],
) -> int:
    """Train on TRAIN, save, and test on TEST → the exit status.

    paths   TRAIN and TEST;   default: the name of the checkpoint;   report: prints the results of a test
    """
    run = Run(options, default, [each for each in paths if each])
    numbers = isinstance(estimator, Regressor)
    data = load(*paths, table.given, estimator.check_params().seed, numbers=numbers)
    estimator.reading_ = table.given
    labels, truth = ([each.label for each in part] for part in (data.train, data.test))
    if status := run.fit(estimator, lambda: estimator.fit(data.train, labels), [data.source]):
        return status
    say = run.terminal.result
    if losses := estimator.validation_losses_:
        say(f"best epoch: {losses.index(min(losses)) + 1:,} (validation loss {min(losses):.3f})")
    others: HostArray | None = None
    if estimator.model != _BASELINE:
        others = type(estimator)(model=_BASELINE, seed=estimator.seed).fit(data.train, labels).predict(data.test)
    results, picture, measure, error, of_baseline = report(
        estimator, Tested(np.array(truth), estimator.predict(data.test), others), say
    )
    advice = None if of_baseline is None else _ahead(error, of_baseline, measure)
    if of_baseline is not None:
        results["baseline"]["ahead"] = advice is not None
    return run.finish(results | {"series": len(truth)}, picture, advice=advice)


def _ahead(model: HostArray, baseline: HostArray, measure: str) -> str | None:
    """A line that recommends the baseline if it is better by more than two standard errors of the difference."""
    better = model.astype(float) - baseline
    mean, scatter = float(better.mean()), 2 * float(better.std()) / len(better) ** 0.5
    if mean <= scatter:
        return None
    return f"the baseline is better by {mean:.3g} ± {scatter:.2g} in {measure}: --model {_BASELINE} trains and saves it"
