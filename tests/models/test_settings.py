"""The settings of models: defaults and bounds. The figures in the documentation are for these defaults."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, asdict, replace

import pytest

from tests.errors import one_line
from xrnn.models.errors import SettingsError, param
from xrnn.models.labelled.head import Classes
from xrnn.models.labelled.settings import ClassifierSettings, RegressionSettings
from xrnn.models.settings import Settings
from xrnn.select import get_backend


def test_the_defaults() -> None:
    shared = {"cell": "gru", "heads": 1, "layers": 1, "batch": 32, "seed": 0}
    table = {"decimal": ".", "encoding": "", "skip_columns": "", "id": "", "time": "", "label": ""}
    regularised = {"one_way": False, "dropout": 0.3, "noise": 0.3, "mask": False, "patience": 0}
    classifier = shared | table | regularised | {"hidden": 64, "lr": 0.003}
    classifier |= {"patch": 0, "head_rate": 10.0, "members": 1}
    assert asdict(RegressionSettings()) == classifier | {"head_rate": 1.0}
    assert asdict(ClassifierSettings()) == classifier | {"balance": False}


def test_heads_divide_the_hidden_size() -> None:
    settings = ClassifierSettings(cell="lstm", hidden=12, heads=4, layers=2)
    assert settings.architecture == "2 bidirectional LSTM layers of 12 in 4 heads"
    plan = settings.plan(Classes(2, labels=("a", "b")))
    assert [param.shape for layer in plan.make(get_backend("numpy")).values() for param in layer.params] == plan.shapes
    expected = "heads is 5, with cell lstm of 12: expected a number that divides hidden, and a cell whose recurrent"
    with one_line(SettingsError, expected):
        ClassifierSettings(cell="lstm", hidden=12, heads=5)


def test_settings_do_not_change() -> None:
    settings = ClassifierSettings()
    with pytest.raises(FrozenInstanceError):
        settings.hidden = 12  # type: ignore[misc]
    assert not hasattr(settings, "__dict__")


@pytest.mark.parametrize(
    ("settings", "name", "fitting", "beyond"),
    [
        *((ClassifierSettings(), name, [1, 2**20], [-1, 0, 2**20 + 1]) for name in ("hidden", "batch")),
        (ClassifierSettings(), "layers", [1, 100], [-1, 0, 101]),
        (ClassifierSettings(), "lr", [1e-9, 1000], [-1, 0, 1000.1, math.inf, math.nan]),
        (ClassifierSettings(), "seed", [0, 2**70], [-1]),
        (ClassifierSettings(), "dropout", [0, 0.999], [-0.1, 1, 1.5, math.nan]),
        (ClassifierSettings(), "noise", [0, 1000], [-0.1, -1, 1000.1, math.inf, math.nan]),
        (ClassifierSettings(), "patience", [0, 10**6], [-1, 10**6 + 1]),
    ],
)
def test_the_bounds_of_settings(settings: Settings, name: str, fitting: list[float], beyond: list[float]) -> None:
    for value in fitting:
        assert getattr(replace(settings, **{name: value}), name) == value  # type: ignore[arg-type]
    for value in beyond:
        with one_line(SettingsError, f"{name} is {value}: expected a "):
            replace(settings, **{name: value})  # type: ignore[arg-type]


def test_the_name_of_a_parameter_may_have_digits() -> None:
    error = SettingsError(f"{param('L2_decay')} is -1")
    assert (str(error), error.shown(str.upper)) == ("L2_decay is -1", "L2_DECAY is -1")
