"""What `xrnn classify` and `xrnn regress` share: their arguments, a run, and the baseline."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import numpy as np
import typer

from xrnn.commands.options import TableOptions, columns_of, path, selected
from xrnn.commands.output import Draw, Results, Run, span, to_stderr
from xrnn.commands.progress import TrainingProgress
from xrnn.files import printable, quoted
from xrnn.info import selection_lines
from xrnn.select import use_backend
from xrnn.series import Regressor
from xrnn.series.checks import LARGEST, DataError, Series, as_number, escaped, param
from xrnn.series.labelled.base import TEST, classes_of, hold_out
from xrnn.series.read import check_channels, read_path
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

_DEFAULT: Final = "datasets/data/JapaneseVowels/JapaneseVowels_{}.ts"


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


class Labelled(NamedTuple):
    """Series with the same channels; their labels are text, or numbers.   source: a line about them"""

    train: list[Series]
    test: list[Series]
    source: str


def load(train: Path | None, test: Path | None, given: Mapping[str, str], seed: int, *, numbers: bool) -> Labelled:
    """The series of TRAIN and TEST.

    If no path is given, a classifier uses JapaneseVowels, from the package aeon. Without TEST, a quarter of each group
    of series is held out for the test: of each label, or of all to regress on. The seed decides which series.

    Raises DataError if a file can't be read, if series have different channels, if there are too few, or if a label or
    target of TEST does not fit TRAIN.
    """
    paths = [each for each in (train, test) if each] or _default_paths()
    columns = columns_of(given, numbers=numbers)
    trained, *others = [[_labelled(each, numbers) for each in read_path(path, columns)] for path in paths]
    D = check_channels([*trained, *itertools.chain(*others)])
    labels = None if numbers else classes_of([each.label for each in trained], by_number=True)
    tested = others[0] if others else []
    if not others:
        trained, tested = hold_out(trained, TEST, seed)
    if not tested:
        raise DataError(
            f"{paths[0]} has too few series to hold out some: expected at least two of a label; add some, or name a "
            "TEST"
        )
    if others and {_content(each) for each in tested} <= {_content(each) for each in trained}:
        raise DataError(
            f"{paths[1]} has only series that {paths[0]} has too: expected series that the model has not seen; name "
            "another TEST, or leave it out to hold out a part of TRAIN"
        )
    if strange := [each for each in tested if labels and each.label not in labels]:
        raise DataError(
            f"{printable(strange[0].name)} has the label {quoted(escaped(strange[0].label))}: expected one that TRAIN "
            f"has, {', '.join(map(escaped, labels or ()))[:200]}; leave the series out, or add some to TRAIN"
        )
    names = next((f" ({', '.join(each.channel_names)})" for each in trained if each.channel_names), "")
    source = (
        f"series: {len(trained):,} to train on, {len(tested):,} to test on{', held out' * (not others)}; {D} "
        f"channel{'s' * (D > 1)}{names}, {span([len(each.values) for each in trained + tested])} steps"
    )
    return Labelled(trained, tested, source)


def _content(series: Series) -> tuple[Any, ...]:
    """Equal for two series with the same label and values."""
    return series.label, series.values.shape, series.values.tobytes()


def _labelled(series: Series, numbers: bool) -> Series:
    """The series with its label, or with the number to predict.   Raises DataError if it has none."""
    if series.label is None:
        raise DataError(
            f"{printable(series.name)} has no label: expected one for each series; name a .ts file with labels, a "
            f"folder of labels, or a table with {param('id')} and {param('label')}"
        )
    if not numbers:
        return series
    number = as_number(series.label)
    if number is None or abs(number) > LARGEST:
        raise DataError(
            f"{printable(series.name)} has the target {quoted(str(series.label))!r}: expected a number up to "
            f"{LARGEST:g}; correct it, or leave the series out"
        )
    return replace(series, label=number)


def _default_paths() -> list[Path]:
    """The paths of JapaneseVowels in the installed package aeon, which is not imported.   Raises DataError."""
    aeon = importlib.util.find_spec("aeon")
    paths = [Path(str(aeon.origin)).parent / _DEFAULT.format(part) for part in ("TRAIN", "TEST")] if aeon else []
    if not paths or not all(path.is_file() for path in paths):
        raise DataError(
            "got no path, and JapaneseVowels, the default, comes with the package aeon, which is not installed: "
            "expected TRAIN, or `pip install --no-deps aeon` (its dependencies are large, and not needed)"
        )
    return paths
