"""How far the score of a classifier can be trusted: its standard error, the largest label, and the confused series."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from xrnn.commands.output import Results, escaped
from xrnn.files import printable
from xrnn.series import Classifier
from xrnn.series.labelled.splits import parts_of, units_of
from xrnn.series.one_series import Series
from xrnn.series.progress import each_of
from xrnn.typing import HostArray

FEW: Final = 100  # tested series, or groups: with fewer, the report has the standard error
_FEW_IN_ALL: Final = 400  # series without a TEST: with fewer, each one is tested by a model that has not learnt from it
_NUMBERS: Final = ("no", "one", "two", "three", "four", "five")
_MOST_NAMES: Final = 10  # of confused series in the report; --json has all


class Answers(NamedTuple):
    """What classifiers say about series that they have not learnt from.

    p           (n, K): the probabilities of `labels`
    part_count  number of parts that were left out, one by each classifier; 0: the answers are those of one classifier
    untested    number of series in no part, since no other unit, see `units_of`, has their label
    """

    series: Sequence[Series]
    p: HostArray
    labels: Sequence[str]
    part_count: int = 0
    untested: int = 0

    @property
    def predicted(self) -> list[str]:
        return [self.labels[i] for i in self.p.argmax(axis=1)]

    @property
    def right(self) -> int:
        return sum(self.is_right)

    @property
    def is_right(self) -> list[bool]:
        return [each.label == label for each, label in zip(self.series, self.predicted, strict=True)]

    @property
    def units(self) -> list[list[int]]:
        return units_of(self.series)

    @property
    def has_groups(self) -> bool:
        return len(self.units) < len(self.series)

    @property
    def error(self) -> float:
        """The standard error of the accuracy."""
        return error_of_units(self.is_right, self.units)


def answers_of(classifier: Classifier, series: Sequence[Series]) -> Answers:
    return Answers(series, classifier.predict_proba(list(series)), classifier.classes_.tolist())


def in_parts(classifier: Classifier, series: Sequence[Series]) -> Answers | None:
    """The answers about each of few series, from models of the same kind that leave out its part of the series.

    None for many series, and for recurrent models, whose training takes long. A series or a group that is alone with
    its label is in no part.
    """
    if len(series) >= _FEW_IN_ALL or classifier.model_ == "recurrent":
        return None
    tested: list[Series] = []
    rows: list[HostArray] = []
    labels = classifier.classes_.tolist()
    parts = parts_of(series, classifier.seed)

    def leave_out(part: HostArray) -> None:
        rest = [series[i] for i in np.setdiff1d(np.arange(len(series)), part)]
        given: dict[str, Any] = {"model": classifier.model_, "window": classifier.window_, "seed": classifier.seed}
        model = Classifier(**given, class_weight=classifier.class_weight).fit(rest, [one.label for one in rest])
        left = [series[i] for i in part]
        p = np.zeros((len(left), len(labels)))
        p[:, [labels.index(label) for label in model.classes_.tolist()]] = model.predict_proba(left)
        tested.extend(left)
        rows.append(p)

    each_of(parts, "tests of each series", leave_out)
    if not tested:
        return None
    return Answers(tested, np.concatenate(rows), labels, len(parts), len(series) - len(tested))


def standard_error(right: int, n: int) -> float:
    """The standard error of right / n, with two more of each (Agresti & Coull, 1998): it is not 0 if all are right."""
    p = (right + 2) / (n + 4)
    return math.sqrt(p * (1 - p) / (n + 4))


def error_of_units(is_right: Sequence[bool], units: Sequence[Sequence[int]]) -> float:
    """The standard error of the accuracy, if the series of a unit are right or wrong together (Liang & Zeger, 1986).

    It is never below that of single series.
    """
    n = len(is_right)
    right = sum(is_right)
    of_series = standard_error(right, n)
    if len(units) in (n, 1):
        return of_series
    sums = [sum(is_right[i] - right / n for i in unit) for unit in units]
    of_units = math.sqrt(sum(each**2 for each in sums) * len(units) / (len(units) - 1)) / n
    return max(of_series, of_units)


def report(tested: Answers, parts: Answers | None, *, chosen: bool = False) -> tuple[list[str], Results]:
    """Lines beside the accuracy on TEST, and the same for JSON.

    parts    from `in_parts`
    chosen   True: the kind of the model was chosen by its answers about the series of the parts
    """
    lines: list[str] = []
    results: Results = {
        "standard_error": tested.error,
        "wrong": _confused(tested),
    }
    wrong = results["wrong"]
    where = ""
    if parts:
        n = len(parts.series)
        right = parts.right
        wrong = _confused(parts)
        where = " in the parts"
        error = parts.error
        results["in_parts"] = {
            "accuracy": right / n,
            "right": right,
            "series": n,
            "standard_error": error,
            "parts": parts.part_count,
            "kind_was_chosen_by_them": chosen,
            "wrong": wrong,
        }
        of = f"{n:,} of {n + parts.untested:,}" if parts.untested else "all"
        found = f"accuracy {right / n:.3f} ({right:,} of {n:,}), standard error {error:.2f}"
        left_out = "each left out with its group" if parts.has_groups else "each left out"
        lines.append(f"{of} series, {left_out} in one of {_NUMBERS[parts.part_count]} parts: {found}")
        if parts.untested:
            other = "group" if parts.has_groups else "series"
            lines.append(f"no test is possible for {parts.untested:,} series: no other {other} has their label")
        if chosen:
            lines.append("the kind of model was chosen on these series too, so their score may be a little too high")
    beside, results["largest_label"] = _beside_largest(parts or tested)
    shown = []
    for each in wrong[:_MOST_NAMES]:
        name = each["name"]
        label = escaped(each["label"])
        predicted = escaped(each["predicted"])
        shown.append(f"  {name} is {label}: {predicted} {each['probability']:.3f}")
    if wrong:
        more = f", the surest {_MOST_NAMES}" if len(wrong) > _MOST_NAMES else ""
        shown.insert(0, f"wrong{where}, with the probability of the wrong label{more}:")
    return [*lines, *beside, *shown], results


def _beside_largest(tested: Answers) -> tuple[list[str], Results]:
    """A line if the answers are wrong nearly as often as the largest label would be."""
    labels = [one.label for one in tested.series]
    name = max(tested.labels, key=labels.count)
    n = len(labels)
    share = labels.count(name) / len(labels)
    ahead = tested.right / n - share
    error = tested.error
    results = {"label": name, "share": share, "ahead": ahead, "is_clear": ahead > 2 * error}
    # If the tested series have one label, or all answers are right, no model could be better.
    if ahead > 2 * error or share == 1 or tested.right == n:
        return [], results
    largest = f"the largest label ({escaped(name)}, {share:.0%} of the series)"
    if ahead <= 0:
        return [f"no better than {largest}: the model has learnt nothing that holds for new series"], results
    return [f"not clearly better than {largest}: within two standard errors; add series"], results


def _confused(tested: Answers) -> list[dict[str, Any]]:
    """The series with a wrong label, the surest first."""
    answers = zip(tested.series, tested.predicted, tested.p.max(axis=1).tolist(), strict=True)
    wrong = [
        {"name": printable(each.name), "label": each.label, "predicted": label, "probability": round(p, 6)}
        for each, label, p in answers
        if label != each.label
    ]
    return sorted(wrong, key=lambda each: -each["probability"])
