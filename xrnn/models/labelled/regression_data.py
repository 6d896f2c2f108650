"""Series with a number to predict for each: the data of `xrnn regress`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from xrnn.files import printable, quoted
from xrnn.models.data.dataset import TEST, VALIDATION, Dataset, hold_out, read_series
from xrnn.models.data.series import LARGEST, Series, as_number
from xrnn.models.data.tables import Columns
from xrnn.models.errors import DataError
from xrnn.models.labelled.regression_checkpoint import Facts
from xrnn.typing import HostArray


@dataclass(frozen=True, slots=True, eq=False)
class SeriesWithTargets(Dataset):
    mean: float  # of the training targets
    deviation: float  # their standard deviation
    source: str = ""  # a description of the series, from `describe`

    @classmethod
    def of(cls, train: list[Series], test: list[Series], seed: int, *, validate: bool, name: str) -> Self:
        """With `validate`, a fifth of the training series is held out.   name: of the data, in errors"""
        validation: list[Series] = []
        if validate:
            train, validation = hold_out(train, [range(len(train))], VALIDATION, seed)
        if len(train) < 2 or (validate and not validation):
            raise DataError(
                f"{name} leaves {len(train)} series to train on: expected at least two, besides those held out to "
                "test on and to validate on; add some"
            )
        targets = numbers(train)
        mean, deviation = float(targets.mean()), float(targets.std())
        if deviation <= abs(mean) * 1e-12:
            raise DataError(f"{name} has the same target {targets[0]:g} for all series: expected different ones")
        return cls(train, test, validation, mean, deviation)

    @property
    def facts(self) -> Facts:
        """The properties that the model depends on."""
        return Facts(self.channels, self.mean, self.deviation, self.channel_names)

    @property
    def outputs(self) -> int:
        return 1

    def targets(self, series: Sequence[Series]) -> HostArray:
        """(target - mean) / deviation, (count,) float32."""
        return ((numbers(series) - self.mean) / self.deviation).astype(np.float32)


def numbers(series: Sequence[Series]) -> HostArray:
    """The targets, (count,) float64.   Raises DataError unless each label is a number between -1e30 and 1e30."""
    for each in series:
        number = None if each.label is None else as_number(each.label)
        if number is None or abs(number) > LARGEST:
            got = "no target" if each.label is None else f"the target {quoted(each.label)!r}"
            raise DataError(
                f"{printable(each.name)} has {got}: expected a number up to {LARGEST:g}; name a .ts file with "
                "@targetLabel, a .csv file with --id and --label, or folders named by numbers"
            )
    return np.array([float(each.label or "") for each in series])


def load_with_targets(
    paths: Sequence[Path],
    seed: int,
    columns: Columns = Columns(targets=True),  # noqa: B008 (frozen)
    *,
    validate: bool = False,
) -> SeriesWithTargets:
    """The series of TRAIN and TEST.

    Without TEST, a quarter of the series is held out for the test. With `validate`, a fifth of the remaining series is
    held out for validation. The seed decides which series.

    Raises DataError if a file can't be read, if series have different channels, or if there are too few.
    """
    if not paths:
        raise DataError("got no TRAIN: expected series with a number each; name a file or a folder")
    train, test = read_series(paths, columns)
    numbers(train + test)  # raises DataError
    held_out = not test
    if held_out:
        train, test = hold_out(train, [range(len(train))], TEST, seed)
    data = SeriesWithTargets.of(train, test, seed, validate=validate, name=str(paths[0]))
    targets = numbers(data.train)
    span = f"targets {targets.min():g} to {targets.max():g}"
    return replace(data, source=data.describe(span, held_out))
