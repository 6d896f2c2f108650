"""What `xrnn classify` and `xrnn regress` share: their arguments, a run, and the baseline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import numpy as np
import typer

from xrnn.commands.options import TableOptions, path, selected
from xrnn.commands.pictures import Draw
from xrnn.commands.progress import TrainingProgress
from xrnn.commands.series import load
from xrnn.commands.terminal import to_stderr
from xrnn.commands.training import Results, Run
from xrnn.info import selection_lines
from xrnn.select import use_backend
from xrnn.series import Regressor
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
_BASELINE: Final = "convolutions"  # the kind of model that is trained and tested beside another one


class Tested(NamedTuple):
    """A test: the targets of the series, the predictions, and those of the baseline, if there is one."""

    truth: HostArray
    predicted: HostArray
    baseline: HostArray | None


def train_and_test(
    estimator: Any,
    paths: tuple[Path | None, Path | None],
    table: TableOptions,
    backend: str | None,
    run: Run,
    report: Callable[[Any, Tested, Callable[[str], None]], tuple[Results, Draw]],
) -> int:
    """Train on TRAIN, save, and test on TEST → the exit status.

    report    estimator, the test, and a function that prints → the results for JSON, and the picture
    """
    selection, say = selected(backend), run.say
    numbers = isinstance(estimator, Regressor)
    data = load(*paths, table.given, estimator.check_params().seed, numbers=numbers)
    labels, truth = [each.label for each in data.train], np.array([each.label for each in data.test])
    for line in (*selection_lines(selection), data.source):
        say(line)
    estimator.reading_, estimator.watcher = table.given, (progress := TrainingProgress(run))
    with use_backend(selection.backend):
        estimator.fit(data.train, labels)
    run.save(estimator)
    if progress.status:
        to_stderr(f"stopped: {run.out} holds the model so far")
        return progress.status
    predicted, baseline, advice = estimator.predict(data.test), None, ""
    if estimator.model != _BASELINE:
        baseline = type(estimator)(model=_BASELINE, seed=estimator.seed).fit(data.train, labels).predict(data.test)
    results, draw = report(estimator, Tested(truth, predicted, baseline), say)
    if baseline is not None:
        errors, others = (np.abs(truth - each) if numbers else 1.0 * (truth != each) for each in (predicted, baseline))
        advice = _advice(errors - others, "mean absolute error" if numbers else "accuracy")
        results["baseline"]["ahead"] = bool(advice)
    run.finish(results | {"series": len(truth), "steps": len(estimator.losses_)}, draw)
    if advice:
        say(advice)
    return 0


def _advice(better: HostArray, score: str) -> str:
    """A line, if the mean of `better`, by how much the baseline is better, is above two standard errors; else empty."""
    # Two differences of typical size and both signs are added, so that a few equal ones don't have scatter 0.
    size = np.sqrt(np.square(better).mean())
    mean, scatter = better.mean(), 2 * np.append(better, [size, -size]).std() / len(better) ** 0.5
    advice = f"the baseline is better by {mean:.3g} ± {scatter:.2g} in {score}: --model {_BASELINE} trains and saves it"
    return advice if mean > scatter else ""
