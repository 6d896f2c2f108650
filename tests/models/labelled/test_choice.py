"""The choice of the number of steps in a patch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.errors import one_line
from tests.models.labelled.tiny import TINY
from xrnn.backend import Backend
from xrnn.models.errors import DivergedError, SettingsError
from xrnn.models.labelled import choice
from xrnn.models.labelled.choice import choose
from xrnn.models.labelled.data import LabelledSeries
from xrnn.models.labelled.head import Classes, Numbers
from xrnn.models.labelled.trainer import LabelledTrainer
from xrnn.select import get_backend
from xrnn.series.checks import Series

NUMPY = get_backend("numpy")


def noise(count: int, T: int, seed: int = 0) -> list[Series]:
    rng = np.random.default_rng(seed)
    return [Series(rng.standard_normal((T, 2)), str(i % 2), f"{i}") for i in range(count)]


def dataset(T: int, count: int = 20, test: Sequence[Series] = ()) -> LabelledSeries:
    train = noise(count, T)
    return LabelledSeries(train, list(test), [], Classes.of(train, "noise"))


def with_errors(patch: pytest.MonkeyPatch, errors: dict[int, float]) -> list[tuple[Any, Any, Any]]:
    """Let patches have these errors → (size, training series, left-out series) of each training."""
    tried: list[tuple[Any, Any, Any]] = []

    def error(settings: Any, data: LabelledSeries, train: Any, left: Any, backend: Backend) -> float:
        tried.append((settings.patch, train, left))
        return errors[settings.patch]

    patch.setattr(choice, "_error", error)
    return tried


@pytest.mark.parametrize(
    ("errors", "chosen"),
    [
        ({16: 1.0, 4: 0.75}, 16),  # not clearly better
        ({16: 1.0, 4: 0.6, 1: 0.5}, 4),
        ({16: 1.0, 4: 0.6, 1: 0.4}, 1),
    ],
)
def test_a_smaller_patch_must_be_clearly_better(
    monkeypatch: pytest.MonkeyPatch, errors: dict[int, float], chosen: int
) -> None:
    tried = with_errors(monkeypatch, errors)
    data = dataset(1024)
    lines: list[str] = []
    assert choose(TINY, data, NUMPY, lines.append) == replace(TINY, patch=chosen)
    assert lines[1:] == [f"  --patch {size}: error {error:.3f}" for size, error in errors.items()]
    assert list(dict.fromkeys(size for size, _, _ in tried)) == list(errors)
    for _, train, left in tried:
        assert {*train} | {*left} == {*data.train}
        assert not {*train} & {*left}


def test_no_patch_is_tried_for_short_series_or_if_one_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = with_errors(monkeypatch, {})
    assert choose(TINY, dataset(63), NUMPY).patch == 1
    assert choose(replace(TINY, patch=64), dataset(64), NUMPY).patch == 64
    with one_line(SettingsError, "patch is 65, and the longest series to train on has 64 steps: expected a patch that"):
        choose(replace(TINY, patch=65), dataset(64), NUMPY)
    assert choose(TINY, dataset(1024, count=2), NUMPY).patch == 1  # one series of each label can't be left out
    assert not tried


@pytest.mark.parametrize("numbers", [False, pytest.param(True, marks=pytest.mark.proof)])
def test_the_choice_does_not_depend_on_the_test_series(monkeypatch: pytest.MonkeyPatch, numbers: bool) -> None:
    errors: list[float] = []
    of_a_training = choice._error

    def noted(*arguments: Any) -> float:
        errors.append(of_a_training(*arguments))
        return errors[-1]

    monkeypatch.setattr(choice, "_error", noted)
    monkeypatch.setattr(choice, "_SHARE", 0.05)
    settings = replace(TINY, layers=1, hidden=3)
    chosen = []
    for test in (noise(4, 70, seed=1), noise(9, 80, seed=2)):
        data = dataset(64, test=test)
        if numbers:
            data = replace(data, facts=Numbers.of(data.train, "noise"))
        chosen.append((choose(settings, data, NUMPY), errors[:]))
        errors.clear()
    assert chosen[0] == chosen[1]
    assert np.isfinite(chosen[0][1]).all()


def test_a_training_that_diverges_has_an_infinite_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def diverged(_: object) -> None:
        raise DivergedError("the loss is nan")

    monkeypatch.setattr(LabelledTrainer, "read_losses", diverged)
    data = dataset(64)
    assert choice._error(replace(TINY, patch=2), data, data.train[:10], data.train[10:], NUMPY) == np.inf
