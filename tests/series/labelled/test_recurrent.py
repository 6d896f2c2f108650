"""The choice of the number of steps in a patch, and of the scaling."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.errors import one_line
from tests.series.labelled.tiny import prepared
from xrnn.series.checks import DivergedError, Series, SettingsError
from xrnn.series.labelled import recurrent as module
from xrnn.series.labelled.base import Watcher
from xrnn.series.labelled.estimators import Classifier, Regressor
from xrnn.series.labelled.model import Training
from xrnn.series.labelled.recurrent import choose


class Told(Watcher):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def tell(self, line: str) -> None:
        self.lines.append(line)


def noise(count: int, T: int, seed: int = 0) -> list[Series]:
    rng = np.random.default_rng(seed)
    return [Series(rng.standard_normal((T, 2)), str(i % 2), f"{i}") for i in range(count)]


def chosen(T: int, watcher: Watcher | None = None, count: int = 20, kind: Any = Classifier, **params: Any) -> int:
    series = noise(count, T)
    if kind is Regressor:
        series = [replace(each, label=float(each.label)) for each in series]
    ready = prepared(series, kind, **params)
    return choose(ready.p, ready.series, watcher or Watcher())[0]


def with_errors(patch: pytest.MonkeyPatch, errors: dict[int, float]) -> list[tuple[Any, Any, Any]]:
    """Let patches have these errors → (size, training series, left-out series) of each training."""
    tried: list[tuple[Any, Any, Any]] = []

    def error(p: Any, size: int, scaling: str, train: Any, left: Any) -> float:
        tried.append((size, train, left))
        return errors[size]

    patch.setattr(module, "_error", error)
    return tried


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ({16: 1.0, 4: 0.75}, 16),  # not clearly better
        ({16: 1.0, 4: 0.6, 1: 0.5}, 4),
        ({16: 1.0, 4: 0.6, 1: 0.4}, 1),
    ],
)
def test_a_smaller_patch_must_be_clearly_better(
    monkeypatch: pytest.MonkeyPatch, errors: dict[int, float], expected: int
) -> None:
    tried, told = with_errors(monkeypatch, errors), Told()
    assert chosen(1024, told) == expected
    assert told.lines[1:] == [f"  --patch {size} --scaling shared: error {error:.3f}" for size, error in errors.items()]
    assert list(dict.fromkeys(size for size, _, _ in tried)) == list(errors)
    for _, train, left in tried:
        assert len(train) + len(left) == 20
        assert not {each.name for each in train} & {each.name for each in left}


def test_no_patch_is_tried_for_short_series_or_if_one_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = with_errors(monkeypatch, {})
    assert chosen(63) == 1
    assert chosen(64, patch=64) == 64
    with one_line(SettingsError, "patch is 65, and the longest series to train on has 64 steps: expected a patch that"):
        chosen(64, patch=65)
    assert chosen(1024, count=2) == 1  # one series of each label can't be left out
    assert not tried


@pytest.mark.parametrize(
    ("loudest", "params", "scaling", "tried"),
    [
        (100.0, {}, "each", ["shared", "each"]),
        (2.0, {}, "shared", []),  # the deviations are close
        (100.0, {"one_way": True}, "shared", []),  # a stream
        (2.0, {"scaling": "each"}, "each", []),
    ],
)
def test_each_series_is_scaled_by_itself_if_that_is_clearly_better(
    loudest: float, params: dict[str, Any], scaling: str, tried: list[str]
) -> None:
    """The label is the shape of a wave. Amplitudes over two decades hide it under one scale."""
    rng, t, told = np.random.default_rng(0), np.arange(12), Told()
    series = [
        Series((loudest ** rng.uniform(-1, 1) * np.sin(t * (0.5 + i % 2)))[:, None], str(i % 2), f"{i}")
        for i in range(24)
    ]
    ready = prepared(series, **{"hidden": 6, "layers": 1} | params)
    assert choose(ready.p, ready.series, told) == (1, scaling)
    assert [line.split()[3].rstrip(":") for line in told.lines[1:]] == tried


@pytest.mark.parametrize("kind", [Classifier, pytest.param(Regressor, marks=pytest.mark.proof)])
def test_the_error_is_that_of_a_short_training_on_left_out_series(monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    errors: list[float] = []
    of_a_training = module._error

    def noted(*arguments: Any) -> float:
        errors.append(of_a_training(*arguments))
        return errors[-1]

    monkeypatch.setattr(module, "_error", noted)
    monkeypatch.setattr(module, "_SHARE", 0.05)
    assert chosen(64, kind=kind, layers=1, hidden=3) in (1, 4)
    assert np.isfinite(errors).all()


def test_a_training_that_diverges_has_an_infinite_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def diverged(_: object) -> None:
        raise DivergedError("the loss is nan")

    monkeypatch.setattr(Training, "read_losses", diverged)
    ready = prepared(noise(20, 64))
    assert module._error(ready.p, 2, "shared", ready.series[:10], ready.series[10:]) == np.inf
