"""What `xrnn classify` and `xrnn regress` share: their arguments, the training, the test, and the baseline."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import numpy as np

from xrnn.arrays.select import use_backend
from xrnn.commands import trust
from xrnn.commands.options import TableOptions, argument, selected
from xrnn.commands.output import Draw, Results, Run, counted, escaped, span, to_stderr
from xrnn.commands.progress import TrainingProgress
from xrnn.files import printable, quoted
from xrnn.info import selection_lines
from xrnn.series import Classifier, Regressor
from xrnn.series.errors import DataError, param
from xrnn.series.labelled.base import channels_like_times, steady
from xrnn.series.labelled.splits import TEST, classes_of, hold_out, units_of
from xrnn.series.one_series import LARGEST, Series, check_channels
from xrnn.series.reading.files import read_path
from xrnn.series.reading.numbers import as_number
from xrnn.typing import HostArray

Report: TypeAlias = tuple[list[str], Results, Draw]  # lines to print, the same for JSON, the picture

TrainArgument = Annotated[
    Path | None,
    argument(
        "TRAIN",
        "Series to train on: a .ts file, a table (.csv, .txt, .xlsx, .parquet) with --id and --label, or a folder that "
        "has a folder of tables and .npy files for each label or number, which may be in folders of groups in turn. "
        "Default of classify: JapaneseVowels, from the package aeon.",
    ),
]
TestArgument = Annotated[Path | None, argument("TEST", "Series to test on. Default: a quarter of TRAIN.")]

_BASELINE: Final = "convolutions"  # the kind of model that is trained and tested beside another one
_DEFAULT: Final = "datasets/data/JapaneseVowels/JapaneseVowels_{}.ts"  # in the package aeon


def train_and_test(
    estimator: Any,
    paths: Sequence[Path | None],
    table: TableOptions,
    backend: str | None,
    run: Run,
    report: Callable[[Any, Sequence[Series], HostArray, HostArray | None], Report],
) -> int:
    """Train on TRAIN, save, and test on TEST → the exit status.

    paths    TRAIN and TEST
    report   a function of the estimator, the series of TEST, the predictions, and those of the baseline, if it ran
    """
    selection = selected(backend)
    numbers = isinstance(estimator, Regressor)
    train, test, about = read_series(paths, table, estimator.check_params().seed, numbers=numbers)
    run.say(*selection_lines(selection), about)
    labels = [one.label for one in train]
    truth = np.array([one.label for one in test])
    estimator.reading_ = table.kept(train)
    progress = TrainingProgress(run)
    estimator.watcher = progress
    with use_backend(selection.backend):
        estimator.fit(train, labels)
    run.save(estimator)
    if progress.status:
        to_stderr(f"stopped: {run.out} holds the model so far")
        return progress.status
    predicted = estimator.predict(test)
    baseline = None
    advice = ""
    if estimator.model_ != _BASELINE and not estimator.compared_:
        other = type(estimator)(model=_BASELINE, window=estimator.window_, seed=estimator.seed)
        baseline = other.fit(train, labels).predict(test)
    lines, results, draw = report(estimator, test, predicted, baseline)
    run.say(*lines)
    if isinstance(estimator, Classifier):
        is_held_out = sum(map(bool, paths)) == 1
        parts = trust.in_parts(estimator, [*train, *test]) if is_held_out else None
        more, of_trust = trust.report(trust.answers_of(estimator, test), parts, chosen=len(estimator.compared_) > 1)
        run.say(*more)
        results |= of_trust
        if is_held_out:
            results["held_out"] = [printable(one.name) for one in test]
    if baseline is not None:
        errors, others = (
            np.abs(truth - outputs) if numbers else 1.0 * (truth != outputs) for outputs in (predicted, baseline)
        )
        advice = _advice(errors - others, "mean absolute error" if numbers else "accuracy")
        results["baseline"]["ahead"] = bool(advice)
    if estimator.compared_:
        results |= {"compared": estimator.compared_}
        if estimator.model_ != "recurrent":
            advice = "--stream of `xrnn predict` runs this model, `xrnn convert` doesn't: for C, train with --one-way"
    run.finish(
        results
        | {
            "model": estimator.model_,
            "window": estimator.window_,
            "series": len(truth),
            "steps": len(estimator.losses_),
        },
        draw,
    )
    run.say(advice)
    return 0


def read_series(
    paths: Sequence[Path | None], table: TableOptions, seed: int, *, numbers: bool
) -> tuple[list[Series], list[Series], str]:
    """The series to train on and to test on, with the same channels, and a line about them.

    Without TRAIN, they are the series of JapaneseVowels. Without TEST, a quarter of the series of each label, or of all
    series to regress on, is held out and tested on. Series of one group stay together. The seed decides which series.

    paths     TRAIN and TEST
    numbers   False: the labels are text

    Raises DataError if a file can't be read, if series have different channels, if there are too few, or if a label or
    target of TEST does not fit TRAIN.
    """
    used = [path for path in paths if path] or _default_paths()
    columns = replace(table.columns(), targets=numbers)
    train, *others = [[_labelled(each, numbers) for each in read_path(path, columns)] for path in used]
    D = check_channels([*train, *itertools.chain(*others)])
    if like_times := channels_like_times(train):
        to_stderr(f"{steady(like_times)} by --skip-columns {quoted(','.join(like_times))}")
    labels = None if numbers else classes_of([one.label for one in train], by_number=True)
    has_groups = any(one.group is not None for one in train)
    if others:
        test = others[0]
        _check_test(train, test, labels, used)
        _note_groups(train, test)
    else:
        train, test = hold_out(train, TEST, seed)
    if not test:
        what = "groups" if has_groups else "series"
        raise DataError(
            f"{used[0]} has too few {what} to hold out some; add {what}, so that a label has two, or name a TEST"
        )
    names = next((f" ({', '.join(one.channel_names)})" for one in train if one.channel_names), "")
    held_out = "" if others else ", held out"
    if has_groups:
        counts = f"{len(units_of(train)):,}" + ("" if others else f" and {len(units_of(test)):,}")
        held_out += f"; {counts} groups, which stay together"
    about = (
        f"series: {len(train):,} to train on, {len(test):,} to test on{held_out}; "
        f"{counted(D, 'channel')}{names}, {span([len(one.values) for one in train + test])} steps"
    )
    return train, test, about


def _default_paths() -> list[Path]:
    """The paths of JapaneseVowels in the installed package aeon, which is not imported.   Raises DataError."""
    aeon = importlib.util.find_spec("aeon")
    paths = [Path(str(aeon.origin)).parent / _DEFAULT.format(part) for part in ("TRAIN", "TEST")] if aeon else []
    if not paths or not all(path.is_file() for path in paths):
        raise DataError(
            "got no path, and JapaneseVowels, the default, comes with the package aeon, which is not installed; "
            "name TRAIN, or run `pip install --no-deps aeon` (its dependencies are large, and not needed)"
        )
    return paths


def _labelled(series: Series, numbers: bool) -> Series:
    """The series with its label, or with the number to predict.   Raises DataError if it has none."""
    if series.label is None:
        raise DataError(
            f"{printable(series.name)} has no label; name a .ts file with labels, a "
            f"folder of labels, or a table with {param('id')} and {param('label')}"
        )
    if not numbers:
        return series
    number = as_number(series.label)
    if number is None or abs(number) > LARGEST:
        raise DataError(
            f"{printable(series.name)} has the target {quoted(str(series.label))!r}, which is no number up to "
            f"{LARGEST:g}; correct it, or leave the series out"
        )
    return replace(series, label=number)


def _check_test(train: list[Series], test: list[Series], labels: list[Any] | None, paths: Sequence[Path]) -> None:
    """Raises DataError if all series of TEST are in TRAIN too, or if one has a label that TRAIN has not."""

    def content(series: Series) -> tuple[Any, ...]:
        return series.label, series.values.shape, series.values.tobytes()

    if {*map(content, test)} <= {*map(content, train)}:
        raise DataError(
            f"{paths[1]} has only series that {paths[0]} has too; the model has already seen these: name "
            "another TEST, or leave it out to hold out a part of TRAIN"
        )
    if strange := [one for one in test if labels and one.label not in labels]:
        raise DataError(
            f"{printable(strange[0].name)} has the label {quoted(escaped(strange[0].label))}, but TRAIN has only "
            f"{', '.join(map(escaped, labels or ()))[:200]}; leave the series out, or add some to TRAIN"
        )


def _note_groups(train: list[Series], test: list[Series]) -> None:
    """A line about groups that are in TRAIN and in TEST."""
    both = {one.group for one in train} & {one.group for one in test} - {None}
    if both:
        names = quoted(", ".join(sorted(map(str, both))))
        got = f"{counted(len(both), 'group')} of TEST {'is' if len(both) == 1 else 'are'} in TRAIN too ({names})"
        to_stderr(f"{got}: the score may be too high for new groups; leave TEST out to hold out groups")


def _advice(better: HostArray, score: str) -> str:
    """A line if the baseline is better by more than two standard errors; else empty.

    better   by how much the baseline is better, for each series
    """
    # Adds two differences, plus and minus the typical size: without them, a few equal ones have a scatter of 0.
    size = np.sqrt(np.square(better).mean())
    mean = better.mean()
    scatter = 2 * np.append(better, [size, -size]).std() / len(better) ** 0.5
    advice = f"the baseline is better by {mean:.3g} ± {scatter:.2g} in {score}: --model {_BASELINE} trains and saves it"
    return advice if mean > scatter else ""
